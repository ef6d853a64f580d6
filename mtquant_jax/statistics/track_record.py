"""What a daily track record looks like to somebody who risks money on it; on the host in float64.

Rates of return are simple. A record of several paths has its days pooled, as in `statistics`; what belongs to one curve
(drawdown, growth) is the mean over paths.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mtquant_jax.statistics.returns import maximum_drawdown, sharpe_ratio, sharpe_standard_error
from mtquant_jax.statistics.significance import SharpeSample, minimum_track_record, probabilistic_sharpe_ratio

_FEWEST_DAYS = 3  # from which there is anything to tell
_CONFIDENCE = 0.95


def track_record(returns: np.ndarray, days_per_year: float) -> dict[str, Any]:
    """The figures of daily returns.

    Args:
        returns: ``[D, P]`` simple returns per trading day on P paths.
        days_per_year: trading days, counted.

    Returns:
        ``sharpe``, ``sharpe_standard_error``, ``sortino`` (Sortino and van der Meer 1991, target 0), ``calmar``
        (compound growth a year / maximum drawdown), all annual; ``total_return``, ``annual_return`` (compound) and
        ``volatility`` (annual) as shares; ``max_drawdown`` (share of the peak), ``drawdown_days`` (longest time under
        water, trading days), ``winning_days`` (share of the days that moved), ``profit_factor`` (sum of gains / sum of
        losses, of days), ``best_day``, ``worst_day``, ``skewness``, ``kurtosis`` (3 for normal returns),
        ``probabilistic_sharpe`` (that the true one is above 0), ``minimum_track_record_days`` (at 95 %) and ``days``.
        None where a figure does not exist, such as the Sharpe ratio of a flat account.
    """
    returns = np.asarray(returns, np.float64)
    days = len(returns)
    equity = np.cumprod(np.concatenate([np.ones((1, returns.shape[1])), 1.0 + returns]), axis=0)
    drawdown = float(np.mean(maximum_drawdown(equity)))
    total = float(np.mean(equity[-1]) - 1.0)
    annual = _compound(total, days / days_per_year)
    downside = float(np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2))) if days else 0.0
    gains, losses = float(returns[returns > 0.0].sum()), float(-returns[returns < 0.0].sum())
    moved = int((returns != 0.0).sum())
    sharpe = sharpe_ratio(returns, days_per_year)
    return {
        "sharpe": sharpe,
        "sharpe_standard_error": sharpe_standard_error(returns, days_per_year),
        "sortino": None
        if sharpe is None or downside == 0.0
        else float(returns.mean() / downside * math.sqrt(days_per_year)),
        "calmar": annual / drawdown if annual is not None and drawdown > 0.0 else None,
        "total_return": total,
        "annual_return": annual,
        "volatility": float(np.std(returns, ddof=1) * math.sqrt(days_per_year)) if returns.size > 1 else None,
        "max_drawdown": drawdown,
        "drawdown_days": float(np.mean(_days_under_water(equity))),
        "winning_days": float((returns > 0.0).sum() / moved) if moved else None,
        "profit_factor": gains / losses if losses > 0.0 else None,
        "best_day": float(returns.max()) if returns.size else None,
        "worst_day": float(returns.min()) if returns.size else None,
        **_believable(returns, sharpe),
        "days": days,
    }


def _compound(total: float, years: float) -> float | None:
    """Growth a year; None for less than a month, which would be blown up, and for a debt."""
    if years < 1.0 / 12.0 or total <= -1.0:
        return None
    return float((1.0 + total) ** (1.0 / years) - 1.0)


def _days_under_water(equity: np.ndarray) -> np.ndarray:
    """Longest run of days ``[P]`` below an earlier peak; equity is ``[D + 1, P]``."""
    at_peak = equity >= np.maximum.accumulate(equity, axis=0)
    days = np.arange(len(equity))[:, None]
    return np.asarray((days - np.maximum.accumulate(np.where(at_peak, days, 0), axis=0)).max(axis=0))


def _believable(returns: np.ndarray, sharpe: float | None) -> dict[str, Any]:
    """Shape of the distribution, and how far its Sharpe ratio can be believed."""
    nothing = dict.fromkeys(("skewness", "kurtosis", "probabilistic_sharpe", "minimum_track_record_days"))
    if sharpe is None or len(returns) < _FEWEST_DAYS:
        return nothing
    # Paths are not independent days: the pooled moments, but no more periods than days.
    pooled = SharpeSample.of(returns.ravel())
    sample = SharpeSample(pooled.sharpe, len(returns), pooled.skewness, pooled.kurtosis)
    needed = minimum_track_record(sample, confidence=_CONFIDENCE)
    return {
        "skewness": sample.skewness,
        "kurtosis": sample.kurtosis,
        "probabilistic_sharpe": probabilistic_sharpe_ratio(sample),
        "minimum_track_record_days": None if math.isinf(needed) else needed,
    }
