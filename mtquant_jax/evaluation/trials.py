"""The record of every training that was judged on held-out bars: the best of many must be deflated by their number.

Bailey and Lopez de Prado, The Deflated Sharpe Ratio, Journal of Portfolio Management 2014.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.metrics import Evaluation
from mtquant_jax.statistics.significance import SharpeSample, deflated_sharpe_ratio
from mtquant_jax.storage.paths import evaluation_dir

TRIALS = "trials.jsonl"
"""In a run's ``evaluation``: one line per evaluation. Those of run directories beside it are trials too."""

_KEYS = {"time", "run_dir", "run_id", "market", "first", "last", "daily_sharpe"}


def record_trial(evaluation: Evaluation) -> dict[str, Any]:
    """Add this evaluation to the run's trials and tell how often these bars were judged by it and by runs beside it.

    A trial is a training judged on any of these bars. Evaluating one again adds a line and no trial.

    Returns:
        ``trials`` (trainings judged on any of these bars, this one included), ``evaluations`` (of this training on
        them, this one included), ``sharpe_variance`` (of the trials' daily Sharpe ratios; None of fewer than two),
        ``deflated_sharpe`` (probability that the true Sharpe ratio is above what the best of so many shows by luck;
        None for a flat account) and ``file``.

    Raises:
        UserError: the line cannot be written.
    """
    run, metrics = evaluation.run, evaluation.metrics
    figures, bars = metrics["phases"][metrics["portfolio"]], metrics["bars"]
    per_day = None if figures["sharpe"] is None else figures["sharpe"] / np.sqrt(evaluation.days_per_year)
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "run_dir": str(run.paths.run_dir.resolve()),
        "run_id": run.run_id,
        **{key: bars[key] for key in ("market", "source", "first", "last", "split", "in_sample")},
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
    latest = latest_trials(beside, bars)
    sharpes = [t["daily_sharpe"] or 0.0 for t in latest]
    variance = float(np.var(sharpes, ddof=1)) if len(sharpes) > 1 else None
    return {
        "trials": len(latest),
        "evaluations": sum(trial["run_id"] == run.run_id for trial in _on_any_of(beside, bars)),
        "sharpe_variance": variance,
        "deflated_sharpe": _deflated(figures, per_day, variance, len(latest)),
        "file": str(path),
    }


def latest_trials(folder: Path, bars: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One evaluation of every training that was judged on any of these bars, of those recorded beside run directories.

    It is the last one of just this period, or else the last one.

    Args:
        folder: that holds the run directories.
        bars: ``market`` as `EvaluationBars.identity` tells it, and the open times ``first`` and ``last``: ``bars`` in
            ``metrics.json``.
    """
    found = _on_any_of(folder, bars)
    found.sort(key=lambda trial: trial["first"] == bars["first"] and trial["last"] == bars["last"])
    return list({trial["run_id"]: trial for trial in found}.values())


def _on_any_of(folder: Path, bars: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Oldest first."""
    return [
        trial
        for trial in read_trials(folder)
        if trial["market"] == bars["market"] and trial["first"] <= bars["last"] and bars["first"] <= trial["last"]
    ]


def read_trials(folder: Path) -> list[dict[str, Any]]:
    """The trials of the run directories in a folder, oldest first.

    Lines that are no trial are left out, and so are those that a copied run directory holds again.
    """
    texts = Counter[str]()
    for path in folder.glob(f"*/evaluation/{TRIALS}"):
        texts |= Counter(path.read_text(encoding="utf-8").splitlines())  # the larger count of each
    found = []
    for text in texts.elements():
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
