"""A finished training and a directory -> the bars that its policies are to trade, in the order that they take."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from mtquant_jax.deploy.desk import TradingDesk, open_desk, symbols_of
from mtquant_jax.deploy.freshness import finished, settled
from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.evaluation_bars import settings_for
from mtquant_jax.market.bars.directory import bar_files
from mtquant_jax.market.features import LOOK_BACK_BARS
from mtquant_jax.market.instruments import symbol_of_file
from mtquant_jax.market.periods import moment
from mtquant_jax.market.prepare import instruments_of, read_bars
from mtquant_jax.runs.trained_run import TrainedRun
from mtquant_jax.types import Bars

MT5 = "mt5"
"""The source of bars that is MetaTrader's terminal, where others are directories."""


def desk_of(run: TrainedRun, source: str | None) -> TradingDesk:
    """The desk of a training whose bars lie in a directory, or come from a broker.

    Args:
        run: the training.
        source: bar files, or MT5; None for the bars of the training.

    Raises:
        UserError: the training was on the synthetic market and no directory is given, or its models do not fit.
    """
    config = settings_for(run, None if source == MT5 else source, None)
    if not config.data_dir and source != MT5:
        raise UserError(f"{run.name} was trained on the synthetic market, which has no next bar: give bar files")
    config = dataclasses.replace(config, market=dataclasses.replace(config.market, end=""))  # new bars lie after it
    return open_desk(run.paths.run_dir, config, symbols_of(config, _traded(run)))


def _traded(run: TrainedRun) -> tuple[str, ...]:
    return tuple(symbol for specialist in run.config.specialists.values() for symbol in specialist.symbols)


def read_history(desk: TradingDesk) -> Bars:
    """All bars of the desk's directory, to the newest of any symbol.

    Raises:
        UserError: as `read_bars`, or there are too few.
    """
    config, traded = desk.config, desk.desk.universe.symbols
    bars = read_bars(config, traded, desk.symbols[len(traded) :], instruments_of(config), open_end=True)
    if len(bars.timestamps) <= LOOK_BACK_BARS:
        raise UserError(
            f"{config.data_dir} has {len(bars.timestamps):,} bars from {moment(int(bars.timestamps[0]))}; the features "
            f"need more than {LOOK_BACK_BARS}"
        )
    return bars


def opening_bar(run: TrainedRun, timestamps: np.ndarray) -> int:
    """The bar at whose close the simulator's account opens: the first of the test split, as in an evaluation.

    Of bars that end before, it is the last one.
    """
    first, _ = run.split_times("test")
    found = max(LOOK_BACK_BARS, int(np.searchsorted(timestamps, first)))
    return min(found, len(timestamps) - 1)


def written(desk: TradingDesk) -> dict[str, float]:
    """When the file of each symbol of the desk's directory was last written, seconds since 1970 UTC."""
    instruments = instruments_of(desk.config)
    files = bar_files(Path(desk.config.data_dir))
    found = {symbol_of_file(path.name, instruments): path.stat().st_mtime for path in files}
    return {symbol: found[symbol] for symbol in desk.symbols if symbol in found}


def finished_of(desk: TradingDesk, bars: Bars, now: int) -> tuple[Bars, tuple[str, ...]]:
    """The bars of the desk's directory that may be decided on at a time, and notes on those that may not.

    Args:
        desk: of the directory.
        bars: as `read_history` read them.
        now: seconds since 1970 UTC.

    Raises:
        UserError: none is finished.
    """
    over, unfinished = finished(bars, desk.bar_seconds, now)
    notes: tuple[str, ...] = ()
    if unfinished:
        which = "1 bar that was" if unfinished == 1 else f"{unfinished:,} bars that were"
        notes = (f"left out at the end: {which} not finished by {moment(now)} UTC",)
    clock = desk.config.simulation.broker_clock
    found, more = settled(over, written(desk), desk.bar_seconds, now, clock)
    return found, (*notes, *more)
