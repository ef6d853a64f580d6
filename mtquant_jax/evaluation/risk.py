"""What the risk layer forecast and what it cut, in one record."""

from __future__ import annotations

import dataclasses
from statistics import NormalDist
from typing import Literal

import numpy as np

from mtquant_jax.backtest.performance import CUT
from mtquant_jax.backtest.trading import BacktestRecord
from mtquant_jax.evaluation.book import detail_of
from mtquant_jax.evaluation.evaluation_bars import EvaluationBars
from mtquant_jax.evaluation.metrics import HorizonMetrics, RuleMetrics, ValueAtRiskMetrics
from mtquant_jax.market.periods import month_name, month_of
from mtquant_jax.simulation.risk import RULES
from mtquant_jax.statistics.returns import daily_returns
from mtquant_jax.statistics.value_at_risk import backtest_exceedances

_EXCEEDANCE = 1e-9  # share of equity by which a loss must pass its forecast


@dataclasses.dataclass(frozen=True)
class Forecasts:
    """Value at risk and what was lost, period by period, shares of the equity at its start; K periods, P paths."""

    loss: np.ndarray  # [K, P] a gain is negative
    value_at_risk: np.ndarray  # [K, P]

    @property
    def held(self) -> np.ndarray:
        """``[K, P]`` bool, whether there was risk to forecast."""
        return self.value_at_risk > _EXCEEDANCE

    @property
    def exceeded(self) -> np.ndarray:
        """``[K, P]`` bool."""
        return self.held & (self.loss > self.value_at_risk + _EXCEEDANCE)


def forecasts(record: BacktestRecord, confidence: float, judged: EvaluationBars) -> dict[str, Forecasts]:
    """The risk layer's forecasts by ``bar`` and by ``day``.

    A bar's forecast is that of what was held over it; a day's is made of what was held over its first bar, and
    positions may change within the day.
    """
    equity = np.asarray(record.equity, np.float64)
    deviation = np.sqrt(np.maximum(np.asarray(detail_of(record).variance, np.float64), 0.0))  # [L, P]
    z = NormalDist().inv_cdf(confidence)
    loss = 1.0 - equity[1:] / np.maximum(equity[:-1], 1e-9)
    firsts = judged.day_starts
    daily = -daily_returns(equity, np.concatenate([judged.day[:1] - 1, judged.day[1:]]))
    return {
        "bar": Forecasts(loss, z * deviation),
        "day": Forecasts(daily[: len(firsts)], z * deviation[firsts] * np.sqrt(judged.market.bars_per_day)),
    }


def value_at_risk(record: BacktestRecord, confidence: float, judged: EvaluationBars) -> ValueAtRiskMetrics:
    """Whether losses passed the forecast as often as its confidence says, by bar and by day."""
    found = forecasts(record, confidence, judged)
    return ValueAtRiskMetrics(confidence, *(_of_horizon(found[horizon], confidence) for horizon in ("bar", "day")))


def _of_horizon(found: Forecasts, confidence: float) -> HorizonMetrics:
    held = found.held
    return HorizonMetrics(
        backtest=backtest_exceedances(found.exceeded, confidence, held),
        mean_forecast=float(found.value_at_risk[held].mean()) if held.any() else None,
    )


def binding(record: BacktestRecord) -> dict[str, np.ndarray]:
    """Rule -> ``[L, P]`` bool, whether it cut anything."""
    return {rule: np.asarray(record.risk_cuts[f"risk/{rule}"]) > CUT for rule in RULES}


def risk_rules(record: BacktestRecord, judged: EvaluationBars) -> dict[str, RuleMetrics]:
    """Rule -> how often it cut and how much."""
    months = month_of(judged.day)[1:]
    names = np.unique(months)
    return {
        rule: RuleMetrics(
            bars=float(binds.mean()),
            cut=float(np.asarray(record.risk_cuts[f"risk/{rule}"], np.float64).mean()),
            months={month_name(int(month)): float(binds[months == month].mean()) for month in names},
        )
        for rule, binds in binding(record).items()
    }


def cuts_by_period(
    record: BacktestRecord, judged: EvaluationBars, unit: Literal["week", "month"]
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Periods, ``YYYY-MM-DD`` of a Monday or ``YYYY-MM``, and rule -> share of each one's bars on which it cut.

    Rules that never cut are left out.
    """
    days = judged.day[1:].astype("datetime64[D]")
    # Weeks begin on Mondays; 1970-01-01 was a Thursday.
    periods = days - (days.astype(np.int64) + 3) % 7 if unit == "week" else days.astype("datetime64[M]")
    names = np.unique(periods)
    shares = {
        rule: np.array([bars[periods == period].mean() for period in names])
        for rule, bars in binding(record).items()
        if bars.any()
    }
    return [str(name) for name in names], shares
