"""Turns the rates of a MetaTrader terminal into Bars of finished bars, through the reader of all other bars."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.options import MoreOptions
from mtquant_jax.market.bars.timeframes import TIMEFRAMES, timeframe_name
from mtquant_jax.market.frames import load_frames
from mtquant_jax.market.instruments import Instrument
from mtquant_jax.types import Bars

if TYPE_CHECKING:
    import pandas as pd

_HOUR_BIT = 0x4000  # TIMEFRAME_H1 is 0x4001


def timeframe_of(seconds: int) -> int:
    """MetaTrader's constant of a bar's length in seconds: 60 -> 1, 3600 -> 16385, 86400 -> 16408.

    Raises:
        UserError: it is none of TIMEFRAMES.
    """
    if seconds not in TIMEFRAMES.values():
        raise UserError(f"bars of {timeframe_name(seconds)} cannot be read; use one of {', '.join(TIMEFRAMES)}")
    return seconds // 60 if seconds < 3600 else _HOUR_BIT + seconds // 3600


def finished(rates: np.ndarray, seconds: int, seen: int, now: float) -> np.ndarray:
    """The rates ``[R]`` without a last bar that is still running.

    The newest bar is over once a tick came at or after its end, or the clock has passed it: until the next bar begins,
    the terminal counts it as the current one, so that its position alone says nothing.

    Args:
        rates: up to position 0, oldest first.
        seconds: length of a bar.
        seen: the newest tick of any symbol, the server's clock.
        now: the server's clock by our own, less what it may be ahead.
    """
    over = not len(rates) or int(rates["time"][-1]) + seconds <= max(seen, now)
    return rates if over else rates[:-1]


def bars_of(
    rates: Mapping[str, np.ndarray],
    instruments: Mapping[str, Instrument],
    seconds: int,
    clock: str,
    **reading: Unpack[MoreOptions],
) -> Bars:
    """Bars of the finished rates of N symbols, up to the newest bar of any of them.

    A symbol that has no newest bar yet, such as one whose market is closed, carries its last close there.

    Args:
        rates: by symbol, ``[R]`` with the fields of `copy_rates_from_pos`.
        instruments: contracts at the broker, by symbol.
        seconds: length of a bar.
        clock: of the server, such as NewYork+7.
        reading: further options of `ReadingOptions`.

    Raises:
        UserError: a symbol has no bars, or the bars are refused as those of a file would be.
    """
    empty = [symbol for symbol, found in rates.items() if not len(found)]
    if empty:
        raise UserError(f"the broker has no finished {timeframe_name(seconds)} bars of {', '.join(empty)} yet")
    newest = max(int(found["time"][-1]) for found in rates.values())
    frames = {symbol: _frame(found, newest, instruments[symbol].point) for symbol, found in rates.items()}
    bars, notices = load_frames(
        frames, list(rates), instruments, broker_timezone=clock, timeframe=timeframe_name(seconds), **reading
    )
    return dataclasses.replace(bars, notices=tuple(notices))


def _frame(rates: np.ndarray, newest: int, point: float) -> pd.DataFrame:
    """The rates as a frame that ends at ``newest``, with the last close carried there where there is no bar.

    A column says which bars there are, so that none that is flat is taken for a filler, and the spread is a price: the
    decimals of a few bars would not say for certain what a point is.
    """
    import pandas as pd

    columns = {name: rates[name] for name in ("time", "open", "high", "low", "close", "tick_volume")}
    frame = pd.DataFrame(columns | {"spread_price": rates["spread"] * point, "tradable": True})
    last: dict[str, Any] = frame.iloc[-1].to_dict()
    if last["time"] < newest:
        carried = dict.fromkeys(("open", "high", "low", "close"), last["close"])
        last |= {"time": newest, "tradable": False, "tick_volume": 0, **carried}
        frame = pd.concat([frame, pd.DataFrame([last])], ignore_index=True).astype(frame.dtypes.to_dict())
    return frame
