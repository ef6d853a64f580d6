"""Turns the metrics of a run directory into one figure: a column per phase, validation above and reward below."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mtquant_jax.errors import UserError
from mtquant_jax.storage.files import read_sealed, replacing
from mtquant_jax.storage.paths import RunPaths

PHASES = (1, 2, 3)

TITLES = {1: "Phase 1: specialists", 2: "Phase 2: meta-controller", 3: "Phase 3: all agents together"}
_DECISIONS = {1: "bar", 2: "decision", 3: "bar"}
# Okabe and Ito (2008): distinguishable with every kind of colour blindness, and by their markers in black and white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_INK, _QUIET, _GRID = "#222222", "#5a5a5a", "#e4e4e4"
PORTFOLIO = ("meta_controller", "portfolio")
_DOTS_PER_INCH = 100
_LEGEND_COLUMNS = 3
_MOST_TIMESTEPS = 10**16
_NOTE = "Filled marker: the checkpoint that is handed on, with one standard error to either side."


@dataclasses.dataclass(frozen=True)
class Curve:
    """One agent of one phase, as its metrics file has it; rows without a value are left out."""

    agent: str
    reward: list[tuple[int, float]]  # (timesteps, mean per decision in training, in typical per-bar returns)
    sharpe: list[tuple[int, float, float]]  # (timesteps, annualised ratio on the validation split, its standard error)
    handed_on: int | None = None  # timesteps of the checkpoint that its results name; None until the phase has results

    @property
    def chosen(self) -> tuple[int, float, float] | None:
        """The checkpoint that is handed on; None where there is none yet, or it never traded."""
        return next((point for point in self.sharpe if point[0] == self.handed_on), None)


def plot_training(run_dir: Path, output: Path) -> None:
    """Draw a run's metrics as a PNG, 1200 pixels wide; a phase that has not been trained is left out, with its width.

    Args:
        run_dir: directory of the run; its ``metrics/training`` and ``phaseN_results.json`` are read.
        output: the .png to write.

    Raises:
        UserError: the run has no metrics, one of its files is not what a run writes, or the figure cannot be written.
    """
    paths = RunPaths(Path(run_dir))
    curves = {phase: found for phase in PHASES if (found := read_curves(paths.metrics_csv(phase)))}
    if not curves:
        raise no_metrics(paths)
    save(_draw(*_with_references(paths, curves)), output)


def no_metrics(paths: RunPaths) -> UserError:
    """The error of a run that has nothing to draw."""
    return UserError(
        f"{paths.run_dir} has no metrics to plot: metrics/training/phase1_metrics.csv, phase2_... and phase3_... "
        "are missing or hold no rows; train there first with `run_dir`"
    )


def save(figure: Figure, output: Path) -> None:
    """Write a figure as a PNG.

    Raises:
        UserError: its name does not end in .png, or it cannot be written.
    """
    if output.suffix.lower() != ".png":
        raise UserError(f"{output}: the figure is a PNG; give a name that ends in .png")
    try:
        with replacing(output) as temporary:
            figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH, facecolor="white")
    except OSError as error:
        raise UserError(f"{output} cannot be written: {error.strerror or error}") from None


def read_rows(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Rows and columns of a phase's metrics file; none where there is no file.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream)
            return list(reader), list(reader.fieldnames or [])
    except FileNotFoundError:
        return [], []
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def read_curves(path: Path) -> list[Curve]:
    """Read one phase's metrics file, agents in the order of their first row; empty where there is no file.

    Raises:
        UserError: the file cannot be read, or lacks a column, or holds something that is no number.
    """
    rows, columns = read_rows(path)
    if not rows:
        return []
    # Where several agents learn together each has a column; the meta-controller's reward is the portfolio's.
    reward = "reward/meta_controller" if "reward/meta_controller" in columns else "reward"
    wanted = ("agent", "timesteps", reward, "validation_sharpe", "validation_sharpe_standard_error")
    for name in wanted:
        if name not in columns:
            raise UserError(f"{path} is not a metrics file of this program: it has no column {name}")
    curves: dict[str, Curve] = {}
    for number, row in enumerate(rows, start=2):
        curve = curves.setdefault(row["agent"], Curve(row["agent"], [], []))
        try:
            timesteps = int(row["timesteps"])
            if None in row.values() or None in row:
                raise ValueError("cells are missing, or there are too many")
            numbers = [float(row[name]) for name in (reward, *wanted[3:]) if row[name]]
            if not 0 <= timesteps < _MOST_TIMESTEPS or not all(map(math.isfinite, numbers)):
                raise ValueError("numbers that no training has")
            if row[reward]:
                curve.reward.append((timesteps, float(row[reward])))
            if row["validation_sharpe"]:
                point = (float(row["validation_sharpe"]), float(row["validation_sharpe_standard_error"]))
                curve.sharpe.append((timesteps, *point))
        except (TypeError, ValueError):
            raise UserError(f"{path} row {number} is not a whole row of numbers") from None
    return list(curves.values())


def _with_references(
    paths: RunPaths, curves: dict[int, list[Curve]]
) -> tuple[dict[int, list[Curve]], dict[int, tuple[float, str]]]:
    """The curves with what the results say of them, and the lines they are compared with: a Sharpe ratio, its name."""
    results = {
        phase: read_sealed(paths.phase_results(phase), "the checkpoints that are handed on")
        for phase in PHASES
        if paths.phase_results(phase).exists()
    }
    curves = {phase: [_of_results(curve, results.get(phase, {})) for curve in found] for phase, found in curves.items()}
    lines: dict[int, tuple[float, str]] = {}
    second = results.get(2, {})
    equal = _sharpe(second.get("equal_allocation"))
    if 2 in curves and equal is not None:
        lines[2] = (equal[0], "equal allocation")
    start = _sharpe(_report(second, "meta_controller").get("validation"))
    if 3 in curves and start is not None:
        lines[3] = (start[0], "phase 2's policies")
        if 3 not in results:  # what it starts from is known before its results are
            curves[3] = [dataclasses.replace(curve, sharpe=[(0, *start), *curve.sharpe]) for curve in curves[3]]
    return curves, lines


def _of_results(curve: Curve, results: dict[str, Any]) -> Curve:
    """The curve with its starting point, where that was validated, and the checkpoint that is handed on."""
    specialists = results.get("specialists")
    report = _report(specialists if isinstance(specialists, dict) else results, curve.agent)
    history, handed_on = report.get("history"), report.get("best_timesteps")
    first = history[0] if isinstance(history, list) and history else None
    start = _sharpe(first) if isinstance(first, dict) and first.get("timesteps") == 0 else None
    sharpe = curve.sharpe if start is None else [(0, *start), *curve.sharpe]
    return dataclasses.replace(curve, sharpe=sharpe, handed_on=handed_on if isinstance(handed_on, int) else None)


def _report(results: dict[str, Any], agent: str) -> dict[str, Any]:
    """The report of an agent's training in the results of a phase; empty where there is none."""
    found = results.get(agent)
    return found if isinstance(found, dict) else {}


