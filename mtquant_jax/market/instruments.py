"""Turns contract specifications (configs/instruments.yaml) into instruments and arrays.

Also maps file names to instruments, and plans the conversion of profit into the account currency.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.calendar import WEEKDAYS
from mtquant_jax.settings.yaml_files import read_yaml, shipped
from mtquant_jax.types import Contracts

_CURRENCY_CODES = (
    "USD EUR GBP JPY CHF AUD NZD CAD SEK NOK DKK PLN CZK HUF TRY ZAR MXN SGD HKD CNH CNY THB INR KRW ILS BRL"
)
CURRENCIES = frozenset(_CURRENCY_CODES.split())

_TIMEFRAMES = "M1|M5|M15|M30|H1|H4|D1|W1|MN1|MN|1440|10080|43200|240|60|30|15|5|1"
# Letters that brokers append to a symbol without a separator; any suffix after a separator is accepted.
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
    """forex, metals, energy or indices."""
    margin_rate: float
    """Share of the notional held as margin, in (0, 1]."""
    swap_mode: str
    """points, money or interest."""
    swap_long: float
    """Swap received (positive) or paid per night by longs: points, fee currency per lot, or percent a year."""
    swap_short: float
    """Swap received (positive) or paid per night by shorts, in the same unit."""
    triple_swap_day: str
    """Weekday whose night counts three times."""
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
        """True if both sides are national currencies; these have no daily break, unlike metals, oil and indices."""
        return self.base_currency in CURRENCIES and self.profit_currency in CURRENCIES


_FIELDS = tuple(field.name for field in dataclasses.fields(Instrument) if field.name != "symbol")
_REQUIRED = tuple(field.name for field in dataclasses.fields(Instrument) if field.default is dataclasses.MISSING)[
    1:
]  # all but the symbol, which is the entry's name
MARGIN_CLASSES = ("forex", "metals", "energy", "indices")
_CHOICES = {
    "margin_class": MARGIN_CLASSES,
    "swap_mode": ("points", "money", "interest"),
    "triple_swap_day": WEEKDAYS[:5],
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

    A user's file adds instruments to the shipped ones and replaces those of the same symbol as a whole.

    Raises UserError, which names file, symbol and key, for an unknown or missing key, a wrong type, a value out of
    range or a name that two instruments claim.
    """
    origin = shipped("instruments.yaml")
    entries = {str(key).upper(): (origin, entry) for key, entry in read_yaml(origin).items()}
    if path is not None:
        entries |= {str(key).upper(): (Path(path), entry) for key, entry in read_yaml(Path(path)).items()}
    instruments: dict[str, Instrument] = {}
    owner: dict[str, str] = {}
    for symbol, (file, entry) in entries.items():
        instrument = _instrument(file, symbol, entry)
        for name in (instrument.symbol, *instrument.aliases):
            if name in owner:
                raise UserError(f"{file}: the name {name} is claimed by both {owner[name]} and {instrument.symbol}")
            owner[name] = instrument.symbol
        instruments[instrument.symbol] = instrument
    return instruments


