"""Turns contract specifications (configs/instruments.yaml) into instruments and arrays.

Also says which file name means which instrument and how profit is converted into the account currency.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.config_files import read_yaml, shipped
from mtquant_jax.errors import UserError
from mtquant_jax.types import Contracts

_CURRENCY_CODES = (
    "USD EUR GBP JPY CHF AUD NZD CAD SEK NOK DKK PLN CZK HUF TRY ZAR MXN SGD HKD CNH CNY THB INR KRW ILS BRL"
)
CURRENCIES = frozenset(_CURRENCY_CODES.split())

_TIMEFRAMES = "M1|M5|M15|M30|H1|H4|D1|W1|MN1|MN|1440|10080|43200|240|60|30|15|5|1"
# Letters that brokers append to a symbol without a separator; anything after a separator is accepted as it is.
_SUFFIXES = "MICRO|MINI|CASH|SPOT|ZERO|PRIME|PRO|ECN|RAW|STD|STP|VIP|SB|M|C|I|R|Z"


@dataclasses.dataclass(frozen=True)
class Instrument:
    """Contract specification of one instrument at one broker."""

    symbol: str
    digits: int
    """Decimals of the price; one point is 10^-digits."""
    contract_size: float
    """Base units per lot."""
    spread: float
    """Default spread in points, used where the bars carry none."""
    commission: float
    """Account currency per lot and side."""
    base_currency: str
    """What one unit of the instrument is: EUR, XAU, SPX."""
    profit_currency: str
    """The currency that profit is counted in."""
    margin_rate: float
    """Share of the notional held as margin, in (0, 1]."""
    aliases: tuple[str, ...] = ()
    """Other names, upper case."""

    @property
    def point(self) -> float:
        """Price of one point."""
        return float(10.0**-self.digits)

    @property
    def default_spread(self) -> float:
        """Default spread in price units (ask - bid)."""
        return self.spread * self.point

    @property
    def is_currency_pair(self) -> bool:
        """True where both sides are national currencies; metals, oil and indices have a daily break, these do not."""
        return self.base_currency in CURRENCIES and self.profit_currency in CURRENCIES


_FIELDS = tuple(field.name for field in dataclasses.fields(Instrument) if field.name != "symbol")


def load_instruments(path: Path | None = None) -> dict[str, Instrument]:
    """Contract specifications by symbol, in the order of the file; None reads the shipped configs/instruments.yaml.

    Raises UserError naming file, symbol and key for an unknown or missing key, a wrong type, a value out of range or a
    name that two instruments claim.
    """
    path = shipped("instruments.yaml") if path is None else Path(path)
    instruments: dict[str, Instrument] = {}
    owner: dict[str, str] = {}
    for key, entry in read_yaml(path).items():
        instrument = _instrument(path, str(key).upper(), entry)
        for name in (instrument.symbol, *instrument.aliases):
            if name in owner:
                raise UserError(f"{path}: the name {name} is claimed by both {owner[name]} and {instrument.symbol}")
            owner[name] = instrument.symbol
        instruments[instrument.symbol] = instrument
    if not instruments:
        raise UserError(f"{path}: no instruments; each needs an entry such as 'EURUSD: {{digits: 5, ...}}'")
    return instruments


def _instrument(path: Path, symbol: str, entry: Any) -> Instrument:
    where = f"{path}: {symbol}"
    if not isinstance(entry, Mapping):
        raise UserError(f"{where} must be a mapping with the keys {', '.join(_FIELDS)}; found {entry!r}")
    for key in entry:
        if key not in _FIELDS:
            raise UserError(f"{where} has the unknown key '{key}'; did you mean '{nearest(str(key), _FIELDS)}'?")
    missing = [key for key in _FIELDS if key not in entry and key != "aliases"]
    if missing:
        raise UserError(f"{where} lacks the key{'s' if len(missing) > 1 else ''} {', '.join(missing)}")

    def number(key: str, low: float, high: float, *, above: bool) -> float:
        value = entry[key]
        good_type = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not good_type or not ((value > low if above else value >= low) and value <= high):
            limit = f"{'above' if above else 'at least'} {low:g}" + (f" and at most {high:g}" if high < np.inf else "")
            raise UserError(f"{where}: {key} must be a number {limit}; found {value!r}")
        return float(value)

    def currency(key: str) -> str:
        value = entry[key]
        if not isinstance(value, str) or not value:
            raise UserError(f"{where}: {key} must be a name such as USD; found {value!r}")
        return value.upper()

    digits = entry["digits"]
    if not isinstance(digits, int) or isinstance(digits, bool) or not 0 <= digits <= 8:
        raise UserError(f"{where}: digits must be a whole number from 0 to 8; found {digits!r}")
    aliases = entry.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) and alias for alias in aliases):
        raise UserError(f"{where}: aliases must be a list of names such as [GOLD]; found {aliases!r}")
    return Instrument(
        symbol=symbol,
        digits=digits,
        contract_size=number("contract_size", 0.0, np.inf, above=True),
        spread=number("spread", 0.0, np.inf, above=False),
        commission=number("commission", 0.0, np.inf, above=False),
        base_currency=currency("base_currency"),
        profit_currency=currency("profit_currency"),
        margin_rate=number("margin_rate", 0.0, 1.0, above=True),
        aliases=tuple(alias.upper() for alias in aliases),
    )


def nearest(name: str, candidates: Sequence[str]) -> str:
    """The candidate that is spelled most like name."""
    matches = difflib.get_close_matches(name.lower(), [c.lower() for c in candidates], n=1, cutoff=0.0)
    return next(c for c in candidates if c.lower() == matches[0])


def select(symbols: Sequence[str], instruments: Mapping[str, Instrument]) -> list[Instrument]:
    """The specifications of symbols, in their order; UserError names the nearest known symbol for an unknown one."""
    for symbol in symbols:
        if symbol not in instruments:
            raise UserError(
                f"No contract specification for {symbol}; did you mean {nearest(symbol, list(instruments))}? "
                f"Known: {', '.join(instruments)}. Others can be added to instruments.yaml"
            )
    return [instruments[symbol] for symbol in symbols]


def symbol_of_file(file_name: str, instruments: Mapping[str, Instrument]) -> str | None:
    """The symbol that a bar file's name means, or None.

    Understands `EURUSD.csv.gz`, `EURUSD_H1_2020_2024.csv`, `EURUSD60.csv`, `EURUSDm.csv`, `EURUSD.pro.csv` and aliases
    (`GOLD.csv`), HistData's `DAT_ASCII_EURUSD_M1_2023.csv` and a broker's `#US30.csv`, in any case. Where two
    names fit, the longer one counts (US3060.csv is US30 in 60 minutes).
    """
    stem = re.sub(r"\.(csv|txt|tsv|prn|parquet|pq|zip)(\.gz)?$", "", file_name, flags=re.IGNORECASE).upper()
    stem = re.sub(r"^(DAT_[A-Z]+_|[#.!])", "", stem)  # HistData's names, and marks that brokers put before CFDs
    names = {name: i.symbol for i in instruments.values() for name in (i.symbol, *i.aliases)}
    for name in sorted(names, key=len, reverse=True):
        if re.fullmatch(rf"{re.escape(name)}({_SUFFIXES})?({_TIMEFRAMES})?([^A-Z0-9].*)?", stem):
            return names[name]
    return None


def contracts(symbols: Sequence[str], instruments: Mapping[str, Instrument]) -> Contracts:
    """Contract arrays [N] float32 in the order of symbols; UserError for a symbol without a specification."""
    chosen = select(symbols, instruments)
    return Contracts(
        contract_size=jnp.asarray([i.contract_size for i in chosen], jnp.float32),
        commission=jnp.asarray([i.commission for i in chosen], jnp.float32),
        margin_rate=jnp.asarray([i.margin_rate for i in chosen], jnp.float32),
    )


@dataclasses.dataclass(frozen=True)
class ConversionPlan:
    """For each instrument the prices whose product is account currency per unit of its profit currency.

    A leg (index, sign) stands for the price of instrument index to the power sign; no legs is the factor 1. Hashable,
    so that it can be a static argument.
    """

    legs: tuple[tuple[tuple[int, int], ...], ...]  # N tuples of (index, +1 or -1)


def conversion_plan(
    symbols: Sequence[str], instruments: Mapping[str, Instrument], account_currency: str
) -> ConversionPlan:
    """How profit of each symbol becomes account currency, using the prices of the same symbols.

    1 where the profit currency is the account currency, the price of XXXUSD for profit in XXX, 1 / price of USDXXX
    (USDJPY in a USD account), and the shortest chain of such prices otherwise. Raises UserError where no chain exists.
    """
    chosen = select(symbols, instruments)
    account = account_currency.upper()
    # Breadth first from the account currency outwards: paths[c] turns one unit of c into account currency.
    paths: dict[str, tuple[tuple[int, int], ...]] = {account: ()}
    frontier = [account]
    while frontier:
        reached = []
        for currency in frontier:
            for index, instrument in enumerate(chosen):
                for source, target, sign in (
                    (instrument.base_currency, instrument.profit_currency, 1),
                    (instrument.profit_currency, instrument.base_currency, -1),
                ):
                    if target == currency and source not in paths:
                        paths[source] = ((index, sign), *paths[currency])
                        reached.append(source)
        frontier = reached
    for instrument in chosen:
        if instrument.profit_currency not in paths:
            raise UserError(
                f"Profit of {instrument.symbol} is in {instrument.profit_currency}, and no loaded instrument converts "
                f"it into the account currency {account}; add {instrument.profit_currency}{account} or "
                f"{account}{instrument.profit_currency}"
            )
    return ConversionPlan(legs=tuple(paths[instrument.profit_currency] for instrument in chosen))


def conversion(prices: jax.Array, plan: ConversionPlan) -> jax.Array:
    """Account currency per unit of profit currency: prices [..., N] of the plan's symbols -> factors [..., N]."""
    factors = []
    for legs in plan.legs:
        factor = jnp.ones_like(prices[..., 0])
        for index, sign in legs:
            factor = factor * prices[..., index] if sign > 0 else factor / prices[..., index]
        factors.append(factor)
    return jnp.stack(factors, axis=-1)
