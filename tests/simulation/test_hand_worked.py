"""One case per formula, worked by hand as on the brokers' pages; money in account currency at 100 000 of capital."""

from __future__ import annotations

from statistics import NormalDist

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import t as student_t

from mtquant_jax.market.calendar import charged_nights
from mtquant_jax.market.contracts import contracts
from mtquant_jax.market.conversion import conversion, conversion_plan
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.simulation import account as accounts
from mtquant_jax.simulation.account import Account, Quote
from mtquant_jax.simulation.execution import bar_of_trading, slippage_price, whole_lots
from mtquant_jax.statistics import value_at_risk
from tests.conftest import f32, make_contracts, make_rules, make_table

CAPITAL = 100_000.0
INSTRUMENTS = load_instruments()


def quote(bid, spread=0.0, k=1.0, fee=1.0) -> Quote:
    return Quote(bid=f32([bid]), spread=f32([spread]), conversion=f32([k]), fee_conversion=f32([fee]))


def holding(symbol: str, lots: float, entry: float) -> Account:
    units = lots * INSTRUMENTS[symbol].contract_size / CAPITAL
    return accounts.open_account(1).replace(units=f32([units]), entry=f32([entry]))


def swap(symbol: str, lots: float, bid: float, nights: float, k=1.0, **terms) -> float:
    offer = contracts([symbol], INSTRUMENTS).replace(**{name: f32(value) for name, value in terms.items()})
    brought = accounts.swap(holding(symbol, lots, bid), quote(bid, k=k), f32([nights]), offer, f32(1.0))
    return float(brought[0]) * CAPITAL


def test_swap_in_points_over_wednesday_counts_three_days():
    # 1 lot EURUSD long over Wednesday at -6.5 points: -6.5 x 0.00001 x 100 000 x 3 = -19.50 USD.
    opens = np.array(["2024-05-08T20:00", "2024-05-08T21:00"], "datetime64[s]").astype(int)  # 17:00 in New York
    (nights,) = charged_nights(opens, ("Wed",), "NewYork+7")[1]
    assert nights == 3.0
    assert swap("EURUSD", 1.0, 1.08, nights) == pytest.approx(-19.50, rel=1e-5)
    # Short at +1.5 points on a Monday: +1.5 x 0.00001 x 100 000 = +1.50 USD.
    assert swap("EURUSD", -1.0, 1.08, 1.0) == pytest.approx(1.50, rel=1e-5)
    # 2 lots XAUUSD long at -42 points: -42 x 0.01 x 100 oz x 2 = -84 USD a night.
    assert swap("XAUUSD", 2.0, 2000.0, 1.0) == pytest.approx(-84.0, rel=1e-5)
    # 10 lots US30 long over Friday at -70 points: -70 x 0.1 x 1 x 10 x 3 = -210 USD.
    assert swap("US30", 10.0, 39_000.0, 3.0) == pytest.approx(-210.0, rel=1e-5)


def test_swap_in_money_is_lots_times_the_amount():
    # 0.5 lots USDJPY short at -19.9 USD, three days: -19.9 x 0.5 x 3 = -29.85 USD, whatever the price of the yen.
    assert swap("USDJPY", -0.5, 150.0, 3.0, k=1 / 150) == pytest.approx(-29.85, rel=1e-5)
    assert swap("USDJPY", 1.0, 150.0, 1.0, k=1 / 150) == pytest.approx(5.30, rel=1e-5)


def test_swap_as_interest_is_a_360th_of_a_year_on_the_value():
    # 5 lots SPX500 long at 5 000, -7.2 % a year: 5 x 5 000 x -0.072 / 360 = -5.00 USD a night.
    terms = {"swap_price": np.zeros((2, 1)), "swap_rate": [[-0.072], [0.018]]}
    assert swap("SPX500", 5.0, 5000.0, 1.0, **terms) == pytest.approx(-5.0, rel=1e-5)
    # Short, three days at +1.8 %: 5 x 5 000 x 0.018 / 360 x 3 = +3.75 USD.
    assert swap("SPX500", -5.0, 5000.0, 3.0, **terms) == pytest.approx(3.75, rel=1e-5)


def test_an_account_in_euro_converts_profit_and_fees():
    symbols = ["EURUSD", "USDJPY"]
    prices = f32([1.25, 160.0])
    k = conversion(prices, conversion_plan(symbols, INSTRUMENTS, "EUR"))
    fee = conversion(prices, conversion_plan(symbols, INSTRUMENTS, "EUR", "fee_currency"))
    # Yen: 1 / 160 USD = 1 / 160 / 1.25 EUR = 0.005 EUR; fees are in USD: 0.80 EUR each.
    assert float(k[1]) == pytest.approx(0.005) and float(fee[1]) == pytest.approx(0.8)
    # 1 lot USDJPY from 159 to 160: 1 x 100 000 JPY x 0.005 = 500 EUR; commission 3.5 USD = 2.80 EUR to close.
    offer = contracts(["USDJPY"], INSTRUMENTS)
    closing = quote(160.0, k=float(k[1]), fee=float(fee[1]))
    account, flows = accounts.fill(holding("USDJPY", 1.0, 159.0), f32([-1.0]), closing, offer, f32(1.0))
    assert float(flows.commission[0]) * CAPITAL == pytest.approx(2.80, rel=1e-5)
    assert (float(account.balance) - 1.0) * CAPITAL == pytest.approx(500.0 - 2.80, abs=0.01)


