"""The anchor: what it wants, that a policy without a tilt is it, and that a flat one changes nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.backtest.baselines import Decision, baselines
from mtquant_jax.backtest.trading import backtest
from mtquant_jax.simulation.anchor import Anchor, anchor_weights, drifted
from mtquant_jax.simulation.reward import REWARDS
from mtquant_jax.simulation.specialist_env import SpecialistEnv
from tests.conftest import f32, make_params, make_table, random_prices

ENV = SpecialistEnv(REWARDS["log_growth"])
VOLATILITIES = np.array([0.001, 0.002, 0.004])
RULES = {"equal_weight": "equal weight", "inverse_volatility": "inverse volatility", "buy_and_hold": "buy and hold"}


class Untilted:
    """A policy that never changes its tilt; hashable, as agents are."""

    def inputs(self, observation, env_params):
        return observation

    def policy(self, params, normalizers, inputs, env_params):
        return Decision(params + jnp.zeros_like(inputs.tilt)[..., None, :])

    def env_action(self, action):
        return action[..., 0, :]


UNTILTED = Untilted()


def market(anchor="flat", size=1.0, num_bars=200, **others):
    opened, close = random_prices(num_bars, 3, seed=5, volatility=0.004)
    table = make_table(opened, close, covariance=np.diag(VOLATILITIES**2), **others)
    return make_params(table).replace(anchor=Anchor.named(anchor, size))


def traded(agent, params, action=0.0, num_steps=150):
    arguments = (f32(action), {}, params, jnp.asarray(3, jnp.int32))
    return backtest(ENV, agent, num_steps, *arguments, detailed=True)


@pytest.mark.parametrize("anchor", RULES)
def test_a_policy_without_a_tilt_is_the_rule_of_its_anchor(anchor):
    (rule,) = [one for one in baselines() if one.name == RULES[anchor]]
    mine, rules = traded(UNTILTED, market(anchor)), traded(rule, market())
    np.testing.assert_allclose(mine.detail.wanted, rules.detail.wanted, atol=2e-5)
    np.testing.assert_allclose(mine.equity, rules.equity, rtol=2e-5)
    assert float(np.max(mine.exposure)) > 0.3


@pytest.mark.parametrize("anchor", [*RULES, "flat"])
def test_rules_do_not_mind_the_anchor_of_the_market_that_they_trade_in(anchor):
    for rule in baselines(0.1):
        here, there = (traded(rule, market(name)) for name in (anchor, "flat"))
        np.testing.assert_allclose(here.equity, there.equity, rtol=2e-5)


def test_the_size_is_that_of_the_largest_position():
    wanted = traded(UNTILTED, market("inverse_volatility", 0.5), num_steps=1).detail.wanted[0, 0]
    np.testing.assert_allclose(wanted, [0.5, 0.25, 0.125], rtol=1e-6)


def test_a_tilt_is_added_and_kept_while_the_anchor_is_rebalanced():
    params = market("equal_weight", 0.5)
    state = ENV.initial_state(0, 3, params)
    _, state, *_ = ENV.step_env(None, state, f32([0.2, 0.0, -0.7]), params)
    seen = ENV.observe(None, state, None, params)
    np.testing.assert_allclose(seen.tilt, [0.2, 0.0, -0.7], atol=6e-3)  # drifts by a bar's return
    np.testing.assert_allclose(seen.relative_weights, [0.7, 0.5, -0.2], atol=6e-3)
    _, state, _, _, info = ENV.step_env(None, state, jnp.zeros(3), params)
    np.testing.assert_allclose(info["step"].wanted, seen.anchor + seen.tilt, rtol=1e-6)


def test_the_whole_position_stays_within_its_bounds():
    wanted = np.asarray(traded(UNTILTED, market("equal_weight", 0.5), action=0.3, num_steps=20).detail.wanted)
    np.testing.assert_allclose(wanted[-1], 1.0)
    assert np.max(wanted) <= 1.0


def test_what_a_breaker_cut_is_bought_again_by_the_anchor():
    anchor, wanted, now = f32([0.5, 0.5, 0.5]), f32([0.5, 1.0, 1e-5]), f32([0.0, 0.9, 0.3])
    held = drifted(anchor, anchor, wanted, wanted, now, jnp.ones(3, bool))
    np.testing.assert_allclose(held, [0.0, 0.45, 0.5], rtol=1e-6)
    anchor = Anchor.named("buy_and_hold", 0.5)
    where = (jnp.eye(3), jnp.ones((1, 3), bool), jnp.zeros(5, jnp.int32), jnp.int32(3))
    found = anchor_weights(anchor, held[None], *where)
    np.testing.assert_allclose(found, [[0.5, 0.45, 0.5]])  # the rest is not brought back


@pytest.mark.parametrize("anchor", ["equal_weight", "inverse_volatility", "buy_and_hold"])
def test_what_was_closed_at_the_first_bar_of_the_day_is_bought_later(anchor):
    tradable = np.ones((200, 3), bool)
    tradable[::24, 1] = False  # the decision at the close of bar 23 falls on it
    tradable[4, 1] = False
    wanted = traded(UNTILTED, market(anchor, 0.5, tradable=tradable)).detail
    held = np.asarray(wanted.weights)[:, 0, 1] * 3.0  # a third of the budget each
    assert held[0] == 0.0 and held[1:].min() > 0.2


def test_bars_that_cannot_be_traded_leave_the_parts_of_a_position_as_they_are():
    tradable = np.ones((200, 3), bool)
    tradable[5:20, 0] = False
    flat = np.ones((200, 3))
    table = make_table(flat, flat, covariance=np.diag(VOLATILITIES**2), tradable=tradable, day=np.zeros(200, int))
    params = make_params(table).replace(anchor=Anchor.named("equal_weight", 0.5))
    state = ENV.initial_state(0, 3, params)
    _, state, *_ = ENV.step_env(None, state, jnp.zeros(3), params)
    for change in (0.02, -0.02) * 7:
        _, state, *_ = ENV.step_env(None, state, f32([change, 0.0, 0.0]), params)
    np.testing.assert_allclose(state.anchor, 0.5, rtol=1e-5)
    np.testing.assert_allclose(state.relative_weights, 0.5, rtol=1e-5)


def test_orders_a_bar_late_do_not_lose_the_anchor():
    prompt, late = (
        backtest(ENV, UNTILTED, 40, f32(0.0), {}, market("buy_and_hold", 0.5), jnp.asarray(3, jnp.int32), late)
        for late in (False, True)
    )
    np.testing.assert_allclose(late.equity, prompt.equity, rtol=1e-6)


def test_padding_gets_nothing():
    mask = jnp.array([[True, True, False]])
    for name in RULES:
        anchor = Anchor.named(name, 1.0)
        covariance = jnp.diag(f32([1e-6, 4e-6, 0.0]))
        found = anchor_weights(anchor, jnp.zeros((1, 3)), covariance, mask, jnp.zeros(5, jnp.int32), jnp.int32(3))
        assert float(found[0, 2]) == 0.0 and float(found[0, 0]) == 1.0


def test_the_gradient_of_a_tilt_passes_through():
    params = market("inverse_volatility", 0.5)
    env = ENV.with_transition_gradients()

    def earned(action):
        state, total = env.initial_state(0, 3, params), 0.0
        for _ in range(3):
            _, state, reward, *_ = env.step_env(None, state, action, params)
            total += reward
        return total

    action = f32([0.05, -0.02, 0.03])
    found = jax.grad(earned)(action)
    step = 2e-3
    for i in range(3):
        change = step * jnp.eye(3)[i]
        slope = (earned(action + change) - earned(action - change)) / (2 * step)
        np.testing.assert_allclose(found[i], slope, rtol=0.02, atol=2e-5)
