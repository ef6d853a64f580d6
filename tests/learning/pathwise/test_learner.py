"""The pathwise learner on toys with known answers, and pathwise followed by PPO."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.agents.contract import Group
from mtquant_jax.learning.contract import Objective
from mtquant_jax.learning.optimizer import StepHyper
from mtquant_jax.learning.pathwise import learner as pathwise
from mtquant_jax.learning.pathwise.learner import Pathwise
from mtquant_jax.learning.pathwise.then_ppo import PathwiseThenPPO, PathwiseThenPPOHyper
from mtquant_jax.learning.train import train_chunk
from tests.conftest import f32
from tests.learning import toys

PROGRAM = dataclasses.replace(toys.program(num_envs=32, num_steps=8), learner=Pathwise())


def hyper(total_updates: int, **changes) -> StepHyper:
    of_ppo = toys.hyper(total_updates, **changes)
    return StepHyper(**{field.name: getattr(of_ppo, field.name) for field in dataclasses.fields(StepHyper)})


def leaves(tree) -> list[np.ndarray]:
    return [np.array(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("delay", [0, 1])
def test_the_action_learns_to_equal_the_observation_even_when_paid_a_step_later(delay):
    params = toys.ToyParams(max_steps_in_episode=50, reward_delay=delay, action_reward=1.0)
    state, metrics = train_chunk(PROGRAM, toys.start(PROGRAM, params), params, hyper(300), jnp.int32(300))
    observation = jnp.linspace(-1.5, 1.5, 7)[:, None]
    action = PROGRAM.agent.policy(state.params, state.normalizers, observation, params).mode()[:, 0, 0]
    np.testing.assert_allclose(action, observation[:, 0], atol=0.1)
    assert "action_std" not in metrics and int(state.update) == 300


def test_what_is_paid_after_a_reset_is_not_learnt_from():
    # An episode of one step ends before the delayed reward for its action is paid, so nothing can be learnt.
    params = toys.ToyParams(max_steps_in_episode=1, reward_delay=1, action_reward=1.0)
    state = toys.start(PROGRAM, params)
    (gradient,), _, trajectory = pathwise.window_gradients(PROGRAM, state, params, [(1.0,)])
    assert bool(jnp.all(trajectory.truncated))
    assert all(np.all(leaf == 0.0) for leaf in leaves(gradient))
    (gradient,), *_ = pathwise.window_gradients(PROGRAM, state, params.replace(max_steps_in_episode=2), [(1.0,)])
    assert any(np.any(leaf != 0.0) for leaf in leaves(gradient))


def test_neither_the_critic_nor_the_exploration_is_touched():
    params = toys.ToyParams(max_steps_in_episode=50, action_reward=1.0)
    state = toys.start(PROGRAM, params)
    before = leaves((state.params["toy"]["critic"], state.params["toy"]["log_std"]))
    state, _ = train_chunk(PROGRAM, state, params, hyper(5, weight_decay=1.0), jnp.int32(5))
    for one, other in zip(before, leaves((state.params["toy"]["critic"], state.params["toy"]["log_std"])), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_update_whose_gradient_is_not_a_number_changes_no_parameter():
    params = toys.ToyParams(action_reward=1.0)
    state = toys.start(PROGRAM, params)
    state.params["toy"]["mean"]["bias"] = jnp.full(2, 1e30)  # the square of the action is not a float32
    before = leaves((state.params, state.optimizer))
    state, metrics = train_chunk(PROGRAM, state, params, hyper(5), jnp.int32(2))
    assert float(metrics["rejected_updates"]) == 1.0 and float(metrics["gradient_norm/toy"]) == 0.0
    for one, other in zip(before, leaves((state.params, state.optimizer)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_group_follows_the_streams_of_its_own_agents():
    own = Objective(streams=(0, 1, 2), policy=(1.0, 1.0, 0.0), value=(0.0, 0.0, 0.0))
    shared = Objective(streams=(2, 2, 2), policy=(1.0, 1.0, 0.0), value=(0.0, 0.0, 0.0))
    of_last = Objective(streams=(0, 1, 2), policy=(0.0, 0.0, 1.0), value=(1.0, 1.0, 1.0))
    groups = (Group("many", (0, 1), stacked=True), Group("one", (2,)))
    streams = pathwise._streams((own, shared, of_last), groups)
    assert streams == {"many": [(1.0, 1.0, 0.0), (0.0, 0.0, 1.0)], "one": [(0.0, 0.0, 1.0)]}
    assert pathwise._distinct(streams) == [(1.0, 1.0, 0.0), (0.0, 0.0, 1.0)]  # two passes back, not three


def test_pathwise_ppo_is_the_one_and_then_the_other():
    params = toys.ToyParams(max_steps_in_episode=50, action_reward=1.0)
    plain = toys.program(num_envs=16, num_steps=8)
    both = dataclasses.replace(plain, learner=PathwiseThenPPO(plain.learner))
    alone = dataclasses.replace(plain, learner=Pathwise())
    numbers = PathwiseThenPPOHyper(hyper(3, anneal_learning_rate=1.0), toys.hyper(4, anneal_learning_rate=1.0))
    state, metrics = train_chunk(both, toys.start(both, params), params, numbers, jnp.int32(7))

    first, _ = train_chunk(alone, toys.start(alone, params), params, numbers.pathwise, jnp.int32(3))
    fresh = dataclasses.replace(toys.start(plain, params), params=first.params)
    first = dataclasses.replace(first, optimizer=fresh.optimizer, update=jnp.zeros((), jnp.int32))
    second, of_ppo = train_chunk(plain, first, params, numbers.ppo, jnp.int32(4))
    for one, other in zip(leaves(state.params), leaves(second.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert int(state.update) == 7
    np.testing.assert_allclose(metrics["explained_variance"], of_ppo["explained_variance"], rtol=1e-3, atol=1e-5)


def test_the_learning_rate_of_pathwise_ppo_is_that_of_the_learner_at_work():
    numbers = PathwiseThenPPOHyper(hyper(4, anneal_learning_rate=1.0), toys.hyper(8, anneal_learning_rate=0.0))
    (name,) = numbers.pathwise.learning_rate
    first, second = (float(part.learning_rate[name]) for part in (numbers.pathwise, numbers.ppo))
    found = [numbers.rates_after(update)[name] for update in (0, 1, 3, 4, 12)]
    np.testing.assert_allclose(found, [first, 0.75 * first, 0.25 * first, second, second], rtol=1e-6)


def test_pathwise_ppo_in_chunks_of_any_length_is_the_same_training():
    params = toys.ToyParams(max_steps_in_episode=50, action_reward=1.0)
    plain = toys.program(num_envs=16, num_steps=8)
    both = dataclasses.replace(plain, learner=PathwiseThenPPO(plain.learner))
    numbers = PathwiseThenPPOHyper(hyper(3), toys.hyper(4))
    whole, _ = train_chunk(both, toys.start(both, params), params, numbers, jnp.int32(7))
    state = toys.start(both, params)
    for length in (1, 2, 2, 2):  # a chunk that ends at the change, and one that begins there
        state, metrics = train_chunk(both, state, params, numbers, jnp.int32(length))
        assert np.isfinite(f32(jax.tree.leaves(metrics)[0])).all()
    for one, other in zip(leaves(whole.params), leaves(state.params), strict=True):
        np.testing.assert_array_equal(one, other)
