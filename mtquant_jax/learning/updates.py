"""What learners that learn from one rollout after the other share: their first state, and a chunk of their updates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mtquant_jax.learning.contract import Metrics, Program, TrainState
from mtquant_jax.learning.optimizer import start_optimizer
from mtquant_jax.learning.rollout import start_environments

Update = Callable[[TrainState], tuple[TrainState, Metrics]]


class StartsFresh:
    """A learner that needs nothing of its own in its state."""

    def start(
        self, program: Program, params: Any, normalizers: Any, reference: Any, env_params: Any, key: jax.Array
    ) -> TrainState:
        """Staggered episodes, a fresh optimiser and no update done; arguments as `learning.train.start_training`."""
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


def repeat(update: Update, state: TrainState, num_updates: jax.Array) -> tuple[TrainState, Metrics]:
    """``num_updates`` updates, a traced number, and the mean of their metrics; zeros of no update."""
    update = jax.jit(update)  # traced once for the shapes of its metrics and for the loop
    metric_shapes = jax.eval_shape(lambda s: update(s)[1], state)
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), metric_shapes)

    def body(_: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, totals = carry
        state, metrics = update(state)
        return state, jax.tree.map(jnp.add, totals, metrics)

    state, totals = jax.lax.fori_loop(0, num_updates, body, (state, zeros))
    return state, jax.tree.map(lambda total: total / jnp.maximum(num_updates, 1), totals)
