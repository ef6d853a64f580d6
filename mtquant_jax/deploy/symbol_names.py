"""Turns our symbols into a MetaTrader broker's names (EURUSD -> EURUSD.r), and its symbol_info into contracts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import Instrument, find_symbol, instrument_of
from mtquant_jax.market.metatrader.dump import SymbolRecord
from mtquant_jax.market.metatrader.entries import Account, entries_of
from mtquant_jax.market.metatrader.kinds import kind_of

_FULL = 4  # SYMBOL_TRADE_MODE_FULL


def broker_names(
    wanted: Sequence[str],
    listed: Sequence[Any],
    instruments: Mapping[str, Instrument],
    given: Mapping[str, str],
) -> dict[str, str]:
    """The broker's names of wanted symbols.

    Of several symbols that are the same instrument, the one is taken that is traded in full, then one that the Market
    Watch shows, then the shortest name.

    Args:
        wanted: N symbols.
        listed: of `Terminal.symbols_get`.
        instruments: whose names, aliases and usual suffixes are recognised.
        given: the broker's names by symbol, where they are known.

    Raises:
        UserError: the broker lists no such symbol.
    """
    by_name = {str(info.name): info for info in listed}
    found = {}
    for symbol in wanted:
        if symbol in given:
            if given[symbol] not in by_name:
                raise UserError(
                    f"`names` {symbol}: the broker has no symbol {given[symbol]}; {_similar(symbol, by_name)}"
                )
            found[symbol] = given[symbol]
            continue
        alike = [info for info in by_name.values() if _is(info, symbol, instruments)]
        if not alike:
            raise UserError(f"the broker has no symbol that is {symbol}; give its name there with `names`")
        found[symbol] = str(min(alike, key=_rank).name)
    return found


def _is(info: Any, symbol: str, instruments: Mapping[str, Instrument]) -> bool:
    name = str(info.name)
    if name.upper() != symbol and find_symbol(name, instruments) != symbol:
        return False
    return kind_of(SymbolRecord(name, info._asdict()), instruments).symbol == symbol


def _rank(info: Any) -> tuple[bool, bool, int, str]:
    return int(info.trade_mode) != _FULL, not info.visible, len(info.name), info.name


def _similar(symbol: str, names: Iterable[str]) -> str:
    similar = [name for name in names if symbol[:3].upper() in name.upper()][:5]
    return f"it has {', '.join(similar)}" if similar else "none of its names is similar"


def contract_of(symbol: str, info: Any, instruments: Mapping[str, Instrument], currency: str) -> Instrument:
    """The contract of a symbol at the broker; what MetaTrader does not say is the instrument's of that name.

    Args:
        symbol: our name.
        info: of `Terminal.symbol_info`.
        instruments: examples by symbol.
        currency: of the account.

    Raises:
        UserError: the symbol cannot be an instrument, such as an option.
    """
    record = SymbolRecord(f"the broker's {info.name}", info._asdict())
    (entry,) = entries_of([record], instruments, Account(currency), [record.name]).found
    return instrument_of(record.where, symbol, entry.values)
