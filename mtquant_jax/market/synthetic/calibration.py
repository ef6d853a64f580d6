"""Turns historical Bars into the calibration of the synthetic market.

All estimates are moments, in NumPy: hour-of-day volatility, regimes, stochastic volatility from the autocovariance of
log |return|, tails and jumps from quantiles and kurtosis, and correlations of standardised returns.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.synthetic.calibration_fits import (
    covariance,
    draw_regimes,
    extreme_correlation,
    find_regimes,
    stochastic_volatility,
    tails,
)
from mtquant_jax.types import Bars

_HOUR = 3600
_SMALLEST_SIZE = 0.01  # floor of |return| in volatilities; below it, the logarithm reflects ticks and not volatility
_MIN_COMMON = 500  # fewest common bars for a correlation
_EXTREME = 0.995  # quantile of |return| beyond which joint extremes of two instruments are counted


def calibrate(bars: Bars) -> dict[str, Any]:
    """Calibrate the synthetic market to hourly history (P = 1); returns plain numbers by symbol.

    Per instrument: hourly_volatility (standard deviation of log returns between bars one hour apart), start_price (last
    close), tail_dof (degrees of freedom of Student-t), jump_rate (per bar) and jump_size (standard deviation in
    volatilities), persistence per bar and stationary standard deviation of the fast and the slow component of log
    volatility, turbulence (log volatility of the turbulent regime minus that of the calm one), open_gap, break_gap and
    weekend_gap (standard deviation of log open / previous close, in hourly volatilities: next hour, after the daily
    break, after a weekend), median_volume (ticks) and hour_profile [24] (volatility by UTC hour, mean square 1). For
    all instruments: turbulent_entry and turbulent_exit (probability per bar), and matrices [N, N]: correlations in the
    calm regime, turbulent_correlations, extreme_correlations (of normals that are jointly extreme as often as the
    returns are) and volatility_correlations (of log volatilities).

    Raises UserError for bars that are not hourly or too few.
    """
    times = np.asarray(bars.timestamps)
    if len(times) < 1000 or np.median(np.diff(times)) != _HOUR:
        raise UserError(f"A calibration needs at least 1000 hourly bars; found {len(times)}")
    measured = [_measure(bars, index) for index in range(len(bars.symbols))]
    instruments = {symbol: numbers for symbol, (numbers, _) in zip(bars.symbols, measured, strict=True)}
    scaled = np.stack([returns for _, returns in measured])
    log_sizes = np.log(np.maximum(np.abs(scaled), _SMALLEST_SIZE))
    regimes = find_regimes(log_sizes, times // 86_400)

    drawn = draw_regimes(regimes.entry, regimes.exit)
    for index, numbers in enumerate(instruments.values()):
        size = log_sizes[index]
        means = [
            np.nanmean(size[regimes.turbulent == state]) if np.any(regimes.turbulent == state) else 0.0
            for state in (False, True)
        ]
        turbulence = means[1] - means[0] if regimes.turbulent.any() else 0.0
        numbers["turbulence"] = float(turbulence)
        log_sizes[index] = size - turbulence * regimes.turbulent
        numbers |= stochastic_volatility(log_sizes[index])
        numbers |= tails(scaled[index], numbers, drawn)
    scores = np.stack([_standardised(row) for row in scaled])
    calm = _correlations(scores[:, ~regimes.turbulent], np.eye(len(scores)))
    return {
        "turbulent_entry": regimes.entry,
        "turbulent_exit": regimes.exit,
        "instruments": instruments,
        "correlations": calm.tolist(),
        "turbulent_correlations": _correlations(scores[:, regimes.turbulent], calm).tolist(),
        "extreme_correlations": _extreme_correlations(scores).tolist(),
        "volatility_correlations": _volatility_correlations(log_sizes, list(instruments.values())).tolist(),
    }


def _measure(bars: Bars, index: int) -> tuple[dict[str, Any], np.ndarray]:
    """Measure volatility, hour profile, gaps and levels of an instrument, and its hour-adjusted returns [T]."""
    rows = np.flatnonzero(np.asarray(bars.tradable)[0, :, index])
    times = np.asarray(bars.timestamps)[rows]
    close = np.asarray(bars.close, np.float64)[0, rows, index]
    open_ = np.asarray(bars.open, np.float64)[0, rows, index]
    step = np.diff(times)
    regular, pause, weekend = step == _HOUR, step == 2 * _HOUR, (step > 40 * _HOUR) & (step < 80 * _HOUR)
    returns, bodies, gaps = np.diff(np.log(close)), np.log(close / open_)[1:], np.log(open_[1:] / close[:-1])
    hour = (times[1:] // _HOUR) % 24
    volatility = float(np.std(returns[regular]))
    profile = np.array([_deviation(bodies[hour == h], volatility) for h in range(24)])
    profile /= np.sqrt(np.mean(np.square(profile[hour[regular]])))
    numbers: dict[str, Any] = {
        "hourly_volatility": volatility,
        "start_price": float(close[-1]),
        "open_gap": min(_deviation(gaps[regular], 0.0) / volatility, 0.9),
        "break_gap": _deviation(gaps[pause], 0.0) / volatility,
        "weekend_gap": _deviation(gaps[weekend], volatility) / volatility,
        "median_volume": float(np.median(np.asarray(bars.volume)[0, rows, index])),
        "hour_profile": profile.tolist(),
    }
    scaled = np.full(len(bars.timestamps), np.nan)
    scaled[rows[1:]] = np.where(regular, returns / (volatility * profile[hour]), np.nan)
    return numbers, scaled


def _deviation(values: np.ndarray, otherwise: float) -> float:
    """Root mean square of values clipped at 8 times their own, robust to single events; `otherwise` under 20 values."""
    if len(values) < 20:
        return otherwise
    limit = 8.0 * np.sqrt(np.mean(np.square(values)))
    return float(np.sqrt(np.mean(np.square(np.clip(values, -limit, limit)))))


def _standardised(scaled: np.ndarray, span: int = 48) -> np.ndarray:
    """Returns over their EWMA standard deviation up to the bar before, clipped at five; NaN stays NaN."""
    rate, variance = 2.0 / (span + 1.0), 1.0
    result = np.full_like(scaled, np.nan)
    for t in np.flatnonzero(np.isfinite(scaled)):
        result[t] = scaled[t] / np.sqrt(variance)
        variance += rate * (scaled[t] ** 2 - variance)
    clipped: np.ndarray = np.clip(result, -5.0, 5.0)
    return clipped


def _correlations(scores: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Pairwise correlations [N, N] of scores [N, T] over common bars; `otherwise` for pairs with too few of them."""
    result = otherwise.copy()
    for i, j in itertools.combinations(range(len(scores)), 2):
        both = np.isfinite(scores[i]) & np.isfinite(scores[j])
        if both.sum() >= _MIN_COMMON:
            result[i, j] = result[j, i] = np.corrcoef(scores[i, both], scores[j, both])[0, 1]
    return result


