"""Turns wanted and held lots into orders, on accounts with one net position per symbol and on hedging accounts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mtquant_jax.deploy.broker import SMALLEST_LOTS, Order, Position, rounded_lots
from mtquant_jax.market.instruments import Instrument


def orders_towards(
    symbol: str, wanted: float, held: Sequence[Position], contract: Instrument, hedging: bool, reason: str
) -> list[Order]:
    """The orders that lead from held positions to wanted lots, closing ones first.

    Wanted lots and the change are rounded towards zero to the contract's step, and a change below the smallest order is
    left out. An order has at most the contract's largest lots. On a hedging account, positions are closed by their
    tickets, the oldest first, before anything is opened: longs and shorts of a symbol never stand beside each other.

    Args:
        symbol: of all positions.
        wanted: signed lots.
        held: our positions of the symbol.
        contract: at the broker.
        hedging: whether positions have tickets to close.
        reason: for the journal.
    """
    wanted = rounded_lots(wanted, contract)
    net = math.fsum(position.lots for position in held)
    if not hedging:
        change = rounded_lots(wanted - net, contract) if wanted else -net
        return _pieces(symbol, change, contract, reason)
    orders = []
    keeps = math.copysign(1.0, wanted) if wanted else 0.0
    for position in sorted(held, key=lambda position: position.ticket):
        if math.copysign(1.0, position.lots) != keeps:  # the wrong side: all of it goes
            orders += _pieces(symbol, -position.lots, contract, reason, position.ticket)
    same = sorted((p for p in held if p.lots * keeps > 0.0), key=lambda position: position.ticket)
    change = rounded_lots(wanted - math.fsum(position.lots for position in same), contract)
    if change * keeps >= 0.0:
        return orders + _pieces(symbol, change, contract, reason)
    for position in same:
        part = min(abs(change), abs(position.lots))
        orders += _pieces(symbol, math.copysign(part, change), contract, reason, position.ticket)
        change = math.copysign(max(abs(change) - part, 0.0), change)
    return orders


def _pieces(symbol: str, lots: float, contract: Instrument, reason: str, ticket: int | None = None) -> list[Order]:
    """Orders of so many signed lots, each of at most the contract's largest."""
    found = []
    left = abs(lots)
    while left > SMALLEST_LOTS:
        size = min(left, contract.max_lot)
        found.append(Order(symbol, round(math.copysign(size, lots), 8), reason, ticket))
        left = round(left - size, 8)
    return found
