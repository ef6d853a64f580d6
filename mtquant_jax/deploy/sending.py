"""Sends the orders that lead to wanted lots, symbol by symbol, with everything in the journal before and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mtquant_jax.deploy.broker import SMALLEST_LOTS, AccountState, Broker, Execution, Order, Position, Quote, net_lots
from mtquant_jax.deploy.fills import Fill
from mtquant_jax.deploy.journal import Journal, LiveState
from mtquant_jax.deploy.orders import orders_towards
from mtquant_jax.deploy.rules import LiveRules
from mtquant_jax.market.instruments import Instrument


@dataclasses.dataclass(frozen=True)
class Scene:
    """What a turn sees before it acts."""

    account: AccountState
    positions: tuple[Position, ...]
    """Of the whole account."""
    contracts: Mapping[str, Instrument]
    """At the broker."""
    usual: Mapping[str, Instrument]
    """Of the training, whose spread is the usual one."""
    quotes: Mapping[str, Quote]
    now: float
    """Seconds since 1970 UTC."""


class Sender:
    """Sends orders of one turn, and saves after each symbol what is left to do."""

    def __init__(self, broker: Broker, journal: Journal, rules: LiveRules, scene: Scene, state: LiveState) -> None:
        """``state`` has the pending symbols; `state` is what is left of it."""
        self._broker, self._journal, self._rules, self._scene = broker, journal, rules, scene
        self.state = state
        self.messages: list[str] = []
        self.orders: list[Order] = []
        self.executions: list[Execution] = []

    def send_pending(self) -> None:
        """Send the orders of every pending symbol; those that wait for their market stay pending.

        While everything is closed, the spread and the age of quotes do not matter.

        Raises:
            BrokerUnavailable: the connection is lost; what was not settled is pending in the saved state.
        """
        for symbol, before in dict(self.state.pending).items():
            waits = self._send(symbol, self.state.wanted.get(symbol, 0.0))
            pending = {name: why for name, why in self.state.pending.items() if name != symbol}
            if waits:
                pending[symbol] = waits
                if waits != before:
                    self._note("put_off", symbol, f"put off: {waits}")
            self.state = dataclasses.replace(self.state, pending=pending)
            self._journal.save(self.state)

    def _send(self, symbol: str, wanted: float) -> str:
        """Send the orders of a symbol; why they must wait, or nothing where they are settled."""
        hedging, closing = self._scene.account.hedging, self.state.closing
        held = [position for position in self._scene.positions if position.symbol == symbol]
        ours = [position for position in held if position.magic == self._rules.magic]
        if len(ours) < len(held) and not hedging:
            self._note("refused", symbol, "the position is not ours, and this account has one per symbol")
            return ""
        contract = self._scene.contracts[symbol]
        orders = orders_towards(symbol, wanted, ours, contract, hedging, closing or "decision")
        if orders and not closing and (obstacle := self._obstacle(symbol)):
            return obstacle
        for order in orders:
            verdict = self._broker.check(order)
            if not verdict.allowed and verdict.later:
                return verdict.text
            if not verdict.allowed:
                self._note("refused", symbol, f"{_words(order)} refused: {verdict.text} ({verdict.code})")
                return ""
            self.orders.append(order)
            if not self.state.pending.get(symbol):  # an order that was put off is in the journal already
                self._journal.write(self._scene.now, "order", order=order, sent=self._rules.send)
            if not self._rules.send:
                self.messages.append(f"{symbol}: {_words(order)} would be sent (dry run)")
                continue
            execution = self._broker.send(order)
            self._count(execution, ours)
            if execution.uncertain or abs(execution.filled - order.lots) > SMALLEST_LOTS:
                return execution.text if execution.later and not execution.uncertain else ""
        return ""

    def adopt(self) -> None:
        """Journal what happened to our positions without us: fills that were not answered, closed by hand, stopped out.

        The fills of the journal then add up to the positions again. Positions were bought at their entry price, others
        are taken to have been closed at the quote.
        """
        last: dict[str, Fill] = {}
        booked: dict[str, float] = {}
        for fill in self._journal.fills():
            last[fill.symbol], booked[fill.symbol] = fill, round(booked.get(fill.symbol, 0.0) + fill.lots, 8)
        held = net_lots(self._scene.positions, self._rules.magic)
        entries = {p.symbol: p.entry_price for p in self._scene.positions if p.magic == self._rules.magic}
        for symbol in dict.fromkeys([*booked, *held]):
            lots = round(held.get(symbol, 0.0) - booked.get(symbol, 0.0), 8)
            if abs(lots) <= SMALLEST_LOTS:
                continue
            quote, before = self._scene.quotes.get(symbol), last.get(symbol)
            grows = lots * held.get(symbol, 0.0) > 0.0
            closing = (quote.ask if lots > 0.0 else quote.bid) if quote else before.price if before else 0.0
            price = entries[symbol] if grows else closing
            contract = self._scene.contracts.get(symbol)
            fill = Fill(
                time=int(self._scene.now),
                bar=self.state.bars,
                symbol=symbol,
                lots=lots,
                price=price,
                bid=price,
                ask=price,
                contract_size=contract.contract_size if contract else before.contract_size if before else 1.0,
                conversion=quote.conversion if quote else before.conversion if before else 1.0,
            )
            text = f"{lots:+g} lots that the journal did not have: filled without an answer, or not by us"
            self.messages.append(f"{symbol}: {text}")
            self._journal.add_fill(self._scene.now, fill, message=text)

    def _obstacle(self, symbol: str) -> str:
        """What keeps an order from being sent now and passes by itself; nothing where it can be sent."""
        quote = self._scene.quotes.get(symbol)
        if quote is None or not 0.0 < quote.bid <= quote.ask:
            return "there is no quote"
        if self._scene.now - quote.time > self._rules.max_quote_age:
            return "the last quote is too old, the market seems closed"
        usual = self._scene.usual[symbol].default_spread
        limit = self._rules.max_spread * usual
        if 0.0 < limit < quote.spread:
            return f"the spread is wider than {self._rules.max_spread:g} times the usual {usual:g}"
        return ""

    def _count(self, execution: Execution, ours: list[Position]) -> None:
        """Journal what came of an order."""
        self.executions.append(execution)
        order = execution.order
        answer = {"code": execution.code, "answer": execution.text, "uncertain": execution.uncertain}
        if abs(execution.filled) > SMALLEST_LOTS:
            fill = self._fill(execution, ours)
            self._journal.add_fill(self._scene.now, fill, order=order, partial=execution.partial, **answer)
            self.messages.append(f"{order.symbol}: {_words(order)}, filled {abs(fill.lots):g} at {fill.price:.8g}")
        if execution.uncertain:
            self._note("uncertain", order.symbol, f"{_words(order)} uncertain: {execution.text}", **answer)
        elif execution.text and not execution.later:
            rest = "rest of it not filled" if execution.filled else "not filled"
            self._note("not_filled", order.symbol, f"{_words(order)}, {rest}: {execution.text}", **answer)

    def _fill(self, execution: Execution, ours: list[Position]) -> Fill:
        order, filled, scene = execution.order, execution.filled, self._scene
        quote = scene.quotes.get(order.symbol)
        price = execution.price
        if price is None:  # then the quote, or what the position was opened at
            price = (quote.ask if filled > 0.0 else quote.bid) if quote else ours[0].entry_price
        closed = [p for p in ours if order.ticket in (None, p.ticket) and p.lots * filled < 0.0]
        lots = abs(sum(position.lots for position in closed))
        share = min(abs(filled) / lots, 1.0) if lots else 0.0
        return Fill(
            time=int(scene.now),
            bar=self.state.bars,
            symbol=order.symbol,
            lots=filled,
            price=price,
            bid=quote.bid if quote else price,
            ask=quote.ask if quote else price,
            contract_size=scene.contracts[order.symbol].contract_size,
            conversion=quote.conversion if quote else 1.0,
            commission=execution.commission,
            swap=share * sum(position.swap for position in closed),
        )

    def _note(self, event: str, symbol: str, text: str, **content: Any) -> None:
        self.messages.append(f"{symbol}: {text}")
        self._journal.write(self._scene.now, event, symbol=symbol, message=text, **content)


def _words(order: Order) -> str:
    """An order in words: ``buy 0.1 lots``."""
    return f"{'buy' if order.lots > 0.0 else 'sell'} {abs(order.lots):g} lots"
