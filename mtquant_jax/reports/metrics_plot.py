"""Chosen columns of a run's metrics as one figure: a row per phase, a panel per column, a line per agent."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from mtquant_jax.errors import UserError
from mtquant_jax.reports.training_plot import PHASES, PORTFOLIO, TITLES, no_metrics, read_rows, save, styles, tidy
from mtquant_jax.storage.paths import RunPaths

HEALTHY_BELOW = {"approximate_kl": 0.02, "clip_fraction": 0.2}
"""Column -> where docs/outputs.md has the end of its healthy range."""

_WIDTH, _HEIGHT, _LEGEND_WIDTH = 2.7, 2.6, 1.2  # inches of a panel, and of the names beside the last one
_LOGARITHMIC = 100.0  # ratio of the largest to the smallest value from which a scale of powers shows both

Lines = dict[str, list[tuple[int, float]]]
"""Agent -> its (timesteps, value)."""


def plot_metrics(run_dir: Path, output: Path, names: Sequence[str]) -> None:
    """Draw columns of a run's metrics as a PNG.

    Args:
        run_dir: directory of the run.
        output: the .png to write.
        names: of columns; that of a phase with several agents, such as ``entropy/forex``, goes by ``entropy``.

    Raises:
        UserError: the run has no metrics or no such column, a file is damaged, or the figure cannot be written.
    """
    paths = RunPaths(Path(run_dir))
    phases, known = {}, set[str]()
    for phase in PHASES:
        rows, columns = read_rows(paths.metrics_csv(phase))
        known |= {column.partition("/")[0] for column in columns} | set(columns)
        if rows:
            phases[phase] = {name: _lines(paths.metrics_csv(phase), rows, columns, name) for name in names}
    if not phases:
        raise no_metrics(paths)
    for name in names:
        if not any(panels[name] for panels in phases.values()):
            close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.0)
            raise UserError(f"{paths.run_dir} has no metric {name}; the nearest is {close[0]}")
    save(_draw(phases, names), output)


def _lines(path: Path, rows: Sequence[dict[str, str]], columns: Sequence[str], name: str) -> Lines:
    """The lines of a column; where several agents learn together each has a column."""
    lines: Lines = {}
    for column in columns:
        if column != name and not column.startswith(f"{name}/"):
            continue
        for number, row in enumerate(rows, start=2):
            if not row[column]:
                continue
            agent = row["agent"] if column == name else column.removeprefix(f"{name}/")
            try:
                point = int(row["timesteps"]), float(row[column])
            except (TypeError, ValueError):
                raise UserError(f"{path} row {number} is not a whole row of numbers") from None
            if math.isfinite(point[1]):
                lines.setdefault(agent, []).append(point)
    return lines


def _draw(phases: dict[int, dict[str, Lines]], names: Sequence[str]) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06)
    size = (_WIDTH * len(names) + _LEGEND_WIDTH, _HEIGHT * len(phases))
    figure = Figure(figsize=size, layout=layout)
    grid = figure.subplots(len(phases), len(names), squeeze=False)
    for row, (phase, panels) in zip(grid, phases.items(), strict=True):
        agents = list(dict.fromkeys(agent for lines in panels.values() for agent in lines))
        agents.sort(key=PORTFOLIO.__contains__)  # a class has one colour in all phases
        looks: dict[str, dict[str, Any]] = {
            agent: {"color": colour, "marker": marker, "markersize": 3.5, "linewidth": 1.5}
            for agent, (colour, marker) in zip(agents, styles(agents), strict=True)
        }
        last = max((points[-1][0] for lines in panels.values() for points in lines.values()), default=1)
        for axes, name in zip(row, names, strict=True):
            _panel(axes, name, panels[name], looks, last)
        row[0].set_ylabel(TITLES[phase], fontsize=9)
        keys = [Line2D([], [], label=agent, **looks[agent]) for agent in agents]
        row[-1].legend(handles=keys, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8.5, frameon=False)
    for axes in grid[-1]:
        axes.set_xlabel("timesteps", fontsize=9)
    return figure


def _panel(axes: Axes, name: str, lines: Lines, looks: dict[str, dict[str, Any]], last: int) -> None:
    """One metric of one phase."""
    for agent, points in lines.items():
        timesteps, values = zip(*points, strict=True)
        axes.plot(timesteps, values, **looks[agent])
    every = [value for points in lines.values() for _, value in points]
    tidy(axes, last, logarithmic=bool(every) and min(every) > 0.0 and max(every) > _LOGARITHMIC * min(every))
    title = name
    if (limit := HEALTHY_BELOW.get(name)) is not None:
        axes.axhline(limit, color="#5a5a5a", linewidth=1.1, linestyle=(0, (5, 3)))
        title += f", healthy < {limit:g}"
    axes.set_title(title, fontsize=9.5, loc="left")
