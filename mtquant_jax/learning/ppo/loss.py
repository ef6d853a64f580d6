"""The PPO objectives (Schulman et al. 2017) of several agents, each kept apart in every mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mtquant_jax.learning.contract import Objective, Program
from mtquant_jax.learning.ppo.hyper import Hyper


@struct.dataclass
class Batch:
    """Samples for the update."""

    observation: Any  # [B]
    action: jax.Array  # [B, A, K]
    log_prob: jax.Array  # [B, A]
    value: jax.Array  # [B, A]
    advantage: jax.Array  # [B, A] of each reward stream; in a minibatch [B, O, A], of O objectives
    target: jax.Array  # [B, A] value target
    decides: jax.Array  # [B, A]


def losses(
    params: Any, program: Program, batch: Batch, normalizers: Any, reference: Any, env_params: Any, hyper: Hyper
) -> tuple[list[jax.Array], dict[str, jax.Array]]:
    """One loss per objective, and what the update looked like.

    Returns:
        Losses ``[]`` of each objective, and metrics with one entry per agent ``[A]``: ``policy_loss`` (summed
        over objectives), ``value_loss``, ``entropy``, ``approximate_kl``, ``clip_fraction``,
        ``ratio_deviation`` (largest distance of the probability ratio from 1) and ``reference_kl``.
    """
    agent = program.agent
    inputs = agent.inputs(batch.observation, env_params)
    distribution = agent.policy(params, normalizers, inputs, env_params)
    log_ratio = distribution.log_prob(batch.action) - batch.log_prob
    ratio = jnp.exp(log_ratio)
    value_loss = _value_loss(agent.value(params, normalizers, inputs), batch, hyper)
    entropy = _mean(distribution.entropy(), batch.decides)
    reference_kl = jnp.zeros_like(entropy)
    if reference:
        held = agent.policy({**params, **reference}, normalizers, inputs, env_params)
        reference_kl = _mean(distribution.kl_to(held), batch.decides)

    objectives = range(len(program.objectives))
    policy_losses = [_policy_loss(ratio, batch.advantage[:, i], batch.decides, hyper) for i in objectives]
    total = []
    for objective, policy_loss in zip(program.objectives, policy_losses, strict=True):
        # What has no part in an objective is left out, for a gradient of zero takes as long as any other.
        parts = [jnp.zeros(())]
        if any(objective.policy):
            parts.append(_weighted(objective.policy, policy_loss - hyper.entropy_weight * entropy))
        if any(objective.value):
            parts.append(hyper.value_weight * _weighted(objective.value, value_loss))
        if objective.leash and reference:
            parts.append(objective.leash * hyper.leash * jnp.sum(reference_kl))
        total.append(sum(parts[1:], start=parts[0]))
    weighted = [jnp.asarray(o.policy) * loss for o, loss in zip(program.objectives, policy_losses, strict=True)]
    outside = (jnp.abs(ratio - 1.0) > hyper.clip_range).astype(ratio.dtype)
    metrics = {
        "policy_loss": jnp.sum(jnp.stack(weighted), axis=0),
        "value_loss": value_loss,
        "entropy": entropy,
        "approximate_kl": _mean(ratio - 1.0 - log_ratio, batch.decides),
        "clip_fraction": _mean(outside, batch.decides),
        "ratio_deviation": jnp.max(jnp.abs(ratio - 1.0) * batch.decides, axis=0),
        "reference_kl": reference_kl,
    }
    return total, metrics


def objective_advantages(objectives: Sequence[Objective], batch: Batch) -> jax.Array:
    """Advantages ``[..., B, O, A]`` that each agent follows in each objective, normalised over the samples ``B``."""
    of_each = [batch.advantage[..., np.asarray(objective.streams)] for objective in objectives]
    return jnp.stack([normalised_advantage(advantage, batch.decides) for advantage in of_each], axis=-2)


def normalised_advantage(advantage: jax.Array, decides: jax.Array) -> jax.Array:
    """Advantages ``[..., B, A]`` with zero mean and unit deviation per agent over the samples in which it decides."""
    mean = _mean(advantage, decides)[..., None, :]
    variance = _mean((advantage - mean) ** 2, decides)[..., None, :]
    return (advantage - mean) / (jnp.sqrt(variance) + 1e-8)


def _policy_loss(ratio: jax.Array, advantage: jax.Array, decides: jax.Array, hyper: Hyper) -> jax.Array:
    """Clipped surrogate ``[A]`` on normalised advantages ``[B, A]``."""
    clipped = jnp.clip(ratio, 1.0 - hyper.clip_range, 1.0 + hyper.clip_range)
    return -_mean(jnp.minimum(ratio * advantage, clipped * advantage), decides)


def _value_loss(value: jax.Array, batch: Batch, hyper: Hyper) -> jax.Array:
    """Squared error ``[A]``, clipped around the old value where that is on. Every sample has a value."""
    plain = (value - batch.target) ** 2
    near = batch.value + jnp.clip(value - batch.value, -hyper.value_clip_range, hyper.value_clip_range)
    clipped = jnp.maximum(plain, (near - batch.target) ** 2)
    return 0.5 * jnp.mean(jnp.where(hyper.value_clip_range > 0.0, clipped, plain), axis=0)


def _mean(values: jax.Array, weights: jax.Array) -> jax.Array:
    """Mean over samples ``[..., B, A] -> [..., A]`` where an agent decides; 0 where it never does."""
    return jnp.sum(values * weights, axis=-2) / jnp.maximum(jnp.sum(weights, axis=-2), 1.0)


def _weighted(weights: tuple[float, ...], values: jax.Array) -> jax.Array:
    return jnp.sum(jnp.asarray(weights) * values)
