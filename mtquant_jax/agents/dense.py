"""A dense layer whose gradient is computed in the form that CPUs multiply fastest."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

_WIDE = 16  # outputs from which the samples are transposed, and not the gradients


def _product(left: jax.Array, right: jax.Array, half: bool) -> jax.Array:
    """``[..., I] @ [I, O] -> [..., O]`` in float32, of factors rounded to bfloat16 where ``half``."""
    if not half:
        return left @ right
    rounded = left.astype(jnp.bfloat16), right.astype(jnp.bfloat16)
    return jnp.matmul(*rounded, preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def matmul(inputs: jax.Array, kernel: jax.Array, half: bool = False) -> jax.Array:
    """``[..., I] @ [I, O] -> [..., O]``; ``half`` rounds all factors to bfloat16, also those of gradients.

    The gradient of the kernel sums over all samples. As the compiler writes it, with the transposition inside the
    product, XLA leaves it to a slow routine on a CPU; with the transposition done before, it takes two thirds of that.
    """
    return _product(inputs, kernel, half)


def _forward(inputs: jax.Array, kernel: jax.Array, half: bool) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _product(inputs, kernel, half), (inputs, kernel)


def _backward(half: bool, saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    inputs, kernel = saved
    samples, gradients = (array.reshape(-1, array.shape[-1]) for array in (inputs, gradient))
    on_cpu = jax.default_backend() == "cpu"
    first = jax.lax.optimization_barrier if on_cpu else lambda array: array
    if on_cpu and kernel.shape[1] < min(kernel.shape[0], _WIDE):  # the smaller one is transposed
        of_kernel = first(_product(first(gradients.T), samples, half)).T
    else:
        of_kernel = _product(first(samples.T), gradients, half)
    return _product(gradient, kernel.T, half), of_kernel


matmul.defvjp(_forward, _backward)


def _dot_general(half: bool, inputs: jax.Array, kernel: jax.Array, numbers: Any, precision: Any = None) -> jax.Array:
    """The product that a dense layer asks for: of the last axis of its inputs with the first of its kernel."""
    return matmul(inputs, kernel, half)


_DOT_GENERALS = {half: functools.partial(_dot_general, half) for half in (False, True)}  # once, for comparison


def dense_layer(features: int, half: bool = False) -> nn.Dense:
    """`flax.linen.Dense` whose products are those of `matmul`: on a CPU, their gradients are in another order."""
    return nn.Dense(features, dot_general=_DOT_GENERALS[half])
