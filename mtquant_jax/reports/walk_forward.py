"""A walk-forward -> what it leaves in its run directory: metrics, equity and a picture, and tables for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mtquant_jax.evaluation.walk_forward import PORTFOLIOS, Fold
from mtquant_jax.evaluation.walk_forward_metrics import OverSeeds, WalkForwardMetrics
from mtquant_jax.evaluation.walk_forward_result import LAST, Stitched
from mtquant_jax.market.periods import moment
from mtquant_jax.reports.wording import interval_text, percent_text
from mtquant_jax.storage.files import replacing, write_sealed
from mtquant_jax.storage.tables import write_csv

_SHOWN = (*PORTFOLIOS, "buy and hold", "inverse volatility", "momentum of 120 bars")
# Okabe and Ito (2008): distinguishable for colour-blind readers.
_COLOURS = ("#999999", "#56B4E9", "#0072B2", "#E69F00", "#009E73", "#D55E00")
_DASHES = (":", "--", "-", "--", "-.", ":")
_WIDTH = 26  # of a table's first column


def write(folds: Sequence[Fold], stitched: Stitched, metrics: WalkForwardMetrics, capital: float, folder: Path) -> None:
    """Write ``walk_forward.json``, ``equity.csv`` and ``walk_forward.png``."""
    write_sealed(folder / "walk_forward.json", metrics.to_json())
    write_csv(folder / "equity.csv", _equity(folds, stitched, metrics.seeds, capital))
    figure = draw(folds, stitched, metrics)
    with replacing(folder / "walk_forward.png") as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def _equity(folds: Sequence[Fold], stitched: Stitched, seeds: Sequence[int], capital: float) -> dict[str, Any]:
    """Equity at the end of every day, account currency; the first row is the start, on the day before."""
    columns: dict[str, Any] = {
        "day": np.datetime_as_string(stitched.timeline),
        "fold": np.repeat(np.arange(len(folds)) + 1, [len(f.returns[LAST]) + (f is folds[0]) for f in folds]),
    }
    for name in stitched.names:
        labels = [f"{name} seed {seed}" for seed in seeds] if name in PORTFOLIOS else [name]
        columns |= dict(zip(labels, np.round(stitched.equity(name) * capital, 2).T, strict=True))
    return columns


def draw(folds: Sequence[Fold], stitched: Stitched, metrics: WalkForwardMetrics) -> Figure:
    """Stitched equity with the range over seeds, and the Sharpe ratio fold by fold."""
    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(11, 7.5), layout="constrained")
        above, below = figure.subplots(2, 1, height_ratios=(2, 1))
        _draw_equity(above, folds, stitched)
        _draw_sharpes(below, folds, metrics)
        absent = "; ".join(name for name in stitched.names if name not in _SHOWN)
        figure.legend(
            *above.get_legend_handles_labels(),
            ncols=len(_SHOWN),
            frameon=False,
            loc="outside lower center",
            title=f"not drawn, but in walk_forward.json: {absent}",
            title_fontsize=9,
        )
    return figure


def _draw_equity(axes: Axes, folds: Sequence[Fold], stitched: Stitched) -> None:
    days = stitched.timeline
    for name, colour, dash in zip(_SHOWN, _COLOURS, _DASHES, strict=True):
        equity = 100.0 * (stitched.equity(name) - 1.0)
        middle, width = 100.0 * (stitched.equity_over_seeds(name) - 1.0), 2 if name == LAST else 1.3
        axes.plot(days, middle, dash, color=colour, label=name, linewidth=width)
        if name == LAST and stitched.seeds > 1:
            axes.fill_between(days, equity.min(axis=1), equity.max(axis=1), color=colour, alpha=0.2)
    ends = np.cumsum([len(fold.returns[LAST]) for fold in folds])
    for number, start in enumerate((0, *ends[:-1]), start=1):
        axes.axvline(days[start], color="#888888", linewidth=0.6)
        top = axes.get_xaxis_transform()
        axes.text(days[start], 1.0, f" fold {number}", transform=top, va="top", color="#666666")
    axes.axhline(0.0, color="#444444", linewidth=0.8)
    axes.set_ylabel("return since the start, %")
    band = f"; band: range of {LAST}" * (stitched.seeds > 1)
    axes.set_title(f"Out of sample, one fold after the other ({stitched.over_seeds}{band})", loc="left")


def _draw_sharpes(axes: Axes, folds: Sequence[Fold], metrics: WalkForwardMetrics) -> None:
    places, several = np.arange(len(folds)), len(metrics.seeds) > 1
    for index, (name, colour) in enumerate(zip(_SHOWN, _COLOURS, strict=True)):
        sharpes = [fold.portfolios[name].sharpe for fold in metrics.folds]
        middle = np.array([sharpe.interquartile_mean for sharpe in sharpes])
        place = places + (index - (len(_SHOWN) - 1) / 2.0) * 0.13
        axes.bar(place, middle, 0.12, color=colour)
        if name in PORTFOLIOS and several:
            low, high = np.array([(sharpe.lowest, sharpe.highest) for sharpe in sharpes]).T
            spread = np.maximum([middle - low, high - middle], 0.0)
            axes.errorbar(place, middle, yerr=spread, fmt="none", ecolor="#444444", capsize=2)
    axes.axhline(0.0, color="#444444", linewidth=0.8)
    ends = [[moment(fold.timestamps[index])[:7] for index in (0, -1)] for fold in folds]
    axes.set_xticks(places, [f"fold {number}\n{' to '.join(months)}" for number, months in enumerate(ends, start=1)])
    axes.set_ylabel("Sharpe ratio")
    whiskers = "; whiskers: range" * several
    axes.set_title(f"Sharpe ratio of each fold ({metrics.over_seeds}{whiskers})", loc="left")


def lines(metrics: WalkForwardMetrics) -> Iterator[str]:
    """Tables for the terminal."""
    yield metrics.verdict
    yield ""
    yield from _sharpe_lines(metrics)
    yield ""
    yield from _money_lines(metrics)
    yield ""
    yield f"{LAST} minus (Sharpe ratio)"
    for name, difference in metrics.ahead_of.items():
        yield f"  {name:<{_WIDTH - 2}}{interval_text(difference.sharpe, signed=True):>24}"


def _sharpe_lines(metrics: WalkForwardMetrics) -> Iterator[str]:
    """Sharpe ratios, fold by fold and of all."""
    yield f"{'':<{_WIDTH}}" + "".join(f"{f'fold {fold.fold}':>20}" for fold in metrics.folds) + f"{'all':>26}"
    periods = (f"{fold.test.first[:7]}..{fold.test.last[2:7]}" for fold in metrics.folds)
    yield f"{'test':<{_WIDTH}}" + "".join(f"{period:>20}" for period in periods)
    for name, overall in metrics.overall.items():
        cells = (fold.portfolios[name].sharpe for fold in metrics.folds)
        whole = interval_text(overall.intervals.sharpe)
        yield f"{name:<{_WIDTH}}" + "".join(f"  {_range(cell):>18}" for cell in cells) + f"  {whole:>24}"
    several = len(metrics.seeds) > 1
    for name in metrics.folds[0].tilts:
        shares = (_tilt(np.asarray(fold.tilts[name])) for fold in metrics.folds)
        yield f"{f'tilt, {name}':<{_WIDTH}}" + "".join(f"  {share:>18}" for share in shares)
    yield (
        f"Sharpe ratio, {metrics.over_seeds}{' (range)' * several}; "
        f"all: of the stitched folds [95 %, {'seeds and ' * several}days]; tilt: share that the evidence carried"
    )


def _money_lines(metrics: WalkForwardMetrics) -> Iterator[str]:
    """Return, drawdown and costs of all folds one after the other."""
    yield f"{'all folds':<{_WIDTH}}{'return':>12}{'drawdown':>12}{'costs':>12}"
    for name, overall in metrics.overall.items():
        columns = (overall.total_return_over_seeds, overall.max_drawdown_over_seeds, overall.cost_share_over_seeds)
        cells = (f"{percent_text(column.interquartile_mean):>12}" for column in columns)
        yield f"{name:<{_WIDTH}}" + "".join(cells)
    yield f"shares of the starting capital, {metrics.over_seeds}; drawdown: of the peak, on daily closes"


def _tilt(shares: np.ndarray) -> str:
    """Mean over seeds, and the range where they differ, in percent."""
    mean, low, high = (f"{100 * float(value):.0f}" for value in (shares.mean(), shares.min(), shares.max()))
    return f"{mean} %" if low == high else f"{mean} % ({low}, {high})"


def _range(cell: OverSeeds) -> str:
    if cell.lowest == cell.highest:
        return f"{cell.interquartile_mean:.2f}"
    return f"{cell.interquartile_mean:.2f} ({cell.lowest:.1f}, {cell.highest:.1f})"
