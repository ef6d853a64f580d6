"""Turns a column of time stamps into seconds, a whole column at a time.

Stamps of equal shape (digits in the same places) are parsed together; regular expressions match each shape once.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_MAX_SHAPES = 40  # of one file; stamps of further shapes are left unread
_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<year>\d{4})([-./])(?P<month>\d{1,2})\2(?P<day>\d{1,2})",
        r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})",
        r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)",
    )
)
_CLOCK = re.compile(
    r"[ T]?(?:(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d+)?)?"
    r"|(?P<hour2>\d\d)(?P<minute2>\d\d)(?P<second2>\d\d)?)"
)
_ZONE = re.compile(r" ?(?:Z|(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d\d)(?::?(?P<minutes>\d\d))?|UTC|GMT)")
# Whole seconds, milliseconds, microseconds, nanoseconds since 1970, by the number of digits.
_EPOCHS = {9: 1, 10: 1, 11: 1, 13: 1_000, 16: 1_000_000, 19: 1_000_000_000}


@dataclasses.dataclass(frozen=True)
class Stamps:
    """Times parsed from a column."""

    seconds: np.ndarray  # [R] int64 since 1970-01-01: UTC if the stamp has an offset, else on the file's own clock
    has_offset: np.ndarray  # [R] bool, True if the stamp has an offset from UTC
    unread: np.ndarray  # [R] bool, True if the stamp cannot be parsed; its seconds are 0


def read_stamps(column: Any) -> Stamps:
    """Parse a column of text, numbers (since 1970-01-01, the unit by magnitude) or Arrow timestamps."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _of_timestamps(column)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _of_numbers(column)
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
    return _of_text(column.cast(pa.string()).cast(pa.binary()))


def _of_timestamps(column: pa.Array) -> Stamps:
    unread = np.asarray(column.is_null().to_numpy(zero_copy_only=False))
    seconds = column.cast(pa.timestamp("us", getattr(column.type, "tz", None)), safe=False).cast(pa.int64())
    seconds = pc.fill_null(seconds, 0).to_numpy(zero_copy_only=False) // 1_000_000
    aware = getattr(column.type, "tz", None) is not None
    return Stamps(np.asarray(seconds, np.int64), np.full(len(seconds), aware), unread)


def _of_numbers(column: pa.Array) -> Stamps:
    numbers = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
    unread = ~np.isfinite(numbers)
    digits = len(f"{abs(float(np.median(numbers[~unread]))):.0f}") if not unread.all() else 0
    scale = next((scale for length, scale in _EPOCHS.items() if digits in (length, length - 1)), 0)
    unread |= scale == 0
    seconds = np.where(unread, 0, numbers) // max(scale, 1)
    return Stamps(seconds.astype(np.int64), np.ones(len(numbers), bool), unread)


def _of_text(column: pa.Array) -> Stamps:
    rows = len(column)
    result = Stamps(np.zeros(rows, np.int64), np.zeros(rows, bool), np.ones(rows, bool))
    if rows == 0:
        return result
    if any(value.as_py() != value.as_py().strip() for value in column[:3]):
        column = pc.utf8_trim_whitespace(column.cast(pa.string())).cast(pa.binary())
    _, offset_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[column.offset : column.offset + rows + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)
    widths = np.diff(offsets)
    shapes = 0
    for width in np.unique(widths):
        group = slice(None) if np.all(widths == width) else np.flatnonzero(widths == width)
        if width == 0:
            continue
        starts = offsets[:-1][group]
        if isinstance(group, slice):
            characters = data[starts[0] : starts[0] + rows * width].reshape(rows, width)
        else:
            characters = data[starts[:, None] + np.arange(width)]
        shapes += _read_width(characters, group, result)
        if shapes > _MAX_SHAPES:
            break
    return result


