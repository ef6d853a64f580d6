"""Turns a directory of bar files into the tables that `mtquant-jax data check` prints, one row per instrument."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from mtquant_jax.market.bars.bar_file import BarFile, format_time
from mtquant_jax.market.bars.directory import Member
from mtquant_jax.market.bars.sessions import Gaps, find_gaps
from mtquant_jax.market.bars.stretches import Stretch, stretches_of
from mtquant_jax.market.bars.timeframes import timeframe_name

_OUTLIER = 15.0  # returns beyond this many standard deviations are reported
_RECENT = 500  # bars in the block that the standard deviation is estimated on


@dataclasses.dataclass(frozen=True)
class Quality:
    """Quality of the bars of one file."""

    gaps: Gaps
    stale: int  # bars without a move: open, high, low and close all equal the previous close
    outliers: int  # returns of more than 15 standard deviations of the surrounding 500 bars
    largest: float  # largest absolute log return
    largest_at: int  # its time, seconds since 1970-01-01 UTC


def quality(file: BarFile, session: str = "daily_break") -> Quality:
    """Find the gaps (see `find_gaps`), stale bars and outliers of a file; bars that are not tradable are left out."""
    keep = slice(None) if file.tradable is None else file.tradable
    close, times = file.close[keep], file.timestamps[keep]
    still = (file.high[keep] == file.low[keep])[1:] & (file.high[keep][1:] == close[:-1])
    size = np.abs(np.diff(np.log(close)))
    largest = int(np.argmax(size)) if len(size) else 0
    return Quality(
        gaps=find_gaps(file, session),
        stale=int(np.count_nonzero(still)),
        outliers=int(np.count_nonzero(size > _OUTLIER * _local_deviation(size))),
        largest=float(size[largest]) if len(size) else 0.0,
        largest_at=int(times[largest + 1]) if len(size) else 0,
    )


def _local_deviation(size: np.ndarray) -> np.ndarray:
    """Estimate the standard deviation [R] of returns from the median of |return| in blocks, robust to outliers."""
    deviation = np.empty(len(size))
    for first in range(0, len(size), _RECENT):
        block = slice(max(0, min(first, len(size) - _RECENT)), first + _RECENT)
        moved = size[block][size[block] > 0]
        deviation[first : first + _RECENT] = 1.4826 * np.median(moved) if len(moved) else np.inf
    return deviation


def report(members: Sequence[Member]) -> list[tuple[str, list[list[str]]]]:
    """Return tables of text cells: files, bars, stretches and spreads; each has its title, and its header first."""
    files = [["symbol", "file", "format", "rows", "first (UTC)", "last (UTC)", "clock of stamps", "bars"]]
    bars = [["symbol", "gaps", "missing", "longest gap", "daily breaks", "duplicates", "unsorted", "stale", "fillers"]]
    bars[0] += ["bad OHLC", "outliers", "largest move"]
    stretches = [["symbol", "zero spread", "frozen volume", "overlapping", "other lengths"]]
    spreads = [["symbol", "point", "median", "95 %", "highest", "in price", "default", "ratio"]]
    for member in members:
        files.append(_file_row(member))
        bars.append(_bar_row(member))
        stretches.append(_stretch_row(member))
        spreads.append(_spread_row(member))
    return [
        ("Files", files),
        ("Bars (gaps: inside the week, without daily breaks; bad OHLC: range without open or close)", bars),
        ("Stretches (share of bars, and the longest stretch of them)", stretches),
        ("Spreads (in points of the file, without zeros; default: configs/instruments.yaml)", spreads),
    ]


def _file_row(member: Member) -> list[str]:
    row = [member.instrument.symbol, member.path.name if member.path else "none"]
    if member.source is None:
        return [*row, "", f"{member.findings.rows:,}" if member.findings.rows else "", "", "", "", "refused"]
    source = member.source
    interval = timeframe_name(source.interval) if source.interval else "?"
    if member.file is None:
        interval += ", refused"
    elif member.file is not source:
        interval += f" to {timeframe_name(member.file.interval)}"
    period = [format_time(source.timestamps[i]) for i in (0, -1)]
    return [*row, _format(source), f"{member.findings.rows:,}", *period, source.zone, interval]


def _format(file: BarFile) -> str:
    """The name of a file's format; only names of files tell HistData's from NinjaTrader's."""
    if not file.format.startswith("HistData") or file.name.upper().startswith("DAT_"):
        return file.format
    ninja = re.search(r"\.(bid|ask|last)\b", file.name, re.IGNORECASE)
    return file.format.replace("HistData", "NinjaTrader" if ninja else "HistData or NinjaTrader")


