"""From held to wanted lots, on netting and on hedging accounts, with numbers worked by hand."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from mtquant_jax.deploy.broker import Position
from mtquant_jax.deploy.orders import orders_towards
from mtquant_jax.market.instruments import load_instruments

CONTRACT = dataclasses.replace(load_instruments()["EURUSD"], min_lot=0.02, lot_step=0.01, max_lot=1.0)


def planned(wanted: float, held: list[float], hedging: bool) -> list[tuple[float, int | None]]:
    positions = [Position("EURUSD", lots, 1.1, ticket, 42) for ticket, lots in enumerate(held, start=1)]
    orders = orders_towards("EURUSD", wanted, positions, CONTRACT, hedging, "test")
    assert all(order.symbol == "EURUSD" and order.reason == "test" for order in orders)
    return [(order.lots, order.ticket) for order in orders]


@pytest.mark.parametrize(
    ("wanted", "held", "orders"),
    [
        (0.3, [], [0.3]),
        (-0.3, [], [-0.3]),
        (0.3, [0.3], []),
        (0.3, [0.1], [0.2]),
        (0.1, [0.3], [-0.2]),
        (0.0, [0.3], [-0.3]),
        (0.0, [0.015], [-0.015]),  # what is held is closed, whatever its size
        (-0.3, [0.2], [-0.5]),
        (0.309, [0.1], [0.2]),  # rounded towards zero
        (0.31, [0.3], []),  # 0.01 is below the smallest order
        (0.01, [0.3], [-0.3]),  # and so is what is wanted
        (2.5, [], [1.0, 1.0, 0.5]),  # of at most 1 lot
        (0.0, [-1.5], [1.0, 0.5]),
    ],
)
def test_a_net_position_is_changed(wanted: float, held: list[float], orders: list[float]) -> None:
    assert planned(wanted, held, hedging=False) == [(lots, None) for lots in orders]


@pytest.mark.parametrize(
    ("wanted", "held", "orders"),
    [
        (0.3, [], [(0.3, None)]),
        (0.3, [0.1, 0.2], []),
        (0.5, [0.1, 0.2], [(0.2, None)]),
        (0.05, [0.1, 0.2], [(-0.1, 1), (-0.15, 2)]),  # the oldest first
        (0.0, [0.1, -0.2], [(-0.1, 1), (0.2, 2)]),
        (-0.3, [0.2], [(-0.2, 1), (-0.3, None)]),  # closed first, then opened
        (0.3, [-0.2, 0.1], [(0.2, 1), (0.2, None)]),
        (-0.1, [-0.4, 0.1], [(-0.1, 2), (0.3, 1)]),
        (0.0, [1.5], [(-1.0, 1), (-0.5, 1)]),
    ],
)
def test_tickets_are_closed_before_anything_is_opened(
    wanted: float, held: list[float], orders: list[tuple[float, int | None]]
) -> None:
    assert planned(wanted, held, hedging=True) == orders


@pytest.mark.parametrize("hedging", [False, True])
def test_orders_always_lead_to_the_wanted_lots(hedging: bool) -> None:
    sizes = (-0.7, -0.2, 0.0, 0.05, 0.6, 1.3)
    for wanted, *held in itertools.product(sizes, repeat=3):
        positions = [lots for lots in held if lots]
        total = sum(positions) + sum(lots for lots, _ in planned(wanted, positions, hedging))
        assert total == pytest.approx(wanted, abs=CONTRACT.min_lot - 1e-9), (wanted, held)
        assert planned(wanted, [wanted] if wanted else [], hedging) == []
