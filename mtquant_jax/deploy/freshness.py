"""Which bars are finished, and whether the newest of them is the newest that there should be."""

from __future__ import annotations

import dataclasses

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.periods import moment
from mtquant_jax.types import Bars

_WEEK = 7 * 86_400
_WEEKS = 4  # of recent bars that say when the market is open
_OPEN = 0.5  # share of those weeks with a bar at an hour of the week, from which one is expected there


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


def freshness(timestamps: np.ndarray, seconds: int, now: int) -> Freshness:
    """How the newest of finished bars stands to now.

    Args:
        timestamps: ``[T]`` opens, seconds since 1970 UTC.
        seconds: from the open of a bar to its close.
        now: seconds since 1970 UTC.
    """
    last = int(timestamps[-1])
    recent = timestamps[timestamps > last - _WEEKS * _WEEK]
    weeks = min(_WEEKS, max(1.0, (last - int(recent[0]) + seconds) / _WEEK))
    slots, counts = np.unique(recent % _WEEK, return_counts=True)
    usual = slots[counts >= _OPEN * weeks]
    since = np.arange(last + seconds, now - seconds + 1, seconds)
    return Freshness(age=now - last - seconds, missing=int(np.isin(since % _WEEK, usual).sum()))


def check_fresh(bars: Bars, seconds: int, now: int, allowed: int) -> Freshness:
    """Refuse bars whose end is older than it should be.

    Args:
        bars: finished ones.
        seconds: from the open of a bar to its close.
        now: seconds since 1970 UTC.
        allowed: bars that may be missing at the end.

    Raises:
        UserError: more are.
    """
    found = freshness(bars.timestamps, seconds, now)
    if found.missing > allowed:
        raise UserError(
            f"the newest finished bar opened at {moment(int(bars.timestamps[-1]))} UTC, and {found.missing:,} more "
            f"should have come by {moment(now)}: a decision on it would be about prices that are gone. Bring the files "
            f"up to date, or decide as of another time with `as_of`"
        )
    return found
