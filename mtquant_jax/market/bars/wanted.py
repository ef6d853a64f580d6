"""Turns raw rows into bars as `checks` does, without failing on rows outside the wanted period."""

from __future__ import annotations

import dataclasses

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import BarFile, Findings
from mtquant_jax.market.bars.checks import examine
from mtquant_jax.market.bars.choice import choose
from mtquant_jax.market.bars.layouts import Layout
from mtquant_jax.market.bars.source import Source
from mtquant_jax.market.bars.table import Rows, read_text_rows
from mtquant_jax.time_zones import Zone


def read_wanted_rows(
    source: Source, layout: Layout, zone: Zone, period: tuple[int, int] | None
) -> tuple[Rows, list[str]]:
    """Read the rows of a text file as `read_text_rows` does, without failing on broken lines outside the period.

    Returns:
        the rows, and a notice about the lines that were left out, if any.

    Raises:
        UserError: a line in the period has another number of columns than the header.
    """
    try:
        return read_text_rows(source, layout), []
    except UserError as error:
        lines = source.data[layout.offset :].split(b"\n")
        separator = layout.separator.encode()
        filled = np.array([bool(line.strip()) and not line.lstrip().startswith(b"#") for line in lines])
        broken = np.array([line.count(separator) != layout.num_columns - 1 for line in lines]) & filled
        if period is None or not broken.any():
            raise
        lines = [b"#" + line if bad else line for line, bad in zip(lines, broken, strict=True)]
        rest = dataclasses.replace(source, data=source.data[: layout.offset] + b"\n".join(lines))
        rows = read_text_rows(rest, layout)
        kept, inside = np.flatnonzero(filled & ~broken), _inside(rows, zone, period)
        if len(kept) != len(inside):  # a line of separators alone is no row
            raise
        after = np.searchsorted(kept, np.flatnonzero(broken))
        near = inside[np.minimum(after, len(kept) - 1)] | inside[np.maximum(after - 1, 0)]
        if near.any():
            raise
        count = int(np.count_nonzero(broken))
        return rows, [f"{source.name}: broken lines outside the wanted period were left out ({count}): {error}"]


def examine_wanted(rows: Rows, zone: Zone, period: tuple[int, int] | None) -> tuple[BarFile | None, Findings]:
    """Validate rows as `examine` does; where a row is wrong, those outside the period are left out first.

    Args:
        rows: of one file.
        zone: the clock of stamps that state none.
        period: first second wanted and the one after the last, since 1970-01-01 UTC; None: all.
    """
    rows = choose(rows)
    file, findings = examine(rows, zone)
    wrong = findings.problem or findings.step
    if not wrong or period is None:
        return file, findings
    kept = np.flatnonzero(_inside(rows, zone, period))
    left_out = len(rows.stamps.unread) - len(kept)
    if not left_out or not len(kept):
        return file, findings
    inside, found = examine(_cut(rows, kept), zone)
    if inside is None or found.step:
        return (file, findings) if file is not None else (inside, found)
    found.notices.append(
        f"{rows.name}: {left_out} rows outside the wanted period were left out, because of one that is wrong: {wrong}"
    )
    return inside, found


def _inside(rows: Rows, zone: Zone, period: tuple[int, int]) -> np.ndarray:
    """``[R]`` bool, the rows in the period; a row without a time is where its neighbours are."""
    stamps = rows.stamps
    read = np.flatnonzero(~stamps.unread)
    if not len(read):
        return np.ones(len(stamps.unread), bool)
    seconds = stamps.seconds[read]
    local = zone.forced or not stamps.has_offset.any()
    clock = zone if zone.forced else rows.zone or zone
    times = clock.to_utc(seconds).utc if local and not clock.is_utc else seconds
    side = (times >= period[0]).astype(np.int64) + (times >= period[1]) - 1  # before, inside or after
    place = np.searchsorted(read, np.arange(len(stamps.unread)))
    after, before = side[np.minimum(place, len(read) - 1)], side[np.maximum(place - 1, 0)]
    result: np.ndarray = (after == 0) | (before != after)
    result[read] = side == 0
    return result


def _cut(rows: Rows, kept: np.ndarray) -> Rows:
    """The rows at some positions ``[K]``, which errors locate in the whole file."""
    locate = rows.locate
    stamps = dataclasses.replace(
        rows.stamps,
        **{field.name: getattr(rows.stamps, field.name)[kept] for field in dataclasses.fields(rows.stamps)},
    )
    columns = {name: values[kept] for name, values in rows.columns.items()}
    return dataclasses.replace(rows, stamps=stamps, columns=columns, locate=lambda index: locate(int(kept[index])))
