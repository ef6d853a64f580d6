"""Turns the spread of a file into price units, or into the reason why no market has such a spread."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from mtquant_jax.market.bars.bar_file import format_time
from mtquant_jax.market.bars.table import Rows

_LARGEST_MEDIAN = 0.03  # share of the price
_LARGEST = 0.2  # of one bar, share of the price
_SAMPLE = 200_000  # bars that the median is taken of


def spread_in_price(
    rows: Rows, columns: Mapping[str, np.ndarray], decimals: int
) -> tuple[np.ndarray | None, list[str]]:
    """The spread [R] in price units, if the file has one, and notices; a column of points counts the last decimal."""
    if "spread_price" in columns:
        return columns["spread_price"], []
    if "spread" not in columns:
        return None, []
    spread = columns["spread"]
    # No quote has less than a point of spread, so numbers that small are in price units if that is plausible.
    if 0 < spread.max() < 1 and _typical_share(columns["close"], spread) <= _LARGEST_MEDIAN:
        notice = (
            f"{rows.name}: {_name(rows)} is taken in price units and not in points, for its values are all "
            f"below one ({spread.max():.6g} at most)."
        )
        return spread, [notice]
    return spread / 10.0**decimals, []


def find_swapped_sides(rows: Rows, columns: Mapping[str, np.ndarray]) -> str | None:
    """Say that bid and ask are exchanged, where most spreads are negative."""
    spread = columns.get("spread_price", columns.get("spread"))
    if spread is None or 2 * np.count_nonzero(spread < 0) <= len(spread):
        return None
    return f"{rows.name}: {_name(rows)} is mostly negative, which puts the ask below the bid; are the two exchanged?"


def find_bad_spread(
    rows: Rows, times: np.ndarray, close: np.ndarray, spread: np.ndarray, locate: Callable[[int], int]
) -> str | None:
    """Describe spreads [R] in price units that are too large a share of the price; ``locate`` gives row numbers."""
    share = _typical_share(close, spread)
    if share > _LARGEST_MEDIAN:
        return (
            f"{rows.name}: {_name(rows)} is {np.median(spread):.6g} at the median, {share:.1%} of the "
            "price, which no market has; correct or remove its columns (a column of points counts the last decimal of "
            "the prices)"
        )
    wide = spread > _LARGEST * close
    if not wide.any():
        return None
    first = int(np.argmax(wide))
    return (
        f"{rows.name} row {locate(first)} ({format_time(times[first])}): {_name(rows)} is "
        f"{spread[first]:.6g}, {spread[first] / close[first]:.0%} of the price {close[first]:.10g}; correct the row or "
        "remove it"
    )


def _typical_share(close: np.ndarray, spread: np.ndarray) -> float:
    """The median spread, of evenly spaced bars in a long file, as a share of the price."""
    stride = max(1, len(close) // _SAMPLE)
    return float(np.median(spread[::stride] / close[::stride]))


def _name(rows: Rows) -> str:
    """What the spread is, for messages."""
    if "spread_price" in rows.columns:
        return f"the spread {rows.names.get('spread_price', '')}".rstrip()
    return f"the column {rows.names.get('spread', 'spread')}"
