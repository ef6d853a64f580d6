"""The objectives against their formulas, in degenerate cases, and with their memory in an environment."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.simulation.market_env import reward_inputs
from mtquant_jax.simulation.reward import REWARDS, RewardInputs, RewardMemory, RewardParams, start_memory
from mtquant_jax.simulation.specialist_env import SpecialistEnv
from tests.conftest import f32, make_contracts, make_params, make_table, random_prices

KEY = jax.random.key(0)
NO_VARIANCE = f32(0.0)


def reward_params(scale=1.0, risk_aversion=1.0, sharpe_memory=100.0):
    return RewardParams(scale=f32(scale), risk_aversion=f32(risk_aversion), sharpe_memory=f32(sharpe_memory))


def pay(name, net_return, variance=0.0, **params):
    inputs = RewardInputs(net_return=f32(net_return), variance=f32(variance))
    return float(REWARDS[name](start_memory(), inputs, reward_params(**params))[1])


def differential(returns, memory=None, **params):
    """The last memory, and the reward of each of the returns."""

    def bar(memory, net_return):
        return REWARDS["differential_sharpe"](memory, RewardInputs(net_return, NO_VARIANCE), reward_params(**params))

    return jax.lax.scan(bar, memory or start_memory(), f32(returns))


def sharpe(memory):
    return float(memory.mean / jnp.sqrt(memory.second_moment - memory.mean**2))


def test_log_growth_is_the_scaled_logarithm_of_one_plus_the_return():
    assert pay("log_growth", 0.01, scale=100.0) == pytest.approx(100 * np.log(1.01), rel=1e-5)
    assert pay("log_growth", 0.0, scale=100.0) == 0.0


def test_log_growth_adds_up_to_the_logarithm_of_total_return():
    returns = np.random.default_rng(0).normal(0, 0.02, 50)
    total = sum(pay("log_growth", r) for r in returns)
    assert total == pytest.approx(np.log(np.prod(1 + returns)), abs=1e-5)


@pytest.mark.parametrize("loss", [-0.9995, -1.0, -3.0])
def test_a_total_loss_costs_a_finite_amount(loss):
    assert pay("log_growth", loss, scale=2.0) == pytest.approx(2 * np.log(1e-3), rel=1e-5)


def test_log_growth_has_a_finite_gradient_at_a_total_loss():
    def paid(net_return):
        return REWARDS["log_growth"](start_memory(), RewardInputs(net_return, NO_VARIANCE), reward_params())[1]

    gradient = jax.grad(paid)(f32(-2.0))
    assert float(gradient) == 0.0


def test_mean_variance_is_the_return_minus_half_gamma_times_the_variance_in_scaled_units():
    # Scale 100: return 0.5; variance 1e-4 x 100^2 = 1; 0.5 - 3 / 2 x 1 = -1.
    assert pay("mean_variance", 0.005, 1e-4, scale=100.0, risk_aversion=3.0) == pytest.approx(-1.0, rel=1e-5)


def test_the_best_mean_variance_weight_is_mu_over_gamma_sigma_squared():
    # Maximise s w mu - gamma / 2 s^2 w^2 sigma^2: w = mu / (gamma s sigma^2) = 0.002 / (2 x 10 x 0.0004) = 0.25.
    mu, sigma, gamma, scale = 0.002, 0.02, 2.0, 10.0
    weights = np.linspace(0, 0.5, 51)
    rewards = [pay("mean_variance", w * mu, w**2 * sigma**2, scale=scale, risk_aversion=gamma) for w in weights]
    assert int(np.argmax(rewards)) == 25


def test_the_differential_sharpe_ratio_by_hand():
    # Scale 100, memory 4. Bar 1: A = 0, B = 1, R = 0.5: D = 0.5; then A = 0.125, B = 1 + (0.25 - 1) / 4 = 0.8125.
    # Bar 2: R = -1: dA = -1.125, dB = 0.1875, B - A^2 = 0.796875:
    # D = (0.8125 x -1.125 - 0.125 x 0.1875 / 2) / 0.796875^1.5 = -0.92578125 / 0.7113574 = -1.3014292.
    memory, paid = differential([0.005, -0.01], scale=100.0, sharpe_memory=4.0)
    np.testing.assert_allclose(paid, [0.5, -1.3014292], rtol=1e-5)
    assert float(memory.mean) == pytest.approx(0.125 - 1.125 / 4, rel=1e-5)
    assert float(memory.second_moment) == pytest.approx(0.8125 + 0.1875 / 4, rel=1e-5)


@pytest.mark.parametrize("drift", [-0.3, 0.0, 0.3])
def test_differential_sharpe_ratios_add_up_to_the_growth_of_the_sharpe_ratio(drift):
    returns = np.random.default_rng(3).normal(drift, 1.0, 500)
    memory, paid = differential(returns, sharpe_memory=1000.0)
    assert float(jnp.sum(paid)) / 1000.0 == pytest.approx(sharpe(memory), abs=3e-3)
    assert abs(sharpe(memory)) > 0.05 or drift == 0.0


def test_differential_sharpe_changes_its_sign_with_the_returns():
    returns = np.random.default_rng(4).normal(0.1, 1.0, 50)
    gains, losses = differential(returns)[1], differential(-returns)[1]
    np.testing.assert_array_equal(gains, -losses)


def test_differential_sharpe_does_not_depend_on_the_unit_of_returns():
    returns = np.random.default_rng(5).normal(0.1, 1.0, 50)
    in_other_units = RewardMemory(mean=f32(0.0), second_moment=f32(9.0))
    np.testing.assert_allclose(differential(3 * returns, in_other_units)[1], differential(returns)[1], rtol=1e-4)


def test_the_first_reward_after_a_long_rest_is_in_tenths_of_the_typical_return():
    # Moments decayed to 0: the variance counts as 0.01, so the reward of a scaled return of 0.05 is 0.05 / 0.1.
    memory, paid = differential(np.zeros(5000))
    assert not np.any(paid)
    assert float(differential([0.05], memory)[1][0]) == pytest.approx(0.5, rel=1e-5)


def test_a_memory_of_one_bar_is_finite():
    assert np.all(np.isfinite(differential(np.random.default_rng(6).normal(size=50), sharpe_memory=1.0)[1]))


def test_the_return_uses_the_equity_before_the_bar_and_the_variance_the_held_weights():
    class Result:
        equity = f32(0.63)
        held_weights = f32([0.5, -0.25])

    inputs = reward_inputs(Result(), f32(0.7), f32([[4e-4, 1e-4], [1e-4, 16e-4]]))
    assert float(inputs.net_return) == pytest.approx(-0.1, rel=1e-5)
    # 0.25 x 4e-4 - 2 x 0.125 x 1e-4 + 0.0625 x 16e-4 = 1.75e-4.
    assert float(inputs.variance) == pytest.approx(1.75e-4, rel=1e-5)


@pytest.mark.slow
def test_the_environment_uses_the_injected_reward():
    # Weight 0.5 on a price that rises 2 %: net return 0.01. Covariance 1e-6: scaled variance of the held weights
    # 100^2 x 0.5^2 x 1e-6 = 0.0025, times gamma / 2 = 2.
    params = make_params(make_table([[1.0], [1.0]], [[1.0], [1.02]]))
    params = params.replace(reward=reward_params(100.0, 4.0))
    rewards = {}
    for name, reward in REWARDS.items():
        env = SpecialistEnv(reward)
        rewards[name] = float(jax.jit(env.step_env)(KEY, env.initial_state(0, 0, params), f32([0.5]), params)[2])
    assert rewards["log_growth"] == pytest.approx(100 * np.log(1.01), rel=1e-4)
    assert rewards["mean_variance"] == pytest.approx(1.0 - 2.0 * 0.01 * 0.25, rel=1e-3)
    assert rewards["differential_sharpe"] == pytest.approx(1.0, rel=1e-4)  # in the first bar, the scaled return


def test_the_environment_remembers_the_moments_until_its_reset():
    table = make_table([[1.0], [1.0], [1.02]], [[1.0], [1.02], [1.02]])
    params = make_params(table).replace(reward=reward_params(100.0, sharpe_memory=10.0))
    env = SpecialistEnv(REWARDS["differential_sharpe"])
    step = jax.jit(env.step)
    _, state, *_ = step(KEY, env.initial_state(0, 0, params), f32([0.5]), params)
    # R = 1 in bar 1: A = 0.1, B = 1.
    assert float(state.reward_memory.mean) == pytest.approx(0.1, rel=1e-4)
    assert float(state.reward_memory.second_moment) == pytest.approx(1.0, rel=1e-4)
    _, state, reward, _, truncated, _ = step(KEY, state, f32([0.0]), params)
    # R = 0 in bar 2: D = (1 x -0.1 + 0.1 x 1 / 2) / 0.99^1.5 = -0.05 / 0.985038.
    assert float(reward) == pytest.approx(-0.0507595, rel=1e-3)
    assert truncated
    assert (float(state.reward_memory.mean), float(state.reward_memory.second_moment)) == (0.0, 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(REWARDS))
def test_gradients_in_the_actions_agree_with_finite_differences(name):
    opens, closes = random_prices(10, 3, seed=7, volatility=0.01)
    table = make_table(opens, closes, spread=0.002, covariance=1e-4 * (0.3 + 0.7 * np.eye(3)))
    params = make_params(table, make_contracts(3, size=100.0, commission=0.02))
    params = params.replace(reward=reward_params(100.0, 2.0, sharpe_memory=3.0))
    env = SpecialistEnv(REWARDS[name]).with_transition_gradients()

    @jax.jit
    @jax.value_and_grad
    def total(actions):
        def body(state, action):
            _, state, reward, *_ = env.step_env(KEY, state, action, params)
            return state, reward

        return jnp.sum(jax.lax.scan(body, env.initial_state(0, 0, params), actions)[1])

    actions = f32(np.random.default_rng(1).normal(size=(5, 3)) * 0.4)
    gradient, eps = np.asarray(total(actions)[1]), 1e-2
    for index in np.ndindex(actions.shape):
        ahead, back = float(total(actions.at[index].add(eps))[0]), float(total(actions.at[index].add(-eps))[0])
        assert gradient[index] == pytest.approx((ahead - back) / (2 * eps), abs=4e-3, rel=0.03)
    assert np.abs(gradient).max() > 0.1