def test_margin_of_forex_and_of_a_cfd():
    # 1 lot GBPUSD at 1.27, 3.33 %: 100 000 GBP x 3.33 % = 3 330 GBP = 4 229.10 USD.
    # 2 lots WTIUSD at 75, 10 %: 2 x 1 000 x 75 x 10 % = 15 000 USD. 4 lots US30 at 39 000, 5 %: 7 800 USD.
    for symbol, lots, bid, margin in [
        ("GBPUSD", 1, 1.27, 4229.10),
        ("WTIUSD", -2, 75, 15_000),
        ("US30", 4, 39_000, 7800),
    ]:
        held = accounts.margin(holding(symbol, lots, bid), quote(bid), contracts([symbol], INSTRUMENTS))
        assert float(held) * CAPITAL == pytest.approx(margin, rel=1e-5)
    # At 1:30 for forex the margin of 1 lot USDJPY is 100 000 / 30 = 3 333.33 USD.
    offer = contracts(["USDJPY"], INSTRUMENTS, {"forex": 30.0})
    held = accounts.margin(holding("USDJPY", 1.0, 150.0), quote(150.0, k=1 / 150), offer)
    assert float(held) * CAPITAL == pytest.approx(3333.33, rel=1e-5)


@pytest.mark.parametrize(("gap", "stopped"), [(0.983, False), (0.98, True)])
def test_stop_out_is_checked_at_the_gap_price_after_the_weekend(gap, stopped):
    # 30 lots at 1.0 with 100 000: margin 3.33 % of 3 000 000. Equity at the gap 100 000 - 3 000 000 x (1 - gap).
    # 0.983: 49 000 / (3 000 000 x 0.983 x 0.0333 = 98 202) = 49.9 %; less 900 of swap 49.0 %: above 40 %.
    # 0.980: 40 000 / 97 902 = 40.86 %, above 40 %; less the swap of 3 days of 10 USD a lot, 900: 39.94 %, stopped.
    table = make_table([[1.0], [gap], [gap]], [[1.0], [1.1], [1.1]], swap_nights=[[0.0], [3.0], [0.0]])
    offer = make_contracts(1, swap_money=[[-10.0], [-10.0]])
    start = accounts.open_account(1).replace(units=f32([30.0]))
    rules = make_rules(stop_out_level=0.4)
    result = bar_of_trading(start, f32([30.0]), table, jnp.int32(0), jnp.int32(0), offer, rules)
    assert bool(result.stopped_out) is stopped
    if stopped:  # closed at the gap price, not at the better close
        assert float(result.equity) * CAPITAL == pytest.approx(40_000.0 - 900.0, abs=1.0)
        assert float(result.account.units[0]) == 0.0


def test_slippage_is_points_and_a_share_of_volatility():
    # 5 points of 0.00001 and 10 % of a volatility of 0.2 % on 1.10000: 0.00005 + 0.1 x 0.002 x 1.1 = 0.00027.
    offer = make_contracts(1, slippage=5e-5, slippage_volatility=0.1)
    slip = slippage_price(quote(1.1), f32([[0.002**2]]), offer)
    assert float(slip[0]) == pytest.approx(0.00027, rel=1e-5)
    # Buying 1 lot with a spread of 0.7 pip: 1.1 + 0.00007 + 0.00027 = 1.10034; slippage 27 USD, spread 7 USD.
    account, flows = accounts.fill(
        accounts.open_account(1), f32([1.0]), quote(1.1, 7e-5), offer, f32(1.0), slippage=slip
    )
    assert float(account.entry[0]) == pytest.approx(1.10034, rel=1e-7)
    assert float(flows.slippage[0]) * CAPITAL == pytest.approx(27.0, rel=1e-4)
    assert float(flows.spread[0]) * CAPITAL == pytest.approx(7.0, rel=1e-4)
    # Selling: 1.1 - 0.00027.
    account, _ = accounts.fill(accounts.open_account(1), f32([-1.0]), quote(1.1, 7e-5), offer, f32(1.0), slip)
    assert float(account.entry[0]) == pytest.approx(1.09973, rel=1e-7)


def test_impact_is_quadratic_in_the_change_of_weights():
    # lambda 10, sigma 1 % per bar, weight 0 -> 0.5: 1/2 x 10 x 0.5^2 x 0.0001 = 0.000125 of equity, 12.50.
    table = make_table(np.ones((3, 1)), np.ones((3, 1)), covariance=[[1e-4]])
    start, here = accounts.open_account(1), (table, jnp.int32(0), jnp.int32(0), make_contracts(1))
    result = bar_of_trading(start, f32([0.5]), *here, make_rules(impact=10.0))
    assert float(result.flows.impact[0]) * CAPITAL == pytest.approx(12.5, rel=1e-5)
    assert (1.0 - float(result.equity)) * CAPITAL == pytest.approx(12.5, abs=0.02)


