"""What a broker is to this program: bars, contracts, quotes, the account, its positions and orders.

Every broker is one class with the methods of `Broker`; docs/brokers.md writes one. Symbols are those of instruments.yaml
on this side of it, money is in account currency, lots are signed (long is positive), and times are seconds since 1970
UTC.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import Instrument, find_symbol
from mtquant_jax.settings.yaml_text import brief
from mtquant_jax.storage.files import read_json
from mtquant_jax.types import Bars

SMALLEST_LOTS = 1e-8
"""Lots below which a difference is rounding: brokers trade no less than a thousandth."""
_FORM = "dump account_info()._asdict() and positions_get() as docs/brokers.md shows"
_DEMO, _HEDGING = 0, 2  # ENUM_ACCOUNT_TRADE_MODE, ENUM_ACCOUNT_MARGIN_MODE
_SIDES = {0: 1.0, 1: -1.0}  # ENUM_POSITION_TYPE: buy, sell


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

    @property
    def spread(self) -> float:
        """ask - bid, price units."""
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


@dataclasses.dataclass(frozen=True)
class Execution:
    """What came of an order that was sent."""

    order: Order
    filled: float
    """Signed lots; zero where nothing was filled."""
    price: float | None
    """Mean of the fills; None where nothing was filled or the price is not known."""
    code: int = 0
    """The broker's last return code."""
    text: str = ""
    """A clause that says what went wrong, or why less was filled; empty after a whole fill."""
    uncertain: bool = False
    """Whether the broker did not answer: ``filled`` is then what the positions show, and more may still be filled."""

    @property
    def partial(self) -> bool:
        """Whether some lots were filled, and fewer than ordered."""
        return SMALLEST_LOTS < abs(self.filled) < abs(self.order.lots) - SMALLEST_LOTS


class Broker(Protocol):
    """An account at a broker. A method raises UserError for what a person must change, and nothing else."""

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


def account_from_json(
    path: Path, instruments: Mapping[str, Instrument] | None = None
) -> tuple[AccountState, tuple[Position, ...]]:
    """Read a dump of an account and its positions.

    The file is a JSON object with MetaTrader's ``account_info()._asdict()`` under ``account``, or its fields at the top
    level, and a list of the ``_asdict()`` of ``positions_get()`` under ``positions``. Unknown keys are ignored.

    Args:
        path: the file.
        instruments: turn the broker's names, such as ``EURUSD.r``, into symbols; a name that is none of theirs stays,
            and without them all names do.

    Raises:
        UserError: the file is no such dump; the message names the position and the field.
    """
    content = read_json(Path(path), "the account")
    account = content.get("account", content)
    if not isinstance(account, Mapping):
        raise UserError(f"{path}: account must be an object with its fields; found {brief(account)}; {_FORM}")
    if "positions" not in content:
        raise UserError(f"{path} has no positions; write an empty list where none is open; {_FORM}")
    listed = content["positions"]
    if not isinstance(listed, list):
        raise UserError(f"{path}: positions must be a list; found {brief(listed)}; {_FORM}")
    positions = []
    for number, fields in enumerate(listed, start=1):
        where = f"{path}: position {number}"
        if not isinstance(fields, Mapping):
            raise UserError(f"{where} must be an object with its fields; found {brief(fields)}; {_FORM}")
        found = position_of(fields, where)
        symbol = find_symbol(found.symbol, instruments) if instruments else None
        positions.append(dataclasses.replace(found, symbol=symbol or found.symbol))
    if len({position.ticket for position in positions}) < len(positions):
        raise UserError(f"{path}: two positions have the same ticket; {_FORM}")
    return account_of(account, f"{path}: account"), tuple(positions)


def account_of(fields: Mapping[str, Any], where: str) -> AccountState:
    """The account of MetaTrader's ``account_info()._asdict()``; ``where`` names it in messages.

    Raises:
        UserError: a field is missing, of another type, not finite or out of its range.
    """
    currency = _text(fields, "currency", where)
    return AccountState(
        login=_whole(fields, "login", where),
        currency=currency.upper(),
        balance=_number(fields, "balance", where),
        equity=_number(fields, "equity", where),
        margin=_number(fields, "margin", where, lowest=0.0),
        free_margin=_number(fields, "margin_free", where),
        is_demo=_choice(fields, "trade_mode", where, (0, 1, 2)) == _DEMO,
        hedging=_choice(fields, "margin_mode", where, (0, 1, 2)) == _HEDGING,
        server=str(fields.get("server") or ""),
    )


def position_of(fields: Mapping[str, Any], where: str) -> Position:
    """The position of an ``_asdict()`` of MetaTrader's ``positions_get()``, with the broker's name of the symbol.

    Raises:
        UserError: as of `account_of`.
    """
    volume = _number(fields, "volume", where, lowest=0.0)
    if volume < SMALLEST_LOTS:
        raise UserError(f"{where}: volume must be above 0; found {volume:g}; {_FORM}")
    return Position(
        symbol=_text(fields, "symbol", where),
        lots=_SIDES[_choice(fields, "type", where, tuple(_SIDES))] * volume,
        entry_price=_number(fields, "price_open", where),
        ticket=_whole(fields, "ticket", where),
        magic=_whole(fields, "magic", where),
        profit=_number(fields, "profit", where),
        swap=_number(fields, "swap", where),
    )


def _given(fields: Mapping[str, Any], key: str, where: str) -> Any:
    if fields.get(key) is None:
        raise UserError(f"{where} has no {key}; {_FORM}")
    return fields[key]


def _number(fields: Mapping[str, Any], key: str, where: str, lowest: float = -math.inf) -> float:
    value = _given(fields, key, where)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{where}: {key} must be a number; found {brief(value)}; {_FORM}")
    if value < lowest:
        raise UserError(f"{where}: {key} must be at least {lowest:g}; found {brief(value)}; {_FORM}")
    return float(value)


def _whole(fields: Mapping[str, Any], key: str, where: str) -> int:
    value = _given(fields, key, where)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{where}: {key} must be a whole number of at least 0; found {brief(value)}; {_FORM}")
    return value


def _choice(fields: Mapping[str, Any], key: str, where: str, choices: tuple[int, ...]) -> int:
    value = _whole(fields, key, where)
    if value not in choices:
        raise UserError(f"{where}: {key} must be one of {', '.join(map(str, choices))}; found {value}; {_FORM}")
    return value


def _text(fields: Mapping[str, Any], key: str, where: str) -> str:
    value = _given(fields, key, where)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {key} must be text; found {brief(value)}; {_FORM}")
    return value.strip()
