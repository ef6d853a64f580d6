"""The record of every training that was judged on held-out bars: the best of many must be deflated by their number.

Bailey and Lopez de Prado, The Deflated Sharpe Ratio, Journal of Portfolio Management 2014.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.backtests import trade_all
from mtquant_jax.evaluation.evaluation import Evaluation, evaluate
from mtquant_jax.evaluation.evaluation_bars import EvaluationBars
from mtquant_jax.evaluation.metrics import BarsDescription, TrialMetrics
from mtquant_jax.runs.trained_run import TrainedRun
from mtquant_jax.statistics.intervals import require_arch
from mtquant_jax.statistics.significance import SharpeSample, deflated_sharpe_ratio
from mtquant_jax.statistics.track_record import TrackRecord
from mtquant_jax.storage.files import json_object, sealed, unsealed
from mtquant_jax.storage.paths import evaluation_dir
from mtquant_jax.storage.records import JsonRecord
from mtquant_jax.training.trainer import HierarchyPolicies

TRIALS = "trials.jsonl"
"""In a run's ``evaluation``: one line per evaluation. Those of run directories beside it are trials too."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trial(JsonRecord):
    """One evaluation of one training: a line of the file."""

    time: str  # ISO 8601, UTC
    run_dir: str
    run_id: str
    market: str  # as `EvaluationBars.identity` says it
    source: str | None = None  # as in `BarsDescription`, like split and in_sample
    first: str  # open time of the first bar, "YYYY-MM-DD HH:MM" UTC
    last: str
    split: str | None = None
    in_sample: bool | None = None
    daily_sharpe: float | None  # of daily returns, not annualised; None where flat
    chosen_from: int | None = None  # settings that were tried before those of the training were chosen
    days: int | None = None  # of returns


def evaluate_as_trial(
    run: TrainedRun, judged: EvaluationBars, policies: HierarchyPolicies, draws: int = 1000
) -> Evaluation:
    """Trade everything, compute all metrics and record the trial.

    Args:
        run: the training.
        judged: the bars.
        policies: those of the run.
        draws: of the bootstrap.

    Raises:
        UserError: the trial cannot be recorded, or the extra eval is missing.
    """
    with ThreadPoolExecutor(1) as beside:
        beside.submit(require_arch)  # imported while programs run
        traded = trade_all(run, judged, policies)
    evaluation = evaluate(run, judged, traded, draws)
    trials = record_trial(evaluation)
    warnings = (*evaluation.metrics.warnings, *damaged_trials(run.paths.run_dir.resolve().parent))
    counted = dataclasses.replace(evaluation.metrics, trials=trials, warnings=warnings)
    return dataclasses.replace(evaluation, metrics=counted)


def record_trial(evaluation: Evaluation) -> TrialMetrics:
    """Add this evaluation to the run's trials and count how often these bars were used by it and by runs beside it.

    A trial is a training judged on any of these bars. Evaluating one again adds a line and no trial.

    Raises:
        UserError: the line cannot be written.
    """
    run, metrics = evaluation.run, evaluation.metrics
    record, bars = metrics.last.record, metrics.bars
    per_day = None if record.sharpe is None else record.sharpe / math.sqrt(evaluation.days_per_year)
    trial = Trial(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        run_dir=str(run.paths.run_dir.resolve()),
        run_id=run.run_id,
        market=bars.market,
        source=bars.source,
        first=bars.first,
        last=bars.last,
        split=bars.split,
        in_sample=bars.in_sample,
        daily_sharpe=per_day,
        chosen_from=run.config.trials,
        days=record.days,
    )
    path, beside = evaluation_dir(run.paths) / TRIALS, run.paths.run_dir.resolve().parent
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as stream:
            torn = stream.tell() > 0 and stream.seek(-1, os.SEEK_END) >= 0 and stream.read(1) != b"\n"
            line = json.dumps(sealed(trial.to_json()))
            stream.write(f"{chr(10) * torn}{line}\n".encode())  # a line that was cut damages no other
    except OSError as error:
        raise UserError(f"{path}: trials cannot be recorded ({error.strerror})") from None
    latest = latest_trials(beside, bars)
    sharpes = [other.daily_sharpe or 0.0 for other in latest]
    variance = float(np.var(sharpes, ddof=1)) if len(sharpes) > 1 else None
    tried = sum(other.chosen_from or 1 for other in latest)
    return TrialMetrics(
        trials=tried,
        evaluations=sum(other.run_id == run.run_id for other in _on_any_of(beside, bars)),
        sharpe_variance=variance,
        deflated_sharpe=_deflated(record, per_day, variance, tried),
        file=str(path),
    )


def latest_trials(folder: Path, bars: BarsDescription) -> list[Trial]:
    """One evaluation of every training that was judged on any of these bars, of those recorded beside run directories.

    It is the last one of just this period, or else the last one.

    Args:
        folder: that holds the run directories.
        bars: their market and time are compared.
    """
    found = _on_any_of(folder, bars)
    found.sort(key=lambda trial: trial.first == bars.first and trial.last == bars.last)
    return list({trial.run_id: trial for trial in found}.values())


def _on_any_of(folder: Path, bars: BarsDescription) -> list[Trial]:
    """Trials on any of these bars, oldest first."""
    return [
        trial
        for trial in read_trials(folder)
        if trial.market == bars.market and trial.first <= bars.last and bars.first <= trial.last
    ]


def read_trials(folder: Path) -> list[Trial]:
    """The trials of the run directories in a folder, oldest first.

    Damaged lines are left out (`damaged_trials` counts them), and so are those that a copied run directory holds again.
    """
    found, _ = _read(folder)
    return sorted(found, key=lambda trial: trial.time)


def damaged_trials(folder: Path) -> list[str]:
    """A warning for each record of trials in a folder's run directories of which not every line can be read."""
    _, damaged = _read(folder)
    return [
        f"{path}: {count} line{'s' * (count != 1)} of it {'are' if count != 1 else 'is'} damaged or of an earlier "
        "version; the number of trials may be too low, and the deflated Sharpe ratio too high"
        for path, count in damaged.items()
    ]


def _read(folder: Path) -> tuple[list[Trial], dict[Path, int]]:
    """The trials that can be read, and the number of lines that cannot by file."""
    texts, damaged = Counter[str](), Counter[Path]()
    trials: dict[str, Trial] = {}
    for path in sorted(folder.glob(f"*/evaluation/{TRIALS}")):
        try:
            lines = path.read_bytes().splitlines()
        except OSError:
            damaged[path] += 1
            continue
        readable = []
        for line in lines:
            try:
                content = unsealed(json_object(line, TRIALS), TRIALS)
                trials[line.decode()] = Trial.from_json(content, TRIALS)
                readable.append(line.decode())
            except UserError:
                damaged[path] += 1
        texts |= Counter(readable)  # the larger count of each
    return [trials[text] for text in texts.elements()], dict(damaged)


def _deflated(record: TrackRecord, per_day: float | None, variance: float | None, trials: int) -> float | None:
    """The deflated Sharpe ratio, which for one trial alone is the probabilistic one.

    Where the ratios of the others are not known, their variance is that of estimates without skill, 1 / (days - 1).
    """
    if per_day is None or record.skewness is None or record.kurtosis is None:
        return None
    sample = SharpeSample(per_day, record.days, record.skewness, record.kurtosis)
    if variance is None:
        variance = 1.0 / max(record.days - 1, 1) if trials > 1 else 0.0
    return deflated_sharpe_ratio(sample, variance, trials)
