"""Collect a rollout: L steps of E environments under the current policy and frozen statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from mtquant_jax.agents.contract import Distribution
from mtquant_jax.learning.contract import Metrics, Program, TrainState, Trajectory


@runtime_checkable
class BeginsWithin(Protocol):
    """An environment that says itself how its episodes begin some steps after their start."""

    def begin_within(self, state: Any, elapsed: jax.Array, params: Any) -> Any:
        """States ``[E]`` as if ``elapsed`` ``[E]`` int32 of the episode's steps were over."""
        ...


def start_environments(program: Program, env_params: Any, key: jax.Array) -> tuple[Any, Any]:
    """Observations and states ``[E]`` of fresh episodes, staggered in time so that they do not end together."""
    reset_key, time_key = jax.random.split(key)
    observation, state = jax.vmap(program.env.reset, in_axes=(0, None))(
        jax.random.split(reset_key, program.num_envs), env_params
    )
    elapsed = jax.random.randint(time_key, (program.num_envs,), 0, env_params.max_steps_in_episode, jnp.int32)
    if isinstance(program.env, BeginsWithin):
        return observation, program.env.begin_within(state, elapsed, env_params)
    return observation, state.replace(time=elapsed)


def drawn(distribution: Distribution, key: jax.Array) -> jax.Array:
    """An action ``[E, A, K]`` at random: exploration."""
    return distribution.sample(key)


def likeliest(distribution: Distribution, key: jax.Array) -> jax.Array:
    """The most likely action ``[E, A, K]``, as in evaluation."""
    return distribution.mode()


def collect(
    program: Program, state: TrainState, env_params: Any, act: Callable[[Distribution, jax.Array], jax.Array] = drawn
) -> tuple[TrainState, Trajectory]:
    """Act for L steps; returns the state with advanced environments and key, and the `Trajectory`.

    ``act`` is `drawn` or `likeliest`.
    """
    env, agent, layout = program.env, program.agent, program.layout

    def step(carry: tuple[Any, Any, jax.Array], _: None) -> tuple[tuple[Any, Any, jax.Array], Trajectory]:
        env_state, observation, key = carry
        key, action_key, step_key = jax.random.split(key, 3)
        inputs = agent.inputs(observation, env_params)
        distribution = agent.policy(state.params, state.normalizers, inputs, env_params)
        action = act(distribution, action_key)
        step_keys = layout.divided(jax.random.split(step_key, program.num_envs))
        following, env_state, reward, terminated, truncated, info = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            step_keys, env_state, agent.env_action(action), env_params
        )
        record = Trajectory(
            observation=observation,
            final_observation=info["final_observation"],
            action=action,
            deviation=action - distribution.mode(),
            log_prob=distribution.log_prob(action),
            reward=agent.rewards(reward, info),
            terminated=terminated,
            truncated=truncated,
            decides=agent.decides(observation),
            control=agent.control(info),
            metrics=agent.metrics(info),
        )
        return (*layout.divided((env_state, following)), key), record

    carry = (state.env_state, state.observation, state.key)
    (env_state, observation, key), trajectory = jax.lax.scan(step, carry, length=program.num_steps)
    state = dataclasses.replace(state, env_state=env_state, observation=observation, key=key)
    return state, trajectory


def rollout_metrics(trajectory: Trajectory) -> Metrics:
    """What the agents did: mean reward, size of action and standard deviation of its exploration ``[A]``, how episodes
    ended and what the environment measured ``[]``.
    """
    # Of the draws, not of the distribution's parameters, so that it means the same for every kind of distribution.
    deviation = jnp.sqrt(jnp.mean(trajectory.deviation**2, axis=(0, 1)))
    return {
        "reward": jnp.mean(trajectory.reward, axis=(0, 1)),
        "action_magnitude": _mean_of_real(jnp.mean(jnp.abs(trajectory.action), axis=(0, 1))),
        "action_std": _mean_of_real(deviation),
        "terminated": jnp.mean(trajectory.terminated.astype(jnp.float32)),
        "truncated": jnp.mean(trajectory.truncated.astype(jnp.float32)),
    } | {name: jnp.mean(values) for name, values in trajectory.metrics.items()}


def _mean_of_real(sizes: jax.Array) -> jax.Array:
    """Mean ``[A, K] -> [A]`` over the actions that an agent has; padding is always exactly zero."""
    return jnp.sum(sizes, axis=-1) / jnp.maximum(jnp.sum(sizes > 0.0, axis=-1), 1)
