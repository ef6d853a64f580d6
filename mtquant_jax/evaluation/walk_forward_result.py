"""Folds of a walk-forward -> stitched out-of-sample track records over several seeds, and their metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mtquant_jax.evaluation.metrics import BootstrapDescription
from mtquant_jax.evaluation.verdict import judgement, period
from mtquant_jax.evaluation.walk_forward import PORTFOLIOS, Fold
from mtquant_jax.evaluation.walk_forward_metrics import (
    FoldMetrics,
    FoldPortfolio,
    OverallMetrics,
    OverSeeds,
    Period,
    SharpeInterval,
    WalkForwardMetrics,
)
from mtquant_jax.market.periods import moment
from mtquant_jax.statistics.intervals import CONFIDENCE, Interval, bootstrap, interval
from mtquant_jax.statistics.returns import maximum_drawdown, sharpe_ratio, trading_days_per_year
from mtquant_jax.statistics.significance import interquartile_mean
from mtquant_jax.statistics.track_record import track_record

LAST = PORTFOLIOS[-1]


@dataclasses.dataclass(frozen=True)
class Stitched:
    """All folds one after the other."""

    names: tuple[str, ...]
    returns: dict[str, np.ndarray]  # name -> [D, seeds or 1] daily returns
    days: np.ndarray  # [D] days since 1970
    days_per_year: float
    sharpe: dict[str, np.ndarray]  # name -> [1 + R] interquartile mean over seeds: of the sample, then of the draws
    block_length: float  # of the bootstrap, days

    @property
    def seeds(self) -> int:
        """Trainings per fold."""
        return int(self.returns[LAST].shape[1])

    @property
    def timeline(self) -> np.ndarray:
        """``[1 + D]`` dates of `equity`: the day before the first, then the days."""
        return np.concatenate([self.days[:1] - 1, self.days]).astype("datetime64[D]")

    def equity(self, name: str) -> np.ndarray:
        """``[1 + D, seeds or 1]`` at the start and at each day's close, shares of the starting capital."""
        returns = self.returns[name]
        return np.cumprod(np.concatenate([np.ones((1, returns.shape[1])), 1.0 + returns]), axis=0)

    def equity_over_seeds(self, name: str) -> np.ndarray:
        """``[1 + D]`` the interquartile mean over seeds of `equity`."""
        return np.array([interquartile_mean(row) for row in self.equity(name)])

    @property
    def over_seeds(self) -> str:
        """What a number over seeds is, in words. The interquartile mean of one or two values is their mean."""
        if self.seeds == 1:
            return "one seed"
        return f"{'mean' if self.seeds == 2 else 'interquartile mean'} of {self.seeds} seeds"

    def sharpe_interval(self, name: str) -> Interval:
        """The interval over seeds and days; none where every seed is flat, though differences count flat draws as 0."""
        if all(sharpe_ratio(column, self.days_per_year) is None for column in self.returns[name].T):
            return Interval(None, None, None)
        return interval(self.sharpe[name])


def stitch(folds: Sequence[Fold], draws: int = 1000) -> Stitched:
    """Daily returns of the test ranges in order; every fold begins with a flat account."""
    names = tuple(folds[0].returns)
    returns = {name: np.concatenate([fold.returns[name] for fold in folds]) for name in names}
    days = np.concatenate([np.unique(fold.day)[-len(fold.returns[LAST]) :] for fold in folds])
    per_year = trading_days_per_year(np.concatenate([fold.day for fold in folds]))
    seeds = returns[LAST].shape[1]
    columns = {f"{name} {seed}": column for name, r in returns.items() for seed, column in enumerate(r.T)}
    drawn = bootstrap(columns, per_year, draws)
    # Days are resampled for all together; so are seeds, for another training would have had others.
    chosen = np.random.default_rng(0).integers(seeds, size=(draws, seeds))
    chosen = np.concatenate([np.arange(seeds)[None], chosen])
    sharpe = {}
    for name, record in returns.items():
        first = drawn.names.index(f"{name} 0")
        own = np.nan_to_num(drawn.sharpe[:, first : first + record.shape[1]], nan=0.0)
        taken = np.take_along_axis(own, np.minimum(chosen, record.shape[1] - 1), axis=1)
        sharpe[name] = np.array([interquartile_mean(row) for row in taken])
    return Stitched(names, returns, days, per_year, sharpe, drawn.block_length)


