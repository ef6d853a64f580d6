"""Generalised advantage estimation (Schulman et al. 2016), and what an action cannot change taken out of it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from mtquant_jax.agents.contract import ControlVariate


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

    return _discounted_sum(delta, continues, gamma * gae_lambda)


def without_exogenous_noise(
    advantage: jax.Array, control: ControlVariate, ended: jax.Array, gamma: jax.Array, gae_lambda: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Advantages ``[L, E, A]`` less the luck of what was held before the action.

    The market moves whatever the action is, so the profit that yesterday's position makes over the following steps is
    noise to today's decision: a baseline that depends on the exogenous input leaves the policy gradient unbiased (Mao
    et al., Variance Reduction for Reinforcement Learning in Input-Driven Environments, 2019). The control variate is
    exposure . sum over k of (gamma lambda)^k driver[t + k] within the episode; its weight is that of least squares over
    the rollout.

    Args:
        advantage: ``[L, E, A]``.
        control: exposure ``[L, E, A, N]`` and driver ``[L, E, A or 1, N]``.
        ended: ``[L, E]`` bool, the episode ended with the step.
        gamma: ``[]`` discount per step.
        gae_lambda: ``[]`` decay per step.

    Returns:
        The advantages, and the share of their variance that is left ``[A]``.
    """
    continues = 1.0 - ended[..., None, None].astype(advantage.dtype)
    luck = jnp.sum(control.exposure * _discounted_sum(control.driver, continues, gamma * gae_lambda), axis=-1)
    luck = luck - jnp.mean(luck, axis=(0, 1))
    weight = jnp.mean(luck * advantage, axis=(0, 1)) / jnp.maximum(jnp.mean(luck**2, axis=(0, 1)), 1e-12)
    rest = advantage - weight * luck
    variance = jnp.var(advantage, axis=(0, 1))
    return rest, jnp.var(rest, axis=(0, 1)) / jnp.maximum(variance, 1e-12)


def _discounted_sum(values: jax.Array, continues: jax.Array, decay: jax.Array) -> jax.Array:
    """``values[t] + decay x continues[t] x (the sum from t + 1 on)`` along the first axis."""

    def backwards(following: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        value, goes_on = step
        total = value + decay * goes_on * following
        return total, total

    _, result = jax.lax.scan(backwards, jnp.zeros_like(values[0]), (values, continues), reverse=True)
    return result
