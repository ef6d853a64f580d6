"""The record of every training that was judged on held-out bars: the best of many must be deflated by their number.

Bailey and Lopez de Prado, The Deflated Sharpe Ratio, Journal of Portfolio Management 2014.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.analysis.figures import Evaluation
from mtquant_jax.analysis.files import evaluation_dir
from mtquant_jax.analysis.trained_run import SYNTHETIC
from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.significance import SharpeSample, deflated_sharpe_ratio

TRIALS = "trials.jsonl"
"""In a run's ``evaluation``: one line per evaluation. Those of run directories beside it are trials too."""

_KEYS = {"time", "run_dir", "run_id", "source", "first", "last", "daily_sharpe"}


def record_trial(evaluation: Evaluation) -> dict[str, Any]:
    """Add this evaluation to the run's trials and tell how often these bars were judged by it and by runs beside it.

    A trial is a training judged on bars that it had not seen. Evaluating one again adds a line and no trial.

    Returns:
        ``trials`` (trainings judged on this source and period, this one included), ``evaluations`` (of this training on
        it, this one included), ``sharpe_variance`` (of the trials' daily Sharpe ratios; None of fewer than two),
        ``deflated_sharpe`` (probability that the true Sharpe ratio is above what the best of so many shows by luck;
        None for a flat account) and ``file``.
    """
    run, metrics = evaluation.run, evaluation.metrics
    figures, bars = metrics["phases"][metrics["portfolio"]], metrics["bars"]
    per_day = None if figures["sharpe"] is None else figures["sharpe"] / np.sqrt(evaluation.days_per_year)
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_dir": str(run.paths.run_dir.resolve()),
        "run_id": run.run_id,
        "source": _source(bars["source"]),
        "first": bars["first"],
        "last": bars["last"],
        "split": bars["split"],
        "in_sample": bars["in_sample"],
        "daily_sharpe": per_day,
        "days": figures["days"],
    }
    path, beside = evaluation_dir(run.paths) / TRIALS, run.paths.run_dir.resolve().parent
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
    except OSError as error:
        raise UserError(f"{path}: trials cannot be recorded ({error.strerror})") from None
    same = _of_period(beside, line["source"], line["first"], line["last"])
    latest = latest_trials(beside, bars["source"], bars["first"], bars["last"])
    sharpes = [t["daily_sharpe"] or 0.0 for t in latest]
    variance = float(np.var(sharpes, ddof=1)) if len(sharpes) > 1 else None
    return {
        "trials": len(latest),
        "evaluations": sum(t["run_id"] == run.run_id and t["run_dir"] == line["run_dir"] for t in same),
        "sharpe_variance": variance,
        "deflated_sharpe": _deflated(figures, per_day, variance, len(latest)),
        "file": str(path),
    }


def latest_trials(folder: Path, source: str, first: str, last: str) -> list[dict[str, Any]]:
    """The last evaluation of every training that was judged on these bars, of those recorded beside run directories.

    Args:
        folder: that holds the run directories.
        source: the data directory, or the synthetic market, as in ``metrics.json``.
        first: open time of the first bar, as in ``metrics.json``.
        last: of the last.
    """
    found = _of_period(folder, _source(source), first, last)
    return list({(trial["run_dir"], trial["run_id"]): trial for trial in found}.values())


def _of_period(folder: Path, source: str, first: str, last: str) -> list[dict[str, Any]]:
    wanted = {"source": source, "first": first, "last": last}
    return [trial for trial in read_trials(folder) if all(trial[key] == value for key, value in wanted.items())]


def _source(source: str) -> str:
    return source if source.startswith(SYNTHETIC) else str(Path(source).resolve())


def read_trials(folder: Path) -> list[dict[str, Any]]:
    """The trials of the run directories in a folder, oldest first; lines that are no trial are left out."""
    found = []
    for path in folder.glob(f"*/evaluation/{TRIALS}"):
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                continue
            if isinstance(line, dict) and set(line) >= _KEYS:
                found.append(line)
    return sorted(found, key=lambda line: str(line["time"]))


def _deflated(figures: Mapping[str, Any], per_day: float | None, variance: float | None, trials: int) -> float | None:
    """With one trial alone this is the probabilistic Sharpe ratio."""
    if per_day is None or figures["kurtosis"] is None:
        return None
    sample = SharpeSample(per_day, figures["days"], figures["skewness"], figures["kurtosis"])
    return deflated_sharpe_ratio(sample, variance or 0.0, trials)
