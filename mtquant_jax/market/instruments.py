"""Turns contract specifications (configs/instruments.yaml) into instruments and arrays; maps names to instruments."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.calendar import EVERY_NIGHT, WEEKDAYS
from mtquant_jax.settings.fields import fits_float32
from mtquant_jax.settings.yaml_files import shipped
from mtquant_jax.settings.yaml_text import brief, read_yaml

_CURRENCY_CODES = (
    "USD EUR GBP JPY CHF AUD NZD CAD SEK NOK DKK PLN CZK HUF TRY ZAR MXN SGD HKD CNH CNY THB INR KRW ILS BRL"
)
CURRENCIES = frozenset(_CURRENCY_CODES.split())

_TIMEFRAMES = "M1|M5|M15|M30|H1|H4|D1|W1|MN1|MN|1440|10080|43200|240|60|30|15|5|1"
# Letters that brokers append to a symbol without a separator; any suffix after a separator is accepted.
_SIMILAR = 0.7  # similarity of names from which one may be meant for the other: DAX50 and DAX40 have 0.8
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
    """Commission in fee currency per lot and side."""
    base_currency: str
    """Unit of the instrument: EUR, XAU, SPX."""
    profit_currency: str
    """Currency of profit."""
    margin_class: str
    """One of MARGIN_CLASSES."""
    margin_rate: float
    """Share of the notional held as margin, in (0, 1]."""
    swap_mode: str
    """points, money or interest."""
    swap_long: float
    """Swap received (positive) or paid per night by longs: points, fee currency per lot, or percent a year."""
    swap_short: float
    """Swap received (positive) or paid per night by shorts, in the same unit."""
    triple_swap_day: str
    """Weekday whose night counts three times, or none: each of the week's seven nights counts once."""
    fee_currency: str = "USD"
    """Currency of commission and of swap in money."""
    min_lot: float = 0.01
    """Smallest order, lots."""
    lot_step: float = 0.01
    """Step of order sizes, lots."""
    max_lot: float = 100.0
    """Largest order, lots."""
    slippage: float = 0.0
    """Points by which every fill is worse than the quote."""
    slippage_volatility: float = 0.0
    """Further slippage, as a share of the per-bar volatility."""
    session: str = "week"
    """When it trades: one of SESSIONS."""
    aliases: tuple[str, ...] = ()
    """Other names, upper case."""
    price_range: tuple[float, float] | None = None
    """Lowest and highest plausible price; bar files with others are refused. None: around the calibration's price."""

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
        """True if both sides are national currencies, and not the same."""
        return {self.base_currency, self.profit_currency} <= CURRENCIES and self.base_currency != self.profit_currency


_FIELDS = tuple(field.name for field in dataclasses.fields(Instrument) if field.name != "symbol")
_REQUIRED = tuple(field.name for field in dataclasses.fields(Instrument) if field.default is dataclasses.MISSING)[
    1:
]  # all but the symbol, which is the entry's name
SESSIONS = ("week", "daily_break", "exchange", "always")
"""Sunday evening to Friday evening, the same with a pause of up to an hour a day, an exchange's hours, every day."""
_SESSION_OF_CLASS = {
    "forex": "week",
    "metals": "daily_break",
    "energy": "daily_break",
    "indices": "daily_break",
    "shares": "exchange",
    "crypto": "always",
}
MARGIN_CLASSES = tuple(_SESSION_OF_CLASS)
_CHOICES = {
    "margin_class": MARGIN_CLASSES,
    "session": SESSIONS,
    "swap_mode": ("points", "money", "interest"),
    "triple_swap_day": (*WEEKDAYS[:5], EVERY_NIGHT),
}
_NUMBERS: dict[str, tuple[float, float, bool]] = {  # lowest, highest, whether the lowest is excluded
    "contract_size": (0.0, np.inf, True),
    "spread": (0.0, np.inf, False),
    "commission": (0.0, np.inf, False),
    "margin_rate": (0.0, 1.0, True),
    "swap_long": (-np.inf, np.inf, False),
    "swap_short": (-np.inf, np.inf, False),
    "min_lot": (0.0, np.inf, True),
    "lot_step": (0.0, np.inf, True),
    "max_lot": (0.0, np.inf, True),
    "slippage": (0.0, np.inf, False),
    "slippage_volatility": (0.0, 10.0, False),
}


