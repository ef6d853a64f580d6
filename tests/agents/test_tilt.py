"""The size of a tilt: half of it trades half as much in every step, and none of it is the anchor."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mtquant_jax as mt
from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.hierarchy import META, SPECIALIST, SPECIALISTS
from mtquant_jax.agents.tilt import tilts, untilted, with_tilt
from mtquant_jax.backtest.trading import backtest
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.simulation.anchor import Anchor
from mtquant_jax.training import phases

CONFIG = mt.load_config(quick_test=True, simulation={"impact": 0.0, "cost_multiplier": 0.0}, risk_preset="off")


@pytest.fixture(scope="module")
def market():
    return prepare_market(dataclasses.replace(CONFIG, market=dataclasses.replace(CONFIG.market, num_bars=2000)))


def louder(policy: Policy, name: str, seed: int = 0) -> Policy:
    """A policy that has learnt something: larger heads, and statistics of what it has seen."""
    generator = np.random.default_rng(seed)
    params = dict(policy.params)
    head = jax.tree.map(lambda leaf: leaf + 0.3 * generator.normal(size=leaf.shape), params[name]["policy_head"])
    quiet = jnp.full_like(params[name]["log_trade_scale"], np.log(0.004))  # far from the limits of a position
    params[name] = {**params[name], "policy_head": jax.tree.map(jnp.float32, head), "log_trade_scale": quiet}
    normalizer = policy.normalizers[name]
    seen = jax.tree.map(lambda leaf: jnp.float32(0.2 + 0.1 * generator.random(leaf.shape)), normalizer.variance)
    centre = jax.tree.map(lambda leaf: jnp.float32(0.1 * generator.normal(size=leaf.shape)), normalizer.mean)
    return Policy(params, {**policy.normalizers, name: dataclasses.replace(normalizer, mean=centre, variance=seen)})


def wanted(market, policy: Policy, anchor: str = "flat", num_steps: int = 60) -> np.ndarray:
    plan = phases.plan_specialist(CONFIG, market, 0)
    env_params = plan.env_params.replace(anchor=Anchor.named(anchor, 0.5))
    first = jnp.asarray(300, jnp.int32)
    arguments = (policy.params, policy.normalizers, env_params, first)
    record = backtest(plan.program.env, plan.program.agent, num_steps, *arguments, detailed=True)
    return np.asarray(record.detail.wanted)


@pytest.mark.parametrize("size", [0.5, 0.2])
def test_a_part_of_a_tilt_is_that_part_in_every_step(market, size):
    policy = louder(phases.start_specialist(CONFIG, market, 0), SPECIALIST)
    # The drawdown that a policy sees is not scaled: without costs and on few bars it hardly matters.
    whole, part = wanted(market, policy), wanted(market, with_tilt(policy, size))
    assert 0.02 < np.abs(whole).max() < 0.99
    np.testing.assert_allclose(part, size * whole, atol=0.02 * np.abs(whole).max())


def test_a_part_of_a_tilt_is_beside_the_whole_anchor(market):
    policy = louder(phases.start_specialist(CONFIG, market, 0), SPECIALIST)
    none, part = (wanted(market, with_tilt(policy, size), "buy_and_hold", 5) for size in (0.0, 0.5))
    alone = wanted(market, with_tilt(policy, 0.5), "flat", 5)
    np.testing.assert_allclose(part - none, alone, atol=0.02 * np.abs(alone).max())
    np.testing.assert_allclose(none, 0.5, atol=0.02)


def test_nothing_of_a_tilt_is_the_anchor_and_the_whole_is_the_policy(market):
    policy = louder(phases.start_specialist(CONFIG, market, 0), SPECIALIST)
    assert not np.any(wanted(market, with_tilt(policy, 0.0)))
    whole = with_tilt(policy, 1.0)
    assert all(a is b for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(policy.params), strict=True))
    assert tilts(policy) and not tilts(with_tilt(policy, 0.0))


def test_each_class_of_a_hierarchy_has_a_size_of_its_own(market):
    alone = [louder(phases.start_specialist(CONFIG, market, i), SPECIALIST, i) for i in range(3)]
    stacked = with_tilt(phases.stacked_specialists(alone), np.array([0.0, 0.5, 1.0]))
    np.testing.assert_array_equal(tilts(stacked), [False, True, True])
    whole = phases.hierarchy(stacked, phases.start_meta(CONFIG, market))
    for index, size in enumerate((0.0, 0.5, 1.0)):
        one, other = phases.specialist_of(whole, index), with_tilt(alone[index], size)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_anchor_of_a_hierarchy_always_has_the_same_allocation(market):
    alone = [louder(phases.start_specialist(CONFIG, market, i), SPECIALIST, i) for i in range(3)]
    whole = phases.hierarchy(phases.stacked_specialists(alone), phases.start_meta(CONFIG, market))
    neutral = phases.neutral_capital(CONFIG, market)
    found = untilted(whole, neutral)
    assert not np.any(tilts(found))
    for name in ("class_head", "policy_head"):
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(found.params[META][name]))
    np.testing.assert_array_equal(found.params[META]["class_bias"], neutral)
    assert found.params[SPECIALISTS]["trunk"] is whole.params[SPECIALISTS]["trunk"]


@pytest.mark.parametrize("anchor", ["equal_weight", "buy_and_hold"])
def test_equal_weights_give_capital_by_the_number_of_instruments(market, anchor):
    config = dataclasses.replace(CONFIG, anchor=anchor)
    capital = np.exp(np.asarray(phases.neutral_capital(config, market)))
    counts = [len(asset_class.symbols) for asset_class in market.universe.classes]
    np.testing.assert_allclose(capital / capital.sum(), np.array(counts) / sum(counts), rtol=1e-6)
