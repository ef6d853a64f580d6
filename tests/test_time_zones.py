"""Broker clocks, through daylight-saving changes."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.reading import inspect_bar_file, read_bar_file
from mtquant_jax.time_zones import read_zone


def seconds(*texts: str) -> np.ndarray:
    return np.array(texts, "datetime64[s]").astype(np.int64)


def shown(times: np.ndarray) -> list[str]:
    return [str(np.datetime64(int(t), "s"))[:16] for t in times]


@pytest.mark.parametrize("name", ["NewYork+7", "newyork+7", "New_York + 7", "NEWYORK +7"])
def test_the_new_york_close_is_midnight_at_the_broker_all_the_year(name):
    zone = read_zone(name)
    assert zone.name == "NewYork+7" and not zone.is_utc
    # 17:00 in New York is 22:00 UTC in winter and 21:00 in summer; US clocks change before the European ones.
    midnights = seconds("2024-01-10T00:00", "2024-03-09T00:00", "2024-03-12T00:00", "2024-07-10T00:00")
    expected = ["2024-01-09T22:00", "2024-03-08T22:00", "2024-03-11T21:00", "2024-07-09T21:00"]
    assert shown(zone.to_utc(midnights).utc) == expected
    np.testing.assert_array_equal(zone.from_utc(zone.to_utc(midnights).utc), midnights)


def test_an_hour_that_happens_twice_is_told_by_the_order_of_the_rows():
    # Helsinki goes back from 04:00 to 03:00 on 2024-10-27, at 01:00 UTC.
    local = seconds("2024-10-27T02:30", "2024-10-27T03:00", "2024-10-27T03:30", "2024-10-27T03:00", "2024-10-27T03:30")
    result = read_zone("Europe/Helsinki").to_utc(local)
    assert [text[11:] for text in shown(result.utc)] == ["23:30", "00:00", "00:30", "01:00", "01:30"]
    assert (result.ambiguous, result.missing) == (4, 0)
    once = read_zone("Europe/Helsinki").to_utc(local[[0, 1, 2]])
    assert [text[11:] for text in shown(once.utc)] == ["23:30", "00:00", "00:30"] and once.ambiguous == 2


def test_an_hour_that_never_happens_counts_with_the_offset_before():
    # Helsinki skips 03:00 to 04:00 on 2024-03-31, at 01:00 UTC.
    result = read_zone("Europe/Helsinki").to_utc(seconds("2024-03-31T02:59", "2024-03-31T03:30", "2024-03-31T04:00"))
    assert [text[11:] for text in shown(result.utc)] == ["00:59", "01:30", "01:00"]
    assert (result.ambiguous, result.missing) == (0, 1)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["America/New_York", "Europe/Helsinki", "Australia/Lord_Howe", "Asia/Tokyo", "America/Sao_Paulo"]),
    st.lists(st.integers(0, 60 * 365 * 24), min_size=1, max_size=30),
)
def test_conversions_agree_with_the_standard_library(name, hours):
    utc = np.sort(np.array(hours, np.int64)) * 3600
    zone = read_zone(name)
    local = zone.from_utc(utc)
    expected = [datetime.fromtimestamp(int(t), UTC).astimezone(ZoneInfo(name)).replace(tzinfo=UTC) for t in utc]
    assert local.tolist() == [int(t.timestamp()) for t in expected]
    for t, u in zip(local, utc, strict=True):  # one by one the first of two hours counts, as with fold = 0
        first = datetime.fromtimestamp(int(t), UTC).replace(tzinfo=ZoneInfo(name)).astimezone(UTC).timestamp()
        assert zone.to_utc(np.array([t])).utc[0] == int(first) and abs(int(first) - u) <= 3600


def test_a_year_of_hours_comes_back_in_order():
    utc = np.arange(seconds("2024-01-01T00:00")[0], seconds("2025-01-01T00:00")[0], 3600)
    for name in ("NewYork+7", "Europe/London", "Asia/Tokyo", "Etc/GMT+5"):
        zone = read_zone(name)
        np.testing.assert_array_equal(zone.to_utc(zone.from_utc(utc)).utc, utc)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Helsinki", "`broker_timezone` Helsinki: no such zone; did you mean Europe/Helsinki"),
        ("Europe/Helsinky", "did you mean Europe/Helsinki"),
        ("GMT+2", "for a constant offset write Etc/GMT-2, for the New York close NewYork+7"),
        ("+03:00", "for a constant offset write Etc/GMT-3"),
        ("NewYork+77", "77 hours from New York are too many; brokers use NewYork+7"),
        ("", "`broker_timezone` : no such zone; use an IANA name such as Europe/Helsinki, or NewYork+7"),
        ("my broker", "use an IANA name such as Europe/Helsinki, or NewYork+7"),
    ],
)
def test_unknown_zones_are_refused_with_a_likely_one(name, message):
    with pytest.raises(UserError) as error:
        read_zone(name)
    assert message in str(error.value)


def test_utc_by_any_name_and_case():
    assert all(read_zone(name).is_utc for name in ("UTC", "utc", "Etc/UTC", "GMT"))
    assert read_zone("europe/berlin").name == "Europe/Berlin"


def write(path, stamps):
    path.write_text("time,open,high,low,close\n" + "".join(f"{t},1.{i}1,2,1,1.{i}5\n" for i, t in enumerate(stamps)))
    return path


def test_a_file_through_both_changes(tmp_path):
    stamps = [f"2024-10-27 0{hour}:00" for hour in (2, 3, 3, 4)]
    file, found = inspect_bar_file(write(tmp_path / "a.csv", stamps), read_zone("Europe/Helsinki"))
    assert [text[11:] for text in shown(file.timestamps)] == ["23:00", "00:00", "01:00", "02:00"]
    assert found.ambiguous == 2 and "2 stamps lie in hours that occur twice in Europe/Helsinki" in found.notices[0]
    backwards = read_bar_file(write(tmp_path / "b.csv", stamps[::-1]), read_zone("Europe/Helsinki"))
    np.testing.assert_array_equal(backwards.timestamps, file.timestamps)
    # A clock without daylight saving, taken for one with it: two rows fall on one time.
    stamps = [f"2024-03-31 0{hour}:00" for hour in (2, 3, 4)]
    file, found = inspect_bar_file(write(tmp_path / "c.csv", stamps), read_zone("Europe/Helsinki"))
    assert file is None and found.missing == 1
    assert "row 3 has the same time" in found.problem
    assert found.problem.endswith("or these stamps are not in the zone given as `broker_timezone`")
    assert len(read_bar_file(write(tmp_path / "c.csv", stamps), read_zone("Etc/GMT-2")).close) == 3


def test_stamps_with_an_offset_ignore_the_zone(tmp_path):
    path = write(tmp_path / "a.csv", [f"2024-01-02 0{hour}:00:00+01:00" for hour in range(3)])
    file = read_bar_file(path, read_zone("NewYork+7"))
    assert shown(file.timestamps)[0] == "2024-01-01T23:00" and file.zone == "UTC (in the file)"
