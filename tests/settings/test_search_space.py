"""Search spaces: what they may hold, what they mean, and what is refused."""

from __future__ import annotations

import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.settings.layers import load_config
from mtquant_jax.settings.search_space import SearchSpace, parse_grid


@pytest.fixture(scope="module")
def config():
    return load_config(["--quick-test"])[0]


def space(config, **mapping):
    return SearchSpace.of(mapping["of"], config, "x.yaml")


def test_one_name_is_the_setting_of_all_classes_and_a_dotted_one_of_a_single_class(config):
    found = space(config, of={"learning_rate": [1e-4], "specialists.forex.batch_size": [50], "clip_range": [0.1]})
    keys = {dimension.name: dimension.keys for dimension in found.dimensions}
    assert keys["learning_rate"] == tuple(f"specialists.{name}.learning_rate" for name in config.specialists)
    assert keys["specialists.forex.batch_size"] == ("specialists.forex.batch_size",)
    assert keys["clip_range"] == ("ppo.clip_range",)
    assert found.settings({"learning_rate": 0.5}) == dict.fromkeys(keys["learning_rate"], 0.5)


def test_numbers_are_read_as_in_a_file_of_settings():
    assert parse_grid(["learning_rate=1e-4,3e-4", "ppo.num_epochs=2,6", "reward.objective=log_growth"]) == {
        "learning_rate": [1e-4, 3e-4],
        "ppo.num_epochs": [2, 6],
        "reward.objective": ["log_growth"],
    }


def test_a_grid_leaves_out_what_does_not_count(config):
    found = space(
        config,
        of={
            "reward.objective": ["log_growth", "mean_variance"],
            "reward.risk_aversion": {"choices": [1.0, 3.0], "when": {"reward.objective": "mean_variance"}},
        },
    )
    assert found.grid() == [
        {"reward.objective": "log_growth"},
        {"reward.objective": "mean_variance", "reward.risk_aversion": 1.0},
        {"reward.objective": "mean_variance", "reward.risk_aversion": 3.0},
    ]


def test_a_range_is_whole_where_the_setting_is(config):
    epochs, gamma = space(
        config, of={"ppo.num_epochs": {"low": 2, "high": 8}, "ppo.gamma": {"low": 0.9, "high": 1.0, "log": True}}
    ).dimensions
    assert epochs.integer and not epochs.traced
    assert gamma.log and gamma.traced and gamma.in_words() == "0.9 to 1, by factors"


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({}, "the search space is empty"),
        ({"ppo.gama": [0.9]}, r"unknown key ppo\.gama; did you mean ppo\.gamma\?"),
        ({"interval": {"low": 9, "high": 2}}, "the range of interval is empty: low is 9 and high 2"),
        ({"ppo.gamma": []}, r"ppo\.gamma has no values"),
        ({"ppo.gamma": [0.9, 0.9]}, r"ppo\.gamma has the value 0\.9 twice"),
        ({"ppo.gamma": [0.9, 1.5]}, r"`ppo\.gamma`? .*1\.5"),
        ({"ppo.gamma": {"low": 0.9, "high": 1.5}}, r"ppo\.gamma.* 1\.5"),
        ({"ppo.gamma": {"low": 0.9}}, "needs low and high, which are numbers; high is None"),
        ({"ppo.gamma": {"low": 0.9, "high": 0.95, "step": 0.1}}, "unknown key step; valid ones are low, high"),
        ({"ppo.num_epochs": {"low": 1.5, "high": 3}}, "is a whole number; low is 1.5"),
        ({"ppo.weight_decay": {"low": 0, "high": 1, "log": True}}, "needs a low above 0"),
        ({"ppo.hidden_size": {"choices": [32], "traced": True}}, "is not traced: every value of it compiles"),
        ({"reward.objective": {"low": 0, "high": 1}}, "give a list of values: log_growth, mean_variance"),
        ({"seed": [1, 2]}, "seed cannot be swept; a sweep trains several seeds of every setting"),
        ({"run_dir": ["a"]}, "run_dir cannot be swept"),
        ({"symbols": [["EURUSD"]]}, "symbols is a list, which cannot be swept"),
        ({"sharpe_memory": [3]}, "is a setting of portfolio_reward, reward; write portfolio_reward.sharpe_memory"),
        ({"specialists.bonds.learning_rate": [1.0]}, r"specialists\.bonds"),
        ({"learning_rate": [1e-3], "specialists.forex.learning_rate": [1e-3]}, "both set specialists"),
        ({"ppo.gamma": {"choices": [0.9], "when": {"ppo.num_epochs": 2}}}, "which is no earlier setting of the space"),
        (
            {"ppo.num_epochs": [2], "ppo.gamma": {"choices": [0.9], "when": {"ppo.num_epochs": 3}}},
            r"3 is no value of ppo\.num_epochs",
        ),
    ],
)
def test_what_is_refused(config, mapping, says):
    with pytest.raises(UserError, match=says):
        space(config, of=mapping)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (["ppo.gamma"], "write a setting and its values"),
        (["ppo.gamma=0.9,"], "write a setting and its values"),
        (["ppo.gamma=0.9", "ppo.gamma=0.8"], "given twice"),
    ],
)
def test_flags_that_are_no_grid(entries, says):
    with pytest.raises(UserError, match=says):
        parse_grid(entries)


def test_a_range_is_no_grid(config):
    with pytest.raises(UserError, match="a grid needs a list of values, not a range"):
        space(config, of={"ppo.gamma": {"low": 0.9, "high": 0.95}}).grid()
