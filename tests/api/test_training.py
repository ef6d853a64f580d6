"""Training from Python: in memory, several seeds, phase by phase, and in a run directory."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import mtquant_jax as mt
from mtquant_jax.api import training
from mtquant_jax.runs.trained_run import open_run, restore_all
from mtquant_jax.storage.arrays import to_named_arrays
from mtquant_jax.training.trainer import HierarchyPolicies, TrainedHierarchy
from tests.market.test_frames import rates

COLUMNS = ("open", "high", "low", "close", "spread", "volume", "tradable")
QUICK = mt.load_config(quick_test=True)
GOLD = mt.load_config(
    quick_test=True, specialists={"gold": {"symbols": ["XAUUSD"]}}, risk_preset="off", phase1_timesteps=250
)


@pytest.fixture(scope="module")
def market():
    return mt.prepare(QUICK)


@pytest.fixture(scope="module")
def progress() -> list:
    return []


@pytest.fixture(scope="module")
def trained(market, progress) -> TrainedHierarchy:
    return mt.train(QUICK, market, on_chunk=progress.append)


def assert_same_bits(one, other) -> None:
    left, right = to_named_arrays(one), to_named_arrays(other)
    assert left.keys() == right.keys()
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def handed_on(run_dir, market):
    """The policy of phase 3 in a run directory."""
    return restore_all(open_run(run_dir), market).portfolio


def test_a_training_in_memory_hands_on_what_the_command_does(trained, market, synthetic_run):
    assert_same_bits(trained.policies.portfolio, handed_on(synthetic_run, market))
    assert list(trained.outcomes) == [1, 2, 3]


def test_every_chunk_of_every_member_is_reported(trained, progress):
    names = [found.member.name for found in progress]
    assert list(dict.fromkeys(names)) == ["forex", "commodities", "equity", "meta_controller", "portfolio"]
    assert [found.timesteps for found in progress if found.member.name == "forex"] == [250, 500, 750, 1000]
    assert all(np.isfinite(found.metrics["reward"]).all() for found in progress)
    assert sum(found.validation is not None for found in progress) == 3 * 2 + 1 + 1


def test_a_later_phase_starts_from_what_an_earlier_one_hands_on(trained, market):
    specialists = HierarchyPolicies(trained.policies.specialists)
    for start in (specialists, dataclasses.replace(trained, policies=specialists)):
        again = mt.train(QUICK, market, phases=[2], start=start)
        assert_same_bits(again.policies.meta, trained.policies.meta)
    with pytest.raises(ValueError, match="phase 2 needs the specialists of phase 1"):
        mt.train(QUICK, market, phases=[2])


def test_seeds_give_a_hierarchy_each(market, monkeypatch):
    asked = {}

    def train_phases(config, market, *, seeds, **others):
        asked.update(seeds=seeds, phases=config.phases)
        return tuple(f"hierarchy of seed {seed}" for seed in seeds or (config.seed,))

    monkeypatch.setattr(training, "train_phases", train_phases)
    assert mt.train(QUICK, market, seeds=[0, 5], phases=[1]) == ("hierarchy of seed 0", "hierarchy of seed 5")
    assert asked == {"seeds": [0, 5], "phases": "1"}
    assert mt.train(QUICK, market, seeds=[5]) == ("hierarchy of seed 5",)
    assert mt.train(QUICK, market) == "hierarchy of seed 0" and asked == {"seeds": (), "phases": "1,2,3"}


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, {"phases": [2, 1]}, "`phases` 2,1: phase 1 comes before phase 2"),
        ({}, {"run_dir": "run", "seeds": [1]}, "A run directory holds one training"),
        ({}, {"run_dir": "run", "start": HierarchyPolicies()}, "A run directory holds one training"),
        ({"seed": 3}, {"run_dir": "run"}, "The market was prepared with another `seed` than the training"),
        ({"simulation.leverage": 2.0}, {"run_dir": "run"}, "another `simulation` than the training"),
        ({"specialists.forex.symbols": ["EURUSD", "USDJPY"]}, {}, "The market has the classes forex: EURUSD, GBPUSD"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_written(
    market, changes, arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mt.UserError, match=message):
        mt.train(mt.load_config(quick_test=True, **changes), market, **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_of_a_synthetic_market_is_that_of_the_command(market, synthetic_run, tmp_path, capsys, caplog):
    seen = []
    run = mt.train(QUICK, market, run_dir=tmp_path / "run", on_chunk=seen.append)
    assert_same_bits(handed_on(run.run_dir, market), handed_on(synthetic_run, market))
    assert run.config == dataclasses.replace(QUICK, run_dir=str(tmp_path / "run"))
    assert capsys.readouterr().out == "" and len(seen) == 12 + 2 + 2
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [f"phase {found['phase']}: {found['sentence']}" for found in run.summary["diagnosis"]] != []
    assert (run.run_dir / "metrics/training/phase1_metrics.csv").is_file()
    assert not (run.run_dir / "bars").exists()


@pytest.fixture(scope="module")
def gold_bars():
    # As many as tests/commands/test_symbols.py trains on, whose programs are then the same.
    return mt.load_bars({"XAUUSD": rates(3833, level=2000.0, step=0.01)}, broker_timezone="Etc/GMT-2")


@pytest.fixture(scope="module")
def gold_run(gold_bars, tmp_path_factory):
    return mt.train(GOLD, mt.prepare(GOLD, gold_bars), phases=[1], run_dir=tmp_path_factory.mktemp("gold"))


@pytest.mark.slow
def test_a_run_keeps_the_bars_that_it_was_given(gold_bars, gold_run):
    bars, run = gold_bars, gold_run
    kept = mt.load_bars(run.run_dir / "bars")
    np.testing.assert_array_equal(kept.timestamps, bars.timestamps)
    np.testing.assert_array_equal(kept.close, bars.close)
    assert run.config.data_dir == str(run.run_dir / "bars")
    assert run.summary["market"]["description"].startswith(f"bars of {run.run_dir / 'bars'}: 1 instruments, 3,833 bars")


@pytest.mark.slow
def test_a_run_of_given_bars_is_evaluated_on_them_from_disk_and_from_memory(gold_bars, gold_run):
    bars, run = gold_bars, gold_run
    tested = run.evaluate(draws=100).metrics
    assert tested.bars.source == str(run.run_dir / "bars") and not tested.bars.in_sample
    in_memory = run.evaluate(bars=bars, draws=100).metrics
    assert in_memory.bars.source == "data given in Python"
    assert in_memory.phases == tested.phases and in_memory.bars.market == tested.bars.market
    assert (in_memory.trials.trials, in_memory.trials.evaluations) == (1, 2)
    with pytest.raises(mt.UserError, match="Give either data_dir or bars"):
        run.evaluate(bars=bars, data_dir="x")
    with pytest.raises(mt.UserError, match=r"bars are 240 minutes apart, but .* was trained on bars of 60 minutes"):
        run.evaluate(bars=mt.load_bars(run.run_dir / "bars", timeframe="H4"), split="all")


def test_bars_of_several_paths_cannot_be_kept(gold_bars, tmp_path):
    twice = {name: np.repeat(getattr(gold_bars, name), 2, axis=0) for name in COLUMNS}
    market = mt.prepare(GOLD, dataclasses.replace(gold_bars, **twice))
    with pytest.raises(mt.UserError, match="a run on disk needs bars of one path, not 2"):
        mt.train(GOLD, market, phases=[1], run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
