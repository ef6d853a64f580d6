"""The equity of a validation -> the pixels of a figure.

It is drawn while a training goes on, so it has no axes: matplotlib takes four times as long over them as over the lines
and the few words that are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mtquant_jax.backtest.picture import Picture

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

_INCHES, _DOTS_PER_INCH = (6.0, 3.0), 80
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.1, 0.97, 0.11, 0.87  # of the curves, as shares of the figure
_INK, _BAND, _GRID, _ZERO, _WORDS = "#0072B2", "#c6dcec", "#e4e4e4", "#8a8a8a", "#222222"
_FLAT = 0.05  # per cent that are shown to either side of the initial capital at least
_LEVELS, _DATES = 5, 4  # lines across at most, and dates below


def equity_figure(found: Picture) -> np.ndarray:
    """Equity day by day, in per cent of the initial capital; ``[240, 480, 3]`` uint8.

    Several paths are their mean, and the band from the lowest to the highest of them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # a third of a second that only trainings spend
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Polygon
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    if not np.isfinite(found.equity).all():
        figure.text(_LEFT, 0.92, "equity on the validation split is no number", fontsize=8.5, color=_WORDS)
        return _pixels(canvas)
    lowest, mean, highest = (100.0 * of(found.equity.astype(np.float64), axis=1) for of in (np.min, np.mean, np.max))
    low, high = min(lowest.min(), 100.0 - _FLAT), max(highest.max(), 100.0 + _FLAT)
    levels = np.asarray(MaxNLocator(_LEVELS).tick_values(low, high))
    low, high = levels[0], levels[-1]
    days = found.day - found.day[0]
    x = _LEFT + (_RIGHT - _LEFT) * days / max(days[-1], 1)

    def height(percent: np.ndarray) -> np.ndarray:
        return _BOTTOM + (_TOP - _BOTTOM) * (percent - low) / (high - low)

    for level, y in zip(levels, height(levels), strict=True):
        figure.add_artist(Line2D((_LEFT, _RIGHT), (y, y), color=_ZERO if level == 100.0 else _GRID, linewidth=0.8))
        figure.text(_LEFT - 0.01, y, f"{level:g}", ha="right", va="center", fontsize=8, color=_WORDS)
    if (paths := found.equity.shape[1]) > 1:
        around = np.concatenate([x, x[::-1]]), np.concatenate([height(lowest), height(highest)[::-1]])
        figure.add_artist(Polygon(np.stack(around, axis=1), facecolor=_BAND, linewidth=0.0, alpha=0.9))
    figure.add_artist(Line2D(x, height(mean), color=_INK, linewidth=1.4))
    for index in np.unique(np.linspace(0, len(x) - 1, _DATES).astype(int)):
        side = "left" if index == 0 else "right" if index == len(x) - 1 else "center"
        date = str(found.day[index].astype("datetime64[D]"))
        figure.text(x[index], _BOTTOM - 0.03, date, ha=side, va="top", fontsize=8, color=_WORDS)
    over = f", mean and range of {paths} paths" if paths > 1 else ""
    title = f"equity on the validation split, % of initial capital{over}"
    figure.text(_LEFT, 0.92, title, fontsize=8.5, color=_WORDS)
    return _pixels(canvas)


def _pixels(canvas: FigureCanvasAgg) -> np.ndarray:
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
