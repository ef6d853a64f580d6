"""Times in every form: by their own value, in one column or two, in the period of bars, of other calendars."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtquant_jax.market.bars import stamp_forms
from mtquant_jax.market.bars.stamp_forms import FIRST, Form, last_time
from mtquant_jax.market.bars.stamp_numbers import read_numbers
from mtquant_jax.market.bars.stamps import join, read_stamps, settle, with_clock

TIMES = st.integers(FIRST, last_time() - 1)
PATTERNS = {
    Form.DAYS: "%Y%m%d",
    Form.HOURS: "%Y%m%d%H",
    Form.MINUTES: "%Y%m%d%H%M",
    Form.WHOLE: "%Y%m%d%H%M%S",
}
STEPS = {Form.DAYS: 86_400, Form.HOURS: 3600, Form.MINUTES: 60, Form.WHOLE: 1}


def when(seconds: int) -> datetime.datetime:
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)


def texts(*cells: str):
    return read_stamps(pa.array(cells, pa.string()))


def seconds(text: str) -> int:
    return int(np.datetime64(text, "s").astype(np.int64))


@settings(deadline=None, max_examples=60, derandomize=True)
@given(TIMES, st.sampled_from(list(PATTERNS)))
def test_a_number_is_read_in_the_calendar_form_in_which_it_is_a_date(time, form):
    time -= time % STEPS[form]
    number = int(when(time).strftime(PATTERNS[form]))
    for values in (np.array([number]), np.array([float(number)])):
        found, forms = read_numbers(values)
        assert (found[0], forms[0]) == (time, form) or time < FIRST
    written = texts(str(number))
    assert (written.seconds[0], written.forms[0]) == (found[0], forms[0])


@settings(deadline=None, max_examples=60, derandomize=True)
@given(TIMES, st.sampled_from([1, 1_000, 1_000_000, 1_000_000_000]))
def test_a_number_is_read_in_the_unit_in_which_it_is_a_date(time, scale):
    found, forms = read_numbers(np.array([time * scale, time * scale + scale - 1]))
    if scale != 1_000 or when(time).year not in (1976, 1978):  # YYYYMMDDHHMM has precedence there
        assert found.tolist() == [time, time]
        assert set(forms) == {{1: 9, 1_000: 10, 1_000_000: 11, 1_000_000_000: 12}[scale]}


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=8))
def test_no_number_is_read_as_a_time_outside_the_period(values):
    stamps = read_stamps(pa.array(values, pa.int64()))
    read = ~stamps.unread
    assert np.all((stamps.seconds[read] >= FIRST) & (stamps.seconds[read] <= last_time()))


def test_numbers_of_every_type_are_read_exactly():
    nanoseconds = 1_704_200_400_000_000_000
    for kind in (pa.int64(), pa.uint64(), pa.float64()):
        number = pa.array([float(nanoseconds) if pa.types.is_floating(kind) else nanoseconds], kind)
        assert read_stamps(number).seconds[0] == 1_704_200_400
    assert read_stamps(pa.array([20240102], pa.int32())).seconds[0] == seconds("2024-01-02")
    assert read_stamps(pa.array([20240102]).cast(pa.decimal128(30, 2))).seconds[0] == seconds("2024-01-02")
    wrong = read_stamps(pa.array([np.nan, np.inf, -np.inf, 1e300, 20240102.5, None], pa.float64(), from_pandas=False))
    assert wrong.unread.all()
    assert read_stamps(pa.array([2**64 - 1], pa.uint64())).unread[0]
    fractions = texts("1704200400.75", "1704200400123.5", "20240102.5", "20240102.0")
    assert fractions.seconds[:2].tolist() == [1_704_200_400] * 2 and fractions.unread.tolist() == [
        False,
        False,
        True,
        False,
    ]


def test_a_change_of_the_unit_is_counted():
    stamps, notices = settle(read_stamps(pa.array([1_704_200_400_000, 1_704_204_000_000, 1_704_207_600_000_000])))
    assert np.diff(stamps.seconds).tolist() == [3600, 3600]
    assert notices == [
        "its times have 2 forms: 2 are milliseconds since 1970 (from the 1st), 1 is microseconds since 1970 (from the "
        "3rd); each was read by its own."
    ]
    _, notices = settle(texts("2024-01-02", "2024-01-02 01:00"))
    assert notices[0].startswith(
        "its times have 2 forms: 1 is dates without a time of day (from the 1st), 1 is dates w"
    )
    assert settle(texts("2024-01-02 00:00", "02.01.2024 01:00"))[1] == []


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("1970-01-20 17:30", "does not lie between 1971-01-01 and"),
        ("2093-01-01", "does not lie between 1971-01-01 and"),
        ("1899-12-30", "does not lie between"),
        ("1403-05-06", "does not lie between"),
        ("57133-03-28 08:00", "cannot be read; write it as 2024"),
        ("2024-13-01", "cannot be read; write it as 2024"),
        ("2024-01-02 24:00", "cannot be read; write it as 2024"),
        ("2024-01-02 10:00+99:00", "cannot be read; write it as 2024"),
        ("", "cannot be read; write it as 2024"),
        ("20241301", "as a number it is no date between 1971-01-01 and"),
        ("240102", "as a number it is no date"),
        ("-5", "cannot be read"),
        ("99999999999999999999", "cannot be read"),
        ("45293", "is a day number of a spreadsheet; format the column"),
        ("45293.5416667", "is a day number of a spreadsheet"),
        ("13:00", "has no date"),
        ("2567-01-02", "has a year of the Buddhist calendar, unlike other rows; subtract 543"),
    ],
)
def test_what_is_no_time_of_a_bar_says_why(cell, reason):
    stamps, _ = settle(texts("2024-01-02 00:00", cell))
    assert stamps.unread.tolist() == [False, True]
    ((mask, sentence),) = stamps.problems()
    assert mask.tolist() == [False, True] and reason in sentence.format(text={"time": cell})


def test_the_period_ends_tomorrow(monkeypatch):
    monkeypatch.setattr(stamp_forms.time, "time", lambda: seconds("2024-01-02 12:00"))
    assert texts("2024-01-03 11:59", "2024-01-03 12:01").unread.tolist() == [False, True]


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["2567-01-02 03:00", "2567-02-29 00:00"]),
        pa.array(["02.01.2567 03:00", "29.02.2567 00:00"]),
        pa.array([256701020300, 256702290000]),
    ],
)
def test_a_column_of_buddhist_years_is_converted_and_counted(column):
    stamps, notices = settle(read_stamps(column))
    assert stamps.seconds.tolist() == [seconds("2024-01-02 03:00"), seconds("2024-02-29")] and not stamps.unread.any()
    assert notices == ["the years of its times are of the Buddhist calendar; 543 years were subtracted from all 2."]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_arrow_times_have_the_same_period_and_calendars(unit, zone):
    def column(*cells):
        return pa.array(np.array(cells, "datetime64[s]").astype(f"datetime64[{unit}]"), pa.timestamp(unit, zone))

    stamps, notices = settle(read_stamps(column("2567-03-31 23:00", "2567-04-01 00:00")))
    assert stamps.seconds.tolist() == [seconds("2024-03-31 23:00"), seconds("2024-04-01")] and len(notices) == 1
    assert stamps.has_offset.all() == (zone is not None) and not stamps.unread.any()
    mixed, _ = settle(read_stamps(column("2567-03-31 23:00", "2024-04-01 00:00", "1970-01-20", "9000-01-01")))
    assert mixed.unread.tolist() == [True, False, True, True]


def test_arrow_dates_times_of_day_and_other_types():
    day = read_stamps(pa.array([datetime.date(2024, 1, 2), None, datetime.date(1970, 1, 2)]))
    assert day.seconds[0] == seconds("2024-01-02") and day.unread.tolist() == [False, True, True]
    assert read_stamps(pa.array([datetime.date(2024, 1, 2)], pa.date64())).seconds[0] == seconds("2024-01-02")
    clock = read_stamps(pa.array([datetime.time(13, 30)], pa.time64("ns")))
    assert clock.unread[0] and with_clock(texts("2024-01-02"), clock).seconds[0] == seconds("2024-01-02 13:30")
    assert read_stamps(pa.nulls(2)).unread.all()
    assert read_stamps(pa.array(["2024-01-02"]).dictionary_encode()).seconds[0] == seconds("2024-01-02")
    assert read_stamps(pa.array([b"2024-01-02", None])).unread.tolist() == [False, True]
    assert read_stamps(pa.array([2**62], pa.timestamp("s"))).unread[0]


@pytest.mark.parametrize(
    ("dates", "clock", "expected"),
    [
        (["2024.01.02"] * 2, ["09:00", "13:30:05"], ["09:00:00", "13:30:05"]),
        (["20240102"] * 2, ["900", "1330"], ["09:00:00", "13:30:00"]),
        (["20240102"] * 2, ["0", "133005"], ["00:00:00", "13:30:05"]),
        (["20240102"] * 2, ["090000", "133000"], ["09:00:00", "13:30:00"]),
        (["2024-01-02"] * 2, ["9", "23"], ["09:00:00", "23:00:00"]),
        (["2024-01-02 00:00:00"] * 2, ["09:00", "13:30"], ["09:00:00", "13:30:00"]),
        (["2024-01-02 09:00", "2024-01-02 13:30"], ["09:00", "13:30"], ["09:00:00", "13:30:00"]),
        (["2024-01-02 09:00", "2024-01-02 13:30"], ["09:00", "13:31"], ["09:00:00", None]),
        (["2024-01-02"] * 2, ["09:00", ""], ["09:00:00", None]),
        (["2024-01-02", ""], ["09:00", "13:00"], ["09:00:00", None]),
        (["2024-01-02"] * 2, ["09:00", "25:00"], ["09:00:00", None]),
        (["2024-01-02"] * 2, ["09:00", "2024-01-02"], ["09:00:00", None]),
        (["2567-01-02"] * 2, ["09:00", "13:00"], ["09:00:00", "13:00:00"]),
    ],
)
def test_dates_and_times_of_day_are_joined(dates, clock, expected):
    stamps, _ = settle(with_clock(texts(*dates), texts(*clock)))
    assert stamps.unread.tolist() == [text is None for text in expected]
    assert [int(s) for s in stamps.seconds[~stamps.unread]] == [
        seconds(f"2024-01-02 {text}") for text in expected if text
    ]


def test_the_highest_number_of_all_pieces_says_what_times_of_day_count():
    dates, clock = texts("20240102", "20240102"), [texts("1300"), texts("5")]
    assert with_clock(dates, join(clock)).seconds.tolist() == [seconds("2024-01-02 13:00"), seconds("2024-01-02 00:05")]


def test_blanks_and_quotes_around_a_stamp_do_not_matter_in_any_row():
    stamps = texts(*["2024-01-02 00:00"] * 5, " 2024-01-02 01:00 ", "'2024-01-02 02:00'")
    assert not stamps.unread.any() and stamps.seconds[-1] == seconds("2024-01-02 02:00")
    assert texts("2024-01-02 13", "2024-01-02T09Z").seconds.tolist() == [
        seconds("2024-01-02 13:00"),
        seconds("2024-01-02 09:00"),
    ]


@pytest.mark.slow
@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.text(max_size=24), max_size=6))
def test_any_text_is_read_or_not_and_never_raises(cells):
    stamps, _ = settle(texts(*cells))
    read = ~stamps.unread
    assert np.all((stamps.seconds[read] >= FIRST) & (stamps.seconds[read] <= last_time()))
