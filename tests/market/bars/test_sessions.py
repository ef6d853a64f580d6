"""Gaps of instruments that trade always, around the clock in the week, or in the hours of an exchange."""

from __future__ import annotations

import numpy as np

from mtquant_jax.market.bars.bar_file import BarFile
from mtquant_jax.market.bars.reading import read_bar_file
from mtquant_jax.market.bars.sessions import find_gaps
from tests.market.bars.test_timeframes import times, write


def bars(tmp_path, stamps: np.ndarray) -> BarFile:
    return read_bar_file(write(tmp_path / "AAPL.csv", stamps, digits=2, level=100.0))


def hours(tmp_path, keep) -> BarFile:
    """Hourly bars of March 2024, which begins on a Friday, where ``keep(hour of the day, weekday)``."""
    stamps = times("2024-03-01T00:00", "2024-04-01T00:00", 3600)
    hour, weekday = stamps % 86_400 // 3600, (stamps // 86_400 + 3) % 7
    return bars(tmp_path, stamps[keep(hour, weekday)])


def test_a_weekend_is_a_gap_of_what_trades_always(tmp_path):
    file = hours(tmp_path, lambda hour, weekday: weekday < 5)
    assert find_gaps(file, "week").count == 0
    found = find_gaps(file, "always")
    assert (found.count, found.missing_bars, found.daily_breaks) == (4, 4 * 48, 0)
    assert find_gaps(hours(tmp_path, lambda hour, weekday: hour >= 0), "always").count == 0


def test_nights_and_weekends_are_no_gaps_of_an_exchange(tmp_path):
    file = hours(tmp_path, lambda hour, weekday: (weekday < 5) & (hour >= 14) & (hour < 21))
    assert find_gaps(file).count == 16  # a currency would not rest in four nights of a week
    found = find_gaps(file, "exchange")
    assert (found.count, found.missing_bars, found.daily_breaks) == (0, 0, 0)


def test_what_an_exchange_lacks_is_found(tmp_path):
    # Lunch from 4 to 5 on every day, a holiday on Tuesday 2024-03-12, and two hours lost on the day after.
    stamps = times("2024-03-01T00:00", "2024-04-01T00:00", 3600)
    hour, weekday = stamps % 86_400 // 3600, (stamps // 86_400 + 3) % 7
    keep = (weekday < 5) & (hour >= 1) & (hour < 8) & (hour != 4)
    lost = np.isin(stamps, times("2024-03-13T06:00", "2024-03-13T08:00", 3600) - 3600)
    found = find_gaps(bars(tmp_path, stamps[keep & ~(stamps // 86_400 == 19_794) & ~lost]), "exchange")
    assert (found.count, found.missing_bars, found.longest) == (2, 6 + 3, 41 * 3600)
    assert found.daily_breaks == 19
