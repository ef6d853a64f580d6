"""Sweeps: a trial is the training of its settings, none is lost or counted twice, and a study keeps to its purpose."""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from mtquant_jax.backtest.performance import score
from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.runs.sweep.batch import Markets
from mtquant_jax.runs.sweep.objectives import OBJECTIVES
from mtquant_jax.runs.sweep.study import Study, default_url
from mtquant_jax.runs.sweep.sweep import SweepPlan, run_sweep
from mtquant_jax.runs.sweep.trials import Trial, TrialResult
from mtquant_jax.settings.dotted import with_values
from mtquant_jax.settings.layers import load_config
from mtquant_jax.settings.search_space import SearchSpace
from mtquant_jax.statistics.significance import interquartile_mean
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.observer import Stopped
from mtquant_jax.training.trainer import train_phases

GRID = {"learning_rate": [1e-3, 1e-2], "simulation.cost_multiplier": [1.0, 2.0]}


@pytest.fixture(scope="module")
def quick():
    """Settings of trials, and their market."""
    config = load_config(["--quick-test", "--phases", "1"])[0]
    return config, prepare_market(config)


def plan_of(config, mapping, **changes):
    usual = {
        "name": "test",
        "config": config,
        "space": SearchSpace.of(mapping, config, "test"),
        "method": "grid",
        "num_trials": None,
        "seeds": (0, 1, 2),
        "classes": ("commodities",),
        "objective": "sharpe",
    }
    return SweepPlan(**(usual | changes))


def study_of(plan, market, url=""):
    return Study(url, plan.name, plan.space, plan.method, 0, plan.purpose(market))


def swept(plan, market, study=None, **hooks):
    study = study or study_of(plan, market)
    return run_sweep(plan, study, Markets.with_one(market, plan.config), Compiler(), **hooks)


@pytest.fixture(scope="module")
def grid(quick):
    """A whole grid."""
    config, market = quick
    return swept(plan_of(config, GRID), market)


def test_a_trial_is_the_training_of_its_settings(quick, grid):
    config, market = quick
    for finished in (grid.finished[0], grid.finished[3]):
        values = {name: finished.trial.values[name] for name in GRID}
        settings = with_values(config, grid.space.settings(values), "test")
        outcomes = [train_phases(settings, market, seeds=(seed,))[0].outcomes[1]["commodities"] for seed in (0, 2)]
        scores = [score(outcome.validation) for outcome in outcomes]
        assert scores == [finished.result.scores[0], finished.result.scores[2]]
        curve = [(timesteps, scores[0]) for timesteps, scores in finished.result.curve]
        assert curve == [(timesteps, score(found)) for timesteps, found in outcomes[0].history]


def test_every_combination_is_tried_once_and_the_best_is_the_best_mean(grid):
    assert [tuple(one.trial.values.values()) for one in grid.finished] == [
        (rate, cost) for rate in (1e-3, 1e-2) for cost in (1.0, 2.0)
    ]
    values = [interquartile_mean(np.array(one.result.scores)) for one in grid.finished]
    assert grid.best is not None and grid.best.result.value == max(values)
    frame = grid.to_frame()
    assert frame["value"].tolist() == values and set(frame["state"]) == {"complete"}
    assert frame["timesteps"].tolist() == [3 * 1000] * 4
    assert len(grid.curves()) == 4 * 3 * 2  # trials, seeds, looks


def test_the_best_of_several_is_deflated(grid):
    single = dataclasses.replace(grid, finished=(grid.best,))
    assert grid.deflated_sharpe is not None and single.deflated_sharpe is not None
    assert grid.deflated_sharpe < single.deflated_sharpe
    assert grid.probability_of_overfitting is not None and single.probability_of_overfitting is None


@pytest.mark.slow
def test_a_trial_that_diverges_leaves_the_others_alone(quick, grid):
    config, market = quick
    plan = plan_of(config, {"learning_rate": [1e-3, 1e30, 1e-2]}, seeds=(0, 1, 2))
    result = swept(plan, market)
    states = [one.result.state for one in result.finished]
    assert states == ["complete", "failed", "complete"]
    assert "diverged" in result.finished[1].result.reason and "commodities" in result.finished[1].result.reason
    assert result.finished[0].result.scores == grid.finished[0].result.scores
    assert result.finished[2].result.scores == grid.finished[2].result.scores


def test_settings_that_do_not_go_together_fail_alone(quick):
    config, market = quick
    plan = plan_of(
        config, {"learning_rate": [1e-3], "batch_size": {"choices": [50, 7], "when": {"learning_rate": 1e-3}}}
    )
    result = swept(dataclasses.replace(plan, seeds=(0,)), market)
    assert [one.result.state for one in result.finished] == ["complete", "failed"]
    assert "batch_size" in result.finished[1].result.reason


def test_halving_gives_up_the_worse_ones_and_completes_the_rest_as_without(quick, grid):
    config, market = quick
    plan = plan_of(config, GRID, halving=True)
    result = swept(plan, market)
    states = {one.result.state for one in result.finished}
    assert states == {"complete", "pruned"}
    for one, whole in zip(result.finished, grid.finished, strict=True):
        length = len(one.result.curve)
        assert one.result.curve == whole.result.curve[:length]
        if one.result.state == "complete":
            assert one.result.scores == whole.result.scores
        else:
            assert one.result.value is None and one.result.timesteps < whole.result.timesteps


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_sweep_that_is_stopped_goes_on_with_what_is_left(quick, grid, tmp_path, storage):
    config, market = quick
    url = default_url(tmp_path) if storage == "sqlite" else f"journal:{tmp_path / 'journal.log'}"
    plan, told = plan_of(config, GRID, batch=1), []
    with pytest.raises(Stopped):
        study = study_of(plan, market, url)
        swept(plan, market, study, stops=lambda: len(told) == 2, told=told.append)
    study = study_of(plan, market, url)
    assert len(study.finished()) == 2 and study.running() == 0
    result = swept(plan, market, study)
    assert len(result.finished) == 4
    by_values = {tuple(one.trial.values.items()): one.result.scores for one in result.finished}
    assert by_values == {tuple(one.trial.values.items()): one.result.scores for one in grid.finished}