def _read_width(characters: np.ndarray, group: slice | np.ndarray, result: Stamps) -> int:
    """Parse stamps of one width [G, W] uint8 into result, shape by shape, and return the number of shapes."""
    rows = np.arange(len(result.unread))[group] if isinstance(group, slice) else group
    shapes = 0
    while len(characters) and shapes < _MAX_SHAPES:
        shapes += 1
        example = bytes(characters[0]).decode(errors="replace")
        fields = _fields(example)
        alike = _alike(characters, example)
        every = bool(alike.all())
        if fields is not None:
            seconds, valid = _seconds(characters if every else characters[alike], fields, example)
            target = rows if every else rows[alike]
            result.seconds[target] = np.where(valid, seconds, 0)
            result.has_offset[target] = "epoch" in fields or "zone" in fields
            result.unread[target] = ~valid
        if every:
            break
        characters, rows = characters[~alike], rows[~alike]
    return shapes


def _alike(characters: np.ndarray, example: str) -> np.ndarray:
    """Find the stamps with digits where the example has digits, an offset of either sign, and otherwise its text."""
    alike = np.ones(len(characters), bool)
    for place, character in enumerate(example):
        values = characters[:, place]
        if character.isdigit():
            alike &= (values >= 48) & (values <= 57)
        elif character in "+-" and place > 10:
            alike &= (values == 43) | (values == 45)
        else:
            alike &= values == ord(character) % 256
    return alike


def _fields(example: str) -> dict[str, tuple[int, int]] | None:
    """Return the first and last position of the year, month and so on in a stamp; None for an unknown shape."""
    epoch = re.fullmatch(r"(\d+)(?:\.0*)?", example)
    if epoch and len(epoch[1]) in _EPOCHS:
        return {"epoch": epoch.span(1)}
    for pattern in _DATES:
        date = pattern.match(example)
        if date is None:
            continue
        fields = {name: date.span(name) for name in ("year", "month", "day")}
        place = date.end()
        clock = _CLOCK.match(example, place)
        if clock:
            for name in clock.groupdict():
                if clock[name] is not None:
                    fields[name.rstrip("2")] = clock.span(name)
            place = clock.end()
        zone = _ZONE.match(example, place) if clock else None
        if zone:
            fields["zone"] = zone.span()
            fields |= {name: zone.span(name) for name in zone.groupdict() if zone[name] is not None}
            place = zone.end()
        if place == len(example):
            return fields
    return None


def _seconds(characters: np.ndarray, fields: dict[str, tuple[int, int]], example: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds [G] of stamps of one shape, and which of them are valid dates and times."""
    if "epoch" in fields:
        number = _number(characters, fields["epoch"], np.int64)
        width = fields["epoch"][1] - fields["epoch"][0]
        return number // _EPOCHS[width], np.ones(len(number), bool)

    def get(name: str) -> np.ndarray:
        return _number(characters, fields[name]) if name in fields else np.zeros(len(characters), np.int32)

    year, month, day = get("year"), get("month"), get("day")
    hour, minute, second = get("hour"), get("minute"), get("second")
    valid = (year >= 1900) & (year < 2200) & (month >= 1) & (month <= 12) & (day >= 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    length = np.array([0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31], np.int32)[np.where(valid, month, 0)]
    valid &= (day <= length + (leap & (month == 2))) & (hour < 24) & (minute < 60) & (second < 60)
    seconds = _days(year, month, day).astype(np.int64) * 86_400
    seconds += (hour * 60 + minute) * 60 + second
    if "sign" in fields:
        sign = np.where(characters[:, fields["sign"][0]] == 45, -1, 1)
        seconds -= sign * (get("hours") * 3600 + get("minutes") * 60)
    return seconds, valid


def _number(characters: np.ndarray, span: tuple[int, int], kind: Any = np.int32) -> np.ndarray:
    result = np.zeros(len(characters), kind)
    for place in range(*span):
        result *= 10
        result += characters[:, place]
        result -= 48
    return result


def _days(year: np.ndarray, month: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Days since 1970-01-01 of Gregorian dates (Hinnant, "chrono-compatible low-level date algorithms")."""
    early = month <= 2
    year = year - early
    month = month + np.where(early, 9, -3).astype(np.int32)
    century = year // 100
    day_of_year = (153 * month + 2) // 5 + day - 1
    return 365 * year + year // 4 - century + century // 4 + day_of_year - 719_468
