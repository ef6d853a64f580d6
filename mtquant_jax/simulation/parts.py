"""Parts of a step in the form that a CPU computes quickly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

T = TypeVar("T")


def computed_once(function: Callable[..., T], always: jax.Array, *arguments: Any) -> T:
    """``function(*arguments)``, as one part of a compiled program.

    XLA repeats elementwise work in each operation that reads it, and some forty results are read from a step of a
    market: its program becomes five times as long as it was written, and steps take twice as long. A branch is where
    it stops. On an accelerator, where a branch costs more than work done twice, and outside of compiled programs, the
    function is just called.

    Args:
        function: of the arguments and of whatever arrays it closes over.
        always: ``[]`` bool that is true, which the compiler does not know; not batched.
        arguments: pytrees of arrays.
    """
    if jax.default_backend() != "cpu" or not isinstance(always, jax.core.Tracer):
        return function(*arguments)
    shapes = jax.eval_shape(function, *arguments)

    def never(*_: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    found: T = jax.lax.cond(always, function, never, *arguments)
    return found


def product(matrix: jax.Array, weights: jax.Array) -> jax.Array:
    """``M w`` for ``[..., N, N]`` and ``[..., N]``, in all digits of float32, which GPUs would not take by default.

    Sums along an axis of few numbers take XLA ten times as long on a CPU, for a thousand environments and more.
    """
    return jnp.einsum("...ij,...j->...i", matrix, weights, precision=jax.lax.Precision.HIGHEST)


def quadratic_form(weights: jax.Array, matrix: jax.Array) -> jax.Array:
    """``w' M w`` for ``[..., N]`` and ``[..., N, N]``, as one sum, for the same reason."""
    return jnp.sum(matrix * (weights[..., :, None] * weights[..., None, :]), axis=(-2, -1))
