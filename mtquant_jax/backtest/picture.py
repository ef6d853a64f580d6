"""A backtest's record -> what a figure and histograms show of it, on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mtquant_jax.backtest.performance import spread
from mtquant_jax.backtest.trading import BacktestRecord, Tally
from mtquant_jax.statistics.histograms import Histogram
from mtquant_jax.statistics.returns import last_of_day


@dataclasses.dataclass(frozen=True)
class Picture:
    """What a policy did over a span of bars: its equity day by day, and how its decisions spread."""

    day: np.ndarray  # [D] days since 1970-01-01 that have bars
    equity: np.ndarray  # [D, P] share of initial capital at the end of each day
    weights: Mapping[str, Histogram]  # symbol -> relative weight wanted before the risk layer, in [-1, 1]
    capital: Mapping[str, Histogram]  # class or cash -> its share of the capital, in [0, 1]; empty without a hierarchy
    risk_appetite: Histogram | None = None  # of a hierarchy


def picture(record: BacktestRecord, day: np.ndarray, symbols: Sequence[str], places: Sequence[str]) -> Picture:
    """The picture of a backtest.

    Args:
        record: of L steps over P paths.
        day: ``[L + 1]`` day number of each bar from the first decision on.
        symbols: of the instruments that are not padding, in the order of the record.
        places: where a hierarchy can put capital, in the order of the record.
    """
    last = last_of_day(day)
    weights = [found for found, real in zip(_histograms(record.wanted, -1.0), record.real, strict=True) if real]
    allocation = [] if record.allocation is None else _histograms(record.allocation, 0.0)
    return Picture(
        day=day[last],
        equity=np.asarray(record.equity)[last],
        weights=dict(zip(symbols, weights, strict=True)),
        capital=dict(zip(places if allocation else (), allocation[:-1], strict=True)),
        risk_appetite=allocation[-1] if allocation else None,
    )


def _histograms(tally: Tally, least: float) -> list[Histogram]:
    """Of each decision of a tally, which lies between ``least`` and 1, over the bars of all paths."""
    mean, deviation = spread(tally)
    counts = np.asarray(tally.bins, np.float64).sum(axis=0)
    return [Histogram(least, *of_one) for of_one in zip(counts, mean.tolist(), deviation.tolist(), strict=True)]
