"""Quantities independent of the action, in every environment: the exposure before it and the return per unit of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.simulation.allocation_env import AllocationEnv
from mtquant_jax.simulation.portfolio_inputs import class_inputs
from mtquant_jax.simulation.reward import REWARDS
from tests.conftest import f32, make_contracts, make_params, make_table, random_prices
from tests.simulation.markets import (
    PORTFOLIO_ENV,
    SPECIALIST_START,
    SPECIALIST_STEP,
    START,
    STEP,
    join,
    random_portfolio,
)

KEY = jax.random.key(0)


def class_market():
    """Two instruments; the second behaves like USDJPY in dollars: its conversion is one over its price."""
    opens, closes = random_prices(20, 2, volatility=5e-3)
    opens[2:] = closes[1:-1]
    opens[1], closes[1] = closes[0], closes[0]  # filled and marked at one price
    conversion = tuple(np.stack([np.ones(20), 1.0 / prices[:, 1]], axis=1) for prices in (opens, closes))
    return make_params(make_table(opens, closes, conversion=conversion), make_contracts(2), leverage=3.0)


def test_exposure_and_driver_of_a_specialist_by_hand():
    table = make_table(
        [[1.0, 100.0], [1.0, 100.0], [1.0, 100.0]],
        [[1.0, 100.0], [1.0, 100.0], [1.02, 101.0]],
        conversion=(np.array([[1.0, 0.01]] * 3), np.array([[1.0, 0.01]] * 2 + [[1.0, 1 / 101.0]])),
    )
    params = make_params(table, leverage=3.0)
    state = SPECIALIST_STEP(KEY, SPECIALIST_START(0, 0, params), f32([0.5, -0.25]), params)[1]
    _, _, _, _, info = SPECIALIST_STEP(KEY, state, f32([0.3, 0.3]), params)
    np.testing.assert_allclose(info["step"].exposure, [0.5, -0.25], rtol=1e-6)
    # A full position is leverage 3 over two instruments. 2 %; and 1 / 100 with the yen at 100 / 101 of its value.
    np.testing.assert_allclose(info["step"].driver, [1.5 * 0.02, 1.5 * 0.01 * 100 / 101], rtol=1e-4)


def test_the_driver_of_a_specialist_does_not_depend_on_the_action():
    params = class_market()
    state = SPECIALIST_STEP(KEY, SPECIALIST_START(0, 0, params), f32([0.4, -0.7]), params)[1]
    one, other = (SPECIALIST_STEP(KEY, state, f32(action), params)[4] for action in ([0.5, 0.1], [-1.0, 0.9]))
    np.testing.assert_array_equal(one["step"].driver, other["step"].driver)
    np.testing.assert_array_equal(one["step"].exposure, other["step"].exposure)
    np.testing.assert_array_equal(one["step"].exposure, state.relative_weights)
    assert np.abs(one["step"].weights - other["step"].weights).min() > 0.1
    assert np.abs(one["step"].driver).min() > 1e-4


def test_exposure_times_driver_is_what_a_held_class_earns():
    params = class_market()
    state = SPECIALIST_STEP(KEY, SPECIALIST_START(0, 0, params), f32([0.4, -0.7]), params)[1]
    before = float(state.book.equity)
    _, _, _, _, info = SPECIALIST_STEP(KEY, state, jnp.zeros(2), params)
    assert float(jnp.max(info["step"].traded)) < 1e-6
    profit = np.asarray(info["step"].flows.price_profit) / before
    np.testing.assert_allclose(info["step"].exposure * info["step"].driver, profit, rtol=1e-3, atol=1e-7)
    assert np.abs(profit).min() > 2e-4


def held_portfolio(**settings):
    """A portfolio of classes of 2, 1 and 3 instruments that holds all of them, with its universe and parameters."""
    universe, params = random_portfolio(2, 1, 3, spread=0.0, commission=0.0, leverage=2.0, **settings)
    # No gaps: a decision at a close is filled at that price.
    table = params.table
    params = params.replace(table=table.replace(open=table.open.at[:, 1:].set(table.close[:, :-1])))
    trades = [[0.5, -0.4, 0.0], [0.9, 0.0, 0.0], [-0.3, 0.2, 0.6]]
    action = join(universe, trades, [0.4, -0.3, 0.2, 0.0, 1.0])
    return universe, params, STEP(KEY, START(0, 0, params), action, params)[1]


def test_exposure_and_driver_of_a_portfolio_do_not_depend_on_the_action():
    universe, params, state = held_portfolio(meta_interval=1)
    actions = (join(universe, 0.0, np.zeros(5)), join(universe, -0.4, [2.0, 0.0, -1.0, 1.0, -2.0]))
    one, other = (STEP(KEY, state, action, params)[4] for action in actions)
    np.testing.assert_array_equal(one["step"].driver, other["step"].driver)
    np.testing.assert_array_equal(one["step"].exposure, other["step"].exposure)
    assert np.max(np.abs(one["step"].weights - other["step"].weights)) > 0.05
    assert one["step"].driver.shape == (1, 9)
    assert one["step"].exposure.shape == (4, 9)


def test_exposure_of_a_portfolio_is_that_of_its_classes_times_their_budgets():
    universe, params, state = held_portfolio(meta_interval=4)
    _, _, _, _, info = STEP(KEY, state, join(universe, 0.2, np.zeros(5)), params)
    relative, exposure = np.asarray(state.relative_weights), np.asarray(info["step"].exposure).reshape(4, 3, 3)
    for index in range(3):
        np.testing.assert_array_equal(exposure[index, index], relative[index])
        assert not np.any(np.delete(exposure[index], index, axis=0))
    np.testing.assert_allclose(exposure[3], np.asarray(state.allocation.budgets())[:, None] * relative, rtol=1e-6)


def test_exposure_times_driver_is_what_a_held_portfolio_earns():
    universe, params, state = held_portfolio(meta_interval=4)
    before, budgets = float(state.book.equity), np.asarray(state.allocation.budgets())
    _, _, _, _, info = STEP(KEY, state, join(universe, 0.0, np.zeros(5)), params)
    assert float(jnp.max(info["step"].traded)) < 1e-6
    by_class = np.asarray(info["step"].flows.price_profit).reshape(3, 3).sum(-1) / before
    earned = np.sum(np.asarray(info["step"].exposure * info["step"].driver), axis=-1)
    np.testing.assert_allclose(earned, [*by_class / budgets, by_class.sum()], rtol=2e-4, atol=1e-7)
    assert np.abs(earned).min() > 1e-4
    # Without costs, the rewards of the classes and of the portfolio are the logarithms of these returns.
    np.testing.assert_allclose(np.expm1(info["step"].rewards), earned, rtol=2e-3, atol=1e-6)


# From one decision of the meta-controller to the next.

BARS = 4


def act(scale, observation, table):
    """Frozen specialists whose wanted weights do not depend on what they hold."""
    inputs = class_inputs(observation, table)
    wanted = jnp.tanh(scale * jnp.sum(inputs.instruments[..., :-1], -1))
    return wanted - inputs.instruments[..., -1]


ALLOCATION_ENV = AllocationEnv(REWARDS["log_growth"], act, BARS)
ALLOCATION_STEP = jax.jit(ALLOCATION_ENV.step_env)
FROZEN = jax.jit(lambda state, params: act(f32(0.7), PORTFOLIO_ENV.observe(None, state, None, params), params.table))


@pytest.mark.slow
@pytest.mark.parametrize("bars", [BARS, 2], ids=["a whole interval", "cut by the end of the episode"])
def test_the_driver_of_an_allocation_is_the_sum_over_the_interval(bars):
    # After the first bar of the portfolio, the episode is as long as an interval, or as half of one.
    universe, params, state = held_portfolio(meta_interval=1, episode_length=1 + bars, specialists=f32(0.7))
    meta = f32([0.3, -0.2, 0.1, 0.0, 0.5])
    _, _, _, _, info = ALLOCATION_STEP(KEY, state, meta, params)
    np.testing.assert_array_equal(info["step"].exposure, state.allocation.budgets())
    total = np.zeros(3)
    for _ in range(bars):
        _, state, _, _, bar = STEP(KEY, state, join(universe, FROZEN(state, params), meta), params)
        total += np.sum(np.asarray(bar["step"].exposure * bar["step"].driver), axis=-1)[:3]
    np.testing.assert_allclose(info["step"].driver, total, rtol=1e-4, atol=1e-7)
    assert np.abs(total).min() > 1e-4


def test_the_driver_of_an_allocation_hardly_depends_on_the_action():
    _, params, state = held_portfolio(meta_interval=1, specialists=f32(0.7))
    actions = f32([[0.0, 0.0, 0.0, 0.0, 0.0], [1.5, -1.0, 0.5, 0.0, 2.0], [-1.0, 1.0, 1.0, 1.0, -2.0]])
    driver, budgets = [], []
    for _ in range(12):
        steps = [ALLOCATION_STEP(KEY, state, action, params) for action in actions]
        driver.append([step[4]["step"].driver for step in steps])
        budgets.append([step[4]["step"].budgets for step in steps])
        state = steps[0][1]
    first, *others = np.moveaxis(np.asarray(driver), 1, 0)
    assert np.max(np.abs(np.diff(np.asarray(budgets), axis=1))) > 0.2
    for other in others:
        assert np.sqrt(np.mean((other - first) ** 2)) < 0.05 * np.sqrt(np.mean(first**2))
