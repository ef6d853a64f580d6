"""Charts of daily returns: equity and drawdown, months, rolling Sharpe ratio, correlation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mtquant_jax.evaluation.curves import (
    RollingSharpe,
    correlations,
    drawdowns,
    equity_band,
    equity_curves,
    returns_by_month,
    rolling_sharpe,
)
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.reports.html.charts import COLOURS, DASHES, Chart, Trace, dates, heat_map, rounded, thin
from mtquant_jax.reports.html.text import label

SHOWN = ("equal allocation", "buy and hold", "inverse volatility")
"""Books whose equity is drawn beside the last portfolio's; the others wait for a click."""
SMALL_MONTH = 10.0
"""Percent under which returns of months are written with two decimals: one would round most of them away."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def shared_days(evaluation: Evaluation) -> dict[str, list[str]]:
    """The axes that charts name: ``$days`` of returns, ``$curve`` with the start before them."""
    days = np.asarray(evaluation.days)
    return {"days": dates(thin(days)), "curve": dates(thin(np.concatenate([days[:1] - 1, days])))}


def line_styles(evaluation: Evaluation) -> dict[str, dict[str, Any]]:
    """Every book's line: ink for the last portfolio; the others differ by colour and by dashes."""
    last = evaluation.traded.last
    # Those drawn first differ most: colours and dashes are used up in order.
    first = [name for name in SHOWN if name in evaluation.returns]
    others = [name for name in dict.fromkeys([*first, *evaluation.returns]) if name != last]
    styles = {
        name: {"color": COLOURS[i % len(COLOURS)], "dash": DASHES[i % len(DASHES)], "width": 1.6}
        for i, name in enumerate(others)
    }
    return {last: {"color": "@ink", "dash": "solid", "width": 2.6}, **styles}


def equity(evaluation: Evaluation) -> Chart:
    """Equity of every book above its drawdown; `SHOWN` books first, the others hidden until they are asked for."""
    capital = evaluation.run.config.simulation.initial_capital
    currency = evaluation.run.config.simulation.account_currency
    last = evaluation.traded.last
    shown = [last, *(name for name in SHOWN if name in evaluation.returns and name != last)]
    low, high = equity_band(evaluation.returns[last], evaluation.bootstrap.block_length) * capital
    edge: Trace = {"x": "$curve", "line": {"width": 0}, "hoverinfo": "skip", "name": "95 % band", "mode": "lines"}
    traces: list[Trace] = [
        {**edge, "y": rounded(thin(low), 7)},
        {**edge, "y": rounded(thin(high), 7), "fill": "tonexty", "fillcolor": "@band"},
    ]
    styles = line_styles(evaluation)
    for name in [*shown, *(name for name in evaluation.returns if name not in shown)]:
        curves = equity_curves(evaluation.returns[name])
        fallen = -100.0 * drawdowns(curves)
        curve: Trace = {"x": "$curve", "name": label(name), "mode": "lines", "line": styles[name]}
        curve |= {} if name in shown else {"visible": "legendonly"}
        money, share = f"%{{y:,.0f}} {label(currency)}", "%{y:.2f} %"
        traces.append(
            {**curve, "y": rounded(thin(curves.mean(axis=1)) * capital, 7), "hovertemplate": f"{label(name)} {money}"}
        )
        traces.append({**curve, "y": rounded(thin(fallen, "min"), 4), "hovertemplate": f"{label(name)} {share}"})
        traces[-1] |= {"yaxis": "y2"}
    for trace in traces[2:]:
        trace["hovertemplate"] += "<extra></extra>"
    layout = {
        "xaxis": {"anchor": "y2", "type": "date"},
        "yaxis": {"domain": [0.38, 1.0], "tickformat": ",.0f"},
        "yaxis2": {"domain": [0.0, 0.31], "ticksuffix": " %"},
        "hovermode": "x",
    }
    return Chart(
        "equity",
        f"Equity at the end of each day, {currency} (above), and fall from its peak (below)",
        f"Equity of {last} with the 95 % band of redrawn days, of {', '.join(shown[1:])}; drawdowns",
        traces,
        layout,
        height=560,
    )


def month_map(evaluation: Evaluation) -> Chart:
    """Return of every month, year by year, and of the year; months that no year has are left out."""
    months = evaluation.metrics.months
    years, shares = returns_by_month(months)
    grid = 100.0 * shares
    kept = np.flatnonzero(np.isfinite(grid).any(axis=0))
    names = [*_MONTHS, "Year"]
    return heat_map(
        "months",
        "Return of each month, %",
        f"Returns of {len(months)} months by year",
        [names[column] for column in kept],
        years,
        grid[:, kept],
        digits=2 if np.nanmax(np.abs(grid), initial=0.0) < SMALL_MONTH else 1,
        signed=True,
    )


def rolling(evaluation: Evaluation) -> Chart | None:
    """The annual Sharpe ratio of the days before each day; None of an account that was flat throughout."""
    last = evaluation.traded.last
    own = rolling_sharpe(evaluation, last)
    if not np.isfinite(own.values).any():
        return None
    styles = line_styles(evaluation)
    traces: list[Trace] = []
    for name in (last, *(name for name in evaluation.traded.baselines if name != "flat")):
        shown = {"x": "$days", "name": label(name), "mode": "lines", "line": styles[name]}
        shown |= {} if name in (last, "buy and hold") else {"visible": "legendonly"}
        values = rounded(thin(rolling_sharpe(evaluation, name).values), 4)
        traces.append({**shown, "y": values, "hovertemplate": f"{label(name)} %{{y:.2f}}<extra></extra>"})
        traces += _error_band(evaluation, own) if name == last else []
    title = f"Sharpe ratio of the {own.window} days before, annual"
    layout = {"xaxis": {"type": "date"}, "yaxis": {"zeroline": True}, "hovermode": "x"}
    return Chart("rolling", title, f"{title}, of {last} with its standard error and of baselines", traces, layout)


def _error_band(evaluation: Evaluation, found: RollingSharpe) -> list[Trace]:
    """One standard error to either side, where there is a ratio."""
    kept = np.isfinite(found.values)
    edge: Trace = {"x": "$days", "line": {"width": 0}, "hoverinfo": "skip", "mode": "lines"}
    edge |= {"name": "± one standard error", "x": dates(thin(np.asarray(evaluation.days)[kept]))}
    lower = rounded(thin((found.values - found.standard_error)[kept]), 4)
    upper = rounded(thin((found.values + found.standard_error)[kept]), 4)
    return [{**edge, "y": lower}, {**edge, "y": upper, "fill": "tonexty", "fillcolor": "@band"}]


def correlation(name: str, title: str, returns: Mapping[str, np.ndarray]) -> Chart | None:
    """Of daily returns ``[D, P]``, mean over paths; what never moves is left out."""
    moving, matrix = correlations(returns)
    if len(moving) < 2:
        return None
    text = f"{title}: {len(moving)} rows and columns"
    chart = heat_map(name, title, text, moving, moving, matrix, signed=True, bound=1.0)
    return dataclasses.replace(chart, height=chart.height + 60)
