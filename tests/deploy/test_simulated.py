"""The broker that quotes recorded bars: fills, profit and positions worked by hand."""

from __future__ import annotations

import dataclasses

import pytest

from mtquant_jax.deploy.broker import Order
from mtquant_jax.deploy.simulated import SimulatedBroker
from mtquant_jax.errors import UserError
from tests.deploy.test_live import HOUR, INSTRUMENTS, OPEN, PAIRS, recorded


def simulated(hedging: bool = False, closed: tuple[int, ...] = ()) -> SimulatedBroker:
    return SimulatedBroker(recorded(closed), HOUR, INSTRUMENTS, finished=3, hedging=hedging)


def test_bars_end_before_the_one_that_is_quoted() -> None:
    broker = simulated()
    bars = broker.bars(["GBPUSD"], HOUR, 2)
    assert bars.symbols == ("GBPUSD",) and bars.timestamps.tolist() == [OPEN + HOUR, OPEN + 2 * HOUR]
    assert bars.close[0, :, 0].tolist() == pytest.approx([1.251, 1.252])
    assert broker.now == OPEN + 3 * HOUR and len(broker.bars(PAIRS, HOUR, 99).timestamps) == 3
    quote = broker.quotes(["GBPUSD"])["GBPUSD"]
    assert (quote.bid, quote.ask, quote.time) == (pytest.approx(1.253), pytest.approx(1.2531), broker.now)


def test_a_net_position_is_averaged_reduced_and_turned() -> None:
    broker = simulated()
    broker.send(Order("EURUSD", 1.0))  # at 1.1031
    broker.finished += 1
    broker.send(Order("EURUSD", 1.0))  # at 1.1041
    (position,) = broker.positions()
    assert position.lots == 2.0 and position.entry_price == pytest.approx(1.1036)
    assert broker.account().equity == pytest.approx(10_000.0 + (1.104 - 1.1036) * 200_000)
    assert broker.account().balance == 10_000.0
    broker.send(Order("EURUSD", -3.0))  # at 1.104
    (position,) = broker.positions()
    assert position.lots == -1.0 and position.entry_price == pytest.approx(1.104)
    assert broker.account().balance == pytest.approx(10_080.0)


def test_a_ticket_closes_its_own_position() -> None:
    broker = simulated(hedging=True)
    broker.send(Order("EURUSD", 1.0))
    broker.send(Order("EURUSD", -0.5))
    first, second = broker.positions()
    assert (first.lots, second.lots) == (1.0, -0.5)
    broker.send(Order("EURUSD", -0.4, ticket=first.ticket))
    assert {p.ticket: p.lots for p in broker.positions()} == {first.ticket: 0.6, second.ticket: -0.5}


def test_a_closed_market_fills_nothing() -> None:
    broker = simulated(closed=(3,))
    done = broker.send(Order("EURUSD", 1.0))
    assert (done.filled, done.later) == (0.0, True) and not broker.positions()
    assert broker.check(Order("EURUSD", 1.0)).later and not broker.quotes(PAIRS)


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(UserError, match="have 3600 seconds, not 60"):
        simulated().bars(PAIRS, 60, 3)
    with pytest.raises(UserError, match="no recorded bars of XAUUSD"):
        simulated().bars(["XAUUSD"], HOUR, 3)
    bars = dataclasses.replace(recorded(), symbols=("EURUSD", "USDJPY"))
    with pytest.raises(UserError, match="USDJPY has its profit in JPY"):
        SimulatedBroker(bars, HOUR, INSTRUMENTS)
