"""The rules that live trading keeps, what the model was trained for, and the accounts that are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from mtquant_jax.deploy.broker import AccountState, Position
from mtquant_jax.errors import UserError
from mtquant_jax.market.calendar import NEW_YORK_CLOSE
from mtquant_jax.market.instruments import Instrument


@dataclasses.dataclass(frozen=True)
class LiveRules:
    """What live trading may do."""

    send: bool = False
    """Send orders; otherwise they are checked and written to the journal only (dry run)."""
    real_account: int | None = None
    """Login of the account that may be traded although it is no demo account."""
    magic: int = 20_250_101
    """Number that marks our positions among those of others."""
    max_day_loss: float = 0.05
    """Loss since the first equity of the broker's day, as a share of it, that closes all and stops; 0 is off."""
    stop_file: str = "STOP"
    """File whose presence closes all and stops; relative to the folder of live trading."""
    max_spread: float = 5.0
    """Largest spread at which an order is sent, in multiples of the instrument's usual one; 0 is off."""
    max_quote_age: float = 600.0
    """Seconds after which the last quote means that the market is closed."""
    capital_share: float = 1.0
    """Share of the decided lots that is traded, in (0, 1]."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a model decides on, and the account that it was trained for."""

    symbols: tuple[str, ...]
    """N names, the order of the bars' last axis."""
    seconds: int
    """Length of a bar."""
    count: int
    """Bars that a decision reads."""
    currency: str
    """Of the account."""
    instruments: Mapping[str, Instrument]
    """Contracts by symbol."""
    clock: str = NEW_YORK_CLOSE
    """Of the broker's days, as `simulation.broker_clock`."""


def check_rules(rules: LiveRules) -> None:
    """Refuse rules that cannot be kept.

    Raises:
        UserError: a value is out of its range.
    """
    limits = (
        ("max_day_loss", 0.0 <= rules.max_day_loss < 1.0, "at least 0 and below 1"),
        ("max_spread", 0.0 <= rules.max_spread < float("inf"), "at least 0"),
        ("max_quote_age", 0.0 < rules.max_quote_age < float("inf"), "above 0"),
        ("capital_share", 0.0 < rules.capital_share <= 1.0, "above 0 and at most 1"),
        ("magic", 0 < rules.magic < 2**63, "above 0: 0 marks what a person traded"),
        ("stop_file", bool(rules.stop_file.strip()), "the name of a file"),
    )
    for name, kept, right in limits:
        if not kept:
            raise UserError(f"`{name}` {getattr(rules, name)}: must be {right}")


def refuse_account(account: AccountState, rules: LiveRules) -> None:
    """Refuse an account that is not meant.

    Raises:
        UserError: another login than `real_account` is logged in, or a real account without it.
    """
    at = f" at {account.server}" if account.server else ""
    if rules.real_account is not None and account.login != rules.real_account:
        raise UserError(
            f"`real_account` {rules.real_account}: account {account.login}{at} is logged in; log in to the other, or "
            "leave `real_account` out to trade a demo account"
        )
    if not account.is_demo and rules.real_account is None:
        raise UserError(
            f"account {account.login}{at} is no demo account; to trade real money, give its login as `real_account`"
        )


def refuse_other_market(account: AccountState, contracts: Mapping[str, Instrument], trained: Trained) -> None:
    """Refuse an account or contracts that differ from those of the training, so that lots would mean something else.

    Raises:
        UserError: the currency of the account, or the size or a currency of a contract, is another.
    """
    if account.currency != trained.currency:
        raise UserError(
            f"the account is in {account.currency}, and the model was trained on an account in {trained.currency}; "
            "use an account in that currency, or train with `simulation.account_currency`"
        )
    for symbol in trained.symbols:
        if symbol not in contracts:
            raise UserError(f"the broker has no contract of {symbol}, which the model trades")
        for name, words in (
            ("contract_size", "contract size"),
            ("base_currency", "base currency"),
            ("profit_currency", "profit currency"),
        ):
            here, there = getattr(contracts[symbol], name), getattr(trained.instruments[symbol], name)
            if here != there:
                raise UserError(
                    f"{symbol} has the {words} {_shown(here)} at this broker, and {_shown(there)} in the training; "
                    "train with `instruments` of this broker (data contracts writes them)"
                )


def refuse_other_positions(positions: Iterable[Position], rules: LiveRules, trained: Trained) -> None:
    """Refuse positions of our number that the model would never close.

    Raises:
        UserError: there is one in a symbol that the model does not trade.
    """
    for position in positions:
        if position.magic == rules.magic and position.symbol not in trained.symbols:
            raise UserError(
                f"there is a position of `magic` {rules.magic} in {position.symbol}, which the model does not trade: "
                "close it, or give a `magic` of its own to every model"
            )


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
