"""Advantages against a naive loop, and the toy values of learning.md."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.ppo.gae import advantages
from tests.conftest import f32


def naive(reward, value, next_value, terminated, truncated, gamma, lam):
    steps = len(reward)
    result = np.zeros_like(reward)
    for t in range(steps):
        weight, total = 1.0, np.zeros_like(reward[0])
        for u in range(t, steps):
            bootstrap = 0.0 if terminated[u] else next_value[u]
            total = total + weight * (reward[u] + gamma * bootstrap - value[u])
            if terminated[u] or truncated[u]:
                break
            weight *= gamma * lam
        result[t] = total
    return result


@pytest.mark.parametrize("seed", range(5))
def test_against_a_naive_loop(seed):
    generator = np.random.default_rng(seed)
    steps, agents = 24, 3
    reward, value, next_value = generator.normal(size=(3, steps, agents))
    terminated = generator.random(steps) < 0.15
    truncated = generator.random(steps) < 0.15  # some steps have both: termination wins
    result = jax.jit(advantages)(
        *(f32(x)[:, None] for x in (reward, value, next_value)), terminated[:, None], truncated[:, None], 0.97, 0.9
    )
    expected = naive(reward, value, next_value, terminated, truncated, 0.97, 0.9)
    np.testing.assert_allclose(result[:, 0], expected, rtol=2e-5, atol=2e-5)


def test_truncation_bootstraps_and_termination_does_not():
    one = jnp.ones((1, 1, 1))
    no, yes = jnp.zeros((1, 1), bool), jnp.ones((1, 1), bool)
    arguments = (one, 0.5 * one, 10.0 * one)
    assert float(advantages(*arguments, no, yes, 0.9, 0.95)[0, 0, 0]) == pytest.approx(1 + 9 - 0.5)
    assert float(advantages(*arguments, yes, no, 0.9, 0.95)[0, 0, 0]) == pytest.approx(1 - 0.5)
    assert float(advantages(*arguments, yes, yes, 0.9, 0.95)[0, 0, 0]) == pytest.approx(1 - 0.5)
