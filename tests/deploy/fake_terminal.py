"""A MetaTrader 5 terminal that is not there: the functions of the module, with structures like the real ones.

Time stands still until `advance`, the server is on its own clock, and `script` says how the next orders are answered.
"""

from __future__ import annotations

import dataclasses
import math
from collections import namedtuple
from collections.abc import Mapping
from typing import Any

import numpy as np

from mtquant_jax.time_zones import read_zone

RATES = np.dtype(
    [
        *(("time", "<i8"), ("open", "<f8"), ("high", "<f8"), ("low", "<f8"), ("close", "<f8")),
        *(("tick_volume", "<u8"), ("spread", "<i4"), ("real_volume", "<u8")),
    ]
)
AccountInfo = namedtuple(
    "AccountInfo",
    "login trade_mode leverage limit_orders margin_so_mode trade_allowed trade_expert margin_mode currency_digits "
    "fifo_close balance credit profit equity margin margin_free margin_level margin_so_call margin_so_so "
    "margin_initial margin_maintenance assets liabilities commission_blocked name server currency company",
)
TerminalInfo = namedtuple("TerminalInfo", "community_account connected dlls_allowed trade_allowed build name path")
SymbolInfo = namedtuple(
    "SymbolInfo",
    "custom select visible time digits spread spread_float trade_calc_mode trade_mode trade_stops_level "
    "trade_freeze_level trade_exemode swap_mode swap_rollover3days filling_mode order_mode point bid ask "
    "trade_tick_value trade_tick_size trade_contract_size volume_min volume_max volume_step swap_long swap_short "
    "margin_initial currency_base currency_profit currency_margin description name path",
)
Tick = namedtuple("Tick", "time bid ask last volume time_msc flags volume_real")
TradePosition = namedtuple(
    "TradePosition",
    "ticket time time_msc time_update time_update_msc type magic identifier reason volume price_open sl tp "
    "price_current swap profit symbol comment external_id",
)
CheckResult = namedtuple("CheckResult", "retcode balance equity profit margin margin_free margin_level comment request")
SendResult = namedtuple(
    "SendResult", "retcode deal order volume price bid ask comment request_id retcode_external request"
)
TradeDeal = namedtuple(
    "TradeDeal",
    "ticket order time time_msc type entry magic position_id reason volume price commission swap profit fee symbol "
    "comment external_id",
)


@dataclasses.dataclass
class Answer:
    """How an order is answered."""

    code: int | None = 10009
    """Return code; None: no answer at all."""
    lots: float | None = None
    """Lots that are executed all the same; None: all after 10009, none otherwise."""
    outage: int = 0
    """Calls of initialize that fail afterwards."""
    reported: bool = True
    """Whether the answer says volume and price."""
    slip: float = 0.0
    """By which the deal's price differs from the one that was asked for, which the answer repeats."""


def symbol(name: str, base: str, profit: str, bid: float, digits: int, **fields: Any) -> SymbolInfo:
    """A pair as a broker lists it; ``fields`` replace others."""
    point = 10.0**-digits
    values = {
        "custom": False,
        "select": True,
        "visible": True,
        "time": 0,
        "digits": digits,
        "spread": 10,
        "spread_float": True,
        "trade_calc_mode": 0,
        "trade_mode": 4,
        "trade_stops_level": 0,
        "trade_freeze_level": 0,
        "trade_exemode": 2,
        "swap_mode": 1,
        "swap_rollover3days": 3,
        "filling_mode": 3,
        "order_mode": 127,
        "point": point,
        "bid": bid,
        "ask": round(bid + 10 * point, digits),
        "trade_tick_value": 1.0,
        "trade_tick_size": point,
        "trade_contract_size": 100_000.0,
        "volume_min": 0.01,
        "volume_max": 50.0,
        "volume_step": 0.01,
        "swap_long": -6.0,
        "swap_short": 1.0,
        "margin_initial": 0.0,
        "currency_base": base,
        "currency_profit": profit,
        "currency_margin": base,
        "description": f"{base} vs {profit}",
        "name": name,
        "path": f"Forex\\{name}",
    }
    return SymbolInfo(**values | fields)


