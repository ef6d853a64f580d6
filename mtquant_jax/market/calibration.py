"""Turns historical Bars into the numbers that the synthetic market is drawn from, and reads them back from YAML.

Moments only, in NumPy: hour-of-day volatility, stochastic volatility from the autocovariance of log |return|, tails
from the ratio of mean absolute to root mean square return, and correlations of standardised returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.config_files import read_yaml, shipped
from mtquant_jax.errors import UserError
from mtquant_jax.types import Bars

_HOUR = 3600
_TAIL_DOF = (5, 12)  # integers a chi-square of summed squares can have; 5 is the least with a finite kurtosis
_LAGS = (1, 96)  # bars over which the autocovariance of log |return| is fitted
_NUMBERS = (
    "hourly_volatility",
    "start_price",
    "tail_dof",
    "volatility_persistence",
    "volatility_of_volatility",
    "open_gap",
    "break_gap",
    "weekend_gap",
    "median_volume",
)


def calibrate(bars: Bars) -> dict[str, Any]:
    """Calibration of hourly history (P = 1), as plain numbers by symbol.

    Per instrument: hourly_volatility (deviation of log returns of bars that follow the one before by an hour),
    start_price (last close), tail_dof (of Student-t), volatility_persistence per bar and volatility_of_volatility
    (stationary deviation of log volatility), open_gap, break_gap and weekend_gap (deviation of open against the close
    before, in hourly volatilities: next hour, after the daily break, after a weekend), median_volume (ticks) and
    hour_profile [24] (volatility by UTC hour, mean square 1). For all: volatility_common_share (correlation of log
    volatilities) and correlations [N, N].

    Raises UserError for bars that are not hourly or too few.
    """
    times = np.asarray(bars.timestamps)
    if len(times) < 1000 or np.median(np.diff(times)) != _HOUR:
        raise UserError(f"A calibration needs at least 1000 hourly bars; found {len(times)}")
    instruments, scores, log_sizes = {}, [], []
    for index, symbol in enumerate(bars.symbols):
        rows = np.flatnonzero(np.asarray(bars.tradable)[0, :, index])
        numbers, score, log_size = _instrument(bars, index, rows)
        instruments[symbol] = numbers
        scores.append(score)
        log_sizes.append(log_size)
    return {
        "volatility_common_share": _common_share(np.stack(log_sizes), list(instruments.values())),
        "instruments": instruments,
        "correlations": _correlations(np.stack(scores)).tolist(),
    }


def _instrument(bars: Bars, index: int, rows: np.ndarray) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Numbers of one instrument from its tradable rows; its standardised returns and log sizes on the clock [T]."""
    times = np.asarray(bars.timestamps)[rows]
    close = np.asarray(bars.close, np.float64)[0, rows, index]
    open_ = np.asarray(bars.open, np.float64)[0, rows, index]
    step = np.diff(times)
    regular, pause, weekend = step == _HOUR, step == 2 * _HOUR, (step > 40 * _HOUR) & (step < 80 * _HOUR)
    returns = np.diff(np.log(close))
    gaps = np.log(open_[1:] / close[:-1])
    bodies = np.log(close[1:] / open_[1:])  # these exist in the hour after the break too
    hour = (times[1:] // _HOUR) % 24
    volatility = float(np.std(returns[regular]))
    profile = np.array([_deviation(bodies[hour == h], volatility) for h in range(24)])
    profile /= np.sqrt(np.mean(np.square(profile[hour[regular]])))

    scaled = np.where(regular, returns / (volatility * profile[hour]), np.nan)
    log_size = np.log(np.maximum(np.abs(scaled), 0.01))
    persistence, of_volatility = _stochastic_volatility(log_size)
    ratio = np.nanmean(np.abs(scaled)) / np.sqrt(np.nanmean(np.square(scaled)))
    numbers: dict[str, Any] = {
        "hourly_volatility": volatility,
        "start_price": float(close[-1]),
        "tail_dof": _tail_dof(ratio, of_volatility),
        "volatility_persistence": persistence,
        "volatility_of_volatility": of_volatility,
        "open_gap": min(_deviation(gaps[regular], 0.0) / volatility, 0.9),
        "break_gap": _deviation(gaps[pause], 0.0) / volatility,
        "weekend_gap": _deviation(gaps[weekend], volatility) / volatility,
        "median_volume": float(np.median(np.asarray(bars.volume)[0, rows, index])),
        "hour_profile": profile.tolist(),
    }
    num_bars = len(bars.timestamps)
    on_clock = np.full((2, num_bars), np.nan)
    on_clock[0, rows[1:]] = _standardised(scaled)
    on_clock[1, rows[1:]] = log_size
    return numbers, on_clock[0], on_clock[1]


def _deviation(values: np.ndarray, otherwise: float) -> float:
    """Root mean square, cut at eight of its own size so that one event does not decide; `otherwise` for too few."""
    if len(values) < 20:
        return otherwise
    limit = 8.0 * np.sqrt(np.mean(np.square(values)))
    return float(np.sqrt(np.mean(np.square(np.clip(values, -limit, limit)))))


def _stochastic_volatility(log_size: np.ndarray) -> tuple[float, float]:
    """Persistence and deviation of an AR(1) log volatility.

    The autocovariance of log |return| at lag k is deviation^2 persistence^k, whatever the tails of the noise (Harvey,
    Ruiz and Shephard 1994); the lags are fitted by least squares over a grid of persistences.
    """
    lags = np.arange(*_LAGS)
    autocovariance = np.array([_covariance(log_size[:-lag], log_size[lag:]) for lag in lags])
    grid = np.linspace(0.80, 0.998, 199)
    decay = grid[:, None] ** lags
    variance: np.ndarray = np.maximum((decay @ autocovariance) / np.sum(np.square(decay), axis=1), 1e-4)
    error = np.sum(np.square(autocovariance - variance[:, None] * decay), axis=1)
    best = int(np.argmin(error))
    return float(grid[best]), float(np.sqrt(min(variance[best], 1.0)))


def _covariance(left: np.ndarray, right: np.ndarray) -> float:
    both = np.isfinite(left) & np.isfinite(right)
    left, right = left[both], right[both]
    return float(np.mean((left - left.mean()) * (right - right.mean())))


def _tail_dof(ratio: float, of_volatility: float) -> int:
    """Degrees of freedom at which E|x| / sqrt(E x^2) of a Student-t with lognormal volatility is nearest to ratio."""
    candidates = np.arange(_TAIL_DOF[0], _TAIL_DOF[1] + 1)
    # Drawn once with a fixed seed: E|t| needs the gamma function, which NumPy lacks.
    rng = np.random.default_rng(0)
    ratios = [np.mean(np.abs(rng.standard_t(dof, 200_000))) / np.sqrt(dof / (dof - 2)) for dof in candidates]
    return int(candidates[np.argmin(np.abs(np.array(ratios) * np.exp(-(of_volatility**2) / 2) - ratio))])


def _standardised(scaled: np.ndarray, span: int = 48) -> np.ndarray:
    """Returns over their EWMA deviation up to the bar before, cut at five; NaN stays NaN."""
    rate, variance = 2.0 / (span + 1.0), 1.0
    result = np.full_like(scaled, np.nan)
    for t in np.flatnonzero(np.isfinite(scaled)):
        result[t] = scaled[t] / np.sqrt(variance)
        variance += rate * (scaled[t] ** 2 - variance)
    clipped: np.ndarray = np.clip(result, -5.0, 5.0)
    return clipped


def _correlations(scores: np.ndarray) -> np.ndarray:
    """Pairwise correlations [N, N] of scores [N, T] where both have a return."""
    size = len(scores)
    result = np.eye(size)
    for i in range(size):
        for j in range(i):
            both = np.isfinite(scores[i]) & np.isfinite(scores[j])
            if both.sum() >= 100:
                result[i, j] = result[j, i] = np.corrcoef(scores[i, both], scores[j, both])[0, 1]
    return result


def _common_share(log_sizes: np.ndarray, numbers: Sequence[dict[str, Any]]) -> float:
    """Mean correlation of log volatilities, from cross-covariances at lags 1 to 24 (free of the noise's own)."""
    found = []
    for i, left in enumerate(numbers):
        for j, right in enumerate(numbers):
            if i != j:
                lags = range(1, 25)
                decay = np.mean([right["volatility_persistence"] ** lag for lag in lags])
                covariance = np.mean([_covariance(log_sizes[i, :-lag], log_sizes[j, lag:]) for lag in lags])
                found.append(
                    covariance / (decay * left["volatility_of_volatility"] * right["volatility_of_volatility"])
                )
    return float(np.clip(np.mean(found), 0.0, 0.95)) if found else 0.0


def load_calibration(path: Path | None = None) -> dict[str, Any]:
    """A calibration as `calibrate` makes it; None reads the shipped configs/synthetic.yaml.

    Raises UserError naming file and key where something is missing or not a number.
    """
    path = shipped("synthetic.yaml") if path is None else Path(path)
    content = read_yaml(path)
    for key in ("volatility_common_share", "instruments", "correlations"):
        if key not in content:
            raise UserError(f"{path} lacks the key {key}; write it with scripts/calibrate_synthetic_market.py")
    for symbol, numbers in content["instruments"].items():
        for key in _NUMBERS:
            value = numbers.get(key)
            if not isinstance(value, (int, float)) or isinstance(value, bool):
                raise UserError(f"{path}: {symbol}: {key} must be a number; found {value!r}")
        if len(numbers.get("hour_profile", ())) != 24:
            raise UserError(f"{path}: {symbol}: hour_profile must have 24 numbers, one per UTC hour")
    if np.shape(content["correlations"]) != (len(content["instruments"]),) * 2:
        raise UserError(f"{path}: correlations must have a row and a column per instrument")
    return content


def calibration_yaml(calibration: dict[str, Any], source: str) -> str:
    """A calibration as YAML text, rounded to four significant digits, with a comment that names its source."""

    def plain(value: float) -> str:
        return f"{float(f'{value:.4g}'):.10g}"

    lines = [
        f"# Calibration of the synthetic market, measured from {source}",
        "# by scripts/calibrate_synthetic_market.py. Meaning and units: calibrate() in mtquant_jax/market.",
        f"volatility_common_share: {plain(calibration['volatility_common_share'])}",
        "instruments:",
    ]
    for symbol, numbers in calibration["instruments"].items():
        lines.append(f"  {symbol}:")
        lines += [f"    {key}: {plain(numbers[key])}" for key in _NUMBERS]
        profile = [plain(value) for value in numbers["hour_profile"]]
        lines.append(f"    hour_profile: [{', '.join(profile[:12])},")
        lines.append(f"                   {', '.join(profile[12:])}]")
    lines.append(f"correlations:  # rows and columns in the order {', '.join(calibration['instruments'])}")
    lines += [f"  - [{', '.join(f'{value:.3f}' for value in row)}]" for row in calibration["correlations"]]
    return "\n".join(lines) + "\n"
