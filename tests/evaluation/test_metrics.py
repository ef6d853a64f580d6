"""`mtquant-jax evaluate` from a run directory to its files, and what it refuses."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtquant_jax.backtest.baselines import BASELINES
from mtquant_jax.cli import main
from mtquant_jax.evaluation.trials import TRIALS, read_trials
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.synthetic.scenarios import STAGES
from mtquant_jax.simulation.risk import RULES
from mtquant_jax.storage.paths import RunPaths
from tests.forms import check_form, rewrite

CAPITAL = 100_000.0
CLASSES = {
    "forex": ["EURUSD", "GBPUSD", "USDJPY"],
    "commodities": ["XAUUSD", "WTIUSD"],
    "equity": ["SPX500", "NAS100", "US30"],
}
SYMBOLS = [symbol for symbols in CLASSES.values() for symbol in symbols]
PORTFOLIOS = ["equal allocation", "after phase 2", "after phase 3"]
PATHS, BARS = 4, 200
FILES = ["equity.csv", "metrics.json", "positions.csv", "report.html", "trades.csv"]
SOURCE = "synthetic market of seed 0"
FEW = "only 10 trading days: intervals of so few are too narrow, and any Sharpe ratio may be luck; judge on more bars"


def strict_json(path: Path) -> Any:
    def refuse(name: str) -> None:
        raise AssertionError(f"{path} holds {name}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def evaluate(run_dir: Path, *flags: str) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        code = main(["evaluate", "--run-dir", str(run_dir), "--draws", "100", *flags])
    return code, out.getvalue(), err.getvalue()


def results(run_dir: Path, phase: int) -> dict[str, Any]:
    return strict_json(RunPaths(run_dir).phase_results(phase))


@pytest.fixture(scope="session")
def evaluated(synthetic_run, tmp_path_factory) -> SimpleNamespace:
    """A copy of the quick run, evaluated; what it held before, and what was printed."""
    run_dir = tmp_path_factory.mktemp("evaluated") / "mine"
    shutil.copytree(synthetic_run, run_dir)
    before = hashes(run_dir)
    code, out, err = evaluate(run_dir)
    assert code == 0, err
    folder = run_dir / "evaluation"
    return SimpleNamespace(
        run_dir=run_dir,
        folder=folder,
        before=before,
        after=hashes(run_dir),
        out=out,
        err=err,
        metrics=strict_json(folder / "metrics.json"),
        trials=read_trials(run_dir.parent),
    )


@pytest.fixture(scope="session")
def in_sample(evaluated, tmp_path_factory) -> SimpleNamespace:
    """The same on the validation split, elsewhere: as many bars, so that nothing is compiled again."""
    folder = tmp_path_factory.mktemp("in_sample")
    code, out, err = evaluate(evaluated.run_dir, "--split", "validation", "--output", str(folder))
    assert code == 0, err
    return SimpleNamespace(folder=folder, out=out, err=err, metrics=strict_json(folder / "metrics.json"))


@pytest.fixture(scope="session")
def another(evaluated, tmp_path_factory) -> SimpleNamespace:
    """A copy of the run beside it, as if it were another training, evaluated on the same bars."""
    run_dir = evaluated.run_dir.parent / "another"
    shutil.copytree(evaluated.run_dir, run_dir, ignore=shutil.ignore_patterns("evaluation"))
    paths = RunPaths(run_dir)
    checkpoints = paths.checkpoints(3).glob("*/checkpoint.json")
    for path in (paths.phase_results(3), paths.training_summary, *checkpoints):
        rewrite(path, lambda content: content.update(run_id="another"))
    code, _, err = evaluate(run_dir)
    assert code == 0, err
    return SimpleNamespace(run_dir=run_dir, metrics=strict_json(run_dir / "evaluation" / "metrics.json"))


def last(metrics: dict[str, Any]) -> dict[str, Any]:
    return metrics["phases"][metrics["portfolio"]]


def test_it_leaves_its_files_and_changes_no_other(evaluated):
    assert sorted(path.name for path in evaluated.folder.iterdir()) == [*FILES, TRIALS]
    old = {name: value for name, value in evaluated.after.items() if not name.startswith("evaluation/")}
    assert old == evaluated.before and old
    assert "report.html" in evaluated.out and evaluated.metrics["verdict"] in evaluated.out
    assert evaluated.err == "".join(f"warning: {text}\n" for text in evaluated.metrics["warnings"])


def test_the_files_keep_their_form(evaluated):
    check_form("metrics", evaluated.metrics)
    check_form("trial", json.loads((evaluated.folder / TRIALS).read_text(encoding="utf-8").splitlines()[0]))
    tables = ("equity", "trades", "positions")
    check_form("evaluation_tables", {name: dict.fromkeys(rows(evaluated.folder / f"{name}.csv")[0]) for name in tables})


def test_the_metrics_tell_of_everything_traded(evaluated, synthetic_run):
    metrics = evaluated.metrics
    assert list(metrics["phases"]) == PORTFOLIOS and metrics["portfolio"] == "after phase 3"
    assert list(metrics["baselines"]) == list(BASELINES)
    assert list(metrics["specialists"]) == list(metrics["classes"]) == list(CLASSES)
    assert list(metrics["instruments"]) == SYMBOLS
    assert next(iter(metrics["scenarios"])) == "neutral" and set(metrics["scenarios"]) == set(STAGES)
    assert set(metrics["risk_rules"]) == set(RULES)
    assert list(metrics["ahead_of"]) == [*PORTFOLIOS[:-1], *BASELINES]
    assert metrics["bootstrap"]["draws"] == 100
    assert metrics["run"]["run_id"] == results(synthetic_run, 3)["run_id"]
    bars, split = metrics["bars"], metrics["run"]["splits"]["test"]
    assert (bars["split"], bars["source"], bars["paths"], bars["bars"]) == ("test", SOURCE, PATHS, BARS - 1)
    assert (bars["first"], bars["last"], bars["in_sample"]) == (split["first"], split["last"], False)
    few, *never_held = metrics["warnings"]
    assert few == FEW
    unheld = [symbol for symbol, part in metrics["instruments"].items() if part["time_in_market"] == 0.0]
    assert [text.split(" was never held")[0] for text in never_held] == unheld
    assert metrics["verdict"].startswith("Out of sample") and "too few to tell anything" in metrics["verdict"]
    daily = metrics["daily"]
    assert np.shape(daily["returns"]) == (PATHS, len(daily["days"])) and daily["days"] == sorted(daily["days"])


def test_the_equity_ends_at_the_return_told(evaluated):
    table, metrics = rows(evaluated.folder / "equity.csv"), evaluated.metrics
    assert len(table) == BARS
    assert (table[0]["time"], table[-1]["time"]) == (metrics["bars"]["first"], metrics["bars"]["last"])
    books = {**metrics["phases"], **metrics["baselines"]}
    books |= {f"{name} alone": figures for name, figures in metrics["specialists"].items()}
    assert set(table[0]) == {"time", *books}
    for name, figures in books.items():
        assert float(table[0][name]) == CAPITAL
        assert float(table[-1][name]) == pytest.approx(CAPITAL * (1.0 + figures["total_return"]), abs=0.01)
    returns = np.asarray(metrics["daily"]["returns"])
    assert np.prod(1.0 + returns, axis=1).mean() - 1.0 == pytest.approx(last(metrics)["total_return"], abs=1e-9)


def test_the_trades_bring_what_the_account_earned(evaluated):
    table, metrics = rows(evaluated.folder / "trades.csv"), evaluated.metrics
    for name, figures in {"portfolio": last(metrics), **metrics["specialists"]}.items():
        book = name if name == "portfolio" else f"{name} alone"
        profits = [float(row["profit"]) for row in table if row["book"] == book]
        earned = CAPITAL * figures["total_return"]
        assert sum(profits) / PATHS == pytest.approx(earned, abs=0.005 * len(profits) / PATHS + 0.2)
        figures = metrics["trades"][name]
        assert figures["trades"] + figures["open"] == len(profits) > 0
        assert figures["open"] == sum(row["closed"] == "" for row in table if row["book"] == book)
    assert all(row["closed"] == "" or row["opened"] < row["closed"] for row in table)
    assert {row["symbol"] for row in table if row["book"] == "equity alone"} <= set(CLASSES["equity"])


def test_a_trade_in_dollars_brings_what_its_own_prices_say_to_the_cent(evaluated):
    table = [row for row in rows(evaluated.folder / "trades.csv") if row["closed"] and row["symbol"] != "USDJPY"]
    instruments = load_instruments()
    for row in table:
        side = 1.0 if row["direction"] == "long" else -1.0
        units = float(row["lots"]) * instruments[row["symbol"]].contract_size
        moved = side * units * (float(row["close_price"]) - float(row["open_price"]))
        profit = moved - float(row["commission"]) - float(row["impact"]) + float(row["swap"])
        assert float(row["profit"]) == pytest.approx(profit, abs=0.02 + 1e-7 * units * float(row["open_price"]))
    assert len(table) > 50


def test_what_whole_lots_change_is_said_by_instrument(evaluated):
    lots, metrics = evaluated.metrics["lots"], evaluated.metrics
    assert evaluated.metrics["account"] == {"initial_capital": CAPITAL, "currency": "USD"}
    assert set(lots) == set(SYMBOLS)
    for symbol, found in lots.items():
        assert found["net"] == pytest.approx(metrics["instruments"][symbol]["profit_and_loss"]["net"])
        assert 0.0 < found["mean_distance"] < found["smallest_order"]  # half a step, equity near the capital
        assert found["mean_wanted"] == pytest.approx(found["mean_held"], abs=found["mean_distance"])
    unrounded = metrics["without_lot_rounding"]["total_return"]
    assert sum(found["net_unrounded"] for found in lots.values()) == pytest.approx(unrounded, abs=2e-6)


@pytest.mark.slow
def test_the_same_policy_trades_another_account(evaluated, tmp_path):
    run_dir = shutil.copytree(evaluated.run_dir, tmp_path / "mine")
    code, _, err = evaluate(run_dir, "--initial-capital", "1e7")
    assert code == 0, err
    metrics = strict_json(run_dir / "evaluation" / "metrics.json")
    assert metrics["account"]["initial_capital"] == 1e7
    for symbol, found in metrics["lots"].items():
        assert found["mean_distance"] < 0.1 * evaluated.metrics["lots"][symbol]["mean_distance"]
    code, _, err = evaluate(run_dir, "--initial-capital=0")
    assert code != 0 and "initial-capital" in err


def test_positions_are_whole_lots(evaluated):
    table = rows(evaluated.folder / "positions.csv")
    assert len(table) == PATHS * (BARS - 1)
    lots = np.asarray([[float(row[f"{symbol}_lots"]) for symbol in SYMBOLS] for row in table])
    weights = np.asarray([[float(row[f"{symbol}_weight"]) for symbol in SYMBOLS] for row in table])
    assert np.abs(lots).max() > 0.0
    np.testing.assert_allclose(100.0 * lots, np.round(100.0 * lots), atol=1e-3)
    assert (np.sign(lots) == np.sign(weights)).all()
    mean = np.abs(weights).sum(axis=1).mean()
    assert mean == pytest.approx(
        last(evaluated.metrics)["mean_exposure"], rel=0.05
    )  # traded at opens, reported at closes


def test_parts_sum_to_the_whole(evaluated):
    metrics = evaluated.metrics
    total = last(metrics)["total_return"]
    for parts in (metrics["instruments"], metrics["classes"]):
        assert sum(p["profit_and_loss"]["net"] for p in parts.values()) == pytest.approx(total, abs=2e-6)
    for name, symbols in CLASSES.items():
        part = metrics["classes"][name]
        assert part["symbols"] == symbols
        for kind, value in part["profit_and_loss"].items():
            own = sum(metrics["instruments"][symbol]["profit_and_loss"][kind] for symbol in symbols)
            assert value == pytest.approx(own, abs=1e-12)
    assert sum(month["bars"] for month in metrics["months"]) == BARS - 1
    # Within one month, its return is the whole: no compounding of means over paths is needed.
    if len(metrics["months"]) == 1:
        assert metrics["months"][0]["total_return"] == pytest.approx(total, abs=1e-9)


def test_flat_earns_nothing(evaluated):
    flat = evaluated.metrics["baselines"]["flat"]
    assert (flat["sharpe"], flat["total_return"], flat["cost_share"], flat["turnover_per_day"]) == (None, 0, 0, 0)
    ahead = evaluated.metrics["ahead_of"]["flat"]["sharpe"]
    assert ahead["value"] == pytest.approx(last(evaluated.metrics)["sharpe"], rel=1e-9)
    assert all(evaluated.metrics["baselines"][n]["time_in_market"] > 0.9 for n in BASELINES if n != "flat")


def test_costs_cost(evaluated):
    stress, figures = evaluated.metrics["cost_stress"], last(evaluated.metrics)
    assert list(stress) == ["x0", "x1", "x2", "x3"]
    assert stress["x1"] == {name: figures[name] for name in stress["x1"]}
    assert stress["x0"]["cost_share"] == stress["x0"]["swap_share"] == 0.0
    costs = [one["cost_share"] for one in stress.values()]
    assert costs == sorted(costs) and costs[1] > 0.0
    returns = [one["total_return"] for one in stress.values()]
    assert returns == sorted(returns, reverse=True)
    for other in ("one_bar_late", "without_lot_rounding"):
        assert set(evaluated.metrics[other]) == set(stress["x1"])
        assert evaluated.metrics[other]["total_return"] != figures["total_return"]


def test_value_at_risk_and_rules_are_counted(evaluated):
    figures = evaluated.metrics["value_at_risk"]
    assert figures["bar"]["periods"] <= PATHS * (BARS - 1)
    assert figures["bar"]["share"] == pytest.approx(figures["bar"]["exceedances"] / figures["bar"]["periods"])
    assert figures["day"]["periods"] <= PATHS * len(evaluated.metrics["daily"]["days"])
    for name, rule in evaluated.metrics["risk_rules"].items():
        assert rule["cut"] >= 0.0 and 0.0 <= rule["bars"] <= 1.0, name


def test_one_trial_is_not_deflated(evaluated):
    figures = evaluated.metrics["trials"]
    assert (figures["trials"], figures["evaluations"], figures["sharpe_variance"]) == (1, 1, None)
    assert figures["deflated_sharpe"] == pytest.approx(last(evaluated.metrics)["probabilistic_sharpe"], rel=1e-9)
    assert len(evaluated.trials) == 1
    trial = evaluated.trials[0]
    assert (trial.source, trial.split, trial.in_sample) == (SOURCE, "test", False)
    days_per_year = evaluated.metrics["bars"]["trading_days_per_year"]
    assert trial.daily_sharpe * np.sqrt(days_per_year) == pytest.approx(last(evaluated.metrics)["sharpe"])


@pytest.mark.slow
def test_the_validation_of_the_training_is_repeated(evaluated, in_sample):
    """The same simulation on the same bars: training's figures of its checkpoints come out again."""
    phases = {2: ("after phase 2", "meta_controller"), 3: ("after phase 3", "portfolio")}
    for phase, (name, key) in phases.items():
        found, expected = in_sample.metrics["phases"][name], results(evaluated.run_dir, phase)[key]["validation"]
        for figure in ("sharpe", "total_return", "cost_share", "mean_exposure", "turnover_per_day"):
            assert found[figure] == pytest.approx(expected[figure], rel=1e-3, abs=1e-7), (name, figure)
    for name, agent in results(evaluated.run_dir, 1)["specialists"].items():
        found = in_sample.metrics["specialists"][name]
        for figure in ("sharpe", "total_return", "cost_share"):
            assert found[figure] == pytest.approx(agent["validation"][figure], rel=1e-3, abs=1e-7), (name, figure)


