"""Numbers as text, the same in every table."""

from __future__ import annotations

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
