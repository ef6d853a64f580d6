"""Turns the rows of a bar file or an Arrow table into columns of numbers and times, unchecked and in their order."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.layouts import Layout, find_roles
from mtquant_jax.market.bars.source import Source
from mtquant_jax.market.bars.stamps import Stamps, read_stamps

_PIECE_BYTES = 1 << 24


@dataclasses.dataclass(frozen=True)
class Rows:
    """Unchecked rows of a file; cells that are not numbers are NaN."""

    name: str
    format: str
    stamps: Stamps
    columns: dict[str, np.ndarray]  # role -> [R] float64
    locate: Callable[[int], tuple[int, dict[str, str]]]  # row index -> row number in the file, text by role and "time"
    is_utc: bool
    broker_time: bool


def read_text_rows(source: Source, layout: Layout) -> Rows:
    """Read the rows of a text file.

    Raises UserError, which names the row, if the number of columns differs between rows.
    """
    end = len(source.data)
    while source.data[end - 1 : end].isspace():  # ignore blank lines at the end
        end -= 1
    body = pa.py_buffer(source.data)[layout.offset : end]
    pieces = [_read_piece(source, layout, body, piece) for piece in _pieces(source.data, layout.offset, end)]
    columns = {role: np.concatenate([columns.pop(role) for columns, _ in pieces]) for role in layout.columns}
    parts = [(stamps.seconds, stamps.has_offset, stamps.unread) for _, stamps in pieces]
    packed = f" {source.packing}" if source.packing else ""
    return Rows(
        name=source.name,
        format=layout.format + packed,
        stamps=Stamps(*(np.concatenate(part) for part in zip(*parts, strict=True))),
        columns=columns,
        locate=lambda index: _locate(body, layout, index),
        is_utc=layout.is_utc,
        broker_time=layout.broker_time,
    )


def _pieces(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of whole lines: parsed at once, a file of minute bars would need four times its size in memory."""
    while start < end:
        stop = data.rfind(b"\n", start, min(start + _PIECE_BYTES, end)) + 1 if start + _PIECE_BYTES < end else end
        stop = stop if stop > start else end
        yield start, stop
        start = stop


def _read_piece(
    source: Source, layout: Layout, body: pa.Buffer, piece: tuple[int, int]
) -> tuple[dict[str, np.ndarray], Stamps]:
    """Parse the columns and stamps of one range of lines."""
    lines = pa.py_buffer(source.data)[slice(*piece)]
    kinds = {column: pa.float64() for role, column in layout.columns.items() if role != "tradable"}
    try:
        table = _parse(source, layout, body, lines, kinds)
        columns = {role: _floats(table, column) for role, column in layout.columns.items()}
    except pa.ArrowInvalid:  # some cell is not a number; `checks` finds which one
        table = _parse(source, layout, body, lines, {})
        columns = {role: _floats_one_by_one(table, column, layout) for role, column in layout.columns.items()}
    stamps = [table[str(column)] for column in layout.time]
    return columns, read_stamps(stamps[0] if len(stamps) == 1 else pc.binary_join_element_wise(*stamps, b" "))


def _parse(source: Source, layout: Layout, body: pa.Buffer, lines: pa.Buffer, kinds: dict[int, Any]) -> pa.Table:
    ragged = []

    def other_width(row: Any) -> str:
        if not row.text.lstrip().startswith("#"):
            ragged.append(row)
        return "skip"

    used = sorted({*layout.time, *layout.columns.values()})
    names = [str(column) for column in range(layout.num_columns)]
    # On this thread: a worker of Arrow's may drop its last reference to our bytes after the call has returned, which
    # aborts the process where the interpreter is shutting down ("terminate called without an active exception").
    table = pyarrow.csv.read_csv(
        pa.BufferReader(lines),
        read_options=pyarrow.csv.ReadOptions(column_names=names, use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(
            delimiter=layout.separator, ignore_empty_lines=False, invalid_row_handler=other_width
        ),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types={str(column): kinds.get(column, pa.binary()) for column in used},
            include_columns=[str(column) for column in used],
            decimal_point=layout.decimal_point,
        ),
    )
    if ragged:
        raise _ragged(source, layout, body)
    return table


def _lines(body: pa.Buffer, layout: Layout) -> Iterator[tuple[int, str, list[str]]]:
    """Yield the row number, text and fields of every line that is not a comment."""
    for number, raw in enumerate(io.BytesIO(body), layout.first_line + 1):
        text = raw.decode(errors="replace").rstrip("\r\n")
        if not text.lstrip().startswith("#"):
            yield number, text, next(csv.reader([text], delimiter=layout.separator), [])


