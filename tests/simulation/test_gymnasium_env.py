"""The gymnasium interface: what its own checker says, and that it is the same market."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mtquant_jax.simulation.flat_env import flat_portfolio, flat_specialist
from mtquant_jax.simulation.gymnasium_env import GymnasiumEnv
from tests.simulation.test_flat_env import SHARPE_ENV, SPECIALIST_ENV, mask_of, wild_class, wild_portfolio


def specialist(**rules) -> GymnasiumEnv:
    return GymnasiumEnv(flat_specialist(SPECIALIST_ENV, 3), wild_class(**rules))


def portfolio() -> GymnasiumEnv:
    universe, params = wild_portfolio()
    return GymnasiumEnv(flat_portfolio(SHARPE_ENV, mask_of(universe)), params)


@pytest.mark.parametrize("make", [specialist, portfolio])
def test_gymnasium_s_checker_finds_nothing(make):
    check_env(make(), skip_render_check=True)  # its warnings are errors here; there is nothing to render


def episode(env: GymnasiumEnv, seed: int | None, actions: np.ndarray) -> list:
    seen = [env.reset(seed=seed)[0]]
    for action in actions:
        observation, reward, terminated, truncated, info = env.step(action)
        seen += [observation, reward, terminated, truncated, info["equity"]]
        if terminated or truncated:
            break
    return seen


def test_a_seed_repeats_an_episode_and_later_ones_differ():
    env, actions = specialist(leverage=1.0), np.random.default_rng(0).uniform(-1, 1, (5, 3))
    first, following = episode(env, 7, actions), episode(env, None, actions)
    again, other = episode(specialist(leverage=1.0), 7, actions), episode(env, 8, actions)
    for left, right in zip(first, again, strict=True):
        np.testing.assert_array_equal(left, right)
    assert len({first[2], following[2], other[2]}) == 3  # rewards of the first bar


@pytest.mark.slow
def test_a_step_is_that_of_the_environment_with_its_action_scaled_to_the_whole_space():
    env = specialist(leverage=1.0)
    env.reset(seed=0)
    state = env._state
    action = np.array([0.25, -0.5, 1.0], np.float32)
    observation, reward, terminated, truncated, info = env.step(action)
    expected = jax.jit(env._env.step_env)(jax.random.key(0), state, 2.0 * action, env._params)
    np.testing.assert_allclose(observation, expected[0], rtol=1e-6)
    assert reward == pytest.approx(float(expected[2]), rel=1e-5)
    assert (terminated, truncated) == (False, False)
    assert info == {"equity": pytest.approx(float(expected[4]["step"].equity))}
    assert type(reward) is float and type(terminated) is type(truncated) is bool


def test_an_episode_is_truncated_at_its_length_and_terminated_by_ruin():
    flat = episode(specialist(leverage=1.0), 0, np.zeros((60, 3)))
    assert flat[-3:] == [False, True, 1.0] and len(flat) == 1 + 5 * 20
    env = specialist()
    endings = [episode(env, seed, np.ones((60, 3)))[-3:-1] for seed in range(10)]
    assert [True, False] in endings


def test_observations_are_within_their_space_and_float32():
    env = portfolio()
    observation, info = env.reset(seed=1)
    assert observation in env.observation_space and observation.dtype == np.float32
    assert info == {"equity": 1.0} and env.action_space.shape == (11,)
    assert (env.action_space.low == -1.0).all() and (env.action_space.high == 1.0).all()
