"""A backtest over paths of several scenarios -> what it earned in each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mtquant_jax.backtest.trading import BacktestRecord
from mtquant_jax.statistics.returns import daily_returns, sharpe_ratio, trading_days_per_year


@dataclasses.dataclass(frozen=True)
class ScenarioPerformance:
    """What a policy earned on the paths of one scenario."""

    sharpe: float | None  # annualised, daily returns of the scenario's paths pooled; None where flat
    total_return: float  # mean over the paths, share of initial capital


def by_scenario(record: BacktestRecord, day: np.ndarray, stages: Sequence[str]) -> dict[str, ScenarioPerformance]:
    """Performance in each scenario, by its name.

    Args:
        record: of paths that lie stage by stage, equally many of each.
        day: ``[L + 1]`` day number of each bar from the first decision on.
        stages: names of the scenarios.
    """
    equity = np.split(np.asarray(record.equity, np.float64), len(stages), axis=1)
    per_year = trading_days_per_year(day)
    return {
        stage: ScenarioPerformance(
            sharpe=sharpe_ratio(daily_returns(paths, day), per_year), total_return=float(np.mean(paths[-1] - 1.0))
        )
        for stage, paths in zip(stages, equity, strict=True)
    }
