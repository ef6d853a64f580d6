"""Turns bars of one interval into bars of a longer interval, and seconds into timeframe names.

A coarse bar takes the open of its first and the close of its last fine bar, the range of all of them and the sum of
their volumes. Its spread is that of the first fine bar, because orders fill at the open of a bar, where that spread is
quoted. Bars are stamped at their open on multiples of the interval in UTC; days follow the broker's clock, because a
daily bar of MetaTrader runs from midnight to midnight on it.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import BarFile, format_time
from mtquant_jax.time_zones import Zone

FILES = "files"
"""The timeframe setting that keeps the bars of the files."""
TIMEFRAMES = {"M1": 60, "M5": 300, "M15": 900, "M30": 1800, "H1": 3600, "H4": 14_400, "D1": 86_400}
_DAY = 86_400


def timeframe_name(seconds: int) -> str:
    """Return the name of an interval in the largest unit that divides it: 60 -> M1, 3600 -> H1, 86400 -> D1."""
    for letter, unit in (("D", _DAY), ("H", 3600), ("M", 60)):
        if seconds and seconds % unit == 0:
            return f"{letter}{seconds // unit}"
    return f"{seconds} s"


def resample(file: BarFile, timeframe: str, zone: Zone) -> BarFile:
    """Resample the bars of a file to a coarser timeframe ("files": unchanged).

    A coarse bar exists if it holds at least one fine bar; the first and the last may cover only part of their time.

    Raises UserError if the file's bars are coarser than the timeframe, or cross the borders of the coarse bars: a fine
    bar that ends after its coarse bar would bring the future into it.
    """
    if timeframe == FILES:
        return file
    target, interval = TIMEFRAMES[timeframe], file.interval
    if interval == target:
        return file
    if interval > target:
        raise UserError(
            f"`timeframe` {timeframe}: {file.name} has {timeframe_name(interval)} bars, and finer ones cannot be made "
            f"from them; use {timeframe_name(interval)} or longer, or finer files"
        )
    label = _labels(file.timestamps, target, zone)
    crossing = np.flatnonzero(label != _labels(file.timestamps + interval - 1, target, zone))
    if len(crossing):
        first = file.timestamps[crossing[0]]
        raise UserError(
            f"`timeframe` {timeframe}: the {timeframe_name(interval)} bar of {file.name} at {format_time(first)} UTC "
            f"runs past the end of its {timeframe} bar ({len(crossing)} bars do); use finer files or another "
            "`timeframe`" + (" or `broker_timezone`" if timeframe == "D1" else "")
        )
    return _aggregate(file, label)


def opens_of(file: BarFile, zone: Zone) -> BarFile:
    """The bars of a file that stamps them at their end, stamped at their open; days end at midnight on the zone."""
    if file.interval < _DAY or zone.is_utc:
        return dataclasses.replace(file, timestamps=file.timestamps - file.interval)
    return dataclasses.replace(file, timestamps=zone.to_utc(zone.from_utc(file.timestamps) - file.interval).utc)


def _labels(times: np.ndarray, target: int, zone: Zone) -> np.ndarray:
    """Return the open [R] of the coarse bar that holds each UTC time."""
    if target < _DAY or zone.is_utc:
        return times - times % target
    local = zone.from_utc(times)
    midnights, day = np.unique(local - local % _DAY, return_inverse=True)
    return zone.to_utc(midnights).utc[day]


def _aggregate(file: BarFile, label: np.ndarray) -> BarFile:
    tradable, keep = file.tradable, np.ones(len(label), bool)
    if tradable is not None:
        # Bars that only carry a close are left out, except the first one, as if the file did not have them.
        keep = tradable | (np.arange(len(label)) == 0)
        label, tradable = label[keep], tradable[keep]
    starts = np.flatnonzero(np.diff(label, prepend=label[0] - 1))
    ends = np.append(starts[1:], len(label)) - 1
    return dataclasses.replace(
        file,
        timestamps=label[starts],
        open=file.open[keep][starts],
        high=np.maximum.reduceat(file.high[keep], starts),
        low=np.minimum.reduceat(file.low[keep], starts),
        close=file.close[keep][ends],
        volume=np.add.reduceat(file.volume[keep], starts),
        spread=None if file.spread is None else file.spread[keep][starts],
        tradable=None if tradable is None else np.logical_or.reduceat(tradable, starts),
    )
