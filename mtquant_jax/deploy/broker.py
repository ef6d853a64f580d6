"""What a broker is to this program: bars, contracts, quotes, the account, its positions and orders.

Every broker is one class with the methods of `Broker`; docs/brokers.md writes one. Symbols here are those of the file
instruments.yaml, money is in account currency, lots are signed (long is positive), and times are seconds since 1970
UTC.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import Instrument
from mtquant_jax.types import Bars

SMALLEST_LOTS = 1e-8
"""Lots below which a difference is rounding: brokers trade no less than a thousandth."""


@dataclasses.dataclass(frozen=True)
class AccountState:
    """An account at one moment; money is in ``currency``."""

    login: int
    currency: str
    balance: float
    equity: float
    margin: float
    """Held for the positions."""
    free_margin: float
    is_demo: bool
    """False also for a contest account: only what the broker calls a demo account is one."""
    hedging: bool
    """Whether a symbol may have several positions, each with a ticket; otherwise it has one net position."""
    server: str = ""


@dataclasses.dataclass(frozen=True)
class Position:
    """An open position."""

    symbol: str
    lots: float
    """Signed, long is positive; never zero."""
    entry_price: float
    ticket: int
    magic: int
    """The number of the program that opened it; 0 where a person did."""
    profit: float = 0.0
    """Not yet realised, account currency, without swap."""
    swap: float = 0.0
    """Account currency, received (positive) or paid so far."""


@dataclasses.dataclass(frozen=True)
class Quote:
    """The newest prices of a symbol."""

    bid: float
    ask: float
    time: int
    """Seconds since 1970 UTC."""
    conversion: float = 1.0
    """Account currency per unit of the symbol's profit currency."""

    @property
    def spread(self) -> float:
        """Difference of ask and bid, price units."""
        return self.ask - self.bid


@dataclasses.dataclass(frozen=True)
class Order:
    """An order at the market's price."""

    symbol: str
    lots: float
    """Signed, buy is positive; never zero."""
    reason: str = ""
    """Why it is sent, for the journal."""
    ticket: int | None = None
    """The position that it closes, wholly or in part, on a hedging account; None opens one, or changes the net one."""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a broker says of an order before it is sent."""

    allowed: bool
    code: int = 0
    """The broker's return code."""
    text: str = ""
    """A clause that says why not; empty where it is allowed."""
    later: bool = False
    """Whether the market is closed, so that the same order may be accepted once it opens."""


@dataclasses.dataclass(frozen=True)
class Execution:
    """What came of an order that was sent."""

    order: Order
    filled: float
    """Signed lots; zero where nothing was filled."""
    price: float | None
    """Mean of the fills; None where nothing was filled or the price is not known."""
    commission: float = 0.0
    """Paid for the fills, account currency; a cost is positive. Zero where the broker does not say it."""
    code: int = 0
    """The broker's last return code."""
    text: str = ""
    """A clause that says what went wrong, or why less was filled; empty after a whole fill."""
    uncertain: bool = False
    """Whether the broker did not answer: ``filled`` is then what the positions show, and more may still be filled."""
    later: bool = False
    """Whether the market is closed, as of `Verdict`."""

    @property
    def partial(self) -> bool:
        """Whether some lots were filled, and fewer than ordered."""
        return SMALLEST_LOTS < abs(self.filled) < abs(self.order.lots) - SMALLEST_LOTS


class BrokerUnavailable(UserError):
    """The broker cannot be reached now; the same call may succeed later."""


class Broker(Protocol):
    """An account at a broker.

    A method raises `BrokerUnavailable` where the broker cannot be reached, and UserError for what a person must change.
    """

    def bars(self, symbols: Sequence[str], seconds: int, count: int) -> Bars:
        """The newest finished bars of N symbols on one clock, oldest first; never the bar that is still running.

        Args:
            symbols: N names, the order of the last axis.
            seconds: from the open of a bar to the next, such as 3600.
            count: bars of each symbol that are asked for; there may be fewer.

        Returns:
            ``[1, T, N]`` bid prices, stamped at their open in UTC. A symbol without a bar at a time carries its last
            close there and is not tradable.
        """
        ...

    def contracts(self, symbols: Sequence[str]) -> Mapping[str, Instrument]:
        """The contracts of symbols at this broker, by symbol."""
        ...

    def quotes(self, symbols: Sequence[str]) -> Mapping[str, Quote]:
        """The newest quotes by symbol; a symbol without one is left out."""
        ...

    def account(self) -> AccountState:
        """The account now."""
        ...

    def positions(self) -> tuple[Position, ...]:
        """All open positions of the account, also those that others opened."""
        ...

    def check(self, order: Order) -> Verdict:
        """Whether the order would be accepted now; sends nothing."""
        ...

    def send(self, order: Order) -> Execution:
        """Send an order and wait for what comes of it. A refusal is an Execution without a fill, and no exception."""
        ...


def net_lots(positions: Iterable[Position], magic: int | None = None) -> dict[str, float]:
    """Signed lots by symbol, summed over the positions of one magic number, or of all where it is None.

    A symbol whose longs and shorts cancel out is there with zero.
    """
    found: dict[str, float] = {}
    for position in positions:
        if magic is None or position.magic == magic:
            found[position.symbol] = round(found.get(position.symbol, 0.0) + position.lots, 8)
    return found


def rounded_lots(lots: float, instrument: Instrument) -> float:
    """Signed lots rounded towards zero to the instrument's step; zero where that is below its smallest order.

    Lots within a millionth of a step below a whole one count as that one.
    """
    steps = math.floor(abs(lots) / instrument.lot_step + 1e-6)
    size = round(steps * instrument.lot_step, 8)
    return math.copysign(size, lots) if size >= instrument.min_lot - SMALLEST_LOTS else 0.0
