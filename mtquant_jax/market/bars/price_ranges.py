"""Turns a file's prices into those of its instrument, or into the reason why they are not, with the likely factor.

An instrument's range is its contract's `price_range`, or lies around its price in the calibration. Prices of the years
around the calibration must also be near that price: an index at a tenth of its price would otherwise pass for the index
of twenty years ago.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import PRICES, BarFile, format_time
from mtquant_jax.market.instruments import Instrument, load_instruments
from mtquant_jax.market.synthetic.calibration_files import load_calibration

_NEAR_YEARS = np.array(["2021-01-01", "2031-01-01"], "datetime64[s]").astype(np.int64)
"""The calibration's bars end with 2025; within five years of that, prices are compared with its own."""
_NEAR = 4.0  # largest factor between the two, other than by a wrong unit
_CALIBRATED = 30.0  # largest factor at any time, for an instrument whose contract has no range
_SAMPLE = 200_000  # closes that a median is taken of
_POWERS = [power for power in range(-8, 9) if power]


@dataclasses.dataclass(frozen=True)
class _Expected:
    """The opens and closes that a file of an instrument may have."""

    low: float
    high: float
    near: float | None  # the price of the calibration, where the file is to be compared with it

    def fits(self, lowest: float, highest: float, recent: float | None) -> bool:
        if not (self.low <= lowest and highest <= self.high):
            return False
        return self.near is None or recent is None or self.near / _NEAR <= recent <= self.near * _NEAR


def in_prices(instrument: Instrument, file: BarFile) -> tuple[BarFile, list[str]]:
    """Convert integer points into prices, with a notice that says so; other files are returned unchanged.

    Whole prices of an instrument with two or more digits are points where only that reading is plausible. Read as
    prices, points make every spread far too small.

    Raises UserError for prices that the instrument cannot have.
    """
    expected = _expected(instrument)
    fits = expected is None or _fits(expected, file)
    digits, price = instrument.digits, float(file.close[-1])
    if digits < 2 or file.decimals > 0:
        if expected is not None and not fits:
            raise _not_of(instrument, expected, file)
        return file, _ambiguous(instrument, file) if expected is None else []
    scaled = price / 10**digits
    what = f"{file.name}: prices such as {price:.10g} have no decimals although {instrument.symbol} is quoted with "
    what += str(digits)
    if expected is None and digits < 3:
        raise UserError(f"{what}; if they are points, divide them by {10**digits}; if not, set its digits to 0")
    if expected is not None and fits:
        return file, [f"{what}; they are taken as whole prices, because as points they would be {scaled:.10g}."]
    if expected is not None and not _fits(expected, file, 1 / 10**digits):
        raise _not_of(instrument, expected, file)
    prices = {name: getattr(file, name) / 10**digits for name in PRICES}
    spread = None if file.spread is None else file.spread / 10**digits
    notice = f"{what}; they are points and were divided by {10**digits}, which gives prices such as {scaled:.10g}."
    return dataclasses.replace(file, **prices, spread=spread, decimals=digits), [notice]


def _ambiguous(instrument: Instrument, file: BarFile) -> list[str]:
    """A notice where three decimals may be thousands, and nothing is known about the instrument's prices."""
    if file.decimals != 3 or instrument.digits == 3:
        return []
    return [
        f"{file.name}: prices such as {file.close[-1]:.3f} have three decimals although {instrument.symbol} is quoted "
        f"with {instrument.digits}; if they are thousands, write them without the separator."
    ]


def _expected(instrument: Instrument) -> _Expected | None:
    """What closes of an instrument may be; None for one without a range and outside the calibration."""
    symbol, stated = instrument.symbol, instrument.price_range
    known = _calibrated_prices().get(symbol)
    if stated is None:
        return None if known is None else _Expected(known / _CALIBRATED, known * _CALIBRATED, known)
    own = _shipped_ranges().get(symbol) != stated  # a user's own range is the last word
    return _Expected(*stated, None if own else known)


@functools.cache
def _calibrated_prices() -> dict[str, float]:
    return {symbol: numbers["start_price"] for symbol, numbers in load_calibration()["instruments"].items()}


@functools.cache
def _shipped_ranges() -> dict[str, tuple[float, float] | None]:
    return {symbol: instrument.price_range for symbol, instrument in load_instruments().items()}


def _fits(expected: _Expected, file: BarFile, factor: float = 1.0) -> bool:
    lowest, highest, recent = _summary(file)
    return expected.fits(factor * lowest, factor * highest, None if recent is None else factor * recent)


def _summary(file: BarFile) -> tuple[float, float, float | None]:
    """The lowest and highest open or close, and the median close of the years around the calibration (None: none)."""
    near = file.close[slice(*np.searchsorted(file.timestamps, _NEAR_YEARS))]
    near = near[:: max(1, len(near) // _SAMPLE)]
    lowest, highest = min(file.open.min(), file.close.min()), max(file.open.max(), file.close.max())
    return float(lowest), float(highest), float(np.median(near)) if len(near) else None


def _not_of(instrument: Instrument, expected: _Expected, file: BarFile) -> UserError:
    """The error for prices that the instrument cannot have."""
    prices = np.stack([file.open, file.close])
    outside = np.any((prices < expected.low) | (prices > expected.high), axis=0)
    limits = f"from {expected.low:.6g} to {expected.high:.6g}"
    first = int(np.argmax(outside))
    if not outside.any():
        limits = f"near {expected.near:.6g}, its price at the end of 2025"
        first = int(np.searchsorted(file.timestamps, _NEAR_YEARS[0]))
    which = f"prices of {np.count_nonzero(outside)} bars" if 0 < np.mean(outside) < 0.5 else "prices"
    known = expected.low <= file.close[first] <= expected.high and outside.any()
    example = f"{(file.open if known else file.close)[first]:.10g} ({format_time(file.timestamps[first])})"
    return UserError(
        f"{file.name}: {which} such as {example} are no prices of {instrument.symbol}, expected {limits}"
        f"{_remedy(expected, file)}; correct the file, or its name if it holds another instrument, or set the "
        f"price_range of {instrument.symbol} in your file of `instruments`"
    )


def _remedy(expected: _Expected, file: BarFile) -> str:
    """What would make the prices plausible: a power of ten, or the inverse; empty if neither does."""
    lowest, highest, recent = _summary(file)
    found = ["inverted (1 / price)"] if expected.fits(1 / highest, 1 / lowest, recent and 1 / recent) else []
    target, typical = (math.log(expected.low) + math.log(expected.high)) / 2, (math.log(lowest) + math.log(highest)) / 2
    if expected.near is not None and recent is not None:
        target, typical = math.log(expected.near), math.log(recent)
    powers = [power for power in _POWERS if _fits(expected, file, 10.0**power)]
    if powers:
        power = min(powers, key=lambda power: abs(typical + power * math.log(10.0) - target))
        found.append(f"{'multiplied' if power > 0 else 'divided'} by {10 ** abs(power)}")
        if power == 3:
            found[-1] += " (a thousands separator taken for a decimal mark?)"
    return f"; {' or '.join(found)} they would be" if found else ""
