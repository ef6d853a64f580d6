"""Turns a column of written times into seconds, a whole column at a time.

Stamps of equal shape (digits in the same places) are parsed together; regular expressions match each shape once.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mtquant_jax.market.bars.stamp_forms import BUDDHIST, DAY, Form, civil_seconds, forms_of_times, gregorian
from mtquant_jax.market.bars.stamp_numbers import read_numbers

_MAX_SHAPES = 40  # of one file; stamps of further shapes are left unread
_MAX_WIDTH = 60
_DATES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<year>\d{4})([-./])(?P<month>\d{1,2})\2(?P<day>\d{1,2})",
        r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})\.(?P<year>\d{4})",
        r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)",
    )
)
_COLONS = r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,]\d+)?)?(?: ?(?P<half>[AaPp])\.?[Mm]\b\.?)?"
_CLOCK = re.compile(
    rf"[ T]?(?:{_COLONS}|(?P<hour2>\d\d)(?P<minute2>\d\d)(?P<second2>\d\d)?|(?<=[ T])(?P<hour3>\d\d?)(?=$|[ Z+-]))"
)
_CLOCK_ALONE = re.compile(_COLONS)
_ZONE = re.compile(r" ?(?:Z|(?:UTC|GMT)?(?P<sign>[+-])(?P<hours>\d\d)(?::?(?P<minutes>\d\d))?|UTC|GMT)")
_NUMBER = re.compile(r"(?P<number>\d{1,18}|[0-8]\d{18})(?:\.(?P<fraction>\d*))?")
_Fields = dict[str, tuple[int, int]]


def read_text(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Read an Arrow array [R] of text or bytes as seconds [R] int64 and forms [R] uint8 (see `Form`)."""
    if not pa.types.is_binary(column.type):
        column = column.cast(pa.string()).cast(pa.binary())
    if column.null_count:
        column = pc.fill_null(column, b"")
    seconds, forms = _read(column)
    unread = np.flatnonzero(forms == Form.UNREAD)
    if len(unread):  # stamps with blanks or quotes around them
        trimmed = [value.as_py().strip().strip(b"'\"").strip() for value in column.take(pa.array(unread))]
        seconds[unread], forms[unread] = _read(pa.array(trimmed, pa.binary()))
    return seconds, forms


def _read(column: Any) -> tuple[np.ndarray, np.ndarray]:
    rows = len(column)
    seconds, forms = np.zeros(rows, np.int64), np.full(rows, Form.UNREAD, np.uint8)
    if rows == 0:
        return seconds, forms
    _, offset_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32)[column.offset : column.offset + rows + 1]
    data = np.frombuffer(data_buffer or b"", np.uint8)
    widths = np.diff(offsets)
    shapes = 0
    for width in np.unique(widths):
        every = bool(np.all(widths == width))
        group = np.arange(rows) if every else np.flatnonzero(widths == width)
        if width == 0:
            forms[group] = Form.BLANK
        if not 0 < width <= _MAX_WIDTH:
            continue
        if every:
            characters = data[offsets[0] : offsets[0] + rows * width].reshape(rows, width)
        else:
            characters = data[offsets[:-1][group][:, None] + np.arange(width)]
        shapes += _read_width(characters, group, seconds, forms)
        if shapes > _MAX_SHAPES:
            break
    return seconds, forms


def _read_width(characters: np.ndarray, rows: np.ndarray, seconds: np.ndarray, forms: np.ndarray) -> int:
    """Read stamps of one width [G, W] uint8, shape by shape, into the given rows; return the number of shapes."""
    shapes = 0
    while len(characters) and shapes < _MAX_SHAPES:
        shapes += 1
        example = bytes(characters[0]).decode("latin-1")  # one character per byte
        fields = _fields(example)
        alike = _alike(characters, example)
        every = bool(alike.all())
        if fields is not None:
            target = rows if every else rows[alike]
            seconds[target], forms[target] = _values(characters if every else characters[alike], fields)
        if every:
            break
        characters, rows = characters[~alike], rows[~alike]
    return shapes


