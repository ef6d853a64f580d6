"""The training program on toys with known answers, and its bookkeeping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.learning.ppo import learner as ppo
from mtquant_jax.learning.rollout import collect
from mtquant_jax.learning.train import train_chunk
from tests.learning import toys


def values_and_actions(prog, state, params):
    observation = jnp.linspace(-1.5, 1.5, 7)[:, None]
    value = prog.agent.value(state.params, state.normalizers, observation)[:, 0]
    action = prog.agent.policy(state.params, state.normalizers, observation, params).mode()[:, 0]
    return np.asarray(value), np.asarray(action), np.asarray(observation[:, 0])


@pytest.mark.slow
def test_a_constant_reward_truncated_at_five_steps_is_worth_one_over_one_minus_gamma():
    prog, params = toys.program(), toys.ToyParams()
    state, _ = train_chunk(prog, toys.start(prog, params), params, toys.hyper(300), jnp.int32(300))
    value, *_ = values_and_actions(prog, state, params)
    np.testing.assert_allclose(value, 10.0, rtol=0.05)  # and not the five-step sum 4.1


@pytest.mark.parametrize("delay", [0, 1])
def test_the_action_learns_to_equal_the_observation_even_when_paid_a_step_later(delay):
    prog, params = toys.program(), toys.ToyParams(max_steps_in_episode=50, reward_delay=delay, action_reward=1.0)
    hyper = toys.hyper(300, anneal_learning_rate=1.0)
    state, _ = train_chunk(prog, toys.start(prog, params), params, hyper, jnp.int32(300))
    _, action, observation = values_and_actions(prog, state, params)
    np.testing.assert_allclose(action[1:-1, 0], observation[1:-1], atol=0.15)


@pytest.mark.slow
def test_a_padded_action_is_never_taken_or_learnt():
    prog, params = toys.program(padded=True), toys.ToyParams(max_steps_in_episode=50, action_reward=1.0)
    first = toys.start(prog, params)
    before = jax.tree.map(np.asarray, first.params["toy"])
    _, trajectory = collect(prog, first, params)
    assert float(jnp.abs(trajectory.action[..., 1]).max()) == 0.0
    state, metrics = train_chunk(prog, first, params, toys.hyper(5), jnp.int32(5))
    after = state.params["toy"]
    np.testing.assert_array_equal(after["mean"]["kernel"][:, 1], before["mean"]["kernel"][:, 1])
    assert float(after["log_std"][1]) == float(before["log_std"][1])
    assert not np.array_equal(after["mean"]["kernel"][:, 0], before["mean"]["kernel"][:, 0])
    assert float(metrics["entropy"][0]) < 1.5  # of one action, not of two


def test_ratio_is_one_and_kl_zero_in_the_first_minibatch():
    prog, params = toys.program(), toys.ToyParams(action_reward=1.0)
    state = toys.start(prog, params)
    for _ in range(3):  # also after the observation statistics have moved
        state, metrics = train_chunk(prog, state, params, toys.hyper(10), jnp.int32(1))
        assert float(metrics["first_ratio_deviation"][0]) < 1e-6
        assert abs(float(metrics["first_approximate_kl"][0])) < 1e-6
        assert float(metrics["ratio_deviation"][0]) > 1e-3  # later minibatches do move


@pytest.mark.slow
@pytest.mark.parametrize("padded", [False, True])
def test_the_standard_deviation_of_the_actions_is_that_of_the_exploration(padded):
    prog, params = toys.program(padded=padded, num_envs=64, num_steps=32), toys.ToyParams(action_reward=1.0)
    _, metrics = train_chunk(prog, toys.start(prog, params), params, toys.hyper(1), jnp.int32(1))
    # exp(-0.5) of 2048 draws of one or two actions; the mean action, which differs by observation, is not in it.
    np.testing.assert_allclose(metrics["action_std"], [np.exp(-0.5)], rtol=0.06)


@pytest.mark.slow
def test_any_number_of_updates_is_one_trace(monkeypatch):
    traces = []
    original = ppo.ppo_update
    monkeypatch.setattr(ppo, "ppo_update", lambda *a: (traces.append(1), original(*a))[1])
    prog, params = toys.program(num_envs=8, num_steps=4), toys.ToyParams()
    state, _ = train_chunk(prog, toys.start(prog, params), params, toys.hyper(5), jnp.int32(2))
    count = len(traces)  # shapes of the metrics, and the loop's body
    state, _ = train_chunk(prog, state, params, toys.hyper(7, clip_range=0.1), jnp.int32(3))
    train_chunk(prog, toys.start(prog, params, seed=4), params, toys.hyper(9, gamma=0.5), jnp.int32(1))
    assert len(traces) == count > 0


def test_chunks_of_any_length_add_up_to_the_same_training():
    prog, params, hyper = toys.program(), toys.ToyParams(action_reward=1.0), toys.hyper(4)
    whole, _ = train_chunk(prog, toys.start(prog, params), params, hyper, jnp.int32(4))
    parts = toys.start(prog, params)
    for updates in (1, 3):
        parts, _ = train_chunk(prog, parts, params, hyper, jnp.int32(updates))
    for a, b in zip(jax.tree.leaves(whole.params), jax.tree.leaves(parts.params), strict=True):
        np.testing.assert_array_equal(a, b)
    assert int(parts.update) == 4


@pytest.mark.slow
def test_early_stop_freezes_the_rest_of_the_update():
    prog, params = toys.program(num_epochs=8), toys.ToyParams(action_reward=1.0)
    rates = {"learning_rate": {"toy": 3e-2}}
    _, free = train_chunk(prog, toys.start(prog, params), params, toys.hyper(1, **rates), jnp.int32(1))
    _, held = train_chunk(prog, toys.start(prog, params), params, toys.hyper(1, target_kl=1e-3, **rates), jnp.int32(1))
    assert float(held["stopped_early"]) == 1.0
    assert float(held["approximate_kl"][0]) < float(free["approximate_kl"][0])


def test_an_update_whose_gradients_are_no_numbers_changes_nothing():
    prog, params = toys.program(), toys.ToyParams(action_reward=1.0)
    start = toys.start(prog, params)
    before = jax.tree.map(np.array, (start.params, start.optimizer))  # the state is donated
    state, sick = train_chunk(prog, start, params, toys.hyper(2, gamma=jnp.nan), jnp.int32(1))
    for old, new in zip(jax.tree.leaves(before), jax.tree.leaves((state.params, state.optimizer)), strict=True):
        np.testing.assert_array_equal(old, new)
    assert float(sick["rejected_updates"]) == 1.0
    assert all(np.isfinite(sick[name]).all() for name in ("reward", "policy_loss", "approximate_kl"))
    state, well = train_chunk(prog, state, params, toys.hyper(2), jnp.int32(1))  # it goes on from there
    assert float(well["rejected_updates"]) == 0.0
    pairs = zip(jax.tree.leaves(before[0]), jax.tree.leaves(state.params), strict=True)
    assert any(not np.array_equal(old, new) for old, new in pairs)


def test_annealing_reaches_zero_by_update_index():
    prog, params = toys.program(), toys.ToyParams(action_reward=1.0)
    hyper = toys.hyper(2, anneal_learning_rate=1.0)
    state, _ = train_chunk(prog, toys.start(prog, params), params, hyper, jnp.int32(2))
    before = jax.tree.map(np.asarray, state.params)
    state, _ = train_chunk(prog, state, params, hyper, jnp.int32(3))  # past the end the rate is 0, never negative
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_array_equal(a, b)


def test_episodes_start_staggered():
    prog, params = toys.program(num_envs=64), toys.ToyParams(max_steps_in_episode=50)
    times = np.asarray(toys.start(prog, params).env_state.time)
    assert len(np.unique(times)) > 20
    assert times.min() >= 0
    assert times.max() < 50
