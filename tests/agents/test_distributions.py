"""The action distributions against scipy and closed forms; padding never counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from mtquant_jax.agents.distributions import Categorical, DiagonalGaussian
from tests.conftest import f32

MASK = np.array([[True, True, False], [True, True, True]])


def gaussian(seed=0, batch=(5,), mask=MASK, spread=1.0) -> DiagonalGaussian:
    """Two agents, of which the first has no third action."""
    generator = np.random.default_rng(seed)
    return DiagonalGaussian(
        mean=f32(generator.normal(size=(*batch, 2, 3))),
        log_std=f32(spread * generator.normal(size=(2, 3))),
        mask=jnp.asarray(mask),
    )


def masked_sum(terms):
    return np.where(MASK, terms, 0.0).sum(-1)


def test_log_prob_is_the_sum_of_normal_log_densities():
    policy, action = gaussian(), f32(np.random.default_rng(1).normal(size=(5, 2, 3)))
    expected = stats.norm.logpdf(np.asarray(action), np.asarray(policy.mean), np.exp(np.asarray(policy.log_std)))
    np.testing.assert_allclose(policy.log_prob(action), masked_sum(expected), rtol=2e-5, atol=1e-5)


def test_entropy_is_the_sum_of_normal_entropies():
    policy = gaussian()
    expected = masked_sum(stats.norm.entropy(scale=np.exp(np.asarray(policy.log_std))))
    np.testing.assert_allclose(policy.entropy(), np.broadcast_to(expected, (5, 2)), rtol=1e-5)


def test_kl_divergence_is_the_closed_form():
    one, other = gaussian(2), gaussian(3)
    s, r = np.exp(np.asarray(one.log_std)), np.exp(np.asarray(other.log_std))
    distance = np.asarray(one.mean) - np.asarray(other.mean)
    expected = masked_sum(np.log(r / s) + (s**2 + distance**2) / (2 * r**2) - 0.5)
    np.testing.assert_allclose(one.kl_to(other), expected, rtol=1e-4, atol=1e-5)
    assert np.all(np.asarray(one.kl_to(other)) > 0.0)


def test_kl_divergence_is_the_expected_difference_of_log_probs():
    one, other = gaussian(2, batch=(), spread=0.3), gaussian(3, batch=(), spread=0.3)
    draws = jax.vmap(one.sample)(one.noise(jax.random.key(0), 40_000))
    estimate = np.mean(np.asarray(jax.vmap(lambda a: one.log_prob(a) - other.log_prob(a))(draws)), axis=0)
    np.testing.assert_allclose(estimate, one.kl_to(other), rtol=0.05)


def test_kl_divergence_to_itself_is_zero_with_zero_gradient():
    policy = gaussian()
    np.testing.assert_array_equal(policy.kl_to(policy), np.zeros((5, 2)))
    gradient = jax.grad(lambda m: jnp.sum(policy.replace(mean=m).kl_to(policy)))(policy.mean)
    assert not np.any(np.asarray(gradient))


def test_samples_have_the_mean_and_deviation_of_the_distribution():
    policy = gaussian(batch=())
    draws = np.asarray(jax.vmap(policy.sample)(policy.noise(jax.random.key(1), 20_000)))
    deviation = np.exp(np.asarray(policy.log_std))
    mean = np.asarray(policy.mean)
    np.testing.assert_allclose(draws.mean(0)[MASK], mean[MASK], atol=float(4 * deviation.max() / np.sqrt(20_000)))
    np.testing.assert_allclose(draws.std(0)[MASK], deviation[MASK], rtol=0.03)


def test_padded_actions_are_zero_in_samples_and_in_the_mode():
    policy = gaussian()
    for action in (policy.sample(policy.noise(jax.random.key(0), 1)[0]), policy.mode()):
        assert not np.any(np.asarray(action)[:, 0, 2])
        assert np.all(np.asarray(action)[:, MASK] != 0.0)
    np.testing.assert_array_equal(np.asarray(policy.mode())[:, MASK], np.asarray(policy.mean)[:, MASK])


@pytest.mark.parametrize("rubbish", [1e6, np.inf, np.nan])
def test_nothing_padded_enters_any_figure(rubbish):
    policy, other = gaussian(), gaussian(4)
    action = policy.sample(policy.noise(jax.random.key(0), 1)[0])
    dirty = policy.replace(mean=policy.mean.at[:, 0, 2].set(rubbish))
    dirty = dirty.replace(log_std=policy.log_std.at[0, 2].set(rubbish))
    dirty_action = action.at[:, 0, 2].set(rubbish)
    np.testing.assert_array_equal(dirty.log_prob(dirty_action), policy.log_prob(action))
    np.testing.assert_array_equal(dirty.entropy(), policy.entropy())
    np.testing.assert_array_equal(dirty.kl_to(other), policy.kl_to(other))
    np.testing.assert_array_equal(dirty.mode(), policy.mode())


def test_padded_parameters_get_no_gradient():
    policy, action = gaussian(), gaussian(5).mean

    def total(mean, log_std):
        one = policy.replace(mean=mean, log_std=log_std)
        return jnp.sum(one.log_prob(action) + one.entropy() + one.kl_to(gaussian(6)))

    by_mean, by_log_std = jax.grad(total, (0, 1))(policy.mean, policy.log_std)
    assert not np.any(np.asarray(by_mean)[:, 0, 2])
    assert float(by_log_std[0, 2]) == 0.0
    assert np.all(np.asarray(by_log_std)[MASK] != 0.0)


def categorical(*rows, mask=True) -> Categorical:
    """Agents with the given probabilities of their choices, logits shifted: only differences count."""
    return Categorical(logits=jnp.log(f32(rows)) + 3.0, mask=jnp.broadcast_to(jnp.asarray(mask), np.shape(rows)))


def test_categorical_figures_worked_by_hand():
    policy = categorical((0.5, 0.25, 0.25), (0.1, 0.2, 0.7))
    action = jnp.array([[0], [2]])
    np.testing.assert_allclose(policy.log_prob(action), np.log([0.5, 0.7]), rtol=1e-5)
    np.testing.assert_allclose(policy.entropy()[0], 1.5 * np.log(2.0), rtol=1e-5)  # one bit and a half
    np.testing.assert_array_equal(policy.mode(), [[0], [2]])
    other = categorical((0.25, 0.25, 0.5), (0.1, 0.2, 0.7))
    np.testing.assert_allclose(policy.kl_to(other)[0], 0.25 * np.log(2.0), rtol=1e-5)  # (1/2 - 1/4) ln 2
    np.testing.assert_allclose(policy.kl_to(other)[1], 0.0, atol=1e-6)
    np.testing.assert_array_equal(policy.kl_to(policy), [0.0, 0.0])


def test_categorical_draws_as_often_as_it_says():
    policy = categorical((0.5, 0.25, 0.25), (0.1, 0.2, 0.7))
    draws = np.asarray(jax.vmap(policy.sample)(policy.noise(jax.random.key(2), 20_000)))
    assert draws.shape == (20_000, 2, 1)
    assert draws.dtype == np.int32
    frequencies = (draws == np.arange(3)).mean(0)
    np.testing.assert_allclose(frequencies, [[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]], atol=0.015)


def test_choices_that_an_agent_lacks_are_never_drawn_and_never_counted():
    mask = [[True, True, False], [False, False, False]]  # the second agent has nothing to choose
    policy = categorical((0.1, 0.3, 0.6), (0.2, 0.3, 0.5), mask=mask)
    draws = np.asarray(jax.vmap(policy.sample)(policy.noise(jax.random.key(3), 4_000)))
    np.testing.assert_allclose((draws[:, 0] == np.arange(3)).mean(0), [0.25, 0.75, 0.0], atol=0.03)
    assert not np.any(draws[:, 1])
    np.testing.assert_array_equal(policy.mode(), [[1], [0]])
    np.testing.assert_allclose(policy.log_prob(jnp.array([[1], [0]])), [np.log(0.75), 0.0], rtol=1e-5)
    assert float(policy.log_prob(jnp.array([[2], [0]]))[0]) < -1e20
    np.testing.assert_allclose(policy.entropy(), [-0.25 * np.log(0.25) - 0.75 * np.log(0.75), 0.0], rtol=1e-5)
    dirty = policy.replace(logits=policy.logits.at[0, 2].set(np.nan))
    for figure in (Categorical.entropy, Categorical.mode, lambda p: p.kl_to(policy)):
        np.testing.assert_array_equal(figure(dirty), figure(policy))


def test_choices_that_an_agent_lacks_get_no_gradient():
    policy = categorical((0.1, 0.3, 0.6), (0.2, 0.3, 0.5), mask=[[True, True, False], [True, True, True]])
    other = categorical((0.4, 0.3, 0.3), (0.4, 0.3, 0.3), mask=policy.mask)

    def total(logits):
        one = policy.replace(logits=logits)
        return jnp.sum(one.log_prob(jnp.array([[1], [0]])) + one.entropy() + one.kl_to(other))

    gradient = np.asarray(jax.grad(total)(policy.logits))
    assert gradient[0, 2] == 0.0
    assert np.all(np.isfinite(gradient))
    assert np.count_nonzero(gradient) == 5
