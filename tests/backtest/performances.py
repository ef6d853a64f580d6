"""Performance made by hand."""

import dataclasses

from mtquant_jax.backtest.performance import AllocationPerformance, Performance

HEALTHY = Performance(
    sharpe=1.0,
    sharpe_standard_error=0.8,
    total_return=0.02,
    gross_return=0.05,
    max_drawdown=0.01,
    worst_drawdown=0.02,
    turnover_per_day=0.3,
    mean_exposure=0.5,
    time_in_market=0.9,
    cost_share=0.02,
    swap_share=-0.01,
    risk_bound={"var": 0.1, "drawdown": 0.0},
    days=100,
    paths=4,
    terminated=0,
    action_standard_deviation=0.4,
    pinned=0.4,
    long_bound=(0.6, 0.1, 0.0),
    short_bound=(0.4, 0.1, 0.0),
)
"""Of a class of three instruments."""

ALLOCATION = AllocationPerformance(
    capital=(0.4, 0.6),
    risk_appetite=0.5,
    standard_deviation=0.1,
    capital_bound=(0.0, 0.3),
    risk_appetite_bound=(0.1, 0.2),
)
"""Over one class and cash."""


def a_performance(**changes) -> Performance:
    """Healthy but for ``changes``."""
    return dataclasses.replace(HEALTHY, **changes)
