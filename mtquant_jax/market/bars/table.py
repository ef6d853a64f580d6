"""Turns the rows of a bar file or an Arrow table into columns of numbers and times, unchecked and in their order."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars import lines
from mtquant_jax.market.bars.columns import is_price, names_of
from mtquant_jax.market.bars.layouts import Layout, find_roles
from mtquant_jax.market.bars.numbers import decimal_mark, is_text, read_numbers
from mtquant_jax.market.bars.source import BLANK, Source
from mtquant_jax.market.bars.stamp_forms import Form
from mtquant_jax.market.bars.stamps import Stamps, join, read_stamps, settle, with_clock
from mtquant_jax.market.bars.time_columns import TimeColumns
from mtquant_jax.time_zones import Zone

_PIECE_BYTES = 1 << 24
_SAMPLE_ROWS = 24  # that determine the columns
_SAMPLE = 100  # cells of each column of text that show the decimal mark
_INDEX = re.compile(r"^__index_level_\d+__$")  # what pandas calls an index without a name


@dataclasses.dataclass(frozen=True)
class Rows:
    """Unchecked rows of a file; cells that are not numbers are NaN."""

    name: str
    format: str
    stamps: Stamps
    columns: dict[str, np.ndarray]  # candidate for a role (`columns`), or role -> [R] float64
    locate: Callable[[int], tuple[int, dict[str, str]]]  # row index -> row number in the file, text by role and "time"
    zone: Zone | None  # clock of the stamps that the header names
    broker_time: bool
    notices: list[str]
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)  # candidate -> name of its column


def read_text_rows(source: Source, layout: Layout) -> Rows:
    """Read the rows of a text file; rows without a time and without values are left out and counted.

    Raises UserError, which names the row, if the number of columns differs between rows.
    """
    end = len(source.data)
    while source.data[end - 1 : end] in (b"\r", b"\n"):  # ignore blank lines at the end
        end -= 1
    body = pa.py_buffer(source.data)[layout.offset : end]
    pieces = [_read_piece(source, layout, body, piece) for piece in _pieces(source.data, layout.offset, end)]
    columns = {role: np.concatenate([columns.pop(role) for columns, _, _ in pieces]) for role in layout.columns}
    stamps, said = _joined([stamps for _, stamps, _ in pieces])
    packed = f" {source.packing}" if source.packing else ""
    notices = [*source.notices, *layout.notices, *layout.time.notices_for(bool(stamps.has_offset.any())), *said]
    blank = sum(not line.decode().strip(BLANK) for line in source.data[: layout.offset].splitlines())
    blank += sum(blank for _, _, blank in pieces)
    if blank:
        notices.insert(0, f"{blank:,} blank line{'s were' if blank > 1 else ' was'} skipped.")
    if not len(stamps.forms):
        raise UserError(f"{source.name} has a header but no bars")
    return Rows(
        name=source.name,
        format=layout.format + packed,
        stamps=stamps,
        columns=columns,
        locate=lambda index: lines.locate(body, layout, index),
        zone=layout.time.zone,
        broker_time=layout.broker_time,
        notices=[f"{source.name}: {notice}" for notice in notices],
        names=layout.names,
    )


def _joined(pieces: list[list[Stamps]]) -> tuple[Stamps, list[str]]:
    """Join stamps, or dates and times of day, of consecutive rows; also return sentences about their forms."""
    parts = [join([piece[part] for piece in pieces]) for part in range(len(pieces[0]))]
    return settle(parts[0] if len(parts) == 1 else with_clock(*parts))


def _pieces(data: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of whole lines: parsed at once, a file of minute bars would need four times its size in memory."""
    while start < end:
        stop = data.rfind(b"\n", start, min(start + _PIECE_BYTES, end)) + 1 if start + _PIECE_BYTES < end else end
        stop = stop if stop > start else end
        yield start, stop
        start = stop


