"""The MetaTrader 5 terminal as we use it, and a connection to it that is made again where it is lost.

The package `MetaTrader5` exists for Windows alone, so it is imported where it is used, and everything else sees the
protocol `Terminal`, of which the tests have a fake. The terminal's own login is used: no password passes through here.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from mtquant_jax.deploy.broker import BrokerUnavailable
from mtquant_jax.errors import UserError

T = TypeVar("T")

ACTION_DEAL, BUY, SELL, GOOD_TILL_CANCELLED = 1, 0, 1, 0  # TRADE_ACTION_DEAL, ORDER_TYPE_*, ORDER_TIME_GTC
FILL_OR_KILL, IMMEDIATE_OR_CANCEL, RETURN = 0, 1, 2  # ORDER_FILLING_*
_MARKET_EXECUTION = 2  # SYMBOL_TRADE_EXECUTION_MARKET
_LOST = (-10001, -10002, -10003, -10004, -10005)  # last_error: the way to the terminal is broken
_NOT_LOGGED_IN = -6
_NO_HISTORY = -4  # also while the terminal still loads the bars of a symbol


class Terminal(Protocol):
    """The functions of the module `MetaTrader5` that are used; structures are named tuples with `_asdict`."""

    def initialize(self) -> bool:
        """Connect to the terminal, which is started where it does not run."""
        ...

    def last_error(self) -> tuple[int, str]:
        """Number and text of the last error."""
        ...

    def terminal_info(self) -> Any:
        """State of the terminal; None where it cannot be reached, as of all that follow."""
        ...

    def account_info(self) -> Any:
        """The account that is logged in."""
        ...

    def symbols_get(self) -> Sequence[Any] | None:
        """All symbols of the broker."""
        ...

    def symbol_info(self, symbol: str, /) -> Any:
        """One symbol."""
        ...

    def symbol_info_tick(self, symbol: str, /) -> Any:
        """The newest tick of a symbol."""
        ...

    def symbol_select(self, symbol: str, enable: bool, /) -> bool:
        """Show a symbol in the Market Watch, without which it has no prices."""
        ...

    def copy_rates_from_pos(self, symbol: str, timeframe: int, start: int, count: int, /) -> np.ndarray | None:
        """Bars, oldest first, up to position ``start``; position 0 is the newest bar."""
        ...

    def positions_get(self) -> Sequence[Any] | None:
        """Open positions of the account."""
        ...

    def order_check(self, request: Mapping[str, Any], /) -> Any:
        """Whether a request would be accepted; its ``retcode`` is 0 where it would."""
        ...

    def order_send(self, request: Mapping[str, Any], /) -> Any:
        """Send a request."""
        ...

    def history_deals_get(self, *, ticket: int) -> Sequence[Any] | None:
        """Deals of an order."""
        ...


def load_terminal() -> Terminal:
    """The installed package `MetaTrader5`.

    Raises:
        UserError: it is not installed, or not for this system.
    """
    try:
        return cast(Terminal, importlib.import_module("MetaTrader5"))
    except ImportError:
        pass
    if sys.platform == "win32":
        raise UserError("the package MetaTrader5 is not installed: pip install 'mtquant-jax[mt5]'")
    raise UserError(
        "the package MetaTrader5 exists for Windows alone: run this on Windows, beside a MetaTrader 5 terminal, or "
        "write a broker of your own (docs/brokers.md)"
    )


class Connection:
    """A terminal whose answers are repeated after a lost connection."""

    def __init__(
        self, terminal: Terminal, tries: int = 4, pause: float = 0.5, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Connect.

        Args:
            terminal: the module, or what behaves like it.
            tries: of every call that finds no connection; at least 1.
            pause: seconds between them, doubled from one to the next.
            sleep: waits so many seconds.

        Raises:
            BrokerUnavailable: the terminal cannot be reached.
            UserError: nobody is logged in.
        """
        self.terminal, self.tries, self._pause, self._sleep = terminal, tries, pause, sleep
        terminal.initialize()
        self.ask(terminal.account_info)

    def ask(self, call: Callable[..., T | None], *arguments: Any) -> T:
        """The answer of a call that gives None where it fails.

        Args:
            call: a function of the terminal. It may be called several times, so it must not send orders.
            arguments: of the call.

        Raises:
            BrokerUnavailable: the connection is lost and stays lost.
            UserError: nobody is logged in, or the terminal refuses the call.
        """
        what = " ".join([getattr(call, "__name__", "call"), *(given for given in arguments if isinstance(given, str))])
        for attempt in range(self.tries):
            if (answer := call(*arguments)) is not None and self.connected():
                return answer
            if answer is None:
                number, text = self.terminal.last_error()
                if number == _NOT_LOGGED_IN:
                    raise UserError("nobody is logged in to the MetaTrader 5 terminal: log in there, in its own window")
                waits = number in _LOST or (number == _NO_HISTORY and attempt + 1 < self.tries)
                if not waits and self.connected():
                    raise UserError(f"MetaTrader's {what} failed: {text} ({number})")
            self.wait(attempt)
            self.terminal.initialize()
        number, text = self.terminal.last_error()
        raise BrokerUnavailable(f"the MetaTrader 5 terminal has no connection: {what} failed, {text} ({number})")

    def connected(self) -> bool:
        """Whether the terminal can be reached, and is connected to the broker."""
        info = self.terminal.terminal_info()
        return info is not None and bool(info.connected)

    def wait(self, attempt: int) -> None:
        """Wait before the next of several attempts; ``attempt`` counts from 0."""
        self._sleep(self._pause * 2.0**attempt)


def filling_modes(info: Any) -> tuple[int, ...]:
    """The filling modes to try for a symbol, by its bit mask and its kind of execution; the allowed ones come first.

    Args:
        info: of `Terminal.symbol_info`.
    """
    mask = int(info.filling_mode)
    allowed = [mode for mode, bit in ((FILL_OR_KILL, 1), (IMMEDIATE_OR_CANCEL, 2)) if mask & bit]
    if int(info.trade_exemode) != _MARKET_EXECUTION:
        allowed.append(RETURN)  # never of symbols that are executed at the market's price
    rest = (mode for mode in (FILL_OR_KILL, IMMEDIATE_OR_CANCEL, RETURN) if mode not in allowed)
    return (*allowed, *rest)