def _sharpe(performance: Any) -> tuple[float, float] | None:
    """Sharpe ratio and its standard error of a performance in a results file; None where nothing was traded."""
    if not isinstance(performance, dict):
        return None
    sharpe, error = performance.get("sharpe"), performance.get("sharpe_standard_error")
    if not isinstance(sharpe, (int, float)) or not isinstance(error, (int, float)):
        return None
    return float(sharpe), float(error)


def _draw(curves: dict[int, list[Curve]], lines: dict[int, tuple[float, str]]) -> Figure:
    """The figure: validation Sharpe in the upper row, on one scale, and training reward in the lower one."""
    layout = ConstrainedLayoutEngine(w_pad=0.09, h_pad=0.06, wspace=0.03, hspace=0.04)
    figure = Figure(figsize=(max(4.0 * len(curves), 6.0), 6.6), layout=layout)
    grid = figure.subplots(2, len(curves), sharex="col", squeeze=False)
    legend_rows = max(-(-len(agents) // _LEGEND_COLUMNS) for agents in curves.values())
    for column, (phase, agents) in enumerate(curves.items()):
        above, below = grid[0, column], grid[1, column]
        if column:
            above.sharey(grid[0, 0])
        above.set_title(
            TITLES[phase], fontsize=11.5, fontweight="bold", color=_INK, loc="left", pad=8 + 15 * legend_rows
        )
        _validation(above, agents, lines.get(phase))
        _rewards(below, agents)
        below.set_title(f"per {_DECISIONS[phase]}", fontsize=9, color=_QUIET, loc="left")
        drawn = [point for curve in agents for point in (*curve.reward, *curve.sharpe)]
        last = max((point[0] for point in drawn), default=1)
        for axes in (above, below):
            tidy(axes, last)
        below.set_xlabel("timesteps" + (" per specialist" if phase == 1 else ""), color=_QUIET)
    grid[0, 0].set_ylabel("Sharpe ratio, validation split\n(annualised, after costs)", color=_INK)
    grid[1, 0].set_ylabel("mean reward in training\n(typical per-bar returns)", color=_INK)
    figure.supxlabel(_NOTE, fontsize=9, color=_QUIET)
    return figure


def _validation(axes: Axes, agents: Sequence[Curve], line: tuple[float, str] | None) -> None:
    """Validation Sharpe of every checkpoint; the one handed on is filled and carries its standard error."""
    if line is not None:
        level, name = line
        axes.axhline(level, color=_QUIET, linewidth=1.2, linestyle=(0, (5, 3)), label=f"{name}, {level:.2f}", zorder=2)
    for curve, (colour, marker) in zip(agents, styles([curve.agent for curve in agents]), strict=True):
        if not curve.sharpe:
            axes.plot([], [], color=colour, marker=marker, linewidth=1.6, label=f"{_label(curve)}: no Sharpe ratio")
            continue
        timesteps, sharpe, _ = zip(*curve.sharpe, strict=True)
        style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 5, "linewidth": 1.6}
        axes.plot(timesteps, sharpe, label=_label(curve), markerfacecolor="white", markeredgewidth=1.3, **style)
        if curve.chosen is not None:
            bar: dict[str, Any] = {"elinewidth": 1.3, "capsize": 4, "markersize": 7, "zorder": 4, "clip_on": False}
            axes.errorbar(*curve.chosen[:2], yerr=curve.chosen[2], color=colour, marker=marker, **bar)
    if agents or line is not None:
        handles, labels = axes.get_legend_handles_labels()
        if line is not None:  # the agents first
            handles, labels = [*handles[1:], handles[0]], [*labels[1:], labels[0]]
        axes.legend(
            handles,
            labels,
            loc="lower left",
            bbox_to_anchor=(0.0, 1.0),
            ncols=_LEGEND_COLUMNS,
            fontsize=9,
            frameon=False,
            borderpad=0.2,
            borderaxespad=0.2,
            handlelength=1.8,
            handletextpad=0.5,
            columnspacing=1.2,
        )
    else:
        axes.text(0.5, 0.5, "no checkpoint traded", transform=axes.transAxes, ha="center", color=_QUIET)


def _rewards(axes: Axes, agents: Sequence[Curve]) -> None:
    """Mean reward of every chunk of training."""
    for curve, (colour, marker) in zip(agents, styles([curve.agent for curve in agents]), strict=True):
        if curve.reward:
            timesteps, reward = zip(*curve.reward, strict=True)
            axes.plot(timesteps, reward, color=colour, marker=marker, markersize=3.5, linewidth=1.6)


def styles(agents: Sequence[str]) -> list[tuple[str, str]]:
    """Colour and marker per curve: one for each class, ink for what stands for the whole portfolio."""
    if len(agents) == 1 and agents[0] in PORTFOLIO:
        return [(_INK, "o")]
    return list(itertools.islice(zip(itertools.cycle(_COLOURS), itertools.cycle(_MARKERS), strict=False), len(agents)))


def _label(curve: Curve) -> str:
    name = curve.agent.replace("_", "-") if curve.agent in PORTFOLIO else curve.agent
    flat = curve.sharpe and curve.handed_on is not None and curve.chosen is None
    return f"{name}: flat handed on" if flat else name


def tidy(axes: Axes, last: float, logarithmic: bool = False) -> None:
    """Two spines, a quiet grid, a zero line and thousands written as k."""
    axes.set_xlim(-0.03 * last, 1.04 * last)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=True))
    if logarithmic:
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(7, steps=[1, 2, 2.5, 5, 10]))
        axes.axhline(0.0, color="#9a9a9a", linewidth=0.9, zorder=1)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
    axes.grid(axis="y", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GRID)
    axes.tick_params(colors=_QUIET, labelsize=9, length=0, labelleft=True)


def _short(timesteps: float) -> str:
    """150000 -> 150k, 2500000 -> 2.5M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(timesteps) >= size:
            return f"{timesteps / size:g}{letter}"
    return f"{timesteps:g}"
