"""Turns MetaTrader's swap modes into points, money or interest, exactly where that is possible."""

from __future__ import annotations

import dataclasses

from mtquant_jax.errors import UserError
from mtquant_jax.market.calendar import EVERY_NIGHT
from mtquant_jax.market.metatrader.dump import SymbolRecord

_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")  # ENUM_DAY_OF_WEEK
_DISABLED, _POINTS, _BASE, _MARGIN, _DEPOSIT, _INTEREST, _INTEREST_OPEN, _PROFIT = 0, 1, 2, 3, 4, 5, 6, 9
_REOPENED = (7, 8)  # a position is closed at the end of the day and opened again at another price
_YEAR = 360.0  # days of interest in a year, as MetaTrader has it


@dataclasses.dataclass(frozen=True)
class Swap:
    """Swap as instruments.yaml has it."""

    mode: str
    long: float
    short: float
    note: str = ""
    """A sentence where it is no more what MetaTrader says."""


def swap_of(record: SymbolRecord, size: float, digits: int, unit: float, account_currency: str) -> Swap:
    """The swap of a symbol.

    Money in the currency of profit is a number of points, and money in the base currency is interest on the value of a
    lot, whatever the price is; both conversions are exact.

    Args:
        record: the symbol.
        size: contract size, base units per lot.
        digits: decimals of the price.
        unit: MetaTrader's point over 10^-digits.
        account_currency: the currency of deposits.

    Raises:
        UserError: the simulation has no such swap; a clause that says why.
    """
    mode = int(record.number("swap_mode", _POINTS))
    long, short = (record.number(key, 0.0) for key in ("swap_long", "swap_short"))
    base, profit, margin = (record.text(f"currency_{name}").upper() for name in ("base", "profit", "margin"))
    if mode == _DISABLED or not (long or short):
        return Swap("points", 0.0, 0.0)
    if mode == _POINTS:
        return Swap("points", _rounded(long * unit), _rounded(short * unit))
    if mode in (_INTEREST, _INTEREST_OPEN):
        note = "swap on the opening price is taken as swap on the current one" if mode == _INTEREST_OPEN else ""
        return Swap("interest", long, short, note)
    if mode in _REOPENED:
        raise UserError(
            f"its swap mode {mode} opens positions again at another price every night, which the simulation does not do"
        )
    money = {_BASE: base, _MARGIN: margin, _DEPOSIT: account_currency, _PROFIT: profit}.get(mode)
    if not money:
        raise UserError(f"its swap mode {mode} is unknown")
    if money == profit:
        factor = 10.0**digits / size
        note = f"swap of {long:g} and {short:g} {money} per lot was converted to points"
        return Swap("points", _rounded(long * factor), _rounded(short * factor), note)
    if money == base:
        factor = 100.0 * _YEAR / size
        note = f"swap of {long:g} and {short:g} {money} per lot was converted to interest on the value of a lot"
        return Swap("interest", _rounded(long * factor), _rounded(short * factor), note)
    if money == account_currency:
        return Swap("money", long, short)
    raise UserError(f"its swap is money in {money}, which is neither its profit's, its base nor the account's currency")


def triple_day_of(record: SymbolRecord) -> tuple[str, str]:
    """The weekday whose night counts three times, and a note where MetaTrader says another."""
    number = int(record.number("swap_rollover3days", 3.0))
    if not 0 <= number < len(_DAYS):
        raise UserError(f"{record.where}: swap_rollover3days must be from 0 (Sunday) to 6 (Saturday); found {number}")
    day = _DAYS[number]
    if day in ("Sat", "Sun"):
        return EVERY_NIGHT, f"its triple day {day} is taken as none: every night counts once, seven a week all the same"
    return day, ""


def _rounded(value: float) -> float:
    """Ten significant digits, without the noise of a conversion."""
    return float(f"{value:.10g}")