def load_instruments(path: Path | None = None) -> dict[str, Instrument]:
    """Load contract specifications by symbol, in file order; None reads the shipped configs/instruments.yaml.

    A user's file adds instruments to the shipped ones. Its names win: a shipped instrument whose symbol it uses, also
    as an alias, is replaced as a whole, and other shipped instruments lose the aliases that it uses.

    Raises UserError, which names file, symbol and key, for an unknown or missing key, a wrong type, a value out of
    range or a name that two instruments of a file claim.
    """
    known = _shipped()
    if path is None:
        return dict(known)
    own = _read(Path(path))
    claimed = {name for instrument in own.values() for name in (instrument.symbol, *instrument.aliases)}
    kept = {
        symbol: dataclasses.replace(known[symbol], aliases=tuple(a for a in known[symbol].aliases if a not in claimed))
        for symbol in known
        if symbol not in claimed
    }
    order = [symbol for symbol in known if symbol in kept or symbol in own]
    return {symbol: own.get(symbol) or kept[symbol] for symbol in dict.fromkeys([*order, *own])}


@functools.cache
def _shipped() -> dict[str, Instrument]:
    return _read(shipped("instruments.yaml"))


def _read(path: Path) -> dict[str, Instrument]:
    """The instruments of one file, by symbol."""
    entries: dict[str, Any] = {}
    owner: dict[str, str] = {}
    instruments: dict[str, Instrument] = {}
    for key, entry in read_yaml(path).items():
        symbol = str(key).upper()
        if symbol in entries:
            raise UserError(f"{path}: {symbol} is given twice")
        entries[symbol] = entry
        instrument = instrument_of(path, symbol, entry)
        for name in dict.fromkeys((instrument.symbol, *instrument.aliases)):
            if name in owner:
                raise UserError(f"{path}: the name {name} is claimed by both {owner[name]} and {instrument.symbol}")
            owner[name] = instrument.symbol
        instruments[symbol] = instrument
    return instruments


