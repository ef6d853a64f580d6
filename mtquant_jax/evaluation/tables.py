"""An evaluation -> its tables as columns of equal length by name: equity, trades and positions.

Times are datetime64 in UTC, and NaT where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mtquant_jax.evaluation.book import lots, slots_of, weights
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.statistics.trades import Trade


def equity_columns(evaluation: Evaluation) -> dict[str, Any]:
    """Equity at each bar's close, account currency, mean over paths: portfolios, specialists alone and baselines."""
    traded, capital = evaluation.traded, evaluation.run.config.simulation.initial_capital
    curves = {**traded.portfolios, **{f"{n} alone": r for n, r in traded.specialists.items()}, **traded.baselines}
    columns = {name: np.asarray(r.equity, np.float64).mean(axis=1) * capital for name, r in curves.items()}
    return {"time": _times(evaluation), **{name: np.round(values, 2) for name, values in columns.items()}}


def trade_columns(evaluation: Evaluation) -> dict[str, Any]:
    """Trades of the last portfolio and of every specialist alone; money in account currency."""
    times = _times(evaluation)
    found = [(book, trade) for book, trades in evaluation.trades.items() for trade in trades]
    money = ("price_profit", "spread", "commission", "slippage", "impact", "swap", "profit")
    prices = list(_prices(evaluation))
    return {
        "book": [book if book == "portfolio" else f"{book} alone" for book, _ in found],
        **{name: [getattr(trade, name) for _, trade in found] for name in ("path", "symbol", "direction")},
        # Step l fills at the open of the bar after the l-th decision.
        "opened": times[[trade.opened + 1 for _, trade in found]],
        "closed": np.array(
            [np.datetime64("NaT") if t.closed is None else times[t.closed + 1] for _, t in found], times.dtype
        ),
        "bars": [None if trade.closed is None else trade.closed - trade.opened for _, trade in found],
        "open_price": [first for first, _ in prices],
        "close_price": [last for _, last in prices],
        "max_lots": [float(f"{trade.max_lots:.6g}") for _, trade in found],
        "fills": [trade.fills for _, trade in found],
        **{name: [round(getattr(trade, name), 2) + 0.0 for _, trade in found] for name in money},
    }


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

    for book, found in evaluation.trades.items():
        terminated = np.asarray(records[book].terminated)
        for trade in found:
            long = trade.direction == "long"
            last = None
            with_account = terminated[trade.path] and trade.closed == _last_close(found, trade.path)
            if trade.closed is not None and not with_account:
                last = quote(trade, trade.closed, not long)
            yield quote(trade, trade.opened, long), last


def _last_close(found: Sequence[Trade], path: int) -> int:
    return max(trade.closed or 0 for trade in found if trade.path == path)


def position_columns(evaluation: Evaluation) -> dict[str, Any]:
    """Lots and signed exposure / equity of the last portfolio at each bar's close, path by path."""
    symbols, held = lots(evaluation.last, evaluation.run, evaluation.judged)
    exposed = weights(evaluation.last, evaluation.judged)
    steps, paths, _ = held.shape
    return {
        "time": np.tile(_times(evaluation)[1:], paths),
        "path": np.repeat(np.arange(paths), steps),
        **{f"{symbol}_lots": np.round(held[:, :, i].T.ravel(), 6) for i, symbol in enumerate(symbols)},
        **{f"{symbol}_weight": np.round(exposed[:, :, i].T.ravel(), 6) for i, symbol in enumerate(symbols)},
    }


def _times(evaluation: Evaluation) -> np.ndarray:
    """Open times of the bars ``[L + 1]``, UTC, datetime64."""
    return evaluation.judged.timestamps.astype("datetime64[s]")
