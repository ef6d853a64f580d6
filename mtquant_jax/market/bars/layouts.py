"""Turns the first lines of a text file into its bar format and column layout; the file name has no influence."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import PRICES
from mtquant_jax.market.bars.columns import find_candidates, is_price, names_of, pick_volume, plain_name
from mtquant_jax.market.bars.numbers import decimal_mark
from mtquant_jax.market.bars.source import WANTED, Source

_SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas"}
_HEAD_BYTES = 65_536
_HEAD_LINES = 100
_LARGE = 1 << 22  # bytes from which a file's volumes are chosen by probes
_PROBES = 200
# Names of the time column, in lower case without blanks and punctuation; the first one present in the file is used.
_TIME_NAMES = (
    *("datetime", "timestamp", "gmttime", "utctime", "timeutc", "timegmt", "utc", "localtime", "time", "opentime"),
    *("date", "bartime", "unix", "unixtime", "unixtimestamp", "epoch", "index"),
)
_UTC_NAMES = ("gmttime", "utctime", "timeutc", "timegmt", "utc")
_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?|\d{6}|\d{4}")
_DATE = re.compile(r"\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{8}|\d{1,2}\.\d{1,2}\.\d{4}")


@dataclasses.dataclass(frozen=True)
class Layout:
    """Column layout of a text file."""

    format: str  # name of the format, for messages
    separator: str
    decimal_point: str
    first_line: int  # lines before the first bar
    offset: int  # bytes before the first bar
    num_columns: int
    time: tuple[int, ...]  # column of the stamp, or of date and clock
    columns: dict[str, int]  # candidate for a role (`columns`) -> column
    names: dict[str, str]  # candidate -> name of its column, for messages
    is_utc: bool = False  # the format defines its stamps as UTC
    broker_time: bool = False  # the format uses the broker's clock
    notices: tuple[str, ...] = ()  # about its numbers


@dataclasses.dataclass(frozen=True)
class _Line:
    number: int  # from 0
    offset: int
    text: str

    def fields(self, separator: str) -> list[str]:
        return [field.strip() for field in next(csv.reader([self.text], delimiter=separator), [])]


def sniff(source: Source) -> Layout:
    """Recognise the layout of a text file; an unknown format raises UserError, which names the columns."""
    return _with_one_volume(source, _recognise(source))


def _recognise(source: Source) -> Layout:
    lines = _head(source)
    first = lines[0]
    if re.match(r"[\"']?\d", first.text.lstrip()):
        return _headerless(source, lines)
    separator = max(_SEPARATORS, key=first.text.count)
    names = first.fields(separator)
    if len(lines) > 2 and names[0].lower() == "price" and lines[1].text.lower().startswith("ticker"):
        return _yfinance(source, lines, separator, names)
    if len(names) < 5:
        raise _unknown(source.name, names)
    if len(lines) < 2:
        find_roles(source.name, names, None)  # a wrong header is the more informative error
        raise UserError(f"{source.name} has a header but no bars")
    return _with_header(source, names, lines[1:], separator)


def _head(source: Source) -> list[_Line]:
    """Return the first lines that are neither blank nor comments."""
    lines, offset = [], 0
    raw_lines = source.data[:_HEAD_BYTES].split(b"\n")
    whole = raw_lines[:-1] if len(source.data) > _HEAD_BYTES and len(raw_lines) > 1 else raw_lines
    for number, raw in enumerate(whole):
        text = raw.decode(errors="replace").rstrip("\r")
        if text.strip() and not text.lstrip().startswith("#"):
            lines.append(_Line(number, offset, text))
        offset += len(raw) + 1
        if len(lines) == _HEAD_LINES:
            break
    if not lines:
        raise UserError(f"{source.name} has comments but no bars; it needs {WANTED}")
    return lines


def _with_header(source: Source, names: list[str], bars: list[_Line], separator: str) -> Layout:
    bar = bars[0]
    fields = bar.fields(separator)
    if len(fields) == 1 and (other := max(_SEPARATORS, key=bar.text.count)) != separator and other in bar.text:
        raise UserError(
            f"{source.name} row {bar.number + 1}: {_SEPARATORS[other]} separate the values but "
            f"{_SEPARATORS[separator]} the names in the header; use one of them throughout"
        )
    # Some exports end either the header or the bars, but not both, with a separator.
    names = [*names, *[""] * (len(fields) - len(names))] if not any(fields[len(names) :]) else names
    names = names[: len(fields)] if not any(names[len(fields) :]) else names
    if len(names) != len(fields):
        raise UserError(
            f"{source.name} row {bar.number + 1}: {len(fields)} columns where the header has {len(names)}: "
            f"{bar.text[:60]!r}"
        )
    time, columns = find_roles(source.name, names, fields)
    plain = [plain_name(name) for name in names]
    first = plain[time[0]]
    if names[0].upper() == "<DATE>":
        name = "MetaTrader 5"
    elif first in ("gmttime", "localtime"):
        name = "Dukascopy"
    else:
        name = "CSV bid/ask" if "ask.open" in columns else "CSV"
    return Layout(
        format=name,
        separator=separator,
        **_numbers(source, bars, separator, columns),
        first_line=bar.number,
        offset=bar.offset,
        num_columns=len(fields),
        time=time,
        columns=columns,
        names=names_of(columns, names),
        is_utc=first in _UTC_NAMES,
        broker_time=name == "MetaTrader 5",
    )


def find_roles(origin: str, names: list[str], fields: list[str] | None) -> tuple[tuple[int, ...], dict[str, int]]:
    """Find the columns of the stamp and the candidates for each role by their names; ``origin`` has them, for messages.

    Raises UserError if a required column is missing or occurs twice.
    """
    plain = [plain_name(name) for name in names]
    columns = find_candidates(origin, names)
    if columns is None:
        raise _unknown(origin, names)
    if "date" in plain and "time" in plain:
        both = plain.index("date"), plain.index("time")
        if fields is None or _CLOCK.fullmatch(fields[both[1]]):
            return both, columns
    first = next((name for name in _TIME_NAMES if name in plain), "" if plain[0] == "" else None)
    if first is None:
        raise _unknown(origin, names)
    return (plain.index(first),), columns


def _yfinance(source: Source, lines: list[_Line], separator: str, names: list[str]) -> Layout:
    """Recognise three header lines: the names of columns, the ticker of each, and the name of the index."""
    tickers = set(lines[1].fields(separator)[1:])
    if len(tickers) > 1:
        raise UserError(
            f"{source.name} row {lines[1].number + 1}: it has the tickers {', '.join(sorted(tickers))}; write one file "
            "per ticker"
        )
    if len(lines) < 4:
        raise UserError(f"{source.name} has a header but no bars")
    names = [lines[2].fields(separator)[0], *names[1:]]
    layout = _with_header(source, names, lines[3:], separator)
    return dataclasses.replace(layout, format="yfinance")


def _headerless(source: Source, bars: list[_Line]) -> Layout:
    """Recognise a date and a clock time, together or apart, then open, high, low, close and an optional volume.

    Also recognises Lean's files of bid and ask.
    """
    bar = bars[0]
    separator = max(_SEPARATORS, key=bar.text.count) if ";" not in bar.text else ";"
    fields = bar.fields(separator)
    while fields and not fields[-1]:  # a separator at the end of each line
        fields = fields[:-1]
    split = len(fields) > 1 and bool(_DATE.fullmatch(fields[0]) and _CLOCK.fullmatch(fields[1]))
    time = (0, 1) if split else (0,)
    values = len(fields) - len(time)
    side = "bid" if values == 10 and not split else ""
    columns = {f"{side}.{price}": len(time) + i for i, price in enumerate(PRICES)}
    name, broker_time = "CSV without header", False
    if side:
        name, columns = "Lean bid/ask", {**columns, "volume.0": 5, "ask.open": 6}
    elif values in (4, 5):
        columns |= {"volume.0": columns[".close"] + 1} if values == 5 else {}
        if split and "." in fields[0]:
            name, broker_time = "MetaTrader 4", True
        elif separator == ";" and re.fullmatch(r"\d{8} \d{6}", fields[0]):
            name = "HistData"
    else:
        raise UserError(
            f"{source.name} row {bar.number + 1}: {bar.text[:60]!r} has no header above and {len(fields)} columns; "
            f"without a header, a time, open, high, low, close and an optional volume are required: {WANTED}"
        )
    return Layout(
        format=name,
        separator=separator,
        **_numbers(source, bars, separator, columns),
        first_line=bar.number,
        offset=bar.offset,
        num_columns=len(bar.fields(separator)),
        time=time,
        columns=columns,
        names={key: f"{key.replace('.', ' ').strip()} (column {position + 1})" for key, position in columns.items()},
        broker_time=broker_time,
    )


def _numbers(source: Source, lines: Sequence[_Line], separator: str, columns: Mapping[str, int]) -> dict[str, Any]:
    """How the file writes numbers, by its first bars: the fields of a layout."""
    rows = [line.fields(separator) for line in lines]
    positions = [position for key, position in columns.items() if is_price(key)]
    cells = (row[position] for row in rows for position in positions if position < len(row))
    mark, notices = decimal_mark(source.name, cells)
    return {"decimal_point": mark, "notices": tuple(notices)}


def _with_one_volume(source: Source, layout: Layout) -> Layout:
    """Leave the volumes of a large file out that do not move where it is probed: reading a column takes time."""
    volumes = [key for key in layout.columns if key.startswith("volume.")]
    if len(volumes) < 2 or len(source.data) < _LARGE:
        return layout
    moves = dict.fromkeys(volumes, 0)
    for place in range(layout.offset, len(source.data), len(source.data) // _PROBES):
        start = source.data.find(b"\n", place) + 1
        lines = source.data[start : start + 4096].split(b"\n")[:2]
        rows = list(csv.reader((line.decode(errors="replace") for line in lines), delimiter=layout.separator))
        for key in volumes:
            cells = {row[layout.columns[key]].strip() for row in rows if len(row) == layout.num_columns}
            moves[key] += len(cells) == 2
    chosen, notices = pick_volume(source.name, moves, layout.names)
    if not moves[chosen]:
        return layout
    columns = {key: at for key, at in layout.columns.items() if key == chosen or key not in volumes}
    return dataclasses.replace(layout, columns=columns, notices=(*layout.notices, *notices))


def _unknown(origin: str, names: list[str]) -> UserError:
    shown = ", ".join(name[:40] for name in names[:12] if name) or "none"
    return UserError(f"{origin} has an unknown format: its columns are {shown}; expected {WANTED}")
