"""One optimiser step: what decays, what is clipped, whose turn it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.agents.contract import Group
from mtquant_jax.learning.optimizer import Vectors, apply_gradients, start_optimizer
from tests.learning import toys

GROUP = (Group("toy"),)
PARAMS = {
    "toy": {"mean": {"kernel": jnp.array([[2.0, -4.0]]), "bias": jnp.array([3.0, 3.0])}, "log_std": jnp.array([-1.0])}
}


def step(params=PARAMS, gradients=None, group=GROUP, update=0, **changes):
    gradients = jax.tree.map(jnp.zeros_like, params) if gradients is None else gradients
    hyper = toys.hyper(10, learning_rate={"toy": 0.01}, **changes)
    return apply_gradients(params, start_optimizer(params, group), gradients, group, hyper, jnp.int32(update))


def test_without_gradients_kernels_decay_by_learning_rate_times_decay_and_nothing_else_does():
    new, _, _ = step(weight_decay=5.0)
    np.testing.assert_allclose(new["toy"]["mean"]["kernel"], 0.95 * PARAMS["toy"]["mean"]["kernel"], rtol=1e-6)
    np.testing.assert_array_equal(new["toy"]["mean"]["bias"], PARAMS["toy"]["mean"]["bias"])
    np.testing.assert_array_equal(new["toy"]["log_std"], PARAMS["toy"]["log_std"])


def test_decay_follows_the_annealed_learning_rate():
    new, _, _ = step(weight_decay=5.0, anneal_learning_rate=1.0, update=5)
    np.testing.assert_allclose(new["toy"]["mean"]["kernel"], 0.975 * PARAMS["toy"]["mean"]["kernel"], rtol=1e-6)


def test_decay_does_not_enter_adams_moments():
    gradients = jax.tree.map(jnp.ones_like, PARAMS)
    with_decay, without = (step(gradients=gradients, weight_decay=decay) for decay in (5.0, 0.0))
    jax.tree.map(np.testing.assert_array_equal, with_decay[1], without[1])
    np.testing.assert_allclose(
        with_decay[0]["toy"]["mean"]["kernel"] - without[0]["toy"]["mean"]["kernel"],
        -0.05 * PARAMS["toy"]["mean"]["kernel"],
        rtol=1e-4,
    )


def test_stacked_agents_decay_each_by_its_own_learning_rate():
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), PARAMS)
    group = (Group("toy", stacked=True),)
    hyper = {"learning_rate": {"toy": jnp.array([0.01, 0.1])}}
    settings = toys.hyper(10, weight_decay=5.0).replace(**hyper)
    gradients = jax.tree.map(jnp.zeros_like, params)
    new, _, _ = apply_gradients(params, start_optimizer(params, group), gradients, group, settings, jnp.int32(0))
    kernel = PARAMS["toy"]["mean"]["kernel"]
    np.testing.assert_allclose(new["toy"]["mean"]["kernel"], jnp.stack([0.95 * kernel, 0.5 * kernel]), rtol=1e-6)


@pytest.mark.parametrize(("update", "moves"), [(0, True), (1, False), (5, True)])
def test_a_group_that_does_not_learn_in_an_update_does_not_decay_either(update, moves):
    new, _, _ = step(weight_decay=5.0, update_interval={"toy": 5.0}, update=update)
    assert np.array_equal(new["toy"]["mean"]["kernel"], PARAMS["toy"]["mean"]["kernel"]) is not moves


def test_vectors_of_parameters_and_back_are_the_parameters():
    params = {
        "alone": {
            "dense": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.full(3, -1.0)},
            "log_std": jnp.ones(2),
        },
        "stacked": {"kernel": jnp.arange(8.0).reshape(2, 2, 2), "bias": jnp.full((2, 2), 7.0)},
    }
    vectors = Vectors(params, (Group("alone"), Group("stacked", (0, 1), stacked=True)))
    found = vectors.of(params)
    assert {name: vector.shape for name, vector in found.items()} == {"alone": (11,), "stacked": (2, 6)}
    jax.tree.map(np.testing.assert_array_equal, vectors.tree(found), params)
    # Only kernels decay.
    assert {name: int(decays.sum()) for name, decays in vectors.decays.items()} == {"alone": 6, "stacked": 4}
