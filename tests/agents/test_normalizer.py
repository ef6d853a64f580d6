"""Running statistics against NumPy over everything seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.agents.normalizer import start_normalizer
from tests.conftest import f32


def batches(seed=0, sizes=((7, 3), (2, 11), (20, 5))):
    """Batches with two leading axes of a pytree: ``[..., 4]`` and ``[..., 2, 3]``, each on a scale of its own."""
    generator = np.random.default_rng(seed)
    for i, size in enumerate(sizes):
        yield {
            "a": f32(50.0 + i + 3.0 * generator.normal(size=(*size, 4))),
            "b": f32(1e-2 * generator.normal(size=(*size, 2, 3)) - 0.02 * i),
        }


EXAMPLE = {"a": jax.ShapeDtypeStruct((4,), jnp.float32), "b": jax.ShapeDtypeStruct((2, 3), jnp.float32)}


def test_statistics_are_those_of_all_batches_together():
    normalizer, seen = start_normalizer(EXAMPLE), {"a": [], "b": []}
    for batch in batches():
        normalizer = jax.jit(lambda n, x: n.extend(x))(normalizer, batch)
        for name, values in batch.items():
            seen[name].append(np.asarray(values, np.float64).reshape(-1, *EXAMPLE[name].shape))
        for name in seen:
            together = np.concatenate(seen[name])
            np.testing.assert_allclose(normalizer.mean[name], together.mean(0), rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(normalizer.variance[name], together.var(0), rtol=1e-4)
    assert float(normalizer.count) == 7 * 3 + 2 * 11 + 20 * 5


def test_the_starting_values_leave_inputs_alone_and_no_trace():
    normalizer = start_normalizer(EXAMPLE)
    batch = next(batches())
    small = {name: values / 100 for name, values in batch.items()}
    for name, values in normalizer.normalise(small).items():
        np.testing.assert_allclose(values, small[name], rtol=1e-6)
    first = normalizer.extend(batch)
    np.testing.assert_allclose(first.mean["a"], np.mean(np.asarray(batch["a"], np.float64), (0, 1)), rtol=1e-5)
    np.testing.assert_allclose(first.variance["a"], np.var(np.asarray(batch["a"], np.float64), (0, 1)), rtol=1e-4)


def test_what_was_seen_is_normalised_to_zero_mean_and_unit_deviation():
    batch = next(batches(sizes=((40, 25),)))
    normalised = start_normalizer(EXAMPLE).extend(batch).normalise(batch)
    for values in normalised.values():
        np.testing.assert_allclose(np.mean(values, (0, 1)), 0.0, atol=1e-4)
        np.testing.assert_allclose(np.std(values, (0, 1)), 1.0, rtol=1e-3)


def test_a_constant_becomes_zero_and_outliers_are_cut_at_ten():
    normalizer = start_normalizer(jnp.zeros(2)).extend(f32([[3.0, 0.0], [3.0, 2.0]]))
    # Second column: mean 1, deviation 1.
    np.testing.assert_allclose(normalizer.normalise(f32([3.0, 1e6])), [0.0, 10.0])
    np.testing.assert_allclose(normalizer.normalise(f32([3.0, -1e6])), [0.0, -10.0])
    np.testing.assert_allclose(normalizer.normalise(f32([3.0, 1.5])), [0.0, 0.5])


def test_the_order_of_batches_does_not_matter():
    one, other = start_normalizer(EXAMPLE), start_normalizer(EXAMPLE)
    all_batches = list(batches())
    for forwards, backwards in zip(all_batches, reversed(all_batches), strict=True):
        one, other = one.extend(forwards), other.extend(backwards)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4)


def test_extending_an_old_count_moves_statistics_little():
    normalizer = start_normalizer(jnp.zeros(())).extend(f32(np.zeros(1000)))
    # One value of 1 after a thousand zeros: mean 1 / 1001, variance 1000 / 1001^2.
    normalizer = normalizer.extend(f32([1.0]))
    assert float(normalizer.mean) == pytest.approx(1 / 1001, rel=1e-5)
    assert float(normalizer.variance) == pytest.approx(1000 / 1001**2, rel=1e-4)
