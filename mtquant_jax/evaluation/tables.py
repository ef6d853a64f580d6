"""An evaluation -> its tables by column: equity, trades and positions, as its CSV files and frames hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mtquant_jax.evaluation.book import lots, slots_of, weights
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.statistics.trades import Trade

if TYPE_CHECKING:
    import pandas as pd

Columns = dict[str, Any]
"""Columns of equal length by name: lists or arrays ``[rows]``."""


def equity_table(evaluation: Evaluation) -> Columns:
    """Equity at each bar's close, account currency, mean over paths: portfolios, specialists alone and baselines."""
    traded, capital = evaluation.traded, evaluation.run.config.simulation.initial_capital
    curves = {**traded.portfolios, **{f"{n} alone": r for n, r in traded.specialists.items()}, **traded.baselines}
    columns = {name: np.asarray(r.equity, np.float64).mean(axis=1) * capital for name, r in curves.items()}
    return {"time": _times(evaluation), **{name: np.round(values, 2) for name, values in columns.items()}}


def trades_table(evaluation: Evaluation) -> Columns:
    """Trades of the last portfolio and of every specialist alone; money in account currency."""
    times = _times(evaluation)
    found = [(book, trade) for book, trades in evaluation.trades.items() for trade in trades]
    money = ("price_profit", "spread", "commission", "slippage", "impact", "swap", "profit")
    prices = list(_prices(evaluation))
    return {
        "book": [book if book == "portfolio" else f"{book} alone" for book, _ in found],
        **{name: [getattr(trade, name) for _, trade in found] for name in ("path", "symbol", "direction")},
        # Step l fills at the open of the bar after the l-th decision.
        "opened": [times[trade.opened + 1] for _, trade in found],
        "closed": [None if trade.closed is None else times[trade.closed + 1] for _, trade in found],
        "bars": [None if trade.closed is None else trade.closed - trade.opened for _, trade in found],
        "open_price": [first for first, _ in prices],
        "close_price": [last for _, last in prices],
        "max_lots": [float(f"{trade.max_lots:.6g}") for _, trade in found],
        "fills": [trade.fills for _, trade in found],
        **{name: [round(getattr(trade, name), 2) + 0.0 for _, trade in found] for name in money},
    }


def positions_table(evaluation: Evaluation) -> Columns:
    """Lots and signed exposure / equity of the last portfolio at each bar's close, path by path."""
    symbols, held = lots(evaluation.last, evaluation.run, evaluation.judged)
    exposed = weights(evaluation.last, evaluation.judged)
    steps, paths, _ = held.shape
    return {
        "time": _times(evaluation)[1:] * paths,
        "path": np.repeat(np.arange(paths), steps),
        **{f"{symbol}_lots": np.round(held[:, :, i].T.ravel(), 6) for i, symbol in enumerate(symbols)},
        **{f"{symbol}_weight": np.round(exposed[:, :, i].T.ravel(), 6) for i, symbol in enumerate(symbols)},
    }


def to_frame(columns: Columns) -> pd.DataFrame:
    """A table with its times as UTC timestamps."""
    import pandas as pd

    table = pd.DataFrame(columns)
    for name in {"time", "opened", "closed"} & set(columns):
        table[name] = pd.to_datetime(table[name], utc=True)
    return table


def _prices(evaluation: Evaluation) -> Iterator[tuple[float, float | None]]:
    """Quotes at the first and the last fill of every trade, before slippage: bought at the ask, sold at the bid.

    A position that was closed with the account has no second one: it was filled a bar later.
    """
    judged, slots = evaluation.judged, slots_of(evaluation.judged)
    bid = np.asarray(judged.market.table.open, np.float64)
    spread = np.asarray(judged.market.table.spread, np.float64) * evaluation.run.config.simulation.cost_multiplier
    records = {"portfolio": evaluation.last, **evaluation.traded.specialists}

    def quote(trade: Trade, step: int, bought: bool) -> float:
        # Step l fills at the open of the bar after the l-th decision.
        place = trade.path, judged.first + step + 1, slots.positions[slots.symbols.index(trade.symbol)]
        return float(f"{bid[place] + bought * spread[place]:.7g}")  # float32

    for book, trades in evaluation.trades.items():
        ended = np.flatnonzero(np.asarray(records[book].terminated)).tolist()
        last_step = {path: max((t.closed or 0 for t in trades if t.path == path), default=0) for path in ended}
        for trade in trades:
            long, last = trade.direction == "long", None
            if trade.closed is not None and trade.closed != last_step.get(trade.path):
                last = quote(trade, trade.closed, not long)
            yield quote(trade, trade.opened, long), last


def _times(evaluation: Evaluation) -> list[str]:
    """Open times of the bars, UTC."""
    stamps = evaluation.judged.timestamps.astype("datetime64[s]")
    return [text.replace("T", " ") for text in np.datetime_as_string(stamps, unit="m").tolist()]
