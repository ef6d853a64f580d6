"""Charts of the last portfolio's book: exposure, allocation of capital, costs, trades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtquant_jax.evaluation.book import daily_means, exposures, weights
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.reports.html.charts import COLOURS, DASHES, DIVERGING, PATTERNS, Chart, Trace, dates, rounded, thin
from mtquant_jax.reports.html.text import label, or_never_held
from mtquant_jax.statistics.trades import COSTS, closed_trades, holding_histogram, profit_histogram

_HOURS = (1.0, 4.0, 12.0, 24.0, 72.0, 168.0, 672.0)  # ends of the classes of holding time
_HELD = ("up to 1 h", "1 to 4 h", "4 to 12 h", "12 to 24 h", "1 to 3 d", "3 to 7 d", "1 to 4 w", "over 4 w")
_BINS = 40
_POINTS = 260  # days, or means of equally many days: daily exposures of ten years would be a blot
_PERCENT = "%{y:.1f} %<extra></extra>"


def activity_days(evaluation: Evaluation) -> dict[str, list[str]]:
    """The axis ``$active``: the days on which something was traded."""
    return {"active": dates(thin(evaluation.judged.day[1:][evaluation.judged.day_starts], points=_POINTS))}


def _over_time(evaluation: Evaluation, values: Any) -> np.ndarray:
    """Means over bars, paths and perhaps days, on the axis ``$active``: of ``[L, P, ...]``."""
    return thin(daily_means(values, evaluation.judged), "mean", _POINTS)


def exposure(evaluation: Evaluation) -> Chart:
    """Gross exposure and the signed exposure of every class."""
    traces: list[Trace] = []
    for index, (name, values) in enumerate(exposures(evaluation.last, evaluation.judged).items()):
        line = {"color": COLOURS[(index - 2) % len(COLOURS)], "dash": DASHES[index % len(DASHES)], "width": 1.6}
        line = {"color": "@ink", "dash": "solid" if index == 0 else "dot", "width": 2.2} if index < 2 else line
        by_day = rounded(100.0 * _over_time(evaluation, values), 4)
        hover = f"{label(name)} {_PERCENT}"
        traces.append({"x": "$active", "y": by_day, "name": label(name), "mode": "lines", "line": line})
        traces[-1] |= {"hovertemplate": hover}
    layout = {"xaxis": {"type": "date"}, "yaxis": {"ticksuffix": " %", "zeroline": True}, "hovermode": "x"}
    days = -(-len(evaluation.judged.day_starts) // _POINTS)
    title = f"Exposure, % of equity, mean of {'each day' if days == 1 else f'{days} days each'}"
    return Chart("exposure", title, "Gross and net exposure by day, and net exposure of every class", traces, layout)


def exposure_map(evaluation: Evaluation) -> Chart:
    """Signed exposure of every instrument over time; one that was never held says so beside its empty row."""
    means = 100.0 * _over_time(evaluation, weights(evaluation.last, evaluation.judged))  # [days, n]
    most = max(float(np.abs(means).max()), 1e-3)
    trace: Trace = {
        "type": "heatmap",
        "x": "$active",
        "y": [or_never_held(label(symbol), part, "<br>") for symbol, part in evaluation.metrics.instruments.items()],
        "z": rounded(means.T, 3),
        "zmin": -most,
        "zmax": most,
        "colorscale": DIVERGING,
        "colorbar": {"orientation": "h", "thickness": 10, "y": -0.18, "yanchor": "top", "ticksuffix": " %"},
        "hovertemplate": "%{y}, %{x}: %{z:.2f} %<extra></extra>",
    }
    layout = {
        "xaxis": {"type": "date", "showgrid": False},
        "yaxis": {"type": "category", "autorange": "reversed", "showgrid": False},
        "margin": {"b": 70},
    }
    title = "Exposure of each instrument, % of equity: blue is long, orange is short"
    height = 165 + 26 * means.shape[1]
    return Chart("positions", title, "Signed exposure by instrument and day", [trace], layout, height, legend=False)


def allocation(evaluation: Evaluation) -> Chart | None:
    """Shares of capital stacked to one, and the risk appetite."""
    detail = evaluation.last.detail
    decided = None if detail is None else detail.allocation
    if decided is None:
        return None
    shares = 100.0 * _over_time(evaluation, decided.capital)
    names = [*evaluation.metrics.classes, "cash"]
    traces: list[Trace] = [
        {
            "x": "$active",
            "y": rounded(shares[:, column], 4),
            "name": label(name),
            "mode": "lines",
            "line": {"width": 0.5, "color": "@quiet" if name == "cash" else COLOURS[column % len(COLOURS)]},
            "fillcolor": "@cash" if name == "cash" else COLOURS[column % len(COLOURS)],
            "fillpattern": {
                "shape": PATTERNS[column % len(PATTERNS)],
                "size": 8,
                "solidity": 0.12,
                "fillmode": "overlay",
            },
            "stackgroup": "capital",
            "hovertemplate": f"{label(name)} {_PERCENT}",
        }
        for column, name in enumerate(names)
    ]
    appetite = 100.0 * _over_time(evaluation, decided.risk_appetite)
    line = {"color": "@ink", "width": 2.4, "dash": "dot"}
    traces.append({"x": "$active", "y": rounded(appetite, 4), "name": "risk appetite", "mode": "lines", "line": line})
    traces[-1] |= {"hovertemplate": f"risk appetite {_PERCENT}"}
    layout = {"xaxis": {"type": "date"}, "yaxis": {"ticksuffix": " %", "range": [0, 101]}, "hovermode": "x"}
    title = "Capital given to each class, and risk appetite (dotted), %"
    return Chart("allocation", title, "Stacked shares of capital with cash, and risk appetite, by day", traces, layout)


def costs(evaluation: Evaluation) -> Chart:
    """Where each instrument's profit came from and what it paid."""
    simulation = evaluation.run.config.simulation
    money = {symbol: part.profit_and_loss for symbol, part in evaluation.metrics.instruments.items()}
    kinds = {"price_profit": 1.0, **dict.fromkeys(COSTS, -1.0), "swap": 1.0}
    names = {"price_profit": "gross profit"}
    hover = f"%{{x}} %{{fullData.name}}: %{{y:,.2f}} {label(simulation.account_currency)}<extra></extra>"
    symbols = [label(symbol) for symbol in money]
    traces: list[Trace] = [
        {
            "type": "bar",
            "x": symbols,
            "y": rounded([sign * simulation.initial_capital * getattr(part, kind) + 0.0 for part in money.values()]),
            "name": names.get(kind, kind),
            "marker": {
                "color": COLOURS[index % len(COLOURS)],
                "pattern": {"shape": PATTERNS[index % len(PATTERNS)], "fillmode": "overlay", "solidity": 0.25},
            },
            "hovertemplate": hover,
        }
        for index, (kind, sign) in enumerate(kinds.items())
    ]
    net = rounded([simulation.initial_capital * part.net for part in money.values()])
    marker = {"color": "@ink", "size": 10, "symbol": "diamond", "line": {"color": "@card", "width": 1.5}}
    traces.append({"x": symbols, "y": net, "name": "net", "mode": "markers", "marker": marker, "hovertemplate": hover})
    layout = {
        "barmode": "relative",
        "xaxis": {"type": "category", "showgrid": False},
        "yaxis": {"tickformat": ",.0f", "zeroline": True},
    }
    title = f"Profit, costs and swap of each instrument, {simulation.account_currency}"
    return Chart("costs", title, f"{title}, stacked; net as a diamond", traces, layout, height=400)


