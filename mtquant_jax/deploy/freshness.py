"""Which bars are finished, and whether the newest of them is the newest that there should be."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.selection import first_bars
from mtquant_jax.market.periods import moment
from mtquant_jax.time_zones import read_zone
from mtquant_jax.types import Bars

_WEEK = 7 * 86_400
_WEEKS = 4  # of recent bars that say when the market is open
GRACE = 120
"""Seconds after a close in which a bar that is due may still come."""

_OPEN = 0.5  # share of those weeks with a bar at an hour of the week, from which one is usual there


@dataclasses.dataclass(frozen=True)
class Freshness:
    """How the newest finished bar stands to now."""

    age: int
    """Seconds since its close."""
    missing: int
    """Bars that should have come since, by the hours of the week at which there were bars in the last four weeks."""


def finished(bars: Bars, seconds: int, now: int) -> tuple[Bars, int]:
    """The bars that are over by ``now``, and how many at the end are not.

    Args:
        bars: ``[P, T, N]``.
        seconds: from the open of a bar to its close.
        now: seconds since 1970 UTC.

    Raises:
        UserError: none is over.
    """
    over = int(np.searchsorted(bars.timestamps, now - seconds, side="right"))
    if over == 0:
        raise UserError(
            f"no bar is finished by {moment(now)} UTC; the first opens at {moment(int(bars.timestamps[0]))}"
        )
    return (bars if over == len(bars.timestamps) else first_bars(bars, over)), len(bars.timestamps) - over


def usual(timestamps: np.ndarray, tradable: np.ndarray, time: int) -> np.ndarray:
    """Instruments ``[n]`` that had a bar at this hour of the week in at least half of the last four weeks.

    Args:
        timestamps: ``[T]`` opens, seconds on the broker's clock, whose hours stay those of the market in summer.
        tradable: ``[T, n]`` bool.
        time: open of a bar, on the same clock.
    """
    recent = (timestamps > time - (_WEEKS * _WEEK + 1)) & (timestamps < time)
    if not recent.any():
        return np.zeros(tradable.shape[1], bool)
    weeks = (time - int(timestamps[recent][0])) // _WEEK  # in which there could have been one
    same = recent & ((time - timestamps) % _WEEK == 0)
    found: np.ndarray = tradable[same].sum(axis=0) >= max(_OPEN * min(weeks, _WEEKS), 1.0)
    return found


def due(bars: Bars, seconds: int, now: int, clock: str) -> np.ndarray:
    """Bars ``[K, n]`` bool that should have come since the last one, one row for every bar that is over by now.

    Args:
        bars: finished ones.
        seconds: from the open of a bar to its close.
        now: seconds since 1970 UTC.
        clock: the broker's, as `simulation.broker_clock`, on which markets have the same hours in summer and winter.
    """
    zone, last = read_zone(clock, "simulation.broker_clock"), int(bars.timestamps[-1])
    recent = bars.timestamps > last - _WEEKS * _WEEK
    times, tradable = zone.from_utc(bars.timestamps[recent]), np.asarray(bars.tradable)[0, recent].astype(bool)
    begin, end = (int(zone.from_utc(np.array([time], np.int64))[0]) for time in (last, now))
    since = range(begin + seconds, end - seconds + 1, seconds)
    week = [usual(times, tradable, time) for time in since[: _WEEK // seconds]]  # later weeks are like the first
    return np.resize(np.array(week, bool), (len(since), tradable.shape[1]))


def freshness(bars: Bars, seconds: int, now: int, clock: str) -> Freshness:
    """How the newest of finished bars stands to now; arguments as for `due`."""
    missing = int(due(bars, seconds, now, clock).any(axis=-1).sum())
    return Freshness(age=now - int(bars.timestamps[-1]) - seconds, missing=missing)


def settled(
    bars: Bars, written: Mapping[str, float], seconds: int, now: int, clock: str
) -> tuple[Bars, tuple[str, ...]]:
    """Finished bars as they may be decided on, and what was left out of them.

    A bar is only known once its file was written after its close. The newest one is waited for, until `GRACE` after
    its close, while a symbol that usually has one has none; then the symbol's last price is carried.

    Args:
        bars: over by ``now``, with history.
        written: when the file of a symbol was last written, seconds since 1970 UTC.
        seconds: from the open of a bar to its close.
        now: seconds since 1970 UTC.
        clock: the broker's, as `simulation.broker_clock`.
    """
    tradable = np.array(np.asarray(bars.tradable), bool)
    half = []
    for place, symbol in enumerate(bars.symbols):
        there = np.flatnonzero(tradable[0, :, place])
        if len(there) and written.get(symbol, np.inf) < int(bars.timestamps[there[-1]]) + seconds:
            half.append((place, int(there[-1])))
    newest = len(bars.timestamps) - 1
    before = first_bars(bars, newest)
    expected = due(before, seconds, int(bars.timestamps[-1]) + seconds, clock)[-1:].any(axis=0)
    absent = expected & ~tradable[0, newest]
    waits = [bars.symbols[place] for place in np.flatnonzero(absent)]
    waits += [bars.symbols[place] for place, row in half if row == newest]
    if waits and now < int(bars.timestamps[-1]) + seconds + GRACE:
        return before, (f"the bar of {moment(int(bars.timestamps[-1]))} UTC is waited for: no {', '.join(waits)} yet",)
    notes = (
        [f"no bar of {', '.join(waits)}: the last price is carried, and orders wait until there is one"]
        if waits
        else []
    )
    return (_without(bars, half) if half else bars), tuple(notes)


def _without(bars: Bars, cells: Sequence[tuple[int, int]]) -> Bars:
    """Bars in which some instruments, at some rows, have no bar: the last close is carried."""
    names = ("open", "high", "low", "close", "volume", "tradable")
    columns: dict[str, Any] = {name: np.array(np.asarray(getattr(bars, name))) for name in names}
    for place, row in cells:
        columns["tradable"][0, row, place], columns["volume"][0, row, place] = False, 0.0
        for name in names[:4]:
            columns[name][0, row:, place] = columns["close"][0, max(row - 1, 0), place]
    return dataclasses.replace(bars, **columns)


def check_fresh(bars: Bars, seconds: int, now: int, clock: str, allowed: int) -> Freshness:
    """Refuse bars whose end is older than it should be.

    Args:
        bars: finished ones.
        seconds: from the open of a bar to its close.
        now: seconds since 1970 UTC.
        clock: the broker's, as `simulation.broker_clock`.
        allowed: bars that may be missing at the end.

    Raises:
        UserError: more are.
    """
    found = freshness(bars, seconds, now, clock)
    if found.missing > allowed:
        raise UserError(
            f"the newest finished bar opened at {moment(int(bars.timestamps[-1]))} UTC, and {found.missing:,} more "
            f"should have come by {moment(now)}: a decision on it would be about prices that are gone. Bring the files "
            f"up to date; `missing_bars` allows more, and `as_of` decides as of another time"
        )
    return found
