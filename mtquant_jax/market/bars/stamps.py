"""Turns one or two columns of times, in any of their forms, into seconds, with a notice or a reason per kind of row.

`stamp_text` reads what is written and `stamp_numbers` what is counted; here they are joined and judged as a whole.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtquant_jax.market.bars.stamp_forms import (
    BUDDHIST,
    BUDDHIST_YEARS,
    DAY,
    EPOCHS,
    NAMES,
    Form,
    forms_of_times,
    last_time,
)
from mtquant_jax.market.bars.stamp_numbers import read_numbers
from mtquant_jax.market.bars.stamp_text import read_text

_UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_SPREADSHEET = 25_934, 60_000  # day numbers of spreadsheets, which count from 1899-12-30: from 1971
_LATEST = 20_000_000_000  # seconds since 1970, in the year 2603
_AS_TEXT = "write it as 2024-01-31 13:00:00, in UTC or with its offset (+02:00)"


@dataclasses.dataclass(frozen=True)
class Stamps:
    """Times read from a column, or from one of dates and one of times of day."""

    seconds: np.ndarray  # [R] int64 since 1970-01-01: UTC if the stamp has an offset, else on the file's own clock
    forms: np.ndarray  # [R] uint8, the `Form` of each stamp, or why it cannot be read

    @functools.cached_property
    def has_offset(self) -> np.ndarray:
        """True [R] for a stamp with an offset from UTC; numbers since 1970 are in UTC."""
        forms = self.forms % BUDDHIST
        return (forms >= Form.OFFSET) & (forms <= Form.NANOSECONDS)

    @functools.cached_property
    def unread(self) -> np.ndarray:
        """True [R] for a stamp that cannot be read as a time from 1971 to tomorrow."""
        return (self.forms < Form.DATE) | (self.forms >= BUDDHIST)

    @property
    def are_dates(self) -> bool:
        """True if no stamp has a time of day."""
        return bool(np.isin(self.forms, (Form.DATE, Form.DAYS)).all())

    def without_offset(self) -> Stamps:
        """The same stamps, of which numbers since 1970 are on the file's own clock."""
        return Stamps(self.seconds, np.where(np.isin(self.forms, list(EPOCHS)), Form.STAMP, self.forms))

    def problems(self) -> list[tuple[np.ndarray, str]]:
        """Return the unread rows [R] bool by reason, and the sentence about each, which has ``{text[time]!r}``."""
        if not self.unread.any():
            return []
        tomorrow = np.datetime_as_string(np.datetime64(last_time(), "s"), unit="D")
        number = np.isin(self.forms, (Form.NO_DATE, Form.CLOCK_NUMBER))
        sheet = number & (self.seconds >= _SPREADSHEET[0]) & (self.seconds <= _SPREADSHEET[1])
        the = "the time {text[time]!r} "
        found = [
            (np.isin(self.forms, (Form.UNREAD, Form.BLANK)), f"{the}cannot be read; {_AS_TEXT}"),
            (
                self.forms == Form.OUTSIDE,
                f"{the}does not lie between 1971-01-01 and {tomorrow}; correct it, or the unit if it was made of a "
                "number",
            ),
            (
                sheet,
                f"{the}is a day number of a spreadsheet; format the column there as date and time and save it again",
            ),
            (
                number & ~sheet,
                f"{the}cannot be read; as a number it is no date between 1971-01-01 and {tomorrow}, in seconds, "
                "milliseconds, microseconds or nanoseconds since 1970 or as YYYYMMDD, alone or with HH, HHMM or HHMMSS",
            ),
            (self.forms == Form.CLOCK, f"{the}has no date; {_AS_TEXT}"),
            (
                self.forms >= BUDDHIST,
                f"{the}has a year of the Buddhist calendar, unlike other rows; subtract {BUDDHIST_YEARS} years",
            ),
        ]
        return [(mask, sentence) for mask, sentence in found if mask.any()]

    def notices(self) -> list[str]:
        """Return a sentence, without a subject, if the stamps have several forms."""
        counts = {form: int(np.count_nonzero(self.forms == form)) for form in NAMES}
        present = {form: count for form, count in counts.items() if count}
        if len(present) < 2:
            return []
        first = {form: int(np.argmax(self.forms == form)) + 1 for form in present}
        parts = [
            f"{count:,} {'is' if count == 1 else 'are'} {NAMES[form]} (from the {_ordinal(first[form])})"
            for form, count in sorted(present.items(), key=lambda item: first[item[0]])
        ]
        return [f"its times have {len(present)} forms: {', '.join(parts)}; each was read by its own."]


