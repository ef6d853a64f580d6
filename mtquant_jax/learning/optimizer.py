"""AdamW per parameter group, clipped by the global norm of each agent, with a traced learning rate.

It steps vectors: a dozen small arrays cost a dozen times as many operations, each of which takes longer to begin than
to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax.flatten_util import ravel_pytree

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


class Vectors:
    """The parameters of every group as one vector ``[n]``, or ``[S, n]`` of a stacked one, and back."""

    def __init__(self, params: Any, groups: tuple[Group, ...]) -> None:
        """``params`` are ``{group: parameters}``, of which only the shapes count."""
        self._stacked = {group.name: group.stacked for group in groups}
        self._unravel: dict[str, Callable[[jax.Array], Any]] = {}
        self.decays: dict[str, jax.Array] = {}  # 1 where a group's vector is a kernel
        for name, stacked in self._stacked.items():
            one = jax.tree.map(lambda leaf: leaf[0], params[name]) if stacked else params[name]
            unravel = ravel_pytree(one)[1]
            self._unravel[name] = jax.vmap(unravel) if stacked else unravel
            kernels = jax.tree_util.tree_map_with_path(lambda path, leaf: jnp.full_like(leaf, _is_kernel(path)), one)
            self.decays[name] = ravel_pytree(kernels)[0]

    def of(self, params: Any) -> dict[str, jax.Array]:
        """The vectors of parameters or gradients ``{group: ...}``."""
        return {name: self._vector(name, params[name]) for name in self._stacked}

    def tree(self, vectors: Mapping[str, jax.Array]) -> dict[str, Any]:
        """Parameters of their vectors."""
        return {name: self._unravel[name](vector) for name, vector in vectors.items()}

    def of_optimizer(self, optimizer: Any) -> dict[str, Any]:
        """Adam states ``{group: ...}`` whose moments are vectors."""
        return {
            name: state._replace(mu=self._vector(name, state.mu), nu=self._vector(name, state.nu))
            for name, state in optimizer.items()
        }

    def optimizer(self, optimizer: Mapping[str, Any]) -> dict[str, Any]:
        """Adam states of those with vectors."""
        return {
            name: state._replace(mu=self._unravel[name](state.mu), nu=self._unravel[name](state.nu))
            for name, state in optimizer.items()
        }

    def _vector(self, name: str, tree: Any) -> jax.Array:
        def vector(tree: Any) -> jax.Array:
            return ravel_pytree(tree)[0]

        return jax.vmap(vector)(tree) if self._stacked[name] else vector(tree)


def apply_gradients(
    params: Any, optimizer: Any, gradients: Any, groups: tuple[Group, ...], hyper: StepHyper, update: jax.Array
) -> tuple[Any, Any, dict[str, jax.Array]]:
    """One step of every group whose turn it is; arguments and results as `step_vectors`, but in the groups' own forms.

    Args:
        params: ``{group: parameters}``.
        optimizer: ``{group: Adam state}``.
        gradients: as ``params``.
        groups: how each group is clipped.
        hyper: see `step_vectors`.
        update: ``[]`` index of the running update.
    """
    vectors = Vectors(params, groups)
    moved, states, norms = step_vectors(
        vectors, vectors.of(params), vectors.of_optimizer(optimizer), vectors.of(gradients), hyper, update
    )
    return vectors.tree(moved), vectors.optimizer(states), norms


def step_vectors(
    vectors: Vectors,
    params: Mapping[str, jax.Array],
    optimizer: Mapping[str, Any],
    gradients: Mapping[str, jax.Array],
    hyper: StepHyper,
    update: jax.Array,
) -> tuple[dict[str, jax.Array], dict[str, Any], dict[str, jax.Array]]:
    """One step of every group whose turn it is.

    Kernels decay as well, decoupled from Adam's moments (Loshchilov and Hutter 2019): where gradients are only noise,
    the policy returns to its starting point instead of drifting. Biases, exploration and scales do not decay.

    Args:
        vectors: of these groups.
        params: ``{group: vector}``.
        optimizer: ``{group: Adam state}``, with vectors.
        gradients: as ``params``.
        hyper: learning rates, their annealing, clip norm, weight decay and update intervals.
        update: ``[]`` index of the running update.

    Returns:
        New parameters, new optimiser states, and the gradient norms before clipping ``{group: [] or [S]}``.
    """
    remaining = jnp.maximum(1.0 - hyper.anneal_learning_rate * update / hyper.total_updates, 0.0)
    new_params, new_optimizer, norms = {}, {}, {}
    for name, param in params.items():
        decays = vectors.decays[name]

        def step(
            param: jax.Array, state: Any, gradient: jax.Array, rate: jax.Array, decays: jax.Array = decays
        ) -> tuple[jax.Array, Any, jax.Array]:
            norm = jnp.sqrt(jnp.sum(gradient**2))
            factor = hyper.max_grad_norm / jnp.maximum(norm, hyper.max_grad_norm)
            direction: Any
            direction, state = _ADAM.update(gradient * factor, state)
            return param - rate * (direction + hyper.weight_decay * decays * param), state, norm

        rate = jnp.asarray(hyper.learning_rate[name], jnp.float32) * remaining
        stacked = param.ndim > 1
        rate = jnp.broadcast_to(rate, param.shape[:-1])
        stepped = (jax.vmap(step) if stacked else step)(param, optimizer[name], gradients[name], rate)
        its_turn = update % hyper.update_interval[name] == 0
        new_params[name], new_optimizer[name] = select(its_turn, stepped[:2], (param, optimizer[name]))
        norms[name] = stepped[2]
    return new_params, new_optimizer, norms


def _is_kernel(path: tuple[Any, ...]) -> bool:
    return getattr(path[-1], "key", None) == "kernel"


def select(condition: jax.Array, new: Any, old: Any) -> Any:
    """``new`` where a scalar condition holds, else ``old``, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
