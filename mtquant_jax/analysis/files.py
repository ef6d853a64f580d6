"""Writes the tables that an evaluation leaves in ``RUN_DIR/evaluation``."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.analysis.figures import Evaluation, lots, weights
from mtquant_jax.errors import UserError
from mtquant_jax.training.records import RunPaths, replacing, write_json


def evaluation_dir(paths: RunPaths) -> Path:
    """Where a run's evaluation lies."""
    return paths.run_dir / "evaluation"


def write_files(evaluation: Evaluation, folder: Path) -> dict[str, Path]:
    """Write ``metrics.json``, ``equity.csv``, ``trades.csv`` and ``positions.csv``; each appears when it is whole.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "metrics.json", evaluation.metrics)
        _write_csv(folder / "equity.csv", *_equity(evaluation))
        _write_csv(folder / "trades.csv", *_trades(evaluation))
        _write_csv(folder / "positions.csv", *_positions(evaluation))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    return {name: folder / name for name in ("metrics.json", "equity.csv", "trades.csv", "positions.csv")}


def _equity(evaluation: Evaluation) -> tuple[list[str], Iterable[Sequence[Any]]]:
    """Equity at each bar's close, account currency, mean over paths: portfolios, specialists alone and baselines."""
    traded, capital = evaluation.traded, evaluation.run.config.simulation.initial_capital
    curves = {**traded.portfolios, **{f"{n} alone": r for n, r in traded.specialists.items()}, **traded.baselines}
    columns = [np.asarray(record.equity, np.float64).mean(axis=1) * capital for record in curves.values()]
    times = _times(evaluation)
    return ["time", *curves], ([time, *(f"{c[row]:.2f}" for c in columns)] for row, time in enumerate(times))


def _trades(evaluation: Evaluation) -> tuple[list[str], Iterable[Sequence[Any]]]:
    """Trades of the last portfolio and of every specialist alone; money in account currency."""
    times = _times(evaluation)
    kinds = ("price_profit", "spread", "commission", "slippage", "impact", "swap")
    head = ["book", "path", "symbol", "direction", "opened", "closed", "max_lots", "fills", *kinds, "profit"]

    def rows() -> Iterable[Sequence[Any]]:
        for book, found in evaluation.trades.items():
            for trade in found:
                # Step l fills at the open of the bar after the l-th decision.
                closed = "" if trade.closed is None else times[trade.closed + 1]
                money = (f"{getattr(trade, kind):.2f}" for kind in kinds)
                head = (book, trade.path, trade.symbol, trade.direction, times[trade.opened + 1], closed)
                yield (*head, f"{trade.max_lots:g}", trade.fills, *money, f"{trade.profit:.2f}")

    return head, rows()


def _positions(evaluation: Evaluation) -> tuple[list[str], Iterable[Sequence[Any]]]:
    """Lots and signed exposure / equity of the last portfolio at each bar's close, path by path."""
    symbols, held = lots(evaluation.last, evaluation.run, evaluation.judged)
    exposed = weights(evaluation.last, evaluation.judged)
    times = _times(evaluation)
    head = ["time", "path", *(f"{s}_lots" for s in symbols), *(f"{s}_weight" for s in symbols)]

    def rows() -> Iterable[Sequence[Any]]:
        for path in range(held.shape[1]):
            for step in range(held.shape[0]):
                lots_now = (f"{value:.8g}" for value in held[step, path])
                yield (times[step + 1], path, *lots_now, *(f"{value:.6g}" for value in exposed[step, path]))

    return head, rows()


def _times(evaluation: Evaluation) -> list[str]:
    """Open times of the bars, UTC."""
    stamps = evaluation.judged.timestamps.astype("datetime64[s]")
    return [text.replace("T", " ") for text in np.datetime_as_string(stamps, unit="m")]


def _write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)
