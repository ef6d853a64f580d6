"""Decisions of the meta-controller over frozen specialists: equality with bar-by-bar steps, and all endings of both."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.simulation.allocation_env import AllocationEnv
from mtquant_jax.simulation.portfolio_env import decode_allocation
from mtquant_jax.simulation.portfolio_inputs import class_inputs
from mtquant_jax.simulation.reward import REWARDS
from tests.conftest import f32, make_table
from tests.simulation.markets import (
    ALL_IN,
    PORTFOLIO_ENV,
    START,
    STEP,
    join,
    make_portfolio,
    make_universe,
    random_portfolio,
    with_classes,
)

ENV = PORTFOLIO_ENV
KEY = jax.random.key(0)


def act(scale, observation, table):
    """Example of frozen specialists, which depend on features, holdings and their own drawdown."""
    inputs = class_inputs(observation, table)
    return jnp.tanh(scale * (jnp.sum(inputs.instruments, -1) - inputs.market[..., -1:]))


BY_DECISION = AllocationEnv(REWARDS["log_growth"], act, 4)
HOLDING = AllocationEnv(REWARDS["log_growth"], lambda trades, observation, table: trades, 4)
DECIDE = jax.jit(BY_DECISION.step)
FROZEN = jax.jit(lambda state, params: act(params.specialists, ENV.observe(None, state, None, params), params.table))


def play_bar_by_bar(universe, params, state, meta, bars):
    """Discounted reward, end flags and state after at most ``bars`` bars of the portfolio."""
    total, weight, terminated = 0.0, 1.0, False
    for _ in range(bars):
        if terminated or bool(ENV.is_truncated(state, params)):
            break
        trades = FROZEN(state, params)
        _, state, reward, terminated, _ = STEP(KEY, state, join(universe, trades, meta), params)
        total, weight = total + weight * float(reward), weight * float(params.discount)
    return total, bool(terminated), state


def assert_same_state(one, other):
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_allocation_steps_equal_portfolio_steps_with_the_same_actions():
    universe, params = random_portfolio(2, 1, 3, meta_interval=4, discount=0.9, specialists=f32(0.7))
    by_decision = by_bar = START(0, 2, params)
    generator = np.random.default_rng(1)
    for _ in range(3):
        meta = generator.normal(size=5)
        observation, by_decision, reward, terminated, _, info = DECIDE(KEY, by_decision, f32(meta), params)
        total, _, by_bar = play_bar_by_bar(universe, params, by_bar, meta, 4)
        assert float(reward) == pytest.approx(total, abs=2e-6)
        assert abs(total) > 1e-5
        assert not terminated
        assert_same_state(by_decision, by_bar)
        np.testing.assert_allclose(info["step"].budgets, decode_allocation(f32(meta)).budgets(), rtol=1e-6)
        assert bool(observation.decides)
    assert int(by_decision.bar) == 14


def test_an_episode_that_is_cut_inside_an_interval_stops_there():
    universe, params = random_portfolio(2, 1, 3, meta_interval=4, episode_length=6, specialists=f32(0.7))
    meta = f32([0.1, 0.2, 0.3, 0.4, 1.0])
    _, state, *_ = DECIDE(KEY, START(0, 0, params), meta, params)
    total, _, expected = play_bar_by_bar(universe, params, state, meta, 4)
    _, after, reward, terminated, truncated, info = DECIDE(KEY, state, meta, params)
    assert int(expected.time) == 6
    assert float(reward) == pytest.approx(total, abs=1e-6)
    assert truncated
    assert not terminated
    assert int(info["final_observation"].bar) == 6
    assert int(after.time) == 0


def test_ruin_inside_an_interval_stops_there():
    # All in on one instrument that halves in bar 2 and would recover afterwards.
    universe = make_universe(1, 1)
    closes = np.ones((9, 2))
    closes[2:3, 0], closes[3:, 0] = 0.5, 3.0
    opens = np.concatenate([np.ones((1, 2)), closes[:-1]])
    params = make_portfolio(
        universe, with_classes(make_table(opens, closes), 2), ruin_level=0.6, specialists=f32([[1.0], [0.0]])
    )
    meta = f32([ALL_IN, 0.0, 0.0, ALL_IN])
    _, state, reward, terminated, _ = jax.jit(HOLDING.step_env)(KEY, START(0, 0, params), meta, params)
    assert terminated
    assert int(state.bar) == 2
    assert float(state.book.equity) == pytest.approx(0.5, rel=1e-5)
    assert float(reward) == pytest.approx(0.9 * np.log(0.5), rel=1e-4)  # one bar later, discounted once


@pytest.mark.slow
def test_the_reward_of_an_allocation_step_is_differentiable_in_the_action():
    _, params = random_portfolio(2, 3, specialists=f32([[0.5, 0.4, 0.0], [-0.5, 0.3, 0.2]]), spread=1e-3)
    env = HOLDING.with_transition_gradients()

    @jax.jit
    @jax.value_and_grad
    def reward(action, params):
        return env.step_env(KEY, env.initial_state(0, 0, params), action, params)[2]

    action, eps = f32([0.3, -0.2, 0.1, 0.4]), 3e-2
    gradient = np.asarray(reward(action, params)[1])
    for i in range(4):
        ahead, back = (float(reward(action.at[i].add(step), params)[0]) for step in (eps, -eps))
        assert gradient[i] == pytest.approx((ahead - back) / (2 * eps), abs=2e-5, rel=0.03)
    assert np.abs(gradient).max() > 1e-4


# The four ways a step can end, under jit and vmap.

EVERY_BAR = AllocationEnv(REWARDS["log_growth"], lambda trades, observation, table: trades, 1)


@functools.partial(jax.jit, static_argnums=0)
def end(env, paths, times, begun, held, params):
    """Two bars from each path's start: one of the portfolio with ``begun``, one of ``env`` with ``held``."""

    def play(path, time):
        state = ENV.step_env(KEY, ENV.initial_state(path, 0, params), begun, params)[1]
        return env.step(KEY, state.replace(time=time), held, params)

    return jax.vmap(play)(paths, times)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "time", "terminated", "truncated"),
    [(0, 0, False, False), (0, 1, False, True), (1, 0, True, False), (1, 1, True, True)],
    ids=["goes on", "truncated", "terminated", "both"],
)
@pytest.mark.parametrize("by_decision", [False, True], ids=["bar by bar", "by decision"])
def test_the_four_endings(by_decision, path, time, terminated, truncated):
    universe = make_universe(1, 1)
    closes = np.ones((2, 6, 2))
    closes[1, 2:] = 0.5
    opens = np.concatenate([np.ones((2, 1, 2)), closes[:, :-1]], axis=1)
    one = with_classes(make_table(opens[0], closes[0]), 2)
    table = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]) if leaf.ndim > 1 else leaf, one)
    table = table.replace(open=f32(opens), close=f32(closes))
    params = make_portfolio(
        universe, table, episode_length=2, ruin_level=0.6, meta_interval=1, specialists=f32([[0.0], [0.0]])
    )
    meta = f32([ALL_IN, 0.0, 0.0, ALL_IN])
    env = EVERY_BAR if by_decision else ENV
    begun, held = (join(universe, [[trade], [0.0]], meta) for trade in (1.0, 0.0))
    paths, times = jnp.array([path, 0]), jnp.array([time, 0])
    observation, state, _, ended, cut, info = end(env, paths, times, begun, meta if by_decision else held, params)
    assert bool(ended[0]) is terminated
    assert bool(cut[0]) is truncated
    assert not ended[1]
    assert not cut[1]
    assert int(info["final_observation"].bar[0]) == 2
    assert float(info["final_observation"].drawdown[0]) == pytest.approx(0.5 if path else 0.0, abs=1e-6)
    if terminated or truncated:
        assert float(state.book.equity[0]) == 1.0
        assert int(state.time[0]) == 0
        assert not np.any(np.asarray(observation.relative_weights[0]))
        assert not np.any(np.asarray(state.book.account.units[0]))
        np.testing.assert_array_equal(state.track_record.equity[0], [1.0, 1.0])
    else:
        assert int(observation.bar[0]) == 2
        assert float(observation.relative_weights[0, 0, 0]) == pytest.approx(1.0, rel=1e-5)
