"""The account against numbers worked by hand, and against a replay in NumPy float64 from the formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtquant_jax.simulation import account as accounts
from mtquant_jax.simulation.account import Quote
from tests.conftest import f32, make_contracts

LOT = 100_000.0
CAPITAL = 100_000.0  # units are relative to it: one lot of a 100 000 contract is 1.0 unit


def quote(bid, spread=0.0, conversion=1.0) -> Quote:
    bid = f32(np.atleast_1d(bid))
    return Quote(
        bid=bid,
        spread=f32(np.broadcast_to(spread, bid.shape)),
        conversion=f32(np.atleast_1d(conversion)),
        fee_conversion=jnp.ones_like(bid),
    )


def money(share) -> float:
    return float(share) * CAPITAL


def test_long_eurusd_pays_the_spread_once_and_commission_per_side():
    contracts = make_contracts(1, commission=3.5)
    account = accounts.open_account(1)
    # Buy 1 lot at the ask 1.10007 (bid 1.10000, 0.7 pip), commission 3.50.
    account, flows = accounts.fill(account, f32([1.0]), quote(1.10000, 0.00007), contracts, f32(1.0))
    assert float(account.entry[0]) == pytest.approx(1.10007, rel=1e-7)
    assert money(flows.commission[0]) == pytest.approx(3.5, rel=1e-5)
    assert money(flows.spread[0]) == pytest.approx(7.0, rel=1e-3)  # 0.00007 x 100 000
    # Bid rises 20 pips to 1.10200: marked at the bid, profit = (1.10200 - 1.10007) x 100 000 = 193, less 3.50.
    assert money(accounts.equity(account, quote(1.10200, 0.00007)) - 1.0) == pytest.approx(193.0 - 3.5, abs=0.1)
    # Sell at the bid 1.10200, commission 3.50 again: balance + 193 - 7.
    account, _ = accounts.fill(account, f32([-1.0]), quote(1.10200, 0.00007), contracts, f32(1.0))
    assert float(account.units[0]) == 0.0
    assert money(account.balance - 1.0) == pytest.approx(193.0 - 7.0, abs=0.1)


def test_short_is_marked_and_closed_at_the_ask():
    account = accounts.open_account(1)
    contracts = make_contracts(1)
    # Sell 2 lots at the bid 1.25000; the ask is 1.25009.
    account, flows = accounts.fill(account, f32([-2.0]), quote(1.25000, 0.00009), contracts, f32(1.0))
    assert float(account.entry[0]) == pytest.approx(1.25, rel=1e-7)
    assert money(flows.spread[0]) == pytest.approx(18.0, rel=1e-3)  # 0.00009 x 200 000, due when it is closed
    assert money(accounts.equity(account, quote(1.25000, 0.00009)) - 1.0) == pytest.approx(-18.0, abs=0.1)
    # Bid 1.24500, ask 1.24509: profit = (1.25000 - 1.24509) x 200 000 = 982.
    assert money(accounts.equity(account, quote(1.24500, 0.00009)) - 1.0) == pytest.approx(982.0, abs=0.1)
    account, flows = accounts.fill(account, f32([2.0]), quote(1.24500, 0.00009), contracts, f32(1.0))
    assert money(flows.spread[0]) == pytest.approx(0.0, abs=1e-3)  # already counted when it was opened
    assert money(account.balance - 1.0) == pytest.approx(982.0, abs=0.1)


def test_usdjpy_profit_is_in_yen_and_converted_at_the_current_price():
    account = accounts.open_account(1)
    # Buy 1 lot USDJPY at 150.000; close at 151.500. Profit 1.5 x 100 000 = 150 000 JPY = 150 000 / 151.5 = 990.10 USD.
    account, _ = accounts.fill(account, f32([1.0]), quote(150.0, 0.0, 1 / 150.0), make_contracts(1), f32(1.0))
    assert money(accounts.position_value(account, quote(150.0, 0.0, 1 / 150.0))[0]) == pytest.approx(
        100_000.0, rel=1e-6
    )
    account, _ = accounts.fill(account, f32([-1.0]), quote(151.5, 0.0, 1 / 151.5), make_contracts(1), f32(1.0))
    assert money(account.balance - 1.0) == pytest.approx(990.099, abs=0.02)


def test_adding_averages_the_entry_reducing_keeps_it_and_flipping_resets_it():
    contracts, one = make_contracts(1), f32(1.0)
    account = accounts.open_account(1)
    account, _ = accounts.fill(account, f32([1.0]), quote(1.10), contracts, one)
    account, _ = accounts.fill(account, f32([3.0]), quote(1.14), contracts, one)
    assert float(account.entry[0]) == pytest.approx((1.10 + 3 * 1.14) / 4, rel=1e-6)  # 1.13
    account, _ = accounts.fill(account, f32([-2.0]), quote(1.15), contracts, one)
    assert float(account.entry[0]) == pytest.approx(1.13, rel=1e-6)
    assert money(account.balance - 1.0) == pytest.approx(2 * LOT * 0.02, rel=1e-4)  # 4 000 on the two lots closed
    account, _ = accounts.fill(account, f32([-5.0]), quote(1.12), contracts, one)
    assert float(account.units[0]) == pytest.approx(-3.0)
    assert float(account.entry[0]) == pytest.approx(1.12, rel=1e-6)
    assert money(account.balance - 1.0) == pytest.approx(4000.0 - 2 * LOT * 0.01, rel=1e-4)


@pytest.mark.parametrize(
    ("bid", "conversion", "rate", "expected"),
    [
        (1.10, 1.0, 0.0333, 3663.0),  # EURUSD: 100 000 EUR x 3.33 % = 3 330 EUR = 3 663 USD
        (150.0, 1 / 150.0, 0.0333, 3330.0),  # USDJPY: 100 000 USD x 3.33 %
    ],
)
def test_forex_margin_is_the_base_amount_in_account_currency(bid, conversion, rate, expected):
    account = accounts.open_account(1).replace(units=f32([1.0]), entry=f32([bid]))
    required = accounts.margin(account, quote(bid, 0.0, conversion), make_contracts(1, margin_rate=rate))
    assert money(required) == pytest.approx(expected, rel=1e-5)


def test_cfd_margin_is_lots_times_contract_times_price_times_rate():
    # 10 lots XAUUSD at 2 000: 10 x 100 oz x 2 000 x 5 % = 100 000.
    account = accounts.open_account(1).replace(units=f32([1000.0 / CAPITAL]), entry=f32([2000.0]))
    required = accounts.margin(account, quote(2000.0), make_contracts(1, size=100.0, margin_rate=0.05))
    assert money(required) == pytest.approx(100_000.0, rel=1e-5)


def test_stop_out_level_is_equity_over_margin_with_a_small_tolerance():
    contracts = make_contracts(1, margin_rate=0.5)
    account = accounts.open_account(1).replace(units=f32([4.0]), entry=f32([1.0]))
    # Margin 4 x P x 0.5; equity 1 + 4 (P - 1). Level 50 % where 1 + 4 P - 4 = P, P = 1.
    level = f32(0.5)
    assert not accounts.is_stopped_out(account, quote(1.0), contracts, level)
    assert not accounts.is_stopped_out(account, quote(1.0 - 1e-7), contracts, level)
    assert accounts.is_stopped_out(account, quote(0.999), contracts, level)
    assert not accounts.is_stopped_out(accounts.open_account(1), quote(0.999), contracts, level)


def _replay(trades, bids, spreads, factors, sizes, commissions):
    """Equity in float64 after every fill and mark, from a list of deals: q C (close - open) k per closed part."""
    balance, units, entry = 1.0, np.zeros(trades.shape[1]), np.zeros(trades.shape[1])
    equity = []
    for t in range(len(trades)):
        for i in range(trades.shape[1]):
            amount = trades[t, i]
            price = bids[t, i] + (spreads[t, i] if amount > 0 else 0.0)
            balance -= abs(amount) / sizes[i] * commissions[i]
            if units[i] != 0 and np.sign(amount) == -np.sign(units[i]):
                closing = min(abs(amount), abs(units[i])) * np.sign(units[i])
                balance += closing * (price - entry[i]) * factors[t, i]
                rest = amount + closing
                units[i] -= closing
                if rest != 0 and units[i] == 0:
                    units[i], entry[i] = rest, price
            elif amount != 0:
                entry[i] = (units[i] * entry[i] + amount * price) / (units[i] + amount)
                units[i] += amount
        marks = bids[t] + np.where(units < 0, spreads[t], 0.0)
        equity.append(balance + np.sum(units * (marks - entry) * factors[t]))
    return np.array(equity)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_a_float64_replay_agrees(seed):
    generator = np.random.default_rng(seed)
    num_bars, n = 400, 3
    starts = np.array([1.1, 150.0, 2000.0])
    bids = starts * np.exp(np.cumsum(0.002 * generator.normal(size=(num_bars, n)), axis=0))
    bids = bids.astype(np.float32).astype(np.float64)  # both implementations use the same prices
    spreads = (starts * 1e-4 * generator.uniform(0.5, 2.0, size=(num_bars, n))).astype(np.float32).astype(np.float64)
    factors = np.stack([np.ones(num_bars), 1 / bids[:, 1], np.ones(num_bars)], -1).astype(np.float32)
    factors = factors.astype(np.float64)
    sizes, commissions = np.array([1e5, 1e5, 100.0]), np.array([3.5, 3.5, 7.0])
    weights = generator.uniform(-1, 1, size=(num_bars, n)) * (generator.random((num_bars, n)) < 0.3)
    targets = np.where(weights != 0, weights / (bids * factors), 0.0)
    trades = np.diff(targets, axis=0, prepend=0.0).astype(np.float32).astype(np.float64)
    contracts = make_contracts(n, size=sizes, commission=commissions)

    def step(account, row):
        trade, bid, spread, factor = row
        now = Quote(bid=bid, spread=spread, conversion=factor, fee_conversion=jnp.ones_like(bid))
        account, _ = accounts.fill(account, trade, now, contracts, f32(1.0))
        return account, accounts.equity(account, now)

    _, equity = jax.jit(lambda rows: jax.lax.scan(step, accounts.open_account(n), rows))(
        tuple(f32(x) for x in (trades, bids, spreads, factors))
    )
    # Targets of zero are reached up to the float32 rounding of the sum of trades, which the replay shares.
    np.testing.assert_allclose(
        np.asarray(equity), _replay(trades, bids, spreads, factors, sizes, commissions), rtol=2e-5
    )


def test_flows_add_up_to_the_change_of_equity():
    generator = np.random.default_rng(3)
    n, contracts = 4, make_contracts(4, commission=3.5)
    account = accounts.open_account(n)
    bid = generator.uniform(0.5, 2.0, n)
    before = quote(bid, 1e-4 * bid, generator.uniform(0.5, 1.5, n))
    for _ in range(50):
        after = quote(
            np.asarray(before.bid) * np.exp(0.01 * generator.normal(size=n)),
            1e-4 * generator.uniform(0.5, 3.0, n),
            np.asarray(before.conversion) * np.exp(0.01 * generator.normal(size=n)),
        )
        start = accounts.equity(account, before)
        flows = accounts.revalue(account, before, after)
        account, fill_flows = accounts.fill(account, f32(generator.normal(size=n)), after, contracts, f32(1.0))
        total = float(jnp.sum((flows + fill_flows).net()))
        assert total == pytest.approx(float(accounts.equity(account, after) - start), abs=3e-6)
        before = after
