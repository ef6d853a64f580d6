"""Performance statistics of equity curves, on the host in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

from mtquant_jax.evaluation.backtest import BacktestRecord, Tally
from mtquant_jax.simulation.market_env import IN_MARKET

_DAYS_PER_YEAR = 365.25
_NO_RISK = 1e-7  # daily deviation under which a curve counts as flat: float32 equity cannot tell it from zero

CUT = 1e-5
"""Share of the exposure wanted under which a cut is float32 rounding."""


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


def rolling_sharpe_ratio(returns: np.ndarray, window: int, periods_per_year: float) -> np.ndarray:
    """`sharpe_ratio` of the window that ends with each period ``[D]``, NaN before the first and without risk.

    Args:
        returns: ``[D, P]``, paths pooled.
        window: periods, at most D.
        periods_per_year: as there.
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


def performance(record: BacktestRecord, day: np.ndarray) -> dict[str, Any]:
    """The figures of a backtest that training reports.

    Args:
        record: of L steps over P paths.
        day: ``[L + 1]`` day number of each bar from the first decision on.

    Returns:
        ``sharpe`` (annualised, daily returns of all paths pooled) and its standard error, ``total_return``,
        ``gross_return`` (before costs and swap), ``max_drawdown`` and ``worst_drawdown`` (mean and worst over paths),
        ``turnover_per_day``, ``mean_exposure`` (shares of equity), ``time_in_market``, ``cost_share`` and
        ``swap_share`` (costs and swap per path, shares of initial capital), ``risk_bound`` (rule -> share of bars on
        which it cut something), ``days`` per path, ``paths``, ``terminated`` paths, and how it decides:
        ``action_standard_deviation`` (over the bars, of the relative weight wanted; mean over instruments), ``pinned``
        (share of bars in the market, and of instruments, at a bound; None if never in it), ``long_bound`` and
        ``short_bound`` (the same per instrument and side), and of a hierarchy ``allocation``.
    """
    equity = np.asarray(record.equity, np.float64)
    returns = daily_returns(equity, day)
    per_year = trading_days_per_year(day)
    drawdowns = maximum_drawdown(equity)
    exposure = np.asarray(record.exposure)
    total_return = float(np.mean(equity[-1] - 1.0))
    cost_share = float(np.sum(np.asarray(record.costs), axis=0).mean())
    swap_share = float(np.sum(np.asarray(record.swap), axis=0).mean())
    figures = {
        "sharpe": sharpe_ratio(returns, per_year),
        "sharpe_standard_error": sharpe_standard_error(returns, per_year),
        "total_return": total_return,
        "gross_return": total_return + cost_share - swap_share,
        "max_drawdown": float(np.mean(drawdowns)),
        "worst_drawdown": float(np.max(drawdowns)),
        "turnover_per_day": float(np.sum(np.asarray(record.turnover), axis=0).mean() / max(len(returns), 1)),
        "mean_exposure": float(exposure.mean()),
        "time_in_market": float((exposure > IN_MARKET).mean()),
        "cost_share": cost_share,
        "swap_share": swap_share,
        "risk_bound": {
            name.removeprefix("risk/"): float((np.asarray(cuts) > CUT).mean())
            for name, cuts in record.risk_cuts.items()
        },
        "days": len(returns),
        "paths": int(equity.shape[1]),
        "terminated": int(np.sum(np.asarray(record.terminated))),
        **_positions(record, int((exposure > IN_MARKET).sum())),
    }
    if record.allocation is not None:
        figures["allocation"] = _allocation(record.allocation)
    return figures


def _positions(record: BacktestRecord, bars_in_market: int) -> dict[str, Any]:
    """How the relative weights of real instruments moved, and how often they sat at a bound."""
    real = np.asarray(record.real)
    _, deviation = _spread(record.wanted)
    short, long = (
        np.asarray(counts, np.float64).sum(axis=0)[real] / max(bars_in_market, 1)
        for counts in (record.wanted.low, record.wanted.high)
    )
    return {
        "action_standard_deviation": float(np.mean(deviation[real])),
        "pinned": float(np.mean(short + long)) if bars_in_market else None,
        "long_bound": long.tolist(),
        "short_bound": short.tolist(),
    }


def _allocation(tally: Tally) -> dict[str, Any]:
    """What the meta-controller decided: mean ``capital`` shares (cash last) and ``risk_appetite``, how they moved, and
    the share of bars on which one of them sat at a bound.
    """
    mean, deviation = _spread(tally)
    bars = np.maximum(np.asarray(tally.bars, np.float64).sum(), 1.0)
    low, high = (np.asarray(counts, np.float64).sum(axis=0) / bars for counts in (tally.low, tally.high))
    return {
        "capital": mean[:-1].tolist(),
        "risk_appetite": float(mean[-1]),
        "standard_deviation": float(np.mean(deviation)),
        "capital_bound": high[:-1].tolist(),
        "risk_appetite_bound": [float(low[-1]), float(high[-1])],
    }


def _spread(tally: Tally) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation ``[M]`` over all bars of all paths (Chan, Golub, LeVeque 1979)."""
    bars, means = np.asarray(tally.bars, np.float64)[:, None], np.asarray(tally.mean, np.float64)
    total = np.maximum(bars.sum(), 1.0)
    mean = (bars * means).sum(axis=0) / total
    squares = np.asarray(tally.squares, np.float64).sum(axis=0) + (bars * (means - mean) ** 2).sum(axis=0)
    return mean, np.sqrt(np.maximum(squares, 0.0) / total)
