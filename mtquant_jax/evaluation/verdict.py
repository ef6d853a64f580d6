"""What a Sharpe ratio, its interval and those of paired differences mean, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mtquant_jax.statistics.intervals import Interval

FEWEST_DAYS_TO_JUDGE = 20
"""Under which there is no verdict: of five days without any edge, one interval in five excludes 0, of 20 one in seven
(measured on 600 records of independent normal days each), and not one in twenty.
"""

FEW_DAYS = 60
"""Trading days under which percentile intervals are too narrow to be taken at their word."""


def period(first: str, last: str, days: int) -> str:
    """``2025-09 to 2025-12``; of a short record the days. The times begin with YYYY-MM-DD."""
    precision = len("2025-09") if days >= FEW_DAYS else len("2025-09-01")
    return f"{first[:precision]} to {last[:precision]}"


def judgement(sharpe: Interval, days: int, ahead_of: Mapping[str, Interval]) -> str:
    """Whether a portfolio is better than flat and than the books that it is compared with.

    Args:
        sharpe: its Sharpe ratio, which it has.
        days: of its record.
        ahead_of: book -> paired difference of Sharpe ratios.
    """
    text = f"Sharpe {sharpe.value:.2f} [{sharpe.low:.1f}, {sharpe.high:.1f}]"
    if days < FEWEST_DAYS_TO_JUDGE:
        return f"{text}; {days} trading days are too few to tell anything, {FEWEST_DAYS_TO_JUDGE} are needed"
    meaning = "not distinguishable from flat"
    if sharpe.is_above_zero or sharpe.is_below_zero:
        meaning = f"{'better' if sharpe.is_above_zero else 'worse'} than flat"
    others = {name: difference for name, difference in ahead_of.items() if name != "flat"}
    better = [name for name, difference in others.items() if difference.is_above_zero]
    worse = [name for name, difference in others.items() if difference.is_below_zero]
    clauses = [f"{word} {_listed(names)}" for word, names in (("ahead of", better), ("behind", worse)) if names]
    return f"{text}; {meaning}; {', '.join(clauses) or 'not distinguishable from any baseline'}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
