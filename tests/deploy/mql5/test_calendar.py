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
    library = terminal_library.library
    triples = (*WEEKDAYS[:5], "none")
    expected = bar_times(hours, triples, trading_desk.config.simulation.broker_clock)
    columns = (ctypes.c_float * 7)()
    before = int(hours[0])
    for index, utc in enumerate(hours.tolist()):
        assert library.calendar_day(ctypes.c_long(utc)) == expected.day[index]
        for column in range(len(triples)):
            triple = column if column < 5 else -1
            nights = library.calendar_nights(ctypes.c_long(before), ctypes.c_long(utc), triple)
            assert nights == expected.swap_nights[index, column]
        library.calendar_clock(ctypes.c_long(utc), columns)
        np.testing.assert_allclose(columns, expected.clock[index], atol=1e-7)
        before = utc


@pytest.mark.parametrize("clock", range(len(SERVER_CLOCKS) + 1))
def test_server_time_and_utc(terminal_library, trading_desk, hours, clock: int) -> None:
    zone = read_zone((trading_desk.config.simulation.broker_clock, *SERVER_CLOCKS.values())[clock])
    local = zone.from_utc(hours)
    before = 0
    for utc, server in zip(hours.tolist(), local.tolist(), strict=True):
        found = terminal_library.library.calendar_utc(clock, ctypes.c_long(server), ctypes.c_long(before))
        assert found == utc
        before = utc
