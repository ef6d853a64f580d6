"""Which columns hold the times of a file, under any usual names, and on which clock its header says they are."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import format_time
from mtquant_jax.market.bars.reading import inspect_bar_file, read_bar_file
from mtquant_jax.market.frames import load_frames
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.time_zones import read_zone

HOURS = [f"2024-01-02 {hour:02d}:00" for hour in (13, 14, 15)]
PRICES = "1.1,1.2,1.0,1.15"


def table(tmp_path, names: str, rows: list[str], separator: str = ","):
    lines = [f"{names},open,high,low,close", *(f"{row},{PRICES}" for row in rows)]
    path = tmp_path / "EURUSD.csv"
    path.write_text("\n".join(lines).replace(",", separator) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        ("Date,Time", ["2024-01-02,13:00", "2024-01-02,14:00", "2024-01-02,15:00"]),
        ("<DATE>,<TIME>", ["2024.01.02,13:00:00", "2024.01.02,14:00:00", "2024.01.02,15:00:00"]),
        ("<TICKER>,<PER>,<DATE>,<TIME>", [f"EURUSD,60,20240102,{h}0000" for h in (13, 14, 15)]),
        ("<DTYYYYMMDD>,<TIME>", ["20240102,1300", "20240102,1400", "20240102,1500"]),
        ("day,hour", ["2024-01-02,13", "2024-01-02,14", "2024-01-02,15"]),
        ("date,timestamp", ["2024-01-02,13:00:00", "2024-01-02,14:00:00", "2024-01-02,15:00:00"]),
        ("timestamp,date", ["13:00:00,2024-01-02", "14:00:00,2024-01-02", "15:00:00,2024-01-02"]),
        ("Trade Date,Trade Time", ["2024-01-02,13:00", "2024-01-02,14:00", "2024-01-02,15:00"]),
        ("Datum,Uhrzeit", ["02.01.2024,13:00", "02.01.2024,14:00", "02.01.2024,15:00"]),
        ("datetime,time", ["2024-01-02 00:00:00,13:00", "2024-01-02 00:00:00,14:00", "2024-01-02 00:00:00,15:00"]),
        ("date,timestamp", [f"2024-01-02,{hour}" for hour in HOURS]),
        ("Date,Time", [f"2024-01-02,{hour}" for hour in HOURS]),
        ("date,unix", [f"2024-01-02,{1_704_200_400 + 3600 * i}" for i in range(3)]),
        ("date,open_time,close_time", [f"2024-01-02,{1_704_200_400_000 + 3_600_000 * i},9" for i in range(3)]),
        ("Date_Time", HOURS),
        ("Date/Time", HOURS),
        ("bar start", HOURS),
        ("timestamp_ms", [str(1_704_200_400_000 + 3_600_000 * i) for i in range(3)]),
        ("дата,время", ["2024-01-02,13:00", "2024-01-02,14:00", "2024-01-02,15:00"]),
        ("index,time", [f"{i},{hour}" for i, hour in enumerate(HOURS)]),
        (",time", [f"{i},{hour}" for i, hour in enumerate(HOURS)]),
        ("Date", [f"20240102{hour}" for hour in (13, 14, 15)]),
        ("Date,Time", ["2024-01-02,1:00 PM", "2024-01-02,2:00 PM", "2024-01-02,3:00 PM"]),
        ("Date", ["2024-01-02 1:00:00 pm", "2024-01-02 2:00:00 pm", "2024-01-02 3:00:00 p.m."]),
        ("datetime_local,datetime_utc", [f"2024-01-02 {h + 2}:00,2024-01-02 {h}:00" for h in (13, 14, 15)]),
        ("session,time", [f"london,{hour}" for hour in HOURS]),
    ],
)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_times_are_found_under_any_usual_names(tmp_path, names, rows, separator):
    file, found = inspect_bar_file(table(tmp_path, names, rows, separator))
    assert found.problem is None and found.notices == []
    assert [format_time(t) for t in file.timestamps] == HOURS


def test_times_under_other_names_are_found_by_their_cells_and_named(tmp_path):
    file, found = inspect_bar_file(table(tmp_path, "note,when", [f"x,{hour}" for hour in HOURS]))
    assert [format_time(t) for t in file.timestamps] == HOURS
    assert found.notices == ["EURUSD.csv: its times are taken from the column 'when'."]
    assert inspect_bar_file(table(tmp_path, "close_time", HOURS))[1].problem.startswith(
        "EURUSD.csv has prices but no column of times; its columns are close_time, open, high, low, close; call that of"
    )


def test_of_two_columns_with_other_times_the_choice_is_named(tmp_path):
    rows = [f"2024-01-02 {hour:02d}:00,2024-01-02 {hour - 2:02d}:00" for hour in (13, 14, 15)]
    file, found = inspect_bar_file(table(tmp_path, "time,timestamp", rows))
    assert format_time(file.timestamps[0]) == "2024-01-02 11:00"
    assert found.notices == ["EURUSD.csv: its times are taken from the column 'timestamp', not from 'time'."]


@pytest.mark.parametrize(
    ("names", "row", "chosen"),
    [
        ("time,time_utc", "2024-01-02 15:00,2024-01-02 13:00", "'time_utc', not from 'time'"),
        ("date,unix", "2024-01-02 15:00,1704200400", "'unix', not from 'date'"),
        ("time,date", "2024-01-02 15:00,2024-01-02 13:00Z", "'date', not from 'time'"),
    ],
)
def test_times_that_are_certainly_in_utc_win(tmp_path, names, row, chosen):
    file, found = inspect_bar_file(table(tmp_path, names, [row]))
    assert [format_time(t) for t in file.timestamps] == HOURS[:1] and not file.naive
    assert found.notices == [f"EURUSD.csv: its times are taken from the column {chosen}."]


def test_the_same_times_on_two_clocks_stay_on_that_of_the_file(tmp_path):
    file, found = inspect_bar_file(table(tmp_path, "time,datetime", ["1704200400,2024-01-02 13:00"]))
    assert file.naive and found.notices == []


@pytest.mark.parametrize(
    ("rows", "times", "first_open"),
    [
        (["20240102,900,1.1,1.2,1.0,1.15,5", "20240102,1000,1.1,1.2,1.0,1.15,5"], ["09:00", "10:00"], 1.1),
        (["20240102,90000,1.1,1.2,1.0,1.15,5", "20240102,0,1.1,1.2,1.0,1.15,5"], ["00:00", "09:00"], 1.1),
        (["20240102,1530,1540,1520,1535,900", "20240103,1530,1540,1520,1535,900"], ["00:00", "00:00"], 1530),
        (["20240102,1500,1530,1540,1520,1535", "20240102,1600,1530,1540,1520,1535"], ["15:00", "16:00"], 1530),
    ],
)
def test_without_a_header_a_number_is_a_time_of_day_unless_it_makes_a_bar(tmp_path, rows, times, first_open):
    (tmp_path / "SPX500.csv").write_text("\n".join(rows))
    file = read_bar_file(tmp_path / "SPX500.csv")
    assert [format_time(t)[11:] for t in file.timestamps] == times and file.open[0] == first_open


def test_an_unreadable_time_of_day_is_not_left_out(tmp_path):
    with pytest.raises(UserError, match="row 2: the time '2024-01-02 1 o clock' cannot be read"):
        read_bar_file(table(tmp_path, "Date,Time", ["2024-01-02,1 o clock", "2024-01-02,2 o clock"]))
    with pytest.raises(
        UserError, match=r"row 2: 6 columns .* does not name the times of day in column 2: insert 'time'"
    ):
        path = table(tmp_path, "Date", ["2024-01-02,13:00", "2024-01-02,14:00"])
        read_bar_file(path)


def test_a_missing_column_is_the_one_that_the_message_names(tmp_path):
    dates = table(tmp_path, "Date", ["2024-01-02"] * 3)
    dates.write_text(dates.read_text().replace("1.15\n", "1.16\n", 1))
    with pytest.raises(
        UserError, match=r"row 3 .*: row 2 has the same date; the column of the times of day is missing"
    ):
        read_bar_file(dates)
    with pytest.raises(UserError, match="has times of day in the column 'Time' but no column of dates"):
        read_bar_file(table(tmp_path, "Time", ["13:00", "14:00", "15:00"]))
    with pytest.raises(UserError, match=r"has prices but no column of times; its columns are note, open, high"):
        read_bar_file(table(tmp_path, "note", ["a", "b", "c"]))
    with pytest.raises(UserError, match=r"has an unknown format: its columns are Date, Time, last"):
        (tmp_path / "x.csv").write_text("Date,Time,last,a,b\n2024-01-02,13:00,1,2,3\n")
        read_bar_file(tmp_path / "x.csv")


@pytest.mark.parametrize(
    ("name", "zone", "first"),
    [
        ("Time (EET)", "Europe/Athens", "2024-01-02 11:00"),
        ("Time (UTC)", "UTC", "2024-01-02 13:00"),
        ("time_utc", "UTC", "2024-01-02 13:00"),
        ("UTC", "UTC", "2024-01-02 13:00"),
        ("Gmt time", "UTC", "2024-01-02 13:00"),
        ("Date (GMT+2)", "UTC+02:00", "2024-01-02 11:00"),
        ("Datetime [UTC-05:00]", "UTC-05:00", "2024-01-02 18:00"),
        ("Time GMT+3", "UTC+03:00", "2024-01-02 10:00"),
        ("Time (Europe/Helsinki)", "Europe/Helsinki", "2024-01-02 11:00"),
        ("Time (New York)", "America/New_York", "2024-01-02 18:00"),
        ("Time CET", "Europe/Berlin", "2024-01-02 12:00"),
        ("Time (MSK)", "Europe/Moscow", "2024-01-02 10:00"),
    ],
)
def test_the_clock_in_a_header_is_believed_and_named(tmp_path, name, zone, first):
    file, found = inspect_bar_file(table(tmp_path, name, HOURS), read_zone("Asia/Tokyo"))
    assert (file.zone, format_time(file.timestamps[0]), file.naive) == (f"{zone} (in the file)", first, False)
    told = f"EURUSD.csv: its header {name!r} names the clock of its times; they are read as {zone}."
    assert found.notices == ([] if zone == "UTC" else [told])


def test_the_clock_of_either_of_two_columns_counts_and_summer_is_summer(tmp_path):
    path = table(tmp_path, "Date,Time (EET)", ["2024-07-02,13:00", "2024-07-02,14:00"])
    assert format_time(read_bar_file(path).timestamps[0]) == "2024-07-02 10:00"


def test_a_clock_in_a_header_has_no_effect_on_times_that_say_theirs(tmp_path):
    for row in ("1704200400", "2024-01-02 13:00Z"):
        file, found = inspect_bar_file(table(tmp_path, "Time (EET)", [row]))
        assert format_time(file.timestamps[0]) == HOURS[0] and file.zone == "UTC (in the file)"
        assert "names a clock, which has no effect: its times are in UTC or say theirs" in found.notices[0]


def test_an_unclear_clock_has_no_effect_and_says_so(tmp_path):
    file, found = inspect_bar_file(table(tmp_path, "Time (EST)", HOURS), read_zone("America/New_York"))
    assert file.naive and format_time(file.timestamps[0]) == "2024-01-02 18:00"
    assert "names a clock, which has no effect as EST is not clear; name its zone" in found.notices[0]


@pytest.mark.parametrize("index", [None, "Date", "Datetime", "when", "time", "bar_time"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_parquet_with_an_index_of_pandas(tmp_path, index, zone):
    times = pd.DatetimeIndex(HOURS, name=index, tz=zone)
    frame = pd.DataFrame({"Open": 1.1, "High": 1.2, "Low": 1.0, "Close": [1.15, 1.16, 1.17]}, index=times)
    frame.to_parquet(tmp_path / "EURUSD.parquet")
    file = read_bar_file(tmp_path / "EURUSD.parquet")
    assert [format_time(t) for t in file.timestamps] == HOURS and file.naive == (zone is None)


@pytest.mark.parametrize(
    "columns",
    [
        {"date": [20240102] * 3, "time": [1300, 1400, 1500]},
        {"date": [datetime.date(2024, 1, 2)] * 3, "time": [datetime.time(hour) for hour in (13, 14, 15)]},
        {"date": ["2024-01-02"] * 3, "time": ["13:00", "14:00", "15:00"]},
        {"date": np.array(["2024-01-02"] * 3, "datetime64[us]"), "hour": [13, 14, 15]},
        {"date": [20240102.0] * 3, "timestamp": np.array(HOURS, "datetime64[s]")},
        {"date": [2024010213, 2024010214, 2024010215]},
        {"__index_level_0__": [7, 8, 9], "time": HOURS},
    ],
)
def test_parquet_and_frames_have_two_columns_as_text_files_do(tmp_path, columns):
    frame = pd.DataFrame({**columns, "open": 1.1, "high": 1.2, "low": 1.0, "close": [1.15, 1.16, 1.17]})
    frame.to_parquet(tmp_path / "EURUSD.parquet", index=False)
    assert [format_time(t) for t in read_bar_file(tmp_path / "EURUSD.parquet").timestamps] == HOURS
    bars, _ = load_frames({"EURUSD": frame}, [], load_instruments())
    assert [format_time(t) for t in bars.timestamps] == HOURS
