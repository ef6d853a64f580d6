"""Turns bar times into the broker's days, the nights that swap is charged for, and the clock that features see."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from flax import struct

from mtquant_jax.time_zones import read_zone

NEW_YORK_CLOSE = "NewYork+7"
"""The common broker clock: New York local time plus seven hours, so that the day ends at 17:00 in New York."""

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

EVERY_NIGHT = "none"
"""The triple day of an instrument that has none: every night counts once, those of the weekend included."""

CLOCK_NAMES = ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos", "tokyo", "london", "new_york")
"""The columns of `BarTimes.clock`."""

_DAY = 86_400  # seconds
_MONDAY = 3  # 1970-01-01 was a Thursday, three days after a Monday
SESSIONS = ((0, 9), (7, 16), (12, 21))
"""UTC hours of Tokyo, London and New York, without daylight saving: the first, and one past the last."""


@struct.dataclass
class BarTimes:
    """What the times of bars alone say about them; NumPy on the host, and without the axis T for one bar."""

    clock: jax.Array  # [T, 7] float32, in the order of CLOCK_NAMES; sessions are 1 while open, by the bar's open
    day: jax.Array  # [T] int32, see `broker_days`
    swap_nights: jax.Array  # [T, N] float32, see `charged_nights`


def bar_times(
    timestamps: np.ndarray, triple_days: tuple[str, ...], timezone: str, before: int | None = None
) -> BarTimes:
    """The calendar columns of bars, the same for a whole history and for the newest bar alone.

    Args:
        timestamps: ``[T]`` int64, opens in seconds since 1970 UTC, increasing.
        triple_days: for each instrument the weekday whose night counts three times, Mon to Fri, or EVERY_NIGHT.
        timezone: as in `broker_days`.
        before: the open of the bar before the first; None where there is none, so that no night precedes the first.
    """
    opens = np.asarray(timestamps, np.int64)
    previous = opens[:1] if before is None else np.array([before], np.int64)
    columns: dict[str, Any] = {
        "clock": _clock(opens),
        "day": broker_days(opens, timezone),
        "swap_nights": charged_nights(np.concatenate([previous, opens]), triple_days, timezone)[1:],
    }
    return BarTimes(**columns)


def _clock(timestamps: np.ndarray) -> np.ndarray:
    """``[T, 7]`` float32 in the order of CLOCK_NAMES."""
    day, second = np.divmod(timestamps, _DAY)
    minute, hour = second // 60, second // 3600
    time_of_day = np.exp(2j * np.pi * np.arange(1440) / 1440)[minute]
    weekday = np.exp(2j * np.pi * np.arange(7) / 7)[(day + _MONDAY) % 7]
    sessions = [(hour >= first) & (hour < last) for first, last in SESSIONS]
    columns = [time_of_day.imag, time_of_day.real, weekday.imag, weekday.real, *sessions]
    return np.stack(columns, axis=-1).astype(np.float32)


def broker_days(timestamps: np.ndarray, timezone: str) -> np.ndarray:
    """The broker's day ``[T]`` int32 of each bar's open, days since 1970.

    Args:
        timestamps: ``[T]`` int64, seconds since 1970 UTC.
        timezone: an IANA name such as Europe/Athens, UTC, or NewYork+7. Daylight saving is followed.

    Raises:
        UserError: there is no such time zone.
    """
    return (read_zone(timezone, "simulation.broker_clock").from_utc(np.asarray(timestamps, np.int64)) // _DAY).astype(
        np.int32
    )


def charged_nights(timestamps: np.ndarray, triple_days: tuple[str, ...], timezone: str) -> np.ndarray:
    """Nights charged for holding from the open of one bar to the open of the next ``[T, N]`` float32.

    Row t counts the broker's midnights after the open of bar t - 1 and up to that of bar t, whether or not a bar exists
    at midnight. The night that ends a Saturday or a Sunday is free, that which ends the triple day counts three times,
    any other once: seven in a week of five nights. Without a triple day, all seven nights of the week count once, as
    those of instruments do that trade on every day.

    Args:
        timestamps: ``[T]`` int64, seconds since 1970 UTC, increasing.
        triple_days: for each instrument the weekday whose night counts three times, Mon to Fri, or EVERY_NIGHT.
        timezone: as in `broker_days`.
    """
    day = broker_days(timestamps, timezone).astype(np.int64)
    columns = []
    for triple_day in triple_days:
        weights = np.ones(len(WEEKDAYS))
        if triple_day != EVERY_NIGHT:
            weights[5:] = 0.0
            weights[WEEKDAYS.index(triple_day)] = 3.0
        weeks, weekday = np.divmod(day + _MONDAY, 7)
        before = np.concatenate([[0.0], np.cumsum(weights)])[weekday]  # nights of the week that ended before the day
        total = weeks * weights.sum() + before
        columns.append(np.diff(total, prepend=total[0]))
    return np.stack(columns, axis=-1).astype(np.float32)
