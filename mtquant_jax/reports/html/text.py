"""Numbers, words and rows -> the escaped HTML pieces that a report is made of. What does not exist is a dash."""

from __future__ import annotations

import dataclasses
import html
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from mtquant_jax.evaluation.metrics import PartMetrics
from mtquant_jax.statistics.intervals import Interval

DASH = "\u2013"
_LONG = 60  # characters, from which on a cell has several lines
_JOINT = re.compile(r"[._](?=[a-z*])")  # of a setting's name
_ENDS = re.compile(r" (\[[^\[\]]*\])$")  # of an interval


def number(value: float | None, digits: int = 2, signed: bool = False) -> str:
    """A number with thousands separators."""
    if value is None or not math.isfinite(value):
        return DASH
    rounded = round(float(value), digits) + 0.0  # no -0.00
    return f"{rounded:{'+' if signed and rounded else ''},.{digits}f}"


def percent(share: float | None, digits: int = 2, signed: bool = False) -> str:
    """A share of one as percent."""
    text = DASH if share is None else number(100.0 * share, digits, signed)
    return text if text == DASH else f"{text} %"


def interval(found: Interval, form: Callable[[float | None], str] = number) -> str:
    """``value [low, high]``."""
    return DASH if found.value is None else f"{form(found.value)} {ends(found, form)}"


def ends(found: Interval, form: Callable[[float | None], str] = number) -> str:
    """``[low, high]``."""
    return DASH if found.low is None else f"[{form(found.low)}, {form(found.high)}]"


def with_error(value: float | None, error: float | None, digits: int = 2) -> str:
    """A number and its standard error."""
    found = number(value, digits)
    return found if value is None or error is None else f"{found} ± {number(error, digits)}"


def probability(value: float | None) -> str:
    """A p value: three decimals, and never 0."""
    return "< 0.001" if value is not None and 0.0 <= value < 0.0005 else number(value, 3)


class Strong(str):
    """A cell of a table that stands out."""


def or_never_held(name: str, part: PartMetrics, gap: str = " ") -> str:
    """The name of an instrument or class, which says so where its row is empty because nothing of it was held.

    Args:
        name: of the instrument or class.
        part: its metrics.
        gap: between the name and the words after it.
    """
    return name if part.mean_exposure else f"{name}{gap}(never held)"


def words(name: str) -> str:
    """``daily_loss_halving`` -> ``daily loss halving``."""
    return name.replace("_", " ")


def escaped(text: Any) -> str:
    """Text that came from outside, for HTML."""
    return html.escape(str(text), quote=True)


def label(text: Any) -> str:
    """Text that came from outside, for a chart: plotly.js reads some tags in it."""
    return html.escape(str(text), quote=False)


def wrapped(text: Any, width: int = 18, lines: int = 3) -> str:
    """Text that came from outside, for the axis of a chart: broken after dots and underscores, cut before its end."""
    found = [""]
    for piece in re.findall(r"[^._ ]*[._ ]*", str(text)):
        while piece:
            room = width - len(found[-1])
            if len(piece.rstrip()) <= room:
                found[-1], piece = found[-1] + piece, ""
            elif found[-1]:
                found.append("")
            else:
                found[-1], piece = piece[:width], piece[width:]
    kept = [line.rstrip() for line in found[:lines]]
    if len(found) > lines:
        kept[-1] = f"…{str(text)[1 - width :]}"
    return "<br>".join(map(label, kept))


@dataclasses.dataclass(frozen=True)
class Tile:
    """A key number with a note."""

    title: str
    value: str
    note: str


def tiles(found: Sequence[Tile]) -> str:
    """Tiles side by side."""
    items = "".join(
        f'<div class="tile"><dt>{escaped(tile.title)}</dt><dd class="value">{escaped(tile.value)}</dd>'
        f'<dd class="note">{escaped(tile.note)}</dd></div>'
        for tile in found
    )
    return f'<dl class="tiles">{items}</dl>'


def table(
    caption: str,
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    text: Sequence[int] = (),
    total: bool = False,
    sortable: bool = False,
    descending: int | None = None,
) -> str:
    """A table in a box of its own that scrolls.

    ``value [low, high]`` is written on two lines, the second without the value's unit, so that more columns fit.

    Args:
        caption: what it shows.
        head: names of the columns; the first is that of the rows' names.
        rows: cells as text; the first of each names the row.
        text: columns that hold words and not numbers.
        total: whether the last row is the sum of the others.
        sortable: whether its head sorts it.
        descending: column by which its rows are sorted, the largest first.
    """
    columns = "".join(
        f'<th scope="col"{"" if place in text or place == 0 else " class=number"}'
        f"{' aria-sort=descending' if place == descending else ''}>{_breakable(name)}</th>"
        for place, name in enumerate(head)
    )
    body = "".join(
        f"<tr{' class=total' if total and index == len(rows) - 1 else ''}>{_cells(row, text)}</tr>"
        for index, row in enumerate(rows)
    )
    kind = ' class="sortable"' if sortable else ""
    name = escaped(caption)
    return (
        f'<div class="box"><div class="scroll" role="region" aria-label="{name}" tabindex="0"><table{kind}>'
        f"<caption><span>{name}</span></caption><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div></div>"
    )


def _cells(row: Sequence[str], text: Sequence[int]) -> str:
    cells = "".join(
        f"<td{(' class=long' if len(cell) > _LONG else '') if place in text else ' class=number'}>{_cell(cell)}</td>"
        for place, cell in enumerate(row[1:], start=1)
    )
    return f'<th scope="row">{_breakable(row[0])}</th>{cells}'


def _breakable(name: str) -> str:
    """A name that may be broken after the dots and underscores of a setting."""
    return _JOINT.sub(lambda joint: f"{joint[0]}<wbr>", escaped(name))


def _cell(cell: str) -> str:
    text = _ENDS.sub(lambda ends: f' <span class="ends">{ends[1].replace(" %", "")}</span>', escaped(cell))
    return f"<b>{text}</b>" if isinstance(cell, Strong) else text


def section(name: str, title: str, how: str, *parts: str) -> str:
    """A section: its title, how to read it in a sentence, and what it shows."""
    return (
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{escaped(title)}</h2>'
        f'<p class="how">{escaped(how)}</p>{"".join(parts)}</section>'
    )


def paragraph(text: str) -> str:
    """A sentence between tables and charts."""
    return f"<p>{escaped(text)}</p>"
