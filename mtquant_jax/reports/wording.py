"""Numbers as text, the same in every table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mtquant_jax.statistics.intervals import Interval


def interval_text(interval: Interval, signed: bool = False) -> str:
    """``value [low, high]``."""
    if interval.value is None:
        return "none (flat)"
    value = f"{interval.value:+.2f}" if signed else f"{interval.value:.2f}"
    return f"{value} [{interval.low:.2f}, {interval.high:.2f}]"


def number_text(value: float | None) -> str:
    """Two decimals; a flat account has no Sharpe ratio."""
    return "none (flat)" if value is None else f"{value:.2f}"


def shortened(text: str, width: int) -> str:
    """Text of at most ``width`` characters: its start and its end, by which long names differ."""
    end = (width - 1) // 2
    return text if len(text) <= width else f"{text[: width - 1 - end]}…{text[len(text) - end :]}"


def percent_text(share: float, digits: int = 2) -> str:
    """A share of one as percent."""
    return f"{100.0 * share:.{digits}f} %"


def plural(count: int, word: str) -> str:
    """``3 trials``, ``1 trial``."""
    return f"{count:,} {word}{'s' * (count != 1)}"


def duration(seconds: float) -> str:
    """``41 s``, ``3 min 20 s`` or ``2 h 5 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def short_names(names: Sequence[str]) -> list[str]:
    """Names without their groups, where no two are then the same."""
    last = [name.rpartition(".")[2] for name in names]
    return [short if last.count(short) == 1 else name for name, short in zip(names, last, strict=True)]


def decimals(values: Iterable[float | None]) -> int:
    """Decimals that show at least two digits of the largest value: two, or more where all are small."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    return 2 if largest == 0.0 else min(max(2, 1 - math.floor(math.log10(largest))), 6)