def instrument_of(path: Path | str, symbol: str, entry: Any) -> Instrument:
    """Check an entry of a file and make the instrument of it; UserError as `load_instruments`."""
    where = f"{path}: {symbol}"
    if not isinstance(entry, Mapping):
        raise UserError(f"{where} must be a mapping with the keys {', '.join(_FIELDS)}; found {brief(entry)}")
    for key in entry:
        if key not in _FIELDS:
            raise UserError(f"{where} has the unknown key '{key!s:.40}'; did you mean '{nearest(str(key), _FIELDS)}'?")
    missing = [key for key in _REQUIRED if key not in entry]
    if missing:
        raise UserError(f"{where} lacks the key{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    values = {key: _value(f"{where}: {key}", key, value) for key, value in entry.items()}
    if values.get("lot_step", 0.01) > values.get("max_lot", 100.0):
        raise UserError(f"{where}: lot_step {values['lot_step']:g} is above max_lot {values.get('max_lot', 100.0):g}")
    return Instrument(symbol=symbol, **{"session": _SESSION_OF_CLASS[values["margin_class"]]} | values)


def _value(where: str, key: str, value: Any) -> Any:
    """Check and convert one value of an entry."""
    if key in _CHOICES:
        if value not in _CHOICES[key]:
            raise UserError(f"{where} must be one of {', '.join(_CHOICES[key])}; found {brief(value)}")
        return value
    if key.endswith("_currency"):
        if not isinstance(value, str) or not value:
            raise UserError(f"{where} must be a name such as USD; found {brief(value)}")
        return value.upper()
    if key == "digits":
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 8:
            raise UserError(f"{where} must be a whole number from 0 to 8; found {brief(value)}")
        return value
    if key == "aliases":
        if not isinstance(value, list) or not all(isinstance(alias, str) and alias for alias in value):
            raise UserError(f"{where} must be a list of names such as [GOLD]; found {brief(value)}")
        return tuple(alias.upper() for alias in value)
    if key == "price_range":
        is_pair = isinstance(value, list) and len(value) == 2 and all(type(limit) in (int, float) for limit in value)
        if not is_pair or not 0 < value[0] < value[1] or not all(map(fits_float32, value)):
            raise UserError(
                f"{where} must be two numbers above 0, the lower first, such as [0.6, 2.5]; found {brief(value)}"
            )
        return float(value[0]), float(value[1])
    low, high, above = _NUMBERS[key]
    good_type = isinstance(value, (int, float)) and not isinstance(value, bool)
    in_range = good_type and (value > low if above else value >= low) and value <= high
    if not in_range or not fits_float32(value):
        bounds = ([f"{'above' if above else 'at least'} {low:g}"] if low > -np.inf else []) + (
            [f"at most {high:g}"] if high < np.inf else []
        )
        raise UserError(f"{where} must be a number {' and '.join(bounds)}".rstrip() + f"; found {brief(value)}")
    return float(value)


def nearest(name: str, candidates: Sequence[str]) -> str:
    """Return the candidate with the most similar spelling to name."""
    matches = difflib.get_close_matches(name.lower(), [c.lower() for c in candidates], n=1, cutoff=0.0)
    return next(c for c in candidates if c.lower() == matches[0])


def select(symbols: Sequence[str], instruments: Mapping[str, Instrument]) -> list[Instrument]:
    """Return the specifications of symbols, in order.

    Raises UserError for an unknown symbol, with the instrument that it is another name of, or else with those of a
    similar name, where there are any.
    """
    for symbol in symbols:
        if symbol not in instruments:
            raise UserError(f"No contract specification for {symbol}; {_advice(symbol, instruments)}")
    return [instruments[symbol] for symbol in symbols]


def find_symbol(name: str, instruments: Mapping[str, Instrument]) -> str | None:
    """Return the symbol that a name stands for: itself, an alias, or either with a broker's suffix; or None."""
    plain = re.sub(r"^[#.!]", "", name.upper())
    owners = _owners(instruments)
    for known in sorted(owners, key=len, reverse=True):
        if re.fullmatch(rf"{re.escape(known)}({_SUFFIXES})?([^A-Z0-9].*)?", plain):
            return owners[known]
    return None


def _owners(instruments: Mapping[str, Instrument]) -> dict[str, str]:
    """Symbols and aliases -> symbol."""
    return {name: i.symbol for i in instruments.values() for name in (i.symbol, *i.aliases)}


def _advice(name: str, instruments: Mapping[str, Instrument]) -> str:
    """What to do about a name that is no symbol, and what is known in short."""
    if owner := find_symbol(name, instruments):
        return f"it is another name of {owner}: use {owner}"
    owners = _owners(instruments)
    close = difflib.get_close_matches(name.upper(), owners, n=1, cutoff=_SIMILAR)
    meant = instruments[owners[close[0]]] if close else None
    others = ", ".join(meant.aliases[:3]) if meant else ""
    groups: dict[str, list[str]] = {}
    for instrument in instruments.values():
        groups.setdefault(instrument.margin_class, []).append(instrument.symbol)
    listed = "; ".join(
        f"{margin_class} {', '.join(symbols[:3])}" + (f" and {len(symbols) - 3} more" if len(symbols) > 3 else "")
        for margin_class, symbols in groups.items()
    )
    guess = f"did you mean {meant.symbol}{f' (also {others})' if others else ''}?" if meant else "nothing is similar."
    return f"{guess} Known: {listed}. Others can be added to instruments.yaml"


def symbol_of_file(file_name: str, instruments: Mapping[str, Instrument]) -> str | None:
    """Return the symbol that the name of a bar file refers to, or None.

    Recognises `EURUSD.csv.gz`, `EURUSD_H1_2020_2024.csv`, `EURUSD60.csv`, `EURUSDm.csv`, `EURUSD.pro.csv` and aliases
    (`GOLD.csv`), pairs with a mark in between (`EUR_USD_H1.csv`, `EUR-USD.csv`), HistData's `DAT_ASCII_EURUSD_M1_2023`
    and `HISTDATA_COM_ASCII_EURUSD_M1_2023.zip`, TradingView's `FX_EURUSD, 60.csv` and a broker's `#US30.csv`, in upper
    or lower case. If two names fit, the longer one is used (US3060.csv is US30 in 60 minutes).
    """
    stem = re.sub(r"\.(csv|txt|tsv|prn|parquet|pq|zip)(\.gz)?$", "", file_name, flags=re.IGNORECASE).upper()
    stem = re.sub(r"^((HISTDATA_COM|DAT)_[A-Z]+_|[#.!])", "", stem)  # marks that brokers put before CFDs
    stem = re.sub(r"^[A-Z]+(_[A-Z]+)?_(?=[^,_]+(_[^,_]+)?, ?\d)", "", stem)  # the exchange in TradingView's names
    names = _owners(instruments)
    for name in sorted(names, key=len, reverse=True):
        spelt = rf"{name[:3]}[-_ .]?{name[3:]}" if re.fullmatch("[A-Z]{6}", name) else re.escape(name)
        if re.fullmatch(rf"{spelt}({_SUFFIXES})?({_TIMEFRAMES})?([^A-Z0-9].*)?", stem):
            return names[name]
    return None
