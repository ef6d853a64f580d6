"""Environments of a market by name, for gymnax and gymnasium."""

from __future__ import annotations

import sys

import jax
import numpy as np
import pytest

import mtquant_jax as mt
from mtquant_jax.simulation.specialist_env import SpecialistEnv

CONFIG = mt.load_config(quick_test=True)


@pytest.fixture(scope="module")
def market():
    return mt.prepare(CONFIG)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "actions"), [("forex", 3), ("commodities", 2), ("portfolio", 8 + 5)])
def test_every_name_makes_an_environment_that_gymnax_steps(market, name, actions):
    env, params = mt.make_env(market, name)
    assert mt.make_env(market, name)[0] is env
    observation, state = env.reset(jax.random.key(0), params)
    action = env.action_space(params).sample(jax.random.key(1))
    assert action.shape == (actions,)
    observation, state, reward, _, _, info = env.step(jax.random.key(2), state, action, params)
    assert observation.shape == env.observation_space(params).shape
    assert np.isfinite(observation).all() and np.isfinite(reward) and float(info["step"].equity) != 1.0


def test_episodes_lie_in_their_split_under_the_settings_of_the_market(market):
    for split, bars in (("train", market.splits.train), ("test", market.splits.test)):
        env, params = mt.make_env(market, "forex", split=split)
        assert (int(params.span.first), int(params.span.last)) == bars
    other = mt.load_config(quick_test=True, **{"simulation.leverage": 3.0, "reward.objective": "log_growth"})
    changed, params = mt.make_env(market, "forex", config=other)
    assert float(params.rules.leverage) == 3.0 and changed is not env
    assert isinstance(changed.env, SpecialistEnv)


def test_a_name_that_is_none_lists_those_that_are(market):
    with pytest.raises(mt.UserError, match="no environment fx; there are forex, commodities, equity and portfolio"):
        mt.make_env(market, "fx")


def test_gymnasium_steps_the_same_market(market):
    env = mt.make_gymnasium(market, "portfolio")
    observation, _ = env.reset(seed=0)
    assert observation.shape == mt.make_env(market, "portfolio")[0].observation_space(env._params).shape
    assert np.isfinite(env.step(env.action_space.sample())[1])


def test_without_gymnasium_one_sentence_says_what_is_missing(market, monkeypatch):
    monkeypatch.delitem(sys.modules, "mtquant_jax.simulation.gymnasium_env", raising=False)
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(mt.UserError, match="make_gymnasium needs the package gymnasium; pip install gymnasium"):
        mt.make_gymnasium(market, "forex")
