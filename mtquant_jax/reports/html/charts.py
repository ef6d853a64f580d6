"""What a chart of the report is, and the kinds of which there are several: heat maps and intervals.

Charts are plotly.js figures as plain mappings. Colours are names of the page's style sheet (``@ink``), so that they
follow its theme; an axis of days is written once for all charts (``$days``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from mtquant_jax.market.periods import date_of
from mtquant_jax.reports.html.text import escaped, label
from mtquant_jax.statistics.intervals import Interval

POINTS = 1500
"""At most so many points of a curve."""

DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot", "solid")
COLOURS = ("@c1", "@c2", "@c3", "@c4", "@c5", "@c6", "@c7")
PATTERNS = ("", "/", "x", "\\", ".", "-", "+")
MARKERS = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "star")
DIVERGING = [[0.0, "@negative"], [0.5, "@middle"], [1.0, "@positive"]]
RISING = [[0.0, "@middle"], [1.0, "@positive"]]

Trace = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Chart:
    """A plotly.js figure and the words around it."""

    name: str  # unique in the report
    title: str
    label: str  # what is to be seen, for those who do not see it
    traces: Sequence[Trace]
    layout: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    height: int = 340  # px
    legend: bool = True
    digits: int | None = None  # in the cells of a heat map; the page writes fewer or none in narrow ones

    def html(self) -> str:
        """Its place in the page."""
        name = f"{self.name}-chart-title"
        return (
            f'<figure aria-labelledby="{name}"><figcaption><h3 id="{name}">{escaped(self.title)}</h3></figcaption>'
            f'<div class="legend" id="{self.name}-legend" role="group" aria-label="Curves to show"></div>'
            f'<div class="chart"><div class="plot" id="{self.name}-chart" role="img" '
            f'aria-label="{escaped(self.label)}" style="height:{self.height}px"></div></div></figure>'
        )

    def data(self) -> dict[str, Any]:
        """For the page's script."""
        layout = {"height": self.height, **self.layout}
        content = {"name": self.name, "legend": self.legend, "traces": list(self.traces), "layout": layout}
        return content if self.digits is None else {**content, "digits": self.digits}


Drawn = Callable[..., str]
"""Charts, or None where there is none -> their places in the page."""


def drawing(charts: list[Chart]) -> Drawn:
    """What writes the places of charts, and adds them to ``charts``."""

    def drawn(*found: Chart | None) -> str:
        kept = [chart for chart in found if chart is not None]
        charts.extend(kept)
        return "".join(chart.html() for chart in kept)

    return drawn


def rounded(values: Any, digits: int = 5) -> list[Any]:
    """Numbers of so many significant digits, None where there is none, of any shape."""
    array = np.asarray(values, np.float64)
    if array.ndim > 1:
        return [rounded(row, digits) for row in array]
    return [float(f"{value:.{digits}g}") if np.isfinite(value) else None for value in array]


def thin(values: np.ndarray, how: Literal["last", "mean", "min"] = "last", points: int | None = None) -> np.ndarray:
    """At most so many (`POINTS`) of ``[D, ...]``: of equally many neighbours the last, the mean or the least."""
    if not len(values):
        return values
    width = -(-len(values) // (points or POINTS))
    firsts = np.arange(0, len(values), width)
    if how == "last":
        return values[np.append(firsts[1:], len(values)) - 1]
    if how == "min":
        return np.asarray(np.minimum.reduceat(values, firsts, axis=0))
    counts = np.diff(np.append(firsts, len(values)))
    return np.asarray(np.add.reduceat(values, firsts, axis=0) / counts.reshape(-1, *(1,) * (values.ndim - 1)))


def dates(days: np.ndarray) -> list[str]:
    """Dates as plotly.js reads them."""
    return [str(date_of(day)) for day in days]


def heat_map(
    name: str,
    title: str,
    text: str,
    columns: Sequence[str],
    rows: Sequence[str],
    values: np.ndarray,
    digits: int = 2,
    signed: bool = False,
    bound: float | None = None,
) -> Chart:
    """Cells with their values written in them; blue above and orange below zero where signed, else from pale to blue.

    It takes the width of the page whatever that is: a map that scrolls hides its end, and what is seen first misleads.

    Args:
        name: of the chart.
        title: above it.
        text: what is to be seen.
        columns: names.
        rows: names, from the top.
        values: ``[rows, columns]``, NaN for an empty cell.
        digits: written, where a cell is wide enough.
        signed: whether zero is the middle.
        bound: value of the strongest colour; None takes the largest.
    """
    finite = np.abs(values[np.isfinite(values)])
    most = bound if bound is not None else max(float(finite.max(initial=0.0)), 10.0**-digits)
    trace: Trace = {
        "type": "heatmap",
        "x": [label(column) for column in columns],
        "y": [label(row) for row in rows],
        "z": rounded(values, 4),
        "zmin": -most if signed else 0.0,
        "zmax": most,
        "colorscale": DIVERGING if signed else RISING,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hoverongaps": False,
        "texttemplate": f"%{{z:.{digits}f}}",
        "textfont": {"size": 11},
        "hovertemplate": f"%{{y}}, %{{x}}: %{{z:.{digits}f}}<extra></extra>",
    }
    layout = {
        "xaxis": {"type": "category", "side": "top", "showgrid": False, "fixedrange": True},
        "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False, "fixedrange": True},
        "margin": {"t": 28},
    }
    return Chart(name, title, text, [trace], layout, height=60 + 30 * len(rows), legend=False, digits=digits)


def forest(name: str, title: str, rows: Mapping[str, Interval]) -> Chart | None:
    """Values with their intervals, one below another; None where no value has an interval."""
    found = {key: interval for key, interval in rows.items() if interval.value is not None}
    if not found:
        return None
    value = np.asarray([interval.value for interval in found.values()], np.float64)
    low = np.asarray([interval.low for interval in found.values()], np.float64)
    high = np.asarray([interval.high for interval in found.values()], np.float64)
    trace: Trace = {
        "type": "scatter",
        "mode": "markers",
        "name": title,
        "y": [label(key) for key in found],
        "x": rounded(value, 4),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": rounded(high - value, 4),
            "arrayminus": rounded(value - low, 4),
            "color": "@c1",
            "thickness": 2,
            "width": 5,
        },
        "marker": {"color": "@ink", "size": 9, "symbol": "diamond"},
        "customdata": rounded(np.stack([low, high], axis=-1), 4),
        "hovertemplate": "%{y}: %{x:.2f} [%{customdata[0]:.2f}, %{customdata[1]:.2f}]<extra></extra>",
    }
    layout = {
        "xaxis": {"zeroline": True},
        "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False},
        "hovermode": "closest",
    }
    text = f"{title}: {len(found)} intervals"
    return Chart(name, title, text, [trace], layout, height=75 + 28 * len(found), legend=False)
