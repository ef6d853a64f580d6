"""The figures of `metrics.json` -> the tables of the report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from mtquant_jax.evaluation.metrics import Evaluation
from mtquant_jax.reports.html.text import (
    DASH,
    Strong,
    interval,
    number,
    or_never_held,
    percent,
    probability,
    table,
    with_error,
    words,
)
from mtquant_jax.statistics.trades import COSTS

LONGEST = 200
"""Trades listed; all of them are in trades.csv."""
LEVEL = 0.05
"""p value under which a test rejects the value at risk."""

_KINDS = ("gross profit", *COSTS, "swap", "net")
_FORMS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "sortino": ("Sortino ratio", number),
    "calmar": ("Calmar ratio", number),
    "total_return": ("Total return", percent),
    "gross_return": ("Return before costs and swap", percent),
    "annual_return": ("Compound return a year", percent),
    "volatility": ("Volatility a year", percent),
    "drawdown_days": ("Longest time under water, days", lambda days: number(days, 0)),
    "winning_days": ("Winning days", lambda share: percent(share, 1)),
    "profit_factor": ("Profit factor of days", number),
    "best_day": ("Best day", percent),
    "worst_day": ("Worst day", percent),
    "skewness": ("Skewness of days", number),
    "kurtosis": ("Kurtosis of days (normal: 3)", number),
    "probabilistic_sharpe": ("Probability of a Sharpe ratio above 0", lambda share: percent(share, 1)),
    "minimum_track_record_days": ("Minimum track record, days", lambda days: number(days, 0)),
    "cost_share": ("Costs, share of initial capital", percent),
    "swap_share": ("Swap, share of initial capital", lambda share: percent(share, signed=True)),
    "turnover_per_day": ("Turnover a day, times equity", number),
    "mean_exposure": ("Mean gross exposure", lambda share: percent(share, 1)),
    "time_in_market": ("Time in the market", lambda share: percent(share, 1)),
}


def books(caption: str, told: Mapping[str, Mapping[str, Any]]) -> str:
    """Statistics of several books, a column each."""
    rows = [
        ["Sharpe ratio [95 %]", *(interval(book["intervals"]["sharpe"]) for book in told.values())],
        ["Return a year [95 %]", *(interval(book["intervals"]["annual_return"], percent) for book in told.values())],
        ["Maximum drawdown [95 %]", *(interval(book["intervals"]["max_drawdown"], percent) for book in told.values())],
    ]
    rows += [[name, *(form(book.get(key)) for book in told.values())] for key, (name, form) in _FORMS.items()]
    return table(caption, ["Statistic", *told], rows)


def differences(metrics: Mapping[str, Any]) -> str:
    """The last portfolio minus everything else, on the same days."""

    def meaning(told: Mapping[str, Any]) -> str:
        low, high = told["sharpe"]["low"], told["sharpe"]["high"]
        if low is None or high is None:
            return DASH
        return "ahead" if low > 0.0 else "behind" if high < 0.0 else "not distinguishable"

    rows = [
        [
            name,
            interval(told["sharpe"], lambda v: number(v, signed=True)),
            interval(told["annual_return"], lambda v: percent(v, signed=True)),
            meaning(told),
        ]
        for name, told in metrics["ahead_of"].items()
    ]
    head = ["Compared with", "Difference of Sharpe ratios [95 %]", "Difference of returns a year [95 %]", "Meaning"]
    return table(f"{metrics['portfolio']} minus baselines and earlier phases, paired by day", head, rows, text=(3,))


def parts(caption: str, first: str, told: Mapping[str, Mapping[str, Any]], evaluation: Evaluation) -> str:
    """Classes or instruments of the last portfolio."""
    simulation = evaluation.run.config.simulation
    with_budget = any("mean_budget" in part for part in told.values())
    rows = []
    for name, part in told.items():
        record, money, trades = part["track_record"], part["profit_and_loss"], part["trades"]
        budget = [percent(part["mean_budget"], 1)] if with_budget else []
        rows.append(
            [
                or_never_held(name, part),
                *budget,
                percent(part["mean_exposure"]),
                percent(part["mean_weight"], signed=True),
                percent(part["time_in_market"], 1),
                number(simulation.initial_capital * money["net"], signed=True),
                with_error(record["sharpe"], record["sharpe_standard_error"]),
                percent(record["max_drawdown"]),
                number(trades["trades"], 0),
                percent(trades["win_rate"], 1),
                number(trades["profit_factor"]),
            ]
        )
    head = [
        first,
        *(["Mean budget"] if with_budget else []),
        "Mean gross exposure",
        "Mean signed exposure",
        "Time in the market",
        f"Net, {simulation.account_currency}",
        "Sharpe ratio ± standard error",
        "Maximum drawdown",
        "Trades",
        "Winners",
        "Profit factor",
    ]
    return table(caption, head, rows, sortable=True)


def costs(evaluation: Evaluation) -> str:
    """Gross profit, every kind of cost, swap and net of every instrument, account currency."""
    simulation = evaluation.run.config.simulation
    signs = (1.0, *(-1.0 for _ in COSTS), 1.0, 1.0)
    money = {
        symbol: simulation.initial_capital
        * np.asarray(signs)
        * np.asarray([part["profit_and_loss"][kind] for kind in ("price_profit", *COSTS, "swap", "net")])
        for symbol, part in evaluation.metrics["instruments"].items()
    }
    money["All"] = np.sum(list(money.values()), axis=0)
    rows = [[symbol, *(number(value, signed=True) for value in values)] for symbol, values in money.items()]
    caption = f"Profit and costs by instrument, {simulation.account_currency}"
    return table(caption, ["Instrument", *(kind.capitalize() for kind in _KINDS)], rows, total=True)


def months(evaluation: Evaluation) -> str:
    """Month by month."""
    rows = [
        [
            told["month"],
            percent(told["total_return"], signed=True),
            with_error(told["sharpe"], told["sharpe_standard_error"]),
            percent(told["max_drawdown"]),
            percent(told["best_day"], signed=True),
            percent(told["worst_day"], signed=True),
            percent(told["winning_days"], 1),
            percent(told["costs"]),
            percent(told["swap"], signed=True),
            number(told["turnover"]),
        ]
        for told in evaluation.metrics["months"]
    ]
    head = ["Month", "Return", "Sharpe ratio ± standard error", "Drawdown", "Best day", "Worst day", "Winning days"]
    return table("Months", [*head, "Costs", "Swap", "Turnover, times equity"], rows, sortable=True)


def stress(metrics: Mapping[str, Any]) -> str:
    """Other costs and a bar of delay on the same bars."""
    variants = {f"costs {name}": told for name, told in metrics["cost_stress"].items()}
    variants |= {"one bar late": metrics["one_bar_late"], "no lot rounding": metrics["without_lot_rounding"]}
    rows = [
        [
            name,
            with_error(told["sharpe"], told["sharpe_standard_error"]),
            percent(told["total_return"], signed=True),
            percent(told["max_drawdown"]),
            percent(told["cost_share"]),
            percent(told["swap_share"], signed=True),
            number(told["terminated"], 0),
        ]
        for name, told in variants.items()
    ]
    head = [
        "Variant",
        "Sharpe ratio ± standard error",
        "Return",
        "Maximum drawdown",
        "Costs",
        "Swap",
        "Ruined paths",
    ]
    return table("Other costs, a bar of delay, and no lot rounding", head, rows)


def scenarios(metrics: Mapping[str, Any]) -> str:
    """Synthetic markets under stress."""
    rows = [
        [
            words(name),
            with_error(told["sharpe"], told["sharpe_standard_error"]),
            percent(told["total_return"], signed=True),
            percent(told["max_drawdown"]),
            percent(told["worst_day"], signed=True),
            percent(told["mean_exposure"], 1),
            f"{told['terminated']} of {told['paths']}",
        ]
        for name, told in metrics["scenarios"].items()
    ]
    head = ["Scenario", "Sharpe ratio ± standard error", "Return", "Maximum drawdown", "Worst day", "Mean exposure"]
    return table("Stress scenarios on synthetic paths", [*head, "Ruined paths"], rows)


def value_at_risk(metrics: Mapping[str, Any]) -> str:
    """How often losses passed the forecast, and the tests of that."""
    told = metrics["value_at_risk"]
    rows = []
    for horizon in ("bar", "day"):
        found = told.get(horizon) or {}
        rows.append(
            [
                f"one {horizon}",
                percent(found.get("mean_forecast"), 3),
                number(found.get("periods"), 0),
                number(found.get("exceedances"), 0),
                percent(found.get("share")),
                percent(found.get("expected")),
            ]
        )
    head = ["Horizon", "Mean forecast", "Periods held", "Exceedances", "Share", "Expected"]
    tests = [
        [f"{words(name).capitalize()}, one {horizon}", *_tested(p_value), number(statistic)]
        for horizon in ("bar", "day")
        for name, statistic, p_value in _tests(told.get(horizon) or {})
    ]
    caption = f"Value at risk at {percent(told.get('confidence'), 0)}"
    names = ["Test", "p value", "The forecast is", "Statistic"]
    second = table("Tests of the value at risk", names, tests, text=(2,))
    return table(caption, head, rows) + (second if tests else "")


def _tested(p_value: float | None) -> tuple[str, str]:
    """A p value and what it says of the forecast; a rejection stands out."""
    if p_value is None or not math.isfinite(p_value):
        return DASH, DASH
    if p_value >= LEVEL:
        return probability(p_value), "not rejected"
    return Strong(probability(p_value)), Strong(f"rejected at {percent(LEVEL, 0)}")


def _tests(told: Mapping[str, Any]) -> Iterator[tuple[str, float | None, float | None]]:
    """Name, statistic and p value of every test."""
    for name, value in told.items():
        if isinstance(value, Mapping):
            yield name, value.get("statistic"), value.get("p_value")


def risk_rules(metrics: Mapping[str, Any]) -> str:
    """How often each rule cut and how much."""
    rows = [
        [words(rule), percent(told["bars"]), percent(told["cut"], 3)] for rule, told in metrics["risk_rules"].items()
    ]
    return table("Risk rules over all bars", ["Rule", "Bars on which it cut", "Mean share of exposure cut"], rows)


def trade_summary(evaluation: Evaluation) -> str:
    """Of the portfolio and every specialist alone."""
    hours = evaluation.run.market["interval_seconds"] / 3600.0
    rows = [
        [
            book if book == "portfolio" else f"{book} alone",
            number(told["trades"], 0),
            number(told["open"], 0),
            percent(told["win_rate"], 1),
            number(told["profit_factor"]),
            *(number(told[key], signed=True) for key in ("mean_profit", "best", "worst")),
            DASH if told["mean_bars"] is None else number(hours * told["mean_bars"], 1),
        ]
        for book, told in evaluation.metrics["trades"].items()
    ]
    currency = evaluation.run.config.simulation.account_currency
    head = ["Book", "Closed", "Open at the end", "Winners", "Profit factor", f"Mean profit, {currency}"]
    return table("Trades by book", [*head, f"Best, {currency}", f"Worst, {currency}", "Mean hours held"], rows)


def trades(evaluation: Evaluation) -> str:
    """The last portfolio's trades that mattered most, best first."""
    times = np.datetime_as_string(evaluation.judged.timestamps.astype("datetime64[s]"), unit="m")
    currency = evaluation.run.config.simulation.account_currency
    found = sorted(evaluation.trades["portfolio"], key=lambda trade: -abs(trade.profit))[:LONGEST]
    rows = [
        [
            trade.symbol,
            trade.direction,
            # Step l fills at the open of the bar after the l-th decision.
            times[trade.opened + 1].replace("T", " "),
            "open" if trade.closed is None else times[trade.closed + 1].replace("T", " "),
            number(trade.max_lots),
            number(trade.price_profit, signed=True),
            number(-(trade.spread + trade.commission + trade.slippage + trade.impact), signed=True),
            number(trade.swap, signed=True),
            number(trade.profit, signed=True),
        ]
        for trade in sorted(found, key=lambda trade: -trade.profit)
    ]
    total = len(evaluation.trades["portfolio"])
    which = f"the {len(rows)} largest of {total:,}" if total > len(rows) else f"all {total:,}"
    head = ["Instrument", "Side", "Opened, UTC", "Closed, UTC", "Largest lots", "Gross", "Costs", "Swap", "Profit"]
    caption = f"Trades of the last portfolio, {which}, {currency}; best first, click a column's name to sort by it"
    return table(caption, head, rows, text=(1, 2, 3), sortable=True, descending=len(head) - 1)


def splits(metrics: Mapping[str, Any]) -> str:
    """Which bars the training used for what."""
    rows = [
        [name, told["first"], told["last"], number(told.get("bars"), 0)]
        for name, told in metrics["run"]["splits"].items()
    ]
    return table("Splits of the training, UTC", ["Split", "First bar", "Last bar", "Bars"], rows, text=(1, 2))
