"""A backtest's record -> the performance that training reports and chooses checkpoints by, on the host in float64."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mtquant_jax.backtest.scenarios import ScenarioPerformance, by_scenario
from mtquant_jax.backtest.trading import BacktestRecord, Tally
from mtquant_jax.simulation.market_env import IN_MARKET
from mtquant_jax.statistics.returns import (
    daily_returns,
    maximum_drawdown,
    sharpe_ratio,
    sharpe_standard_error,
    trading_days_per_year,
)
from mtquant_jax.storage.records import JsonRecord, flat_row

if TYPE_CHECKING:
    import pandas as pd

CUT = 1e-5
"""Share of the exposure wanted under which a cut is float32 rounding."""


@dataclasses.dataclass(frozen=True)
class AllocationPerformance:
    """What the meta-controller decided over S classes and cash; shares of bars are over all bars and paths."""

    capital: tuple[float, ...]  # [S + 1] mean share of the capital, cash last
    risk_appetite: float  # mean, in (0, 1)
    standard_deviation: float  # over the bars, of capital shares and risk appetite; mean over them
    capital_bound: tuple[float, ...]  # [S + 1] share of bars on which it got practically all of the capital
    risk_appetite_bound: tuple[float, float]  # share of bars on which the risk appetite was at its lower, upper bound


@dataclasses.dataclass(frozen=True)
class Performance(JsonRecord):
    """How a policy did over a span of bars, paths pooled, and how it decided."""

    sharpe: float | None  # annualised, of daily returns of all paths; None where flat
    sharpe_standard_error: float | None
    total_return: float  # mean over paths, share of initial capital
    gross_return: float  # the same before costs and swap
    max_drawdown: float  # share of the peak, mean over paths
    worst_drawdown: float  # the same, largest over paths
    turnover_per_day: float  # value traded / equity, mean over paths
    mean_exposure: float  # gross exposure / equity, mean over bars and paths
    time_in_market: float  # share of bars
    cost_share: float  # spread, commission, slippage and impact per path, share of initial capital
    swap_share: float  # swap received (positive) or paid per path, share of initial capital
    risk_bound: Mapping[str, float]  # rule of the risk layer -> share of bars on which it cut something
    days: int  # per path
    paths: int
    terminated: int  # paths ruined or stopped out
    action_standard_deviation: float  # over the bars, of the relative weight wanted; mean over instruments
    pinned: float | None  # share of bars in the market, and of instruments, at a bound; None if never in the market
    long_bound: tuple[float, ...]  # [instruments] share of bars in the market fully long
    short_bound: tuple[float, ...]  # [instruments] share of bars in the market fully short
    allocation: AllocationPerformance | None = None  # of a hierarchy
    scenarios: Mapping[str, ScenarioPerformance] | None = None  # by stage, on a market that has them

    def to_frame(self) -> pd.DataFrame:
        """One row, nested fields as columns such as ``risk_bound/var``."""
        import pandas as pd

        return pd.DataFrame([flat_row(self)])


def performance(record: BacktestRecord, day: np.ndarray, stages: Sequence[str] = ()) -> Performance:
    """The performance of a backtest.

    Args:
        record: of L steps over P paths.
        day: ``[L + 1]`` day number of each bar from the first decision on.
        stages: scenarios of the paths, which lie stage by stage; without them there is no performance by scenario.
    """
    equity = np.asarray(record.equity, np.float64)
    returns = daily_returns(equity, day)
    per_year = trading_days_per_year(day)
    drawdowns = maximum_drawdown(equity)
    exposure = np.asarray(record.exposure)
    total_return = float(np.mean(equity[-1] - 1.0))
    cost_share = float(np.sum(np.asarray(record.costs), axis=0).mean())
    swap_share = float(np.sum(np.asarray(record.swap), axis=0).mean())
    in_market = int((exposure > IN_MARKET).sum())
    real = np.asarray(record.real)
    short_bound, long_bound = _bounds(record.wanted, real, in_market)
    _, deviation = spread(record.wanted)
    return Performance(
        sharpe=sharpe_ratio(returns, per_year),
        sharpe_standard_error=sharpe_standard_error(returns, per_year),
        total_return=total_return,
        gross_return=total_return + cost_share - swap_share,
        max_drawdown=float(np.mean(drawdowns)),
        worst_drawdown=float(np.max(drawdowns)),
        turnover_per_day=float(np.sum(np.asarray(record.turnover), axis=0).mean() / max(len(returns), 1)),
        mean_exposure=float(exposure.mean()),
        time_in_market=float((exposure > IN_MARKET).mean()),
        cost_share=cost_share,
        swap_share=swap_share,
        risk_bound={
            name.removeprefix("risk/"): float((np.asarray(cuts) > CUT).mean())
            for name, cuts in record.risk_cuts.items()
        },
        days=len(returns),
        paths=int(equity.shape[1]),
        terminated=int(np.sum(np.asarray(record.terminated))),
        action_standard_deviation=float(np.mean(deviation[real])),
        pinned=float(np.mean(short_bound + long_bound)) if in_market else None,
        long_bound=tuple(long_bound.tolist()),
        short_bound=tuple(short_bound.tolist()),
        allocation=None if record.allocation is None else _allocation(record.allocation),
        scenarios=by_scenario(record, day, stages) if stages else None,
    )


def _bounds(wanted: Tally, real: np.ndarray, bars_in_market: int) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the bars in the market at the lower and at the upper bound, of real instruments."""
    low, high = (
        np.asarray(counts, np.float64).sum(axis=0)[real] / max(bars_in_market, 1)
        for counts in (wanted.low, wanted.high)
    )
    return low, high


def _allocation(tally: Tally) -> AllocationPerformance:
    """What was decided; the tally holds capital shares, cash after the classes, and the risk appetite last."""
    mean, deviation = spread(tally)
    bars = np.maximum(np.asarray(tally.bars, np.float64).sum(), 1.0)
    low, high = (np.asarray(counts, np.float64).sum(axis=0) / bars for counts in (tally.low, tally.high))
    return AllocationPerformance(
        capital=tuple(mean[:-1].tolist()),
        risk_appetite=float(mean[-1]),
        standard_deviation=float(np.mean(deviation)),
        capital_bound=tuple(high[:-1].tolist()),
        risk_appetite_bound=(float(low[-1]), float(high[-1])),
    )


def spread(tally: Tally) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation ``[M]`` over all bars of all paths (Chan, Golub, LeVeque 1979)."""
    bars, means = np.asarray(tally.bars, np.float64)[:, None], np.asarray(tally.mean, np.float64)
    total = np.maximum(bars.sum(), 1.0)
    mean = (bars * means).sum(axis=0) / total
    squares = np.asarray(tally.squares, np.float64).sum(axis=0) + (bars * (means - mean) ** 2).sum(axis=0)
    return mean, np.sqrt(np.maximum(squares, 0.0) / total)


def score(found: Performance) -> float:
    """What checkpoints are chosen by: the validation Sharpe ratio.

    A flat policy has none and counts as 0; one that is not a number loses against everything.
    """
    if found.sharpe is None:
        return 0.0
    return float(found.sharpe) if math.isfinite(found.sharpe) else -math.inf


def describe(found: Performance) -> str:
    """Sharpe with its standard error, return and drawdown in words."""
    sharpe = "none (flat)"
    if found.sharpe is not None and found.sharpe_standard_error is not None:
        sharpe = f"{found.sharpe:+.2f} ± {found.sharpe_standard_error:.2f}"
    return f"Sharpe {sharpe}  return {100 * found.total_return:+.2f} %  drawdown {100 * found.max_drawdown:.2f} %"
