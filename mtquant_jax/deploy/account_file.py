"""Turns a dump of MetaTrader's account_info and positions_get into the account and the positions of a broker."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtquant_jax.deploy.broker import SMALLEST_LOTS, AccountState, Position
from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import Instrument, find_symbol
from mtquant_jax.settings.yaml_text import brief
from mtquant_jax.storage.files import read_json

_FORM = "dump account_info()._asdict() and positions_get() as docs/brokers.md shows"
_DEMO, _HEDGING = 0, 2  # ENUM_ACCOUNT_TRADE_MODE, ENUM_ACCOUNT_MARGIN_MODE
_SIDES = {0: 1.0, 1: -1.0}  # ENUM_POSITION_TYPE: buy, sell


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