def _read_piece(
    source: Source, layout: Layout, body: pa.Buffer, piece: tuple[int, int]
) -> tuple[dict[str, np.ndarray], list[Stamps], int]:
    """Parse the columns and stamps of one range of lines, and count its blank lines."""
    text = pa.py_buffer(source.data)[slice(*piece)]
    kinds = {column: pa.float64() for role, column in layout.columns.items() if role != "tradable"}
    try:
        table, blank = _parse(source, layout, body, text, kinds)
        columns = {role: _floats(table, column) for role, column in layout.columns.items()}
    except pa.ArrowInvalid:  # some cell is not a plain number; if it is none at all, `checks` finds which one
        table, blank = _parse(source, layout, body, text, {})
        mark = layout.decimal_point
        columns = {
            role: read_numbers(table[str(column)], mark, words=role == "tradable")
            for role, column in layout.columns.items()
        }
    stamps = [read_stamps(table[str(column)]) for column in layout.time.columns]
    empty = np.logical_and.reduce([part.forms == Form.BLANK for part in stamps])
    if empty.any():
        empty &= np.logical_and.reduce([_blank_cells(table[str(column)]) for column in layout.columns.values()])
    if empty.any():
        columns = {role: values[~empty] for role, values in columns.items()}
        stamps = [Stamps(part.seconds[~empty], part.forms[~empty]) for part in stamps]
    return columns, stamps, blank + int(np.count_nonzero(empty))


def _blank_cells(column: pa.ChunkedArray) -> np.ndarray:
    """Find the cells [R] that hold nothing, or a word for it such as NaN."""
    if not pa.types.is_binary(column.type):
        return np.asarray(np.isnan(pc.fill_null(column, np.nan).to_numpy()), bool)
    return np.array([cell.decode(errors="replace").strip() in lines.NOTHING for cell in column.to_pylist()], bool)


