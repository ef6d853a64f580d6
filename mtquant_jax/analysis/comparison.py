"""Evaluated runs side by side on the days that all of them were traded: table, paired intervals, deflation, figure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mtquant_jax.analysis.files import evaluation_dir
from mtquant_jax.analysis.trials import latest_trials
from mtquant_jax.analysis.wording import interval_text
from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.intervals import CONFIDENCE, Bootstrap, bootstrap
from mtquant_jax.evaluation.significance import SharpeSample, deflated_sharpe_ratio, probability_of_overfitting
from mtquant_jax.evaluation.track_record import track_record
from mtquant_jax.training.records import RunPaths, read_json, replacing, write_json

_FEWEST_DAYS = 20
_FEWEST_RUNS_TO_OVERFIT = 4  # trials from which choosing the best of them is worth a probability
_BLOCKS = 16
# Okabe and Ito (2008): told apart by colour-blind readers; dashes tell apart what colours do not.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#999999")
_DASHES = ("-", "--", "-.", ":")


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


def lines(comparison: Comparison) -> Iterator[str]:
    """A table for the terminal."""
    figures = comparison.figures
    width = max(24, *(len(name) + 2 for name in figures["runs"]), *(len(name) + 4 for name in figures["differences"]))
    days = figures["days"]
    yield f"{days['count']} common trading days, {days['first']} to {days['last']}"
    yield ""
    yield f"{'':<{width}}{'Sharpe [95 %]':>22}{'return':>10}{'drawdown':>10}{'deflated':>10}"
    for name, told in figures["runs"].items():
        deflated = "none" if told["deflated_sharpe"] is None else f"{told['deflated_sharpe']:.2f}"
        mark = "  IN SAMPLE" if told["in_sample"] else ""
        yield (
            f"{name:<{width}}{interval_text(told['intervals']['sharpe']):>22}{100 * told['total_return']:>8.2f} %"
            f"{100 * told['max_drawdown']:>8.2f} %{deflated:>10}{mark}"
        )
    yield ""
    yield "Difference of Sharpe ratios, paired"
    for name, told in figures["differences"].items():
        yield f"  {name:<{width - 2}}{interval_text(told['sharpe'], signed=True):>22}"
    yield ""
    count = figures["trials"]["count"]
    yield f"deflated: probability that the true Sharpe ratio is above what the best of {count} trials shows by luck"
    if figures["probability_of_overfitting"] is not None:
        yield f"probability of backtest overfitting: {figures['probability_of_overfitting']:.2f}"
        yield "  how often the run that is best on one half of the days is in the worse half of the runs on the other;"
        yield "  near 0.5, choosing the best of these runs is choosing by luck"


def write(comparison: Comparison, folder: Path) -> None:
    """Write ``comparison.json`` and ``comparison.png``.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "comparison.json", comparison.figures)
        with replacing(folder / "comparison.png") as temporary:
            draw(comparison).savefig(temporary, format="png", dpi=120)
    except OSError as error:
        raise UserError(f"--output {folder} cannot be written: {error.strerror or error}") from None


def draw(comparison: Comparison) -> Figure:
    """Equity on the common days beside the Sharpe ratios with their intervals."""
    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(12, 5), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        days = comparison.days.astype("datetime64[D]")
        days = np.concatenate([days[:1] - 1, days])  # the curves start from nothing earned
        for index, (name, returns) in enumerate(comparison.returns.items()):
            colour = _COLOURS[index % len(_COLOURS)]
            earned = 100.0 * (np.cumprod(1.0 + returns, axis=0).mean(axis=1) - 1.0)
            left.plot(days, [0.0, *earned], _DASHES[index % len(_DASHES)], color=colour, label=name)
            sharpe = comparison.bootstrap.intervals(name).sharpe
            if sharpe.value is not None and sharpe.low is not None and sharpe.high is not None:
                ends = [[sharpe.value - sharpe.low], [sharpe.high - sharpe.value]]
                right.errorbar([sharpe.value], [index], xerr=np.abs(ends), fmt="o", color=colour, capsize=4)
        left.axhline(0.0, color="#444444", linewidth=0.8)
        left.set_ylabel("return, %")
        left.set_title("Return on the common days", loc="left")
        left.legend(frameon=False, loc="best")
        left.tick_params(axis="x", rotation=30)
        right.axvline(0.0, color="#444444", linewidth=0.8)
        right.set_yticks(range(len(comparison.returns)), list(comparison.returns))
        right.set_ylim(len(comparison.returns) - 0.5, -0.5)
        right.set_xlabel(f"annual Sharpe ratio, {100 * CONFIDENCE:.0f} % interval")
        right.set_title("Sharpe ratio", loc="left")
    return figure


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
