"""The compiled entries of training, the same for every learner."""

from __future__ import annotations

import functools
from typing import Any

import jax

from mtquant_jax.learning.contract import Metrics, Program, TrainState


@functools.partial(jax.jit, static_argnums=0)
def start_training(
    program: Program, params: Any, normalizers: Any, reference: Any, env_params: Any, key: jax.Array
) -> TrainState:
    """The state before the first update: staggered episodes and a fresh optimiser.

    Args:
        program: the static part, with its learner.
        params: ``{group: parameters}``, initialised or restored.
        normalizers: ``{group: Normalizer}``.
        reference: ``{group: parameters}`` of the policies on a leash; empty without one.
        env_params: the market.
        key: typed PRNG key.
    """
    return program.learner.start(program, params, normalizers, reference, env_params, key)


def _chunk(
    program: Program, state: TrainState, env_params: Any, hyper: Any, num_updates: jax.Array
) -> tuple[TrainState, Metrics]:
    state, metrics = program.learner.chunk(program, state, env_params, hyper, num_updates)
    return program.layout.of_state(state), program.layout.on_each(metrics)


train_chunk = jax.jit(_chunk, static_argnums=0, donate_argnums=1)
"""``train_chunk(program, state, env_params, hyper, num_updates) -> (state, metrics)``; donates its state.

The number of updates is traced, so that chunks of any length share one compilation.
"""


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def train_chunk_parallel(
    program: Program,
    shared: tuple[bool, ...],
    state: TrainState,
    env_params: Any,
    hyper: Any,
    num_updates: jax.Array,
) -> tuple[TrainState, Metrics]:
    """`train_chunk` of several independent trainings side by side.

    Args:
        program: of all of them.
        shared: for each leaf of ``env_params``, in their order, whether it is that of all (static); the others have a
            leading axis over the trainings.
        state: leaves with a leading axis over the trainings; donated.
        env_params: the market.
        hyper: leaves with a leading axis.
        num_updates: ``[]`` int32.
    """
    market = jax.tree.unflatten(jax.tree.structure(env_params), [None if once else 0 for once in shared])
    side_by_side = jax.vmap(functools.partial(_chunk, program), in_axes=(0, market, 0, None))
    state, metrics = side_by_side(state, env_params, hyper, num_updates)
    return program.layout.of_state(state, axis=1), program.layout.on_each(metrics)
