"""An evaluation -> its tables by column: equity, trades and positions, as its CSV files and frames hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mtquant_jax.evaluation.book import lots, weights
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
    # Step l fills at the open of the bar after the l-th decision.
    opened = [times[trade.opened + 1] for _, trade in found]
    closed = [None if trade.closed is None else times[trade.closed + 1] for _, trade in found]
    books = [book if book == "portfolio" else f"{book} alone" for book, _ in found]
    return trade_columns(books, [trade for _, trade in found], opened, closed)


def trade_columns(
    books: Sequence[str], found: Sequence[Trade], opened: Sequence[str], closed: Sequence[str | None]
) -> Columns:
    """The columns of ``trades.csv``.

    Args:
        books: K names of what each trade belongs to.
        found: K trades.
        opened: K times of opening, UTC.
        closed: K times of closing, UTC; None while a trade is open.
    """
    money = ("price_profit", "spread", "commission", "slippage", "impact", "swap", "profit")
    return {
        "book": list(books),
        **{name: [getattr(trade, name) for trade in found] for name in ("path", "symbol", "direction")},
        "opened": list(opened),
        "closed": list(closed),
        "bars": [None if trade.closed is None else trade.closed - trade.opened for trade in found],
        "open_price": [float(f"{trade.open_price:.8g}") for trade in found],
        "close_price": [None if t.close_price is None else float(f"{t.close_price:.8g}") for t in found],
        "lots": [float(f"{trade.lots:.6g}") for trade in found],
        "max_lots": [float(f"{trade.max_lots:.6g}") for trade in found],
        "fills": [trade.fills for trade in found],
        **{name: [round(getattr(trade, name), 2) + 0.0 for trade in found] for name in money},
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


def _times(evaluation: Evaluation) -> list[str]:
    """Open times of the bars, UTC."""
    stamps = evaluation.judged.timestamps.astype("datetime64[s]")
    return [text.replace("T", " ") for text in np.datetime_as_string(stamps, unit="m").tolist()]
