"""Writes the tables that an evaluation leaves in ``RUN_DIR/evaluation``."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.csv

from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.book import lots, slots_of, weights
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.evaluation.metrics import BarsDescription
from mtquant_jax.statistics.trades import Trade
from mtquant_jax.storage.files import read_json, replacing, write_json
from mtquant_jax.storage.records import from_json


def check_writable(folder: Path) -> None:
    """Try to write before anything is traded.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None


def other_period(folder: Path, bars: BarsDescription) -> str:
    """Which bars the evaluation in a folder is of; nothing where there is none, or one of the same bars."""
    try:
        content = read_json(folder / "metrics.json", "the evaluation before")
        found = from_json(BarsDescription, content.get("bars"), "the evaluation before")
    except UserError:
        return ""
    if (found.split, found.source, found.first, found.last) == (bars.split, bars.source, bars.first, bars.last):
        return ""
    return f"{found.source}, {found.split} split, {found.first} to {found.last},"


def write_files(evaluation: Evaluation, folder: Path) -> dict[str, Path]:
    """Write ``metrics.json``, ``equity.csv``, ``trades.csv`` and ``positions.csv``; each appears when it is whole.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "metrics.json", evaluation.metrics.to_json())
        write_csv(folder / "equity.csv", _equity(evaluation))
        write_csv(folder / "trades.csv", _trades(evaluation))
        write_csv(folder / "positions.csv", _positions(evaluation))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    return {name: folder / name for name in ("metrics.json", "equity.csv", "trades.csv", "positions.csv")}


def _equity(evaluation: Evaluation) -> dict[str, Any]:
    """Equity at each bar's close, account currency, mean over paths: portfolios, specialists alone and baselines."""
    traded, capital = evaluation.traded, evaluation.run.config.simulation.initial_capital
    curves = {**traded.portfolios, **{f"{n} alone": r for n, r in traded.specialists.items()}, **traded.baselines}
    columns = {name: np.asarray(r.equity, np.float64).mean(axis=1) * capital for name, r in curves.items()}
    return {"time": _times(evaluation), **{name: np.round(values, 2) for name, values in columns.items()}}


def _trades(evaluation: Evaluation) -> dict[str, Any]:
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


def _positions(evaluation: Evaluation) -> dict[str, Any]:
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


def _times(evaluation: Evaluation) -> list[str]:
    """Open times of the bars, UTC."""
    stamps = evaluation.judged.timestamps.astype("datetime64[s]")
    return [text.replace("T", " ") for text in np.datetime_as_string(stamps, unit="m").tolist()]


def write_csv(path: Path, columns: dict[str, Any]) -> None:
    """Columns of equal length by name."""
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    with replacing(path) as temporary:
        pyarrow.csv.write_csv(pyarrow.table(columns), temporary, options)
