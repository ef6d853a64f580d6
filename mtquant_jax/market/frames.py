"""Turns pandas DataFrames and MetaTrader's arrays into Bars, by the checks of bar files, and Bars into DataFrames."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pyarrow as pa

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import PRICES, Findings
from mtquant_jax.market.bars.directory import Member, as_member
from mtquant_jax.market.bars.loading import align
from mtquant_jax.market.bars.options import MoreOptions, ReadingOptions
from mtquant_jax.market.bars.table import Rows, find_columns, table_rows
from mtquant_jax.market.bars.timeframes import FILES
from mtquant_jax.market.bars.wall import wall
from mtquant_jax.market.bars.wanted import examine_wanted
from mtquant_jax.market.instruments import Instrument, select, symbol_of_file
from mtquant_jax.types import Bars

if TYPE_CHECKING:
    import pandas as pd

_SAMPLE_ROWS = 24  # that determine the columns
_METATRADER = ("tick_volume", "real_volume")
"""Columns of which MetaTrader's rates have at least one; their integer times are seconds of the server's clock."""


def load_frames(
    frames: Mapping[str, pd.DataFrame | np.ndarray],
    symbols: Sequence[str],
    instruments: Mapping[str, Instrument],
    start: str = "",
    end: str = "",
    broker_timezone: str = "UTC",
    timeframe: str = FILES,
    **more: Unpack[MoreOptions],
) -> tuple[Bars, list[str]]:
    """Load the bars of symbols from DataFrames by name, with notices for the user.

    A frame has a column ``time`` or a DatetimeIndex, and columns ``open``, ``high``, ``low``, ``close``, and perhaps
    ``volume`` and ``spread`` (points), or others that bar files may have, in upper or lower case. The rates that
    MetaTrader returns, as an array or as a DataFrame of it, are frames whose stamps are on the broker's clock.

    Args:
        frames: by symbol, alias or a broker's name of the instrument, such as ``EURUSD.pro``.
        symbols: N names; empty: all that there are frames of.
        instruments: the specifications by symbol.
        start: as of `load_bars`, like all further arguments and the bars and notices returned.
        end: the same.
        broker_timezone: the same; it is the clock of MetaTrader's stamps and of times without an offset.
        timeframe: the same.
        more: the same.

    Raises:
        UserError: as of `load_bars`, with the position of a row in its frame, which counts from 0.
    """
    names = _names_by_symbol(frames, instruments, keep_unknown=not symbols)
    options = ReadingOptions(start, end, broker_timezone, timeframe, **more)
    members = [_member(frames, names, one, options) for one in select(symbols or list(names), instruments)]
    if not members:
        raise UserError("No frames are given; give at least one, such as {'EURUSD': frame}")
    return align(members, options)


def bars_frame(bars: Bars, symbol: str, path: int = 0) -> pd.DataFrame:
    """The bars of one instrument as a DataFrame, which `load_frames` reads back to the same bars.

    Returns:
        Rows ``[T]`` by open time (UTC), with open, high, low, close (bid), volume (ticks), ``spread_price`` (ask - bid
        in price units) and tradable. A row that is not tradable carries the last close.

    Raises:
        UserError: the bars have no such symbol.
    """
    import pandas as pd

    if symbol not in bars.symbols:
        raise UserError(f"The bars have no {symbol}; they have {', '.join(bars.symbols)}")
    index = bars.symbols.index(symbol)
    roles = {**{name: name for name in (*PRICES, "volume")}, "spread_price": "spread", "tradable": "tradable"}
    columns = {name: np.asarray(getattr(bars, role))[path, :, index] for name, role in roles.items()}
    times = pd.DatetimeIndex(np.asarray(bars.timestamps).astype("datetime64[s]"), name="time").tz_localize("UTC")
    return pd.DataFrame(columns, index=times)


def _names_by_symbol(
    frames: Mapping[str, Any], instruments: Mapping[str, Instrument], keep_unknown: bool
) -> dict[str, list[str]]:
    """The names of the frames of each symbol, in their order; an unknown name stands for itself."""
    found: dict[str, list[str]] = {}
    for name in frames:
        symbol = symbol_of_file(name, instruments)
        if symbol is not None or keep_unknown:
            found.setdefault(symbol or name, []).append(name)
    return found


def _member(
    frames: Mapping[str, Any], names: Mapping[str, list[str]], instrument: Instrument, options: ReadingOptions
) -> Member:
    """Read the frame of an instrument; its problems are recorded and do not raise."""
    symbol = instrument.symbol
    matches = names.get(symbol, [])
    if len(matches) != 1:
        problem = f"There is no frame for {symbol}; there are frames for {', '.join(frames) or 'nothing'}"
        if matches:
            problem = f"There are {len(matches)} frames for {symbol}: {' and '.join(matches)}; keep one of them"
        return Member(instrument, None, None, None, Findings(problem=problem))
    origin = f"frame {matches[0]}"
    try:
        with wall(origin):
            rows = _rows(origin, frames[matches[0]])
            file, findings = examine_wanted(rows, options.zone_of(symbol), options.stamps_wanted(symbol))
    except UserError as error:
        return Member(instrument, None, None, None, Findings(problem=str(error), cause=error))
    return as_member(instrument, None, file, findings, options)


def _rows(origin: str, frame: Any) -> Rows:
    """The unchecked rows of a frame or a structured array; ``origin`` names it in messages."""
    import pandas as pd

    if isinstance(frame, np.ndarray) and frame.dtype.names:
        frame = pd.DataFrame(frame)
    if not isinstance(frame, pd.DataFrame):
        raise UserError(
            f"{origin} is {_described(frame)}; give a DataFrame, or the array that MetaTrader5.copy_rates_range returns"
        )
    names, series = _columns(origin, frame)
    columns = find_columns(origin, names, _sample(series))
    arrays = [_arrow(origin, names[position], series[position]) for position in columns.used]
    try:
        table = pa.table(arrays, [str(position) for position in columns.used])
        rows = table_rows(origin, "pandas", table, columns)
    except pa.ArrowException as error:
        raise UserError(f"{origin} has cells that are no numbers: {str(error).splitlines()[0]}") from error
    if {name.lower() for name in names} & set(_METATRADER):
        rows = _on_server_clock(rows, table[0].type)
    located = rows.locate
    return dataclasses.replace(rows, locate=lambda index: (index, located(index)[1]))


def _columns(origin: str, frame: pd.DataFrame) -> tuple[list[str], list[Any]]:
    """Names and values of a frame's columns; an index of times, or one with a name, is the last of them."""
    import pandas as pd

    labels = frame.columns
    sides = {str(value).lower() for level in range(labels.nlevels) for value in labels.get_level_values(level)}
    if labels.nlevels > 1 and {"bid", "ask"} & sides:
        labels = pd.Index([".".join(str(part) for part in label if part) for label in labels])
    if labels.nlevels > 1:  # yfinance puts the ticker below the name of the column
        if len(labels.droplevel(0).unique()) > 1:
            raise UserError(f"{origin} has columns of several instruments; give one frame per symbol")
        labels = labels.get_level_values(0)
    names, series = [str(label) for label in labels], [frame.iloc[:, i] for i in range(len(labels))]
    is_time = isinstance(frame.index, pd.DatetimeIndex)
    if is_time or frame.index.name is not None:
        names.append("index" if is_time else str(frame.index.name))
        series.append(frame.index)
    return names, series


def _sample(series: Sequence[Any]) -> list[list[str]]:
    """First rows of columns as text, for `find_columns`."""
    cells = ([str(cell) for cell in getattr(values, "array", values)[:_SAMPLE_ROWS]] for values in series)
    return [list(row) for row in zip(*cells, strict=True)]


def _arrow(origin: str, name: str, values: Any) -> pa.Array:
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{origin}: the column {name} has values of different kinds: {reason}") from error


def _on_server_clock(rows: Rows, kind: pa.DataType) -> Rows:
    """MetaTrader counts seconds of its server's clock: as numbers they look like UTC, which they are not."""
    stamps = rows.stamps
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        stamps = stamps.without_offset()
    return dataclasses.replace(rows, format="MetaTrader 5", stamps=stamps, broker_time=True)


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return "an array without named columns"
    return "None" if value is None else f"a {type(value).__name__}"
