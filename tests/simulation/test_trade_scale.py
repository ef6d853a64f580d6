"""The scale of trades: the cost of exploration noise, by hand and by simulation."""

import numpy as np
import pytest

from mtquant_jax.market.trading_costs import typical_costs
from mtquant_jax.simulation.trade_scale import trade_scales
from tests.conftest import make_contracts, make_table, random_prices


def scale(cost=0.0, impact=0.0, volatility=0.001, full_weight=1.0, exploration_cost=0.03):
    """Trade scale of one instrument."""
    arguments = np.array([cost]), impact, np.array([volatility]), np.array([full_weight]), exploration_cost
    return trade_scales(*arguments)[0]


@pytest.mark.parametrize(
    ("cost", "impact"), [(6.5e-5, 0.0), (0.0, 5e4), (6.5e-5, 5e4)], ids=["spread", "impact", "both"]
)
def test_noise_of_the_scale_has_the_exploration_cost(cost, impact):
    volatility, full_weight = 0.001, 2.0
    noise = scale(cost, impact, volatility, full_weight) * np.random.default_rng(0).normal(size=1_000_000)
    traded = np.abs(noise) * full_weight  # share of equity
    paid = cost * traded + 0.5 * impact * volatility**2 * traded**2
    assert paid.mean() / (volatility * full_weight) == pytest.approx(0.03, rel=5e-3)


def test_expensive_instruments_get_small_trades_and_free_ones_the_largest():
    assert scale(cost=1e-4) == pytest.approx(0.03 / (np.sqrt(2 / np.pi) * 0.1), rel=1e-6)
    assert scale(cost=2e-4) == pytest.approx(scale(cost=1e-4) / 2, rel=1e-6)
    assert scale(cost=0.0) == scale(cost=1e-9) == 1.0


def test_padding_and_instruments_that_never_move_get_the_largest_scale():
    padded = trade_scales(np.zeros(2), 0.0, np.array([0.0, 0.001]), np.array([0.5, 0.0]), 0.03)
    np.testing.assert_array_equal(padded, [1.0, 1.0])


def test_typical_costs_include_every_part_as_shares_of_the_value_traded():
    opened, close = random_prices(400, 2, volatility=2e-3, start=100.0)
    conversion = np.full((400, 2), 0.01)
    table = make_table(opened, close, spread=[0.04, 0.0], conversion=(conversion, conversion))
    contracts = make_contracts(
        2, size=10.0, commission=[0.0, 0.003], slippage=[0.01, 0.0], slippage_volatility=[0.0, 0.1]
    )
    cost, volatility = typical_costs(table, contracts, 0, 400)
    assert volatility == pytest.approx(np.diff(np.log(close), axis=0).std(axis=0), rel=0.05)
    # Half the spread of 0.04 and slippage of 0.01 on a price of about 100.
    assert cost[0] == pytest.approx((0.03 / close[:, 0]).mean(), rel=1e-5)
    # A lot of 10 units at 100 and a factor of 0.01 is worth 10: 0.003 of that, and a tenth of the volatility.
    assert cost[1] == pytest.approx((0.003 / (0.1 * close[:, 1])).mean() + 0.1 * volatility[1], rel=1e-5)


def test_bars_without_trading_and_outside_the_range_do_not_count():
    opened, close = random_prices(100, 1, start=100.0)
    spread = np.full((100, 1), 0.02)
    tradable = np.ones((100, 1), bool)
    spread[40:60], tradable[40:60] = 5.0, False
    spread[90:] = 7.0
    cost, _ = typical_costs(make_table(opened, close, spread=spread, tradable=tradable), make_contracts(1), 0, 90)
    assert cost[0] == pytest.approx(0.01 / 100.0, rel=0.05)
