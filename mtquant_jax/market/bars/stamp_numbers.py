"""Turns numbers into times: each value is taken in the form in which it lies between 1971 and tomorrow."""

from __future__ import annotations

import time

import numpy as np

from mtquant_jax.market.bars.stamp_forms import (
    BUDDHIST,
    BUDDHIST_YEARS,
    EPOCHS,
    FIRST,
    Form,
    civil_seconds,
    gregorian,
    last_time,
)

# Calendar forms: the number of digits behind YYYYMMDD.
_CALENDAR = {Form.DAYS: 0, Form.HOURS: 2, Form.MINUTES: 4, Form.WHOLE: 6, Form.THOUSANDTHS: 9}
_CALENDAR_FORMS = tuple(_CALENDAR)
_HIGHEST = 2.0**63
_NOISE = 1e-6  # of a unit; a float64 of seconds since 1970 is this precise


def read_numbers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Read numbers as times, each by its own value.

    In the period of bars the forms exclude each other, but for YYYYMMDDHHMM and milliseconds in the springs of 1976 and
    (Buddhist years) 1978; a valid date and time has precedence there.

    Args:
        values: [R] integers of any width, or floats; a calendar form has no fraction.

    Returns:
        Seconds [R] int64 since 1970-01-01 and the form [R] uint8. A number that can be a time of day is returned as it
        is, in the form CLOCK_NUMBER.
    """
    whole, fraction = _integers(values)
    seconds, forms = np.zeros(len(whole), np.int64), np.full(len(whole), Form.NO_DATE, np.uint8)
    if not len(whole):
        return seconds, forms
    span = int(whole.min()), int(whole.max())
    for lead in (0, BUDDHIST_YEARS):
        for form, digits in _CALENDAR.items():
            _read_calendar(whole, form, digits, lead, span, seconds, forms)
    for form, scale in EPOCHS.items():
        first, last = FIRST * scale, last_time() * scale
        if span[0] <= last and span[1] >= first:
            inside = (whole >= first) & (whole <= last) & (forms == Form.NO_DATE)
            np.floor_divide(whole, scale, out=seconds, where=inside)
            forms[inside] = form
    if span[0] < 240_000:
        clock = (whole >= 0) & (whole < 240_000) & (forms == Form.NO_DATE)
        seconds[clock], forms[clock] = whole[clock], Form.CLOCK_NUMBER
    if fraction is not None:
        forms[fraction & np.isin(forms % BUDDHIST, (*_CALENDAR_FORMS, Form.CLOCK_NUMBER))] = Form.NO_DATE
    return seconds, forms


def _integers(values: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the integer part [R] int64, -1 where there is none, and which values have a fraction (None: none has)."""
    if values.dtype.kind != "f":
        if values.dtype == np.uint64:
            values = np.where(values > np.uint64(2**63 - 1), np.uint64(0), values)
        return values.astype(np.int64), None
    whole = np.floor(np.nan_to_num(values, nan=-1.0, posinf=-1.0, neginf=-1.0) + _NOISE)
    whole = np.where(np.abs(whole) < _HIGHEST, whole, -1.0)
    fraction = values - whole > 2 * _NOISE
    return whole.astype(np.int64), fraction if fraction.any() else None


def _read_calendar(
    whole: np.ndarray,
    form: Form,
    digits: int,
    lead: int,
    span: tuple[int, int],
    seconds: np.ndarray,
    forms: np.ndarray,
) -> None:
    """Read the values [R] that are not read yet and are dates of one form, in a calendar that is `lead` years ahead."""
    scale = 10**digits
    first, last = 1971 + lead, time.gmtime(last_time()).tm_year + lead
    low, high = (first * 10_000 + 101) * scale, (last * 10_000 + 1232) * scale
    if span[0] >= high or span[1] < low:
        return
    rows = np.flatnonzero((whole >= low) & (whole < high) & (forms == Form.NO_DATE))
    number = whole[rows]
    days, clock = number // scale, number % scale
    clock = clock // 1000 if form is Form.THOUSANDTHS else clock * 10 ** (6 - digits)
    year, _ = gregorian(days // 10_000)
    found, valid = civil_seconds(
        (year, days // 100 % 100, days % 100), (clock // 10_000, clock // 100 % 100, clock % 100)
    )
    valid &= (found >= FIRST) & (found <= last_time())
    seconds[rows[valid]] = found[valid]
    forms[rows[valid]] = form + (BUDDHIST if lead else 0)