def _ordinal(number: int) -> str:
    ending = "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def read_stamps(column: Any) -> Stamps:
    """Read an Arrow column [R] of text, numbers (each by its own value) or Arrow times; a time of day stays one."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_null(kind):
        return Stamps(np.zeros(len(column), np.int64), np.full(len(column), Form.BLANK, np.uint8))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind):
        return _of_times(column)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _of_numbers(column)
    return Stamps(*read_text(column))


def _of_times(column: pa.Array) -> Stamps:
    kind = column.type
    blank = np.asarray(column.is_null().to_numpy(zero_copy_only=False))
    if pa.types.is_date32(kind):
        seconds = pc.fill_null(column.cast(pa.int32()), 0).to_numpy(zero_copy_only=False).astype(np.int64) * DAY
    else:
        scale = _UNITS[getattr(kind, "unit", "ms")]
        number = column.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64())
        seconds = pc.fill_null(number, 0).to_numpy(zero_copy_only=False).astype(np.int64) // scale
    if pa.types.is_time(kind):
        forms = np.full(len(column), Form.CLOCK, np.uint8)
    else:
        form = Form.DATE if pa.types.is_date(kind) else Form.OFFSET if kind.tz else Form.STAMP
        forms = forms_of_times(seconds, form)
        seconds = _from_buddhist(seconds, forms, form)
    forms[blank] = Form.BLANK
    return Stamps(seconds, forms)


def _from_buddhist(seconds: np.ndarray, forms: np.ndarray, form: Form) -> np.ndarray:
    """Convert dates outside the period of bars that lie in it by the Buddhist calendar, and mark them in forms."""
    rows = np.flatnonzero((forms == Form.OUTSIDE) & (seconds > 0) & (seconds < _LATEST))
    if not len(rows):
        return seconds
    months = seconds[rows].astype("datetime64[s]").astype("datetime64[M]")
    inside = seconds[rows] - months.astype("datetime64[s]").astype(np.int64)
    earlier = (months - 12 * BUDDHIST_YEARS).astype("datetime64[s]").astype(np.int64) + inside
    fits = forms_of_times(earlier, form) == form
    forms[rows[fits]] = form + BUDDHIST
    seconds = seconds.copy()
    seconds[rows[fits]] = earlier[fits]
    return seconds


def _of_numbers(column: pa.Array) -> Stamps:
    if not pa.types.is_integer(column.type):
        column = column.cast(pa.float64())
    blank = np.asarray(column.is_null().to_numpy(zero_copy_only=False))
    seconds, forms = read_numbers(pc.fill_null(column, 0).to_numpy(zero_copy_only=False))
    forms[blank] = Form.BLANK
    return Stamps(seconds, forms)


def join(pieces: Sequence[Stamps]) -> Stamps:
    """Join the stamps of consecutive rows."""
    return Stamps(*(np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("seconds", "forms")))


def with_clock(dates: Stamps, clock: Stamps) -> Stamps:
    """Add times of day, as text or numbers, to the dates of the same rows; a row that lacks one of them is unread."""
    number = clock.forms == Form.CLOCK_NUMBER
    of_day, exists = _of_day(clock.seconds, number)
    forms = dates.forms.copy()
    rest = dates.seconds % DAY
    whole = ~dates.unread | (dates.forms >= BUDDHIST)
    forms[whole & ~(exists & (number | (clock.forms == Form.CLOCK)) & ((rest == 0) | (rest == of_day)))] = Form.UNREAD
    forms[(dates.forms == Form.BLANK) & (clock.forms != Form.BLANK)] = Form.UNREAD
    plain = np.isin(forms % BUDDHIST, (Form.DATE, Form.DAYS)) & (whole & (forms != Form.UNREAD))
    forms[plain] = forms[plain] // BUDDHIST * BUDDHIST + Form.STAMP
    seconds = np.where(forms >= Form.DATE, dates.seconds - rest + of_day, 0)
    return Stamps(seconds, forms)


def _of_day(values: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return seconds of the day [R] and whether they exist, where numbers are hours, HHMM or HHMMSS by the highest."""
    if not number.any():
        return values, np.ones(len(values), bool)
    highest = int(values[number].max())
    parts = values * (10_000 if highest < 24 else 100 if highest < 2_400 else 1)
    hour, minute, second = parts // 10_000, parts // 100 % 100, parts % 100
    exists = ~number | ((hour < 24) & (minute < 60) & (second < 60))
    return np.where(number, (hour * 60 + minute) * 60 + second, values), exists


def settle(stamps: Stamps) -> tuple[Stamps, list[str]]:
    """Accept the Buddhist calendar if all stamps are of it; return the stamps and sentences about their forms."""
    notices = []
    if len(stamps.forms) and (stamps.forms >= BUDDHIST).all():
        stamps = Stamps(stamps.seconds, stamps.forms - np.uint8(BUDDHIST))
        notices.append(
            f"the years of its times are of the Buddhist calendar; {BUDDHIST_YEARS} years were subtracted from all "
            f"{len(stamps.forms):,}."
        )
    return stamps, notices + stamps.notices()
