"""A signal as a table for the terminal, and as CSV."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from mtquant_jax.deploy.signal import InstrumentSignal, Signal
from mtquant_jax.market.periods import moment
from mtquant_jax.reports.wording import duration, percent_text

_SHOWN = 5e-5  # weight from which the table shows more than 0.00 %


def signal_lines(signal: Signal) -> Iterator[str]:
    """What to do first, then the table and what stands behind it."""
    orders = signal.orders
    closes = moment(signal.bar + signal.bar_seconds)
    yield (
        f"decided at the close of the bar that opened {moment(signal.bar)} UTC (closed {closes}, "
        f"{duration(signal.age_seconds)} ago)"
    )
    whose = "simulated account" if signal.account == "simulated" else f"account {signal.account}"
    part = "" if signal.capital_share == 1.0 else f", of which {percent_text(signal.capital_share, 0)} is traded"
    yield f"{whose}: equity {signal.equity:,.2f} {signal.currency}{part}"
    yield ""
    yield from _table(signal)
    yield ""
    shares = ", ".join(f"{name} {percent_text(share, 0)}" for name, share in signal.capital.items())
    yield f"capital: {shares}; risk appetite {percent_text(signal.risk_appetite, 0)}"
    bound = ", ".join(f"{name.replace('_', ' ')} (-{percent_text(cut, 0)})" for name, cut in signal.risk_rules.items())
    yield f"risk rules that bound: {bound or 'none'}"
    small = [found.symbol for found in signal.instruments if not found.lots and abs(found.permitted_weight) > _SHOWN]
    if small:
        yield f"wanted, but less than can be traded: {', '.join(small)}"
    if not orders:
        yield "orders: none; hold what is held"
        return
    cost = sum(found.cost for found in orders)
    yield f"orders: {', '.join(map(_order, orders))}; expected cost {cost:,.2f} {signal.currency}"


def _order(found: InstrumentSignal) -> str:
    return f"{'buy' if found.order_lots > 0.0 else 'sell'} {abs(found.order_lots):g} {found.symbol}"


def _table(signal: Signal) -> Iterator[str]:
    yield f"{'':<8} {'wanted':>9} {'permitted':>9} {'held':>8} {'order':>8} {'lots':>8} {'bid':>10} {'cost':>9}"
    for found in signal.instruments:
        order = f"{found.order_lots:+g}" if found.order_lots else "-"
        weights = (percent_text(found.wanted_weight), percent_text(found.permitted_weight))
        yield (
            f"{found.symbol:<8.8} {weights[0]:>9} {weights[1]:>9} {found.held_lots:>8g} {order:>8} {found.lots:>8g} "
            f"{found.price:>10.6g} {found.cost:>9.2f}"
        )


def signal_csv(signal: Signal) -> Iterator[str]:
    """A header and a line for every instrument."""
    names = [field.name for field in dataclasses.fields(InstrumentSignal)]
    yield ",".join(("bar", *names))
    for found in signal.instruments:
        values = (getattr(found, name) for name in names)
        cells = (f"{value:.7g}" if isinstance(value, float) else value for value in values)  # all that float32 holds
        yield ",".join((moment(signal.bar), *cells))
