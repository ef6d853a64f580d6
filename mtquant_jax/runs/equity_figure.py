"""The equity of a validation -> the pixels of a figure, drawn in some hundredths of a second."""

from __future__ import annotations

import numpy as np

from mtquant_jax.backtest.picture import Picture

_INCHES, _DOTS_PER_INCH = (6.0, 3.0), 80
_INK, _BAND, _QUIET = "#0072B2", "#c6dcec", "#8a8a8a"


def equity_figure(found: Picture) -> np.ndarray:
    """Equity day by day, in per cent of the initial capital; ``[240, 480, 3]`` uint8.

    Several paths are their mean, and the band from the lowest to the highest of them.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # half a second that only trainings spend
    from matplotlib.figure import Figure

    equity = 100.0 * found.equity.astype(np.float64)
    days = found.day.astype("datetime64[D]")
    figure = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.1, 0.87, 0.79))
    axes.axhline(100.0, color=_QUIET, linewidth=0.8)
    if (paths := equity.shape[1]) > 1:
        axes.fill_between(days, equity.min(axis=1), equity.max(axis=1), color=_BAND, linewidth=0.0)
    axes.plot(days, equity.mean(axis=1), color=_INK, linewidth=1.4)
    over = f", mean and range of {paths} paths" if paths > 1 else ""
    axes.set_title(f"equity on the validation split, % of initial capital{over}", fontsize=8.5, loc="left")
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.0)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
