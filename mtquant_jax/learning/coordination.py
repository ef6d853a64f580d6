"""What joint training does to conflicting gradients: project each onto the other's normal plane, then add.

PCGrad, Yu et al., Gradient Surgery for Multi-Task Learning (2020).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp


def coordinate(
    own: Any, shared: Any, own_weight: jax.Array, shared_weight: jax.Array, project: jax.Array
) -> tuple[Any, dict[str, jax.Array]]:
    """Combine two gradients of the same stacked parameters, agent by agent.

    Args:
        own: gradients of each agent's own objective, leaves ``[S, ...]``.
        shared: gradients of the shared objective, leaves ``[S, ...]``.
        own_weight: ``[]`` weight of the first.
        shared_weight: ``[]`` weight of the second.
        project: ``[]`` 1 projects in case of conflict, 0 only adds.

    Returns:
        own_weight x own' + shared_weight x shared', where a prime marks the projection in case of conflict, and
        metrics ``[S]``: ``gradient_cosine``, ``gradient_conflict`` (1 where the cosine is negative),
        ``own_gradient_norm``, ``shared_gradient_norm``.
    """
    product, own_square, shared_square = _dot(own, shared), _dot(own, own), _dot(shared, shared)
    conflict = project * jnp.minimum(product, 0.0)  # no conflict, no projection
    own_projected = _subtract(own, conflict / jnp.maximum(shared_square, 1e-20), shared)
    shared_projected = _subtract(shared, conflict / jnp.maximum(own_square, 1e-20), own)
    combined = jax.tree.map(lambda a, b: own_weight * a + shared_weight * b, own_projected, shared_projected)
    metrics = {
        "gradient_cosine": product / jnp.maximum(jnp.sqrt(own_square * shared_square), 1e-20),
        "gradient_conflict": (product < 0.0).astype(product.dtype),
        "own_gradient_norm": jnp.sqrt(own_square),
        "shared_gradient_norm": jnp.sqrt(shared_square),
    }
    return combined, metrics


def _dot(left: Any, right: Any) -> jax.Array:
    """Inner product per agent ``[S]``."""
    products = jax.tree.map(lambda a, b: jnp.sum((a * b).reshape(a.shape[0], -1), axis=-1), left, right)
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))


def _subtract(left: Any, factor: jax.Array, right: Any) -> Any:
    """``left - factor x right`` with one factor ``[S]`` per agent."""
    return jax.tree.map(lambda a, b: a - factor.reshape(-1, *[1] * (a.ndim - 1)) * b, left, right)
