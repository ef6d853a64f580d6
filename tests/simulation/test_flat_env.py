"""Action spaces whose samples are finite in every sense, and environments with vectors for other trainers."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from mtquant_jax.agents.networks import _flatten
from mtquant_jax.learning.contract import Objective, Program
from mtquant_jax.learning.ppo.learner import PPO
from mtquant_jax.learning.train import start_training, train_chunk
from mtquant_jax.reference.gymnax_agent import CONTROL, control_agent, start_control
from mtquant_jax.simulation.allocation_env import AllocationEnv
from mtquant_jax.simulation.flat_env import OBSERVATION_BOUND, flat_portfolio, flat_specialist
from mtquant_jax.simulation.portfolio_env import PortfolioEnv
from mtquant_jax.simulation.portfolio_inputs import class_inputs, hierarchy_inputs
from mtquant_jax.simulation.reward import REWARDS
from mtquant_jax.simulation.specialist_env import specialist_inputs
from tests.conftest import make_contracts, make_params, make_table, random_prices
from tests.learning import toys
from tests.simulation.markets import PORTFOLIO_ENV, SPECIALIST_ENV, SPECIALIST_STEP, join, random_portfolio

SHARPE_ENV = PortfolioEnv(REWARDS["differential_sharpe"], REWARDS["mean_variance"])


def act(scale, observation, table):
    """Frozen specialists, which depend on all that they see."""
    return jnp.tanh(scale * jnp.sum(class_inputs(observation, table).instruments, -1))


ALLOCATION_ENV = AllocationEnv(REWARDS["differential_sharpe"], act, 4)


def wild_class(seed: int = 0, **rules):
    """Three instruments whose prices move by 5 % a bar; with its leverage, some accounts are ruined."""
    opens, closes = random_prices(60, 3, seed=seed, volatility=5e-2)
    table = make_table(opens, closes, spread=1e-2, covariance=2.5e-3 * np.eye(3))
    return make_params(table, make_contracts(3, commission=3.5), episode_length=20, **{"leverage": 30.0, **rules})


@functools.cache
def wild_portfolio():
    """Classes of two, one and three instruments under the same conditions."""
    universe, params = random_portfolio(
        2, 1, 3, spread=1e-2, episode_length=20, leverage=30.0, specialists=jnp.ones(())
    )
    return universe, params


ENVIRONMENTS = {
    "specialist": lambda: (SPECIALIST_ENV, wild_class()),
    "portfolio": lambda: (SHARPE_ENV, wild_portfolio()[1]),
    "allocation": lambda: (ALLOCATION_ENV, wild_portfolio()[1]),
    "flat specialist": lambda: (flat_specialist(SPECIALIST_ENV, 3), wild_class()),
    "flat portfolio": lambda: (flat_portfolio(SHARPE_ENV, mask_of(wild_portfolio()[0])), wild_portfolio()[1]),
}


def mask_of(universe) -> tuple[tuple[bool, ...], ...]:
    return tuple(map(tuple, universe.mask.tolist()))


@functools.partial(jax.jit, static_argnums=0)
def play(env, params, keys):
    """40 steps of sampled actions: observations, actions, rewards, terminated and equity, each [keys, 40, ...]."""
    return jax.vmap(functools.partial(play_one, env, params))(keys)


def play_one(env, params, key):
    def step(carry, key):
        observation, state = carry
        sample_key, step_key = jax.random.split(key)
        action = env.action_space(params).sample(sample_key)
        observation, state, reward, terminated, _, info = env.step(step_key, state, action, params)
        return (observation, state), (observation, action, reward, terminated, info["step"].equity)

    first, *keys = jax.random.split(key, 41)
    return jax.lax.scan(step, env.reset(first, params), jnp.stack(keys))[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_sampled_actions_earn_finite_rewards_also_in_ruin(name):
    env, params = ENVIRONMENTS[name]()
    ruined = []

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(st.integers(0, 2**32 - 1))
    def holds(seed):
        keys = jax.random.split(jax.random.key(seed), 64)
        observation, action, reward, terminated, equity = play(env, params, keys)
        for leaf in jax.tree.leaves((observation, action, reward, equity)):
            assert np.isfinite(leaf).all()
        assert np.std(reward) > 0.0
        assert bool(env.action_space(params).contains(action))
        if name.startswith("flat"):
            assert bool(env.observation_space(params).contains(observation))
        ruined.append(np.asarray(terminated).any())

    holds()
    assert any(ruined)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_action_spaces_are_finite_and_symmetric(name):
    env, params = ENVIRONMENTS[name]()
    space = env.action_space(params)
    assert isinstance(space, spaces.Box) and np.isfinite(space.low).all() and np.isfinite(space.high).all()
    np.testing.assert_array_equal(space.low, -np.asarray(space.high))
    samples = jax.vmap(space.sample)(jax.random.split(jax.random.key(0), 500))
    assert samples.shape == (500, *space.shape)
    largest = np.broadcast_to(space.high, space.shape)
    assert (np.abs(samples).max(0) > 0.9 * largest).all()


def assert_close(one, other) -> None:
    """Two programs of the same numbers, whose operations may be fused otherwise."""
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_flat_class_acts_and_sees_as_the_class_itself():
    params, flat = wild_class(leverage=1.0), flat_specialist(SPECIALIST_ENV, 3)
    _, state = flat.reset(jax.random.key(3), params)
    action = jnp.array([0.5, -0.3, 1.2])
    seen, after, reward, terminated, info = jax.jit(flat.step_env)(jax.random.key(0), state, action, params)
    inside, expected, paid, ended, step = SPECIALIST_STEP(jax.random.key(0), state, action, params)
    assert_close(seen, _flatten(specialist_inputs(inside, params.table)))
    assert_close((after, reward, terminated, info), (expected, paid, ended, step))
    assert_close(flat.observe(None, after, action, params), seen)


def test_a_padded_instrument_has_no_action():
    universe, params = wild_portfolio()
    flat = flat_specialist(SPECIALIST_ENV, 2)
    assert flat.action_space(wild_class()).shape == (2,)
    _, state = flat.reset(jax.random.key(3), wild_class())
    _, state, *_ = jax.jit(flat.step_env)(jax.random.key(0), state, jnp.ones(2), wild_class())
    assert float(state.book.account.units[2]) == 0.0 != float(state.book.account.units[1])
    assert flat_portfolio(PORTFOLIO_ENV, mask_of(universe)).action_space(params).shape == (2 + 1 + 3 + 5,)


@pytest.mark.slow
def test_a_flat_portfolio_acts_and_sees_as_the_portfolio_itself():
    universe, params = wild_portfolio()
    flat = flat_portfolio(SHARPE_ENV, mask_of(universe))
    _, state = flat.reset(jax.random.key(3), params)
    trades, meta = np.arange(1.0, 7.0) / 10.0, np.array([0.1, -0.2, 0.3, 0.4, -1.0])
    action = jnp.asarray(np.concatenate([trades, meta]), jnp.float32)
    seen, after, reward, *_ = jax.jit(flat.step_env)(jax.random.key(0), state, action, params)
    placed = np.zeros((3, 3))
    placed[universe.mask] = trades
    inside, expected, paid, *_ = jax.jit(SHARPE_ENV.step_env)(
        jax.random.key(0), state, join(universe, placed, meta), params
    )
    inputs = hierarchy_inputs(inside, params.table, universe.slots)
    parts = (inputs.specialists.instruments, inputs.specialists.market, inputs.portfolio.flat())
    assert_close(seen, np.concatenate([np.ravel(part) for part in parts]))
    assert_close((after, reward), (expected, paid))


def test_observations_are_clipped_to_their_space():
    params = wild_class()
    huge = params.replace(table=params.table.replace(features=params.table.features + 1e6))
    seen, _ = flat_specialist(SPECIALIST_ENV, 3).reset(jax.random.key(0), huge)
    assert float(seen.max()) == OBSERVATION_BOUND


def test_equal_environments_are_one_object_and_have_no_market_of_their_own():
    mask = ((True, True), (True, False))
    assert flat_portfolio(SHARPE_ENV, mask) is flat_portfolio(SHARPE_ENV, mask)
    assert flat_specialist(SPECIALIST_ENV, 2) is not flat_specialist(SPECIALIST_ENV, 3)
    with pytest.raises(ValueError, match="has no default market: pass params"):
        flat_specialist(SPECIALIST_ENV, 2).default_params  # noqa: B018


@pytest.mark.slow
def test_a_trainer_that_knows_gymnax_alone_learns_in_it():
    env, params = flat_specialist(SPECIALIST_ENV, 3), wild_class(leverage=1.0)
    agent = control_agent(env, params)
    objective = Objective(streams=(0,), policy=(1.0,), value=(1.0,))
    program = Program(env, agent, (objective,), 16, 8, PPO(num_minibatches=2, num_epochs=1))
    started, normalizers = start_control(agent, env, params, 0)
    before = jax.tree.map(np.array, started)
    rates = {"learning_rate": {CONTROL: 1e-3}, "update_interval": {CONTROL: 1.0}}
    state = start_training(program, started, normalizers, {}, params, jax.random.key(0))
    state, metrics = train_chunk(program, state, params, toys.hyper(2, **rates), jnp.int32(2))
    assert all(np.isfinite(value).all() for value in jax.tree.leaves(metrics))
    moved = jax.tree.map(lambda a, b: float(np.abs(a - np.asarray(b)).max()), before, state.params)
    assert moved[CONTROL]["policy_head"]["kernel"] > 0.0
