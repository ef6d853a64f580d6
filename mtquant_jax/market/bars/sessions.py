"""Turns the bar times of a file into its gaps and daily breaks, and into a guess about the clock of its stamps."""

from __future__ import annotations

import dataclasses

import numpy as np

from mtquant_jax.market.bars.bar_file import BarFile
from mtquant_jax.time_zones import read_zone

LONG_GAP = 5 * 86_400
"""Seconds without bars that are too long for a weekend; a weekend with holidays on both sides is shorter."""
_DAY, _WEEK = 86_400, 7 * 86_400
_SATURDAY_NOON = 2 * _DAY + _DAY // 2  # 1970-01-03, a Saturday
_LUNCH = 5400  # seconds that an exchange may close in the middle of the day
_MIN_WEEKS = 8  # of each season, needed to identify the clock


@dataclasses.dataclass(frozen=True)
class Gaps:
    """Stretches without bars inside the trading week, weekends and daily breaks left out."""

    count: int
    missing_bars: int  # bars that would fit into them
    longest: int  # seconds; 0 without a gap
    longest_at: int  # start of the longest, seconds since 1970-01-01 UTC
    daily_breaks: int


def find_gaps(file: BarFile, session: str = "daily_break") -> Gaps:
    """Find the gaps between the bars of a file.

    A stretch that includes Saturday noon (UTC) is a weekend, unless it lasts five days. In hourly or finer bars, a
    stretch of up to an hour that begins from 16:00 to 18:59 in New York is the daily break of metals, oil and indices.

    Args:
        file: the bars.
        session: when the instrument trades, one of `instruments.SESSIONS`. Every stretch of one that trades always is
            a gap; an exchange closes for the night and the weekend, and perhaps for lunch.
    """
    interval = file.interval
    times = file.timestamps if file.tradable is None else file.timestamps[file.tradable]
    begins, ends = times[:-1] + interval, times[1:]
    lost = ends - begins
    weekends = (ends - 1 - _SATURDAY_NOON) // _WEEK - (begins - 1 - _SATURDAY_NOON) // _WEEK
    if session == "always":
        weekends[:] = 0
    gap = (lost >= interval) & ((weekends == 0) | (lost >= LONG_GAP))
    missing = np.maximum(lost - weekends * 2 * _DAY, 0) // interval
    clock = read_zone("America/New_York").from_utc(begins) % _DAY // 3600
    pause = gap & (interval <= 3600) & (lost <= 3600) & (clock >= 16) & (clock <= 18) & (session != "always")
    if session == "exchange":
        days = (lost - weekends * 2 * _DAY) // _DAY  # without bars
        inside = begins // _DAY == (ends - 1) // _DAY
        gap = (lost >= interval) & (inside | (days > 0))
        pause = gap & inside & (lost <= _LUNCH) & (begins % _DAY == _usual(begins[gap & inside] % _DAY))
        missing = np.where(inside, missing, days * _usual(np.unique(times // _DAY, return_counts=True)[1]))
    gap &= ~pause
    begins, lost = begins[gap], lost[gap]
    longest = int(np.argmax(lost)) if len(lost) else 0
    return Gaps(
        count=len(lost),
        missing_bars=int(np.sum(missing[gap])),
        longest=int(lost[longest]) if len(lost) else 0,
        longest_at=int(begins[longest]) if len(lost) else 0,
        daily_breaks=int(np.count_nonzero(pause)),
    )


def _usual(values: np.ndarray) -> int:
    """The most frequent of some integers; 0 without any."""
    found, counts = np.unique(values, return_counts=True)
    return int(found[np.argmax(counts)]) if len(found) else 0


def looks_like_broker_time(file: BarFile) -> bool:
    """Return True if weeks begin at the same hour of the file's clock in New York's summer and winter.

    The week of currencies, metals and indices begins at 17:00 or 18:00 in New York, which is an hour earlier in UTC
    in summer. A clock on which it does not move follows New York's daylight saving, as the clocks of most brokers do.
    """
    if not 0 < file.interval <= 3600:
        return False
    first = np.flatnonzero(np.diff(file.timestamps) > 30 * 3600) + 1
    opens = file.timestamps[first]
    if not len(opens):
        return False
    summer = read_zone("America/New_York").from_utc(opens) - opens == -4 * 3600
    hours = opens % _WEEK // 3600
    if min(np.count_nonzero(summer), np.count_nonzero(~summer)) < _MIN_WEEKS:
        return False
    usual = [np.bincount(hours[season]).argmax() for season in (summer, ~summer)]
    share = min(np.mean(hours[season] == hour) for season, hour in zip((summer, ~summer), usual, strict=True))
    return bool(usual[0] == usual[1] and share > 0.7)