def _parse(
    source: Source, layout: Layout, body: pa.Buffer, text: pa.Buffer, kinds: dict[int, Any]
) -> tuple[pa.Table, int]:
    """Parse lines into the columns in use, and count the blank ones among those that were left out."""
    ragged, blank, skipped = [], 0, 0

    def other_width(row: Any) -> str:
        nonlocal blank, skipped
        skipped += 1
        if not row.text.strip(BLANK):
            blank += 1
        elif not row.text.lstrip().startswith("#"):
            ragged.append(row)
        return "skip"

    used = sorted({*layout.time.columns, *layout.columns.values()})
    names = [str(column) for column in range(layout.num_columns)]
    # On this thread: a worker of Arrow's may drop its last reference to our bytes after the call has returned, which
    # aborts the process where the interpreter is shutting down ("terminate called without an active exception").
    table = pyarrow.csv.read_csv(
        pa.BufferReader(text),
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
    if len(table) + skipped != _count_lines(text):
        raise lines.open_quote(source, layout, body)
    if ragged:
        raise lines.ragged(source, layout, body)
    return table, blank


def _count_lines(text: pa.Buffer) -> int:
    characters = np.frombuffer(text, np.uint8)
    return int(np.count_nonzero(characters == 10)) + int(len(characters) > 0 and characters[-1] != 10)


def _floats(table: pa.Table, column: int) -> np.ndarray:
    values = table[str(column)]
    if pa.types.is_binary(values.type):  # true / false
        values = pc.equal(pc.utf8_lower(values.cast(pa.string())), "true")
    return np.asarray(values.cast(pa.float64()).to_numpy(), np.float64)


def read_parquet_rows(source: Source) -> Rows:
    """Read the rows of a Parquet file with columns, or an index, named as in text files."""
    try:
        file = pyarrow.parquet.ParquetFile(pa.BufferReader(source.data), page_checksum_verification=True)
        names = list(file.schema_arrow.names)
        first = next(file.iter_batches(_SAMPLE_ROWS, use_threads=False), None)
        samples = [] if first is None else sample(first.columns)
        columns = find_columns(source.name, [re.sub(_INDEX, "index", name) for name in names], samples)
        used = [names[position] for position in columns.used]
        several = len(set(names)) < len(names)  # columns of one name can only be read together
        read = functools.partial(file.read, use_threads=False)
        table = read().select(columns.used) if several else read(columns=used).select(used)
        rows = table_rows(source.name, "Parquet", table, columns)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        raise UserError(f"{source.name} is not a readable Parquet file: {str(error).splitlines()[0]}") from error
    notices = [f"{source.name}: {notice}" for notice in source.notices]
    return dataclasses.replace(rows, notices=notices + rows.notices)


def sample(columns: Sequence[pa.Array]) -> list[list[str]]:
    """The first rows of columns as text, for `find_columns`."""

    def texts(column: pa.Array) -> list[str]:
        column = column[:_SAMPLE_ROWS]
        if pa.types.is_temporal(column.type) and not pa.types.is_duration(column.type):
            column = column.cast(pa.string())  # also of dates that Python cannot hold
        return [str(cell) for cell in column.to_pylist()]

    return [list(row) for row in zip(*map(texts, columns), strict=True)]


@dataclasses.dataclass(frozen=True)
class TableColumns:
    """Which columns of a table hold the stamp and each role."""

    names: list[str]  # of all columns
    time: TimeColumns
    roles: dict[str, int]

    @property
    def used(self) -> list[int]:
        """Positions of the columns in use, each once."""
        return list(dict.fromkeys((*self.time.columns, *self.roles.values())))


def find_columns(origin: str, names: list[str], samples: list[list[str]]) -> TableColumns:
    """The columns in use, by names and first rows; UserError where a required one is missing or occurs twice."""
    return TableColumns(names, *find_roles(origin, names, samples))


def table_rows(origin: str, kind: str, table: pa.Table, columns: TableColumns) -> Rows:
    """Read the rows of an Arrow table, whose columns are the used ones in their order.

    Raises pyarrow's errors for cells that have another type than their column needs.
    """
    if len(table) == 0:
        raise UserError(f"{origin} has columns but no bars")
    by_position = dict(zip(columns.used, table.columns, strict=True))
    shown = {role: by_position[column] for role, column in columns.roles.items()}
    times = [by_position[column] for column in columns.time.columns]

    texts = [
        cells[:_SAMPLE].cast(pa.string()) for role, cells in shown.items() if is_price(role) and is_text(cells.type)
    ]
    mark, notices = decimal_mark(origin, (cell or "" for cells in texts for cell in cells.to_pylist()))

    def locate(index: int) -> tuple[int, dict[str, str]]:
        texts = {role: str(column[index].as_py()) for role, column in shown.items()}
        return index + 1, texts | {"time": " ".join(_shown(column, index) for column in times)}

    stamps, said = _joined([[read_stamps(column) for column in times]])
    clocks = columns.time.notices_for(bool(stamps.has_offset.any()))
    return Rows(
        name=origin,
        format=kind,
        stamps=stamps,
        columns={role: _column(cells, mark, role == "tradable") for role, cells in shown.items()},
        locate=locate,
        zone=columns.time.zone,
        broker_time=False,
        notices=[f"{origin}: {notice}" for notice in (*clocks, *said, *notices)],
        names=names_of(columns.roles, columns.names),
    )


def _column(cells: pa.ChunkedArray, mark: str, words: bool) -> np.ndarray:
    if is_text(cells.type):
        return read_numbers(cells, mark, words)
    return np.asarray(pc.fill_null(cells.cast(pa.float64()), np.nan).to_numpy(), np.float64)


def _shown(column: pa.ChunkedArray, index: int) -> str:
    """Return a cell as text; a date that Python cannot hold is shown as Arrow does."""
    cell = column[index]
    try:
        return str(cell.as_py())
    except (ValueError, OverflowError):
        return str(cell.cast(pa.string()))
