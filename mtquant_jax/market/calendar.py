"""Bar times -> the broker's days and the nights that swap is charged for."""

from __future__ import annotations

import numpy as np

from mtquant_jax.time_zones import read_zone

NEW_YORK_CLOSE = "NewYork+7"
"""The common broker clock: New York local time plus seven hours, so that the day ends at 17:00 in New York."""

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

_DAY = 86_400  # seconds
_MONDAY = 3  # 1970-01-01 was a Thursday, three days after a Monday


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
    any other once: seven in a week of five nights.

    Args:
        timestamps: ``[T]`` int64, seconds since 1970 UTC, increasing.
        triple_days: for each instrument the weekday whose night counts three times: Mon to Fri.
        timezone: as in `broker_days`.
    """
    day = broker_days(timestamps, timezone).astype(np.int64)
    columns = []
    for triple_day in triple_days:
        weights = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
        weights[WEEKDAYS.index(triple_day)] = 3.0
        weeks, weekday = np.divmod(day + _MONDAY, 7)
        before = np.concatenate([[0.0], np.cumsum(weights)])[weekday]  # nights of the week that ended before the day
        total = weeks * weights.sum() + before
        columns.append(np.diff(total, prepend=total[0]))
    return np.stack(columns, axis=-1).astype(np.float32)
