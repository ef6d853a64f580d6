"""Returns of a policy in whole episodes: its most likely action from reset to end, in new environments."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from mtquant_jax.learning.contract import Program


def episode_returns(
    program: Program, params: Any, normalizers: Any, env_params: Any, key: jax.Array, num_episodes: int, num_steps: int
) -> jax.Array:
    """Undiscounted return ``[num_episodes]`` of the policy's mode, in the environment's own units of reward.

    Args:
        program: holds the environment and the agent.
        params: ``{group: parameters}``.
        normalizers: ``{group: Normalizer}``, not updated.
        env_params: parameters of the environment.
        key: typed PRNG key.
        num_episodes: number of episodes, one environment each, from its reset.
        num_steps: length of the longest episode; later rewards are not counted.
    """
    env, agent = program.env, program.agent
    reset_key, key = jax.random.split(key)
    observation, state = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(reset_key, num_episodes), env_params)

    def step(carry: tuple[Any, Any, jax.Array, jax.Array], key: jax.Array) -> tuple[Any, None]:
        state, observation, running, total = carry
        action = agent.policy(params, normalizers, agent.inputs(observation, env_params), env_params).mode()
        observation, state, reward, terminated, truncated, _ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            jax.random.split(key, num_episodes), state, agent.env_action(action), env_params
        )
        total = total + running * reward
        return (state, observation, running * (1.0 - (terminated | truncated)), total), None

    start = (state, observation, jnp.ones(num_episodes), jnp.zeros(num_episodes))
    (_, _, _, total), _ = jax.lax.scan(step, start, jax.random.split(key, num_steps))
    return total
