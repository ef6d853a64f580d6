"""A MetaTrader 5 terminal as a `Broker`: bars, contracts, quotes and positions; `dealing` sends its orders."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mtquant_jax.deploy.account_file import account_of, position_of
from mtquant_jax.deploy.broker import AccountState, Execution, Order, Position, Quote, Verdict
from mtquant_jax.deploy.dealing import Dealer
from mtquant_jax.deploy.rates import bars_of, finished, timeframe_of
from mtquant_jax.deploy.symbol_names import broker_names, contract_of
from mtquant_jax.deploy.terminal import Connection, Terminal, load_terminal
from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.options import MoreOptions
from mtquant_jax.market.calendar import NEW_YORK_CLOSE
from mtquant_jax.market.instruments import Instrument, find_symbol, load_instruments
from mtquant_jax.time_zones import read_zone
from mtquant_jax.types import Bars

_SETTLE = 30.0  # seconds by which our clock may be ahead of the server's
_AHEAD = 120.0  # seconds by which a tick may come from the future before the clocks are refused


@dataclasses.dataclass(frozen=True)
class MetaTraderOptions:
    """How a terminal is used."""

    magic: int = 20_250_101
    """Number that marks our positions among those of others."""
    clock: str = NEW_YORK_CLOSE
    """The server's clock, as `simulation.broker_clock`."""
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The broker's names by symbol, where they are not found, such as EURUSD: EURUSD.r."""
    deviation: int = 20
    """Points by which a fill may be worse than the price that was asked for, where the broker knows such a limit."""
    tries: int = 4
    """Attempts of an order, and of a call that finds no connection."""
    pause: float = 0.5
    """Seconds between two attempts, doubled from one to the next."""
    reading: MoreOptions = dataclasses.field(default_factory=lambda: MoreOptions())
    """How bars are read, as those of the training were."""


