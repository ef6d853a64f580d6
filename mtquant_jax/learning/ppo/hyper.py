"""The numbers of PPO that change without compiling."""

from __future__ import annotations

from typing import Any

import jax
from flax import struct


@struct.dataclass
class Hyper:
    """Every number of PPO that may change without compiling; scalars, or ``[S]`` for stacked groups."""

    learning_rate: Any  # {group: [] or [S]} Adam step size at the first update
    update_interval: Any  # {group: []} the group learns in every n-th update
    total_updates: jax.Array  # [] length of the annealing
    anneal_learning_rate: jax.Array  # [] 1 anneals linearly to zero, 0 does not
    gamma: jax.Array
    gae_lambda: jax.Array
    clip_range: jax.Array
    value_clip_range: jax.Array  # 0 is off
    value_weight: jax.Array
    entropy_weight: jax.Array
    max_grad_norm: jax.Array
    weight_decay: jax.Array  # of kernels, per unit of learning rate
    target_kl: jax.Array  # 0 is off
    leash: jax.Array  # weight of KL(policy || reference)
    individual_weight: jax.Array  # of the first coordinated gradient
    coordination_weight: jax.Array  # of the second
    project_conflicts: jax.Array  # [] 1 projects conflicting gradients before they are added, 0 does not
