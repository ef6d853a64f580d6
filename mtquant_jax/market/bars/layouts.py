"""Turns the first lines of a text file into its bar format and column layout; the file name has no influence."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import PRICES
from mtquant_jax.market.bars.columns import find_candidates, is_price, names_of, pick_volume, plain_name
from mtquant_jax.market.bars.numbers import decimal_mark
from mtquant_jax.market.bars.source import BLANK, WANTED, Source
from mtquant_jax.market.bars.stamps import read_stamps
from mtquant_jax.market.bars.time_columns import TimeColumns, find_times

_SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas"}
_HEAD_BYTES = 65_536
_HEAD_LINES = 100  # that determine the columns and the way of writing numbers
_LARGE = 1 << 22  # bytes from which a file's volumes are chosen by probes
_PROBES = 200
_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?( ?[AaPp]\.?[Mm]\.?)?|\d{1,6}")
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
    time: TimeColumns
    columns: dict[str, int]  # candidate for a role (`columns`) -> column
    names: dict[str, str]  # candidate -> name of its column, for messages
    broker_time: bool = False  # the format uses the broker's clock
    notices: tuple[str, ...] = ()  # sentences without a subject


@dataclasses.dataclass(frozen=True)
class _Line:
    number: int  # from 0
    offset: int
    text: str

    def fields(self, separator: str) -> list[str]:
        return [field.strip() for field in next(csv.reader([self.text], delimiter=separator), [])]


def sniff(source: Source) -> Layout:
    """Recognise the layout of a text file; an unknown format raises UserError, which names the columns.

    Lines with a few columns above a table, such as a title or an address, are skipped with a notice.
    """
    lines = _head(source)
    start = _start(lines)
    layout = _with_one_volume(source, _sniff(source, lines[start:]))
    if not start:
        return layout
    title = f"{start} line{'s' if start > 1 else ''} above the table skipped: {lines[0].text.strip()[:60]!r}."
    return dataclasses.replace(layout, notices=(title, *layout.notices))


def _start(lines: list[_Line]) -> int:
    """Return the number of lines above a table: those without five columns, where a line with names follows."""
    for number, line in enumerate(lines):
        if re.match(r"[\"']?\d", line.text.lstrip()):
            return 0
        if max(map(line.text.count, _SEPARATORS)) >= 4:
            return number
    return 0


def _sniff(source: Source, lines: list[_Line]) -> Layout:
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
        find_roles(source.name, names, [])  # a wrong header is the more informative error
        raise UserError(f"{source.name} has a header but no bars")
    return _with_header(source, names, lines[1:], separator)


def _head(source: Source) -> list[_Line]:
    """Return the first lines that are neither blank nor comments."""
    lines, offset = [], 0
    raw_lines = source.data[:_HEAD_BYTES].split(b"\n")
    whole = raw_lines[:-1] if len(source.data) > _HEAD_BYTES and len(raw_lines) > 1 else raw_lines
    for number, raw in enumerate(whole):
        text = raw.decode(errors="replace").rstrip("\r")
        if text.strip(BLANK) and not text.lstrip().startswith("#"):
            lines.append(_Line(number, offset, text))
        offset += len(raw) + 1
        if len(lines) == _HEAD_LINES:
            break
    if not lines:
        raise UserError(f"{source.name} has comments but no bars; it needs {WANTED}")
    return lines


def _with_header(source: Source, names: list[str], bars: list[_Line], separator: str) -> Layout:
    bar, samples = bars[0], [line.fields(separator) for line in bars]
    fields = samples[0]
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
            f"{bar.text[:60]!r}{_unnamed_clock(names, fields)}"
        )
    time, columns = find_roles(source.name, names, samples)
    first = plain_name(names[time.columns[0]])
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
        broker_time=name == "MetaTrader 5",
    )


def _unnamed_clock(names: list[str], fields: list[str]) -> str:
    """Return a hint if it is the time of day that the header has no name for."""
    clock = next((i for i, field in enumerate(fields) if ":" in field and _CLOCK.fullmatch(field)), None)
    if clock is None or len(fields) != len(names) + 1 or plain_name(names[clock]) == "time":
        return ""
    return f"; the header does not name the times of day in column {clock + 1}: insert 'time' there"


def find_roles(origin: str, names: list[str], samples: list[list[str]]) -> tuple[TimeColumns, dict[str, int]]:
    """Find the columns of the stamp and the candidates for each role by names and first rows of ``origin``.

    Raises UserError if a required column is missing or occurs twice.
    """
    columns = find_candidates(origin, names)
    if columns is None:
        raise _unknown(origin, names)
    time = find_times(origin, names, samples, tuple(columns.values()))
    if time is None:
        raise UserError(
            f"{origin} has prices but no column of times; its columns are {_shown(names)}; call "
            "that of the times 'time', or those of dates and times of day 'date' and 'time'"
        )
    return time, columns


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

    Also recognises Lean's files of bid and ask, and klines of exchanges, with or without their last column.
    """
    bar = bars[0]
    separator = max(_SEPARATORS, key=bar.text.count) if ";" not in bar.text else ";"
    fields = bar.fields(separator)
    while fields and not fields[-1]:  # a separator at the end of each line
        fields = fields[:-1]
    split = _has_clock([line.fields(separator) for line in bars])
    time = (0, 1) if split else (0,)
    values = len(fields) - len(time)
    is_kline = len(fields) in (11, 12) and _is_kline(fields)
    side = "bid" if values == 10 and not split and not is_kline else ""
    columns = {f"{side}.{price}": len(time) + i for i, price in enumerate(PRICES)}
    name, broker_time = "CSV without header", False
    if is_kline:
        name, columns = "klines", {**columns, "volume.0": 5}
    elif side:
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
        time=TimeColumns(time),
        columns=columns,
        names={key: f"{key.replace('.', ' ').strip()} (column {position + 1})" for key, position in columns.items()},
        broker_time=broker_time,
    )


