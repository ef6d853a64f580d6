"""The one compiled entry of training: K updates of rollout, advantages and learning in one program."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from mtquant_jax.learning.contract import Hyper, Program, TrainState, Trajectory
from mtquant_jax.learning.optimizer import start_optimizer
from mtquant_jax.learning.ppo.update import Metrics, learn, make_batch
from mtquant_jax.learning.rollout import collect, start_environments


@functools.partial(jax.jit, static_argnums=0)
def start_training(
    program: Program, params: Any, normalizers: Any, reference: Any, env_params: Any, key: jax.Array
) -> TrainState:
    """The state before the first update: staggered episodes and a fresh optimiser.

    Args:
        program: the static part.
        params: ``{group: parameters}``, initialised or restored.
        normalizers: ``{group: Normalizer}``.
        reference: ``{group: parameters}`` of the policies on a leash; empty without one.
        env_params: the market.
        key: typed PRNG key.
    """
    key, env_key = jax.random.split(key)
    observation, env_state = start_environments(program, env_params, env_key)
    return TrainState(
        params=params,
        optimizer=start_optimizer(params, program.agent.groups),
        normalizers=normalizers,
        reference=reference,
        env_state=env_state,
        observation=observation,
        key=key,
        update=jnp.zeros((), jnp.int32),
    )


def run_updates(
    program: Program, state: TrainState, env_params: Any, hyper: Hyper, num_updates: jax.Array
) -> tuple[TrainState, Metrics]:
    """``num_updates`` updates and the mean of their metrics.

    The number is traced, so chunks of any length share one compilation. Metrics are ``[A]`` per agent, ``[]``, or
    ``[S]`` for stacked groups.
    """
    metric_shapes = jax.eval_shape(lambda s: _update(program, s, env_params, hyper)[1], state)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), metric_shapes)

    def body(_: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, totals = carry
        state, metrics = _update(program, state, env_params, hyper)
        return state, jax.tree.map(jnp.add, totals, metrics)

    state, totals = jax.lax.fori_loop(0, num_updates, body, (state, zeros))
    return state, jax.tree.map(lambda total: total / num_updates, totals)


train_chunk = jax.jit(run_updates, static_argnums=0, donate_argnums=1)
"""``train_chunk(program, state, env_params, hyper, num_updates) -> (state, metrics)``; donates its state."""


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def train_chunk_parallel(
    program: Program, state: TrainState, env_params: Any, hyper: Hyper, num_updates: jax.Array
) -> tuple[TrainState, Metrics]:
    """`train_chunk` of several independent trainings at once: every leaf but ``num_updates`` has a leading axis."""
    return jax.vmap(functools.partial(run_updates, program), in_axes=(0, 0, 0, None))(
        state, env_params, hyper, num_updates
    )


def _update(program: Program, state: TrainState, env_params: Any, hyper: Hyper) -> tuple[TrainState, Metrics]:
    """One update: act, judge, learn, and only then move the observation statistics."""
    state, trajectory = collect(program, state, env_params)
    batch, judged = make_batch(program, state, trajectory, env_params, hyper)
    state, learned = learn(program, state, batch, env_params, hyper)
    normalizers = state.normalizers
    if program.learn_normalizers:
        inputs = program.agent.inputs(trajectory.observation, env_params)
        normalizers = program.agent.extend_normalizers(normalizers, inputs)
    state = dataclasses.replace(state, normalizers=normalizers, update=state.update + 1)
    return state, _acted(trajectory) | judged | learned


def _acted(trajectory: Trajectory) -> Metrics:
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