class FakeTerminal:
    """See the module."""

    def __init__(
        self,
        now: int,
        symbols: tuple[SymbolInfo, ...] = (
            symbol("EURUSD.r", "EUR", "USD", 1.1, 5),
            symbol("USDJPY.r", "USD", "JPY", 150.0, 3, trade_tick_value=0.66),
        ),
        clock: str = "NewYork+7",
        hedging: bool = False,
    ) -> None:
        self.utc = float(now)
        self.zone = read_zone(clock)
        self.symbols = {info.name: info for info in symbols}
        self.quiet: dict[str, float] = {}  # name -> UTC of its last tick, of symbols whose market is closed
        self.script: list[Answer] = []
        self.checks: list[int] = []  # codes of the next order_checks
        self.outage = 0  # calls of initialize until the connection is there
        self.offline = 0  # questions for which the terminal is not connected to the server
        self.error = (1, "Success")
        self.requests: list[dict[str, Any]] = []  # that were sent
        self.calls: list[str] = []
        self.slept: list[float] = []
        self.positions: list[TradePosition] = []
        self.deals: list[TradeDeal] = []
        self.ticket = 1000
        self.commission = 3.5  # per lot and side
        self.accepts = {name: (0, 1) for name in self.symbols}  # filling modes
        self.trade_allowed = True
        self.account = AccountInfo(
            *(51_234_567, 0, 100, 200, 0, True, True, 2 if hedging else 0, 2, False, 10_000.0, 0.0, 0.0, 10_000.0),
            *(0.0, 10_000.0, 0.0, 50.0, 30.0, 0.0, 0.0, 0.0, 0.0, 0.0, "Test", "Fake-Demo", "USD", "Fake Ltd"),
        )

    # The world.

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.utc += seconds

    def sleep(self, seconds: float) -> None:
        """Wait, as the adapter does."""
        self.slept.append(seconds)
        self.advance(seconds)

    def now(self) -> float:
        """Seconds since 1970 UTC."""
        return self.utc

    def server(self, utc: float) -> int:
        """The server's clock."""
        return int(self.zone.from_utc(np.array([int(utc)], np.int64))[0])

    def change(self, name: str, **fields: Any) -> None:
        """Change what a symbol is."""
        self.symbols[name] = self.symbols[name]._replace(**fields)

    def hold(self, name: str, lots: float, magic: int, **fields: Any) -> int:
        """Open a position without an order."""
        self.ticket += 1
        info = self.symbols[name]
        values = dict.fromkeys(TradePosition._fields, 0) | {
            "ticket": self.ticket,
            "type": 0 if lots > 0.0 else 1,
            "magic": magic,
            "volume": abs(lots),
            "price_open": info.bid,
            "symbol": name,
            "comment": "",
            "swap": 0.0,
            "profit": 0.0,
        }
        self.positions.append(TradePosition(**values | fields))
        return self.ticket

    # The module.

    def initialize(self) -> bool:
        self.calls.append("initialize")
        self.outage = max(self.outage - 1, 0)
        return not self.outage

    def last_error(self) -> tuple[int, str]:
        return (-10004, "No IPC connection") if self.outage else self.error

    def terminal_info(self) -> TerminalInfo | None:
        if self.outage:
            return None
        connected = self.offline == 0
        self.offline = max(self.offline - 1, 0)
        return TerminalInfo(False, connected, True, self.trade_allowed, 4755, "Fake", "C:\\Fake")

    def account_info(self) -> AccountInfo | None:
        return None if self.outage or self.error[0] < 0 else self.account

    def symbols_get(self) -> tuple[SymbolInfo, ...] | None:
        return None if self.outage else tuple(self.symbols.values())

    def symbol_info(self, name: str, /) -> SymbolInfo | None:
        return None if self.outage else self.symbols.get(name)

    def symbol_info_tick(self, name: str, /) -> Tick | None:
        if self.outage:
            return None
        info, seen = self.symbols[name], self.server(min(self.utc, self.quiet.get(name, math.inf)))
        return Tick(seen, info.bid, info.ask, 0.0, 0, seen * 1000, 6, 0.0)

    def symbol_select(self, name: str, enable: bool, /) -> bool:
        self.calls.append(f"select {name}")
        return name in self.symbols

    def copy_rates_from_pos(self, name: str, timeframe: int, start: int, count: int, /) -> np.ndarray | None:
        self.calls.append(f"rates {name} {timeframe} {start} {count}")
        if self.outage:
            return None
        seconds = timeframe * 60 if timeframe < 0x4000 else (timeframe - 0x4000) * 3600
        newest = int(min(self.utc, self.quiet.get(name, math.inf))) // seconds * seconds
        opens = np.array([newest - seconds * (start + back) for back in range(count)][::-1], np.int64)
        rates = np.zeros(count, RATES)
        info = self.symbols[name]
        wave = 1.0 + 0.001 * np.sin(opens / 7_000.0)
        rates["time"] = self.zone.from_utc(opens)
        rates["open"] = np.round(info.bid * wave, info.digits)
        rates["close"] = np.round(info.bid * wave * 1.0001, info.digits)
        rates["high"], rates["low"] = rates["close"] + 3 * info.point, rates["open"] - 3 * info.point
        rates["tick_volume"], rates["spread"] = 100 + opens % 7, info.spread
        return rates

    def positions_get(self) -> tuple[TradePosition, ...] | None:
        return None if self.outage else tuple(self.positions)

    def order_check(self, request: Mapping[str, Any], /) -> CheckResult | None:
        if self.outage:
            return None
        code = self.checks.pop(0) if self.checks else self._objection(request)
        return CheckResult(code, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, "Done" if not code else "No", request)

    def order_send(self, request: Mapping[str, Any], /) -> SendResult | None:
        self.requests.append(dict(request))
        answer = self.script.pop(0) if self.script else Answer()
        code = self._objection(request) or answer.code
        lots = answer.lots if answer.lots is not None else request["volume"] if code == 10009 else 0.0
        price = float(request["price"])
        order = self._execute(request, lots, answer.slip) if lots else 0
        self.outage = answer.outage
        if code is None:
            return None
        seen = (lots, price) if answer.reported else (0.0, 0.0)
        return SendResult(code, order, order, *seen, 0.0, 0.0, "Request executed", 1, 0, request)

    def history_deals_get(self, *, ticket: int) -> tuple[TradeDeal, ...]:
        return tuple(deal for deal in self.deals if deal.order == ticket)

    # What orders do.

    def _objection(self, request: Mapping[str, Any]) -> int:
        info, steps = self.symbols[request["symbol"]], request["volume"] / self.symbols[request["symbol"]].volume_step
        if not info.volume_min <= request["volume"] <= info.volume_max or abs(steps - round(steps)) > 1e-6:
            return 10014
        return 0 if request["type_filling"] in self.accepts[request["symbol"]] else 10030

    def _execute(self, request: Mapping[str, Any], lots: float, slip: float) -> int:
        name, side = request["symbol"], 1.0 if request["type"] == 0 else -1.0
        change = side * lots
        old = next((p for p in self.positions if self._is_target(p, request)), None)
        held = 0.0 if old is None else (1.0 if old.type == 0 else -1.0) * old.volume
        if old is not None:
            self.positions.remove(old)
        after = round(held + change, 8)
        if after:
            self.hold(name, after, request["magic"], price_open=request["price"])
            if old is not None:
                self.positions[-1] = self.positions[-1]._replace(ticket=old.ticket, magic=old.magic, swap=old.swap)
        self.ticket += 1
        values = dict.fromkeys(TradeDeal._fields, 0) | {
            "ticket": self.ticket,
            "order": self.ticket,
            "volume": lots,
            "price": request["price"] + slip,
            "commission": -self.commission * lots,
            "fee": 0.0,
            "symbol": name,
        }
        self.deals.append(TradeDeal(**values))
        return self.ticket

    def _is_target(self, position: TradePosition, request: Mapping[str, Any]) -> bool:
        if "position" in request:
            return position.ticket == request["position"]
        return self.account.margin_mode != 2 and position.symbol == request["symbol"]
