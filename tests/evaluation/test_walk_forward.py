"""`mtquant-jax walk-forward`: what it leaves, what it says before it trains, and what it refuses."""

from __future__ import annotations

import dataclasses
import sys
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtquant_jax.backtest.baselines import BASELINES
from mtquant_jax.cli import main
from mtquant_jax.evaluation.walk_forward import PORTFOLIOS
from mtquant_jax.market.prepare import Market, resplit
from mtquant_jax.market.universe import universe_of
from mtquant_jax.storage.bundles import read_manifest
from mtquant_jax.types import AssetClass, Splits
from tests.conftest import make_contracts, make_table, random_prices, walk_forward
from tests.evaluation.test_walk_forward_result import a_fold, noise
from tests.forms import check_form

EQUAL, META, LAST = PORTFOLIOS
GAP = 250


def moments(fold: dict[str, Any], part: str) -> tuple[datetime, datetime]:
    first, last = (datetime.strptime(fold[part][end], "%Y-%m-%d %H:%M") for end in ("first", "last"))
    return first, last


@pytest.mark.slow
def test_folds_follow_each_other_after_their_training(walked):
    folds = walked.result["folds"]
    assert [fold["fold"] for fold in folds] == [1, 2] and walked.result["seeds"] == [0, 1]
    for fold in folds:
        train, validation, test = (moments(fold, part) for part in ("train", "validation", "test"))
        gap = timedelta(hours=GAP)  # of trading, so at least so many
        assert train[0] < train[1] and train[1] + gap <= validation[0]
        assert validation[0] < validation[1] and validation[1] + gap <= test[0] < test[1]
    one, two = folds
    between = moments(two, "test")[0] - moments(one, "test")[1]
    assert timedelta(0) < between <= timedelta(days=3)  # the next bar, perhaps after a weekend
    assert one["train"]["first"] == two["train"]["first"] and moments(one, "train")[1] < moments(two, "train")[1]


@pytest.mark.slow
def test_the_files_keep_their_form(walked):
    check_form("walk_forward", {**walked.result, "configuration": None})
    check_form("walk_forward_equity", dict.fromkeys(walked.equity[0]))