def _instrument(path: Path, symbol: str, entry: Any) -> Instrument:
    where = f"{path}: {symbol}"
    if not isinstance(entry, Mapping):
        raise UserError(f"{where} must be a mapping with the keys {', '.join(_FIELDS)}; found {entry!r}")
    for key in entry:
        if key not in _FIELDS:
            raise UserError(f"{where} has the unknown key '{key}'; did you mean '{nearest(str(key), _FIELDS)}'?")
    missing = [key for key in _REQUIRED if key not in entry]
    if missing:
        raise UserError(f"{where} lacks the key{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    values = {key: _value(f"{where}: {key}", key, value) for key, value in entry.items()}
    if values.get("lot_step", 0.01) > values.get("max_lot", 100.0):
        raise UserError(f"{where}: lot_step {values['lot_step']:g} is above max_lot {values.get('max_lot', 100.0):g}")
    return Instrument(symbol=symbol, **values)


def _value(where: str, key: str, value: Any) -> Any:
    """Check and convert one value of an entry."""
    if key in _CHOICES:
        if value not in _CHOICES[key]:
            raise UserError(f"{where} must be one of {', '.join(_CHOICES[key])}; found {value!r}")
        return value
    if key.endswith("_currency"):
        if not isinstance(value, str) or not value:
            raise UserError(f"{where} must be a name such as USD; found {value!r}")
        return value.upper()
    if key == "digits":
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 8:
            raise UserError(f"{where} must be a whole number from 0 to 8; found {value!r}")
        return value
    if key == "aliases":
        if not isinstance(value, list) or not all(isinstance(alias, str) and alias for alias in value):
            raise UserError(f"{where} must be a list of names such as [GOLD]; found {value!r}")
        return tuple(alias.upper() for alias in value)
    low, high, above = _NUMBERS[key]
    good_type = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good_type or not ((value > low if above else value >= low) and value <= high) or not np.isfinite(value):
        bounds = ([f"{'above' if above else 'at least'} {low:g}"] if low > -np.inf else []) + (
            [f"at most {high:g}"] if high < np.inf else []
        )
        raise UserError(f"{where} must be a number {' and '.join(bounds)}".rstrip() + f"; found {value!r}")
    return float(value)


def nearest(name: str, candidates: Sequence[str]) -> str:
    """Return the candidate with the most similar spelling to name."""
    matches = difflib.get_close_matches(name.lower(), [c.lower() for c in candidates], n=1, cutoff=0.0)
    return next(c for c in candidates if c.lower() == matches[0])


def select(symbols: Sequence[str], instruments: Mapping[str, Instrument]) -> list[Instrument]:
    """Return the specifications of symbols, in order; for an unknown symbol, UserError names the nearest known one."""
    for symbol in symbols:
        if symbol not in instruments:
            raise UserError(
                f"No contract specification for {symbol}; did you mean {nearest(symbol, list(instruments))}? "
                f"Known: {', '.join(instruments)}. Others can be added to instruments.yaml"
            )
    return [instruments[symbol] for symbol in symbols]


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
    names = {name: i.symbol for i in instruments.values() for name in (i.symbol, *i.aliases)}
    for name in sorted(names, key=len, reverse=True):
        spelt = rf"{name[:3]}[-_ .]?{name[3:]}" if re.fullmatch("[A-Z]{6}", name) else re.escape(name)
        if re.fullmatch(rf"{spelt}({_SUFFIXES})?({_TIMEFRAMES})?([^A-Z0-9].*)?", stem):
            return names[name]
    return None


def contracts(
    symbols: Sequence[str],
    instruments: Mapping[str, Instrument],
    margin_leverage: Mapping[str, float] | None = None,
) -> Contracts:
    """Build contract arrays [N] float32 in the order of symbols.

    Args:
        symbols: N names; UserError for one without a specification.
        instruments: the specifications by symbol.
        margin_leverage: margin class -> leverage of the account, which replaces the instruments' margin rates.
    """
    chosen = select(symbols, instruments)
    leverage = dict(margin_leverage or {})
    rates = [1.0 / leverage[i.margin_class] if i.margin_class in leverage else i.margin_rate for i in chosen]

    def array(values: Sequence[Any]) -> jax.Array:
        return jax.device_put(np.asarray(values, np.float32))

    def swap(mode: str, unit: Callable[[Instrument], float]) -> jax.Array:
        both = [(i.swap_long, i.swap_short) if i.swap_mode == mode else (0.0, 0.0) for i in chosen]
        return array([[pair[side] * unit(i) for pair, i in zip(both, chosen, strict=True)] for side in (0, 1)])

    return Contracts(
        contract_size=array([i.contract_size for i in chosen]),
        commission=array([i.commission for i in chosen]),
        margin_rate=array(rates),
        slippage=array([i.slippage * i.point for i in chosen]),
        slippage_volatility=array([i.slippage_volatility for i in chosen]),
        swap_price=swap("points", lambda i: i.point),
        swap_money=swap("money", lambda i: 1.0),
        swap_rate=swap("interest", lambda i: 0.01),
        min_lot=array([i.min_lot for i in chosen]),
        lot_step=array([i.lot_step for i in chosen]),
        max_lot=array([i.max_lot for i in chosen]),
    )


@dataclasses.dataclass(frozen=True)
class ConversionPlan:
    """The prices whose product is the account currency per unit of profit currency, for each instrument.

    A leg (index, sign) stands for the price of instrument index to the power sign; without legs the factor is 1.
    Hashable, so that it can be a static argument.
    """

    legs: tuple[tuple[tuple[int, int], ...], ...]  # N tuples of (index, +1 or -1)


def conversion_plan(
    symbols: Sequence[str],
    instruments: Mapping[str, Instrument],
    account_currency: str,
    of: Literal["profit_currency", "fee_currency"] = "profit_currency",
) -> ConversionPlan:
    """Plan the conversion of each symbol's profit or fees into account currency, from the prices of the same symbols.

    The factor is 1 for the account's own currency, the price of XXXUSD for XXX, 1 / price of USDXXX (USDJPY in a USD
    account), and the shortest chain of such prices otherwise. Raises UserError if no chain exists.
    """
    chosen = select(symbols, instruments)
    account = account_currency.upper()
    paths = _paths_to(account, chosen)
    legs = []
    for instrument in chosen:
        currency = getattr(instrument, of)
        free = of == "fee_currency" and instrument.commission == 0.0 and instrument.swap_mode != "money"
        if currency not in paths and not free:
            what = "Profit" if of == "profit_currency" else "Commission"
            raise UserError(
                f"{what} of {instrument.symbol} is in {currency}, and no loaded instrument converts it into the "
                f"account currency {account}; add {currency}{account} or {account}{currency}"
            )
        legs.append(paths.get(currency, ()))
    return ConversionPlan(legs=tuple(legs))


def _paths_to(account: str, chosen: Sequence[Instrument]) -> dict[str, tuple[tuple[int, int], ...]]:
    """Find the shortest chain of prices from every convertible currency to the account's, breadth first."""
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
    return paths


def conversion(prices: jax.Array, plan: ConversionPlan) -> jax.Array:
    """Compute account currency per unit of profit currency: prices [..., N] of the plan's symbols -> [..., N]."""
    factors = []
    for legs in plan.legs:
        factor = jnp.ones_like(prices[..., 0])
        for index, sign in legs:
            factor = factor * prices[..., index] if sign > 0 else factor / prices[..., index]
        factors.append(factor)
    return jnp.stack(factors, axis=-1)
