"""The numbers of the pathwise learner that change without compiling."""

from __future__ import annotations

from typing import Any

import jax
from flax import struct


@struct.dataclass
class PathwiseHyper:
    """Every number of the pathwise learner that may change without compiling; scalars, or ``[S]`` where said so."""

    learning_rate: Any  # {group: [] or [S]} Adam step size at the first update
    update_interval: Any  # {group: []} the group learns in every n-th update
    total_updates: jax.Array  # [] length of the annealing
    anneal_learning_rate: jax.Array  # [] 1 anneals linearly to zero, 0 does not
    max_grad_norm: jax.Array  # []
    weight_decay: jax.Array  # [] of kernels, per unit of learning rate
    individual_weight: jax.Array  # [] of the first coordinated gradient
    coordination_weight: jax.Array  # [] of the second
    project_conflicts: jax.Array  # [] 1 projects conflicting gradients before they are added, 0 does not
