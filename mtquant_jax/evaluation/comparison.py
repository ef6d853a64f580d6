"""Evaluated runs side by side on the days that all of them were traded: table, paired intervals, deflation, figure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.trials import latest_trials
from mtquant_jax.statistics.intervals import CONFIDENCE, Bootstrap, bootstrap
from mtquant_jax.statistics.significance import SharpeSample, deflated_sharpe_ratio, probability_of_overfitting
from mtquant_jax.statistics.track_record import track_record
from mtquant_jax.storage.files import read_json
from mtquant_jax.storage.paths import RunPaths, evaluation_dir

_FEWEST_DAYS = 20
_FEWEST_RUNS_TO_OVERFIT = 4  # trials from which choosing the best of them is worth a probability
_BLOCKS = 16


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What an evaluation left of one run."""

    name: str  # unique among those compared
    paths: RunPaths
    metrics: dict[str, Any]

    @property
    def days(self) -> np.ndarray:
        """``[D]`` days, as text."""
        return np.asarray(self.metrics["daily"]["days"])

    @property
    def returns(self) -> np.ndarray:
        """``[D, P]`` daily returns of the last portfolio."""
        return np.asarray(self.metrics["daily"]["returns"], np.float64).T


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs on their common days."""

    runs: tuple[Evaluated, ...]
    days: np.ndarray  # [D] as text
    returns: dict[str, np.ndarray]  # run -> [D, P]
    bootstrap: Bootstrap
    figures: dict[str, Any]  # as `comparison.json` holds them


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
    told = read_json(file, "compare needs evaluations")
    # An evaluation that was written elsewhere names its run, beside which the trials lie.
    run_dir = told.get("run", {}).get("directory") if file.parent == directory else directory
    if run_dir is None or not {"daily", "portfolio"} <= set(told):
        raise UserError(f"{file} is of another version; evaluate its run again")
    return Evaluated(name, RunPaths(Path(run_dir)), told)


def compare(runs: Sequence[Evaluated], draws: int = 1000) -> Comparison:
    """Put runs side by side.

    Raises:
        UserError: too few common days, or other markets (paths) under the same days.
    """
    common = sorted(set.intersection(*(set(run.days.tolist()) for run in runs)))
    if len(common) < _FEWEST_DAYS:
        periods = "; ".join(f"{run.name} {run.days[0]} to {run.days[-1]}" for run in runs)
        raise UserError(f"the runs have {len(common)} days in common, {_FEWEST_DAYS} are needed: {periods}")
    if len({run.returns.shape[1] for run in runs}) > 1:
        raise UserError(
            "the runs were evaluated on markets with different numbers of paths; evaluate them on one market"
        )
    returns = {run.name: run.returns[np.isin(run.days, common)] for run in runs}
    per_year = float(np.mean([run.metrics["bars"]["trading_days_per_year"] for run in runs]))
    drawn = bootstrap(returns, per_year, draws)
    trials, variance = _trials(runs)
    figures = {
        "days": {"first": common[0], "last": common[-1], "count": len(common)},
        "bootstrap": {"draws": draws, "confidence": CONFIDENCE, "mean_block_days": drawn.block_length},
        "trials": {"count": trials, "daily_sharpe_variance": variance},
        "runs": {
            run.name: {
                "directory": str(run.paths.run_dir),
                "portfolio": run.metrics["portfolio"],
                "in_sample": run.metrics["bars"]["in_sample"],
                **track_record(returns[run.name], per_year),
                "intervals": dataclasses.asdict(drawn.intervals(run.name)),
                "deflated_sharpe": _deflated(returns[run.name], variance, trials),
            }
            for run in runs
        },
        "differences": {
            f"{one.name} - {other.name}": dataclasses.asdict(drawn.difference(one.name, other.name))
            for one, other in itertools.combinations(runs, 2)
        },
        "probability_of_overfitting": _overfitting(list(returns.values())),
        "warnings": _warnings(runs, returns),
    }
    return Comparison(tuple(runs), np.asarray(common), returns, drawn, figures)


def _trials(runs: Sequence[Evaluated]) -> tuple[int, float]:
    """How many trainings were judged on these runs' bars, and the variance of their daily Sharpe ratios; 0 of one."""
    found: dict[str, float] = {}
    for run in runs:
        bars, figures = run.metrics["bars"], run.metrics["phases"][run.metrics["portfolio"]]
        for trial in latest_trials(run.paths.run_dir.resolve().parent, bars):
            found[trial["run_id"]] = trial["daily_sharpe"] or 0.0
        own = (figures["sharpe"] or 0.0) / np.sqrt(bars["trading_days_per_year"])
        found.setdefault(run.metrics["run"]["run_id"], own)
    return len(found), float(np.var(list(found.values()), ddof=1)) if len(found) > 1 else 0.0


def _deflated(returns: np.ndarray, variance: float, trials: int) -> float | None:
    """Of pooled paths, with no more periods than days; None for a flat account."""
    try:
        pooled = SharpeSample.of(returns.ravel())
    except ValueError:
        return None
    return deflated_sharpe_ratio(dataclasses.replace(pooled, periods=len(returns)), variance, trials)


def _overfitting(returns: Sequence[np.ndarray]) -> float | None:
    """None of few runs or days."""
    if len(returns) < _FEWEST_RUNS_TO_OVERFIT or len(returns[0]) < 2 * _BLOCKS:
        return None
    return probability_of_overfitting(np.stack([run.mean(axis=1) for run in returns], axis=1), _BLOCKS)


def _warnings(runs: Sequence[Evaluated], returns: Mapping[str, np.ndarray]) -> list[str]:
    found = [
        f"{run.name} was evaluated in sample, on bars of its training; its figures say nothing about new bars"
        for run in runs
        if run.metrics["bars"]["in_sample"]
    ]
    if len({run.metrics["bars"]["source"] for run in runs}) > 1:
        found.append("the runs were evaluated on bars of different sources")
    found += [
        f"{one.name} and {other.name} are the same training with the same returns; a copy is nothing to compare with"
        for one, other in itertools.combinations(runs, 2)
        if one.metrics["run"]["run_id"] == other.metrics["run"]["run_id"]
        and np.array_equal(returns[one.name], returns[other.name])
    ]
    common, longest = len(returns[runs[0].name]), max(len(run.days) for run in runs)
    if common < longest:
        found.append(f"only {common} of up to {longest} days are common to all runs; the others are left out")
    return found


def _short_names(paths: Sequence[Path]) -> list[str]:
    """Last parts of the paths, as many as it takes to tell them apart."""
    for parts in range(1, 1 + max(len(path.parts) for path in paths)):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]
