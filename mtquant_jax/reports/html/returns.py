"""Charts of daily returns: equity and drawdown, months, rolling Sharpe ratio, correlation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mtquant_jax.evaluation.book import flows_by_instrument
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.reports.html.charts import COLOURS, DASHES, Chart, Trace, dates, heat_map, rounded, thin
from mtquant_jax.reports.html.text import label
from mtquant_jax.statistics.returns import rolling_sharpe_ratio
from mtquant_jax.statistics.trades import COSTS

ROLLING_DAYS = 63
"""Window of the rolling Sharpe ratio, where the record is long enough."""
BAND_DRAWS = 500
"""Redrawn equity curves behind the band."""

SHOWN = ("equal allocation", "buy and hold", "inverse volatility")
"""Books whose equity is drawn beside the last portfolio's; the others wait for a click."""
SMALL_MONTH = 10.0
"""Percent under which returns of months are written with two decimals: one would round most of them away."""

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NO_RISK = 1e-7  # daily standard deviation under which there is nothing to correlate, as in `statistics`


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


def equity_band(returns: np.ndarray, block: float, draws: int = BAND_DRAWS, seed: int = 0) -> np.ndarray:
    """Pointwise 95 % of equity curves ``[2, D + 1]`` of redrawn days: the stationary bootstrap (Politis, Romano 1994).

    Args:
        returns: ``[D, P]`` daily, redrawn for all paths together.
        block: mean length of a block, days.
        draws: curves.
        seed: of the draws.
    """
    generator, count = np.random.default_rng(seed), len(returns)
    place = np.arange(count)
    curves = np.ones((draws, count + 1))
    for curve in curves:
        begins = generator.random(count) < 1.0 / max(block, 1.0)
        begins[0] = True
        first = np.maximum.accumulate(np.where(begins, place, 0))
        drawn = (generator.integers(0, count, count)[first] + place - first) % count
        curve[1:] = np.cumprod(1.0 + returns[drawn], axis=0).mean(axis=1)
    return np.asarray(np.quantile(curves, [0.025, 0.975], axis=0))


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
        returns = evaluation.returns[name]
        curves = np.cumprod(np.concatenate([np.ones((1, returns.shape[1])), 1.0 + returns]), axis=0)
        fallen = -100.0 * (1.0 - curves / np.maximum.accumulate(np.maximum(curves, 1e-9), axis=0)).mean(axis=1)
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
    months = {month.month: month.record.total_return for month in evaluation.metrics.months}
    years = sorted({month[:4] for month in months})
    grid = np.full((len(years), 13), np.nan)
    for row, year in enumerate(years):
        for column in range(12):
            grid[row, column] = 100.0 * months.get(f"{year}-{column + 1:02d}", np.nan)
        of_year = grid[row, :12][np.isfinite(grid[row, :12])]
        grid[row, 12] = 100.0 * (np.prod(1.0 + of_year / 100.0) - 1.0)
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


def rolling_window(evaluation: Evaluation) -> int:
    """Days of the rolling Sharpe ratio: a third of a record that is too short for `ROLLING_DAYS`."""
    days = len(evaluation.days)
    return ROLLING_DAYS if days >= 2 * ROLLING_DAYS else max(5, days // 3)


def rolling_sharpe(evaluation: Evaluation) -> Chart | None:
    """The annual Sharpe ratio of the days before each day; None of an account that was flat throughout."""
    per_year, last = evaluation.days_per_year, evaluation.traded.last
    window = rolling_window(evaluation)
    styles, traces = line_styles(evaluation), []
    compared = [last, *(name for name in evaluation.traded.baselines if name != "flat")]
    for name in compared:
        values = rolling_sharpe_ratio(evaluation.returns[name], window, per_year)
        shown = {"x": "$days", "name": label(name), "mode": "lines", "line": styles[name]}
        shown |= {} if name in (last, "buy and hold") else {"visible": "legendonly"}
        traces.append(
            {**shown, "y": rounded(thin(values), 4), "hovertemplate": f"{label(name)} %{{y:.2f}}<extra></extra>"}
        )
        if name == last and not np.isfinite(values).any():
            return None
        if name == last:
            error = np.sqrt((1.0 + 0.5 * values**2 / per_year) / window * per_year)  # Lo (2002)
            edge: Trace = {"x": "$days", "line": {"width": 0}, "hoverinfo": "skip", "mode": "lines"}
            edge |= {"name": "± one standard error"}
            kept = np.isfinite(values)
            where = dates(thin(np.asarray(evaluation.days)[kept]))
            traces.append({**edge, "x": where, "y": rounded(thin((values - error)[kept]), 4)})
            upper = rounded(thin((values + error)[kept]), 4)
            traces.append({**edge, "x": where, "y": upper, "fill": "tonexty", "fillcolor": "@band"})
    title = f"Sharpe ratio of the {window} days before, annual"
    layout = {"xaxis": {"type": "date"}, "yaxis": {"zeroline": True}, "hovermode": "x"}
    return Chart("rolling", title, f"{title}, of {last} with its standard error and of baselines", traces, layout)


def correlation(name: str, title: str, returns: Mapping[str, np.ndarray]) -> Chart | None:
    """Of daily returns ``[D, P]``, mean over paths; what never moves is left out."""
    means = {key: np.asarray(values, np.float64).mean(axis=1) for key, values in returns.items()}
    moving = [key for key, values in means.items() if len(values) > 2 and values.std() > _NO_RISK]
    if len(moving) < 2:
        return None
    matrix = np.corrcoef(np.stack([means[key] for key in moving]))
    told = f"{title}: {len(moving)} rows and columns"
    chart = heat_map(name, title, told, moving, moving, matrix, signed=True, bound=1.0)
    return dataclasses.replace(chart, height=chart.height + 60)


def contributions(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """What each instrument brought to the last portfolio on each day ``[D, P]``, shares of initial capital."""
    flows = flows_by_instrument(evaluation.last, evaluation.judged)
    net = flows["price_profit"] + flows["swap"] - sum(flows[cost] for cost in COSTS)  # [L, P, n]
    firsts = evaluation.judged.day_starts
    by_day = np.add.reduceat(net, firsts, axis=0)
    return {symbol: by_day[:, :, column] for column, symbol in enumerate(evaluation.metrics.instruments)}
