"""Metrics of made-up records: parts sum to the whole, and trials are counted."""

from __future__ import annotations

import dataclasses
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from mtquant_jax.backtest.trading import BacktestRecord
from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.evaluation import Evaluation, evaluate
from mtquant_jax.evaluation.metrics import EvaluationMetrics, TrialMetrics
from mtquant_jax.evaluation.trials import TRIALS, damaged_trials, latest_trials, read_trials, record_trial
from mtquant_jax.evaluation.warnings import warnings_of
from mtquant_jax.statistics.intervals import Interval
from mtquant_jax.statistics.significance import SharpeSample, deflated_sharpe_ratio
from mtquant_jax.storage.files import json_text
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.storage.records import to_json
from tests.evaluation.made_up import made_up


def first_path(record: BacktestRecord) -> BacktestRecord:
    """The record of the first of its paths alone."""
    values = {}
    for name, value in vars(record).items():
        if name == "detail" and value is not None:
            flows = dataclasses.replace(value.flows, **{k: v[:, :1] for k, v in vars(value.flows).items()})
            alone = {k: getattr(value, k)[:, :1] for k in ("units", "weights", "wanted", "variance")}
            values[name] = dataclasses.replace(value, flows=flows, allocation=None, **alone)
        elif name == "risk_cuts":
            values[name] = {rule: cuts[:, :1] for rule, cuts in value.items()}
        elif name in ("terminated",):
            values[name] = value[:1]
        elif name in ("real", "allocation", "wanted"):
            values[name] = value
        else:
            values[name] = value[:, :1]
    return dataclasses.replace(record, **values)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory) -> Evaluation:
    return made_up(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def single(evaluation) -> Evaluation:
    """The first path of the same."""
    traded = evaluation.traded
    cut = {
        name: {key: first_path(record) for key, record in getattr(traded, name).items()}
        for name in ("specialists", "portfolios", "baselines", "costs")
    }
    variants = {name: first_path(getattr(traded, name)) for name in ("late", "unrounded")}
    traded = dataclasses.replace(traded, **variants, **cut)
    return evaluate(evaluation.run, evaluation.judged, traded, draws=100)


def test_months_compound_to_the_whole(single):
    months = single.metrics.months
    assert len(months) == 4 and [m.month for m in months] == sorted(m.month for m in months)
    total = np.prod([1.0 + month.record.total_return for month in months]) - 1.0
    whole = single.metrics.phases["after phase 2"].record
    assert total == pytest.approx(whole.total_return, rel=1e-9)
    assert total == pytest.approx(single.last.equity[-1, 0] - 1.0, rel=1e-9)
    assert sum(month.bars for month in months) == single.judged.num_steps
    assert sum(month.record.days for month in months) == whole.days == len(single.metrics.daily.days)


def test_parts_sum_to_the_whole(evaluation):
    metrics = evaluation.metrics
    total = metrics.phases["after phase 2"].record.total_return
    classes = {name: found.part for name, found in metrics.classes.items()}
    for parts in (metrics.instruments, classes):
        assert sum(part.profit_and_loss.net for part in parts.values()) == pytest.approx(total, abs=1e-12)
    for name, part in classes.items():
        own = [metrics.instruments[symbol] for symbol in metrics.classes[name].symbols]
        for kind, value in vars(part.profit_and_loss).items():
            assert value == pytest.approx(sum(getattr(one.profit_and_loss, kind) for one in own), abs=1e-12)
        assert part.trades.trades == sum(one.trades.trades for one in own)
        assert part.mean_exposure == pytest.approx(sum(one.mean_exposure for one in own))


def test_trades_bring_what_the_account_earned(evaluation):
    capital = evaluation.run.config.simulation.initial_capital
    books = {"portfolio": evaluation.last, **evaluation.traded.specialists}
    for name, record in books.items():
        flows = record.detail.flows
        earned = flows.price_profit - flows.spread - flows.commission + flows.swap
        for path in range(2):
            profit = sum(trade.profit for trade in evaluation.trades[name] if trade.path == path)
            assert profit == pytest.approx(capital * earned[:, path].sum(), abs=1e-6)
    final = capital * (evaluation.last.equity[-1].mean() - 1.0)
    assert sum(trade.profit for trade in evaluation.trades["portfolio"]) / 2 == pytest.approx(final, abs=1e-6)


def test_metrics_are_read_back_as_they_were_written(evaluation):
    counted = dataclasses.replace(evaluation.metrics, trials=TrialMetrics(1, 2, None, 0.4, "trials.jsonl"))
    for metrics in (evaluation.metrics, counted):
        content = json.loads(json_text(metrics.to_json()))
        assert ("trials" in content) == (metrics is counted)
        assert EvaluationMetrics.from_json(content, "metrics.json") == metrics
    content["months"][1]["turnover"] = "much"
    with pytest.raises(UserError, match=r"metrics.json: months\[1\].turnover is 'much', which is not a number"):
        EvaluationMetrics.from_json(content, "metrics.json")


def test_what_a_book_has_twice_is_of_its_daily_closes(evaluation):
    book = evaluation.metrics.last
    content = to_json(book)
    for name in ("sharpe", "sharpe_standard_error", "total_return", "max_drawdown", "days"):
        assert getattr(book.performance, name) == getattr(book.record, name) == content[name]
    closes = np.asarray(evaluation.last.equity, np.float64)[::4]
    fallen = (1.0 - closes / np.maximum.accumulate(closes, axis=0)).max(axis=0).mean()
    assert book.record.max_drawdown == pytest.approx(fallen) and book.performance.worst_drawdown > fallen


def test_frames_have_books_and_months_by_row(evaluation):
    metrics = evaluation.metrics
    books = metrics.to_frame()
    assert list(books.index) == list(evaluation.returns)
    assert books.loc["after phase 2", "sharpe"] == metrics.last.record.sharpe
    assert books.loc["buy and hold", "intervals/sharpe/low"] == metrics.baselines["buy and hold"].intervals.sharpe.low
    months = metrics.months_frame()
    assert list(months.index) == [month.month for month in metrics.months]
    assert months["turnover"].tolist() == [month.turnover for month in metrics.months]


def test_a_flat_baseline_has_no_sharpe_ratio(evaluation):
    flat = evaluation.metrics.baselines["flat"]
    assert flat.record.sharpe is None and flat.record.total_return == 0.0
    assert flat.intervals.sharpe == Interval(value=None, low=None, high=None)
    ahead = evaluation.metrics.ahead_of["flat"].sharpe
    assert ahead.value == pytest.approx(evaluation.metrics.phases["after phase 2"].record.sharpe)


def test_warnings_say_what_a_reader_must_know(evaluation, tmp_path):
    found = evaluation.metrics.warnings
    assert any("phase 2 has not been trained" in text for text in found)  # the made-up run has only phase 1
    assert any("no stress scenarios" in text for text in found)
    assert not any("IN SAMPLE" in text or "ruined" in text for text in found)
    inside = made_up(tmp_path, days=10, in_sample=True).metrics
    assert inside.warnings[0].startswith("IN SAMPLE: 10 of 40 bars are of the train split")
    assert inside.bars.in_sample and inside.verdict.startswith("In sample")
    assert inside.warnings[1].startswith("only 10 trading days: ")


def test_an_instrument_that_lot_rounding_keeps_out_is_a_warning(evaluation):
    last = evaluation.last
    weights = np.array(last.detail.weights)
    weights[:, :, 0] = 0.0
    rounded = dataclasses.replace(last, detail=dataclasses.replace(last.detail, weights=weights))
    portfolios = evaluation.traded.portfolios | {evaluation.traded.last: rounded}
    traded = dataclasses.replace(evaluation.traded, portfolios=portfolios, unrounded=last)
    market, bars = evaluation.judged.market, len(evaluation.judged.timestamps)
    slots = len(market.contracts.contract_size)
    table = SimpleNamespace(open=market.table.open, close=np.full((2, bars, slots), 80.0))
    table.conversion_close = np.full((2, bars, slots), 0.5)
    contracts = SimpleNamespace(contract_size=np.full(slots, 1000.0), min_lot=np.full(slots, 0.1))
    judged = dataclasses.replace(
        evaluation.judged, market=SimpleNamespace(**vars(market) | {"table": table, "contracts": contracts})
    )
    found = [text for text in warnings_of(evaluation.run, judged, traded, 90) if "never held" in text]
    # 0.1 lots of 1000 at 80, half an account unit each, of 100,000.
    wanted = 100.0 * np.abs(last.detail.weights[:, :, 0]).max()
    symbol = next(iter(evaluation.metrics.instruments))
    assert found == [
        f"{symbol} was never held: no position reached half the smallest order, 0.1 lots or 4.0 % of the capital; "
        f"without lot rounding up to {wanted:.1f} % would have been held"
    ]
    nobody = dataclasses.replace(traded, unrounded=rounded)  # not wanted either
    assert not any("never held" in text for text in warnings_of(evaluation.run, judged, nobody, 90))


def test_a_ruined_account_is_a_warning(evaluation):
    ruined = dataclasses.replace(evaluation.last, terminated=np.asarray([True, False]))
    portfolios = evaluation.traded.portfolios | {evaluation.traded.last: ruined}
    traded = dataclasses.replace(evaluation.traded, portfolios=portfolios)
    metrics = evaluate(evaluation.run, evaluation.judged, traded, draws=10).metrics
    assert "the account was ruined or stopped out on 1 of 2 paths" in metrics.warnings


def as_run(evaluation: Evaluation, folder, run_id: str) -> Evaluation:
    run = dataclasses.replace(evaluation.run, paths=RunPaths(folder), results={1: {"run_id": run_id}})
    return dataclasses.replace(evaluation, run=run)


def with_sharpe(evaluation: Evaluation, factor: float) -> Evaluation:
    """The same, as if its Sharpe ratio were another."""
    metrics, book = evaluation.metrics, evaluation.metrics.phases["after phase 2"]
    record = dataclasses.replace(book.record, sharpe=factor * book.record.sharpe)
    phases = {**metrics.phases, "after phase 2": dataclasses.replace(book, record=record)}
    return dataclasses.replace(evaluation, metrics=dataclasses.replace(metrics, phases=phases))


def on_bars(evaluation: Evaluation, **changes: str) -> Evaluation:
    """The same, as if it were of other bars."""
    bars = dataclasses.replace(evaluation.metrics.bars, **changes)
    return dataclasses.replace(evaluation, metrics=dataclasses.replace(evaluation.metrics, bars=bars))


def test_trials_are_trainings_and_not_evaluations(evaluation, tmp_path):
    one = as_run(evaluation, tmp_path / "a", "first")
    record = evaluation.metrics.last.record
    found = record_trial(one)
    assert (found.trials, found.evaluations, found.sharpe_variance) == (1, 1, None)
    assert found.deflated_sharpe == pytest.approx(record.probabilistic_sharpe, rel=1e-12)
    again = record_trial(one)
    assert (again.trials, again.evaluations) == (1, 2)
    assert again.deflated_sharpe == found.deflated_sharpe
    other = record_trial(with_sharpe(as_run(evaluation, tmp_path / "b", "second"), -1.0))
    assert (other.trials, other.evaluations) == (2, 1)
    daily = record.sharpe / np.sqrt(evaluation.days_per_year)
    assert other.sharpe_variance == pytest.approx(np.var([daily, -daily], ddof=1))
    retrained = record_trial(as_run(evaluation, tmp_path / "a", "third"))
    assert (retrained.trials, retrained.evaluations) == (3, 1)
    assert retrained.deflated_sharpe < found.deflated_sharpe
    assert len(read_trials(tmp_path)) == 4


def test_settings_that_a_sweep_chose_count_as_many_trials(evaluation, tmp_path):
    def chosen_from(trials: int, folder: str) -> Evaluation:
        run = dataclasses.replace(evaluation.run, config=dataclasses.replace(evaluation.run.config, trials=trials))
        return as_run(dataclasses.replace(evaluation, run=run), tmp_path / folder, f"id of {folder}")

    alone, swept = record_trial(chosen_from(1, "x/a")), record_trial(chosen_from(64, "y/a"))
    assert (alone.trials, swept.trials) == (1, 64) and swept.sharpe_variance is None
    assert swept.deflated_sharpe < alone.deflated_sharpe
    record = evaluation.metrics.last.record
    sample = SharpeSample(
        record.sharpe / np.sqrt(evaluation.days_per_year), record.days, record.skewness, record.kurtosis
    )
    luck = deflated_sharpe_ratio(sample, 1.0 / (record.days - 1), 64)
    assert swept.deflated_sharpe == pytest.approx(luck, rel=1e-12)
    assert record_trial(chosen_from(1, "y/b")).trials == 65


def test_trials_on_other_bars_are_others(evaluation, tmp_path):
    def trials(folder: str, **changes: str) -> int:
        return record_trial(as_run(on_bars(evaluation, **changes), tmp_path / folder, f"id of {folder}")).trials

    assert trials("a") == 1
    assert trials("b", market="bars, 3600 s: EURUSD") == 1
    assert trials("c", first="2030-01-01 00:00", last="2030-02-01 00:00") == 1
    assert trials("d", source=str(tmp_path / "copied")) == 2  # the same bars in another folder
    assert trials("e", last="2030-01-01 00:00") == 4  # meets those of a, c and d
    assert len(latest_trials(tmp_path, evaluation.metrics.bars)) == 3


def test_the_same_period_counts_before_another(evaluation, tmp_path):
    record_trial(as_run(evaluation, tmp_path / "a", "first"))
    longer = on_bars(evaluation, last="2030-01-01 00:00")
    record_trial(with_sharpe(as_run(longer, tmp_path / "a", "first"), 2.0))
    own = evaluation.metrics.last.record.sharpe / np.sqrt(evaluation.days_per_year)
    (latest,) = latest_trials(tmp_path, evaluation.metrics.bars)
    assert latest.daily_sharpe == pytest.approx(own)
    (latest,) = latest_trials(tmp_path, longer.metrics.bars)
    assert latest.daily_sharpe == pytest.approx(2.0 * own)


def test_a_copied_directory_is_no_trial(evaluation, tmp_path):
    record_trial(as_run(evaluation, tmp_path / "a", "first"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert len(read_trials(tmp_path)) == 1
    found = record_trial(as_run(evaluation, tmp_path / "b", "first"))
    assert (found.trials, found.evaluations) == (1, 2)


def test_a_directory_under_two_names_is_one_trial(evaluation, tmp_path):
    (tmp_path / "b").mkdir()
    record_trial(as_run(evaluation, tmp_path / "a", "first"))
    found = record_trial(as_run(evaluation, tmp_path / "b" / ".." / "a", "first"))
    assert (found.trials, found.evaluations) == (1, 2)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(tmp_path / "a")
    found = record_trial(as_run(evaluation, tmp_path / "elsewhere" / "link", "first"))
    assert (found.trials, found.evaluations) == (1, 3)


def test_lines_that_are_no_trial_are_left_out(evaluation, tmp_path):
    path = tmp_path / "a" / "evaluation" / TRIALS
    path.parent.mkdir(parents=True)
    path.write_text('half a li\n[1]\n{"run_dir": "x"}\n')
    found = record_trial(as_run(evaluation, tmp_path / "a", "first"))
    assert (found.trials, found.file) == (1, str(path))
    assert len(path.read_text().splitlines()) == 4
    line = json.loads(path.read_text().splitlines()[-1])
    assert line["run_id"] == "first" and line["days"] == 90 and line["split"] == "test"


def test_damaged_lines_are_counted_and_harm_no_others(evaluation, tmp_path):
    record_trial(as_run(evaluation, tmp_path / "a", "first"))
    record_trial(as_run(evaluation, tmp_path / "b", "second"))
    assert damaged_trials(tmp_path) == []
    one, other = (tmp_path / name / "evaluation" / TRIALS for name in "ab")
    one.write_text(one.read_text().replace('"run_id": "first"', '"run_id": "fifth"'))
    other.write_bytes(other.read_bytes()[:-9] + b"\xff")  # cut, without an end of line
    assert record_trial(as_run(evaluation, tmp_path / "b", "third")).trials == 1
    assert [trial.run_id for trial in read_trials(tmp_path)] == ["third"]
    message = "1 line of it is damaged or of an earlier version; the number of trials may be too low, and the deflated"
    assert damaged_trials(tmp_path) == [f"{path}: {message} Sharpe ratio too high" for path in (one, other)]
    other.unlink()
    other.mkdir()
    assert damaged_trials(tmp_path)[1].startswith(f"{other}: 1 line of it is damaged")


def test_a_flat_account_is_a_trial_without_probability(tmp_path):
    found = record_trial(made_up(tmp_path, days=10, scale=0.0))
    assert (found.trials, found.deflated_sharpe) == (1, None)
    assert read_trials(tmp_path)[0].daily_sharpe is None


def test_trials_that_cannot_be_written_are_refused(evaluation, tmp_path):
    (tmp_path / "a" / "evaluation" / TRIALS).mkdir(parents=True)
    with pytest.raises(UserError, match=r"trials\.jsonl: trials cannot be recorded"):
        record_trial(as_run(evaluation, tmp_path / "a", "first"))
