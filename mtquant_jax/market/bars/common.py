"""Turns the periods of several bar files into the one that they share, and names the files that make it short."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import BarFile, format_time
from mtquant_jax.market.bars.directory import Member
from mtquant_jax.market.bars.options import ReadingOptions

_LOSS = 0.1  # share of the common bars that files may cost before they are named
_FEW = 240  # bars whose loss is not worth a notice: fewer than features look back


def common_period(files: Sequence[BarFile], options: ReadingOptions) -> tuple[int, int]:
    """Return the first and last bar time, inclusive, of the common period of all files within the wanted one.

    Raises UserError if there is none.
    """
    first = max(int(file.timestamps[0]) for file in files)
    last = (max if options.open_end else min)(int(file.timestamps[-1]) for file in files)
    if first > last:
        periods = "; ".join(
            f"{file.name} {format_time(file.timestamps[0])} to {format_time(file.timestamps[-1])}" for file in files
        )
        raise UserError(f"The files have no common period: {periods}")
    common = f"{format_time(first)} to {format_time(last)}"
    start, end = options.period
    first, last = max(first, start), min(last, end - 1)
    if first > last:
        raise UserError(
            f"No bars are left between start {options.start or '(none)'} and end {options.end or '(none)'}: the files "
            f"share {common}"
        )
    return first, last


def short_symbols(members: Sequence[Member], options: ReadingOptions) -> list[str]:
    """Notices about files, at most half of them, without which the common period would be longer by a tenth of it."""
    usable = [(member.instrument.symbol, member.file) for member in members if member.file is not None]
    files = [file for _, file in usable]
    start, end = options.period
    first, last = common_period(files, options)
    notices = []
    for side, verb, order in (
        (0, "begin", np.argsort([-file.timestamps[0] for file in files], kind="stable")),
        (-1, "end", np.argsort([file.timestamps[-1] for file in files], kind="stable")),
    ):
        for count in range(1, len(files) // 2 + 1):
            without = [files[place] for place in order[count:]]
            longer = max(max(int(f.timestamps[0]) for f in without), start) if side == 0 else first
            later = min(min(int(f.timestamps[-1]) for f in without), end - 1) if side == -1 else last
            with_all, possible = (
                max(_bars(file, *period) for file in without) for period in ((first, last), (longer, later))
            )
            if possible - with_all > max(_LOSS * possible, _FEW):
                short = [usable[place] for place in order[:count]]
                names = " and ".join(file.name for _, file in short)
                when = format_time(short[-1][1].timestamps[side])
                notices.append(
                    f"{names} {verb}{'s' if count == 1 else ''} at {when}, which cuts the common history from "
                    f"{possible:,} to {with_all:,} bars ({1 - with_all / possible:.0%} less); leave out "
                    f"{' and '.join(symbol for symbol, _ in short)}, or give longer files, to keep them."
                )
                break
    return notices


def _bars(file: BarFile, first: int, last: int) -> int:
    """Count the bars of a file from first to last."""
    return int(np.diff(np.searchsorted(file.timestamps, (first, last + 1)))[0])
