"""The dense layer's product and its gradients are those of the ordinary one."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.agents.dense import dense_layer, matmul


@pytest.mark.parametrize("outputs", [1, 3, 16, 64])
@pytest.mark.parametrize("shape", [(24,), (7, 24), (5, 3, 24)])
def test_it_is_the_ordinary_layer(shape, outputs):
    ours, plain = dense_layer(outputs), nn.Dense(outputs)
    inputs = jax.random.normal(jax.random.key(1), shape)
    params = ours.init(jax.random.key(0), inputs)
    jax.tree.map(np.testing.assert_array_equal, params, plain.init(jax.random.key(0), inputs))

    def loss(layer, params, inputs):
        return jnp.sum(jnp.sin(layer.apply(params, inputs)))

    for found, expected in zip(
        *(jax.value_and_grad(loss, argnums=(1, 2))(layer, params, inputs) for layer in (ours, plain)), strict=True
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), found, expected)


def test_it_can_be_vmapped_over_layers():
    layer, inputs = dense_layer(20), jax.random.normal(jax.random.key(1), (4, 9, 6))
    params = jax.vmap(layer.init)(jax.random.split(jax.random.key(0), 4), inputs)
    gradient = jax.grad(lambda p: jnp.sum(jax.vmap(layer.apply)(p, inputs) ** 2))

    def alone(i):
        one = jax.tree.map(lambda leaf: leaf[i], params)
        return jax.grad(lambda p: jnp.sum(layer.apply(p, inputs[i]) ** 2))(one)

    each = [alone(i) for i in range(4)]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5), gradient(params), expected)


def test_half_precision_rounds_the_factors_and_nothing_else():
    """Products of rounded factors, of values and of gradients, are summed and kept in float32."""
    inputs, kernel = jax.random.normal(jax.random.key(0), (7, 24)), jax.random.normal(jax.random.key(1), (24, 20))

    def rounded(array):
        return array.astype(jnp.bfloat16).astype(jnp.float32)

    found, pull = jax.vjp(lambda *factors: matmul(*factors, True), inputs, kernel)
    sent = jax.random.normal(jax.random.key(2), found.shape)
    expected = [rounded(inputs) @ rounded(kernel), rounded(sent) @ rounded(kernel).T, rounded(inputs).T @ rounded(sent)]
    for one, other in zip([found, *pull(sent)], expected, strict=True):
        assert one.dtype == jnp.float32
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    assert np.max(np.abs(found - inputs @ kernel)) > 1e-3
