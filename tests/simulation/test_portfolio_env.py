"""The hierarchy on one account: a hand-worked bar, held decisions, and finite numbers in degenerate cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.simulation.portfolio_env import decode_allocation
from mtquant_jax.simulation.reward import REWARDS
from mtquant_jax.simulation.specialist_env import SpecialistEnv
from tests.conftest import f32, make_contracts, make_params, make_table, random_prices
from tests.simulation.markets import (
    ALL_IN,
    PORTFOLIO_ENV,
    START,
    STEP,
    join,
    make_portfolio,
    make_universe,
    random_portfolio,
)

ENV = PORTFOLIO_ENV
KEY = jax.random.key(0)


def logs(*shares):
    return np.log(np.array(shares))


# One bar by hand.


def hand_worked():
    universe = make_universe(2, 1)
    table = make_table(
        [[1.0, 2.0, 4.0], [1.01, 2.0, 4.0]],
        [[1.0, 2.0, 4.0], [1.02, 1.98, 4.2]],
        spread=[[0.001, 0.002, 0.0]] * 2,
    )
    params = make_portfolio(universe, table, make_contracts(3, size=100.0, commission=5.0), leverage=2.0)
    # Capital 0.4, 0.4, cash 0.2; risk appetite sigmoid(0) = 0.5.
    action = join(universe, [[1.0, -0.5], [0.375, 9.0]], [*logs(0.4, 0.4, 0.2), 0.0])
    return params, *STEP(KEY, START(0, 0, params), action, params)


def test_one_bar_of_the_portfolio_by_hand():
    _, _, state, reward, terminated, info = hand_worked()
    # Budgets 0.4 x 0.5 = 0.2 each. With leverage 2, class 0 gives each of its two instruments 0.2 x 2 / 2 = 0.2 of
    # equity, class 1 gives its one 0.4. Weights 1.0 x 0.2, -0.5 x 0.2, 0.375 x 0.4 = 0.2, -0.1, 0.15.
    np.testing.assert_allclose(info["step"].budgets, [0.2, 0.2], rtol=1e-6)
    # Units at the closes 1, 2, 4: 0.2, -0.05, 0.0375; the padded slot holds none whatever its action.
    np.testing.assert_allclose(state.book.account.units, [0.2, -0.05, 0.0375, 0.0], rtol=1e-6)
    # Bought at the ask 1.011, sold at the bid 2, bought at 4.
    np.testing.assert_allclose(state.book.account.entry[:3], [1.011, 2.0, 4.0], rtol=1e-6)
    # Commission units / 100 x 5: 0.01, 0.0025, 0.001875.
    # 0.2 x (1.02 - 1.011) - 0.01 = -0.0082
    # -0.05 x (1.982 - 2) - 0.0025 = -0.0016
    # 0.0375 x (4.2 - 4) - 0.001875 = 0.005625
    np.testing.assert_allclose(info["step"].flows.net(), [-0.0082, -0.0016, 0.005625, 0.0], atol=2e-7)
    assert float(info["step"].equity) == pytest.approx(0.995825, rel=1e-6)
    assert float(reward) == pytest.approx(np.log(0.995825), rel=1e-4)
    assert not terminated
    # Traded at the opens 1.01, 2, 4: 0.202, 0.1, 0.15 of equity 1.
    np.testing.assert_allclose(info["step"].traded, [0.202, 0.1, 0.15, 0.0], rtol=1e-5)


def test_class_returns_are_relative_to_the_class_budget_and_enter_its_track_record():
    params, observation, state, _, _, info = hand_worked()
    # Class 0: (-0.0082 - 0.0016) / 0.2 = -0.049; class 1: 0.005625 / 0.2 = 0.028125.
    returns = np.array([-0.049, 0.028125])
    np.testing.assert_allclose(info["step"].rewards, np.log([0.951, 1.028125, 0.995825]), rtol=2e-5)
    record = state.track_record
    np.testing.assert_allclose(record.equity, 1.0 + returns, rtol=1e-6)
    np.testing.assert_allclose(record.peak, [1.0, 1.028125], rtol=1e-6)
    np.testing.assert_allclose(record.mean, 0.004 * returns, rtol=2e-5)
    np.testing.assert_allclose(record.second_moment, 0.004 * returns**2, rtol=5e-5)
    np.testing.assert_allclose(record.win_rate, [0.498, 0.502], rtol=1e-6)  # 0.5 moved by 0.4 % towards 0 and 1
    np.testing.assert_allclose(observation.class_drawdown, [0.049, 0.0], atol=1e-6)
    # Sharpe: mean / sqrt(second moment - mean^2) = 0.004 r / (|r| sqrt(0.004 - 0.000016)) = +-0.0633724.
    np.testing.assert_allclose(observation.class_sharpe, [-0.0633724, 0.0633724], rtol=1e-3)
    assert float(state.returns[-1]) == pytest.approx(np.log(0.995825), rel=1e-4)
    assert not np.any(np.asarray(state.returns[:-1]))
    # Relative weights: exposure / the largest exposure of the instrument; zero for padding.
    expected = np.array([[0.2 * 1.02 / 0.2, -0.05 * 1.98 / 0.2], [0.0375 * 4.2 / 0.4, 0.0]]) / 0.995825
    np.testing.assert_allclose(observation.relative_weights, expected, rtol=1e-5)
    assert float(observation.drawdown) == pytest.approx(1 - 0.995825, rel=1e-4)
    assert params.mask.tolist() == [[True, True], [True, False]]


def test_capital_shares_sum_to_one_with_cash_last():
    allocation = decode_allocation(f32([*logs(0.2, 0.3, 0.5), np.log(3.0)]))
    np.testing.assert_allclose(allocation.capital, [0.2, 0.3, 0.5], rtol=1e-6)
    assert float(allocation.risk_appetite) == pytest.approx(0.75, rel=1e-6)  # sigmoid(log 3) = 3 / 4
    np.testing.assert_allclose(allocation.budgets(), [0.15, 0.225], rtol=1e-6)


def test_the_return_of_a_class_with_a_reduced_budget_is_relative_to_the_larger_one():
    universe = make_universe(1, 1)
    flat = np.ones((4, 2))
    table = make_table(flat, flat, spread=0.01)
    params = make_portfolio(universe, table, meta_interval=1)
    half = join(universe, [[1.0], [0.0]], [*logs(0.8, 0.1, 0.1), ALL_IN])
    _, state, *_ = STEP(KEY, START(0, 0, params), half, params)
    less = join(universe, [[0.0], [0.0]], [*logs(0.2, 0.7, 0.1), ALL_IN])
    # Long 0.8 units bought at 1.01: equity 1 - 0.008 = 0.992. The cut to 0.2 sells at the bid, which costs nothing
    # more; then hold. To show the base, the next cut is of a short: see the sum of flows over the larger budget.
    _, after, _, _, info = STEP(KEY, state, less, params)
    net = float(info["step"].flows.net()[0])
    assert float(info["step"].rewards[0]) == pytest.approx(np.log1p(net / 0.992 / 0.8), abs=1e-6)
    assert float(after.book.account.units[0]) == pytest.approx(0.2 * 0.992, rel=1e-3)


# Decisions.


def test_the_meta_controller_acts_every_meta_interval_bars_only():
    universe, params = random_portfolio(2, 1, meta_interval=3)
    generator = np.random.default_rng(0)
    state, observation = START(0, 0, params), None
    decided, budgets = [], []
    for _ in range(7):
        observation = ENV.observe(None, state, None, params)
        decided.append(bool(observation.decides))
        logits = generator.normal(size=4)
        _, state, _, _, info = STEP(KEY, state, join(universe, 0.1, logits), params)
        expected = decode_allocation(f32(logits)).budgets() if decided[-1] else budgets[-1]
        np.testing.assert_allclose(info["step"].budgets, expected, rtol=1e-6)
        budgets.append(info["step"].budgets)
    assert decided == [True, False, False, True, False, False, True]


# Finite numbers in degenerate cases.


@pytest.mark.parametrize("logits", [[0.0, 0.0, 0.0, -200.0], [200.0, 0.0, 0.0, 0.0]], ids=["no appetite", "one class"])
def test_a_class_without_any_budget_leaves_finite_numbers(logits):
    universe, params = random_portfolio(2, 3)
    state = START(0, 0, params)
    for _ in range(2):
        observation, state, reward, _, info = STEP(KEY, state, join(universe, 0.5, logits), params)
        assert np.all(np.isfinite(observation.relative_weights))
        assert np.isfinite(float(reward))
        assert np.all(np.isfinite(info["step"].rewards))
        assert np.isfinite(float(state.book.equity))


@pytest.mark.slow
def test_positions_that_decay_to_zero_have_a_finite_gradient():
    # 0.9^450 = 3e-21: a gradually closed position becomes that small; its square underflows float32.
    opens, closes = random_prices(460, 1)
    params = make_params(make_table(opens, closes, spread=1e-4), trade_decay=0.1)
    env = SpecialistEnv(REWARDS["log_growth"]).with_transition_gradients()

    def growth(first):
        def body(state, action):
            _, state, reward, *_ = env.step_env(KEY, state, action, params)
            return state, reward

        actions = jnp.zeros((450, 1)).at[0].set(first)
        return jnp.sum(jax.lax.scan(body, env.initial_state(0, 0, params), actions)[1])

    assert np.all(np.isfinite(jax.jit(jax.grad(growth))(f32([0.5]))))
