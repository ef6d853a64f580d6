"""Turns an order into requests to a MetaTrader terminal: checked, repeated by return code, and never sent twice."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from mtquant_jax.deploy import return_codes as codes
from mtquant_jax.deploy import terminal as mt5
from mtquant_jax.deploy.broker import (
    SMALLEST_LOTS,
    BrokerUnavailable,
    Execution,
    Order,
    Position,
    Verdict,
    net_lots,
)
from mtquant_jax.deploy.return_codes import Treatment, meaning
from mtquant_jax.errors import UserError

_DISABLED, _LONG_ONLY, _SHORT_ONLY, _CLOSE_ONLY = 0, 1, 2, 3  # ENUM_SYMBOL_TRADE_MODE
_HEDGING = 2  # ACCOUNT_MARGIN_MODE_RETAIL_HEDGING
_COMMENT = "mtquant-jax"
_AGAIN = (Treatment.DONE, Treatment.PARTIAL, Treatment.RETRY)  # where a rest is left


@dataclasses.dataclass
class _Fills:
    """What was filled of an order so far."""

    lots: float = 0.0  # signed
    value: float = 0.0  # sum of price x lots of those fills whose price is known
    priced: float = 0.0  # lots of these, signed
    commission: float = 0.0

    def add(self, lots: float, price: float | None, commission: float) -> None:
        """Count one more fill."""
        self.lots = round(self.lots + lots, 8)
        self.commission += commission
        if price is not None:
            self.value, self.priced = self.value + price * lots, self.priced + lots

    @property
    def price(self) -> float | None:
        """Mean price."""
        return self.value / self.priced if self.priced else None


class Dealer:
    """Checks and sends orders through one connection."""

    def __init__(
        self, connection: mt5.Connection, magic: int, deviation: int, positions: Callable[[], tuple[Position, ...]]
    ) -> None:
        """``magic`` marks our orders, ``deviation`` is in points, and ``positions`` reads those of the account."""
        self._connection, self._terminal = connection, connection.terminal
        self._magic, self._deviation, self._positions = magic, deviation, positions
        self._filling: dict[str, int] = {}  # the mode that the broker accepted, by its name of the symbol

    def check(self, order: Order, name: str) -> Verdict:
        """Whether an order would be accepted now; ``name`` is the broker's of its symbol.

        Raises:
            BrokerUnavailable: the connection is lost.
        """
        return self._checked(order, order.lots, name)[0]

    def send(self, order: Order, name: str) -> Execution:
        """Send an order, at most as often as the connection tries.

        Every request is checked first. One that may have been executed is not sent again: the positions say what was.

        Raises:
            BrokerUnavailable: the connection is lost, before anything was sent.
        """
        fills, last = _Fills(), Verdict(False)
        for attempt in range(self._connection.tries):
            try:
                before = self._held(order.symbol)
                last, request = self._checked(order, round(order.lots - fills.lots, 8), name)
                if request is None:
                    break
                treatment = meaning(last.code).treatment
                if last.allowed:
                    last, treatment = self._sent(fills, order, request)
                if treatment is Treatment.UNCERTAIN:
                    return self._reconciled(order, fills, before, last)
                if treatment is Treatment.NEXT_FILLING and self._next_filling(request):
                    continue
            except BrokerUnavailable as error:
                if not fills.lots:
                    raise
                last = Verdict(False, codes.NO_CONNECTION, str(error))
                break
            if treatment not in _AGAIN or abs(order.lots - fills.lots) <= SMALLEST_LOTS:
                break
            if attempt + 1 < self._connection.tries:
                self._connection.wait(attempt)
        text = "" if abs(order.lots - fills.lots) <= SMALLEST_LOTS else last.text
        return Execution(order, fills.lots, fills.price, fills.commission, last.code, text, later=last.later)

    def _sent(self, fills: _Fills, order: Order, request: dict[str, Any]) -> tuple[Verdict, Treatment]:
        """Send a request once, and count what its answer says was filled."""
        result = self._terminal.order_send(request)
        if result is None:
            return _verdict(codes.NO_CONNECTION), Treatment.UNCERTAIN
        treatment = meaning(int(result.retcode), result.comment).treatment
        if treatment in (Treatment.DONE, Treatment.PARTIAL) and not self._count(fills, order, result):
            treatment = Treatment.UNCERTAIN
        return _verdict(int(result.retcode), result.comment), treatment

    def _checked(self, order: Order, lots: float, name: str) -> tuple[Verdict, dict[str, Any] | None]:
        """The verdict on a request of so many signed lots, and the request; None where it is not worth another try."""
        info = self._info(name)
        if (refusal := self._refusal(order, lots, info)) is not None:
            return refusal, None
        tick = self._terminal.symbol_info_tick(name)
        price = 0.0 if tick is None else float(tick.ask if lots > 0.0 else tick.bid)
        request = self._request(order, lots, info, price)
        if not price > 0.0:
            return _verdict(codes.NO_QUOTES), request
        for _ in range(3):  # filling modes
            result = self._connection.ask(self._terminal.order_check, request)
            code = int(result.retcode)
            if meaning(code).treatment is not Treatment.NEXT_FILLING:
                break
            if not self._next_filling(request):
                return _verdict(code), None
            request = request | {"type_filling": self._filling[name]}
        if code in (0, codes.DONE, codes.PLACED):
            return Verdict(True, code), request
        retried = meaning(code, result.comment).treatment is Treatment.RETRY
        return _verdict(code, result.comment), request if retried else None

    def _refusal(self, order: Order, lots: float, info: Any) -> Verdict | None:
        """Why the terminal, the account or the symbol cannot have the order at all; None where they can."""
        if not self._connection.ask(self._terminal.terminal_info).trade_allowed:
            return _verdict(codes.TERMINAL_FORBIDS)
        account = self._connection.ask(self._terminal.account_info)
        if not (account.trade_allowed and account.trade_expert):
            return _verdict(codes.SERVER_FORBIDS)
        mode = int(info.trade_mode)
        if mode == _DISABLED:
            return _verdict(codes.TRADE_DISABLED)
        hedging = int(account.margin_mode) == _HEDGING
        held = 0.0 if hedging else self._held(order.symbol)
        after = held + lots
        opens = order.ticket is None and (hedging or abs(after) > abs(held) or after * held < 0.0)
        if mode == _CLOSE_ONLY and opens:
            return _verdict(codes.CLOSE_ONLY)
        if mode == _LONG_ONLY and opens and after < 0.0:
            return _verdict(codes.LONG_ONLY)
        if mode == _SHORT_ONLY and opens and after > 0.0:
            return _verdict(codes.SHORT_ONLY)
        if not _volume(lots, info):
            least = f"{abs(lots):g} lots are less than the smallest order, {info.volume_min:g}"
            return Verdict(False, codes.INVALID_VOLUME, least)
        return None

    def _request(self, order: Order, lots: float, info: Any, price: float) -> dict[str, Any]:
        name = str(info.name)
        request = {
            "action": mt5.ACTION_DEAL,
            "symbol": name,
            "volume": _volume(lots, info),
            "type": mt5.BUY if lots > 0.0 else mt5.SELL,
            "price": price,
            "deviation": self._deviation,
            "magic": self._magic,
            "comment": _COMMENT,
            "type_time": mt5.GOOD_TILL_CANCELLED,
            "type_filling": self._filling.setdefault(name, mt5.filling_modes(info)[0]),
        }
        return request if order.ticket is None else request | {"position": order.ticket}

    def _next_filling(self, request: dict[str, Any]) -> bool:
        """Choose the mode after the one of a request that was refused; False where it was the last."""
        name = request["symbol"]
        modes = mt5.filling_modes(self._info(name))
        place = modes.index(request["type_filling"]) + 1
        self._filling[name] = modes[place % len(modes)]
        return place < len(modes)

    def _count(self, fills: _Fills, order: Order, result: Any) -> bool:
        """Count the fill of an answer; False where the answer does not say what was filled."""
        side = math.copysign(1.0, order.lots)
        deals = self._terminal.history_deals_get(ticket=int(result.order)) or ()
        volume = float(result.volume) or sum(float(deal.volume) for deal in deals)
        if not volume > 0.0:
            return False
        value = sum(float(deal.price) * float(deal.volume) for deal in deals)
        of_deals = sum(float(deal.volume) for deal in deals)
        price = value / of_deals if of_deals > 0.0 else float(result.price) or None
        paid = 0.0 - sum(float(deal.commission) + float(deal.fee) for deal in deals)
        fills.add(side * volume, price, paid)
        return True

    def _reconciled(self, order: Order, fills: _Fills, before: float, last: Verdict) -> Execution:
        """What the positions show of a request that was not answered."""
        rest, found, seen = order.lots - fills.lots, 0.0, False
        for attempt in range(self._connection.tries):
            self._connection.wait(attempt)
            try:
                found, seen = round(self._held(order.symbol) - before, 8), True
            except (BrokerUnavailable, UserError):
                continue
            if abs(found - rest) <= SMALLEST_LOTS:
                break
        if found * rest > 0.0:
            fills.add(found, None, 0.0)
        whole = seen and abs(order.lots - fills.lots) <= SMALLEST_LOTS
        text = "" if whole else last.text
        return Execution(order, fills.lots, fills.price, fills.commission, last.code, text, uncertain=not whole)

    def _held(self, symbol: str) -> float:
        """Signed lots of a symbol: on a hedging account ours alone, on a netting account the net position."""
        account = self._connection.ask(self._terminal.account_info)
        magic = self._magic if int(account.margin_mode) == _HEDGING else None
        return net_lots(self._positions(), magic).get(symbol, 0.0)

    def _info(self, name: str) -> Any:
        return self._connection.ask(self._terminal.symbol_info, name)


def _verdict(code: int, comment: str = "") -> Verdict:
    found = meaning(code, comment)
    return Verdict(False, code, found.text, later=found.treatment is Treatment.LATER)


def _volume(lots: float, info: Any) -> float:
    """Lots of a request: rounded towards zero to the step, at most the largest; zero below the smallest."""
    step = float(info.volume_step)
    size = round(math.floor(min(abs(lots), float(info.volume_max)) / step + 1e-6) * step, 8)
    return size if size >= float(info.volume_min) - SMALLEST_LOTS else 0.0
