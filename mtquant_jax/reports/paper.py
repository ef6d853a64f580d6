"""What paper trading does, line by line."""

from __future__ import annotations

from collections.abc import Iterator

from mtquant_jax.deploy.paper import Booked
from mtquant_jax.deploy.paper_report import PaperReport
from mtquant_jax.market.periods import moment
from mtquant_jax.reports.wording import percent_text


def booked_lines(booked: Booked, currency: str) -> Iterator[str]:
    """One bar: what was odd, what was filled at its open, its equity, and the orders for the next open."""
    for event in booked.events:
        at = "" if event.time is None else f" {moment(event.time)}"
        yield f"  {event.kind}{at}: {event.text}"
    equity = "the account opens" if booked.equity is None else f"equity {booked.equity:,.2f} {currency}"
    fills = ", ".join(f"{lots:+g} {symbol} at {price:.6g}" for symbol, (lots, price) in booked.fills.items())
    orders = ", ".join(f"{lots:+g} {symbol}" for symbol, lots in booked.orders.items())
    yield f"{moment(booked.time)}  {equity}; filled {fills or 'nothing'}; next {orders or 'no orders'}"


def report_lines(report: PaperReport) -> Iterator[str]:
    """What was traded, every condition of the next stage, and the verdict."""
    yield f"paper traded {report.bars:,} bars, {report.days} trading days, {report.first} to {report.last} UTC"
    yield (
        f"return {percent_text(report.total_return)}, largest drawdown {percent_text(report.max_drawdown)}; the "
        f"simulator on the bars as they are now: {percent_text(report.simulator_return)}"
    )
    events = ", ".join(f"{count} {kind}" for kind, count in report.events.items())
    yield f"events: {events or 'none'}"
    yield ""
    for gate in report.gates:
        yield f"  {'ok ' if gate.passed else 'NOT'} {gate.name:<9} {gate.text}"
    yield ""
    yield report.verdict
