"""The metrics of an evaluation -> the tables of the report."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from mtquant_jax.backtest.evidence import Reading
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.evaluation.metrics import BookMetrics, EvaluationMetrics, PartMetrics, ValueAtRiskMetrics
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
from mtquant_jax.statistics.intervals import Interval
from mtquant_jax.statistics.trades import COSTS
from mtquant_jax.statistics.value_at_risk import LikelihoodRatio, VarBacktest

LONGEST = 200
"""Trades listed; all of them are in trades.csv."""
LEVEL = 0.05
"""p value under which a test rejects the value at risk."""

_KINDS = ("gross profit", *COSTS, "swap", "net")


def books(caption: str, found: Mapping[str, BookMetrics]) -> str:
    """Statistics of several books, a column each."""
    columns = [_statistics(book) for book in found.values()]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return table(caption, ["Statistic", *found], rows)


def _statistics(book: BookMetrics) -> dict[str, str]:
    """The column of one book."""
    intervals, record, by_bar = book.intervals, book.record, book.performance
    return {
        "Sharpe ratio [95 %]": interval(intervals.sharpe),
        "Return a year [95 %]": interval(intervals.annual_return, percent),
        "Maximum drawdown [95 %]": interval(intervals.max_drawdown, percent),
        "Sortino ratio": number(record.sortino),
        "Calmar ratio": number(record.calmar),
        "Total return": percent(record.total_return),
        "Return before costs and swap": percent(by_bar.gross_return),
        "Compound return a year": percent(record.annual_return),
        "Volatility a year": percent(record.volatility),
        "Longest time under water, days": number(record.drawdown_days, 0),
        "Winning days": percent(record.winning_days, 1),
        "Profit factor of days": number(record.profit_factor),
        "Best day": percent(record.best_day),
        "Worst day": percent(record.worst_day),
        "Skewness of days": number(record.skewness),
        "Kurtosis of days (normal: 3)": number(record.kurtosis),
        "Probability of a Sharpe ratio above 0": percent(record.probabilistic_sharpe, 1),
        "Minimum track record, days": number(record.minimum_track_record_days, 0),
        "Costs, share of initial capital": percent(by_bar.cost_share),
        "Swap, share of initial capital": percent(by_bar.swap_share, signed=True),
        "Turnover a day, times equity": number(by_bar.turnover_per_day),
        "Mean gross exposure": percent(by_bar.mean_exposure, 1),
        "Time in the market": percent(by_bar.time_in_market, 1),
    }


def seen(metrics: EvaluationMetrics) -> str:
    """Every policy on bars that it was trained on and on others; nothing where its training kept no record."""
    if not metrics.seen:
        return ""

    def cell(reading: Reading | None) -> str:
        if reading is None:
            return DASH
        return DASH if reading.sharpe is None else with_error(reading.sharpe, reading.sharpe_standard_error)

    rows = [
        [
            name,
            *(cell(reading) for reading in (found.train, found.out_of_fold, found.validation, found.judged)),
            percent(found.tilt, 0) if name.endswith(" alone") else DASH,
        ]
        for name, found in metrics.seen.items()
    ]
    head = ["Sharpe ratio on", "Bars trained on", "The same, unseen", "Validation", "These bars", "Tilt handed on"]
    return table("Seen and unseen: what is far above the rest where it was trained is memory", head, rows)


def differences(metrics: EvaluationMetrics) -> str:
    """The last portfolio minus everything else, on the same days."""

    def meaning(sharpe: Interval) -> str:
        if sharpe.value is None:
            return DASH
        return "ahead" if sharpe.is_above_zero else "behind" if sharpe.is_below_zero else "not distinguishable"

    rows = [
        [
            name,
            interval(difference.sharpe, lambda v: number(v, signed=True)),
            interval(difference.annual_return, lambda v: percent(v, signed=True)),
            meaning(difference.sharpe),
        ]
        for name, difference in metrics.ahead_of.items()
    ]
    head = ["Compared with", "Difference of Sharpe ratios [95 %]", "Difference of returns a year [95 %]", "Meaning"]
    return table(f"{metrics.portfolio} minus baselines and earlier phases, paired by day", head, rows, text=(3,))


def classes(evaluation: Evaluation) -> str:
    """Classes of the last portfolio."""
    budgets = {name: part.mean_budget for name, part in evaluation.metrics.classes.items()}
    parts = {name: part.part for name, part in evaluation.metrics.classes.items()}
    return _parts("By class", "Class", parts, budgets, evaluation)


def instruments(evaluation: Evaluation) -> str:
    """Instruments of the last portfolio."""
    return _parts("By instrument", "Instrument", evaluation.metrics.instruments, {}, evaluation)


def _parts(
    caption: str, first: str, parts: Mapping[str, PartMetrics], budgets: Mapping[str, float], evaluation: Evaluation
) -> str:
    """Parts of the last portfolio, with a column of mean budgets where there are any."""
    simulation = evaluation.run.config.simulation
    rows = []
    for name, part in parts.items():
        record, trades = part.track_record, part.trades
        rows.append(
            [
                or_never_held(name, part),
                *([percent(budgets[name], 1)] if budgets else []),
                percent(part.mean_exposure),
                percent(part.mean_weight, signed=True),
                percent(part.time_in_market, 1),
                number(simulation.initial_capital * part.profit_and_loss.net, signed=True),
                with_error(record.sharpe, record.sharpe_standard_error),
                percent(record.max_drawdown),
                number(trades.trades, 0),
                percent(trades.win_rate, 1),
                number(trades.profit_factor),
            ]
        )
    head = [
        first,
        *(["Mean budget"] if budgets else []),
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


def lots(evaluation: Evaluation) -> str:
    """What whole lots change, instrument by instrument."""
    simulation = evaluation.run.config.simulation
    rows = [
        [
            symbol,
            percent(found.smallest_order),
            percent(found.mean_wanted),
            percent(found.mean_held),
            percent(found.mean_distance),
            *(number(simulation.initial_capital * net, signed=True) for net in (found.net, found.net_unrounded)),
        ]
        for symbol, found in (evaluation.metrics.lots or {}).items()
    ]
    head = ["Instrument", "Smallest order", "Mean wanted exposure", "Mean held exposure", "Mean distance"]
    head += [f"Net, {simulation.account_currency}", "Net without lot rounding"]
    return table("Whole lots: what is wanted and what is held, shares of equity", head, rows)


def costs(evaluation: Evaluation) -> str:
    """Gross profit, every kind of cost, swap and net of every instrument, account currency."""
    simulation = evaluation.run.config.simulation
    signs = (1.0, *(-1.0 for _ in COSTS), 1.0, 1.0)
    money = {
        symbol: simulation.initial_capital * np.asarray(signs) * np.asarray(dataclasses.astuple(part.profit_and_loss))
        for symbol, part in evaluation.metrics.instruments.items()
    }
    money["All"] = np.sum(list(money.values()), axis=0)
    rows = [[symbol, *(number(value, signed=True) for value in values)] for symbol, values in money.items()]
    caption = f"Profit and costs by instrument, {simulation.account_currency}"
    return table(caption, ["Instrument", *(kind.capitalize() for kind in _KINDS)], rows, total=True)


def months(evaluation: Evaluation) -> str:
    """Month by month."""
    rows = [
        [
            month.month,
            percent(month.record.total_return, signed=True),
            with_error(month.record.sharpe, month.record.sharpe_standard_error),
            percent(month.record.max_drawdown),
            percent(month.record.best_day, signed=True),
            percent(month.record.worst_day, signed=True),
            percent(month.record.winning_days, 1),
            percent(month.costs),
            percent(month.swap, signed=True),
            number(month.turnover),
        ]
        for month in evaluation.metrics.months
    ]
    head = ["Month", "Return", "Sharpe ratio ± standard error", "Drawdown", "Best day", "Worst day", "Winning days"]
    return table("Months", [*head, "Costs", "Swap", "Turnover, times equity"], rows, sortable=True)


def stress(metrics: EvaluationMetrics) -> str:
    """Other costs and a bar of delay on the same bars."""
    rows = [
        [
            name,
            with_error(variant.sharpe, variant.sharpe_standard_error),
            percent(variant.total_return, signed=True),
            percent(variant.max_drawdown),
            percent(variant.cost_share),
            percent(variant.swap_share, signed=True),
            number(variant.terminated, 0),
        ]
        for name, variant in metrics.variants("costs", "one bar late", "no lot rounding")
    ]
    head = ["Variant", "Sharpe ratio ± standard error", "Return", "Maximum drawdown", "Costs", "Swap", "Ruined paths"]
    return table("Other costs, a bar of delay, and no lot rounding", head, rows)


def scenarios(metrics: EvaluationMetrics) -> str:
    """Synthetic markets under stress."""
    rows = [
        [
            words(name),
            with_error(scenario.sharpe, scenario.sharpe_standard_error),
            percent(scenario.total_return, signed=True),
            percent(scenario.max_drawdown),
            percent(scenario.worst_day, signed=True),
            percent(scenario.mean_exposure, 1),
            f"{scenario.terminated} of {scenario.paths}",
        ]
        for name, scenario in metrics.scenarios.items()
    ]
    head = ["Scenario", "Sharpe ratio ± standard error", "Return", "Maximum drawdown", "Worst day", "Mean exposure"]
    return table("Stress scenarios on synthetic paths", [*head, "Ruined paths"], rows)


def value_at_risk(found: ValueAtRiskMetrics) -> str:
    """How often losses passed the forecast, and the tests of that."""
    horizons = {"one bar": found.bar, "one day": found.day}
    rows = [
        [
            name,
            percent(horizon.mean_forecast, 3),
            number(horizon.backtest.periods, 0),
            number(horizon.backtest.exceedances, 0),
            percent(horizon.backtest.share),
            percent(horizon.backtest.expected),
        ]
        for name, horizon in horizons.items()
    ]
    head = ["Horizon", "Mean forecast", "Periods held", "Exceedances", "Share", "Expected"]
    tests = [
        [f"{test}, {name}", *_tested(ratio.p_value), number(ratio.statistic)]
        for name, horizon in horizons.items()
        for test, ratio in _tests(horizon.backtest).items()
    ]
    caption = f"Value at risk at {percent(found.confidence, 0)}"
    names = ["Test", "p value", "The forecast is", "Statistic"]
    return table(caption, head, rows) + table("Tests of the value at risk", names, tests, text=(2,))


def _tests(backtest: VarBacktest) -> dict[str, LikelihoodRatio]:
    return {
        "Kupiec": backtest.kupiec,
        "Independence": backtest.independence,
        "Conditional coverage": backtest.conditional_coverage,
    }


def _tested(p_value: float) -> tuple[str, str]:
    """A p value and what it says of the forecast; a rejection stands out."""
    if not math.isfinite(p_value):
        return DASH, DASH
    if p_value >= LEVEL:
        return probability(p_value), "not rejected"
    return Strong(probability(p_value)), Strong(f"rejected at {percent(LEVEL, 0)}")


def risk_rules(metrics: EvaluationMetrics) -> str:
    """How often each rule cut and how much."""
    rows = [[words(rule), percent(found.bars), percent(found.cut, 3)] for rule, found in metrics.risk_rules.items()]
    return table("Risk rules over all bars", ["Rule", "Bars on which it cut", "Mean share of exposure cut"], rows)


def trade_summary(evaluation: Evaluation) -> str:
    """Statistics of the trades of the portfolio and of every specialist alone."""
    hours = evaluation.run.market["interval_seconds"] / 3600.0
    rows = [
        [
            book if book == "portfolio" else f"{book} alone",
            number(trades.trades, 0),
            number(trades.open, 0),
            percent(trades.win_rate, 1),
            number(trades.profit_factor),
            *(number(money, signed=True) for money in (trades.mean_profit, trades.best, trades.worst)),
            DASH if trades.mean_bars is None else number(hours * trades.mean_bars, 1),
        ]
        for book, trades in evaluation.metrics.trades.items()
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


def splits(metrics: EvaluationMetrics) -> str:
    """Which bars the training used for what."""
    rows = [[name, split.first, split.last, number(split.bars, 0)] for name, split in metrics.run.splits.items()]
    return table("Splits of the training, UTC", ["Split", "First bar", "Last bar", "Bars"], rows, text=(1, 2))
