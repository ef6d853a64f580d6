"""Charts of what limits the last portfolio: the value at risk against what was lost, and when which rule cut."""

from __future__ import annotations

import numpy as np

from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.evaluation.risk import cuts_by_period, forecasts
from mtquant_jax.market.periods import month_of
from mtquant_jax.reports.html.charts import Chart, Trace, dates, heat_map, rounded, thin
from mtquant_jax.reports.html.text import percent, words

_MONTHS_BY_WEEK = 8  # up to so many months are shown week by week
_POINTS = 260  # days, or spans of equally many days: the forecasts of ten years would be a blot
_CROWD = 40  # losses beyond the forecast, above which their marks are small


def value_at_risk(evaluation: Evaluation) -> Chart | None:
    """Daily returns, the loss forecast for each day, and the days that passed it; of the first path.

    None where nothing was held at the beginning of any day.
    """
    judged, confidence = evaluation.judged, evaluation.run.config.risk.var_confidence
    found = forecasts(evaluation.last, confidence, judged)["day"]
    if not found.held[:, 0].any():
        return None
    days = judged.day[1:][judged.day_starts]
    gain, forecast, exceeded = -100.0 * found.loss[:, 0], -100.0 * found.value_at_risk[:, 0], found.exceeded[:, 0]
    every = -(-len(days) // _POINTS)
    names = ("return of the day", "value at risk", "loss beyond it")
    if every > 1:
        span = f"{every} days"
        names = (f"lowest return of {span}", f"mean value at risk of {span}", "day beyond its own value at risk")
    over_time: Trace = {"x": dates(thin(days, points=_POINTS))}
    over_time |= {"hovertemplate": "%{x}, %{fullData.name}: %{y:.3f} %<extra></extra>"}
    lows, means = rounded(thin(gain, "min", _POINTS), 4), rounded(thin(forecast, "mean", _POINTS), 4)
    step = {"color": "@c1", "width": 2, "shape": "hvh"}  # a forecast is for a whole day
    traces: list[Trace] = [
        {**over_time, "type": "bar", "y": lows, "name": names[0], "marker": {"color": "@c7"}},
        {**over_time, "mode": "lines", "y": means, "name": names[1], "line": step},
        {
            "x": dates(days[exceeded]),
            "y": rounded(gain[exceeded], 4),
            "name": names[2],
            "mode": "markers",
            "marker": {
                "color": "@c2",
                "size": 11 if exceeded.sum() <= _CROWD else 6,
                "symbol": "x",
                "line": {"color": "@card", "width": 1},
            },
            "hovertemplate": "%{x}: %{y:.3f} %<extra></extra>",
        },
    ]
    layout = {"xaxis": {"type": "date"}, "yaxis": {"ticksuffix": " %", "zeroline": True}, "hovermode": "closest"}
    only = "" if found.loss.shape[1] == 1 else ", first path"
    title = f"Return of each day and its value at risk of {percent(confidence, 0)}, % of equity{only}"
    text = f"{title}; {int(exceeded.sum())} of {int(found.held[:, 0].sum())} days lost more than was forecast"
    return Chart("var", title, text, traces, layout)


def risk_rules(evaluation: Evaluation) -> Chart | None:
    """How often each rule that cut did so, month by month or, in a short period, week by week; None where none did."""
    by_week = len(np.unique(month_of(evaluation.judged.day[1:]))) <= _MONTHS_BY_WEEK
    names, shares = cuts_by_period(evaluation.last, evaluation.judged, "week" if by_week else "month")
    if not shares:
        return None
    unit = "week, by its Monday" if by_week else "month"
    title = f"Bars on which each rule cut something, % of the bars of each {unit}"
    text = f"{len(shares)} risk rules over {len(names)} periods"
    columns = [name[5:] if by_week else name for name in names]
    rows = [words(rule) for rule in shares]
    return heat_map("rules", title, text, columns, rows, 100.0 * np.array(list(shares.values())), digits=1)