def profits(evaluation: Evaluation) -> Chart | None:
    """How the trades' profits are spread; the rarest 1 % at either end stand in the outermost bars."""
    found = closed_trades(evaluation.trades["portfolio"])
    if len(found) < 2:
        return None
    currency = label(evaluation.run.config.simulation.account_currency)
    edges, counts = profit_histogram(found, _BINS)
    centres = rounded((edges[1:] + edges[:-1]) / 2.0)
    traces = _bars(centres, counts, f"%{{x:,.2f}} {currency}: %{{y}}", ("@c1", "@c2"))
    layout = {"barmode": "stack", "bargap": 0.06, "xaxis": {"tickformat": ",.0f"}, "yaxis": {"tickformat": ",d"}}
    title = f"Trades by profit after costs, {currency}"
    return Chart("profits", title, f"Histogram of the profit of {len(found)} closed trades", traces, layout)


def holding_times(evaluation: Evaluation) -> Chart | None:
    """How long positions were held while the market was open, winners and losers."""
    found = closed_trades(evaluation.trades["portfolio"])
    if len(found) < 2:
        return None
    counts = holding_histogram(found, evaluation.run.market["interval_seconds"] / 3600.0, _HOURS)
    traces = _bars(list(_HELD), counts, "%{x}, %{fullData.name}: %{y} trades", ("@c1", "@c2"))
    layout = {"barmode": "stack", "xaxis": {"type": "category"}, "yaxis": {"tickformat": ",d"}}
    text = f"How long {len(found)} closed trades were held, by outcome"
    return Chart("holding", "Trades by holding time, market hours", text, traces, layout)


def _bars(places: Sequence[object], counts: Mapping[str, list[int]], hover: str, colours: Sequence[str]) -> list[Trace]:
    return [
        {
            "type": "bar",
            "x": list(places),
            "y": values,
            "name": name,
            "marker": {"color": colour, "pattern": {"shape": shape, "fillmode": "overlay", "solidity": 0.25}},
            "hovertemplate": f"{hover}<extra></extra>",
        }
        for (name, values), colour, shape in zip(counts.items(), colours, ("", "/"), strict=True)
    ]
