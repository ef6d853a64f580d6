"""Collect a rollout: L steps of E environments under the current policy and frozen statistics."""

from __future__ import annotations

import dataclasses
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


def collect(
    program: Program, state: TrainState, env_params: Any, explores: bool = True
) -> tuple[TrainState, Trajectory]:
    """Act for L steps; returns the state with advanced environments and key, and the `Trajectory`.

    An episode that ends is followed by a fresh one. All random numbers are drawn before the first step, many at a time,
    since a draw in the loop costs as much as the step itself; there is one fresh start for each environment, so that
    episodes of one environment that end within the same rollout are followed by the same one.

    Args:
        program: the static part.
        state: before the rollout.
        env_params: the market.
        explores: whether actions are drawn at random; otherwise they are the most likely ones, as in evaluation.
    """
    env, agent, layout = program.env, program.agent, program.layout
    length, num_envs = program.num_steps, program.num_envs
    key, reset_key, noise_key, step_key = jax.random.split(state.key, 4)
    fresh = jax.vmap(env.reset_env, in_axes=(0, None))(jax.random.split(reset_key, num_envs), env_params)
    fresh = layout.divided(fresh)

    def policy(observation: Any) -> Distribution:
        inputs = agent.inputs(observation, env_params)
        return agent.policy(state.params, state.normalizers, inputs, env_params)

    noise = jax.eval_shape(policy, state.observation).noise(noise_key, length) if explores else None
    keys = jax.random.split(step_key, (length, num_envs))

    def step(carry: tuple[Any, Any], random: tuple[jax.Array, jax.Array | None]) -> tuple[tuple[Any, Any], Trajectory]:
        observation, env_state = carry
        step_keys, drawn = layout.divided(random)
        distribution = policy(observation)
        likeliest = distribution.mode()
        action = likeliest if drawn is None else distribution.sample(drawn)
        following, env_state, reward, terminated, info = jax.vmap(env.step_env, in_axes=(0, 0, 0, None))(
            step_keys, env_state, agent.env_action(action), env_params
        )
        truncated = jax.vmap(env.is_truncated, in_axes=(0, None))(env_state, env_params)
        record = Trajectory(
            observation=observation,
            final_observation=following,
            action=action,
            deviation=action - likeliest,
            log_prob=distribution.log_prob(action),
            reward=agent.rewards(reward, info),
            terminated=terminated,
            truncated=truncated,
            decides=agent.decides(observation),
            control=agent.control(info),
            metrics=agent.metrics(info),
        )
        goes_on = _where(terminated | truncated, fresh, (following, env_state))
        return layout.divided(goes_on), record

    carry, trajectory = jax.lax.scan(step, (state.observation, state.env_state), (keys, noise))
    observation, env_state = carry
    return dataclasses.replace(state, env_state=env_state, observation=observation, key=key), trajectory


def _where(condition: jax.Array, yes: Any, no: Any) -> Any:
    """``yes`` in environments ``[E]`` where a condition holds, else ``no``, leaf by leaf."""

    def leaf(one: jax.Array, other: jax.Array) -> jax.Array:
        return jnp.where(condition.reshape(-1, *[1] * (one.ndim - 1)), one, other)

    return jax.tree.map(leaf, yes, no)


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
