"""What a sweep looks for: one number of a performance on the validation split, never of the test split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, get_args

from mtquant_jax.backtest.performance import Performance, score

Objective = Literal["sharpe", "growth", "calmar", "growth_less_drawdown"]

_DAYS_A_YEAR = 252.0
_LEAST_DRAWDOWN = 1e-4  # share of the peak; a book that hardly trades has an arbitrarily large Calmar ratio
_PENALTY = 0.5  # log growth that a drawdown of the whole peak costs


def growth(found: Performance) -> float:
    """Logarithm of the final equity over the initial one, of the mean path."""
    return math.log1p(found.total_return) if found.total_return > -1.0 else -math.inf


def calmar(found: Performance) -> float:
    """Growth a year of 252 days over the maximum drawdown; 0 for a flat policy."""
    if found.sharpe is None:
        return 0.0
    return growth(found) * _DAYS_A_YEAR / max(found.days, 1) / max(found.max_drawdown, _LEAST_DRAWDOWN)


def growth_less_drawdown(found: Performance) -> float:
    """Growth less half the maximum drawdown."""
    return growth(found) - _PENALTY * found.max_drawdown


OBJECTIVES: Mapping[Objective, Callable[[Performance], float]] = {
    "sharpe": score,
    "growth": growth,
    "calmar": calmar,
    "growth_less_drawdown": growth_less_drawdown,
}
assert set(OBJECTIVES) == set(get_args(Objective))
