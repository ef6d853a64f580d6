"""Evaluated runs side by side on the days that all of them were traded: table, paired intervals, deflation, figure."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.metrics import BootstrapDescription, EvaluationMetrics
from mtquant_jax.evaluation.trials import damaged_trials, latest_trials
from mtquant_jax.statistics.intervals import CONFIDENCE, Difference, Intervals, bootstrap
from mtquant_jax.statistics.significance import SharpeSample, deflated_sharpe_ratio, probability_of_overfitting
from mtquant_jax.statistics.track_record import TrackRecord, track_record
from mtquant_jax.storage.files import read_sealed
from mtquant_jax.storage.paths import RunPaths, evaluation_dir
from mtquant_jax.storage.records import JsonRecord, Merged, frame

if TYPE_CHECKING:
    import pandas as pd

_FEWEST_DAYS = 20
_FEWEST_RUNS_TO_OVERFIT = 4  # trials from which choosing the best of them is worth a probability
_BLOCKS = 16


@dataclasses.dataclass(frozen=True)
class CommonDays:
    """Days on which all runs were traded."""

    first: str  # "YYYY-MM-DD"
    last: str
    count: int


@dataclasses.dataclass(frozen=True)
class TrialSpread:
    """Trainings that were judged on these bars."""

    count: int
    daily_sharpe_variance: float  # of their daily Sharpe ratios; 0 of one


@dataclasses.dataclass(frozen=True)
class ComparedRun:
    """The last portfolio of one run, on the common days."""

    directory: str
    portfolio: str  # its name
    in_sample: bool
    record: Merged[TrackRecord]
    intervals: Intervals
    deflated_sharpe: float | None  # probability that the true ratio is above the best of the trials by luck


@dataclasses.dataclass(frozen=True)
class ComparisonMetrics(JsonRecord):
    """What `comparison.json` holds."""

    days: CommonDays
    bootstrap: BootstrapDescription
    trials: TrialSpread
    runs: Mapping[str, ComparedRun]
    differences: Mapping[str, Difference]  # "ONE - OTHER" -> paired by day
    probability_of_overfitting: float | None  # None of few runs or days
    warnings: tuple[str, ...]

    def to_frame(self) -> pd.DataFrame:
        """Runs by row."""
        return frame(self.runs)


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What an evaluation left of one run."""

    name: str  # unique among those compared
    paths: RunPaths
    metrics: EvaluationMetrics

    @property
    def days(self) -> np.ndarray:
        """``[D]`` days, as text."""
        return np.asarray(self.metrics.daily.days)

    @property
    def returns(self) -> np.ndarray:
        """``[D, P]`` daily returns of the last portfolio."""
        return np.asarray(self.metrics.daily.returns, np.float64).T


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs on their common days."""

    runs: tuple[Evaluated, ...]
    days: np.ndarray  # [D] as text
    returns: dict[str, np.ndarray]  # run -> [D, P]
    metrics: ComparisonMetrics

    def earned(self, name: str) -> np.ndarray:
        """Return ``[D]`` of one run from the first common day to each, mean over paths."""
        return np.asarray(np.cumprod(1.0 + self.returns[name], axis=0).mean(axis=1) - 1.0)


def open_evaluated(directories: Sequence[Path]) -> list[Evaluated]:
    """Read the evaluations of runs.

    Args:
        directories: of runs, or what ``evaluate --output`` wrote.

    Raises:
        UserError: fewer than two runs, one twice, or one that is missing or has not been evaluated.
    """
    if len(directories) < 2:
        raise UserError("compare needs at least two run directories")
    files = [_metrics_file(path) for path in directories]
    if len({file.resolve() for file in files}) != len(files):
        raise UserError("a run directory is given twice")
    names = _short_names([path.resolve() for path in directories])
    return [_read(*found) for found in zip(directories, files, names, strict=True)]


def _metrics_file(directory: Path) -> Path:
    """The evaluation in a run directory, or the one that a directory itself is."""
    if not directory.is_dir():
        raise UserError(f"{directory}: there is no such directory")
    inside, itself = evaluation_dir(RunPaths(directory)) / "metrics.json", directory / "metrics.json"
    if inside.is_file() or itself.is_file():
        return inside if inside.is_file() else itself
    raise UserError(f"{directory} has not been evaluated; run: mtquant-jax evaluate --run-dir {directory}")


def _read(directory: Path, file: Path, name: str) -> Evaluated:
    content = read_sealed(file, "compare needs evaluations")
    try:
        metrics = EvaluationMetrics.from_json(content, str(file))
    except UserError as error:
        raise UserError(f"{error}; it is of another version, so evaluate its run again") from None
    # An evaluation that was written elsewhere names its run, beside which the trials lie.
    run_dir = Path(metrics.run.directory) if file.parent == directory else directory
    if file.parent != directory:
        _check_not_stale(RunPaths(directory), metrics, file)
    return Evaluated(name, RunPaths(run_dir), metrics)


def _check_not_stale(paths: RunPaths, metrics: EvaluationMetrics, file: Path) -> None:
    """Refuse the evaluation of a training that the run directory holds no longer."""
    done = [phase for phase in (1, 2, 3) if paths.phase_results(phase).exists()]
    if not done:
        return
    there = read_sealed(paths.phase_results(done[-1]), "compare needs evaluations").get("run_id")
    if there != metrics.run.run_id:
        raise UserError(
            f"{file} is of training {metrics.run.run_id}, but {paths.run_dir} holds training {there}; run: mtquant-jax "
            f"evaluate --run-dir {paths.run_dir}"
        )


def compare(runs: Sequence[Evaluated], draws: int = 1000, other_markets: bool = False) -> Comparison:
    """Put runs side by side.

    Args:
        runs: of `open_evaluated`.
        draws: of the bootstrap.
        other_markets: whether they may be evaluated on different markets; a warning then says so.

    Raises:
        UserError: too few common days, or other markets under the same days.
    """
    if not other_markets:
        _check_one_market(runs)
    common = sorted(set.intersection(*(set(run.days.tolist()) for run in runs)))
    if len(common) < _FEWEST_DAYS:
        periods = "; ".join(f"{run.name} {run.days[0]} to {run.days[-1]}" for run in runs)
        raise UserError(f"the runs have {len(common)} days in common, {_FEWEST_DAYS} are needed: {periods}")
    if len({run.returns.shape[1] for run in runs}) > 1:
        raise UserError(
            "the runs were evaluated on markets with different numbers of paths; evaluate them on one market"
        )
    returns = {run.name: run.returns[np.isin(run.days, common)] for run in runs}
    per_year = float(np.mean([run.metrics.bars.trading_days_per_year for run in runs]))
    drawn = bootstrap(returns, per_year, draws)
    trials = _trials(runs)
    metrics = ComparisonMetrics(
        days=CommonDays(first=common[0], last=common[-1], count=len(common)),
        bootstrap=BootstrapDescription(draws=draws, confidence=CONFIDENCE, mean_block_days=drawn.block_length),
        trials=trials,
        runs={
            run.name: ComparedRun(
                directory=str(run.paths.run_dir),
                portfolio=run.metrics.portfolio,
                in_sample=run.metrics.bars.in_sample,
                record=track_record(returns[run.name], per_year),
                intervals=drawn.intervals(run.name),
                deflated_sharpe=_deflated(returns[run.name], trials),
            )
            for run in runs
        },
        differences={
            f"{one.name} - {other.name}": drawn.difference(one.name, other.name)
            for one, other in itertools.combinations(runs, 2)
        },
        probability_of_overfitting=_overfitting(list(returns.values())),
        warnings=tuple(_warnings(runs, returns)),
    )
    return Comparison(tuple(runs), np.asarray(common), returns, metrics)


def _check_one_market(runs: Sequence[Evaluated]) -> None:
    """Refuse runs that were evaluated on different markets: their difference is also that of the markets."""
    first = runs[0]
    for other in runs[1:]:
        if other.metrics.bars.market != first.metrics.bars.market:
            raise UserError(
                f"{first.name} was evaluated on {first.metrics.bars.market}, but {other.name} on "
                f"{other.metrics.bars.market}: their difference is also that of the markets; evaluate them on one "
                "market, or allow it with `other_markets`"
            )


def _market_warnings(runs: Sequence[Evaluated]) -> list[str]:
    """In what the markets of the runs differ, where they do."""
    found = []
    if len({run.metrics.bars.market for run in runs}) > 1:
        markets = "; ".join(f"{run.name}: {run.metrics.bars.market}" for run in runs)
        found.append(
            f"the runs were evaluated on different markets, whose difference is part of every difference ({markets})"
        )
    bars = {run.metrics.bars.fingerprint or run.name for run in runs}
    if len({run.metrics.bars.source for run in runs}) > 1 and len(bars) > 1:
        found.append("the runs were evaluated on bars of different sources")
    if len({run.metrics.run.trained_on_synthetic for run in runs} - {None}) > 1:
        markets = "; ".join(f"{run.name}: {run.metrics.run.trained_on}" for run in runs)
        found.append(f"some runs were trained on a synthetic market and some on real bars ({markets})")
    return found


def _trials(runs: Sequence[Evaluated]) -> TrialSpread:
    """How many trainings were judged on these runs' bars, and how their Sharpe ratios spread."""
    found: dict[str, float] = {}
    for run in runs:
        bars = run.metrics.bars
        for trial in latest_trials(run.paths.run_dir.resolve().parent, bars):
            found[trial.run_id] = trial.daily_sharpe or 0.0
        own = (run.metrics.last.record.sharpe or 0.0) / math.sqrt(bars.trading_days_per_year)
        found.setdefault(run.metrics.run.run_id, own)
    variance = float(np.var(list(found.values()), ddof=1)) if len(found) > 1 else 0.0
    return TrialSpread(count=len(found), daily_sharpe_variance=variance)


