"""Bar files or DataFrames -> Bars."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mtquant_jax.api.session import log
from mtquant_jax.market import frames
from mtquant_jax.market.bars import loading
from mtquant_jax.market.bars.directory import symbols_in
from mtquant_jax.market.bars.options import MoreOptions
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.settings.config import BarStamps, ZeroSpread
from mtquant_jax.types import Bars

if TYPE_CHECKING:
    import pandas as pd


def load_bars(
    source: str | Path | Mapping[str, pd.DataFrame | np.ndarray],
    symbols: Sequence[str] = (),
    *,
    start: str = "",
    end: str = "",
    broker_timezone: str = "UTC",
    timeframe: Literal["files", "M1", "M5", "M15", "M30", "H1", "H4", "D1"] = "files",
    instruments: str | Path | None = None,
    force_broker_timezone: bool = False,
    symbol_timezones: Mapping[str, str] | None = None,
    bar_stamps: BarStamps = "open",
    symbol_bar_stamps: Mapping[str, BarStamps] | None = None,
    zero_spread: ZeroSpread = "median",
    allow_jumps: bool = False,
) -> Bars:
    """Load bars onto one clock, from bar files or from DataFrames; both pass the same checks.

    Args:
        source: a directory of bar files, or DataFrames by symbol. What ``MetaTrader5.copy_rates_range`` returns is
            taken as it is, as an array or as a DataFrame.
        symbols: N names; empty: all that the source has bars of.
        start: first day, UTC, as YYYY-MM-DD; empty: as early as all symbols allow.
        end: the day after the last, UTC; empty: as late as all symbols allow.
        broker_timezone: clock of stamps without an offset, MetaTrader's among them: an IANA zone such as
            Europe/Helsinki, or NewYork+7.
        timeframe: bars to make from those of the source; "files" keeps them.
        instruments: YAML of contract specifications laid over the shipped ones.
        force_broker_timezone: whether stamps with an offset, and seconds since 1970, are on that clock, too.
        symbol_timezones: clocks by symbol, which hold for stamps with an offset, too.
        bar_stamps: whether stamps are the open of a bar or its close.
        symbol_bar_stamps: the same by symbol.
        zero_spread: spread of bars whose own is zero: the median of the others, the instrument's default, or keep.
        allow_jumps: take steps of a factor two or more between bars for real, instead of refusing them.

    Returns:
        Bars of one path, arrays ``[1, T, N]`` float64, with notices.

    Raises:
        UserError: a row, a frame, a file or a symbol is wrong; the message names it.
    """
    specifications = load_instruments(None if instruments is None else Path(instruments))
    options = start, end, broker_timezone, timeframe
    more: MoreOptions = {
        "force_broker_timezone": force_broker_timezone,
        "symbol_timezones": _pairs(symbol_timezones),
        "bar_stamps": bar_stamps,
        "symbol_bar_stamps": _pairs(symbol_bar_stamps),
        "zero_spread": zero_spread,
        "allow_jumps": allow_jumps,
    }
    if isinstance(source, Mapping):
        bars, notices = frames.load_frames(source, symbols, specifications, *options, **more)
    else:
        folder = Path(source)
        bars, notices = loading.load_bars(
            folder, symbols or symbols_in(folder, specifications), specifications, *options, **more
        )
    log(notices)
    return dataclasses.replace(bars, notices=tuple(notices))


def _pairs(values: Mapping[str, str] | None) -> tuple[str, ...]:
    return tuple(f"{symbol}={value}" for symbol, value in (values or {}).items())
