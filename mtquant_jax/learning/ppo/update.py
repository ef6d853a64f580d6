"""One PPO update: values once for the whole rollout, advantages, then epochs of minibatches."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mtquant_jax.learning.contract import Metrics, Program, TrainState, Trajectory
from mtquant_jax.learning.coordination import coordinate
from mtquant_jax.learning.optimizer import Vectors, select, step_vectors
from mtquant_jax.learning.ppo.gae import advantages, without_exogenous_noise
from mtquant_jax.learning.ppo.hyper import Hyper
from mtquant_jax.learning.ppo.loss import Batch, losses, objective_advantages


def make_batch(
    program: Program, state: TrainState, trajectory: Trajectory, env_params: Any, hyper: Hyper
) -> tuple[Batch, Metrics]:
    """Advantages and value targets of a rollout, flattened to B = L x E samples; and how good the critic is ``[A]``."""

    def values(observation: Any) -> jax.Array:
        return program.agent.value(state.params, state.normalizers, program.agent.inputs(observation, env_params))

    value = values(trajectory.observation)
    advantage = advantages(
        trajectory.reward,
        value,
        values(trajectory.final_observation),
        trajectory.terminated,
        trajectory.truncated,
        hyper.gamma,
        hyper.gae_lambda,
    )
    target = advantage + value
    quality = {"value": jnp.mean(value, axis=(0, 1)), "explained_variance": _explained(target, advantage)}
    if trajectory.control is not None:
        ended = trajectory.terminated | trajectory.truncated
        advantage, quality["advantage_noise_left"] = without_exogenous_noise(
            advantage, trajectory.control, ended, hyper.gamma, hyper.gae_lambda
        )
    batch = Batch(
        observation=trajectory.observation,
        action=trajectory.action,
        log_prob=trajectory.log_prob,
        value=value,
        advantage=advantage,
        target=target,
        decides=trajectory.decides,
    )
    batch = program.layout.on_each(batch)
    batch = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)
    return batch, quality


def _explained(target: jax.Array, advantage: jax.Array) -> jax.Array:
    """Share ``[A]`` of the variance of the value targets that the critic explains."""
    return 1.0 - jnp.var(advantage, axis=(0, 1)) / jnp.maximum(jnp.var(target, axis=(0, 1)), 1e-12)


_Carry = tuple[Any, Any, jax.Array]  # parameters and optimiser as vectors, and whether learning has stopped
_REJECTED = "rejected"
_LARGEST_ORDER = 20  # bits of the number of rows up to which the other 12 of 32 are enough to order them by


def learn(
    program: Program, sizes: tuple[int, int], state: TrainState, batch: Batch, env_params: Any, hyper: Hyper
) -> tuple[TrainState, Metrics]:
    """Epochs of minibatches over one batch, with the statistics and the reference held still.

    One permutation per epoch serves every leaf, and all of its minibatches are made at once. Each device has all of the
    batch and learns from its part of the rows of a minibatch, so that minibatches are the same however many devices
    there are. When the approximate KL divergence of a minibatch passes ``target_kl``, it and all that follow change
    nothing. Where a gradient is not a number, the whole update changes nothing; metrics are means over the minibatches
    whose gradients are numbers. ``sizes`` are the number of minibatches and of epochs.
    """
    num_minibatches, num_epochs = sizes
    size = program.timesteps_per_update // num_minibatches
    key, shuffle_key = jax.random.split(state.key)
    orders = permutations(shuffle_key, num_epochs, program.timesteps_per_update)
    vectors = Vectors(state.params, program.agent.groups)

    def epoch(carry: _Carry, order: jax.Array) -> tuple[_Carry, Metrics]:
        order = program.layout.divided(order.reshape(num_minibatches, size), axis=1)
        samples = jax.tree.map(lambda leaf: leaf[order], batch)
        samples = dataclasses.replace(samples, advantage=objective_advantages(program.objectives, samples))
        return jax.lax.scan(minibatch, carry, program.layout.divided(samples, axis=1))

    def minibatch(carry: _Carry, samples: Batch) -> tuple[_Carry, Metrics]:
        held, optimizer, stopped = carry
        params = {**state.params, **vectors.tree(held)}
        gradients, metrics = _gradients(program, params, samples, state, env_params, hyper)
        far = jnp.max(metrics["approximate_kl"]) > hyper.target_kl
        stepped = step_vectors(vectors, held, optimizer, vectors.of(gradients), hyper, state.update)
        rejected = ~jnp.all(jnp.stack([jnp.all(jnp.isfinite(norm)) for norm in stepped[2].values()]))
        stopped = stopped | (far & (hyper.target_kl > 0.0)) | rejected
        held, optimizer = select(stopped, (held, optimizer), stepped[:2])
        for name, norm in stepped[2].items():
            metrics[f"gradient_norm/{name}"] = norm
        metrics = {name: jnp.where(rejected, 0.0, value) for name, value in metrics.items()}
        return (held, optimizer, stopped), metrics | {_REJECTED: rejected.astype(jnp.float32)}

    start = (vectors.of(state.params), vectors.of_optimizer(state.optimizer), jnp.zeros((), bool))
    (held, optimizer, stopped), metrics = jax.lax.scan(epoch, start, orders)
    metrics = {name: values.reshape(-1, *values.shape[2:]) for name, values in metrics.items()}
    first = {f"first_{name}": metrics[name][0] for name in ("ratio_deviation", "approximate_kl")}
    rejected = metrics.pop(_REJECTED)
    counted = jnp.maximum(jnp.sum(1.0 - rejected), 1.0)
    metrics = {name: jnp.sum(values, axis=0) / counted for name, values in metrics.items()}
    metrics |= first | {"stopped_early": stopped.astype(jnp.float32), "rejected_updates": jnp.max(rejected)}
    held, optimizer = select(jnp.any(rejected > 0.0), start[:2], (held, optimizer))
    params, optimizer = {**state.params, **vectors.tree(held)}, vectors.optimizer(optimizer)
    return dataclasses.replace(state, params=params, optimizer=optimizer, key=key), metrics


def permutations(key: jax.Array, count: int, size: int) -> jax.Array:
    """Random orders ``[count, size]`` of ``size`` rows, int32.

    Each is one sort of numbers whose upper bits are random and whose lower ones are the row; `jax.random.permutation`
    sorts pairs, twice, which takes several times as long on a CPU. Rows whose random bits are equal keep their order
    among each other: up to 65,536 rows hardly any, of a million groups of 256, which lie next to each other in one
    minibatch in any order.
    """
    bits = max((size - 1).bit_length(), 1)
    if bits > _LARGEST_ORDER:
        return jax.vmap(lambda k: jax.random.permutation(k, size))(jax.random.split(key, count))
    row = jnp.arange(size, dtype=jnp.uint32)
    drawn = jax.random.bits(key, (count, size), jnp.uint32)
    ordered = jnp.sort((drawn << bits) | row, axis=-1)
    return (ordered & ((1 << bits) - 1)).astype(jnp.int32)


def _gradients(
    program: Program, params: Any, samples: Batch, state: TrainState, env_params: Any, hyper: Hyper
) -> tuple[Any, Metrics]:
    """The gradient to step along: the sum over objectives, with the coordinated group's first two coordinated."""

    def objectives(params: Any) -> tuple[list[jax.Array], Metrics]:
        return losses(params, program, samples, state.normalizers, state.reference, env_params, hyper)

    group = program.coordinated_group
    if not group:
        return jax.grad(lambda p: _sum_of(objectives(p)), has_aux=True)(params)

    def first_two(of_group: Any) -> jax.Array:
        return jnp.stack(objectives({**params, group: of_group})[0][:2])

    def others(params: Any) -> tuple[jax.Array, Metrics]:
        found, metrics = objectives(params)
        return _sum_of((found[2:], metrics))

    # Apart from each other: three gradients of everything would be mostly of what they do not depend on.
    jacobian = jax.jacrev(first_two)(params[group])
    gradients, metrics = jax.grad(others, has_aux=True)(params)
    own, shared = (jax.tree.map(lambda leaf, i=i: leaf[i], jacobian) for i in (0, 1))
    combined, coordination = coordinate(
        own, shared, hyper.individual_weight, hyper.coordination_weight, hyper.project_conflicts
    )
    return {**gradients, group: jax.tree.map(jnp.add, combined, gradients[group])}, metrics | coordination


def _sum_of(result: tuple[list[jax.Array], Metrics]) -> tuple[jax.Array, Metrics]:
    """The sum of the losses."""
    return sum(result[0], start=jnp.zeros(())), result[1]
