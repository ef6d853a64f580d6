"""Finds the column of times, or those of dates and of times of day, by their names and first cells, and their clock."""

from __future__ import annotations

import dataclasses
import functools
import re
import zoneinfo
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.stamp_forms import BUDDHIST, DAY, Form
from mtquant_jax.market.bars.stamps import Stamps, read_stamps
from mtquant_jax.time_zones import Zone, available_zones, read_zone

# Names of columns of times, without clock, blanks and punctuation; the first one that fits is used.
_NAMES = (
    *("datetime", "timestamp", "time", "opentime", "timeopen", "localtime", "date", "bartime", "unix", "unixtime"),
    *("unixtimestamp", "epoch", "epochtime", "ts", "dt", "bar", "start", "starttime", "opendate"),
    *("opendatetime", "dateopen", "bardate", "barstart", "tradetime", "tradedate", "tradingday", "day", "session"),
    *("dtyyyymmdd", "yyyymmdd", "clock", "hour", "hours", "tm", "hhmm", "hhmmss", "timeofday", "datum", "zeit"),
    *("uhrzeit", "fecha", "hora", "heure", "data", "дата", "время", "index", ""),
)
_CLOCKS = {
    **dict.fromkeys(("utc", "gmt", "z", "zulu"), "UTC"),
    **dict.fromkeys(("eet", "eest", "eet/eest"), "Europe/Athens"),
    **dict.fromkeys(("cet", "cest", "cet/cest", "mez", "mesz"), "Europe/Berlin"),
    **dict.fromkeys(("wet", "west"), "Europe/Lisbon"),
    **dict.fromkeys(("et", "est5edt", "eastern", "us/eastern"), "America/New_York"),
    **{"msk": "Europe/Moscow", "jst": "Asia/Tokyo", "hkt": "Asia/Hong_Kong", "sgt": "Asia/Singapore"},
}
_UNCLEAR = ("est", "edt", "cst", "cdt", "mst", "mdt", "pst", "pdt", "bst", "ist", "ast", "aest", "aedt", "nzst", "nzdt")
"""Abbreviations of several clocks, or of one that is used for another half of the year."""
_OF_DAY = ("time", "clock", "hour", "hours", "tm", "hhmm", "hhmmss", "timeofday", "zeit", "uhrzeit", "hora", "heure")
_CONSTANT = re.compile(r"(?:utc|gmt)?\s*([+-])\s*(\d{1,2})(?::?(\d\d))?")
_OFFSET = re.compile(r"(?:utc|gmt)\s*[+-]\s*\d{1,2}(?::?\d\d)?")
_ENDS = re.compile(r"close|end|until|expir|settle", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class TimeColumns:
    """Which columns hold the times of a file, and on which clock by the header."""

    columns: tuple[int, ...]  # of the stamp, or of date and time of day
    zone: Zone | None = None  # clock that the header names
    header: str = ""  # name of the column that names it
    notices: tuple[str, ...] = ()  # sentences without a subject

    def notices_for(self, has_offset: bool) -> list[str]:
        """What there is to say about the choice of columns, and about a clock other than UTC in the header."""
        if self.zone is None or self.zone.is_utc:
            return list(self.notices)
        said = f"its header {self.header!r} names the clock of its times; they are read as {self.zone.name}."
        if has_offset:
            said = f"its header {self.header!r} names a clock, which has no effect: its times are in UTC or say theirs."
        return [*self.notices, said]


def find_times(
    origin: str, names: Sequence[str], samples: Sequence[Sequence[str]], used: Sequence[int]
) -> TimeColumns | None:
    """Find the columns of times among named ones.

    Args:
        origin: the file, for messages.
        names: of all columns, as in the header.
        samples: first rows, with a cell per column; none: the names decide alone.
        used: columns with another role.

    Returns:
        The columns, or None if no name and no cell looks like a time.

    Raises:
        UserError: there are times of day and no dates.
    """
    bases = [_base(name) for name in names]
    named = [
        column
        for column in sorted(range(len(names)), key=lambda column: (_rank(bases[column]), not _is_utc(names[column])))
        if column not in used and _rank(bases[column]) < len(_NAMES) and (bases[column] or column == 0)
    ]
    stamps = {column: _sample(samples, column) for column in range(len(names)) if column not in used}
    kinds = {column: _kind(stamps[column], bases[column]) for column in stamps}
    if not samples:
        kinds |= _kinds_by_name(named, bases)
    columns, notices = _choose(origin, names, named, stamps, kinds)
    if not columns:
        return None
    zone, header, said = _clock_of([names[column] for column in columns])
    return TimeColumns(columns, zone, header, (*notices, *said))


def _choose(
    origin: str, names: Sequence[str], named: list[int], stamps: dict[int, Stamps], kinds: dict[int, str]
) -> tuple[tuple[int, ...], list[str]]:
    """Return the columns of the stamp, or of date and time of day, and what there is to say about the choice."""
    full, dates, clocks, unknown = (
        [column for column in named if kinds[column] == kind] for kind in ("full", "date", "clock", "")
    )
    full = _best_first(names, full, stamps)
    clocks += [column for column in unknown if _base(names[column]) in _OF_DAY and len(stamps[column].forms)]
    if full and not (clocks and _at_midnight(stamps[full[0]])):
        return (full[0],), _of_several(names, full, stamps)
    dates = full[:1] + dates or [column for column in unknown if column not in clocks]
    if clocks and dates:
        return (dates[0], clocks[0]), []
    if dates:
        return (dates[0],), []
    found = [column for column, kind in kinds.items() if kind in ("full", "date") and not _ENDS.search(names[column])]
    written = [column for column in found if column == 0 or not _is_number(stamps[column])]
    if written:
        return (written[0],), [f"its times are taken from the column {names[written[0]]!r}."]
    if clocks and not (stamps[clocks[0]].forms == Form.CLOCK).any():
        return (clocks[0],), []  # no dates; the first row says so
    if clocks:
        raise UserError(
            f"{origin} has times of day in the column {names[clocks[0]]!r} but no column of dates; add one called date"
        )
    return (), []


def _best_first(names: Sequence[str], full: list[int], stamps: dict[int, Stamps]) -> list[int]:
    """Prefer times that are certainly in UTC to others, unless both are the same."""
    if not full:
        return full
    seconds = stamps[full[0]].seconds
    certain = [i for i in full if stamps[i].has_offset.any() or _is_utc(names[i])]
    best = full[:1] if any(np.array_equal(stamps[i].seconds, seconds) for i in certain) else certain
    return list(dict.fromkeys([*best, *full]))


def _is_utc(name: str) -> bool:
    zone, _, _ = _clock_of([name])
    return zone is not None and zone.is_utc


def _of_several(names: Sequence[str], full: Sequence[int], stamps: dict[int, Stamps]) -> list[str]:
    """Name the choice if another column holds other times."""
    chosen = stamps[full[0]]
    others = [names[i] for i in full[1:] if not np.array_equal(stamps[i].seconds, chosen.seconds)]
    if not len(chosen.seconds) or not others:
        return []
    return [f"its times are taken from the column {names[full[0]]!r}, not from {' or '.join(map(repr, others))}."]


def _sample(samples: Sequence[Sequence[str]], column: int) -> Stamps:
    cells = [row[column] for row in samples if column < len(row) and row[column] not in ("", "None", "NaT")]
    return read_stamps(pa.array(cells, pa.string()))


def _kind(stamps: Stamps, base: str) -> str:
    """Return "full", "date" or "clock" for cells of dates and times, of dates or of times of day; "" for others."""
    forms = stamps.forms % BUDDHIST
    if not len(forms):
        return ""
    if np.isin(forms, (Form.CLOCK, Form.CLOCK_NUMBER)).all() and (base in _OF_DAY or (forms == Form.CLOCK).any()):
        return "clock"
    if np.isin(forms, (Form.DATE, Form.DAYS)).all():
        return "date"
    return "full" if (forms >= Form.DATE).all() else ""


def _kinds_by_name(named: Sequence[int], bases: Sequence[str]) -> dict[int, str]:
    """Without cells, a date and a time are a pair, and any other column is a whole stamp."""
    pair = {"date", "time"} <= {bases[column] for column in named}
    return {column: {"date": "date", "time": "clock"}.get(bases[column], "") if pair else "full" for column in named}


def _at_midnight(stamps: Stamps) -> bool:
    return bool((stamps.seconds % DAY == 0).all())


def _is_number(stamps: Stamps) -> bool:
    return bool((stamps.forms % BUDDHIST >= Form.SECONDS).any())


def _rank(base: str) -> int:
    return _NAMES.index(base) if base in _NAMES else len(_NAMES)


def _base(name: str) -> str:
    """Return a name without its clock, unit, blanks and punctuation: time of `Time (EET)`, `time_utc` and `UTC`."""
    bare = _OFFSET.sub(" utc ", re.sub(r"[(\[].*", "", name.strip().lower()))
    words = [word for word in re.split(r"[\W_]+", bare) if word]
    words = [word for word in words if word not in _CLOCKS and word not in _UNCLEAR] or ["time"] * bool(words)
    text = "".join(words)
    short = re.sub(r"^(utc|gmt)|(utc|gmt|ms|us|ns|msc)$", "", text)
    return short if text not in _NAMES and short in _NAMES else text


def _clock_of(names: Sequence[str]) -> tuple[Zone | None, str, list[str]]:
    """Return the clock that a header names, the name it stands in, and a sentence if it names an unclear one."""
    for name in names:
        for text in _clock_texts(name):
            zone = _zone(text)
            if zone is not None:
                return zone, name, []
            if text in _UNCLEAR:
                return (
                    None,
                    name,
                    [
                        f"its header {name!r} names a clock, which has no effect as {text.upper()} is not clear; name "
                        "its zone with `broker_timezone`."
                    ],
                )
    return None, "", []


def _clock_texts(name: str) -> list[str]:
    """Return the parts of a name that may be a clock, in lower case: that in parentheses, then its words."""
    lower = name.strip().lower()
    bare = re.sub(r"[(\[].*", "", lower)
    words = [word for word in re.split(r"[\W_]+", bare) if word]
    joined = re.fullmatch(r"(utc|gmt)?(?:date)?time(utc|gmt)?", "".join(words))
    constant = _OFFSET.search(bare)
    return [
        *re.findall(r"[(\[]\s*([^)\]]+?)\s*[)\]]", lower),
        *([constant[0]] if constant else []),
        *(word for word in words if word in _CLOCKS or word in _UNCLEAR),
        *(filter(None, joined.groups()) if joined else []),
    ]


def _zone(text: str) -> Zone | None:
    """Return the clock of a text such as eet, gmt+2, new york or europe/helsinki, or None."""
    constant = _CONSTANT.fullmatch(text)
    if constant:
        hours, minutes = int(constant[2]), int(constant[3] or 0)
        if hours > 14 or minutes > 59:
            return None
        shift = (hours * 3600 + minutes * 60) * (-1 if constant[1] == "-" else 1)
        return Zone(f"UTC{constant[1]}{hours:02d}:{minutes:02d}", zoneinfo.ZoneInfo("UTC"), shift)
    name = _CLOCKS.get(text) or _places().get(text.replace(" ", "_"))
    return read_zone(name) if name else None


@functools.cache
def _places() -> dict[str, str]:
    """Zones by their name and by that of their city, in lower case."""
    known = [zone for zone in sorted(available_zones()) if "/" in zone and not zone.startswith("Etc/")]
    return {zone.lower().rpartition("/")[2]: zone for zone in known} | {zone.lower(): zone for zone in known}