@pytest.mark.slow
def test_in_sample_is_told_everywhere(evaluated, in_sample):
    metrics = in_sample.metrics
    assert metrics["bars"]["overlap"] == {"train": 0, "validation": BARS - 1} and metrics["bars"]["in_sample"]
    assert metrics["verdict"].startswith("In sample")
    assert metrics["warnings"][0].startswith(f"IN SAMPLE: {BARS - 1} of {BARS - 1} bars are of the validation split")
    assert f"warning: {metrics['warnings'][0]}\n" in in_sample.err
    assert "IN SAMPLE" in (in_sample.folder / "report.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in in_sample.folder.iterdir()) == FILES
    assert metrics["trials"]["trials"] == 1  # on these bars
    assert strict_json(evaluated.folder / "metrics.json") == evaluated.metrics  # the other output stays


@pytest.mark.slow
def test_the_same_models_give_the_same_figures_and_another_trial(evaluated, another):
    variants = {"cost_stress", "one_bar_late", "without_lot_rounding", "scenarios"}
    for name in variants | {"phases", "specialists", "baselines", "verdict", "daily"}:
        assert another.metrics[name] == evaluated.metrics[name], name
    trials = another.metrics["trials"]
    assert (trials["trials"], trials["evaluations"]) == (2, 1)
    assert trials["sharpe_variance"] == pytest.approx(0.0, abs=1e-18)


@pytest.mark.slow
def test_an_output_that_cannot_be_written_is_no_trial(evaluated, tmp_path):
    before = len(read_trials(evaluated.run_dir.parent))
    (tmp_path / "file").write_text("in the way")
    code, out, err = evaluate(evaluated.run_dir, "--output", str(tmp_path / "file"))
    assert (code, out) == (2, "") and "cannot be written" in err
    assert len(read_trials(evaluated.run_dir.parent)) == before
