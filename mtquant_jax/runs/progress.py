"""Turns the progress of a training into rows of metrics and lines of a log."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtquant_jax.backtest.performance import describe
from mtquant_jax.backtest.picture import Picture
from mtquant_jax.runs.equity_figure import equity_figure
from mtquant_jax.storage.recorder import RunRecorder
from mtquant_jax.training.curriculum import Curriculum
from mtquant_jax.training.loop import flat_metrics
from mtquant_jax.training.observer import Progress

_VALIDATION_COLUMNS = (
    "sharpe",
    "sharpe_standard_error",
    "total_return",
    "gross_return",
    "max_drawdown",
    "turnover_per_day",
    "mean_exposure",
    "time_in_market",
    "action_standard_deviation",
    "pinned",
    "cost_share",
)


def record_chunk(recorder: RunRecorder, progress: Progress, label: str) -> None:
    """One row of metrics, and one line on the console.

    Args:
        recorder: of the run.
        progress: of one member after a chunk.
        label: what the member is called in both.
    """
    member, validation, curriculum = progress.member, progress.validation, progress.curriculum
    row: dict[str, Any] = flat_metrics(progress.metrics, member.plan.agents)
    row["timesteps_per_second"] = progress.timesteps_per_second
    row |= {f"validation_{key}": getattr(validation, key, None) for key in _VALIDATION_COLUMNS}
    if curriculum is not None:
        row |= curriculum.columns(validation.scenarios if validation else None)
    row |= _learning_rates(progress)
    recorder.metrics(member.phase, label, progress.timesteps, row)
    if progress.picture is not None:
        record_picture(recorder, member.phase, label, progress.timesteps, progress.picture)
    reward = float(np.ravel(progress.metrics["reward"])[-1])
    done = f"{progress.timesteps:>11,}/{progress.total_timesteps:,}"
    text = f"  {label:<16} {done}  {progress.timesteps_per_second:>9,.0f}/s  reward {reward:+.4f}"
    if validation:
        text += f"  validation {describe(validation)}"
    event = {"event": "chunk", "phase": member.phase, "agent": label, "timesteps": progress.timesteps}
    event |= {"total_timesteps": progress.total_timesteps, **row}
    # A line per checkpoint; those between are for the log, and for who wants to see everything.
    (recorder.info if validation else recorder.detail)(text, event)
    if rejected := progress.rejected_updates:
        which = f"{rejected} updates" if rejected > 1 else "an update"
        recorder.warning(
            f"phase {member.phase}: {which} of {label} up to {progress.timesteps:,} timesteps changed nothing, for "
            "gradients were no numbers",
            "if it happens again, lower the learning rate or max_grad_norm of the algorithm",
        )


def record_picture(recorder: RunRecorder, phase: int, label: str, timesteps: int, found: Picture) -> None:
    """The equity figure of a validation, and histograms of what was decided."""
    recorder.image(phase, label, timesteps, "equity", functools.partial(equity_figure, found))
    histograms = {f"wanted_weight/{symbol}": spread for symbol, spread in found.weights.items()}
    histograms |= {f"capital/{place}": spread for place, spread in found.capital.items()}
    if found.risk_appetite is not None:
        histograms["risk_appetite"] = found.risk_appetite
    for name, spread in histograms.items():
        recorder.histogram(phase, label, timesteps, name, spread)


def _learning_rates(progress: Progress) -> dict[str, float]:
    """The learning rate after a chunk by agent, as far as the learner has one."""
    plan = progress.member.plan
    if not hasattr(plan.hyper, "rates_after"):
        return {}
    found = plan.hyper.rates_after(progress.timesteps / plan.program.timesteps_per_update)
    return (
        {"learning_rate": next(iter(found.values()))}
        if len(found) == 1
        else {f"learning_rate/{name}": rate for name, rate in found.items()}
    )


def record_curriculum(recorder: RunRecorder, label: str, curriculum: Curriculum, opened: Sequence[str]) -> None:
    """One line on the stages that a curriculum opens."""
    reached = f"{curriculum.num_open} of {len(curriculum.stages)}"
    recorder.info(f"  {label:<16} curriculum opens {', '.join(opened)} ({reached})")
