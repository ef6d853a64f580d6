"""Trades cut out of an account's history against a statement that is kept deal by deal in float64."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from mtquant_jax.market.contracts import contracts
from mtquant_jax.statistics.trades import COSTS, find_trades
from tests.conftest import make_rules
from tests.simulation.proof_markets import INSTRUMENTS, SYMBOLS, one_account, stormy_bars, tables

CAPITAL, NUM_STEPS = 1e5, 600
FLOWS = ("price_profit", *COSTS, "swap")


def statement(units, price, k, commission, swap) -> list[dict[str, float]]:
    """Closed trades of one instrument: deals at average cost, each closed at its price and at the day's factor.

    ``units``, ``price`` of the fill, conversion ``k`` there, ``commission`` and ``swap`` of the bar: ``[L]``.
    """
    trades, held, entry, money = [], 0.0, 0.0, {"profit": 0.0, "volume": 0.0}
    for target, at, factor, fee, night in zip(units, price, k, commission, swap, strict=True):
        deal = target - held
        money["profit"] += night
        closed = -np.sign(held) * min(abs(deal), abs(held)) if deal * held < 0.0 else 0.0  # part of the deal
        if closed:
            money["profit"] += -closed * (at - entry) * factor - fee * abs(closed / deal)
            held += closed
            if held == 0.0:
                trades.append(money)
                money = {"profit": 0.0, "volume": 0.0}
        if opened := deal - closed:
            entry = (entry * abs(held) + at * abs(opened)) / (abs(held) + abs(opened))
            held += opened
            money["profit"] -= fee * abs(opened / deal)
            money["volume"] += abs(opened)
    return trades


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [0.0, 1.0])
def test_every_closed_trade_brings_what_a_statement_says(rounds):
    bars = stormy_bars(5, NUM_STEPS + 2)
    table, offer = tables(bars, INSTRUMENTS), contracts(SYMBOLS, INSTRUMENTS)
    generator = np.random.default_rng(5)
    held = generator.integers(3, 12, NUM_STEPS).cumsum() // 12  # weights that last for some bars, and often flip
    targets = generator.uniform(-0.1, 0.1, (NUM_STEPS, len(SYMBOLS)))[held].astype(np.float32)
    rules = make_rules(initial_capital=CAPITAL, round_lots=rounds)
    out = jax.tree.map(lambda leaf: np.asarray(leaf, float), one_account(targets, 0, table, offer, rules))
    assert not out["stopped"].any() and not out["ruined"].any()
    flows, opened = ({name: getattr(out[kinds], name)[:, None] for name in FLOWS} for kinds in ("flows", "opened"))
    fills = slice(1, NUM_STEPS + 1)
    bid, k = (np.asarray(leaf, float)[0, fills] for leaf in (table.open, table.conversion_open))
    price = bid + out["fill_offset"]
    size = np.asarray(offer.contract_size, float)
    trades = find_trades(out["units"][:, None], flows, opened, price[:, None], SYMBOLS, CAPITAL / size, CAPITAL)
    flips = 0
    for column, symbol in enumerate(SYMBOLS):
        units = out["units"][:, column]
        flips += np.count_nonzero(units[1:] * units[:-1] < 0.0)
        costs = flows["commission"][:, 0, column] + flows["impact"][:, 0, column]
        swap = flows["swap"][:, 0, column]
        expected = statement(units, price[:, column], k[:, column], costs, swap)
        found = [trade for trade in trades if trade.symbol == symbol and trade.closed is not None]
        assert len(found) == len(expected) > 20
        np.testing.assert_allclose(
            [trade.profit for trade in found], [CAPITAL * trade["profit"] for trade in expected], atol=0.01
        )
        volumes = [trade["volume"] * CAPITAL / size[column] for trade in expected]
        np.testing.assert_allclose([trade.lots for trade in found], volumes, rtol=1e-9)
    assert flips > 100
    total = CAPITAL * (out["equity"][-1] - 1.0)
    assert sum(trade.profit for trade in trades) == pytest.approx(total, abs=0.05)
