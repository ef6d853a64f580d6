"""Charts of the training: validation Sharpe ratio and reward by timesteps, phase by phase, and what was chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.reports.html.charts import COLOURS, DASHES, MARKERS, Chart, Trace, rounded
from mtquant_jax.reports.html.text import label, words
from mtquant_jax.reports.training_plot import read_curves
from mtquant_jax.runs.trained_run import TrainedRun

_TITLES = {1: "Phase 1: specialists", 2: "Phase 2: meta-controller", 3: "Phase 3: all agents together"}
_AXES = {"xaxis": {"tickformat": "~s"}, "yaxis": {"zeroline": True}, "hovermode": "closest"}


def training(run: TrainedRun) -> list[Chart]:
    """Of every phase its validation and, where the metrics file is there, its reward."""
    charts = []
    for phase in sorted(run.results):
        validation = _validation(phase, _agents(run.results[phase]))
        charts += [chart for chart in (validation, _reward(run, phase)) if chart is not None]
    return charts


def _agents(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Agent -> its results, in which the history lies."""
    agents = dict(result.get("specialists", {}))
    agents |= {name: result[name] for name in ("meta_controller", "portfolio") if name in result}
    return {name: agent for name, agent in agents.items() if isinstance(agent, Mapping)}


def _validation(phase: int, agents: Mapping[str, Mapping[str, Any]]) -> Chart | None:
    """Sharpe ratio of every checkpoint with its standard error; the one chosen is filled."""
    traces = []
    for index, (name, agent) in enumerate(agents.items()):
        points = [p for p in agent.get("history") or [] if p.get("sharpe") is not None]
        if not points:
            continue
        colour = COLOURS[index % len(COLOURS)]
        chosen = [point["timesteps"] == agent.get("best_timesteps") for point in points]
        trace: Trace = {
            "x": [point["timesteps"] for point in points],
            "y": rounded([point["sharpe"] for point in points], 4),
            "error_y": {
                "type": "data",
                "array": rounded([point.get("sharpe_standard_error") or 0.0 for point in points], 4),
                "color": colour,
                "thickness": 1,
                "width": 3,
            },
            "name": label(words(name)),
            "mode": "lines+markers",
            "line": {"color": colour, "dash": DASHES[index % len(DASHES)], "width": 1.8},
            "marker": {
                "symbol": MARKERS[index % len(MARKERS)],
                "size": [14 if is_best else 8 for is_best in chosen],
                "color": [colour if is_best else "@card" for is_best in chosen],
                "line": {"color": colour, "width": 2},
                "opacity": 1,
            },
            "text": ["chosen" if is_best else "" for is_best in chosen],
            "hovertemplate": f"{label(words(name))}, %{{x:,}}: %{{y:.2f}} %{{text}}<extra></extra>",
        }
        traces.append(trace)
    if not traces:
        return None
    title = f"{_TITLES[phase]}, Sharpe ratio on the validation split by timesteps"
    return Chart(f"validation{phase}", title, f"{title} of {len(traces)} agent(s)", traces, _AXES, height=300)


def _reward(run: TrainedRun, phase: int) -> Chart | None:
    """Mean reward of every chunk of training."""
    try:
        curves = [curve for curve in read_curves(run.paths.metrics_csv(phase)) if curve.reward]
    except UserError:
        return None  # the report is about the evaluation; plot-training tells what is wrong with the file
    traces: list[Trace] = [
        {
            "x": [timesteps for timesteps, _ in curve.reward],
            "y": rounded([reward for _, reward in curve.reward], 4),
            "name": label(words(curve.agent)),
            "mode": "lines",
            "line": {"color": COLOURS[index % len(COLOURS)], "dash": DASHES[index % len(DASHES)], "width": 1.8},
            "hovertemplate": f"{label(words(curve.agent))}, %{{x:,}}: %{{y:.3f}}<extra></extra>",
        }
        for index, curve in enumerate(curves)
    ]
    if not traces:
        return None
    title = f"{_TITLES[phase]}, mean reward in training by timesteps"
    return Chart(f"reward{phase}", title, f"{title} of {len(traces)} agent(s)", traces, _AXES, height=300)