def _ragged(source: Source, layout: Layout, body: pa.Buffer) -> UserError:
    """Return the error for the first row with a different number of columns."""
    number, text, fields = next(line for line in _lines(body, layout) if line[1] and len(line[2]) != layout.num_columns)
    other = max("\t;,", key=text.count)
    hint = ""
    if other != layout.separator and text.count(other) >= layout.num_columns - 1:
        hint = f" (separated by {other!r}, not by {layout.separator!r})"
    columns = f"{len(fields)} column{'s' if len(fields) != 1 else ''}"
    return UserError(
        f"{source.name} row {number}: {columns} where the rows above and the header have {layout.num_columns}{hint}: "
        f"{text[:60]!r}"
    )


def _locate(body: pa.Buffer, layout: Layout, index: int) -> tuple[int, dict[str, str]]:
    for i, (number, _, fields) in enumerate(_lines(body, layout)):
        if i == index:
            fields += [""] * (layout.num_columns - len(fields))
            texts = {role: fields[column] for role, column in layout.columns.items()}
            return number, texts | {"time": " ".join(fields[column] for column in layout.time)}
    return layout.first_line + 1 + index, {}


def _floats(table: pa.Table, column: int) -> np.ndarray:
    values = table[str(column)]
    if pa.types.is_binary(values.type):  # true / false
        values = pc.equal(pc.utf8_lower(values.cast(pa.string())), "true")
    return np.asarray(values.cast(pa.float64()).to_numpy(), np.float64)


def _floats_one_by_one(table: pa.Table, column: int, layout: Layout) -> np.ndarray:
    words = {"true": 1.0, "false": 0.0}

    def number(cell: bytes) -> float:
        text = cell.decode(errors="replace").strip().lower()
        try:
            return words[text] if text in words else float(text.replace(layout.decimal_point, "."))
        except ValueError:
            return np.nan

    return np.array([number(text) for text in table[str(column)].to_pylist()], np.float64)


def read_parquet_rows(source: Source) -> Rows:
    """Read the rows of a Parquet file with columns, or an index, named as in text files."""
    try:
        file = pyarrow.parquet.ParquetFile(pa.BufferReader(source.data))
        names = list(file.schema_arrow.names)
        columns = find_columns(source.name, [name.replace("__index_level_0__", "index") for name in names])
        used = [names[position] for position in columns.used]
        return table_rows(source.name, "Parquet", file.read(columns=used, use_threads=False).select(used), columns)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{source.name} is not a readable Parquet file: {str(error).splitlines()[0]}") from error


@dataclasses.dataclass(frozen=True)
class TableColumns:
    """Which columns of a table hold the stamp and each role."""

    names: list[str]  # of all columns
    time: tuple[int, ...]
    roles: dict[str, int]

    @property
    def used(self) -> list[int]:
        """Positions of the columns in use, each once."""
        return list(dict.fromkeys((*self.time, *self.roles.values())))


def find_columns(origin: str, names: list[str]) -> TableColumns:
    """The columns in use among named ones; UserError where a required column is missing or occurs twice."""
    return TableColumns(names, *find_roles(origin, names, None))


def table_rows(origin: str, kind: str, table: pa.Table, columns: TableColumns) -> Rows:
    """Read the rows of an Arrow table, whose columns are the used ones in their order.

    Raises pyarrow's errors for cells that have another type than their column needs.
    """
    if len(table) == 0:
        raise UserError(f"{origin} has columns but no bars")
    by_position = dict(zip(columns.used, table.columns, strict=True))
    shown = {role: by_position[column] for role, column in columns.roles.items()}
    stamp = by_position[columns.time[0]]
    if len(columns.time) > 1:
        stamp = pc.binary_join_element_wise(*(by_position[column].cast(pa.string()) for column in columns.time), " ")

    def locate(index: int) -> tuple[int, dict[str, str]]:
        texts = {role: str(column[index].as_py()) for role, column in shown.items()}
        return index + 1, texts | {"time": str(stamp[index].as_py())}

    return Rows(
        name=origin,
        format=kind,
        stamps=read_stamps(stamp),
        columns={
            role: np.asarray(pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy(), np.float64)
            for role, column in shown.items()
        },
        locate=locate,
        is_utc=columns.names[columns.time[0]].lower().replace(" ", "") in ("gmttime", "utc", "utctime"),
        broker_time=False,
    )
