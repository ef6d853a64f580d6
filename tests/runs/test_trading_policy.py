"""Models are read as they were written, act as the training validated them, and refuse what they were not made for."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.backtest.performance import performance
from mtquant_jax.backtest.trading import backtest
from mtquant_jax.errors import UserError
from mtquant_jax.market import features
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.runs import trading_policy
from mtquant_jax.runs.trading_policy import load_policy, read_model
from mtquant_jax.runs.trained_run import open_run, restore_all
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.market_params import evaluation_params, portfolio_params
from mtquant_jax.storage.arrays import to_named_arrays
from mtquant_jax.storage.bundles import read_manifest, write_bundle
from mtquant_jax.training import phases


@pytest.fixture(scope="module")
def market(synthetic_run: Path) -> tuple[TrainConfig, Market]:
    config = open_run(synthetic_run).config
    return config, prepare_market(config)


def same_bits(one: object, other: object) -> None:
    left, right = to_named_arrays(one), to_named_arrays(other)
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_a_hierarchy_is_that_of_the_checkpoint_bit_for_bit(synthetic_run, market):
    loaded = load_policy(synthetic_run)
    handed_on = restore_all(open_run(synthetic_run), market[1]).portfolio
    same_bits(loaded.policy, handed_on)
    assert loaded.manifest.phase == 3 and loaded.manifest.bar_seconds == 3600
    assert loaded.universe == market[1].universe


def test_a_specialist_is_a_part_of_the_hierarchy_bit_for_bit(synthetic_run):
    whole = load_policy(synthetic_run)
    for index, name in enumerate(("forex", "commodities", "equity")):
        alone = load_policy(synthetic_run / "models/specialists" / f"{name}_specialist.zip")
        same_bits(alone.policy, phases.specialist_of(whole.policy, index))


def test_what_is_loaded_trades_as_it_was_validated(synthetic_run, market):
    config, bars = market
    loaded = load_policy(synthetic_run)
    changed = dataclasses.replace(bars, class_scale=2.0 * bars.class_scale, portfolio_scale=1.0)
    fitted = loaded.fitted(changed)  # its own scales, whatever those of the market are
    first, last = fitted.splits.validation
    record = backtest(
        phases.hierarchy_env(config),
        loaded.agent,
        last - first - 1,
        loaded.policy.params,
        loaded.policy.normalizers,
        evaluation_params(portfolio_params(config, fitted)),
        jnp.int32(first),
    )
    results = json.loads((synthetic_run / "logs/e2e_training/phase3_results.json").read_text())
    found = performance(record, fitted.day[first:last]).to_json()
    assert json.loads(json.dumps(found)) == results["portfolio"]["validation"]


def test_it_acts_on_an_observation_as_the_agent_does(synthetic_run, market):
    config, bars = market
    loaded = load_policy(synthetic_run)
    env, env_params = phases.hierarchy_env(config), portfolio_params(config, loaded.fitted(bars))
    state = jax.jit(env.initial_state)(jnp.int32(0), jnp.int32(bars.splits.test[0]), env_params)
    action = jax.jit(loaded.act)(env.observe(None, state, None, env_params), env_params)
    assert action.shape == env.action_space(env_params).shape
    _, _, reward, terminated, _ = jax.jit(env.step_env)(jax.random.key(0), state, action, env_params)
    assert np.isfinite(float(reward)) and not bool(terminated)


@pytest.mark.slow
def test_models_of_a_walk_forward_are_read_too(walked):
    one, two = (load_policy(walked.run_dir / fold / "seed_1") for fold in ("fold_1", "fold_2"))
    assert one.manifest.seed == two.manifest.seed == 1
    assert one.manifest.scales != two.manifest.scales
    assert (walked.run_dir / "fold_1/seed_1/logs/e2e_training/resolved_config.yaml").is_file()


def test_another_market_is_refused(synthetic_run, market):
    _, bars = market
    loaded = load_policy(synthetic_run)
    classes = bars.universe.classes
    other = dataclasses.replace(bars.universe, classes=(classes[1], classes[0], classes[2]))
    with pytest.raises(UserError, match=r"was trained on forex: EURUSD.*; this market has commodities: XAUUSD"):
        loaded.fitted(dataclasses.replace(bars, universe=other))
    with pytest.raises(UserError, match=r"bars of 60 minutes; those of this market are 15 minutes apart"):
        loaded.fitted(dataclasses.replace(bars, timestamps=bars.timestamps // 4))
    dearer = dataclasses.replace(bars.contracts, commission=bars.contracts.commission + 1.0)
    with pytest.raises(UserError, match="under other contract specifications"):
        loaded.fitted(dataclasses.replace(bars, contracts=dearer))
    assert loaded.fitted(dataclasses.replace(bars, contracts=dearer), other_contracts=True).contracts is dearer


def test_a_specialist_fits_a_market_that_has_its_class_among_others(synthetic_run, market):
    alone = load_policy(synthetic_run / "models/specialists/equity_specialist.zip")
    assert alone.fitted(market[1]).universe == market[1].universe


def test_features_of_another_version_are_refused(synthetic_run, monkeypatch):
    monkeypatch.setattr(trading_policy, "FEATURE_NAMES", (*features.FEATURE_NAMES, "moon_phase"))
    with pytest.raises(UserError, match=r"other features than this version computes: moon_phase differ"):
        load_policy(synthetic_run)


def test_models_that_do_not_belong_together_are_refused(synthetic_run, tmp_path):
    shutil.copytree(synthetic_run / "models", tmp_path / "models")
    path = tmp_path / "models/specialists/forex_specialist.zip"
    manifest, policy = read_model(path)
    content = {key: value for key, value in read_manifest(path).items() if key not in ("arrays", "format")}
    tree = {"params": policy.params, "normalizers": policy.normalizers}
    for change, message in (
        ({"seed": 9}, "its seed differs"),
        ({"phase": 1}, "it is of phase 1, not 3"),
        ({"symbols": ["EURUSD"]}, "is not the specialist that"),
        ({"kind": "meta_controller", "classes": {"forex": ["EURUSD"]}}, "normalizers.meta.count is missing"),
        ({"seed": "one"}, "seed"),
    ):
        write_bundle(path, {**content, **change}, tree)
        with pytest.raises(UserError, match=message):
            load_policy(tmp_path)
    write_bundle(path, content, tree)
    assert load_policy(tmp_path).manifest.seed == manifest.seed


def test_a_meta_controller_alone_and_a_run_without_one_are_refused(synthetic_run, tmp_path):
    with pytest.raises(UserError, match="acts through its specialists; give the run directory"):
        load_policy(synthetic_run / "models/meta_controller/meta_controller.zip")
    with pytest.raises(UserError, match="has no meta-controller"):
        load_policy(tmp_path)
    with pytest.raises(UserError, match="no such model file"):
        load_policy(tmp_path / "forex_specialist.zip")
