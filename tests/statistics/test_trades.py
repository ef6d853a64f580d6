"""Positions bar by bar -> trades, on histories worked by hand."""

import numpy as np
import pytest

from mtquant_jax.statistics.trades import find_trades, trade_statistics

KINDS = ("price_profit", "spread", "commission", "slippage", "impact", "swap")


def found(units, capital=1000.0, opened=None, price=None, **flows):
    """Trades of one instrument on one path; flows, and those after flips, are shares of capital by step."""
    units = np.asarray(units, float)[:, None, None]
    zeros = np.zeros(len(units))
    every, after = (
        {kind: np.asarray(given.get(kind, zeros), float)[:, None, None] for kind in KINDS}
        for given in (flows, opened or {})
    )
    price = np.asarray(zeros if price is None else price, float)[:, None, None]
    return find_trades(units, every, after, price, ["EURUSD"], np.array([2.0]), capital)


def test_a_trade_reaches_from_its_first_fill_to_its_last():
    (one,) = found(
        [0, 3, 4, 4, 0, 0], price_profit=[0, 0.01, 0.02, 0, -0.005, 0], commission=[0, 0.001, 0.001, 0, 0.002, 0]
    )
    assert (one.symbol, one.direction, one.opened, one.closed) == ("EURUSD", "long", 1, 4)
    assert (one.max_lots, one.fills) == (8.0, 3)
    assert one.price_profit == pytest.approx(25.0)
    assert one.commission == pytest.approx(4.0)
    assert one.profit == pytest.approx(21.0)


def test_a_flip_ends_one_trade_at_its_fill_and_begins_another_there():
    profit, swap = [0.01, 0.02, -0.04, 0.05, 0.003, 0.0], [0, -0.001, -0.0005, -0.002, 0, 0]
    after = {"price_profit": [0, 0, -0.03, 0, 0, 0], "swap": [0] * 6}
    first, second = found([1, 1, -2, -2, 0, 0], price_profit=profit, swap=swap, opened=after)
    assert [(t.direction, t.opened, t.closed) for t in (first, second)] == [("long", 0, 2), ("short", 2, 4)]
    assert first.price_profit == pytest.approx(1000 * (0.01 + 0.02 - 0.01))
    assert first.swap == pytest.approx(1000 * (-0.001 - 0.0005))
    assert second.price_profit == pytest.approx(1000 * (-0.03 + 0.05 + 0.003))
    assert second.max_lots == 4.0
    assert first.profit + second.profit == pytest.approx(1000 * (sum(profit) + sum(swap)))


def test_three_flips_in_a_row_lose_no_money():
    profit, after = [0.01, -0.02, 0.03, -0.04], [0.0, -0.015, 0.01, 0.0]
    trades = found([1, -1, 1, 0], price_profit=profit, opened={"price_profit": after})
    assert [t.price_profit for t in trades] == pytest.approx([1000 * (0.01 - 0.005), 1000 * (-0.015 + 0.02), -30.0])


def test_prices_are_means_of_the_fills_by_lots():
    # Bought 1 at 10 and 3 at 12, sold 2 at 13; a flip at 14 sells the rest and 1 more, bought back at 11.
    first, second = found([1, 4, 2, -1, 0], price=[10, 12, 13, 14, 11])
    assert (first.lots, first.max_lots) == (8.0, 8.0)  # a unit is two lots
    assert (first.open_price, first.close_price) == (pytest.approx(11.5), pytest.approx(13.5))
    assert (second.lots, second.open_price, second.close_price) == (2.0, 14.0, 11.0)
    (still,) = found([0, 2], price=[0, 5])
    assert (still.open_price, still.close_price) == (5.0, None)


def test_what_is_held_at_the_end_is_open_and_counts_in_no_rate():
    closed, still = found([1, 0, -1, -1], price_profit=[0.01, 0.0, 0.0, -0.02])
    assert still.closed is None
    assert still.price_profit == pytest.approx(-20.0)
    statistics = trade_statistics([closed, still])
    assert (statistics.trades, statistics.open, statistics.win_rate) == (1, 1, 1.0)
    assert statistics.profit_factor is None  # nothing was lost
    assert statistics.mean_bars == 1.0


def test_statistics_of_winners_and_losers():
    won, lost, lost_again = found([1, 0, 1, 0, 1, 0], price_profit=[0.03, 0, -0.01, 0, -0.005, 0])
    statistics = trade_statistics([won, lost, lost_again])
    assert statistics.win_rate == pytest.approx(1 / 3)
    assert statistics.profit_factor == pytest.approx(2.0)
    assert (statistics.best, statistics.worst) == (pytest.approx(30.0), pytest.approx(-10.0))
    assert trade_statistics([]).win_rate is None


def test_random_histories_lose_no_money_and_padding_is_left_out():
    generator = np.random.default_rng(0)
    units = generator.integers(-1, 2, size=(200, 2, 3)).astype(float)
    flows = {kind: generator.normal(size=units.shape) for kind in KINDS}
    # A step without a position before or after it can bring nothing.
    before = np.concatenate([np.zeros((1, 2, 3)), units[:-1]])
    flows = {kind: np.where((units != 0) | (before != 0), values, 0.0) for kind, values in flows.items()}
    opened = {kind: generator.normal(size=units.shape) * (units * before < 0) for kind in KINDS}
    every = find_trades(units, flows, opened, np.ones(units.shape), ["A", "", "C"], np.ones(3), 1.0)
    for kind in KINDS:
        total = flows[kind][:, :, [0, 2]].sum()
        assert sum(getattr(trade, kind) for trade in every) == pytest.approx(total, abs=1e-9)
    assert {trade.symbol for trade in every} == {"A", "C"}
    assert [trade.path for trade in every] == sorted(trade.path for trade in every)
