"""Turns the spreads of a bar file into those that are traded at, and names where the file has none."""

from __future__ import annotations

import numpy as np

from mtquant_jax.market.bars.bar_file import BarFile
from mtquant_jax.market.bars.stretches import Stretch
from mtquant_jax.market.instruments import Instrument
from mtquant_jax.settings.config import ZeroSpread

_FACTOR = 5.0  # from the default, beyond which the usual spread of a file is reported


def filled_spread(instrument: Instrument, file: BarFile, zero: ZeroSpread) -> np.ndarray:
    """Return the spread [R] in price units, with that of bars for which the file has zero replaced as `zero` says.

    A file without spreads gets the instrument's default. So does one with zeros only, unless they are kept. Single
    zeros in a file of `data convert` are kept: they were decided on when it was made.
    """
    spread = file.spread
    if spread is None or (zero != "keep" and not spread.any()):
        return np.full(len(file.timestamps), instrument.default_spread)
    if zero == "keep" or file.tradable is not None or spread.all():
        return spread
    return np.where(spread > 0, spread, _substitute(instrument, spread, zero))


def spread_notices(instrument: Instrument, file: BarFile, zeros: Stretch, zero: ZeroSpread) -> list[str]:
    """Notices about missing, zero and unusual spreads; ``zeros`` are the bars for which the file has zero."""
    default, spread = instrument.default_spread, file.spread
    if spread is not None and not spread.any() and zero == "keep":
        return [f"{file.name} has a spread of zero on every bar, which is kept: no bar costs a spread."]
    if spread is None or not spread.any():
        why = "has no spread column" if spread is None else "has a spread of zero on every bar"
        return [f"{file.name} {why}: the default of {default:.6g} is used for {instrument.symbol} on every bar."]
    notices = []
    if not spread.all():
        where = f"{file.name}: the spread is zero on {zeros.in_words()}"
        if zero == "keep" or file.tradable is not None:
            notices.append(f"{where}, which is kept: those bars cost no spread.")
        else:
            what = "the median of the others" if zero == "median" else f"the default of {instrument.symbol}"
            value = _substitute(instrument, spread, zero)
            notices.append(
                f"{where}; {what}, {value:.6g}, is used there (`zero_spread` median, default or keep decides)."
            )
    median = float(np.median(spread[spread > 0]))
    if not default / _FACTOR <= median <= default * _FACTOR:
        notices.append(
            f"{file.name}: the median spread of {median:.6g} (its points taken as {file.point:g}) is far from the "
            f"default of {default:.6g} for {instrument.symbol}; check the spread column and instruments.yaml."
        )
    return notices


def _substitute(instrument: Instrument, spread: np.ndarray, zero: ZeroSpread) -> float:
    return instrument.default_spread if zero == "default" else float(np.median(spread[spread > 0]))
