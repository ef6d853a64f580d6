"""The rewards against their formulas, and where a logarithm would not exist."""

import jax
import numpy as np
import pytest

from mtquant_jax.simulation.market_env import reward_inputs
from mtquant_jax.simulation.reward import REWARDS, RewardInputs, RewardParams
from mtquant_jax.simulation.specialist_env import SpecialistEnv
from tests.conftest import f32, make_params, make_table

KEY = jax.random.key(0)


def pay(name, net_return, variance=0.0, scale=1.0, risk_aversion=1.0):
    params = RewardParams(scale=f32(scale), risk_aversion=f32(risk_aversion))
    return float(REWARDS[name](RewardInputs(net_return=f32(net_return), variance=f32(variance)), params))


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
    params = RewardParams(scale=f32(1.0), risk_aversion=f32(1.0))
    gradient = jax.grad(lambda r: REWARDS["log_growth"](RewardInputs(r, f32(0.0)), params))(f32(-2.0))
    assert float(gradient) == 0.0


def test_mean_variance_is_the_return_less_half_gamma_times_the_variance_in_scaled_units():
    # Scale 100: return 0.5; variance 1e-4 x 100^2 = 1; 0.5 - 3 / 2 x 1 = -1.
    assert pay("mean_variance", 0.005, 1e-4, scale=100.0, risk_aversion=3.0) == pytest.approx(-1.0, rel=1e-5)


def test_the_best_mean_variance_weight_is_mu_over_gamma_sigma_squared():
    # Maximise s w mu - gamma / 2 s^2 w^2 sigma^2: w = mu / (gamma s sigma^2) = 0.002 / (2 x 10 x 0.0004) = 0.25.
    mu, sigma, gamma, scale = 0.002, 0.02, 2.0, 10.0
    rewards = [pay("mean_variance", w * mu, w**2 * sigma**2, scale, gamma) for w in np.linspace(0, 0.5, 51)]
    assert int(np.argmax(rewards)) == 25


def test_the_return_is_on_the_equity_before_the_bar_and_the_variance_on_the_weights_held():
    class Result:
        equity = f32(0.63)
        held_weights = f32([0.5, -0.25])

    inputs = reward_inputs(Result(), f32(0.7), f32([[4e-4, 1e-4], [1e-4, 16e-4]]))
    assert float(inputs.net_return) == pytest.approx(-0.1, rel=1e-5)
    # 0.25 x 4e-4 - 2 x 0.125 x 1e-4 + 0.0625 x 16e-4 = 1.75e-4.
    assert float(inputs.variance) == pytest.approx(1.75e-4, rel=1e-5)


def test_the_environment_pays_the_reward_it_was_given():
    # Weight 0.5 on a price that rises 2 %: net return 0.01. Covariance 1e-6: scaled variance of what was held
    # 100^2 x 0.5^2 x 1e-6 = 0.0025, of which gamma / 2 = 2 is taken.
    params = make_params(make_table([[1.0], [1.0]], [[1.0], [1.02]]))
    params = params.replace(reward=RewardParams(scale=f32(100.0), risk_aversion=f32(4.0)))
    rewards = {}
    for name, reward in REWARDS.items():
        env = SpecialistEnv(reward)
        rewards[name] = float(jax.jit(env.step_env)(KEY, env.initial_state(0, 0, params), f32([0.5]), params)[2])
    assert rewards["log_growth"] == pytest.approx(100 * np.log(1.01), rel=1e-4)
    assert rewards["mean_variance"] == pytest.approx(1.0 - 2.0 * 0.01 * 0.25, rel=1e-3)
