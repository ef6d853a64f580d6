"""Turns the hours at which the weeks of a bar file open and close into evidence about the clock of its stamps.

Currencies trade from Sunday 17:00 to Friday 17:00 in New York, metals, oil and indices from Sunday 18:00 with a break
of an hour from 17:00 on every day. A file whose weeks are of that length, but begin and end at other hours of New York
in the same direction, is on another clock than the one it is read on. Files with other weeks say nothing here.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from mtquant_jax.market.bars.bar_file import BarFile
from mtquant_jax.time_zones import Zone, read_zone

WEEKEND = 30 * 3600
"""Seconds without bars that separate two weeks; daily breaks and most holidays are shorter."""
MANY_WEEKS = 8
"""Weeks of bars up to an hour that contradict a clock, from which the file is refused; fewer are a notice.

Bars of four hours say less: a file of UTC whose Sundays were dropped has the weeks of one on a broker's clock.
"""
_FEW_WEEKS = 3
_SHARE = 2 / 3  # of the weeks of a season, or of a year, that contradict the clock
_HOUR, _HALF, _DAY, _WEEK = 3600, 1800, 86_400, 7 * 86_400
_SUNDAY_CLOSE = 3 * _DAY + 17 * _HOUR  # 1970-01-04 17:00, a Sunday, on New York's clock
_WORKING_WEEK = 120 * _HOUR  # from Sunday 17:00 to Friday 17:00
_STRAY = 300  # seconds that a first or last bar may lie outside the session: single late quotes
WINTER, SUMMER, BETWEEN = 0, 1, 2
"""Seasons: both New York and London on winter time, both on summer time, or New York alone."""
SEASONS = ("winter", "summer", "the weeks in which only New York has summer time")
_USUAL = (
    *("UTC", "NewYork+7", "Europe/Helsinki", "Etc/GMT-2", "Etc/GMT-3", "Etc/GMT+5", "America/New_York"),
    *(
        "Europe/London",
        "Europe/Berlin",
        "America/Chicago",
        "NewYork+8",
        "NewYork+6",
        "Asia/Kolkata",
        "Australia/Sydney",
    ),
)


@dataclasses.dataclass(frozen=True)
class Weeks:
    """Whole weeks of one file, W of them, and the shifts of its clock that their first and last bars allow."""

    opens: np.ndarray  # [W] int64, open of the first bar, seconds since 1970-01-01 UTC as read
    season: np.ndarray  # [W] WINTER, SUMMER or BETWEEN
    low: np.ndarray  # [W] int64 seconds that stamps are ahead of the clock they are read on, at least
    high: np.ndarray  # [W] at most; below `low` where the week is not one of Sunday to Friday in New York
    local: np.ndarray  # [W] int64, open of the first bar on New York's clock

    @property
    def clear(self) -> np.ndarray:
        """``[W]`` bool, the weeks that say something about the clock."""
        return self.low <= self.high

    @property
    def contradicts(self) -> np.ndarray:
        """``[W]`` bool, the weeks that begin and end at hours which the clock they are read on does not allow."""
        return self.clear & ((self.low > 0) | (self.high < 0))


def season_of(times: np.ndarray) -> np.ndarray:
    """The season ``[T]`` of UTC times ``[T]``: WINTER, SUMMER or BETWEEN."""
    new_york = _new_york().from_utc(times) - times == -4 * _HOUR
    london = read_zone("Europe/London").from_utc(times) - times == _HOUR
    return np.where(new_york, np.where(london, SUMMER, BETWEEN), np.where(london, BETWEEN, WINTER))


def weeks_of(file: BarFile) -> Weeks:
    """Find the weeks of a file that are whole, with the clock shifts that explain where they open and close."""
    times, interval = _times_of_trading(file), file.interval
    step = np.diff(times)
    last = np.flatnonzero(step > max(WEEKEND, interval)) if 0 < interval <= 4 * _HOUR else np.zeros(0, np.int64)
    opens, closes = times[last[:-1] + 1], times[last[1:]] + interval
    local = _new_york().from_utc(opens)
    week = np.round((local - _SUNDAY_CLOSE) / _WEEK).astype(np.int64) * _WEEK + _SUNDAY_CLOSE
    late, beyond = local - week, _new_york().from_utc(closes) - week - _WORKING_WEEK
    low, high = _shifts(late, beyond, interval, _has_breaks(times, step - interval, interval, opens))
    return Weeks(opens, season_of(opens), low, high, local)


def _has_breaks(times: np.ndarray, lost: np.ndarray, interval: int, opens: np.ndarray) -> bool:
    """Return True if bars pause for an hour on two days a week or more, and resume at the hour at which weeks open.

    Other pauses of an hour are bars that are missing.
    """
    resumed = times[1:][(lost >= max(interval, _HALF)) & (lost < 1.5 * _HOUR)]
    week = np.searchsorted(opens, resumed, side="right") - 1
    apart = (resumed - opens[week])[week >= 0] if len(opens) else resumed[:0]
    return bool(np.count_nonzero((apart + _STRAY) % _DAY <= 2 * _STRAY) >= 2 * max(len(opens), 1))


def _times_of_trading(file: BarFile) -> np.ndarray:
    """The times ``[R]`` of bars that moved: hours in which a market is closed may be filled with its last price."""
    close = file.close
    moved = np.ones(len(close), bool)
    moved[1:] = (file.high[1:] != file.low[1:]) | (close[1:] != close[:-1])
    if file.tradable is not None:
        moved &= file.tradable
    return file.timestamps if moved.all() else file.timestamps[moved]


def _shifts(late: np.ndarray, beyond: np.ndarray, interval: int, breaks: bool) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest shift ``[W]`` of a clock on which weeks open and close late by these seconds ``[W]``.

    A week opens at 17:00 or 18:00 and closes from 16:00 to 17:00; with daily breaks it opens at 18:00. A week that
    lacks two hours says nothing, unless it fits: whoever drops Sunday's bars begins it at midnight on any clock.
    """
    if interval > _HOUR:
        return np.maximum(late - _HOUR, beyond - interval + 1), np.minimum(late + interval - 1, beyond + _HOUR)
    late = (late + _STRAY) // _HALF * _HALF
    beyond = -((_STRAY - beyond) // _HALF) * _HALF
    if breaks:
        low = high = late - _HOUR
        valid = (beyond - low >= -_HOUR) & (beyond <= low) & (late - beyond <= _HOUR)
        fits = (low == 0) & (beyond >= -_HOUR) & (beyond <= 0)
    else:
        low, high = np.maximum(late - _HOUR, beyond), np.minimum(late, beyond + _HOUR)
        valid = late - beyond <= _HOUR
        fits = (low <= 0) & (high >= 0)
    return np.where(valid | fits, low, 1), np.where(valid | fits, high, 0)


@dataclasses.dataclass(frozen=True)
class Contradiction:
    """Weeks that open and close at other hours than the clock of their file allows."""

    count: int  # weeks that contradict the clock
    of: int  # weeks that say anything about the clock
    strong: bool  # enough weeks to refuse the file
    first: int  # open of the first week that contradicts the clock, seconds since 1970-01-01 UTC as read
    last: int  # open of the last one
    opened: str  # where most of them open on the clock they are read on: "Monday 00:00"
    likely: tuple[str, ...]  # clocks that fit best, the most usual one first
    at_end: bool  # the weeks are late by exactly one bar, as those of bars that are stamped at their end


def contradiction(file: BarFile, weeks: Weeks, zone: Zone) -> Contradiction | None:
    """Find out whether the weeks of a file contradict the clock ``zone`` that its stamps were read on."""
    odd, clear = weeks.contradicts, weeks.clear
    year = weeks.opens // (365.25 * _DAY)
    groups = [clear & (weeks.season == season) for season in (WINTER, SUMMER, BETWEEN)]
    groups += [clear & (year == one) for one in np.unique(year)]
    found = [(np.count_nonzero(odd & group), np.count_nonzero(group)) for group in groups]
    if not any(count >= _FEW_WEEKS and count >= _SHARE * of for count, of in found):
        return None
    late = (weeks.low[odd] <= file.interval) & (weeks.high[odd] >= file.interval)
    likely = likely_zones(weeks, zone)
    # An hour that no clock explains is a session which does not follow New York's daylight saving.
    explained = bool(likely) or np.median(np.maximum(weeks.low[odd], -weeks.high[odd])) > _HOUR
    return Contradiction(
        count=int(np.count_nonzero(odd)),
        of=int(np.count_nonzero(clear)),
        strong=bool(np.count_nonzero(odd) >= MANY_WEEKS and file.interval <= _HOUR and explained),
        first=int(weeks.opens[odd][0]),
        last=int(weeks.opens[odd][-1]),
        opened=usual_time(zone.from_utc(weeks.opens[odd])),
        likely=likely,
        at_end=bool(np.mean(late) > 0.9 and file.interval <= _HOUR and np.mean(odd[clear]) > 0.9),
    )


def usual_time(seconds: np.ndarray) -> str:
    """The most frequent half hour of a week among times ``[K]`` on some clock: ``Sunday 17:00``."""
    names = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")
    minutes = 30 * int(np.bincount(seconds % _WEEK // _HALF).argmax())
    return f"{names[minutes // 1440]} {minutes // 60 % 24:02d}:{minutes % 60:02d}"


def likely_zones(weeks: Weeks, zone: Zone) -> tuple[str, ...]:
    """The clocks that explain most weeks, the most usual one first; none where all leave a tenth unexplained."""
    clear = weeks.clear
    opens = weeks.opens[clear]
    if not len(opens):
        return ()
    read = zone.from_utc(opens) - opens
    fits = {}
    for candidate in _candidates():
        shift = candidate.from_utc(opens) - opens - read
        fits[candidate.name] = int(np.count_nonzero((shift >= weeks.low[clear]) & (shift <= weeks.high[clear])))
    best = max(fits.values())
    return tuple(name for name, count in fits.items() if count == best) if best >= 0.9 * len(opens) else ()


def repeating_zones(local: np.ndarray) -> tuple[str, ...]:
    """The usual clocks on which each of these local times ``[K]`` occurs twice, as clocks go back."""
    times = np.sort(np.unique(local))
    zones = (zone for zone in _candidates() if not zone.name.startswith("Etc/"))
    return tuple(zone.name for zone in zones if zone.to_utc(times).ambiguous == len(times))


@functools.cache
def _candidates() -> tuple[Zone, ...]:
    constant = (f"Etc/GMT{-hours:+d}" for hours in range(-12, 15) if hours)
    return tuple(read_zone(name) for name in dict.fromkeys((*_USUAL, *constant)))


def _new_york() -> Zone:
    return read_zone("America/New_York")
