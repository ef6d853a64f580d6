"""Daily returns of an evaluation -> what its charts draw: equity with its band, rolling Sharpe ratios, correlations."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mtquant_jax.evaluation.book import flows_by_instrument
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.evaluation.metrics import MonthMetrics
from mtquant_jax.statistics.returns import rolling_sharpe_ratio
from mtquant_jax.statistics.trades import COSTS

ROLLING_DAYS = 63
"""Window of the rolling Sharpe ratio, where the record is long enough."""
BAND_DRAWS = 500
"""Redrawn equity curves behind the band."""

_NO_RISK = 1e-7  # daily standard deviation under which there is nothing to correlate, as in `statistics.returns`


def equity_curves(returns: np.ndarray) -> np.ndarray:
    """Equity ``[D + 1, P]`` of daily returns ``[D, P]``, shares of the starting capital."""
    return np.cumprod(np.concatenate([np.ones((1, returns.shape[1])), 1.0 + returns]), axis=0)


def drawdowns(equity: np.ndarray) -> np.ndarray:
    """How far each day is below the peak before it ``[D + 1]``, share of the peak; mean over paths."""
    peaks = np.maximum.accumulate(np.maximum(equity, 1e-9), axis=0)
    return np.asarray((1.0 - equity / peaks).mean(axis=1))


def equity_band(returns: np.ndarray, block: float, draws: int = BAND_DRAWS, seed: int = 0) -> np.ndarray:
    """Pointwise 95 % of equity curves ``[2, D + 1]`` of redrawn days: the stationary bootstrap (Politis, Romano 1994).

    Args:
        returns: ``[D, P]`` daily, redrawn for all paths together.
        block: mean length of a block, days.
        draws: curves.
        seed: of the draws.
    """
    generator, count = np.random.default_rng(seed), len(returns)
    place = np.arange(count)
    curves = np.ones((draws, count + 1))
    for curve in curves:
        begins = generator.random(count) < 1.0 / max(block, 1.0)
        begins[0] = True
        first = np.maximum.accumulate(np.where(begins, place, 0))
        drawn = (generator.integers(0, count, count)[first] + place - first) % count
        curve[1:] = np.cumprod(1.0 + returns[drawn], axis=0).mean(axis=1)
    return np.asarray(np.quantile(curves, [0.025, 0.975], axis=0))


def returns_by_month(months: Sequence[MonthMetrics]) -> tuple[list[str], np.ndarray]:
    """Years, and returns ``[years, 13]`` of their months and of the whole year; NaN where there is no month."""
    found = {month.month: month.record.total_return for month in months}
    years = sorted({month[:4] for month in found})
    grid = np.full((len(years), 13), np.nan)
    for row, year in enumerate(years):
        grid[row, :12] = [found.get(f"{year}-{month:02d}", np.nan) for month in range(1, 13)]
        grid[row, 12] = np.prod(1.0 + grid[row, :12][np.isfinite(grid[row, :12])]) - 1.0
    return years, grid


def rolling_window(evaluation: Evaluation) -> int:
    """Days of the rolling Sharpe ratio: a third of a record that is too short for `ROLLING_DAYS`."""
    days = len(evaluation.days)
    return ROLLING_DAYS if days >= 2 * ROLLING_DAYS else max(5, days // 3)


@dataclasses.dataclass(frozen=True)
class RollingSharpe:
    """Annual Sharpe ratio of the window before each day; NaN before the first window and without risk."""

    window: int  # days
    values: np.ndarray  # [D]
    standard_error: np.ndarray  # [D] of independent days (Lo 2002)


def rolling_sharpe(evaluation: Evaluation, name: str) -> RollingSharpe:
    """Of one book."""
    window, per_year = rolling_window(evaluation), evaluation.days_per_year
    values = rolling_sharpe_ratio(evaluation.returns[name], window, per_year)
    return RollingSharpe(window, values, np.sqrt((1.0 + 0.5 * values**2 / per_year) / window * per_year))


def correlations(returns: Mapping[str, np.ndarray]) -> tuple[list[str], np.ndarray]:
    """Names of the records ``[D, P]`` that move, and the correlations of their means over paths ``[names, names]``."""
    means = {key: np.asarray(values, np.float64).mean(axis=1) for key, values in returns.items()}
    moving = [key for key, values in means.items() if len(values) > 2 and values.std() > _NO_RISK]
    if not moving:
        return [], np.zeros((0, 0))
    return moving, np.atleast_2d(np.corrcoef(np.stack([means[key] for key in moving])))


def contributions(evaluation: Evaluation) -> dict[str, np.ndarray]:
    """What each instrument brought to the last portfolio on each day ``[D, P]``, shares of initial capital."""
    flows = flows_by_instrument(evaluation.last, evaluation.judged)
    net = flows["price_profit"] + flows["swap"] - sum(flows[cost] for cost in COSTS)  # [L, P, n]
    by_day = np.add.reduceat(net, evaluation.judged.day_starts, axis=0)
    return {symbol: by_day[:, :, column] for column, symbol in enumerate(evaluation.metrics.instruments)}
