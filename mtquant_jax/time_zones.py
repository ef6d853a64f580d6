"""Turns the clock of a broker into UTC and back, through daylight-saving changes, for whole columns of times.

A zone is an IANA name (`Europe/Helsinki`, `Etc/GMT-2`) or an alias such as `NewYork+7`: the local time of New York plus
seven hours, so that the broker's midnight is 17:00 in New York all the year (GMT+2, and GMT+3 in US summer).
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
import zoneinfo
from datetime import UTC, datetime, timedelta

import numpy as np

from mtquant_jax.errors import UserError

_DAY = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ALIAS = re.compile(r"new_?york\s*([+-]\s*\d{1,2})", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Zone:
    """A clock: the local time of an IANA zone, plus a constant."""

    name: str
    zone: zoneinfo.ZoneInfo
    shift: int = 0
    """Seconds ahead of the zone's local time."""
    forced: bool = False
    """True if it is the clock also of stamps that state another one."""

    @property
    def is_utc(self) -> bool:
        """True for UTC itself, under any of its names."""
        return self.shift == 0 and self.zone.key.upper() in ("UTC", "ETC/UTC", "GMT", "ETC/GMT", "ZULU", "ETC/ZULU")

    def to_utc(self, local: np.ndarray) -> LocalTimes:
        """Local times [R], in file order, as UTC; all int64 seconds on their own clock.

        A local time that happens twice (the hour before clocks go back) is the first until the file's times step back
        or repeat within that hour, the second from there on; a file that has the hour once is taken as having the
        first. A time that never happens (skipped as clocks go forward) counts with the offset before the change, as
        PEP 495 has it. Both are counted.
        """
        if local.size == 0:
            return LocalTimes(local, 0, 0)
        change, before, after = self._changes(int(local.min()) - 2 * _DAY, int(local.max()) + 2 * _DAY)
        offsets = np.concatenate([before[:1], after])
        utc = local - offsets[np.searchsorted(change + np.maximum(before, after), local, side="right")]
        ambiguous = missing = 0
        for when, old, new in zip(change, before, after, strict=True):
            inside = np.flatnonzero((local >= when + min(old, new)) & (local < when + max(old, new)))
            if new > old:
                missing += len(inside)
            elif len(inside):
                ambiguous += len(inside)
                back = np.flatnonzero(np.diff(local[inside]) <= 0)
                if len(back):
                    second = inside[back[0] + 1 :]
                    utc[second] = local[second] - new
        return LocalTimes(utc, ambiguous, missing)

    def from_utc(self, utc: np.ndarray) -> np.ndarray:
        """UTC times [R] int64 seconds on this clock."""
        if utc.size == 0:
            return utc
        change, before, after = self._changes(int(utc.min()) - _DAY, int(utc.max()) + _DAY)
        return utc + np.concatenate([before[:1], after])[np.searchsorted(change, utc, side="right")]

    def _changes(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Changes of the offset between two UTC times: when, offset before, offset after; [K] int64 seconds.

        Without a change, one with equal offsets stands before everything.
        """
        when, before, after = np.array(_changes(self.zone, first // _DAY, last // _DAY + 1), np.int64).T
        return when, before + self.shift, after + self.shift


@functools.lru_cache(256)
def _changes(zone: zoneinfo.ZoneInfo, first: int, last: int) -> list[tuple[int, int, int]]:
    """Changes of the offset from day to day since 1970: when, offset before, offset after; all in seconds."""
    found = []
    days = [day * _DAY for day in range(first, last + 1)]
    offsets = [_offset(zone, day) for day in days]
    for i in range(1, len(days)):
        low, high = days[i - 1], days[i]
        while offsets[i] != offsets[i - 1] and high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if _offset(zone, middle) == offsets[i] else (middle, high)
        if offsets[i] != offsets[i - 1]:
            found.append((high, offsets[i - 1], offsets[i]))
    return found or [(days[0], offsets[0], offsets[0])]


def _offset(zone: zoneinfo.ZoneInfo, utc: int) -> int:
    offset = (_EPOCH + timedelta(seconds=utc)).astimezone(zone).utcoffset()
    return int((offset or timedelta()).total_seconds())


@dataclasses.dataclass(frozen=True)
class LocalTimes:
    """Local times turned into UTC, and how many had no or two meanings."""

    utc: np.ndarray  # [R] int64 seconds
    ambiguous: int
    missing: int


@functools.cache
def available_zones() -> frozenset[str]:
    """Names of all zones of the time zone database, which are read from hundreds of files."""
    return frozenset(zoneinfo.available_timezones())


@functools.cache
def read_zone(name: str, setting: str = "broker_timezone") -> Zone:
    """The zone of a name; UserError names similar ones for an unknown name."""
    text = name.strip()
    alias = _ALIAS.fullmatch(text)
    if alias:
        hours = int(alias[1].replace(" ", ""))
        if abs(hours) > 14:
            raise UserError(f"`{setting}` {name}: {hours} hours from New York are too many; brokers use NewYork+7")
        return Zone(f"NewYork{hours:+d}", zoneinfo.ZoneInfo("America/New_York"), hours * 3600)
    known = available_zones()
    exact = next((zone for zone in known if zone.lower() == text.lower()), None)
    if exact is not None:
        return Zone(exact, zoneinfo.ZoneInfo(exact))
    names = {zone.lower(): zone for zone in sorted(known)}
    places = {zone.rpartition("/")[2]: zone for zone in names} | {zone: zone for zone in names}
    close = difflib.get_close_matches(text.lower().replace(" ", "_"), list(places), n=2, cutoff=0.6)
    advice = f"did you mean {' or '.join(dict.fromkeys(names[places[c]] for c in close))}?" if close else ""
    offset = re.fullmatch(r"(?:utc|gmt)?\s*([+-]\d{1,2})(?::?00)?", text.lower())
    if offset:  # the signs of Etc/GMT are those of POSIX: behind Greenwich is plus
        hours = int(offset[1])
        advice = f"for a constant offset write Etc/GMT{-hours:+d}, for the New York close NewYork+7"
    raise UserError(
        f"`{setting}` {name}: no such zone; "
        + (advice or "use an IANA name such as Europe/Helsinki, or NewYork+7 for brokers whose day ends in New York")
    )
