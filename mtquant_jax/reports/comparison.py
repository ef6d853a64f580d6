"""A comparison of runs -> a table for the terminal, JSON and a figure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.comparison import Comparison
from mtquant_jax.evaluation.warnings import IN_SAMPLE
from mtquant_jax.reports.wording import interval_text
from mtquant_jax.statistics.intervals import CONFIDENCE
from mtquant_jax.storage.files import replacing, write_sealed

# Okabe and Ito (2008): distinguishable for colour-blind readers; dashes for what colours do not.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#999999")


_DASHES = ("-", "--", "-.", ":")


def lines(comparison: Comparison) -> Iterator[str]:
    """A table for the terminal."""
    metrics = comparison.metrics
    width = max(24, *(len(name) + 2 for name in metrics.runs), *(len(name) + 4 for name in metrics.differences))
    yield f"{metrics.days.count} common trading days, {metrics.days.first} to {metrics.days.last}"
    yield ""
    yield f"{'':<{width}}{'Sharpe [95 %]':>22}{'return':>10}{'drawdown':>10}{'deflated':>10}"
    for name, run in metrics.runs.items():
        deflated = "none" if run.deflated_sharpe is None else f"{run.deflated_sharpe:.2f}"
        mark = f"  {IN_SAMPLE}" if run.in_sample else ""
        yield (
            f"{name:<{width}}{interval_text(run.intervals.sharpe):>22}{100 * run.record.total_return:>8.2f} %"
            f"{100 * run.record.max_drawdown:>8.2f} %{deflated:>10}{mark}"
        )
    yield ""
    yield "Difference of Sharpe ratios, paired"
    for name, difference in metrics.differences.items():
        yield f"  {name:<{width - 2}}{interval_text(difference.sharpe, signed=True):>22}"
    yield ""
    count = metrics.trials.count
    yield f"deflated: probability that the true Sharpe ratio is above what the best of {count} trials shows by luck"
    if metrics.probability_of_overfitting is not None:
        yield f"probability of backtest overfitting: {metrics.probability_of_overfitting:.2f}"
        yield "  how often the run that is best on one half of the days is in the worse half of the runs on the other;"
        yield "  near 0.5, choosing the best of these runs is choosing by luck"


def write(comparison: Comparison, folder: Path) -> None:
    """Write ``comparison.json`` and ``comparison.png``.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_sealed(folder / "comparison.json", comparison.metrics.to_json())
        with replacing(folder / "comparison.png") as temporary:
            draw(comparison).savefig(temporary, format="png", dpi=120)
    except OSError as error:
        raise UserError(f"`output` {folder} cannot be written: {error.strerror or error}") from None


def draw(comparison: Comparison) -> Figure:
    """Equity on the common days beside the Sharpe ratios with their intervals."""
    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(12, 5), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        days = comparison.days.astype("datetime64[D]")
        days = np.concatenate([days[:1] - 1, days])  # the curves start from nothing earned
        for index, name in enumerate(comparison.returns):
            colour = _COLOURS[index % len(_COLOURS)]
            earned = 100.0 * comparison.earned(name)
            left.plot(days, [0.0, *earned], _DASHES[index % len(_DASHES)], color=colour, label=name)
            sharpe = comparison.metrics.runs[name].intervals.sharpe
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