class MetaTraderBroker:
    """The account that is logged in to a terminal; see `Broker`."""

    def __init__(
        self,
        options: MetaTraderOptions | None = None,
        instruments: Mapping[str, Instrument] | None = None,
        terminal: Terminal | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Connect to the terminal.

        Args:
            options: how it is used.
            instruments: that symbols are recognised by; None takes the shipped ones.
            terminal: the module `MetaTrader5`, which is imported where it is None, or what behaves like it.
            now: seconds since 1970 UTC.
            sleep: waits so many seconds.

        Raises:
            BrokerUnavailable: the terminal cannot be reached.
            UserError: there is no package or no such clock, or nobody is logged in.
        """
        self._options = options or MetaTraderOptions()
        self._zone = read_zone(self._options.clock, "simulation.broker_clock")
        self._terminal = terminal or load_terminal()
        self._connection = Connection(self._terminal, self._options.tries, self._options.pause, sleep)
        self._instruments = instruments or load_instruments()
        self._now = now
        self._names: dict[str, str] = {}
        self._contracts: dict[str, Instrument] = {}
        self._dealer = Dealer(self._connection, self._options.magic, self._options.deviation, self.positions)

    def bars(self, symbols: Sequence[str], seconds: int, count: int) -> Bars:
        """The newest finished bars; see `Broker.bars`.

        Raises:
            BrokerUnavailable: the connection is lost.
            UserError: the broker has no such symbol or no bars of it, bars are not as they should be, or ticks come
                from the future of `simulation.broker_clock`.
        """
        names, timeframe = self._names_of(symbols), timeframe_of(seconds)
        contracts = self.contracts(symbols)
        rates = {symbol: self._rates(name, timeframe, count + 1) for symbol, name in names.items()}
        seen = max((int(tick.time) for name in names.values() if (tick := self._tick(name))), default=0)
        seen = max([seen, *(int(found["time"][-1]) for found in rates.values() if len(found))])
        now = self._server_time()
        if seen > now + _AHEAD:
            raise UserError(
                f"ticks of the broker come from {seen - now:,.0f} seconds in the future of `simulation.broker_clock` "
                f"{self._options.clock}; give the server's clock, and set this computer's"
            )
        over = {symbol: finished(found, seconds, seen, now - _SETTLE)[-count:] for symbol, found in rates.items()}
        return bars_of(over, contracts, seconds, self._options.clock, **self._options.reading)

    def contracts(self, symbols: Sequence[str]) -> Mapping[str, Instrument]:
        """The contracts of symbols; what MetaTrader does not say, such as the commission, is the instrument's.

        Raises:
            BrokerUnavailable: the connection is lost.
            UserError: the broker has no such symbol, or it cannot be an instrument.
        """
        names = self._names_of(symbols)
        if missing := [symbol for symbol in symbols if symbol not in self._contracts]:
            currency = self.account().currency
            for symbol in missing:
                info = self._connection.ask(self._terminal.symbol_info, names[symbol])
                self._contracts[symbol] = contract_of(symbol, info, self._instruments, currency)
        return {symbol: self._contracts[symbol] for symbol in symbols}

    def quotes(self, symbols: Sequence[str]) -> Mapping[str, Quote]:
        """The newest quotes; see `Broker.quotes`.

        Raises:
            BrokerUnavailable: the connection is lost.
            UserError: the broker has no such symbol.
        """
        found = {}
        for symbol, name in self._names_of(symbols).items():
            tick = self._tick(name)
            info = self._connection.ask(self._terminal.symbol_info, name)
            if tick is not None and 0.0 < tick.bid <= tick.ask:
                utc = int(self._zone.to_utc(np.array([int(tick.time)], np.int64)).utc[0])
                found[symbol] = Quote(float(tick.bid), float(tick.ask), utc, _conversion(info))
        return found

    def account(self) -> AccountState:
        """The account that is logged in.

        Raises:
            BrokerUnavailable: the connection is lost.
            UserError: nobody is logged in.
        """
        info = self._connection.ask(self._terminal.account_info)
        return account_of(info._asdict(), "the terminal's account")

    def positions(self) -> tuple[Position, ...]:
        """All open positions; one in a symbol that is none of ours has the broker's name of it.

        Raises:
            BrokerUnavailable: the connection is lost.
        """
        ours = {name: symbol for symbol, name in (self._names | dict(self._options.names)).items()}
        found = []
        for info in self._connection.ask(self._terminal.positions_get):
            position = position_of(info._asdict(), f"the terminal's position {info.ticket}")
            name = position.symbol
            symbol = ours.get(name) or find_symbol(name, self._instruments) or name
            found.append(dataclasses.replace(position, symbol=symbol))
        return tuple(found)

    def check(self, order: Order) -> Verdict:
        """Whether the order would be accepted now; see `Broker.check`.

        Raises:
            BrokerUnavailable: the connection is lost.
            UserError: the broker has no such symbol.
        """
        return self._dealer.check(order, self._names_of([order.symbol])[order.symbol])

    def send(self, order: Order) -> Execution:
        """Send an order; see `Broker.send`.

        Raises:
            BrokerUnavailable: the connection is lost, before anything was sent.
            UserError: the broker has no such symbol.
        """
        return self._dealer.send(order, self._names_of([order.symbol])[order.symbol])

    def _names_of(self, symbols: Sequence[str]) -> dict[str, str]:
        """The broker's names by symbol; new ones are found, and shown in the Market Watch."""
        if new := [symbol for symbol in symbols if symbol not in self._names]:
            listed = self._connection.ask(self._terminal.symbols_get)
            for symbol, name in broker_names(new, listed, self._instruments, self._options.names).items():
                if not self._terminal.symbol_select(name, True):
                    raise UserError(
                        f"the terminal cannot show {name} in its Market Watch: {self._terminal.last_error()}"
                    )
                self._names[symbol] = name
        return {symbol: self._names[symbol] for symbol in symbols}

    def _rates(self, name: str, timeframe: int, count: int) -> np.ndarray:
        return self._connection.ask(self._terminal.copy_rates_from_pos, name, timeframe, 0, count)

    def _tick(self, name: str) -> Any:
        return self._terminal.symbol_info_tick(name)

    def _server_time(self) -> float:
        """The server's clock, by our own."""
        return float(self._zone.from_utc(np.array([int(self._now())], np.int64))[0])


def _conversion(info: Any) -> float:
    """Account currency per unit of profit currency, by what a tick of a lot is worth; 1 where the broker is silent."""
    size = float(info.trade_tick_size) * float(info.trade_contract_size)
    return float(info.trade_tick_value) / size if size > 0.0 and info.trade_tick_value > 0.0 else 1.0
