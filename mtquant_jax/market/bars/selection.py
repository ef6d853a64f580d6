"""Turns Bars into those of some of their symbols and times."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import format_time
from mtquant_jax.types import Bars

COLUMNS = ("open", "high", "low", "close", "spread", "volume", "tradable")
"""Fields of `Bars` with a number for every path, bar and instrument."""


def choose(bars: Bars, symbols: Sequence[str], start: str = "", end: str = "", beside: Sequence[str] = ()) -> Bars:
    """The bars of some symbols, in their order, at the times at which at least one of them trades.

    Args:
        bars: of these symbols and perhaps others.
        symbols: N names.
        beside: symbols that come along behind them, whose trading keeps no time.
        start: first day, UTC, as YYYY-MM-DD; empty: no cut.
        end: the day after the last, UTC; empty: no cut.

    Raises:
        UserError: a symbol has no bars, or none are left.
    """
    missing = [symbol for symbol in (*symbols, *beside) if symbol not in bars.symbols]
    if missing:
        raise UserError(f"The bars have no {' and no '.join(missing)}; they have {', '.join(bars.symbols)}")
    trading = [bars.symbols.index(symbol) for symbol in symbols]
    columns = [*trading, *(bars.symbols.index(symbol) for symbol in beside)]
    times = np.asarray(bars.timestamps).astype("datetime64[s]")
    kept = np.asarray(bars.tradable)[..., trading].any(axis=(0, 2))
    kept &= (times >= np.datetime64(start or times[0])) & (times < np.datetime64(end or times[-1] + 1))
    if not kept.any():
        raise UserError(
            f"No bars are left between `market.start` {start or '(none)'} and `market.end` {end or '(none)'}: "
            f"there are bars from {format_time(bars.timestamps[0])} to {format_time(bars.timestamps[-1])}"
        )
    if kept.all() and (*symbols, *beside) == bars.symbols:
        return bars
    picked = {name: getattr(bars, name)[:, kept][..., columns] for name in COLUMNS}
    return dataclasses.replace(bars, symbols=(*symbols, *beside), timestamps=bars.timestamps[kept], **picked)


def first_bars(bars: Bars, count: int) -> Bars:
    """The first ``count`` bars."""
    return between(bars, 0, count)


def between(bars: Bars, first: int, last: int) -> Bars:
    """Bars ``first`` to before ``last``, by their places; views of the same arrays."""
    cut = {name: getattr(bars, name)[:, first:last] for name in COLUMNS}
    return dataclasses.replace(bars, timestamps=bars.timestamps[first:last], **cut)
