"""Broker days and charged nights on dates of the real calendar."""

from __future__ import annotations

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.calendar import broker_days, charged_nights
from mtquant_jax.time_zones import read_zone


def utc(*times: str) -> np.ndarray:
    return np.array(times, "datetime64[s]").astype(np.int64)


def shown(seconds: np.ndarray) -> list[str]:
    return [str(t) for t in np.asarray(seconds).astype("datetime64[s]").astype("datetime64[m]")]


def test_the_broker_clock_is_new_york_plus_seven_through_daylight_saving():
    # The day ends at 17:00 in New York: 22:00 UTC in winter, 21:00 from 2024-03-10 (second Sunday of March) on.
    times = utc("2024-03-08T21:59", "2024-03-08T22:00", "2024-03-11T20:59", "2024-03-11T21:00")
    clock = shown(read_zone("NewYork+7").from_utc(times))
    assert clock == ["2024-03-08T23:59", "2024-03-09T00:00", "2024-03-11T23:59", "2024-03-12T00:00"]
    assert np.diff(broker_days(times, "NewYork+7")).tolist() == [1, 2, 1]


def test_european_daylight_saving_begins_three_weeks_later():
    # Athens: UTC+2 until 2024-03-31, then UTC+3.
    assert shown(read_zone("Europe/Athens").from_utc(utc("2024-03-30T22:00", "2024-03-31T21:00"))) == [
        "2024-03-31T00:00",
        "2024-04-01T00:00",
    ]
    assert shown(read_zone("UTC").from_utc(utc("2024-03-30T22:00"))) == ["2024-03-30T22:00"]


@pytest.mark.parametrize(("triple", "expected"), [("Wed", [1, 1, 3, 1, 1]), ("Fri", [1, 1, 1, 1, 3])])
def test_a_week_has_seven_charged_nights(triple, expected):
    # Daily bars that open at the broker's midnight (21:00 UTC in summer), Monday 2024-05-06 to Monday 2024-05-13.
    days = ["05-05", "05-06", "05-07", "05-08", "05-09", "05-12"]
    opens = utc(*(f"2024-{day}T21:00" for day in days))
    nights = charged_nights(opens, (triple,), "NewYork+7")[:, 0]
    assert nights.tolist() == [0, *expected]  # the weekend's own two nights are free
    assert nights.sum() == 7


def test_a_weekend_gap_is_one_night_for_forex_and_three_for_indices():
    friday_to_monday = utc("2024-05-10T20:00", "2024-05-12T22:00")
    assert charged_nights(friday_to_monday, ("Wed", "Fri"), "NewYork+7")[1].tolist() == [1, 3]


def test_nights_without_bars_are_charged_as_well():
    # Tuesday noon to Thursday noon crosses the nights of Tuesday (1) and Wednesday (3 or 1).
    assert charged_nights(utc("2024-05-07T12:00", "2024-05-09T12:00"), ("Wed", "Fri"), "UTC")[1].tolist() == [4, 2]
    # A year of 52 weeks: 364 nights.
    assert charged_nights(utc("2023-01-02T12:00", "2024-01-01T12:00"), ("Wed",), "UTC")[1, 0] == 364


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Athens", "NewYork+7"])
@pytest.mark.parametrize("change", ["2024-03-10", "2024-03-31", "2024-10-27", "2024-11-03"])
def test_a_change_of_the_clock_neither_adds_nor_drops_a_night(zone, change):
    first = np.datetime64(change, "s").astype(np.int64) - 7 * 86_400
    opens = first + 1800 + 3600 * np.arange(14 * 24)  # no open falls on a midnight, whichever the offset
    nights = charged_nights(opens, ("Wed",), zone)[:, 0]
    days = broker_days(opens, zone)
    names = [np.datetime64(int(day), "D").item().strftime("%a") for day in range(days[0], days[-1])]
    assert len(names) in (13, 14)
    assert nights.sum() == sum({"Wed": 3, "Sat": 0, "Sun": 0}.get(name, 1) for name in names)
    assert set(nights.tolist()) == {0.0, 1.0, 3.0}
    assert (nights == 3.0).sum() == 2  # two Wednesdays


def test_an_unknown_time_zone_is_named():
    with pytest.raises(
        UserError, match=r"`simulation.broker_clock` Athens: no such zone; did you mean Europe/Athens\?"
    ):
        broker_days(utc("2024-01-01"), "Athens")


def test_without_a_triple_day_every_night_is_charged_once():
    # Friday evening to Monday evening crosses three midnights; a week of hourly bars crosses seven.
    friday_to_monday = utc("2024-05-10T20:00", "2024-05-13T20:00")
    assert charged_nights(friday_to_monday, ("none", "Wed", "Fri"), "NewYork+7")[1].tolist() == [3, 1, 3]
    hours = utc("2024-05-06T00:30")[0] + 3600 * np.arange(24 * 7 + 1)
    nights = charged_nights(hours, ("none",), "NewYork+7")[:, 0]
    assert nights.sum() == 7 and nights.max() == 1
    weekend = np.isin((hours // 86_400 + 3) % 7, (5, 6))
    assert nights[weekend].sum() == 2
