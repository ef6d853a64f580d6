"""Which bars are finished, and whether the newest of them is the newest that there should be."""

from __future__ import annotations

import dataclasses

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.periods import moment
from mtquant_jax.time_zones import read_zone
from mtquant_jax.types import Bars

_WEEK = 7 * 86_400
_WEEKS = 4  # of recent bars that say when the market is open
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


def first_bars(bars: Bars, count: int) -> Bars:
    """The first bars."""
    return between(bars, 0, count)


def between(bars: Bars, first: int, last: int) -> Bars:
    """Bars ``first`` to before ``last``."""
    names = ("open", "high", "low", "close", "spread", "volume", "tradable")
    cut = {name: getattr(bars, name)[:, first:last] for name in names}
    return dataclasses.replace(bars, timestamps=bars.timestamps[first:last], **cut)


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
    weeks = max(1.0, (time - int(timestamps[recent][0])) / _WEEK)
    same = recent & ((time - timestamps) % _WEEK == 0)
    found: np.ndarray = tradable[same].sum(axis=0) >= np.maximum(_OPEN * min(weeks, _WEEKS), 1.0)
    return found


def freshness(bars: Bars, seconds: int, now: int, clock: str) -> Freshness:
    """How the newest of finished bars stands to now.

    Args:
        bars: finished ones.
        seconds: from the open of a bar to its close.
        now: seconds since 1970 UTC.
        clock: the broker's, as `simulation.broker_clock`.
    """
    zone = read_zone(clock, "simulation.broker_clock")
    last = int(bars.timestamps[-1])
    recent = bars.timestamps > last - _WEEKS * _WEEK
    times, tradable = zone.from_utc(bars.timestamps[recent]), np.asarray(bars.tradable)[0, recent].astype(bool)
    since = np.arange(last + seconds, now - seconds + 1, seconds)
    week = zone.from_utc(since[: _WEEK // seconds]).tolist()  # later weeks are like the first
    open_then = np.array([usual(times, tradable, time).any() for time in week], bool)
    missing = int(np.resize(open_then, len(since)).sum()) if week else 0
    return Freshness(age=now - last - seconds, missing=missing)


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
            f"up to date, or decide as of another time with `as_of`"
        )
    return found