def _extreme_correlations(scores: np.ndarray) -> np.ndarray:
    """Correlations [N, N] of normals that are jointly extreme as often as the returns of two instruments are."""
    result = np.eye(len(scores))
    for i, j in itertools.combinations(range(len(scores)), 2):
        both = np.isfinite(scores[i]) & np.isfinite(scores[j])
        if both.sum() >= _MIN_COMMON:
            left, right = (np.abs(scores[k, both]) for k in (i, j))
            together = (left > np.quantile(left, _EXTREME)) & (right > np.quantile(right, _EXTREME))
            result[i, j] = result[j, i] = extreme_correlation(float(np.mean(together)) / (1.0 - _EXTREME), _EXTREME)
    return result


def _volatility_correlations(log_sizes: np.ndarray, numbers: Sequence[dict[str, Any]]) -> np.ndarray:
    """Correlations [N, N] of log volatilities, from cross-covariances at lags 1 to 24, where the noise has none."""
    lags = np.arange(1, 25)
    found = np.eye(len(numbers))
    for (i, left), (j, right) in itertools.permutations(enumerate(numbers), 2):
        wanted = sum(
            left[f"{part}_volatility"] * right[f"{part}_volatility"] * np.mean(right[f"{part}_persistence"] ** lags)
            for part in ("fast", "slow")
        )
        found[i, j] = np.mean([covariance(log_sizes[i, :-lag], log_sizes[j, lag:]) for lag in lags]) / wanted
    return np.clip(0.5 * (found + found.T), -0.95, 0.95) * (1.0 - np.eye(len(found))) + np.eye(len(found))
