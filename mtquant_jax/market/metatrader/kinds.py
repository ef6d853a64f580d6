"""Turns MetaTrader's names, paths and calculation modes into what kind of instrument a symbol is."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from mtquant_jax.market.instruments import CURRENCIES, Instrument, find_symbol
from mtquant_jax.market.metatrader.dump import SymbolRecord

_CALCULATION = {  # ENUM_SYMBOL_CALC_MODE, of which profit is the move times contract size times lots
    0: "",  # forex, where brokers put metals and crypto, too
    2: "",  # CFD
    3: "",  # CFD on an index
    4: "",  # CFD with leverage
    5: "",  # forex without leverage
    32: "shares",
    38: "shares",
}
_OTHERS = {
    1: "a futures contract",
    33: "a futures contract",
    34: "a futures contract",
    35: "an option",
    36: "an option",
    37: "a bond",
    39: "a bond",
    64: "collateral",
}
_METALS = frozenset(("XAU", "XAG", "XPT", "XPD"))
_COIN_CODES = "BTC XBT ETH LTC XRP BCH SOL ADA DOGE DOT BNB AVAX LINK XLM TRX UNI EOS XMR DASH ETC"
_COINS = frozenset(_COIN_CODES.split())
_PATHS = (  # words of a path, in the order in which they decide ("Equity Indices" are indices)
    ("crypto", "crypto"),
    ("coin", "crypto"),
    ("indic", "indices"),
    ("index", "indices"),
    ("stock", "shares"),
    ("share", "shares"),
    ("equit", "shares"),
    ("etf", "shares"),
    ("metal", "metals"),
    ("energ", "energy"),
    ("oil", "energy"),
)


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a symbol is."""

    symbol: str
    """Its name in instruments.yaml."""
    margin_class: str
    example: Instrument | None
    """The shipped instrument that it is."""
    base_is_unit: bool
    """Whether its base currency is what is bought, and not the currency of the contract."""
    problem: str = ""
    """Why it cannot be an instrument; empty where it can."""


def kind_of(record: SymbolRecord, instruments: Mapping[str, Instrument]) -> Kind:
    """The kind of a symbol: by its currencies, its calculation mode and its path, and by the example of its name."""
    mode = int(record.number("trade_calc_mode", 0.0))
    base, profit = record.text("currency_base").upper(), record.text("currency_profit").upper()
    pair = base + profit if re.sub(r"[^A-Z0-9]", "", record.name.upper()).startswith(base + profit) else ""
    symbol = find_symbol(record.name, instruments) or pair
    example = instruments.get(symbol)
    margin_class = _class_of(record, mode, base, profit)
    if example and not _is_same(example, margin_class, base, profit):
        example = None
    margin_class = example.margin_class if example else margin_class
    unit = base != profit and (margin_class in ("forex", "metals", "crypto") or base not in CURRENCIES) and bool(base)
    problem = ""
    if mode not in _CALCULATION:
        problem = f"it is {_OTHERS.get(mode, f'of calculation mode {mode}')}, which the simulation does not trade"
    elif not margin_class:
        problem = (
            f"neither its path {record.text('path') or '(none)'} nor its currencies say whether it is forex, a metal, "
            "energy, an index, a share or crypto; write its entry by hand"
        )
    name = example.symbol if example else _own_name(record.name, pair)
    return Kind(name, margin_class, example, unit, problem)


def plain_name(name: str, instruments: Mapping[str, Instrument]) -> str:
    """The instrument that a user's name stands for, or the name itself."""
    return find_symbol(name, instruments) or name.upper()


def _class_of(record: SymbolRecord, mode: int, base: str, profit: str) -> str:
    """The margin class that currencies, calculation mode or path tell; empty where none of them does."""
    if base in _METALS:
        return "metals"
    if base in _COINS:
        return "crypto"
    if base != profit and {base, profit} <= CURRENCIES and (mode in (0, 5) or base + profit in record.name.upper()):
        return "forex"
    path = record.text("path").lower().replace("\\", "/")
    folders = path.rpartition("/")[0] or path  # the last part is the symbol's name
    return _CALCULATION.get(mode, "") or next((found for word, found in _PATHS if word in folders), "")


def _is_same(example: Instrument, margin_class: str, base: str, profit: str) -> bool:
    """Whether a symbol with the name of an example is the same instrument (GOLD may be a share)."""
    if margin_class and margin_class != example.margin_class:
        return False
    if example.margin_class == "forex":
        return (base, profit) == (example.base_currency, example.profit_currency)
    return example.margin_class not in ("metals", "crypto") or profit == example.profit_currency


def _own_name(name: str, pair: str) -> str:
    """A name for an instrument without an example: the currencies' of a pair, else the broker's without its suffix."""
    upper = re.sub(r"^[^A-Z0-9]+", "", name.upper())
    return pair or re.split(r"[^A-Z0-9]", upper)[0] or re.sub(r"[\s/\\]", "_", name.upper())
