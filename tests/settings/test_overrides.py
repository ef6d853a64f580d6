"""Settings given in Python: overrides over a YAML file over the shipped configuration, as strict as YAML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.settings.layers import load_config, override_config


def test_without_overrides_the_settings_are_those_of_a_command_without_flags(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert override_config(None, {}) == load_config([])[0]


def test_overrides_are_the_flags_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--phase1-timesteps", "10000", "--ppo.gamma", "0.9", "--specialists.forex.learning-rate", "1e-4"]
    given = {"phase1_timesteps": 10_000, "ppo.gamma": 0.9, "specialists.forex.learning_rate": 1e-4}
    assert override_config(None, given) == load_config(flags)[0]
    for preset in ("prop_firm", "off"):
        flags = ["--risk-preset", preset, "--risk.var-limit", "0.3", "--quick-test", "--num-steps", "50"]
        given = {"risk_preset": preset, "risk": {"var_limit": 0.3}, "quick_test": True, "num_steps": 50}
        assert override_config(None, given) == load_config(flags)[0]


def test_a_file_lies_between_the_shipped_settings_and_overrides(tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("seed: 3\nppo: {gamma: 0.9, clip_range: 0.1}\nspecialists: {gold: {symbols: [XAUUSD]}}\n")
    config = override_config(mine, {"ppo.gamma": 0.8})
    assert (config.seed, config.ppo.gamma, config.ppo.clip_range) == (3, 0.8, 0.1)
    assert list(config.specialists) == ["gold"]
    assert override_config(str(mine), {}).ppo.gamma == 0.9


def test_nested_and_dotted_keys_may_be_mixed():
    config = override_config(
        None, {"ppo": {"gamma": 0.9}, "ppo.clip_range": 0.1, "simulation.margin_leverage.forex": 30}
    )
    assert (config.ppo.gamma, config.ppo.clip_range, config.simulation.margin_leverage.forex) == (0.9, 0.1, 30.0)


def test_values_of_numpy_and_paths_are_taken(tmp_path):
    given = {"ppo.gamma": np.float32(0.5), "num_envs": np.int64(250), "run_dir": tmp_path, "parallel": np.bool_(True)}
    config = override_config(None, given)
    assert (config.ppo.gamma, config.num_envs, config.run_dir, config.parallel) == (0.5, 250, str(tmp_path), True)


@pytest.mark.parametrize("quick_test", [False, True])
def test_classes_are_replaced_as_a_whole_and_changed_or_added_one_by_one(quick_test):
    gold = {"symbols": ["XAUUSD"], "learning_rate": 1e-4}
    alone = override_config(None, {"specialists": {"gold": gold}, "quick_test": quick_test})
    assert list(alone.specialists) == ["gold"]
    oil = {"specialists.commodities.symbols": ["XAUUSD"], "specialists.oil.symbols": ["WTIUSD"]}
    added = override_config(None, {**oil, "quick_test": quick_test})
    assert list(added.specialists) == ["forex", "commodities", "equity", "oil"]
    assert added.specialists["oil"].symbols == ("WTIUSD",)
    assert added.specialists["commodities"].domain == "commodities"
    for config in (alone, added):
        assert {s.batch_size for s in config.specialists.values()} == {125 if quick_test else 500}


def test_overrides_win_over_the_quick_test():
    config = override_config(None, {"quick_test": True, "specialists.forex.batch_size": 50, "market.num_bars": 4000})
    assert [s.batch_size for s in config.specialists.values()] == [50, 125, 125]
    assert (config.market.num_bars, config.market.num_paths) == (4000, 4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"ppo.gama": 0.9}, "load_config: unknown key ppo.gama; did you mean ppo.gamma?"),
        ({"gamma": 0.9}, "load_config: unknown key gamma; did you mean ppo.gamma?"),
        ({"phase1_timestep": 1}, "load_config: unknown key phase1_timestep; did you mean phase1_timesteps?"),
        ({"specialists.forex.symbol": []}, "unknown key specialists.forex.symbol; did you mean"),
        ({"specialists": {"gold": {"symbls": []}}}, "load_config: unknown key specialists.gold.symbls"),
        ({"specialists.forx.learning_rate": 0.1}, "specialists.forx.symbols is empty"),
        ({"ppo.gamma": 2.0}, "`ppo.gamma` 2.0: must be above 0 and at most 1"),
        ({"ppo.gamma": "0.9"}, 'load_config: ppo.gamma must be a number, not "0.9"'),
        ({"ppo": 3}, "load_config: ppo must be a group of keys and values, not 3"),
        ({"quick_test": "yes"}, 'load_config: quick_test must be true or false, not "yes"'),
        ({"risk_preset": "prop"}, "`risk_preset` prop: unknown preset"),
        ({"reward.objective": "sharpe"}, "load_config: reward.objective must be one of log_growth"),
        ({"ppo.gamma": 0.9, "ppo": None}, "load_config: ppo must be a group of keys and values, not nothing"),
    ],
)
def test_what_is_wrong_is_named_with_what_would_be_right(overrides, message):
    with pytest.raises(UserError) as error:
        override_config(None, overrides)
    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"mine\.yaml: no such file"):
        override_config(tmp_path / "mine.yaml", {})
