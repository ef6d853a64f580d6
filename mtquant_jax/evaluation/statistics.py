"""Performance statistics of equity curves, on the host in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from mtquant_jax.evaluation.backtest import BacktestRecord

_DAYS_PER_YEAR = 365.25
_NO_RISK = 1e-7  # daily deviation under which a curve counts as flat: float32 equity cannot tell it from zero

_CUT = 1e-5  # share of the exposure wanted under which a cut is float32 rounding


def daily_returns(equity: np.ndarray, day: np.ndarray) -> np.ndarray:
    """Simple returns of each day ``[D, P]``, from the last equity of one day to the last of the next.

    Args:
        equity: ``[L + 1, P]`` at the close of consecutive bars.
        day: ``[L + 1]`` day number of each bar.
    """
    last_of_day = np.append(np.flatnonzero(np.diff(day)), len(day) - 1)
    closes = np.concatenate([equity[:1], equity[last_of_day]]).astype(np.float64)
    # The first bar's equity is the start of the account, not a day of trading.
    closes = closes if last_of_day[0] > 0 else closes[1:]
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


def performance(record: BacktestRecord, day: np.ndarray) -> dict[str, Any]:
    """The figures of a backtest that training reports.

    Args:
        record: of L steps over P paths.
        day: ``[L + 1]`` day number of each bar from the first decision on.

    Returns:
        ``sharpe`` (annualised, daily returns of all paths pooled) and its standard error, ``total_return``,
        ``max_drawdown`` and ``worst_drawdown`` (mean and worst over paths), ``turnover_per_day``, ``mean_exposure``
        (shares of equity), ``time_in_market``, ``cost_share`` and ``swap_share`` (costs and swap per path, shares of
        initial capital), ``risk_bound`` (rule -> share of bars on which it cut something), ``days`` per path,
        ``paths``, ``terminated`` paths.
    """
    equity = np.asarray(record.equity, np.float64)
    returns = daily_returns(equity, day)
    per_year = trading_days_per_year(day)
    drawdowns = maximum_drawdown(equity)
    exposure = np.asarray(record.exposure)
    return {
        "sharpe": sharpe_ratio(returns, per_year),
        "sharpe_standard_error": sharpe_standard_error(returns, per_year),
        "total_return": float(np.mean(equity[-1] - 1.0)),
        "max_drawdown": float(np.mean(drawdowns)),
        "worst_drawdown": float(np.max(drawdowns)),
        "turnover_per_day": float(np.sum(np.asarray(record.turnover), axis=0).mean() / max(len(returns), 1)),
        "mean_exposure": float(exposure.mean()),
        "time_in_market": float((exposure > 1e-3).mean()),
        "cost_share": float(np.sum(np.asarray(record.costs), axis=0).mean()),
        "swap_share": float(np.sum(np.asarray(record.swap), axis=0).mean()),
        "risk_bound": {
            name.removeprefix("risk/"): float((np.asarray(cuts) > _CUT).mean())
            for name, cuts in record.risk_cuts.items()
        },
        "days": len(returns),
        "paths": int(equity.shape[1]),
        "terminated": int(np.sum(np.asarray(record.terminated))),
    }
