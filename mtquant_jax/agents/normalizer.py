"""Running mean and variance of observations: one frozen set per rollout and update, extended afterwards."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

_CLIP = 10.0  # standard deviations
_SMALLEST_STD = 1e-3


@struct.dataclass
class Normalizer:
    """Statistics of a pytree of inputs; the first update replaces the starting values."""

    count: jax.Array  # [] float32, observations seen
    mean: Any  # like the inputs without their batch axes
    variance: Any  # likewise

    def normalise(self, inputs: Any) -> Any:
        """Inputs in standard deviations from their mean, clipped at 10; constants become 0."""

        def leaf(value: jax.Array, mean: jax.Array, variance: jax.Array) -> jax.Array:
            deviation = jnp.maximum(jnp.sqrt(variance), _SMALLEST_STD)
            return jnp.clip((value - mean) / deviation, -_CLIP, _CLIP)

        return jax.tree.map(leaf, inputs, self.mean, self.variance)

    def extend(self, inputs: Any) -> Normalizer:
        """Merge a batch (leading axes beyond those of ``mean``) by the parallel formula of Chan et al. (1979)."""
        leaf = jax.tree.leaves(inputs)[0]
        batch_axes = leaf.ndim - jax.tree.leaves(self.mean)[0].ndim
        axes = tuple(range(batch_axes))
        size = 1.0
        for length in leaf.shape[:batch_axes]:
            size *= length
        total = self.count + size
        batch_mean = jax.tree.map(lambda x: jnp.mean(x, axes), inputs)
        batch_variance = jax.tree.map(lambda x: jnp.var(x, axes), inputs)
        mean = jax.tree.map(lambda old, new: old + (new - old) * (size / total), self.mean, batch_mean)
        variance = jax.tree.map(
            lambda old, new, old_mean, new_mean: (
                (old * self.count + new * size) / total
                + (new_mean - old_mean) ** 2 * (self.count / total) * (size / total)
            ),
            self.variance,
            batch_variance,
            self.mean,
            batch_mean,
        )
        return Normalizer(count=total, mean=mean, variance=variance)


def start_normalizer(inputs: Any) -> Normalizer:
    """Statistics that change nothing, for inputs of the given shapes (arrays or `jax.ShapeDtypeStruct`)."""
    return Normalizer(
        count=jnp.zeros(()),
        mean=jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), inputs),
        variance=jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), inputs),
    )
