"""What the agents of the hierarchy see: the meta-controller the portfolio by name, a specialist the same as alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.market.universe import class_contracts, class_table
from mtquant_jax.simulation.portfolio_inputs import hierarchy_inputs, portfolio_inputs
from mtquant_jax.simulation.specialist_env import specialist_inputs
from tests.conftest import f32, make_contracts, make_params, make_table, random_prices
from tests.simulation.markets import (
    ALL_IN,
    DEFAULT_CLASSES,
    PORTFOLIO_ENV,
    SPECIALIST_START,
    SPECIALIST_STEP,
    START,
    STEP,
    join,
    make_portfolio,
    make_universe,
    random_portfolio,
    universe_of,
    with_classes,
)

ENV = PORTFOLIO_ENV
KEY = jax.random.key(0)
SHOWN = jax.jit(portfolio_inputs, static_argnums=2)


@pytest.mark.parametrize(
    ("sizes", "numbers"),
    # 30 returns + volatility + drawdown + N (N - 1) / 2 correlations + 3 per class + 5 macro indicators.
    [((3, 2, 3), 74), ((1,), 40), ((1, 2, 1, 3), 70)],
)
def test_the_meta_controller_sees_one_number_for_each_thing(sizes, numbers):
    universe, params = random_portfolio(*sizes, num_bars=5)
    observation = ENV.observe(None, START(0, 0, params), None, params)
    assert SHOWN(observation, params.table, universe.slots).flat().shape == (numbers,)
    action = join(universe, 0.5, np.zeros(len(sizes) + 2))
    observation, _, _, _, info = STEP(KEY, START(0, 0, params), action, params)
    assert np.all(np.isfinite(SHOWN(observation, params.table, universe.slots).flat()))
    assert info["step"].rewards.shape == (len(sizes) + 1,)


def test_the_default_classes_are_of_three_two_and_three_instruments():
    assert universe_of(DEFAULT_CLASSES).slots == (0, 1, 2, 3, 4, 6, 7, 8)


def test_the_meta_controller_sees_returns_volatility_drawdown_correlations_records_and_macro():
    universe = make_universe(2, 1)
    covariance = np.array([[4e-6, -1e-6, 2e-6], [-1e-6, 1e-6, 0.0], [2e-6, 0.0, 16e-6]])
    table = with_classes(make_table(np.ones((3, 3)), np.ones((3, 3))), 2)
    table = table.replace(covariance=jnp.broadcast_to(f32(covariance), (1, 3, 3, 3)))
    params = make_portfolio(universe, table)
    state = ENV.initial_state(0, 1, params)
    returns = np.random.default_rng(0).normal(size=30)
    state = state.replace(returns=f32(returns), book=state.book.replace(equity=f32(0.9), peak_equity=f32(1.2)))
    params = params.replace(reward=params.reward.replace(scale=f32(3.0)))
    shown = SHOWN(ENV.observe(None, state, None, params), params.table, universe.slots)
    np.testing.assert_allclose(shown.returns, 3 * returns, rtol=1e-5)
    assert float(shown.volatility[0]) == pytest.approx(np.std(3 * returns), rel=1e-5)
    assert float(shown.drawdown[0]) == pytest.approx(0.25, rel=1e-5)
    # -1 / (2 x 1), 2 / (2 x 4), 0: the padded instrument has no correlation to show.
    np.testing.assert_allclose(shown.correlations, [-0.5, 0.25, 0.0], atol=1e-6)
    for found, expected in ((shown.class_sharpe, 0.0), (shown.class_win_rate, 0.5), (shown.class_drawdown, 0.0)):
        np.testing.assert_allclose(found, [expected] * 2, atol=1e-7)
    np.testing.assert_array_equal(shown.macro, table.macro[0, 1])
    np.testing.assert_array_equal(shown.class_records()[0], [shown.class_sharpe[0], 0.5, 0.0])
    # Models hold their statistics and first layers in this order.
    order = ("returns", "volatility", "drawdown", "correlations", "class_sharpe", "class_win_rate", "class_drawdown")
    np.testing.assert_array_equal(shown.flat(), np.concatenate([getattr(shown, n) for n in (*order, "macro")]))


def test_a_vector_is_seen_by_the_names_of_its_numbers():
    universe, params = random_portfolio(2, 3, num_bars=5)
    shown = SHOWN(ENV.observe(None, START(0, 0, params), None, params), params.table, universe.slots)
    numbers = jnp.arange(2.0 * shown.flat().size).reshape(2, -1)
    named = shown.with_values(numbers)
    np.testing.assert_array_equal(named.flat(), numbers)
    assert named.class_win_rate.shape == (2, 2)
    np.testing.assert_array_equal(named.macro, numbers[:, -5:])


@pytest.mark.slow
def test_a_specialist_with_the_whole_budget_sees_and_does_what_it_would_alone():
    universe = make_universe(2, 3)
    opens, closes = random_prices(40, 5, seed=9, volatility=0.01)
    table = with_classes(make_table(opens, closes, spread=1e-3), 2)
    params = make_portfolio(universe, table, make_contracts(5, commission=3.5), meta_interval=1, trade_decay=0.1)
    alone = make_params(class_table(params.table, universe, 0), class_contracts(params.contracts, universe, 0))
    alone = alone.replace(mask=params.mask[:1], share=params.share[:1], rules=params.rules)
    state, own, generator = START(0, 0, params), SPECIALIST_START(0, 0, alone), np.random.default_rng(2)
    look = jax.jit(hierarchy_inputs, static_argnums=2)
    for _ in range(30):
        trades = generator.normal(size=3)
        action = join(universe, [trades, np.zeros(3)], [ALL_IN, 0.0, 0.0, ALL_IN])
        observation, state, _, _, info = STEP(KEY, state, action, params)
        own_observation, own, reward, _, _ = SPECIALIST_STEP(KEY, own, f32(trades), alone)
        inside = jax.tree.map(lambda leaf: leaf[0], look(observation, params.table, universe.slots))
        outside = specialist_inputs(own_observation, alone.table)
        np.testing.assert_allclose(inside.specialists.instruments, outside.instruments, atol=2e-6)
        np.testing.assert_allclose(inside.specialists.market, outside.market, atol=5e-6)
        assert float(info["step"].rewards[0]) == pytest.approx(float(reward), abs=2e-6)
        assert float(info["step"].equity) == pytest.approx(float(own.book.equity), rel=2e-6)
    assert abs(float(own.book.equity) - 1.0) > 1e-3


def test_what_the_meta_controller_sees_has_a_finite_gradient_when_nothing_happened_yet():
    universe, params = random_portfolio(2, 3)
    state = START(0, 0, params)

    def shown(returns):
        observation = ENV.observe(None, state.replace(returns=returns), None, params)
        return jnp.sum(portfolio_inputs(observation, params.table, universe.slots).flat())

    assert np.all(np.isfinite(jax.grad(shown)(state.returns)))
