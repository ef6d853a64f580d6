"""A backtest over paths of several scenarios -> what it earned in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mtquant_jax.backtest.trading import BacktestRecord
from mtquant_jax.statistics.returns import daily_returns, sharpe_ratio, trading_days_per_year


def by_scenario(record: BacktestRecord, day: np.ndarray, stages: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Sharpe ratio (daily returns of the scenario's paths, annualised; None where flat) and mean total return.

    Args:
        record: of paths that lie stage by stage, equally many of each.
        day: ``[L + 1]`` day number of each bar from the first decision on.
        stages: names of the scenarios.
    """
    equity = np.split(np.asarray(record.equity, np.float64), len(stages), axis=1)
    per_year = trading_days_per_year(day)
    return {
        stage: {
            "sharpe": sharpe_ratio(daily_returns(paths, day), per_year),
            "total_return": float(np.mean(paths[-1] - 1.0)),
        }
        for stage, paths in zip(stages, equity, strict=True)
    }