def _alike(characters: np.ndarray, example: str) -> np.ndarray:
    """Find the stamps with digits where the example has digits, an offset of either sign, and otherwise its text."""
    alike = np.ones(len(characters), bool)
    for place, character in enumerate(example):
        values = characters[:, place]
        if "0" <= character <= "9":
            alike &= (values >= 48) & (values <= 57)
        elif character in "+-" and place > 10:
            alike &= (values == 43) | (values == 45)
        else:
            alike &= values == ord(character)
    return alike


def _fields(example: str) -> _Fields | None:
    """Return the first and last position of the year, month and so on in a stamp; None for an unknown shape."""
    number = _NUMBER.fullmatch(example)
    if number:
        return _spans(number)
    clock = _CLOCK_ALONE.fullmatch(example)
    if clock:
        return _spans(clock)
    for pattern in _DATES:
        date = pattern.match(example)
        if date is None:
            continue
        fields, place = _spans(date), date.end()
        clock = _CLOCK.match(example, place)
        if clock:
            fields |= _spans(clock)
            place = clock.end()
        zone = _ZONE.match(example, place) if clock else None
        if zone:
            fields |= {"zone": zone.span()} | _spans(zone)
            place = zone.end()
        if place == len(example):
            return fields
    return None


def _spans(match: re.Match[str]) -> _Fields:
    return {name.rstrip("23"): match.span(name) for name, text in match.groupdict().items() if text is not None}


def _values(characters: np.ndarray, fields: _Fields) -> tuple[np.ndarray, np.ndarray]:
    """Return the seconds [G] and forms [G] of stamps [G, W] of one shape."""
    if "number" in fields:
        return _numbers(characters, fields)

    def get(name: str) -> np.ndarray:
        return _number(characters, fields[name]) if name in fields else np.zeros(len(characters), np.int32)

    hour, minute, second = clock = _of_24_hours(characters, fields, get("hour")), get("minute"), get("second")
    if "year" not in fields:
        seconds = (hour * 60 + minute) * 60 + second
        valid = (hour < 24) & (minute < 60) & (second < 60)
        return seconds.astype(np.int64), np.where(valid, Form.CLOCK, Form.UNREAD).astype(np.uint8)
    year, buddhist = gregorian(get("year"))
    seconds, valid = civil_seconds((year, get("month"), get("day")), clock)
    if "sign" in fields:
        sign = np.where(characters[:, fields["sign"][0]] == 45, -1, 1)
        offset = sign * (get("hours") * 3600 + get("minutes") * 60)
        seconds -= offset
        valid &= np.abs(offset) < DAY
    form = Form.OFFSET if "zone" in fields else Form.STAMP if "hour" in fields else Form.DATE
    forms = forms_of_times(seconds, form)
    if buddhist is not None:
        forms[buddhist & (forms == form)] += BUDDHIST
    if not valid.all():
        seconds[~valid], forms[~valid] = 0, Form.UNREAD
    return seconds, forms


def _of_24_hours(characters: np.ndarray, fields: _Fields, hour: np.ndarray) -> np.ndarray:
    """Return the hours [G] of a day, 24 for none, where AM or PM may follow the clock."""
    if "half" not in fields:
        return hour
    afternoon = characters[:, fields["half"][0]] % 32 == ord("P") % 32
    return np.where((hour >= 1) & (hour <= 12), hour % 12 + 12 * afternoon, 24).astype(np.int32)


def _numbers(characters: np.ndarray, fields: _Fields) -> tuple[np.ndarray, np.ndarray]:
    number = _number(characters, fields["number"], np.int64)
    seconds, forms = read_numbers(number)
    if "fraction" in fields:
        broken = (characters[:, slice(*fields["fraction"])] != 48).any(axis=1)
        forms[broken & ~np.isin(forms, (Form.SECONDS, Form.MILLISECONDS, Form.MICROSECONDS))] = Form.NO_DATE
    return seconds, forms


def _number(characters: np.ndarray, span: tuple[int, int], kind: Any = np.int32) -> np.ndarray:
    result = np.zeros(len(characters), kind)
    for place in range(*span):
        result *= 10
        result += characters[:, place]
        result -= 48
    return result
