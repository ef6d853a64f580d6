"""The numbers of PPO that change without compiling."""

from __future__ import annotations

import jax
from flax import struct

from mtquant_jax.learning.optimizer import StepHyper


@struct.dataclass
class Hyper(StepHyper):
    """Every number of PPO that may change without compiling, scalars; those of its steps are inherited."""

    gamma: jax.Array
    gae_lambda: jax.Array
    clip_range: jax.Array
    value_clip_range: jax.Array  # 0 is off
    value_weight: jax.Array
    entropy_weight: jax.Array
    target_kl: jax.Array  # 0 is off
    leash: jax.Array  # weight of KL(policy || reference)
