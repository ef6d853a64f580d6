"""What the risk layer forecast and what it cut, of records that nobody traded, and the table of trades."""

from __future__ import annotations

import dataclasses
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pyarrow.csv
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.book import slots_of, trades_of
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.evaluation.risk import binding, forecasts
from mtquant_jax.evaluation.tables import to_frame, trades_table
from mtquant_jax.reports.csv_files import check_writable, other_period, write_files
from mtquant_jax.reports.html.risk import risk_rules, value_at_risk
from mtquant_jax.simulation.risk import RULES
from tests.evaluation.made_up import made_up


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory) -> Evaluation:
    return made_up(tmp_path_factory.mktemp("runs"))


def test_forecasts_are_of_what_was_held_before_the_loss(evaluation):
    last, judged = evaluation.last, evaluation.judged
    found = forecasts(last, 0.99, judged)
    z, deviation = NormalDist().inv_cdf(0.99), np.sqrt(np.asarray(last.detail.variance, np.float64))
    np.testing.assert_allclose(found["bar"].value_at_risk, z * deviation, rtol=1e-12)
    equity = np.asarray(last.equity, np.float64)
    np.testing.assert_allclose(found["bar"].loss, 1.0 - equity[1:] / equity[:-1], atol=1e-12)
    # A day is as many bars of the variance of its first.
    firsts = np.flatnonzero(np.diff(judged.day, prepend=judged.day[0])[1:] != 0)
    np.testing.assert_allclose(found["day"].value_at_risk, z * deviation[firsts] * np.sqrt(judged.market.bars_per_day))
    closes = equity[np.append(firsts[1:], len(equity) - 1)]
    np.testing.assert_allclose(found["day"].loss, 1.0 - closes / equity[firsts], atol=1e-12)


def test_a_forecast_of_nothing_cannot_be_exceeded(evaluation):
    detail = evaluation.last.detail
    unheld = dataclasses.replace(detail, variance=np.zeros_like(detail.variance))
    record = dataclasses.replace(evaluation.last, detail=unheld)
    for found in forecasts(record, 0.95, evaluation.judged).values():
        assert (found.loss > 0.0).any() and not found.held.any() and not found.exceeded.any()
    traded = dataclasses.replace(
        evaluation.traded, portfolios=evaluation.traded.portfolios | {evaluation.traded.last: record}
    )
    assert value_at_risk(dataclasses.replace(evaluation, traded=traded)) is None


def test_the_chart_marks_the_days_that_passed_the_forecast(evaluation):
    confidence = evaluation.run.config.risk.var_confidence
    found = forecasts(evaluation.last, confidence, evaluation.judged)["day"]
    chart = value_at_risk(evaluation)
    marks = next(trace for trace in chart.traces if trace.get("mode") == "markers")
    exceeded = found.exceeded[:, 0]
    assert len(marks["x"]) == exceeded.sum() > 0
    np.testing.assert_allclose(marks["y"], -100.0 * found.loss[exceeded, 0], rtol=1e-3)


def test_rules_are_shown_by_week_in_a_short_period(evaluation, tmp_path):
    chart = risk_rules(evaluation)
    (trace,) = chart.traces
    cut = binding(evaluation.last)
    assert set(cut) == set(RULES)
    cutting = [rule for rule, bars in cut.items() if bars.any()]
    assert trace["y"] == [rule.replace("_", " ") for rule in cutting] and cutting
    days = evaluation.judged.day[1:]
    mondays = np.unique(days - (days + 3) % 7)
    assert trace["x"] == [str(np.datetime64(int(day), "D"))[5:] for day in mondays]
    row = 100.0 * cut[cutting[0]][days - (days + 3) % 7 == mondays[1]].mean()
    assert trace["z"][0][1] == pytest.approx(row, abs=1e-3)
    long = risk_rules(made_up(tmp_path, days=400))
    assert all(len(name) == len("2024-01") for name in long.traces[0]["x"])
    none = {f"risk/{rule}": np.zeros_like(bars, np.float32) for rule, bars in cut.items()}
    quiet = dataclasses.replace(evaluation.last, risk_cuts=none)
    portfolios = evaluation.traded.portfolios | {evaluation.traded.last: quiet}
    traded = dataclasses.replace(evaluation.traded, portfolios=portfolios)
    assert risk_rules(dataclasses.replace(evaluation, traded=traded)) is None


def with_prices(evaluation: Evaluation) -> Evaluation:
    """The same on bars whose bid encodes path, bar and slot; purchases cost a quarter more."""
    market, bars = evaluation.judged.market, len(evaluation.judged.timestamps)
    path, bar, slot = np.meshgrid(
        np.arange(2), np.arange(bars), np.arange(len(market.contracts.contract_size)), indexing="ij"
    )
    table = SimpleNamespace(open=10_000.0 * (path + 1) + 10.0 * bar + slot)
    judged = dataclasses.replace(evaluation.judged, market=SimpleNamespace(**vars(market) | {"table": table}))
    books = {"portfolio": (evaluation.last, slots_of(judged))}
    alone = evaluation.traded.specialists.items()
    books |= {name: (record, slots_of(judged, index)) for index, (name, record) in enumerate(alone)}
    trades = {}
    for name, (record, slots) in books.items():
        bought = np.diff(record.detail.units, axis=0, prepend=0.0) > 0.0
        detail = dataclasses.replace(record.detail, fill_offset=0.25 * bought)
        trades[name] = trades_of(dataclasses.replace(record, detail=detail), slots, evaluation.run, judged)
    return dataclasses.replace(evaluation, judged=judged, trades=trades)


def test_trades_say_at_which_prices_they_were_filled(evaluation, tmp_path):
    priced = with_prices(evaluation)
    write_files(priced, tmp_path)
    table = pyarrow.csv.read_csv(tmp_path / "trades.csv").to_pylist()
    frame = to_frame(trades_table(priced))
    assert frame["profit"].tolist() == [row["profit"] for row in table] and str(frame["opened"].dt.tz) == "UTC"
    assert frame["closed"].isna().tolist() == [row["closed"] is None for row in table]
    trades = [trade for found in priced.trades.values() for trade in found]
    slots = slots_of(priced.judged)
    assert len(table) == len(trades) > 10 and {row["direction"] for row in table} == {"long", "short"}
    for row, trade in zip(table, trades, strict=True):
        bought = 0.25 * (trade.direction == "long")
        slot = slots.positions[slots.symbols.index(trade.symbol)]
        bid = 10_000.0 * (trade.path + 1) + 10.0 * (trade.opened + 1) + slot
        assert row["open_price"] == pytest.approx(bid + bought, abs=0.01)  # seven digits
        if trade.closed is None:
            assert row["close_price"] is None and row["bars"] is None
        else:
            moved = row["close_price"] - row["open_price"]
            assert moved == pytest.approx(10.0 * row["bars"] + 0.25 - 2.0 * bought, abs=0.02)
            assert row["bars"] == trade.closed - trade.opened


def test_another_period_in_the_folder_is_named(evaluation, tmp_path):
    bars = evaluation.metrics.bars
    assert other_period(tmp_path, bars) == ""
    write_files(with_prices(evaluation), tmp_path)
    assert other_period(tmp_path, bars) == ""
    later = dataclasses.replace(bars, last="2030-01-01 00:00")
    text = other_period(tmp_path, later)
    assert "test split" in text and bars.last in text
    (tmp_path / "metrics.json").write_text("[]")
    assert other_period(tmp_path, later) == ""


def test_a_folder_is_tried_and_left_empty(tmp_path):
    check_writable(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file cannot be written"):
        check_writable(tmp_path / "file")
