"""AdamW per parameter group, clipped by the global norm of each agent, with a traced learning rate."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct

from mtquant_jax.agents.contract import Group


@struct.dataclass
class StepHyper:
    """The numbers of every learner that steps along gradients; traced, scalars or ``[S]`` where said so."""

    learning_rate: Any  # {group: [] or [S]} Adam step size at the first update
    update_interval: Any  # {group: []} the group learns in every n-th update
    total_updates: jax.Array  # [] length of the annealing
    anneal_learning_rate: jax.Array  # [] 1 anneals linearly to zero, 0 does not
    max_grad_norm: jax.Array  # [] global norm at which an agent's gradient is clipped
    weight_decay: jax.Array  # [] of kernels, per unit of learning rate
    individual_weight: jax.Array  # [] of the first coordinated gradient
    coordination_weight: jax.Array  # [] of the second
    project_conflicts: jax.Array  # [] 1 projects conflicting gradients before they are added, 0 does not

    def rates_after(self, update: float) -> dict[str, float]:
        """The largest learning rate of each group after some updates, on the host."""
        share = max(1.0 - float(self.anneal_learning_rate) * update / float(self.total_updates), 0.0)
        return {name: float(np.max(rate)) * share for name, rate in self.learning_rate.items()}


_ADAM = optax.scale_by_adam(eps=1e-5)


def start_optimizer(params: Any, groups: tuple[Group, ...]) -> Any:
    """Adam state of every group."""
    return {g.name: jax.vmap(_ADAM.init)(params[g.name]) if g.stacked else _ADAM.init(params[g.name]) for g in groups}


def apply_gradients(
    params: Any, optimizer: Any, gradients: Any, groups: tuple[Group, ...], hyper: StepHyper, update: jax.Array
) -> tuple[Any, Any, dict[str, jax.Array]]:
    """One step of every group whose turn it is.

    Kernels decay as well, decoupled from Adam's moments (Loshchilov and Hutter 2019): where gradients are only noise,
    the policy returns to its starting point instead of drifting. Biases, exploration and scales do not decay.

    Args:
        params: ``{group: parameters}``.
        optimizer: ``{group: Adam state}``.
        gradients: as ``params``.
        groups: how each group is clipped.
        hyper: learning rates, their annealing, clip norm, weight decay and update intervals.
        update: ``[]`` index of the running update.

    Returns:
        New parameters, new optimiser states, and the gradient norms before clipping ``{group: [] or [S]}``.
    """
    remaining = jnp.maximum(1.0 - hyper.anneal_learning_rate * update / hyper.total_updates, 0.0)

    def step(param: Any, state: Any, gradient: Any, rate: jax.Array) -> tuple[Any, Any, jax.Array]:
        norm = optax.tree.norm(gradient)
        factor = hyper.max_grad_norm / jnp.maximum(norm, hyper.max_grad_norm)
        direction, state = _ADAM.update(jax.tree.map(lambda g: g * factor, gradient), state)
        decay = jax.tree_util.tree_map_with_path(lambda path, p: hyper.weight_decay * _is_kernel(path) * p, param)
        return jax.tree.map(lambda p, d, w: p - rate * (d + w), param, direction, decay), state, norm

    new_params, new_optimizer, norms = {}, {}, {}
    for group in groups:
        name = group.name
        rate = jnp.asarray(hyper.learning_rate[name], jnp.float32) * remaining
        if group.stacked:
            rate = jnp.broadcast_to(rate, jax.tree.leaves(params[name])[0].shape[:1])
        stepped = (jax.vmap(step) if group.stacked else step)(params[name], optimizer[name], gradients[name], rate)
        its_turn = update % hyper.update_interval[name] == 0
        new_params[name], new_optimizer[name] = select(its_turn, stepped[:2], (params[name], optimizer[name]))
        norms[name] = stepped[2]
    return new_params, new_optimizer, norms


def _is_kernel(path: tuple[Any, ...]) -> bool:
    return getattr(path[-1], "key", None) == "kernel"


def select(condition: jax.Array, new: Any, old: Any) -> Any:
    """``new`` where a scalar condition holds, else ``old``, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
