"""A backtest's record -> the figures that training reports and chooses checkpoints by, on the host in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mtquant_jax.backtest.trading import BacktestRecord, Tally
from mtquant_jax.simulation.market_env import IN_MARKET
from mtquant_jax.statistics.returns import (
    daily_returns,
    maximum_drawdown,
    sharpe_ratio,
    sharpe_standard_error,
    trading_days_per_year,
)

CUT = 1e-5
"""Share of the exposure wanted under which a cut is float32 rounding."""


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


def score(performance: dict[str, Any]) -> float:
    """What checkpoints are chosen by: the validation Sharpe ratio.

    A flat policy has none and counts as 0; one that is not a number loses against everything.
    """
    sharpe = performance["sharpe"]
    if sharpe is None:
        return 0.0
    return float(sharpe) if math.isfinite(sharpe) else -math.inf


def describe(performance: dict[str, Any]) -> str:
    """Sharpe with its standard error, return and drawdown in words."""
    sharpe = "none (flat)"
    if performance["sharpe"] is not None:
        sharpe = f"{performance['sharpe']:+.2f} ± {performance['sharpe_standard_error']:.2f}"
    return (
        f"Sharpe {sharpe}  return {100 * performance['total_return']:+.2f} %  "
        f"drawdown {100 * performance['max_drawdown']:.2f} %"
    )
