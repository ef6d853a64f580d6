"""What paper trading does, line by line."""

from __future__ import annotations

from collections.abc import Iterator

from mtquant_jax.deploy.paper import Booked
from mtquant_jax.market.periods import moment


def booked_lines(booked: Booked, currency: str) -> Iterator[str]:
    """One bar: what was odd, what was filled at its open, its equity, and the orders for the next open."""
    for event in booked.events:
        at = "" if event.time is None else f" {moment(event.time)}"
        yield f"  {event.kind}{at}: {event.text}"
    equity = "the account opens" if booked.equity is None else f"equity {booked.equity:,.2f} {currency}"
    fills = ", ".join(f"{lots:+g} {symbol} at {price:.6g}" for symbol, (lots, price) in booked.fills.items())
    orders = ", ".join(f"{lots:+g} {symbol}" for symbol, lots in booked.orders.items())
    yield f"{moment(booked.time)}  {equity}; filled {fills or 'nothing'}; next {orders or 'no orders'}"