def result(folds: Sequence[Fold], stitched: Stitched, seeds: Sequence[int]) -> WalkForwardMetrics:
    """The metrics of a walk-forward."""
    differences = {
        name: interval(stitched.sharpe[LAST] - stitched.sharpe[name]) for name in stitched.names if name != LAST
    }
    return WalkForwardMetrics(
        seeds=tuple(seeds),
        over_seeds=stitched.over_seeds,
        folds=tuple(_of_fold(number, fold) for number, fold in enumerate(folds, start=1)),
        overall={name: _overall(folds, stitched, name) for name in stitched.names},
        ahead_of={name: SharpeInterval(difference) for name, difference in differences.items()},
        trading_days=len(stitched.days),
        trading_days_per_year=stitched.days_per_year,
        bootstrap=BootstrapDescription(
            draws=len(stitched.sharpe[LAST]) - 1, confidence=CONFIDENCE, mean_block_days=stitched.block_length
        ),
        verdict=_verdict(folds, stitched, differences),
    )


def _of_fold(number: int, fold: Fold) -> FoldMetrics:
    periods = {part: Period(moment(first), moment(last)) for part, (first, last) in fold.times.items()}
    return FoldMetrics(
        fold=number,
        train=periods["train"],
        validation=periods["validation"],
        test=periods["test"],
        validation_sharpe=tuple(fold.validation),
        tilts={name: tuple(found) for name, found in fold.tilts.items()},
        portfolios={
            name: FoldPortfolio(
                sharpe=_over_seeds([p.sharpe for p in found]),
                total_return=_over_seeds([p.total_return for p in found]),
                max_drawdown=_over_seeds([p.max_drawdown for p in found]),
                seeds=tuple(found),
            )
            for name, found in fold.performance.items()
        },
    )


def _over_seeds(values: Sequence[float | None]) -> OverSeeds:
    """Interquartile mean and range; a flat account counts as 0."""
    numbers = [value or 0.0 for value in values]
    return OverSeeds(
        interquartile_mean=interquartile_mean(np.array(numbers)), lowest=min(numbers), highest=max(numbers)
    )


def _overall(folds: Sequence[Fold], stitched: Stitched, name: str) -> OverallMetrics:
    returns, equity = stitched.returns[name], stitched.equity(name)

    def one_by_one(values: Sequence[float | None]) -> OverSeeds:
        return dataclasses.replace(_over_seeds(values), seeds=tuple(values))

    return OverallMetrics(
        record=track_record(returns, stitched.days_per_year),
        sharpe_over_seeds=one_by_one([sharpe_ratio(column, stitched.days_per_year) for column in returns.T]),
        total_return_over_seeds=one_by_one((equity[-1] - 1.0).tolist()),
        max_drawdown_over_seeds=one_by_one(maximum_drawdown(equity).tolist()),
        cost_share_over_seeds=one_by_one(_costs(folds, name).tolist()),
        intervals=SharpeInterval(stitched.sharpe_interval(name)),
    )


def _costs(folds: Sequence[Fold], name: str) -> np.ndarray:
    """``[seeds or 1]`` costs of all folds, shares of the starting capital; a fold knows them as shares of its own."""
    costs = np.array([[p.cost_share for p in fold.performance[name]] for fold in folds])
    earned = np.array([[p.total_return for p in fold.performance[name]] for fold in folds])
    began = np.cumprod(np.concatenate([np.ones_like(earned[:1]), 1.0 + earned[:-1]]), axis=0)
    return np.asarray((costs * began).sum(axis=0))


def _verdict(folds: Sequence[Fold], stitched: Stitched, ahead_of: Mapping[str, Interval]) -> str:
    days, sharpe = len(stitched.days), stitched.sharpe_interval(LAST)
    when = period(moment(folds[0].timestamps[0]), moment(folds[-1].timestamps[-1]), days)
    what = f"{len(folds)} folds, out of sample {when}, {stitched.seeds} seed{'s' * (stitched.seeds != 1)}"
    if sharpe.value is None:
        return f"{what}: no portfolio traded; they are flat."
    return f"{what}: {judgement(sharpe, days, ahead_of)}."