def test_trials_of_a_process_that_died_are_tried_again_once(quick, tmp_path):
    config, market = quick
    plan, url = plan_of(config, GRID), default_url(tmp_path)
    study_of(plan, market, url)
    code = (
        "import os, sys; from mtquant_jax.runs.sweep.study import Study; import pickle;"
        "from tests.runs.test_sweep import plan_of, GRID; from mtquant_jax.settings.layers import load_config;"
        "config = load_config(['--quick-test', '--phases', '1'])[0]; plan = plan_of(config, GRID);"
        "import json; purpose = json.loads(sys.argv[2]);"
        "study = Study(sys.argv[1], plan.name, plan.space, plan.method, 0, purpose); study.ask(3); os._exit(9)"
    )
    import json

    ended = subprocess.run(
        [sys.executable, "-c", code, url, json.dumps(plan.purpose(market))], check=False, env=os.environ
    )
    assert ended.returncode == 9
    study = study_of(plan, market, url)
    assert study.running() == 3 and study.recover() == 3 and study.recover() == 0
    asked = study.ask(10)
    assert len(asked) == 4 and len({tuple(trial.values.items()) for trial in asked}) == 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seeds": (0,)}, "is of another seeds"),
        ({"objective": "calmar"}, "is of another objective"),
        ({"space": {"ppo.gamma": [0.9]}}, "is of another settings|is of another space"),
        ({"market": True}, "is of another market"),
        ({"settings": True}, "is of another settings"),
    ],
)
def test_a_study_keeps_to_its_purpose(quick, tmp_path, changes, says):
    config, market = quick
    url = default_url(tmp_path)
    study_of(plan_of(config, GRID), market, url)
    if changes.pop("market", False):
        market = dataclasses.replace(market, fingerprint="another")
    if changes.pop("settings", False):
        config = dataclasses.replace(config, phase1_timesteps=7)
    if "space" in changes:
        changes["space"] = SearchSpace.of(changes["space"], config, "test")
    with pytest.raises(UserError, match=says):
        study_of(plan_of(config, GRID, **changes), market, url)


def test_a_storage_that_cannot_be_opened_is_named(quick, tmp_path):
    config, market = quick
    for url in ("nosuch://x", f"sqlite:///{tmp_path}/missing/folder/study.db"):
        with pytest.raises(UserError, match="cannot be opened"):
            study_of(plan_of(config, GRID), market, url)


def test_a_search_draws_other_values_in_each_process_and_keeps_to_its_ranges(quick):
    config, market = quick
    mapping = {
        "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
        "ppo.num_epochs": {"low": 1, "high": 9},
        "ppo.clip_range": {"low": 0.1, "high": 0.3, "when": {"ppo.num_epochs": [1, 2, 3]}},
    }
    plan = plan_of(config, mapping, method="random", num_trials=40)
    study = study_of(plan, market)
    trials = study.ask(40)
    for trial in trials:
        assert 1e-4 <= trial.values["learning_rate"] <= 1e-2
        assert ("ppo.clip_range" in trial.values) == (trial.values["ppo.num_epochs"] <= 3)
    assert len({trial.values["learning_rate"] for trial in trials}) == 40


@pytest.mark.parametrize("name", OBJECTIVES)
def test_objectives_rank_more_growth_higher_and_a_flat_policy_at_zero(grid, quick, name):
    config, market = quick
    outcome = train_phases(config, market)[0].outcomes[1]["forex"].validation
    objective = OBJECTIVES[name]
    flat = dataclasses.replace(outcome, sharpe=None, total_return=0.0, max_drawdown=0.0)
    assert objective(flat) == 0.0
    better = dataclasses.replace(outcome, sharpe=9.0, total_return=0.9, max_drawdown=0.01)
    worse = dataclasses.replace(outcome, sharpe=-9.0, total_return=-0.5, max_drawdown=0.5)
    assert objective(better) > 0.0 > objective(worse)
    assert objective(dataclasses.replace(worse, sharpe=-math.inf, total_return=-1.0)) == -math.inf


def test_a_result_is_read_as_it_was_written():
    result = TrialResult(state="pruned", scores=(1.0, 2.0), curve=((500, (0.5, 0.25)),), timesteps=7, reason="x")
    assert TrialResult.from_json(result.to_json(), "here") == result
    with pytest.raises(UserError, match="state is 'done'"):
        TrialResult.from_json(result.to_json() | {"state": "done"}, "here")
    assert Trial(0, {}) != Trial(0, {})


def test_a_second_sweep_of_the_same_shapes_compiles_nothing(quick, grid):
    config, market = quick
    compiler = Compiler()
    before = dict(compiler._compiled)  # shared with the sweep of the grid
    plan = plan_of(config, {"ppo.gamma": [0.9, 0.95], "reward.risk_aversion": [1.0, 2.0]}, seeds=(5,))
    study = study_of(plan, market)
    result = run_sweep(plan, study, Markets.with_one(market, config), compiler)
    assert len(result.complete) == 4 and result.compile_seconds == 0.0
    assert compiler._compiled == before and len(before) > 2
