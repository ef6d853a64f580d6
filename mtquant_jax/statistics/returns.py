"""Performance statistics of equity curves, on the host in float64."""

from __future__ import annotations

import numpy as np

_DAYS_PER_YEAR = 365.25
_NO_RISK = 1e-7  # daily deviation under which a curve counts as flat: float32 equity cannot distinguish it from zero


def last_of_day(day: np.ndarray) -> np.ndarray:
    """Index of the last bar of each day ``[D]``, of the day number of each bar ``[L]``."""
    return np.append(np.flatnonzero(np.diff(day)), len(day) - 1)


def daily_returns(equity: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Simple returns of each day ``[D, P]``, from the last equity of one day to the last of the next.

    Args:
        equity: ``[L + 1, P]`` at the close of consecutive bars.
        day: ``[L + 1]`` day number of each bar.
    """
    last = last_of_day(day)
    closes = np.concatenate([equity[:1], equity[last]]).astype(np.float64)
    # The first bar's equity is the start of the account, not a day of trading.
    closes = closes if last[0] > 0 else closes[1:]
    solvent = closes[:-1] > 0.0  # an account that owes money no longer trades
    return np.where(solvent, closes[1:] / np.where(solvent, closes[:-1], 1.0) - 1.0, 0.0)


def trading_days_per_year(day: np.ndarray) -> float:
    """Days with bars per calendar year, counted; over less than a week there is nothing to count, so 252."""
    distinct = np.unique(day)
    span = float(distinct[-1] - distinct[0] + 1)
    return 252.0 if span < 7.0 else len(distinct) / span * _DAYS_PER_YEAR


def sharpe_ratio(returns: np.ndarray, periods_per_year: float) -> float | None:
    """Annualised mean / standard deviation of per-period returns (any shape, pooled); None without risk.

    Sharpe (1994) with a zero risk-free rate, times the square root of the periods per year.
    """
    if returns.size < 2 or float(np.std(returns)) < _NO_RISK:
        return None
    return float(np.mean(returns) / np.std(returns, ddof=1) * np.sqrt(periods_per_year))


def rolling_sharpe_ratio(returns: np.ndarray, window: int, periods_per_year: float) -> np.ndarray:
    """`sharpe_ratio` of the window that ends with each period ``[D]``, NaN before the first and without risk.

    Args:
        returns: ``[D, P]``, paths pooled.
        window: periods, at most D.
        periods_per_year: as for `sharpe_ratio`.
    """
    windows = np.lib.stride_tricks.sliding_window_view(returns, window, axis=0)  # [D - window + 1, P, window]
    mean, deviation = windows.mean(axis=(1, 2)), windows.std(axis=(1, 2), ddof=1)
    risky = windows.std(axis=(1, 2)) >= _NO_RISK
    sharpe = np.where(risky, mean / np.where(risky, deviation, 1.0) * np.sqrt(periods_per_year), np.nan)
    return np.concatenate([np.full(window - 1, np.nan), sharpe])


def sharpe_standard_error(returns: np.ndarray, periods_per_year: float) -> float | None:
    """Standard error of the annualised Sharpe ratio for independent returns (Lo 2002); None without risk."""
    sharpe = sharpe_ratio(returns, periods_per_year)
    if sharpe is None:
        return None
    per_period = sharpe / np.sqrt(periods_per_year)
    return float(np.sqrt((1.0 + 0.5 * per_period**2) / returns.size * periods_per_year))


def maximum_drawdown(equity: np.ndarray) -> np.ndarray:
    """Largest fall from a peak ``[P]``, as a share of the peak; equity is ``[L + 1, P]``."""
    peaks = np.maximum.accumulate(equity, axis=0)
    return np.max(1.0 - equity / peaks, axis=0)
