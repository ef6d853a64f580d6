"""MetaTrader's return codes -> what they mean in words, and what is done after each."""

from __future__ import annotations

import dataclasses
import enum


class Treatment(enum.Enum):
    """What follows an answer of the trade server; the values are the words of docs/brokers.md."""

    DONE = "filled"
    PARTIAL = "the rest is sent again at a fresh price"
    RETRY = "sent again at a fresh price, a few times"
    NEXT_FILLING = "sent again with the next filling mode"
    UNCERTAIN = "positions are read first; nothing is sent again in this turn"
    LATER = "put off until the market is open"
    REFUSED = "refused"


@dataclasses.dataclass(frozen=True)
class ReturnCode:
    """One return code."""

    text: str
    """A clause that says what happened, and what a person can do."""
    treatment: Treatment


REQUOTE, REJECTED, PLACED, DONE, DONE_PARTIAL, TIMEOUT = 10004, 10006, 10008, 10009, 10010, 10012
INVALID_VOLUME, TRADE_DISABLED, MARKET_CLOSED, NO_MONEY, NO_QUOTES = 10014, 10017, 10018, 10019, 10021
SERVER_FORBIDS, TERMINAL_FORBIDS, INVALID_FILLING, NO_CONNECTION = 10026, 10027, 10030, 10031
LONG_ONLY, SHORT_ONLY, CLOSE_ONLY = 10042, 10043, 10044

_REFUSED = {
    REJECTED: "the broker rejected the order",
    10007: "the order was cancelled",
    10011: "the broker could not process the order",
    10013: "the order is not valid for this symbol",
    INVALID_VOLUME: "the lots are not valid for this symbol",
    10015: "the price is not valid",
    10016: "the stops are not valid",
    TRADE_DISABLED: "trading of this symbol is disabled",
    NO_MONEY: "the free margin is not enough",
    10022: "the expiration is not valid",
    10023: "the order changed meanwhile",
    10025: "the order changes nothing",
    SERVER_FORBIDS: "the broker's server does not allow programs to trade on this account",
    TERMINAL_FORBIDS: "the terminal does not allow programs to trade: switch Algo Trading on in its toolbar",
    10028: "the order is locked for processing",
    10029: "the order or position is frozen, too close to the market",
    10032: "only real accounts may do this",
    10033: "the account has as many pending orders as it may",
    10034: "the account has as many lots of this symbol as it may",
    10035: "the kind of order is not allowed",
    10036: "the position is closed already",
    10038: "the lots to close are more than the position has",
    10039: "the position has an order to close it already",
    10040: "the account has as many positions as it may",
    10041: "the order was rejected and cancelled",
    LONG_ONLY: "only long positions are allowed in this symbol",
    SHORT_ONLY: "only short positions are allowed in this symbol",
    CLOSE_ONLY: "positions of this symbol may only be closed",
    10045: "positions of this account may only be closed in the order of their opening",
    10046: "the account does not allow opposite positions of one symbol",
}
CODES: dict[int, ReturnCode] = {
    DONE: ReturnCode("the order was filled", Treatment.DONE),
    DONE_PARTIAL: ReturnCode("only a part of the order was filled", Treatment.PARTIAL),
    REQUOTE: ReturnCode("the price moved (requote)", Treatment.RETRY),
    10020: ReturnCode("the price changed", Treatment.RETRY),
    NO_QUOTES: ReturnCode("there is no price at the moment", Treatment.RETRY),
    10024: ReturnCode("too many requests were sent", Treatment.RETRY),
    NO_CONNECTION: ReturnCode("the terminal has no connection to the trade server", Treatment.RETRY),
    INVALID_FILLING: ReturnCode("the filling mode is not one of this symbol", Treatment.NEXT_FILLING),
    PLACED: ReturnCode("the order was placed, and the fill was not reported", Treatment.UNCERTAIN),
    TIMEOUT: ReturnCode("the trade server did not answer in time", Treatment.UNCERTAIN),
    MARKET_CLOSED: ReturnCode("the market is closed", Treatment.LATER),
    **{code: ReturnCode(text, Treatment.REFUSED) for code, text in _REFUSED.items()},
}
"""By MetaTrader's number, those of ENUM_TRADE_RETCODE that a market order can meet."""


def meaning(code: int, comment: str = "") -> ReturnCode:
    """What a code means; an unknown one is refused, in the words of the broker's own comment."""
    return CODES.get(code) or ReturnCode(comment or "the broker gave a code that is not known", Treatment.REFUSED)
