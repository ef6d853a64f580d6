"""calendar.mqh against market.calendar: every hour of years, through all changes of the clocks."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from mtquant_jax.deploy.mql5.tables import SERVER_CLOCKS
from mtquant_jax.market.calendar import WEEKDAYS, bar_times
from mtquant_jax.time_zones import read_zone

YEARS = ("2016-01-01", "2027-01-01")


@pytest.fixture(scope="module")
def hours() -> np.ndarray:
    first, last = (int(np.datetime64(day, "s").astype(np.int64)) for day in YEARS)
    return np.arange(first, last, 3600)


def test_days_nights_and_clock_of_every_hour(terminal_library, trading_desk, hours) -> None:
    triples = (*WEEKDAYS[:5], "none")
    expected = bar_times(hours, triples, trading_desk.config.simulation.broker_clock)
    day = np.zeros(len(hours), np.int32)
    nights, clock = np.zeros((len(hours), 6), np.float32), np.zeros((len(hours), 7), np.float32)
    terminal_library.library.calendar_of(_at(hours), len(hours), _at(day), _at(nights), _at(clock))
    np.testing.assert_array_equal(day, expected.day)
    np.testing.assert_array_equal(nights, expected.swap_nights)
    np.testing.assert_allclose(clock, expected.clock, atol=1e-7)


@pytest.mark.parametrize("clock", range(len(SERVER_CLOCKS) + 1))
def test_server_time_and_utc(terminal_library, trading_desk, hours, clock: int) -> None:
    zone = read_zone((trading_desk.config.simulation.broker_clock, *SERVER_CLOCKS.values())[clock])
    local, utc = zone.from_utc(hours), np.zeros_like(hours)
    terminal_library.library.calendar_utc(clock, _at(local), len(hours), _at(utc))
    np.testing.assert_array_equal(utc, hours)


def _at(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
