"""A broker without a market: recorded bars are quoted, and every order is filled whole, for tests and examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtquant_jax.deploy.broker import (
    SMALLEST_LOTS,
    AccountState,
    Execution,
    Order,
    Position,
    Quote,
    Verdict,
)
from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.selection import COLUMNS
from mtquant_jax.market.instruments import Instrument, select
from mtquant_jax.types import Bars


class SimulatedBroker:
    """An account that trades recorded bars; see `Broker`.

    The first ``finished`` bars are over, and the bar after them has just opened: its open and spread are the quote.
    There is no commission, no swap and no margin, and profit is in the account's currency alone.
    """

    def __init__(
        self,
        recorded: Bars,
        seconds: int,
        instruments: Mapping[str, Instrument],
        finished: int = 2,
        balance: float = 10_000.0,
        currency: str = "USD",
        hedging: bool = False,
        magic: int = 20_250_101,
    ) -> None:
        """Open an account.

        Args:
            recorded: ``[1, T, N]`` bars.
            seconds: length of a bar.
            instruments: contracts by symbol.
            finished: bars that are over, below T.
            balance: account currency.
            currency: of the account, and of the profit of every symbol.
            hedging: whether a symbol may have several positions.
            magic: number of the positions that orders open.

        Raises:
            UserError: the profit of a symbol is in another currency.
        """
        self.account_state = AccountState(1, currency, balance, balance, 0.0, balance, True, hedging, "Simulated")
        self.finished = finished
        self._bars, self._seconds, self._magic = recorded, seconds, magic
        self._instruments = {one.symbol: one for one in select(recorded.symbols, instruments)}
        self._open: list[Position] = []
        self._ticket = 0
        for one in self._instruments.values():
            if one.profit_currency != currency:
                raise UserError(
                    f"{one.symbol} has its profit in {one.profit_currency}, and the account is in {currency}"
                )

    @property
    def now(self) -> int:
        """Seconds since 1970 UTC: the bar after the finished ones has just opened."""
        return int(self._bars.timestamps[self.finished])

    def bars(self, symbols: Sequence[str], seconds: int, count: int) -> Bars:
        """The newest finished bars; UserError for another length than that of the recorded ones."""
        if seconds != self._seconds:
            raise UserError(f"the recorded bars have {self._seconds} seconds, not {seconds}")
        rows, columns = slice(max(self.finished - count, 0), self.finished), [self._column(one) for one in symbols]
        cut: dict[str, Any] = {name: np.asarray(getattr(self._bars, name))[:, rows][:, :, columns] for name in COLUMNS}
        return dataclasses.replace(self._bars, symbols=tuple(symbols), timestamps=self._bars.timestamps[rows], **cut)

    def contracts(self, symbols: Sequence[str]) -> Mapping[str, Instrument]:
        """The contracts of symbols."""
        return {one.symbol: one for one in select(symbols, self._instruments)}

    def quotes(self, symbols: Sequence[str]) -> Mapping[str, Quote]:
        """The open of the bar that has just opened, of symbols that trade in it."""
        found = {}
        for symbol in symbols:
            at = (0, self.finished, self._column(symbol))
            if self._bars.tradable[at]:
                bid = float(self._bars.open[at])
                found[symbol] = Quote(bid, bid + float(self._bars.spread[at]), self.now)
        return found

    def account(self) -> AccountState:
        """The account, at the bid and ask of now."""
        equity = self.account_state.balance + sum(position.profit for position in self.positions())
        return dataclasses.replace(self.account_state, equity=equity, free_margin=equity)

    def positions(self) -> tuple[Position, ...]:
        """The open positions; one that does not trade now is valued at what it was opened at."""
        quotes = self.quotes(list({position.symbol for position in self._open}))
        return tuple(dataclasses.replace(p, profit=self._profit(p, quotes.get(p.symbol))) for p in self._open)

    def check(self, order: Order) -> Verdict:
        """Allowed wherever the symbol trades."""
        if order.symbol in self.quotes([order.symbol]):
            return Verdict(True)
        return Verdict(False, text="the market is closed", later=True)

    def send(self, order: Order) -> Execution:
        """Fill the whole order at the ask or the bid."""
        verdict = self.check(order)
        if not verdict.allowed:
            return Execution(order, 0.0, None, text=verdict.text, later=True)
        quote = self.quotes([order.symbol])[order.symbol]
        price, left = quote.ask if order.lots > 0.0 else quote.bid, order.lots
        for position in [p for p in self._open if self._is_target(p, order)]:
            part = -min(abs(left), abs(position.lots)) if position.lots > 0.0 else min(abs(left), abs(position.lots))
            closed = dataclasses.replace(position, lots=-part)
            balance = self.account_state.balance + self._profit(closed, quote)
            self.account_state = dataclasses.replace(self.account_state, balance=balance)
            self._open.remove(position)
            left = round(left - part, 8)
            if abs(position.lots + part) > SMALLEST_LOTS:
                self._open.append(dataclasses.replace(position, lots=round(position.lots + part, 8)))
        if abs(left) > SMALLEST_LOTS:
            self._add(order.symbol, left, price)
        return Execution(order, order.lots, price)

    def _is_target(self, position: Position, order: Order) -> bool:
        """Whether an order closes a position."""
        if position.symbol != order.symbol or position.lots * order.lots > 0.0:
            return False
        return position.ticket == order.ticket if self.account_state.hedging else True

    def _add(self, symbol: str, lots: float, price: float) -> None:
        """Open a position, or add to the net one."""
        old = next((p for p in self._open if p.symbol == symbol and not self.account_state.hedging), None)
        self._ticket += 1
        if old is None:
            self._open.append(Position(symbol, lots, price, self._ticket, self._magic))
            return
        total = round(old.lots + lots, 8)
        mean = (old.entry_price * old.lots + price * lots) / total
        self._open[self._open.index(old)] = dataclasses.replace(old, lots=total, entry_price=mean)

    def _profit(self, position: Position, quote: Quote | None) -> float:
        if quote is None:
            return 0.0
        price = quote.bid if position.lots > 0.0 else quote.ask
        size = self._instruments[position.symbol].contract_size
        return (price - position.entry_price) * position.lots * size

    def _column(self, symbol: str) -> int:
        if symbol not in self._bars.symbols:
            raise UserError(
                f"there are no recorded bars of {symbol}; there are those of {', '.join(self._bars.symbols)}"
            )
        return self._bars.symbols.index(symbol)
