"""Turns the fills of an account into trades as a broker's statement lists them, and into the columns of trades.csv."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from datetime import UTC, datetime

from mtquant_jax.deploy.broker import SMALLEST_LOTS
from mtquant_jax.evaluation.tables import Columns, trade_columns
from mtquant_jax.statistics.trades import Trade
from mtquant_jax.storage.records import JsonRecord

_BOOK = "portfolio"


@dataclasses.dataclass(frozen=True)
class Fill(JsonRecord):
    """One fill of one order, with what is needed to say what it cost."""

    time: int
    """Seconds since 1970 UTC."""
    bar: int
    """Bars that were decided on up to it, which counts how long a trade is held."""
    symbol: str
    lots: float
    """Signed, buy is positive; never zero."""
    price: float
    """Quote currency."""
    bid: float
    """Quoted before the order was sent, quote currency."""
    ask: float
    contract_size: float
    """Units per lot."""
    conversion: float
    """Account currency per unit of quote currency."""
    commission: float = 0.0
    """Paid, account currency."""
    swap: float = 0.0
    """Received (positive) or paid for what the fill closes, account currency."""


@dataclasses.dataclass
class _Open:
    """A position while its fills are read."""

    first: Fill
    number: int  # in the order of opening
    side: float  # above 0: long
    held: float = 0.0  # signed lots
    opened: float = 0.0
    closed: float = 0.0
    max_lots: float = 0.0
    fills: int = 0
    open_value: float = 0.0  # sum of price x lots
    close_value: float = 0.0
    open_bid: float = 0.0  # mean bid at opening
    price_profit: float = 0.0
    spread: float = 0.0
    commission: float = 0.0
    slippage: float = 0.0
    swap: float = 0.0

    def apply(self, fill: Fill, lots: float) -> None:
        """Count so many signed lots of a fill."""
        size, value = abs(lots), abs(lots) * fill.contract_size * fill.conversion
        share = size / abs(fill.lots)
        buys = lots > 0.0
        self.fills += 1
        self.commission += fill.commission * share
        self.spread += (fill.ask - fill.bid) * value if buys else 0.0
        self.slippage += (fill.price - fill.ask if buys else fill.bid - fill.price) * value
        if self.held * lots >= 0.0:
            self.open_bid = (self.open_bid * abs(self.held) + fill.bid * size) / (abs(self.held) + size)
            self.opened, self.open_value = self.opened + size, self.open_value + fill.price * size
        else:
            self.price_profit += (fill.bid - self.open_bid) * (value if self.held > 0.0 else -value)
            self.closed, self.close_value = self.closed + size, self.close_value + fill.price * size
            self.swap += fill.swap
        self.held = round(self.held + lots, 8)
        self.max_lots = max(self.max_lots, abs(self.held))

    def trade(self, last: Fill | None) -> Trade:
        """The trade, which ``last`` closed; None while it is open."""
        return Trade(
            symbol=self.first.symbol,
            path=0,
            direction="long" if self.side > 0.0 else "short",
            opened=self.first.bar,
            closed=None if last is None else last.bar,
            lots=round(self.opened, 8),
            max_lots=self.max_lots,
            fills=self.fills,
            open_price=self.open_value / self.opened,
            close_price=None if last is None else self.close_value / self.closed,
            price_profit=self.price_profit,
            spread=self.spread,
            commission=self.commission,
            slippage=self.slippage,
            impact=0.0,
            swap=self.swap,
        )


def trades_of(fills: Iterable[Fill]) -> Columns:
    """The columns of ``trades.csv``, in the order of opening.

    A trade goes from flat to flat. A fill that turns a position ends one trade at its price and begins another there.
    Profit is counted at the bid, buys pay the spread, and slippage is what a fill was worse than the quote, so that the
    columns mean what they mean in an evaluation.

    Args:
        fills: of one account, in their order.
    """
    running: dict[str, _Open] = {}
    found: list[tuple[Fill, Fill | None, _Open]] = []
    opened_so_far = itertools.count()
    for fill in fills:
        position, left = running.get(fill.symbol), fill.lots
        if position is not None and position.held * left < 0.0:
            part = max(-abs(position.held), -abs(left)) * (1.0 if position.held > 0.0 else -1.0)
            position.apply(fill, part)
            left = round(left - part, 8)
            if abs(position.held) <= SMALLEST_LOTS:
                found.append((position.first, fill, running.pop(fill.symbol)))
        if abs(left) > SMALLEST_LOTS:
            if fill.symbol not in running:
                running[fill.symbol] = _Open(fill, next(opened_so_far), left)
            running[fill.symbol].apply(fill, left)
    found += [(position.first, None, position) for position in running.values()]
    found.sort(key=lambda entry: entry[2].number)
    trades = [position.trade(last) for _, last, position in found]
    opened = [_minute(first.time) for first, _, _ in found]
    closed = [None if last is None else _minute(last.time) for _, last, _ in found]
    return trade_columns([_BOOK] * len(trades), trades, opened, closed)


def _minute(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
