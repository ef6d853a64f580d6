"""The forms in which a bar file can write a time, and the period in which the time of a bar can lie."""

from __future__ import annotations

import enum
import time

import numpy as np

DAY = 86_400
FIRST = 365 * DAY
"""1971-01-01, seconds since 1970: no bar is older, and what lies in 1970 is a number read in the wrong unit."""
BUDDHIST_YEARS = 543
"""Years by which the Buddhist calendar of Thailand is ahead; months and days are the same."""


def last_time() -> int:
    """Tomorrow, seconds since 1970-01-01: no bar is newer, whatever the clock of its stamps."""
    return int(time.time()) + DAY


class Form(enum.IntEnum):
    """How a time was written, or why it cannot be read."""

    UNREAD = 0  # in no known way
    BLANK = 1  # not at all
    OUTSIDE = 2  # as a date before 1971 or after tomorrow
    NO_DATE = 3  # as a number that is no date from 1971 to tomorrow in any form
    CLOCK = 4  # time of day, such as 13:00
    CLOCK_NUMBER = 5  # a number that can be a time of day: hours, HHMM or HHMMSS
    DATE = 6
    STAMP = 7
    OFFSET = 8  # date and time with an offset from UTC
    SECONDS = 9
    MILLISECONDS = 10
    MICROSECONDS = 11
    NANOSECONDS = 12
    DAYS = 13  # YYYYMMDD
    HOURS = 14
    MINUTES = 15
    WHOLE = 16  # YYYYMMDDHHMMSS
    THOUSANDTHS = 17


BUDDHIST = 32
"""Added to the form of a date with a year of the Buddhist calendar."""

NAMES = {
    Form.DATE: "dates without a time of day",
    Form.STAMP: "dates with a time of day",
    Form.OFFSET: "times with an offset",
    Form.SECONDS: "seconds since 1970",
    Form.MILLISECONDS: "milliseconds since 1970",
    Form.MICROSECONDS: "microseconds since 1970",
    Form.NANOSECONDS: "nanoseconds since 1970",
    Form.DAYS: "numbers YYYYMMDD",
    Form.HOURS: "numbers YYYYMMDDHH",
    Form.MINUTES: "numbers YYYYMMDDHHMM",
    Form.WHOLE: "numbers YYYYMMDDHHMMSS",
    Form.THOUSANDTHS: "numbers YYYYMMDDHHMMSS with thousandths",
}
"""The forms that stand for a time, in words."""
EPOCHS = {Form.SECONDS: 1, Form.MILLISECONDS: 1_000, Form.MICROSECONDS: 1_000_000, Form.NANOSECONDS: 1_000_000_000}
"""Units per second of the forms that count since 1970, which are in UTC."""


def civil_seconds(
    date: tuple[np.ndarray, np.ndarray, np.ndarray], clock: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Convert Gregorian dates and times of day.

    Args:
        date: year, month and day, each [R] int32 or int64.
        clock: hour, minute and second, each [R].

    Returns:
        Seconds [R] int64 since 1970-01-01, and whether the date and the time exist, [R] bool.
    """
    (year, month, day), (hour, minute, second) = date, clock
    valid = (year >= 1) & (year <= 9999) & (month >= 1) & (month <= 12) & (day >= 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    length = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int32)[np.where(valid, month, 0)]
    valid &= (day <= length + (leap & (month == 2))) & (hour < 24) & (minute < 60) & (second < 60)
    seconds = _days(year, month, day).astype(np.int64) * DAY
    seconds += (hour * 60 + minute) * 60 + second
    return seconds, valid


def _days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Days since 1970-01-01 of Gregorian dates (Hinnant, "chrono-compatible low-level date algorithms")."""
    early = month <= 2
    year = year - early
    month = month + np.where(early, 9, -3).astype(np.int32)
    century = year // 100
    day_of_year = (153 * month + 2) // 5 + day - 1
    return 365 * year + year // 4 - century + century // 4 + day_of_year - 719_468


def forms_of_times(seconds: np.ndarray, form: Form) -> np.ndarray:
    """Return the form [R] uint8 of dates written in `form`: OUTSIDE for those outside the period of bars."""
    forms = np.full(len(seconds), form, np.uint8)
    if len(seconds) and (seconds.min() < FIRST or seconds.max() > last_time()):
        forms[(seconds < FIRST) | (seconds > last_time())] = Form.OUTSIDE
    return forms


def gregorian(year: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Subtract the Buddhist calendar's lead from years [R] that lie in it, and say which do; None if none does."""
    first, last = 1971 + BUDDHIST_YEARS, time.gmtime(last_time()).tm_year + BUDDHIST_YEARS
    if not len(year) or year.max() < first:
        return year, None
    buddhist = (year >= first) & (year <= last)
    return year - BUDDHIST_YEARS * buddhist, buddhist
