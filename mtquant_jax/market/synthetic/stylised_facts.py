"""Turns Bars into the statistics that distinguish markets from random walks, one number or row per instrument.

Historical and synthetic bars go through the same functions. Each path is reduced to its statistics before paths are
pooled, so that a market of many paths is compared as its typical history.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from mtquant_jax.types import Bars

LAGS = (1, 5, 24, 120, 480)
TAIL_QUANTILES = (0.9, 0.99, 0.999)
_HOUR = 3600
_CUT = 8.0  # clip of standardised returns where a single event would dominate a square


@dataclasses.dataclass(frozen=True)
class StylisedFacts:
    """Stylised facts of one history or one path.

    Unless noted otherwise, returns are those between bars one hour apart, over the volatility of their UTC hour.
    """

    symbols: tuple[str, ...]
    volatility: np.ndarray  # [N] standard deviation of log returns per hour, not standardised
    kurtosis: np.ndarray  # [N] fourth standardised moment; 3 for a normal
    mean_size: np.ndarray  # [N] mean over root mean square of |return|; 0.798 for a normal
    tail_quantiles: np.ndarray  # [N, 3] of |return| in standard deviations, at TAIL_QUANTILES
    size_autocorrelation: np.ndarray  # [N, 5] of |return| at LAGS
    square_autocorrelation: np.ndarray  # [N, 5] of squared return, clipped at 8 standard deviations, at LAGS
    return_autocorrelation: np.ndarray  # [N] of the return at lag 1
    hour_profile: np.ndarray  # [N, 24] standard deviation by UTC hour over that of all hours; NaN without bars
    open_gap: np.ndarray  # [N] standard deviation of log open / previous close, next hour, in hourly volatilities
    break_gap: np.ndarray  # [N] the same after the daily break; NaN without one
    weekend_gap: np.ndarray  # [N] the same after a weekend
    correlations: np.ndarray  # [N, N] of returns clipped at 8 standard deviations
    size_correlations: np.ndarray  # [N, N] of |return|


def stylised_facts(bars: Bars, path: int = 0) -> StylisedFacts:
    """Compute the facts of one path of hourly bars; bars that are not tradable are left out."""
    measured = [_measure(bars, path, index) for index in range(len(bars.symbols))]
    scores = np.stack([score for _, score in measured])
    columns = {key: np.array([numbers[key] for numbers, _ in measured]) for key in measured[0][0]}
    return StylisedFacts(
        symbols=bars.symbols,
        correlations=_correlations(np.clip(scores, -_CUT, _CUT)),
        size_correlations=_correlations(np.abs(scores)),
        **columns,
    )


def typical(facts: list[StylisedFacts], quantile: float = 0.5) -> StylisedFacts:
    """Pool the facts of paths: the median (or another quantile) of every number."""
    pooled = {
        field.name: np.quantile(np.stack([getattr(one, field.name) for one in facts]), quantile, axis=0)
        for field in dataclasses.fields(StylisedFacts)
        if field.name != "symbols"
    }
    return StylisedFacts(symbols=facts[0].symbols, **pooled)


def _measure(bars: Bars, path: int, index: int) -> tuple[dict[str, np.ndarray | float], np.ndarray]:
    """Measure one instrument; also returns its standardised returns on the clock [T], NaN where there is none."""
    rows = np.flatnonzero(np.asarray(bars.tradable)[path, :, index])
    times = np.asarray(bars.timestamps)[rows]
    open_, close = (np.asarray(x, np.float64)[path, rows, index] for x in (bars.open, bars.close))
    step, hour = np.diff(times), (times[1:] // _HOUR) % 24
    returns, gaps = np.diff(np.log(close)), np.log(open_[1:] / close[:-1])
    regular = step == _HOUR
    volatility = float(np.std(returns[regular]))
    profile = np.array([_deviation(returns[regular & (hour == h)]) for h in range(24)]) / volatility
    score = np.full(len(bars.timestamps), np.nan)
    score[rows[1:]] = np.where(regular, returns / (volatility * profile[hour]), np.nan)
    seen = score[np.isfinite(score)]
    seen = seen - seen.mean()
    deviation = seen.std()
    square = np.square(np.clip(score, -_CUT, _CUT))
    pauses = {
        "open_gap": regular,
        "break_gap": step == 2 * _HOUR,
        "weekend_gap": (step > 40 * _HOUR) & (step < 80 * _HOUR),
    }
    numbers: dict[str, np.ndarray | float] = {
        "volatility": volatility,
        "kurtosis": float(np.mean(seen**4) / deviation**4),
        "mean_size": float(np.mean(np.abs(seen)) / deviation),
        "tail_quantiles": np.quantile(np.abs(seen), TAIL_QUANTILES) / deviation,
        "size_autocorrelation": np.array([autocorrelation(np.abs(score), lag) for lag in LAGS]),
        "square_autocorrelation": np.array([autocorrelation(square, lag) for lag in LAGS]),
        "return_autocorrelation": autocorrelation(score, 1),
        "hour_profile": profile,
        **{name: _deviation(gaps[chosen]) / volatility for name, chosen in pauses.items()},
    }
    return numbers, score


def autocorrelation(series: np.ndarray, lag: int) -> float:
    """Correlation of a series with itself lag bars later, over finite pairs; NaN for fewer than 30 pairs."""
    return _correlation(series[:-lag], series[lag:])


def _correlation(left: np.ndarray, right: np.ndarray) -> float:
    both = np.isfinite(left) & np.isfinite(right)
    return float(np.corrcoef(left[both], right[both])[0, 1]) if both.sum() >= 30 else float("nan")


def _correlations(series: np.ndarray) -> np.ndarray:
    result = np.eye(len(series))
    for i, j in itertools.combinations(range(len(series)), 2):
        result[i, j] = result[j, i] = _correlation(series[i], series[j])
    return result


def _deviation(values: np.ndarray) -> float:
    """Root mean square of values; NaN for fewer than 20 values."""
    return float(np.sqrt(np.mean(np.square(values)))) if len(values) >= 20 else float("nan")
