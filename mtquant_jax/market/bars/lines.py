"""Turns the text of a bar file into numbered lines, to name the row in which something is wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.csv

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.layouts import Layout
from mtquant_jax.market.bars.source import BLANK, Source

NOTHING = frozenset(pyarrow.csv.ConvertOptions().null_values)
"""Cells that hold nothing: "", "NaN" and the like."""


def lines(body: pa.Buffer, layout: Layout) -> Iterator[tuple[int, str, list[str]]]:
    """Yield the row number, text and fields of every line that is neither blank nor a comment."""
    for number, raw in enumerate(io.BytesIO(body), layout.first_line + 1):
        text = raw.decode(errors="replace").rstrip("\r\n")
        fields = _split(text, layout.separator)
        if len(fields) != layout.num_columns:
            if text.strip(BLANK) and not text.lstrip().startswith("#"):
                yield number, text, fields
        elif any(fields[column].strip() for column in layout.time.columns) or any(
            fields[column].strip() not in NOTHING for column in layout.columns.values()
        ):
            yield number, text, fields


def _split(text: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([text], delimiter=separator), [])
    except csv.Error:  # a field of more than 131,072 characters
        return text.split(separator)


def open_quote(source: Source, layout: Layout, body: pa.Buffer) -> UserError:
    """Return the error for the first row with a quotation mark that has no second one."""
    for number, raw in enumerate(io.BytesIO(body), layout.first_line + 1):
        if raw.count(b'"') % 2:
            text = raw.decode(errors="replace").strip()[:60]
            return UserError(f"{source.name} row {number}: a quotation mark is not closed: {text!r}")
    return UserError(f"{source.name} has quotation marks that span several rows; remove them")


def ragged(source: Source, layout: Layout, body: pa.Buffer) -> UserError:
    """Return the error for the first row with a different number of columns."""
    found = (line for line in lines(body, layout) if len(line[2]) != layout.num_columns)
    number, text, fields = next(found, (layout.first_line + 1, "", []))
    other = max("\t;,", key=text.count)
    hint = ""
    if other != layout.separator and text.count(other) >= layout.num_columns - 1:
        hint = f" (separated by {other!r}, not by {layout.separator!r})"
    columns = f"{len(fields)} column{'s' if len(fields) != 1 else ''}"
    return UserError(
        f"{source.name} row {number}: {columns} where the rows above and the header have {layout.num_columns}{hint}: "
        f"{text[:60]!r}"
    )


def locate(body: pa.Buffer, layout: Layout, index: int) -> tuple[int, dict[str, str]]:
    """Return the row number of a bar by its index, and its cells by role and "time"."""
    for i, (number, _, fields) in enumerate(lines(body, layout)):
        if i == index:
            fields += [""] * (layout.num_columns - len(fields))
            texts = {role: fields[column] for role, column in layout.columns.items()}
            return number, texts | {"time": " ".join(fields[column] for column in layout.time.columns)}
    return layout.first_line + 1 + index, {}
