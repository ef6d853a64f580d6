"""Settings that contradict each other or the arithmetic are refused in one clear sentence."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.settings.checks import parse_phases, validate
from mtquant_jax.settings.config import SpecialistConfig, TrainConfig
from mtquant_jax.settings.layers import override_config
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml


def configured(**changes: Any) -> TrainConfig:
    """The shipped configuration with top-level or (as dicts) nested changes."""
    config = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    for key, value in changes.items():
        if isinstance(value, dict) and key != "specialists":
            value = dataclasses.replace(getattr(config, key), **value)
        config = dataclasses.replace(config, **{key: value})
    return config


def test_the_shipped_configuration_is_valid() -> None:
    config = configured()
    assert config.specialists  # an empty configuration would be refused, not checked
    validate(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phase1_timesteps": -5}, "`phase1_timesteps` -5: must be at least 1"),
        ({"phase3_timesteps": 0}, "`phase3_timesteps` 0: must be at least 1"),
        ({"save_freq": 0}, "`save_freq` 0: must be at least 1"),
        ({"seed": -1}, "`seed` -1: must be at least 0 and at most 4294967295"),
        ({"num_envs": 0}, "`num_envs` 0: must be at least 1"),
        ({"num_envs": 2**31}, "`num_envs` 2147483648: must be at most 2147483647"),
        (
            {"num_envs": 2**30, "num_steps": 4},
            "`num_envs` 1073741824 x `num_steps` 4: a rollout has at most 2147483647 steps",
        ),
        ({"phase1_timesteps": 10**15 + 1}, "`phase1_timesteps` 1000000000000001: must be at most 1000000000000000"),
        ({"phases": "4"}, '`phases` 4: unknown phase "4"; choose from 1, 2, 3'),
        ({"phases": "1,,2"}, '`phases` 1,,2: unknown phase ""; choose from 1, 2, 3'),
        ({"phases": " "}, "`phases` is empty; choose from 1, 2, 3"),
        ({"phases": "1,1"}, "`phases` 1,1: phase 1 is given twice"),
        ({"phases": "2,1"}, "`phases` 2,1: phase 1 comes before phase 2; give them in order"),
        ({"ppo": {"gamma": 1.5}}, "`ppo.gamma` 1.5: must be above 0 and at most 1"),
        ({"ppo": {"gamma": float("nan")}}, "`ppo.gamma` nan: is not a number"),
        (
            {"ppo": {"value_weight": 1e39}},
            "`ppo.value_weight` 1e+39: the arithmetic has 32 bits, from 1.2e-38 to 3.4e38",
        ),
        (
            {"simulation": {"initial_capital": 1e-40}},
            "`simulation.initial_capital` 1e-40: the arithmetic has 32 bits, from 1.2e-38 to 3.4e38",
        ),
        ({"ppo": {"clip_range": 0.0}}, "`ppo.clip_range` 0.0: must be above 0 and below 1"),
        ({"ppo": {"max_grad_norm": float("inf")}}, "`ppo.max_grad_norm` inf: must be above 0 and finite"),
        ({"meta_controller": {"learning_rate": 0.0}}, "`meta_controller.learning_rate` 0.0: must be above 0"),
        ({"joint_training": {"learning_rate": -1.0}}, "`joint_training.learning_rate` -1.0: must be above 0"),
        ({"market": {"train_fraction": 1.0}}, "`market.train_fraction` 1.0: must be above 0 and below 1"),
        (
            {"market": {"train_fraction": 0.8, "validation_fraction": 0.2}},
            "`market.train_fraction` 0.8 and `market.validation_fraction` 0.2 leave nothing for the test split; "
            "their sum must be below 1",
        ),
        ({"market": {"start": "2024-13-01"}}, '`market.start` "2024-13-01": must be a date as YYYY-MM-DD'),
        ({"market": {"end": "yesterday"}}, '`market.end` "yesterday": must be a date as YYYY-MM-DD'),
        (
            {"market": {"start": "2024-02-01", "end": "2024-01-01"}},
            "`market.start` 2024-02-01 must be before `market.end` 2024-01-01",
        ),
        (
            {"joint_training": {"individual_weight": 0.0, "coordination_weight": 0.0}},
            "`joint_training.individual_weight` and `joint_training.coordination_weight` are both 0; "
            "with nothing to learn from, phase 3 needs at least one above 0",
        ),
        (
            {"simulation": {"account_currency": ""}},
            "`simulation.account_currency` is empty; give a currency such as USD",
        ),
        (
            {"meta_controller": {"batch_size": 300}},
            "`meta_controller.batch_size` 300: must divide `num_envs` x `num_steps` = 125 x 16 = 2000; "
            "the nearest is 250 or 400",
        ),
        (
            {"joint_training": {"batch_size": 5000}},
            "`joint_training.batch_size` 5000: must divide `num_envs` x `num_steps` = 125 x 16 = 2000; "
            "the nearest is 2000",
        ),
        (
            {"joint_training": {"batch_size": 0}},
            "`joint_training.batch_size` 0: must divide `num_envs` x `num_steps` = 125 x 16 = 2000; the nearest is 1",
        ),
    ],
)
def test_a_wrong_setting_is_named_with_what_would_be_right(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        validate(configured(**changes))
    assert str(error.value) == message


EUR = SpecialistConfig(symbols=("EURUSD",))


@pytest.mark.parametrize(
    ("specialists", "message"),
    [
        ({}, "specialists: there is no asset class; give at least one, such as forex: {symbols: [EURUSD]}"),
        ({"forex": SpecialistConfig()}, "specialists.forex.symbols is empty; give at least one instrument"),
        ({"a": EUR, "b": EUR}, "EURUSD is in two classes, a and b; each symbol belongs to one"),
        ({"a": SpecialistConfig(symbols=("X", "X"))}, "specialists.a.symbols: X is given twice"),
        (
            {"../a": EUR},
            'specialists: "../a" is no name for a class; use letters, digits and _, a letter first',
        ),
        (
            {"a": SpecialistConfig(symbols=("../X",))},
            'specialists.a.symbols: "../X" is no symbol; use one without blanks and slashes',
        ),
        (
            {"a": dataclasses.replace(EUR, learning_rate=0.0)},
            "`specialists.a.learning_rate` 0.0: must be above 0",
        ),
        (
            {"a": dataclasses.replace(EUR, batch_size=64)},
            "`specialists.a.batch_size` 64: must divide `num_envs` x `num_steps` = 125 x 16 = 2000; "
            "the nearest is 50 or 80",
        ),
    ],
)
def test_wrong_classes_are_named(specialists: dict[str, SpecialistConfig], message: str) -> None:
    with pytest.raises(UserError) as error:
        validate(configured(specialists=specialists))
    assert str(error.value) == message


def test_phases_are_read_in_order() -> None:
    assert parse_phases("1,2,3") == (1, 2, 3)
    assert parse_phases(" 1, 3 ") == (1, 3)


def test_a_curriculum_draws_the_scenarios_of_the_synthetic_market_itself() -> None:
    validate(configured(curriculum=True))
    with pytest.raises(UserError, match="`curriculum` draws the scenarios of the synthetic market, and `data_dir`"):
        validate(configured(curriculum=True, data_dir="bars"))
    with pytest.raises(UserError, match=r"`curriculum` draws all scenarios, and `market.scenario` crisis one; give"):
        validate(configured(curriculum=True, market={"scenario": "crisis"}))


@pytest.mark.parametrize(("name", "value"), [("num_paths", 3), ("num_bars", 4000), ("edge", 0.2)])
@pytest.mark.parametrize("quick_test", [False, True])
def test_settings_of_the_synthetic_market_beside_bar_files_are_refused(name, value, quick_test):
    key = f"market.{name}"
    override_config(None, {"quick_test": quick_test, key: value})
    override_config(None, {"quick_test": quick_test, "data_dir": "bars"})  # what nobody gave says nothing
    with pytest.raises(
        UserError, match=f"`{key}` {value:g} shapes the synthetic market, and `data_dir` takes its place"
    ):
        override_config(None, {"quick_test": quick_test, key: value, "data_dir": "bars"})
