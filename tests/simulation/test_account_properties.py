"""Properties of any account on any market: symmetries, scales and sums, searched by hypothesis.

All examples of a test share one compiled program: shapes are fixed, markets and orders are arguments.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtquant_jax.market.calendar import charged_nights
from mtquant_jax.simulation.execution import whole_lots
from tests.conftest import f32, make_contracts, make_rules, make_table, random_prices
from tests.simulation.proof_markets import many_accounts, one_account, trading_hours

NUM_BARS, N = 41, 3
SEEDS = st.integers(0, 2**32 - 1)
PROPERTY = settings(max_examples=40, deadline=None, derandomize=True)
COSTS = ("spread", "commission", "slippage", "impact")
ROUND = jax.jit(whole_lots)


def market(seed: int, costs: float = 1.0, volatility: float = 0.01):
    """A random table, contracts with every cost, and random target weights ``[T, N]``."""
    generator = np.random.default_rng(seed)
    opens, closes = random_prices(NUM_BARS, N, seed, volatility)
    factor = np.exp(0.002 * np.cumsum(generator.normal(size=(NUM_BARS, N)), axis=0))
    table = make_table(
        opens,
        closes,
        spread=costs * 2e-4 * generator.uniform(0.5, 3.0, (NUM_BARS, N)),
        tradable=generator.random((NUM_BARS, N)) > 0.1,
        conversion=(factor, factor * np.exp(1e-4 * generator.normal(size=(NUM_BARS, N)))),
        swap_nights=generator.choice([0.0, 0.0, 1.0, 3.0], (NUM_BARS, 1)),
        covariance=1e-4 * (0.5 * np.eye(N) + 0.5),
    )
    contracts = make_contracts(
        N,
        commission=costs * generator.uniform(0, 7, N),
        slippage=costs * generator.uniform(0, 1e-4, N),
        slippage_volatility=costs * generator.uniform(0, 0.1, N),
        swap_price=costs * generator.uniform(-1e-4, 5e-5, (2, N)),
        swap_money=costs * generator.uniform(-5, 2, (2, N)),
        swap_rate=costs * generator.uniform(-0.05, 0.02, (2, N)),
    )
    targets = generator.uniform(-0.5, 0.5, (NUM_BARS - 1, N)) * (generator.random((NUM_BARS - 1, N)) < 0.6)
    return table, contracts, f32(targets)


def play(targets, table, contracts, **rules):
    out = one_account(targets, jnp.int32(0), table, contracts, make_rules(**rules))
    return jax.tree.map(lambda leaf: np.asarray(leaf, float), out)


def take(tree, order):
    """Permute the last axis of every leaf ``[..., N]``."""
    return jax.tree.map(lambda leaf: leaf[..., order], tree)


@PROPERTY
@given(SEEDS)
def test_a_flat_policy_keeps_equity_exactly(seed):
    table, contracts, targets = market(seed)
    for rounds in (0.0, 1.0):
        out = play(jnp.zeros_like(targets), table, contracts, impact=3.0, round_lots=rounds)
        assert (out["equity"] == 1.0).all()
        assert all((getattr(out["flows"], name) == 0.0).all() for name in (*COSTS, "price_profit", "swap"))


@PROPERTY
@given(SEEDS)
def test_equity_changes_by_the_sum_of_the_named_flows_at_each_step(seed):
    table, contracts, targets = market(seed)
    out = play(targets, table, contracts, impact=3.0)
    flows = out["flows"]
    total = flows.price_profit - flows.spread - flows.commission - flows.slippage - flows.impact + flows.swap
    change = np.diff(out["equity"], prepend=1.0)
    np.testing.assert_allclose(total.sum(-1), change, atol=3e-7)  # two roundings of an equity of about 1


@PROPERTY
@given(SEEDS)
def test_without_costs_a_short_earns_what_the_long_loses(seed):
    # First bar only from flat: q = w E / (P k), profit q (P' - P_open) k', odd in w; equities are mirrored about 1.
    table, contracts, targets = market(seed, costs=0.0)
    for sign in (1.0, -1.0):
        flat_after = targets.at[1:].set(0.0) * sign
        out = play(flat_after, table, contracts, ruin_level=0.0)
        if sign > 0:
            profit = out["equity"][0] - 1.0
        else:
            assert out["equity"][0] - 1.0 == pytest.approx(-profit, abs=1.3e-7)
    # If held without rebalancing (nothing is tradable after bar 1), the whole path is mirrored.
    frozen = table.replace(tradable=table.tradable.at[:, 1].set(True).at[:, 2:].set(False))
    long, short = (play(sign * targets, frozen, contracts, ruin_level=0.0)["equity"] for sign in (1.0, -1.0))
    np.testing.assert_allclose(long - 1.0, 1.0 - short, atol=3e-7)


@PROPERTY
@given(SEEDS, st.floats(0.05, 0.95))
def test_an_account_split_in_two_earns_the_same(seed, part):
    # Shares of capital do not depend on capital while volumes are continuous: the parts' equities are that of the
    # whole, in account currency part x E + (1 - part) x E = E.
    table, contracts, targets = market(seed)
    capital = [100_000.0, 100_000.0 * part, 100_000.0 * (1.0 - part)]
    whole, one, two = (play(targets, table, contracts, initial_capital=c)["equity"] * c for c in capital)
    np.testing.assert_allclose(one + two, whole, rtol=1e-6)
    # In whole lots it holds for parts that can trade the same steps: half the capital with half the lot step.
    halves = contracts.replace(lot_step=contracts.lot_step / 2, min_lot=contracts.min_lot / 2)
    whole = play(targets, table, contracts, round_lots=1.0)["equity"]
    half = play(targets, table, halves, round_lots=1.0, initial_capital=50_000.0)["equity"]
    np.testing.assert_allclose(half, whole, rtol=1e-6)


@PROPERTY
@given(SEEDS, st.permutations(range(N)))
def test_the_order_of_instruments_does_not_matter(seed, order):
    table, contracts, targets = market(seed)
    order = np.array(order)
    names = ("open", "close", "spread", "tradable", "conversion_open", "conversion_close", "fee_conversion")
    changed = {name: getattr(table, name)[..., order] for name in names}
    other = table.replace(
        **changed,
        swap_nights=table.swap_nights[..., order],
        covariance=table.covariance[..., order[:, None], order[None, :]],
    )
    out = play(targets, table, contracts, impact=3.0)
    permuted = play(targets[:, order], other, take(contracts, order), impact=3.0)
    np.testing.assert_allclose(permuted["equity"], out["equity"], rtol=1e-6)
    np.testing.assert_allclose(permuted["units"], out["units"][:, order], rtol=2e-6, atol=1e-6)
    for name in (*COSTS, "swap", "price_profit"):
        np.testing.assert_allclose(
            getattr(permuted["flows"], name), getattr(out["flows"], name)[:, order], rtol=1e-4, atol=2e-7
        )


@PROPERTY
@given(SEEDS)
def test_doubling_every_cost_doubles_the_cost_flows_at_fixed_lots(seed):
    table, contracts, targets = market(seed)
    first = targets * (jnp.arange(NUM_BARS - 1) == 0)[:, None]  # from flat: equity 1, so the same lots in both cases
    table = table.replace(tradable=table.tradable.at[:, 1].set(True).at[:, 2:].set(False))  # then they are held
    ones = jnp.ones_like(table.close)  # profit in the account's currency: k would act on the spread in the entry price
    table = table.replace(conversion_open=ones, conversion_close=ones)
    target = jnp.where(first == 0.0, 0.3, first)
    one, two = (play(target, table, contracts, impact=3.0, cost_multiplier=m, ruin_level=0.0) for m in (1.0, 2.0))
    np.testing.assert_array_equal(one["units"], two["units"])
    np.testing.assert_allclose(one["flows"].price_profit, two["flows"].price_profit, atol=1e-7)
    for name in (*COSTS, "swap"):
        flow = getattr(one["flows"], name)
        np.testing.assert_allclose(getattr(two["flows"], name), 2.0 * flow, rtol=1e-5, atol=1e-10)
        assert np.abs(flow).max() > 0.0, name


@PROPERTY
@given(
    st.lists(st.floats(-500.0, 500.0, width=32), min_size=N, max_size=N),
    st.lists(st.integers(-300, 300), min_size=N, max_size=N),
    st.floats(1_000.0, 1e6, width=32),
    st.sampled_from([0.01, 0.1, 1.0]),
)
def test_orders_are_whole_lots_that_a_broker_takes_and_lead_towards_the_wanted_position(wanted, held, capital, step):
    contracts = make_contracts(N, lot_step=step, min_lot=2 * step, max_lot=400.0)
    unit = float(f32(100_000.0 / f32(capital)))
    before = np.asarray(held, float) * step
    position = np.asarray(ROUND(f32(wanted) * unit, f32(before * unit), contracts, f32(capital)), float) / unit
    order = np.abs(position - before)
    np.testing.assert_allclose(position / step, np.rint(position / step), rtol=1e-4, atol=1e-3)
    assert ((order < 1e-4 * step) | (order > 2 * step * 0.999) | (np.abs(position) < 1e-4 * step)).all()
    assert (order <= 400.0 * 1.0001).all()
    distance, wide = np.abs(position - wanted), order > 400.0 * 0.999
    assert (distance[~wide] <= 2 * step * 1.01 + 1e-5 * np.abs(wanted)[~wide]).all()
    assert (distance <= np.abs(before - wanted) + 0.51 * step).all()


@PROPERTY
@given(SEEDS, st.sampled_from([1_000.0, 10_000.0, 1e6]), st.sampled_from([0.01, 0.05]))
def test_what_is_held_stays_within_half_a_lot_step_of_what_is_wanted(seed, capital, smallest):
    """Over any path, on every bar that was tradable: nothing that a decision asked for is lost to rounding."""
    table, contracts, targets = market(seed)
    contracts = contracts.replace(min_lot=f32([smallest] * N))
    out = play(targets, table, contracts, round_lots=1.0, initial_capital=capital)
    lots = capital / 100_000.0
    away = np.abs(out["units"] - out["wanted"]) * lots
    size = np.abs(out["wanted"]) * lots
    traded = np.asarray(table.tradable)[0, 1:] & ~np.maximum.accumulate(out["stopped"] > 0)[:, None]
    bound = 0.005 if smallest == 0.01 else smallest
    assert (away <= bound * 1.001 + 1e-6 * size)[traded].all()
    assert (away > 1e-4).any()  # rounding was at work


@PROPERTY
@given(SEEDS)
def test_continuous_lots_hold_exactly_what_is_wanted(seed):
    table, contracts, targets = market(seed)
    out = play(targets, table, contracts)
    np.testing.assert_array_equal(out["units"], out["wanted"])


@PROPERTY
@given(SEEDS)
def test_positions_stay_whole_lots_and_full_closes_leave_nothing(seed):
    table, contracts, targets = market(seed)
    table = table.replace(tradable=jnp.ones_like(table.tradable))
    out = play(targets.at[-1].set(0.0), table, contracts, round_lots=1.0)
    assert (out["units"][-1] == 0.0).all()
    steps = out["units"] / 0.01  # capital and contract are 100 000: one unit is one lot
    np.testing.assert_allclose(steps, np.rint(steps), atol=2e-4)


# Nights and bar intervals.


def resampled(timestamps: np.ndarray, hours: int) -> np.ndarray:
    """Opens of the longer bars, each at the first H1 bar it holds."""
    return timestamps[np.unique(timestamps // (3600 * hours), return_index=True)[1]]


@PROPERTY
@given(st.integers(2000, 2035), st.integers(0, 364), st.sampled_from(["Wed", "Fri"]), st.sampled_from([4, 24]))
def test_swap_is_charged_once_a_night_whatever_the_bar_interval(year, day, triple, hours):
    first = int(np.datetime64(f"{year}-01-01T00", "s").astype(int)) + 86_400 * day
    opens = first + 3600 * np.arange(24 * 35)
    of_week = (opens // 3600 + 72) % 168
    opens = opens[(of_week < 4 * 24 + 22) | (of_week >= 6 * 24 + 22)]
    longer = resampled(opens, hours)
    nights = charged_nights(opens, (triple,), "NewYork+7")[:, 0]
    fewer = charged_nights(longer, (triple,), "NewYork+7")[:, 0]
    # The nights between two common bars are equal, although no long bar may open near midnight.
    at = np.searchsorted(opens, longer)
    np.testing.assert_array_equal(np.cumsum(fewer), np.cumsum(nights)[at] - nights[: at[0] + 1].sum())
    # Four weeks from any bar to the bar 28 days later cost 28 nights, through weekends and daylight-saving changes.
    later = np.searchsorted(opens, opens[0] + 28 * 86_400)
    if opens[later] == opens[0] + 28 * 86_400:
        clock = 2.0  # a clock change may move one of the two bars across a midnight, of three nights at most
        assert abs(nights[1 : later + 1].sum() - 28.0) <= clock + 1.0


@pytest.mark.slow
def test_the_same_position_pays_the_same_swap_on_h1_h4_and_d1_bars():
    # One lot long at -6.5 points, bought on a Monday and sold two weeks later: 14 nights x 6.5 USD = 91 USD.
    hours = trading_hours(24 * 5 * 5)
    paid = []
    for interval in (1, 4, 24):
        opens = resampled(hours, interval)
        flat = np.ones((len(opens), 1))
        table = make_table(flat, flat, swap_nights=charged_nights(opens, ("Wed",), "NewYork+7"))
        contracts = make_contracts(1, swap_price=[[-6.5e-5], [1.5e-5]])
        days = (opens[1:] - hours[0]) / 86_400  # since a Monday 00:00 UTC, when bars of every interval open
        out = play(f32((days >= 7) & (days < 21))[:, None], table, contracts, round_lots=1.0)
        paid.append(-out["flows"].swap.sum() * 100_000.0)
    assert paid == pytest.approx([91.0] * 3, rel=1e-5)


def test_vmapped_accounts_equal_single_accounts():
    table, contracts, targets = market(5)
    both = jnp.stack([targets, -targets])
    rules = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), make_rules())
    terms = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), contracts)
    out = many_accounts(both, jnp.zeros(2, jnp.int32), table, terms, rules)
    for i, alone in enumerate((targets, -targets)):
        np.testing.assert_allclose(out["equity"][i], play(alone, table, contracts)["equity"], rtol=3e-7)