@pytest.mark.slow
def test_info_shows_its_verdict(walked, capsys):
    assert main(["info", str(walked.run_dir)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.startswith("walk-forward ") and ": finished market " in shown and "folds done 2 of 2" in shown
    assert f"verdict {walked.result['verdict']}" in shown and "--resume" not in shown


@pytest.mark.slow
def test_every_seed_of_every_fold_is_in_the_results(walked):
    for fold in walked.result["folds"]:
        assert list(fold["portfolios"]) == [*PORTFOLIOS, *BASELINES]
        assert len(fold["validation_sharpe"]) == 2
        for name, portfolio in fold["portfolios"].items():
            seeds = portfolio["seeds"]
            assert len(seeds) == (2 if name in PORTFOLIOS else 1)
            sharpes = [one["sharpe"] or 0.0 for one in seeds]
            assert portfolio["sharpe"]["interquartile_mean"] == pytest.approx(np.mean(sharpes))
            assert (portfolio["sharpe"]["lowest"], portfolio["sharpe"]["highest"]) == (min(sharpes), max(sharpes))
        assert fold["portfolios"]["flat"]["total_return"]["highest"] == 0.0
        returns = [seed["total_return"] for seed in fold["portfolios"][EQUAL]["seeds"]]
        assert returns[0] != returns[1]  # seeds are other trainings
    result = walked.result
    assert list(result["overall"]) == [*PORTFOLIOS, *BASELINES]
    assert set(result["ahead_of"]) == {*PORTFOLIOS, *BASELINES} - {LAST}
    assert result["overall"]["flat"]["sharpe"] is None
    assert result["verdict"].startswith("2 folds, out of sample 2018-04-09 to 2018-04-26, 2 seeds: Sharpe ")
    assert result["verdict"].endswith(" 16 trading days are too few to tell anything, 20 are needed.")
    assert result["verdict"] in walked.out and walked.err == ""
    assert "\n2 folds (anchored) x 2 seeds = 4 trainings of all phases; each judged on 165 bars, about 8 " in walked.out


@pytest.mark.slow
def test_the_stitched_equity_goes_on_from_fold_to_fold(walked):
    assert len(walked.equity) == walked.result["trading_days"] + 1
    assert {float(value) for name, value in walked.equity[0].items() if name not in ("day", "fold")} == {100_000.0}
    assert [row["fold"] for row in walked.equity] == sorted(row["fold"] for row in walked.equity)
    days = [row["day"] for row in walked.equity]
    assert days == sorted(days)
    columns = {f"{name} seed {seed}": (name, seed) for name in PORTFOLIOS for seed in (0, 1)}
    columns |= {name: (name, 0) for name in BASELINES}
    assert set(walked.equity[0]) == {"day", "fold", *columns}
    for column, (name, seed) in columns.items():
        whole = 1.0
        for fold in walked.result["folds"]:
            whole *= 1.0 + fold["portfolios"][name]["seeds"][seed]["total_return"]
            last = [row for row in walked.equity if row["fold"] == str(fold["fold"])][-1]
            assert float(last[column]) == pytest.approx(100_000.0 * whole, abs=0.02)
    assert {row["flat"] for row in walked.equity} == {"100000"}


@pytest.mark.slow
def test_models_and_figure_are_left(walked):
    for fold in (1, 2):
        for seed in (0, 1):
            models = walked.run_dir / f"fold_{fold}" / f"seed_{seed}" / "models"
            for name in ("forex", "commodities", "equity"):
                manifest = read_manifest(models / "specialists" / f"{name}_specialist.zip")
                assert (manifest["seed"], manifest["phase"], manifest["name"]) == (seed, 3, name)
            manifest = read_manifest(models / "meta_controller" / "meta_controller.zip")
            assert manifest["seed"] == seed
    scales = [
        read_manifest(walked.run_dir / f"fold_{fold}/seed_0/models/meta_controller/meta_controller.zip")["scales"]
        for fold in (1, 2)
    ]
    assert scales[0] != scales[1]  # each of its own training range
    image = (walked.run_dir / "walk_forward.png").read_bytes()
    assert image.startswith(b"\x89PNG") and len(image) > 10_000
    assert not list(walked.run_dir.rglob("checkpoint*"))


@pytest.mark.parametrize("anchored", [True, False])
def test_nothing_measured_on_a_fold_knows_later_bars(anchored):
    first, last = (0, 300) if anchored else (100, 300)
    splits = Splits(train=(first, last), validation=(350, 400), test=(450, 500))
    universe = universe_of((AssetClass("a", ("EURUSD", "GBPUSD")), AssetClass("b", ("XAUUSD", "WTIUSD"))))

    def measured(seed_after: int, change_inside: bool = False) -> Market:
        opened, closed = random_prices(500, 4)
        other_open, other_close = random_prices(500, 4, seed=seed_after, volatility=5e-2)
        opened[last:], closed[last:] = other_open[last:], other_close[last:]
        spread = np.full((500, 4), 1e-4)
        spread[last:] *= seed_after
        if change_inside:
            closed[last - 1] *= 1.1
        nothing = dict.fromkeys(field.name for field in dataclasses.fields(Market))
        market = Market(
            **nothing
            | {"table": make_table(opened, closed, spread), "contracts": make_contracts(4), "universe": universe}
        )
        return resplit(market, SimpleNamespace(simulation=SimpleNamespace(leverage=1.0)), splits)

    one, two, changed = measured(1), measured(2), measured(1, change_inside=True)
    assert one.splits == two.splits == splits
    for name in ("class_scale", "portfolio_scale", "costs", "volatility"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert (one.class_scale != changed.class_scale).all()  # the last bar of the training counts


@pytest.fixture
def bars(monkeypatch):
    """``bars(days)`` are so many days of 24 bars to be cut into folds; nothing is drawn and nothing compiled."""

    def of(days: int, per_day: int = 24) -> None:
        def prepare(config, cut):
            stamps = 3600 * np.arange(days * per_day)
            return SimpleNamespace(
                day=np.arange(len(stamps)) // per_day,
                description="bars",
                notices=("a notice",),
                timestamps=stamps,
                splits=cut(stamps),
                fingerprint="bars",
            )

        monkeypatch.setattr("mtquant_jax.market.prepare.prepare_market", prepare)

    return of


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--num-seeds 0", "--num-seeds 0: at least 1"),
        ("--curriculum", "--curriculum: a walk-forward has no curriculum; its bars are a history"),
        ("--phases=1", "--phases 1: a walk-forward trains all of 1,2,3 in every fold"),
        ("--draws 10", "--draws 10: at least 100 are required for meaningful ends of an interval"),
        ("--folds 1", "--folds 1: must be at least 2; for one fold use train and evaluate"),
        ("--first-train-fraction 0.95", "--first-train-fraction 0.95 must lie between 0.1 and 0.9"),
        ("--folds 40", "2400 bars leave 17 for each validation and test of 40 folds, but 50 are needed"),
        ("--market.gap-bars 10", "--market.gap-bars 10: must be above"),
        ("--simulation.episode-length 2000", "the training range of a fold has "),
        ("--ppo.gamma 3", "--ppo.gamma 3"),
    ],
)
def test_settings_without_sense_are_refused(bars, tmp_path, flags, message):
    bars(100)
    code, out, err = walk_forward(tmp_path / "run", *flags.split())
    assert (code, out) == (2, "") and err.startswith(f"error: {message}") and err.count("\n") == 1, err
    assert not (tmp_path / "run").exists()


def test_test_ranges_that_are_too_short_are_refused(bars, tmp_path):
    bars(300)  # (7200 - 3600 - 500) / 42 = 73 bars of each test range, rewarded at 72: most are of 4 days, some of 3
    code, out, err = walk_forward(tmp_path / "run", "--folds", "41")
    assert (code, out) == (2, "") and not (tmp_path / "run").exists()
    assert err == (
        "error: --folds 41: the test range of fold 17 has 3 trading days, but 5 are needed; use fewer folds, more bars "
        "or a smaller --first-train-fraction\n"
    )


@pytest.mark.parametrize(("folds", "bars_judged", "days", "short"), [(4, 619, 27, False), (6, 441, 19, True)])
def test_the_work_and_what_it_is_judged_on_are_shown_before(
    bars, tmp_path, monkeypatch, folds, bars_judged, days, short
):
    bars(300)

    def trained(configs, market, splits, run, compiler, folder, report):
        assert [config.seed for config in configs] == [0, 1, 2]
        print("training begins")
        return a_fold(int(folder.name[-1]), {LAST: noise(0, 3)})

    monkeypatch.setattr("mtquant_jax.evaluation.walk_forward.run_fold", trained)
    code, out, err = walk_forward(tmp_path / "run", "--folds", str(folds), "--num-seeds", "3")
    assert (code, err) == (0, "")
    before = out[: out.index("training begins")].splitlines()[1:]
    plan = f"{folds} folds (anchored) x 3 seeds = {3 * folds} trainings of all phases; each judged on "
    assert before[:3] == ["bars", f"{plan}{bars_judged} bars, about {days} trading days", "warning: a notice"]
    assert len(before) == 3 + short
    assert not short or before[3].startswith("warning: the test range of a fold has only 19 trading days; under 20, ")


def test_a_wrong_flag_and_a_missing_package(bars, tmp_path, monkeypatch):
    assert walk_forward(tmp_path / "run", "--scheme", "sideways")[0] == 2
    monkeypatch.setitem(sys.modules, "arch", None)
    code, _, err = walk_forward(tmp_path / "run")
    assert code == 2 and err.startswith("error: intervals need the package arch, which is not installed")
    assert not (tmp_path / "run").exists()