def _numbers(source: Source, lines: Sequence[_Line], separator: str, columns: Mapping[str, int]) -> dict[str, Any]:
    """How the file writes numbers, by its first bars: the fields of a layout."""
    rows = [line.fields(separator) for line in lines]
    positions = [position for key, position in columns.items() if is_price(key)]
    cells = (row[position] for row in rows if len(row) == len(rows[0]) for position in positions)
    mark, notices = decimal_mark(source.name, cells)
    return {"decimal_point": mark, "notices": tuple(notices)}


def _has_clock(rows: list[list[str]]) -> bool:
    """Return True if rows have a date and a time of day; a number is one unless it makes a bar with the next three."""
    rows = [row for row in rows if len(row) > 4]
    if not rows or not all(_DATE.fullmatch(row[0]) and _CLOCK.fullmatch(row[1]) for row in rows):
        return False
    return ":" in rows[0][1] or not all(_is_bar(row[1:5]) for row in rows)


def _is_bar(cells: list[str]) -> bool:
    try:
        open_, high, low, close = (float(cell.replace(",", ".")) for cell in cells)
    except ValueError:
        return False
    return low <= min(open_, close) and high >= max(open_, close)


def _is_kline(fields: list[str]) -> bool:
    """Return True if the first and seventh fields are numbers since 1970: the times of open and close."""
    stamps = read_stamps(pa.array([fields[0], fields[6]], pa.string()))
    return bool(stamps.has_offset.all() and all(fields[i].isdigit() for i in (0, 6)))


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
    chosen, notices = pick_volume(moves, layout.names)
    if not moves[chosen]:
        return layout
    columns = {key: at for key, at in layout.columns.items() if key == chosen or key not in volumes}
    return dataclasses.replace(layout, columns=columns, notices=(*layout.notices, *notices))


def _unknown(origin: str, names: list[str]) -> UserError:
    return UserError(f"{origin} has an unknown format: its columns are {_shown(names)}; expected {WANTED}")


def _shown(names: list[str]) -> str:
    return ", ".join(name[:40] for name in names[:12] if name) or "none"
