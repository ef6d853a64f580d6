"""Advantages against a naive loop, the toy values of learning.md, and what taking the market's luck out leaves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.agents.contract import ControlVariate
from mtquant_jax.learning.ppo.gae import advantages, without_exogenous_noise
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


# What the action cannot change.


def column(values):
    """``[L] -> [L, 1, 1]``: one environment, one agent or instrument."""
    return f32(values)[:, None, None]


@pytest.mark.parametrize(
    ("ended", "rest", "left"),
    [
        # gamma lambda = 0.5, driver 1, 2, 4. The episode ends with the second step: sums 1 + 0.5 x 2 = 2, 2, 4, less
        # their mean 8/3: -2/3, -2/3, 4/3. Weight (-2/3 x 1 - 2/3 x 0 + 4/3 x 5) / (4/9 + 4/9 + 16/9) = 6 / (8/3) = 9/4;
        # 1 + 3/2, 0 + 3/2, 5 - 3. Sums of squares about the mean 2: 1 + 4 + 9 = 14 before, 1/4 + 1/4 after.
        ([False, True, False], [2.5, 1.5, 2.0], 0.5 / 14.0),
        # It goes on: sums 1 + 0.5 x 2 + 0.25 x 4 = 3, 2 + 0.5 x 4 = 4, 4, less 11/3: -2/3, 1/3, 1/3. Weight
        # (-2/3 + 5/3) / (4/9 + 1/9 + 1/9) = 3/2; 1 + 1, 0 - 1/2, 5 - 1/2. Left 0 + 25/4 + 25/4 of 14.
        ([False, False, False], [2.0, -0.5, 4.5], 12.5 / 14.0),
    ],
    ids=["cut at the end of an episode", "within an episode"],
)
def test_noise_taken_out_by_hand(ended, rest, left):
    control = ControlVariate(exposure=jnp.ones((3, 1, 1, 1)), driver=column([1.0, 2.0, 4.0])[..., None])
    arguments = (column([1.0, 0.0, 5.0]), control, jnp.asarray(ended)[:, None], f32(0.8), f32(0.625))
    result, share = jax.jit(without_exogenous_noise)(*arguments)
    np.testing.assert_allclose(result[:, 0, 0], rest, rtol=1e-5)
    np.testing.assert_allclose(share, [left], rtol=1e-5)


def test_exposure_is_that_before_the_action_and_instruments_add_up():
    # No discounting over steps (gamma lambda = 0): luck 2 x 1 - 1 x 3 = -1 and 0 x 2 + 1 x 1 = 1, mean 0.
    exposure, driver = f32([[2.0, -1.0], [0.0, 1.0]])[:, None, None], f32([[1.0, 3.0], [2.0, 1.0]])[:, None, None]
    never = jnp.zeros((2, 1), bool)
    rest, share = without_exogenous_noise(
        column([-1.0, 5.0]), ControlVariate(exposure=exposure, driver=driver), never, f32(0.9), f32(0.0)
    )
    # Weight (1 + 5) / 2 = 3: nothing but the mean 2 is left of two samples.
    np.testing.assert_allclose(rest[:, 0, 0], [2.0, 2.0], rtol=1e-6)
    np.testing.assert_allclose(share, [0.0], atol=1e-6)


def test_each_agent_has_its_own_weight_and_who_holds_nothing_keeps_its_advantages():
    generator = np.random.default_rng(0)
    advantage, driver = f32(generator.normal(size=(6, 4, 3))), f32(generator.normal(size=(6, 4, 1, 2)))
    exposure = f32(generator.normal(size=(6, 4, 3, 2))).at[:, :, 1].set(0.0)
    never = jnp.zeros((6, 4), bool)
    rest, share = without_exogenous_noise(advantage, ControlVariate(exposure, driver), never, f32(0.9), f32(0.9))
    np.testing.assert_array_equal(rest[..., 1], advantage[..., 1])
    assert float(share[1]) == pytest.approx(1.0)
    for agent in (0, 2):
        own = ControlVariate(exposure[:, :, agent : agent + 1], driver)
        alone, left = without_exogenous_noise(advantage[..., agent : agent + 1], own, never, f32(0.9), f32(0.9))
        np.testing.assert_allclose(rest[..., agent], alone[..., 0], rtol=1e-5, atol=1e-6)
        assert float(share[agent]) == pytest.approx(float(left[0]), rel=1e-4)
        assert float(left[0]) < 1.0
        assert float(left[0]) == pytest.approx(float(jnp.var(alone) / jnp.var(advantage[..., agent])), rel=1e-4)


MEAN_RETURN, DEVIATION, DECAY = 0.3, 0.5, 0.9  # of the market, of the policy; gamma lambda


def gradient_estimates(key):
    """Policy gradients of one rollout of a linear market: with all noise, without, and without if the action counted
    as held.

    The reward is (held + action) x the market's return, positions are kept, actions are noise about zero. The return
    cannot be foreseen, so a value of zero is as good as any.
    """
    market_key, action_key, start_key = jax.random.split(key, 3)
    steps, envs = 32, 16
    market = MEAN_RETURN + jax.random.normal(market_key, (steps, envs))
    action = DEVIATION * jax.random.normal(action_key, (steps, envs))
    held = 5.0 * jax.random.normal(start_key, (envs,)) + jnp.cumsum(action, axis=0) - action
    zeros, never = jnp.zeros((steps, envs, 1)), jnp.zeros((steps, envs), bool)
    advantage = advantages(((held + action) * market)[..., None], zeros, zeros, never, never, 1.0, DECAY)

    def without(exposure):
        control = ControlVariate(exposure=exposure[..., None, None], driver=market[..., None, None])
        return without_exogenous_noise(advantage, control, never, 1.0, DECAY)[0]

    score = (action / DEVIATION**2)[..., None]
    return jnp.stack([jnp.mean(one * score) for one in (advantage, without(held), without(held + action))])


def test_the_policy_gradient_stays_what_it_is_and_its_variance_falls():
    keys = jax.random.split(jax.random.key(0), 2000)
    noisy, clean, wrong = np.asarray(jax.jit(jax.vmap(gradient_estimates))(keys), np.float64).T
    # An action a at step t brings a x (sum over k of decay^k x return) in the steps that are left.
    expected = np.mean([MEAN_RETURN * np.sum(DECAY ** np.arange(32 - t)) for t in range(32)])

    def errors(values, mean):
        return (values.mean() - mean) / (values.std() / np.sqrt(len(values)))

    assert abs(errors(noisy, expected)) < 4.0
    assert abs(errors(clean, expected)) < 4.0
    assert abs(errors(clean - noisy, 0.0)) < 4.0
    assert clean.std() / np.sqrt(len(clean)) < 0.02 * expected
    assert clean.var() < 0.2 * noisy.var()  # 0.13: what is left is the luck of the actions that follow
    # The test can tell: were the action itself counted as held, its own profit would be taken out with the luck.
    assert abs(errors(wrong, expected)) > 10.0
