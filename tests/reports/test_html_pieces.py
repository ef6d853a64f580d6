"""Tables and charts of the report, one at a time, on numbers by hand."""

from __future__ import annotations

import dataclasses
import re
from datetime import date, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.evaluation.risk import forecasts
from mtquant_jax.reports.html import returns as report_returns
from mtquant_jax.reports.html import risk as report_risk
from mtquant_jax.reports.html import tables as report_tables
from mtquant_jax.reports.html import text as report_text
from mtquant_jax.simulation.risk import RULES
from mtquant_jax.statistics.value_at_risk import LikelihoodRatio
from tests.evaluation.made_up import made_up

RULE = list(RULES)[1]  # the one that cuts in made-up records


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory) -> Evaluation:
    return made_up(tmp_path_factory.mktemp("runs"))


def with_cuts(evaluation: Evaluation, cuts: dict[str, np.ndarray]) -> Evaluation:
    """The evaluation of a last portfolio whose rules cut so."""
    none = np.zeros_like(evaluation.last.reward)
    record = dataclasses.replace(evaluation.last, risk_cuts={f"risk/{rule}": cuts.get(rule, none) for rule in RULES})
    traded = dataclasses.replace(
        evaluation.traded, portfolios={**evaluation.traded.portfolios, evaluation.traded.last: record}
    )
    return dataclasses.replace(evaluation, traded=traded)


def months(**returns: float) -> SimpleNamespace:
    """What the map of months reads; ``m2025_03=0.01``."""
    found = [
        SimpleNamespace(month=key[1:].replace("_", "-"), record=SimpleNamespace(total_return=value))
        for key, value in returns.items()
    ]
    return SimpleNamespace(metrics=SimpleNamespace(months=found))


def test_months_that_no_year_has_are_left_out():
    chart = report_returns.month_map(months(m2024_11=0.01, m2025_03=0.02, m2025_11=-0.01))
    trace = chart.traces[0]
    assert trace["x"] == ["Mar", "Nov", "Year"] and trace["y"] == ["2024", "2025"]
    assert trace["z"] == [[None, 1.0, 1.0], [2.0, -1.0, pytest.approx(0.98)]]


@pytest.mark.parametrize(("most", "digits"), [(-0.0007, 2), (0.099, 2), (-0.11, 1)])
def test_small_months_keep_two_decimals(most, digits):
    chart = report_returns.month_map(months(m2025_09=0.0001, m2025_10=most))
    assert chart.digits == digits and chart.traces[0]["texttemplate"] == f"%{{z:.{digits}f}}"


def test_an_interval_stands_below_its_value():
    html = report_text.table("t", ["Row", "A"], [["r", "0.62 % [-3.16 %, 3.91 %]"]])
    assert '<td class=number>0.62 % <span class="ends">[-3.16, 3.91]</span></td>' in html


def test_a_cell_that_stands_out_is_still_text():
    html = report_text.table("t", ["Row", "A"], [["r", report_text.Strong("<i>")]])
    assert "<b>&lt;i&gt;</b>" in html


def test_a_small_p_value_is_marked_in_words(evaluation):
    found = evaluation.metrics.value_at_risk
    backtest = dataclasses.replace(
        found.bar.backtest,
        kupiec=LikelihoodRatio(statistic=5.0, p_value=0.049),
        independence=LikelihoodRatio(statistic=1.0, p_value=0.05),
        conditional_coverage=LikelihoodRatio(statistic=float("nan"), p_value=float("nan")),
    )
    html = report_tables.value_at_risk(
        dataclasses.replace(found, bar=dataclasses.replace(found.bar, backtest=backtest))
    )
    rows = dict(re.findall(r'<tr><th scope="row">(\w[^<]*, one bar)</th>(.*?)</tr>', html))
    assert "<b>0.049</b>" in rows["Kupiec, one bar"] and "<b>rejected at 5 %</b>" in rows["Kupiec, one bar"]
    assert "<b>" not in rows["Independence, one bar"] and "not rejected" in rows["Independence, one bar"]
    assert "rejected" not in rows["Conditional coverage, one bar"]


def test_losses_beyond_the_forecast_are_marked(evaluation):
    bars, line, marks = report_risk.value_at_risk(evaluation).traces
    found = forecasts(evaluation.last, evaluation.run.config.risk.var_confidence, evaluation.judged)["day"]
    assert len(bars["y"]) == len(line["y"]) == len(evaluation.days)
    assert len(marks["x"]) == found.exceeded[:, 0].sum() > 0
    by_day = dict(zip(bars["x"], zip(bars["y"], line["y"], strict=True), strict=True))
    for day, value in zip(marks["x"], marks["y"], strict=True):
        lost, forecast = by_day[day]
        assert value == lost < forecast < 0.0


def test_forecasts_of_years_are_thinned(tmp_path):
    bars, line, marks = report_risk.value_at_risk(made_up(tmp_path, days=600)).traces
    assert len(bars["x"]) == len(line["x"]) == 200
    assert bars["name"] == "lowest return of 3 days" and line["name"] == "mean value at risk of 3 days"
    assert min(bars["y"]) == min(marks["y"])  # what was lost most is still there
    assert marks["marker"]["size"] < 9 or len(marks["x"]) <= 40


def test_only_rules_that_cut_have_rows(evaluation):
    days = evaluation.judged.day[1:]
    last_week = (days >= days[-1] - 3)[:, None] * np.full(evaluation.last.reward.shape, 0.1)
    trace = report_risk.risk_rules(with_cuts(evaluation, {RULE: last_week})).traces[0]
    assert trace["y"] == [report_text.words(RULE)]
    assert trace["z"][0][-1] > 0.0 and not any(trace["z"][0][:-2])
    dates = [date.fromordinal(date(1970, 1, 1).toordinal() + int(day)) for day in np.unique(days)]
    assert trace["x"] == list(dict.fromkeys(f"{day - timedelta(day.weekday()):%m-%d}" for day in dates))  # Mondays
    assert report_risk.risk_rules(with_cuts(evaluation, {})) is None
