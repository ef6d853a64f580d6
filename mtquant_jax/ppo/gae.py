"""Generalised advantage estimation (Schulman et al. 2016) with termination and truncation apart."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def advantages(
    reward: jax.Array,
    value: jax.Array,
    next_value: jax.Array,
    terminated: jax.Array,
    truncated: jax.Array,
    gamma: jax.Array,
    gae_lambda: jax.Array,
) -> jax.Array:
    """Advantages ``[L, E, A]``.

    Termination bootstraps nothing; truncation bootstraps from the observation before the reset; both cut the lambda
    chain, and where both are set termination wins.

    Args:
        reward: ``[L, E, A]``.
        value: ``[L, E, A]`` of the observation acted on.
        next_value: ``[L, E, A]`` of the observation that followed, before any reset.
        terminated: ``[L, E]`` bool.
        truncated: ``[L, E]`` bool.
        gamma: ``[]`` discount per step.
        gae_lambda: ``[]`` decay per step.
    """
    bootstraps = 1.0 - terminated[..., None].astype(reward.dtype)
    continues = 1.0 - (terminated | truncated)[..., None].astype(reward.dtype)
    delta = reward + gamma * bootstraps * next_value - value

    def backwards(following: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        delta, continues = step
        advantage = delta + gamma * gae_lambda * continues * following
        return advantage, advantage

    _, result = jax.lax.scan(backwards, jnp.zeros_like(delta[0]), (delta, continues), reverse=True)
    return result
