"""Turns the prices of sorted bars into a sentence about the first step or spike that needs an explanation.

- step: an open or a close at about twice or half the previous close, or further; a long pause allows more;
- spike: a high or low at twice or half the open and close of its bar and of those beside it, or further.

Both may be true (a split, the collapse of a coin), so a user can allow them; a spike up to a factor of ten.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from mtquant_jax.market.bars.bar_file import PRICES, format_time

_STEP = 1.9  # smallest factor between consecutive prices that needs an explanation: a split in two on a lively day
_SPIKE = 2.0  # the same of a high or low
_IMPOSSIBLE = 10.0  # smallest factor of a high or low that nothing explains
_PAUSE = 7 * 86_400  # seconds between bars above which a step may be larger, with the square root of the time
Locate = Callable[[int], int]
"""Position of a bar -> its row number in the file."""


def find_step(times: np.ndarray, columns: dict[str, np.ndarray], locate: Locate) -> tuple[str, int]:
    """Describe the first step or spike of sorted bars [R] and count all of them; ("", 0) if there is none."""
    if not len(times) or columns["high"].max() < _STEP * columns["low"].min():
        return "", 0
    allowed = _allowed(times)
    steps, spikes = _steps(columns, _STEP * allowed), _spikes(columns, _SPIKE * allowed)
    count = int(np.count_nonzero(steps | spikes))
    if not count:
        return "", 0
    first = int(np.argmax(steps | spikes))
    if steps[first]:
        return _describe_step(times, columns, np.flatnonzero(steps), locate), count
    return _describe_spike(times, columns, first, locate), count


def find_impossible(times: np.ndarray, columns: dict[str, np.ndarray], locate: Locate) -> str:
    """Describe the first high or low at ten times (or a tenth of) the prices around it; empty if there is none."""
    if not len(times) or columns["high"].max() < _IMPOSSIBLE * columns["low"].min():
        return ""
    spikes = _spikes(columns, np.full(len(times), _IMPOSSIBLE))
    return _describe_spike(times, columns, int(np.argmax(spikes)), locate) if spikes.any() else ""


_FEWEST_PAIRS = 100
_NEARER = 4.0  # how much nearer the wrong neighbour must be


def find_swapped_ends(times: np.ndarray, columns: dict[str, np.ndarray]) -> str:
    """Say that open and close are swapped: the open of each bar is the close of the next one, known before it is.

    Of bars that follow each other, the open of a sound one is near the close of the one before.

    Args:
        times: ``[R]`` in order, seconds.
        columns: prices ``[R]``.

    Returns:
        A problem, or empty text.
    """
    if len(times) <= _FEWEST_PAIRS:
        return ""
    steps = np.diff(times)
    following = steps == np.median(steps)
    opens, closes = np.log(columns["open"]), np.log(columns["close"])
    if np.count_nonzero(following) < _FEWEST_PAIRS:
        return ""
    before = float(np.mean(np.abs(opens[1:] - closes[:-1])[following]))
    after = float(np.mean(np.abs(opens[:-1] - closes[1:])[following]))
    if _NEARER * after >= before:
        return ""
    return (
        f"open and close are swapped: the open of a bar is the close of the bar after it (to {after:.2g}), and not of "
        f"the bar before it ({before:.2g}); name the two columns the other way round"
    )


def _allowed(times: np.ndarray) -> np.ndarray:
    """The factor [R] by which each bar may differ more from the bar before, for the time between them."""
    pauses = np.diff(times, prepend=times[0])
    return np.asarray(np.sqrt(np.maximum(pauses / _PAUSE, 1.0)))


def _steps(columns: dict[str, np.ndarray], allowed: np.ndarray) -> np.ndarray:
    """The bars [R] whose open or close is a step from the previous close; the first compares its close and open."""
    before = np.concatenate([columns["open"][:1], columns["close"][:-1]])
    found = np.zeros(len(before), bool)
    for name in ("open", "close"):
        found |= (columns[name] >= allowed * before) | (columns[name] * allowed <= before)
    return found


def _spikes(columns: dict[str, np.ndarray], allowed: np.ndarray) -> np.ndarray:
    """The bars [R] whose high or low is that far from its own open and close and from those of the bars beside it."""
    top, bottom = np.maximum(columns["open"], columns["close"]), np.minimum(columns["open"], columns["close"])
    above, below = columns["high"] >= allowed * top, columns["low"] * allowed <= bottom
    if not above.any() and not below.any():
        return above
    # The highs and lows beside it explain nothing: they may be wrong for the same reason.
    tops, bottoms = np.pad(top, 1, mode="edge"), np.pad(bottom, 1, mode="edge")
    above &= columns["high"] >= allowed * np.maximum(tops[:-2], tops[2:])
    below &= columns["low"] * allowed <= np.minimum(bottoms[:-2], bottoms[2:])
    return above | below


def _describe_step(times: np.ndarray, columns: dict[str, np.ndarray], steps: np.ndarray, locate: Locate) -> str:
    """Describe the first of some steps (positions): where it leads from and to, and whether a later one leads back."""
    first, close = int(steps[0]), columns["close"]
    before = float(close[first - 1] if first else columns["open"][first])
    name = max(("open", "close"), key=lambda name: abs(math.log(columns[name][first] / before)))
    price = float(columns[name][first])
    factor = max(price / before, before / price)
    where = f"row {locate(first)} ({format_time(times[first])}): {name} {price:.10g} is "
    where += f"{factor:.4g} times " if price > before else f"1/{factor:.4g} of "
    where += f"the close {before:.10g} of row {locate(first - 1)}" if first else f"its open {before:.10g}"
    back = steps[np.abs(np.log(close[steps] / before)) < 0.5 * math.log(factor)]
    if not len(back):
        return f"{where}, and prices stay there, as after a split or where rows of another unit begin"
    row = "its close" if back[0] == first else f"row {locate(int(back[0]))}"
    return f"{where}, and {row} is back at {close[back[0]]:.10g}, as after a slip of the decimal point"


def _describe_spike(times: np.ndarray, columns: dict[str, np.ndarray], first: int, locate: Locate) -> str:
    o, h, low, c = (float(columns[price][first]) for price in PRICES)
    name, price = ("high", h) if h / max(o, c) > min(o, c) / low else ("low", low)
    near = f"open {o:.10g}, its close {c:.10g} and those of the rows beside it"
    return f"row {locate(first)} ({format_time(times[first])}): {name} {price:.10g} is far from its {near}"