def _deflated(returns: np.ndarray, trials: TrialSpread) -> float | None:
    """The deflated Sharpe ratio of pooled paths, with no more periods than days; None for a flat account."""
    try:
        pooled = SharpeSample.of(returns.ravel())
    except ValueError:
        return None
    sample = dataclasses.replace(pooled, periods=len(returns))
    return deflated_sharpe_ratio(sample, trials.daily_sharpe_variance, trials.count)


def _overfitting(returns: Sequence[np.ndarray]) -> float | None:
    """The probability of backtest overfitting; None for few runs or days."""
    if len(returns) < _FEWEST_RUNS_TO_OVERFIT or len(returns[0]) < 2 * _BLOCKS:
        return None
    return probability_of_overfitting(np.stack([run.mean(axis=1) for run in returns], axis=1), _BLOCKS)


def _warnings(runs: Sequence[Evaluated], returns: Mapping[str, np.ndarray]) -> list[str]:
    found = [
        f"{run.name} was evaluated in sample, on bars of its training; its figures say nothing about new bars"
        for run in runs
        if run.metrics.bars.in_sample
    ]
    found += _market_warnings(runs)
    found += [
        f"{one.name} and {other.name} are the same training with the same returns; a copy is nothing to compare with"
        for one, other in itertools.combinations(runs, 2)
        if one.metrics.run.run_id == other.metrics.run.run_id and np.array_equal(returns[one.name], returns[other.name])
    ]
    for folder in dict.fromkeys(run.paths.run_dir.resolve().parent for run in runs):
        found += damaged_trials(folder)
    common, longest = len(returns[runs[0].name]), max(len(run.days) for run in runs)
    if common < longest:
        found.append(f"only {common} of up to {longest} days are common to all runs; the others are left out")
    return found


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Last parts of the paths, as many as it takes to make them unique."""
    for parts in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
