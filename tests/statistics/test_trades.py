"""Positions bar by bar -> trades, on histories worked by hand."""

import numpy as np
import pytest

from mtquant_jax.statistics.trades import find_trades, trade_statistics

KINDS = ("price_profit", "spread", "commission", "slippage", "impact", "swap")


def found(units, capital=1000.0, **flows):
    """Trades of one instrument on one path; flows are shares of capital by step."""
    units = np.asarray(units, float)[:, None, None]
    zeros = np.zeros_like(units)
    every = {kind: np.asarray(flows.get(kind, zeros[:, 0, 0]), float)[:, None, None] for kind in KINDS}
    return find_trades(units, every, ["EURUSD"], np.array([2.0]), capital)


def test_a_trade_reaches_from_its_first_fill_to_its_last():
    (one,) = found(
        [0, 3, 4, 4, 0, 0], price_profit=[0, 0.01, 0.02, 0, -0.005, 0], commission=[0, 0.001, 0.001, 0, 0.002, 0]
    )
    assert (one.symbol, one.direction, one.opened, one.closed) == ("EURUSD", "long", 1, 4)
    assert (one.max_lots, one.fills) == (8.0, 3)
    assert one.price_profit == pytest.approx(25.0)
    assert one.commission == pytest.approx(4.0)
    assert one.profit == pytest.approx(21.0)


def test_a_turn_ends_one_trade_and_begins_another_and_no_money_is_lost_between_them():
    profit = [0.01, 0.02, -0.04, 0.05, 0.003, 0.0]
    first, second = found([1, 1, -2, -2, 0, 0], price_profit=profit, swap=[0, -0.001, 0, -0.002, 0, 0])
    assert [(t.direction, t.opened, t.closed) for t in (first, second)] == [("long", 0, 2), ("short", 2, 4)]
    assert first.price_profit == pytest.approx(1000 * (0.01 + 0.02 - 0.04))
    assert second.price_profit == pytest.approx(1000 * (0.05 + 0.003))
    assert second.max_lots == 4.0
    assert first.profit + second.profit == pytest.approx(1000 * (sum(profit) - 0.003))


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
    every = find_trades(units, flows, ["A", "", "C"], np.ones(3), 1.0)
    for kind in KINDS:
        total = flows[kind][:, :, [0, 2]].sum()
        assert sum(getattr(trade, kind) for trade in every) == pytest.approx(total, abs=1e-9)
    assert {trade.symbol for trade in every} == {"A", "C"}
    assert [trade.path for trade in every] == sorted(trade.path for trade in every)