# 0.01 to 100 lots in steps of 0.01: the nearest step, half a step away at most; a close is always possible.
@pytest.mark.parametrize(
    ("held", "wanted", "position"),
    [
        (0.0, 0.019, 0.02),
        (0.0, -0.014, -0.01),
        (0.0, 0.004, 0.0),
        (0.0, 0.006, 0.01),
        (1.23, 1.23456, 1.23),
        (1.23, 1.23567, 1.24),
        (0.01, 0.004, 0.0),
        (0.01, -0.004, 0.0),
        (0.01, -0.006, -0.01),
        (0.07, 0.0, 0.0),
        (0.0, -130.0, -100.0),
        (100.0, 250.0, 200.0),
    ],
)
def test_a_position_follows_the_wanted_one_in_whole_lots(held, wanted, position):
    assert _follow("EURUSD", held, wanted) == pytest.approx(position, abs=1e-6)


# Orders of at least 0.1 lots in steps of 0.01.
@pytest.mark.parametrize(
    ("held", "wanted", "limited", "position"),
    [
        (0.0, 0.06, False, 0.0),  # waits
        (0.0, 0.098, False, 0.1),
        (0.1, 0.17, False, 0.1),  # 0.07 more wait
        (0.1, 0.2, False, 0.2),
        (0.12, 0.07, False, 0.12),  # 0.05 less wait
        (0.12, 0.07, True, 0.02),  # unless the risk layer demands it: the smallest order
        (0.05, 0.03, True, 0.0),  # or what is left
        (0.05, 0.08, True, 0.05),  # an increase waits
        (0.05, 0.0, False, 0.0),  # a close needs no smallest order
        (0.05, -0.03, False, 0.0),
        (0.05, -0.06, False, -0.06),
    ],
)
def test_a_change_below_the_smallest_order_waits_unless_it_closes(held, wanted, limited, position):
    assert _follow("EURUSD", held, wanted, limited, min_lot=0.1) == pytest.approx(position, abs=1e-6)


def _follow(symbol: str, held: float, wanted: float, limited: bool = False, **terms: float) -> float:
    """The position in lots, where contract size and capital are both 100 000: a unit is a lot."""
    offer = contracts([symbol], INSTRUMENTS).replace(**{name: f32([value]) for name, value in terms.items()})
    return float(whole_lots(f32([wanted]), f32([held]), offer, f32(CAPITAL), jnp.asarray([limited]))[0])


def test_parametric_value_at_risk_in_closed_form():
    # w = (0.6, -0.4), sigma 1 % and 2 %, correlation 0.5: 0.36e-4 + 0.64e-4 - 2 x 0.24 x 1e-4 = 0.52e-4, 0.72111 %;
    # x 1.644854 x sqrt(24 bars) = 5.8108 %.
    covariance = np.array([[1e-4, 1e-4], [1e-4, 4e-4]])
    figure = value_at_risk.parametric(np.array([0.6, -0.4]), covariance, 0.95, 24)
    assert figure == pytest.approx(0.0072111 * 1.644854 * np.sqrt(24), rel=1e-4)


def test_historical_value_at_risk_is_the_quantile_of_the_book_s_past_returns():
    # Returns -1 %, ..., -100 % / 100 in steps: at 95 % over 101 equally spaced outcomes the sixth worst counts.
    returns = np.linspace(-0.10, 0.10, 101)[:, None]  # worst -10.0 %, -9.8 %, ... the sixth worst -9.0 %
    assert value_at_risk.historical(np.array([0.5]), returns, 0.95) == pytest.approx(0.045)
    assert value_at_risk.historical(np.array([-0.5]), returns, 0.95) == pytest.approx(0.045)


def test_monte_carlo_value_at_risk_approaches_its_closed_forms():
    weights, covariance = np.array([1.0, -0.5]), np.array([[1e-4, 0.5e-4], [0.5e-4, 1e-4]])
    deviation = np.sqrt(weights @ covariance @ weights)
    generator = np.random.default_rng(0)
    # One bar: the quantile of Student's t of 5 degrees scaled to the deviation, t(0.99, 5) sqrt(3 / 5).
    figure = value_at_risk.monte_carlo(weights, covariance, 0.99, 5.0, generator, num_draws=400_000)
    assert figure == pytest.approx(student_t.ppf(0.99, 5) * np.sqrt(3 / 5) * deviation, rel=0.02)
    # Many degrees and many bars: the normal one, z sqrt(h).
    figure = value_at_risk.monte_carlo(weights, covariance, 0.95, 200.0, generator, horizon=24, num_draws=100_000)
    assert figure == pytest.approx(NormalDist().inv_cdf(0.95) * np.sqrt(24) * deviation, rel=0.02)
    with pytest.raises(ValueError, match="2 degrees of freedom"):
        value_at_risk.monte_carlo(weights, covariance, 0.95, 2.0, generator)
    with pytest.raises(ValueError, match=r"confidence of 0\.5"):
        value_at_risk.parametric(weights, covariance, 0.5)