def _bar_row(member: Member) -> list[str]:
    found, symbol = member.findings, member.instrument.symbol
    repeated = f"{found.duplicates}" + (f" + {found.conflicts} in conflict" if found.conflicts else "")
    counts = [repeated, str(found.unsorted)]
    if member.source is None:
        bad = f"{found.inconsistent}" + (f", {found.not_positive} not positive" if found.not_positive else "")
        return [symbol, "", "", "", "", *counts, "", "", bad, "", ""] if found.rows else [symbol, *[""] * 11]
    about = quality(member.source, member.instrument.session)
    longest = f"{about.gaps.longest / 3600:g} h at {format_time(about.gaps.longest_at)}" if about.gaps.count else "none"
    return [
        symbol,
        f"{about.gaps.count:,}",
        f"{about.gaps.missing_bars:,}",
        longest,
        f"{about.gaps.daily_breaks:,}",
        *counts,
        f"{about.stale:,}",
        f"{found.fillers:,}",
        str(found.inconsistent),
        str(about.outliers),
        f"{about.largest:.2%} at {format_time(about.largest_at)}",
    ]


def _stretch_row(member: Member) -> list[str]:
    symbol = member.instrument.symbol
    if member.source is None:
        return [symbol, *[""] * 4]
    found = stretches_of(member.source)
    others = (
        f"{timeframe_name(one.seconds)} from {format_time(one.first)[:10]} to {format_time(one.last)[:10]}"
        for one in found.other_lengths
    )
    both = (_stretch_cell(one) for one in (found.zero_spread, found.frozen_volume))
    return [symbol, *both, f"{found.overlapping.count:,}", ", ".join(others) or "none"]


def _stretch_cell(stretch: Stretch) -> str:
    if not stretch.count:
        return "none"
    return f"{stretch.share:.1%}, from {format_time(stretch.first)} to {format_time(stretch.last)}"


def _spread_row(member: Member) -> list[str]:
    instrument, source = member.instrument, member.source
    default = f"{instrument.default_spread:.6g}"
    if source is None:
        return [instrument.symbol, "", "", "", "", "", default, ""]
    if source.spread is None or not source.spread.any():
        return [instrument.symbol, f"{source.point:g}", "", "", "", "", default, "none in the file"]
    points = source.spread[source.spread > 0] / source.point
    median, high = np.percentile(points, [50, 95])
    in_price = float(median * source.point)
    ratio = f"{in_price / instrument.default_spread:.2f} x" if instrument.default_spread else ""
    texts = [f"{source.point:g}", f"{median:.6g}", f"{high:.6g}", f"{points.max():.6g}", f"{in_price:.6g}"]
    return [instrument.symbol, *texts, default, ratio]


def render(rows: Sequence[Sequence[str]], width: int | None = None) -> str:
    """Format rows of cells as aligned text: the first column and text to the left, numbers to the right.

    Args:
        rows: the header first.
        width: of a line, in characters; a wider table is divided into several below each other, each with the first
            column. None: any.
    """
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    parts: list[list[int]] = [[0]]
    for index in range(1, len(columns)):
        if width is not None and len(parts[-1]) > 1 and sum(widths[i] + 2 for i in parts[-1]) + widths[index] > width:
            parts.append([0])
        parts[-1].append(index)
    return "\n\n".join(_aligned([columns[i] for i in part], [widths[i] for i in part]) for part in parts)


def _aligned(columns: Sequence[Sequence[str]], widths: Sequence[int]) -> str:
    numeric = [all(_is_number(cell) for cell in column[1:]) and any(column[1:]) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _is_number(cell: str) -> bool:
    return not cell or re.fullmatch(r"[-\d.,e]+( x)?", cell) is not None
