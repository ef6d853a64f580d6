"""Collect a rollout: L steps of E environments under the current policy and frozen statistics."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mtquant_jax.learning.contract import Program, TrainState, Trajectory


def start_environments(program: Program, env_params: Any, key: jax.Array) -> tuple[Any, Any]:
    """Observations and states ``[E]`` of fresh episodes, staggered in time so that they do not end together."""
    reset_key, time_key = jax.random.split(key)
    observation, state = jax.vmap(program.env.reset, in_axes=(0, None))(
        jax.random.split(reset_key, program.num_envs), env_params
    )
    elapsed = jax.random.randint(time_key, (program.num_envs,), 0, env_params.max_steps_in_episode)
    interval = jnp.asarray(getattr(env_params, "meta_interval", 1), jnp.int32)
    return observation, state.replace(time=elapsed // interval * interval)


def collect(program: Program, state: TrainState, env_params: Any) -> tuple[TrainState, Trajectory]:
    """Act for L steps; returns the state with advanced environments and key, and the `Trajectory`."""
    env, agent = program.env, program.agent

    def step(carry: tuple[Any, Any, jax.Array], _: None) -> tuple[tuple[Any, Any, jax.Array], Trajectory]:
        env_state, observation, key = carry
        key, action_key, step_key = jax.random.split(key, 3)
        inputs = agent.inputs(observation, env_params)
        distribution = agent.policy(state.params, state.normalizers, inputs, env_params)
        action = distribution.sample(action_key)
        following, env_state, reward, terminated, truncated, info = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            jax.random.split(step_key, program.num_envs), env_state, agent.env_action(action), env_params
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
            metrics=info.get("metrics", {}),
        )
        return (env_state, following, key), record

    carry = (state.env_state, state.observation, state.key)
    (env_state, observation, key), trajectory = jax.lax.scan(step, carry, length=program.num_steps)
    state = dataclasses.replace(state, env_state=env_state, observation=observation, key=key)
    return state, trajectory
