"""What `walk_forward.json` holds: the numbers of a walk-forward by name, written and read as one object.

A portfolio is trained with several seeds; a baseline has one value. "Over seeds" is the interquartile mean, which of
one or two values is their mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mtquant_jax.backtest.performance import Performance
from mtquant_jax.evaluation.metrics import BootstrapDescription
from mtquant_jax.statistics.intervals import Interval
from mtquant_jax.statistics.track_record import TrackRecord
from mtquant_jax.storage.records import JsonRecord, Merged, frame

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class Period:
    """Bars of one part of a fold."""

    first: str  # open time of the first bar, "YYYY-MM-DD HH:MM" UTC
    last: str


@dataclasses.dataclass(frozen=True)
class OverSeeds:
    """One number of several trainings; a Sharpe ratio that does not exist, for the account was flat, counts as 0."""

    interquartile_mean: float
    lowest: float
    highest: float
    seeds: tuple[float | None, ...] | None = None  # one by one


@dataclasses.dataclass(frozen=True)
class FoldPortfolio:
    """One portfolio or baseline on the test bars of one fold."""

    sharpe: OverSeeds  # annual
    total_return: OverSeeds
    max_drawdown: OverSeeds  # share of the peak
    seeds: tuple[Performance, ...]


@dataclasses.dataclass(frozen=True)
class FoldMetrics:
    """One fold."""

    fold: int  # from 1
    train: Period
    validation: Period
    test: Period
    validation_sharpe: tuple[float | None, ...]  # of the last phase's checkpoint, seed by seed
    tilts: Mapping[str, tuple[float, ...]]  # class -> share of its tilt that the evidence carried, seed by seed
    portfolios: Mapping[str, FoldPortfolio]


@dataclasses.dataclass(frozen=True)
class SharpeInterval:
    """A Sharpe ratio, or a difference of two, with its interval over days and seeds."""

    sharpe: Interval  # annual


@dataclasses.dataclass(frozen=True)
class OverallMetrics:
    """One portfolio or baseline over all folds, one after the other; shares are of the starting capital."""

    record: Merged[TrackRecord]  # seeds pooled
    sharpe_over_seeds: OverSeeds
    total_return_over_seeds: OverSeeds
    max_drawdown_over_seeds: OverSeeds
    cost_share_over_seeds: OverSeeds
    intervals: SharpeInterval


@dataclasses.dataclass(frozen=True)
class WalkForwardMetrics(JsonRecord):
    """Every number of a walk-forward, and what was run."""

    seeds: tuple[int, ...]
    over_seeds: str  # what a number over seeds is, in words
    folds: tuple[FoldMetrics, ...]
    overall: Mapping[str, OverallMetrics]
    ahead_of: Mapping[str, SharpeInterval]  # the last portfolio minus each, paired by day and seed
    trading_days: int
    trading_days_per_year: float
    bootstrap: BootstrapDescription
    verdict: str  # one sentence
    seconds: Mapping[str, float] | None = None
    market: str | None = None
    scheme: str | None = None  # anchored or rolling
    configuration: Mapping[str, Any] | None = None  # settings by name

    def to_frame(self) -> pd.DataFrame:
        """Portfolios and baselines by row, over all folds."""
        return frame(self.overall)
