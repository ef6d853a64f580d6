"""PCGrad worked by hand, agent by agent."""

import numpy as np
import pytest

from mtquant_jax.learning.coordination import coordinate
from tests.conftest import f32


def test_conflicting_gradients_are_projected_and_agreeing_ones_are_not():
    # Agent 0: (1, 0) and (-1, 1), cosine -1/sqrt 2. Agent 1: (1, 0) and (1, 1).
    own, shared = {"w": f32([[1.0, 0.0], [1.0, 0.0]])}, {"w": f32([[-1.0, 1.0], [1.0, 1.0]])}
    combined, metrics = coordinate(own, shared, f32(0.5), f32(0.5), f32(1.0))
    # own' = (1, 0) + 1/2 (-1, 1) = (1/2, 1/2); shared' = (-1, 1) + (1, 0) = (0, 1); half of each: (1/4, 3/4).
    np.testing.assert_allclose(combined["w"], [[0.25, 0.75], [1.0, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(metrics["gradient_cosine"], [-(0.5**0.5), 0.5**0.5], rtol=1e-6)
    np.testing.assert_array_equal(metrics["gradient_conflict"], [1.0, 0.0])
    np.testing.assert_allclose(metrics["shared_gradient_norm"], [2**0.5, 2**0.5], rtol=1e-6)


def test_the_result_never_points_against_either_gradient():
    generator = np.random.default_rng(0)
    own, shared = ({"a": f32(generator.normal(size=(8, 3))), "b": f32(generator.normal(size=(8, 2, 2)))} for _ in "12")
    combined, _ = coordinate(own, shared, f32(0.5), f32(0.5), f32(1.0))

    def dot(x, y):
        return sum(np.sum(np.asarray(x[k] * y[k]).reshape(8, -1), -1) for k in x)

    assert (dot(combined, own) > -1e-5).all()
    assert (dot(combined, shared) > -1e-5).all()


def test_weights_scale_the_two_gradients():
    own, shared = {"w": f32([[2.0, 0.0]])}, {"w": f32([[0.0, 3.0]])}
    combined, _ = coordinate(own, shared, f32(0.25), f32(0.75), f32(1.0))
    assert combined["w"][0].tolist() == pytest.approx([0.5, 2.25])


def test_without_projection_conflicting_gradients_are_added_as_they_are():
    own, shared = {"w": f32([[1.0, 0.0]])}, {"w": f32([[-1.0, 1.0]])}
    combined, metrics = coordinate(own, shared, f32(0.5), f32(0.5), f32(0.0))
    np.testing.assert_allclose(combined["w"], [[0.0, 0.5]], atol=1e-7)
    np.testing.assert_array_equal(metrics["gradient_conflict"], [1.0])  # reported all the same
