"""Daily returns -> the track record that somebody who risks money looks at; on the host in float64.

Rates of return are simple. A record of several paths has its days pooled, as in `statistics.returns`; what belongs to
one curve (drawdown, growth) is the mean over paths.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from mtquant_jax.statistics.returns import maximum_drawdown, sharpe_ratio, sharpe_standard_error
from mtquant_jax.statistics.significance import SharpeSample, minimum_track_record, probabilistic_sharpe_ratio

_FEWEST_DAYS = 3  # under which moments say nothing
_CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class TrackRecord:
    """A record of daily returns; None where a statistic does not exist, such as the Sharpe ratio of a flat account."""

    sharpe: float | None  # annual
    sharpe_standard_error: float | None  # annual
    sortino: float | None  # annual, target 0 (Sortino and van der Meer 1991)
    calmar: float | None  # compound growth a year / maximum drawdown
    total_return: float
    annual_return: float | None  # compound growth a year; None for less than a month
    volatility: float | None  # annual
    max_drawdown: float  # share of the peak
    drawdown_days: float  # longest time under water, trading days
    winning_days: float | None  # share of the days that moved
    profit_factor: float | None  # sum of gains / sum of losses, of days
    best_day: float | None  # return
    worst_day: float | None  # return
    skewness: float | None
    kurtosis: float | None  # 3 for normal returns
    probabilistic_sharpe: float | None  # probability that the true Sharpe ratio is above 0
    minimum_track_record_days: float | None  # after which this Sharpe ratio is above 0 at 95 %; None if never
    days: int  # per path


def track_record(returns: np.ndarray, days_per_year: float) -> TrackRecord:
    """The record of daily returns.

    Args:
        returns: ``[D, P]`` simple returns per trading day on P paths.
        days_per_year: trading days, counted.
    """
    returns = np.asarray(returns, np.float64)
    days = len(returns)
    equity = np.cumprod(np.concatenate([np.ones((1, returns.shape[1])), 1.0 + returns]), axis=0)
    drawdown = float(np.mean(maximum_drawdown(equity)))
    total = float(np.mean(equity[-1]) - 1.0)
    annual = _compound(total, days / days_per_year)
    gains, losses = float(returns[returns > 0.0].sum()), float(-returns[returns < 0.0].sum())
    moved = int((returns != 0.0).sum())
    sharpe = sharpe_ratio(returns, days_per_year)
    sample = None if sharpe is None or days < _FEWEST_DAYS else _sample(returns)
    return TrackRecord(
        sharpe=sharpe,
        sharpe_standard_error=sharpe_standard_error(returns, days_per_year),
        sortino=None if sharpe is None else _sortino(returns, days_per_year),
        calmar=annual / drawdown if annual is not None and drawdown > 0.0 else None,
        total_return=total,
        annual_return=annual,
        volatility=float(np.std(returns, ddof=1) * math.sqrt(days_per_year)) if returns.size > 1 else None,
        max_drawdown=drawdown,
        drawdown_days=float(np.mean(_days_under_water(equity))),
        winning_days=float((returns > 0.0).sum() / moved) if moved else None,
        profit_factor=gains / losses if losses > 0.0 else None,
        best_day=float(returns.max()) if returns.size else None,
        worst_day=float(returns.min()) if returns.size else None,
        skewness=None if sample is None else sample.skewness,
        kurtosis=None if sample is None else sample.kurtosis,
        probabilistic_sharpe=None if sample is None else probabilistic_sharpe_ratio(sample),
        minimum_track_record_days=None if sample is None else _days_needed(sample),
        days=days,
    )


def _sortino(returns: np.ndarray, days_per_year: float) -> float | None:
    downside = float(np.sqrt(np.mean(np.minimum(returns, 0.0) ** 2)))
    return None if downside == 0.0 else float(returns.mean() / downside * math.sqrt(days_per_year))


def _compound(total: float, years: float) -> float | None:
    """Growth a year; None for less than a month, from which a year cannot be estimated, and for a debt."""
    if years < 1.0 / 12.0 or total <= -1.0:
        return None
    return float((1.0 + total) ** (1.0 / years) - 1.0)


def _days_under_water(equity: np.ndarray) -> np.ndarray:
    """Longest run of days ``[P]`` below an earlier peak; equity is ``[D + 1, P]``."""
    at_peak = equity >= np.maximum.accumulate(equity, axis=0)
    days = np.arange(len(equity))[:, None]
    return np.asarray((days - np.maximum.accumulate(np.where(at_peak, days, 0), axis=0)).max(axis=0))


def _sample(returns: np.ndarray) -> SharpeSample:
    """Paths are not independent days: the pooled moments, but no more periods than days."""
    return dataclasses.replace(SharpeSample.of(returns.ravel()), periods=len(returns))


def _days_needed(sample: SharpeSample) -> float | None:
    needed = minimum_track_record(sample, confidence=_CONFIDENCE)
    return None if math.isinf(needed) else needed
