"""Named scenarios of the synthetic market, as traced parameters; the neutral scenario changes nothing.

A change of scenario compiles nothing. Leaves may be numbers, or arrays with one number per path, so that a curriculum
can draw every path under its own scenario.
"""

from __future__ import annotations

import difflib
from typing import Any

import jax
import numpy as np
from flax import struct

from mtquant_jax.errors import UserError
from mtquant_jax.settings.config import ScenarioName

Number = Any  # a float in the table, an array [P] in the compiled program; a union type could not be indexed


@struct.dataclass
class Scenario:
    """The parameters of a scenario. Volatilities are those of the same bar; every field is a number or [P]."""

    volatility: Number = 1.0  # factor of all volatilities, gaps and jumps
    volatility_of_volatility: Number = 1.0  # factor of the standard deviations of log volatility
    turbulent_entry: Number = 1.0  # factor of the probability per bar of entering the turbulent regime
    turbulent_exit: Number = 1.0  # factor of the probability per bar of leaving it
    drift: Number = 0.0  # volatilities per bar, of every instrument in the direction of the risk factor
    trend: Number = 0.0  # stationary standard deviation of the drift in addition to the edge, volatilities per bar
    trend_persistence: Number = 0.98  # coefficient per bar of the hidden drift
    reversion: Number = 0.0  # share of the log price's distance from its start that reverts per bar
    correlation: Number = 0.0  # -1 to 1: share of independence (below 0) or of the risk factor (above 0) in all noise
    correlation_after: Number = 0.0  # replaces `correlation` from `switch` on
    switch: Number = 0.5  # share of the path, 0 to 1
    rotation: Number = 0.0  # drift of whole classes, volatilities per bar; its sign alternates
    rotation_bars: Number = 238.0  # bars between changes of sign
    jump_rate: Number = 1.0  # factor of the jumps per bar
    jump_size: Number = 1.0  # factor of the standard deviation of a jump
    jump_mean: Number = 0.0  # mean of a jump in its standard deviations, along the risk factor; compensated
    event_jump: Number = 0.0  # standard deviation of the jump of a scheduled event, in volatilities of its bar
    event_volatility: Number = 1.0  # factor of volatility on the bar of a scheduled event
    event_decay: Number = 4.0  # bars in which the excess of that factor falls to 1 / e
    spread: Number = 1.0  # factor of all spreads
    edge_switch_bars: Number = 0.0  # mean bars between switching the edge of a class on and off; 0: always on


SCENARIOS: dict[str, Scenario] = {
    "neutral": Scenario(),
    "low_volatility": Scenario(
        volatility=0.4, volatility_of_volatility=0.6, turbulent_entry=0.0, jump_rate=0.3, spread=0.8
    ),
    "trending": Scenario(trend=0.25, trend_persistence=0.995),
    "ranging": Scenario(reversion=0.02, volatility_of_volatility=0.8, turbulent_entry=0.3),
    "high_volatility": Scenario(volatility=1.8, turbulent_entry=4.0, turbulent_exit=0.5, spread=1.5),
    "crisis": Scenario(
        volatility=2.0,
        turbulent_entry=10.0,
        turbulent_exit=0.3,
        drift=-0.02,
        correlation=0.5,
        correlation_after=0.5,
        jump_rate=5.0,
        jump_size=1.3,
        jump_mean=-0.7,
        spread=3.0,
    ),
    "correlation_breakdown": Scenario(correlation_after=-0.9),
    "sector_rotation": Scenario(rotation=0.1),
    "macro_events": Scenario(event_jump=2.0, event_volatility=2.5, event_decay=4.0),
    "edge_regimes": Scenario(edge_switch_bars=1428.0),
}
"""Scenarios by name; docs/synthetic_market.md documents their meaning and parameters."""


def find_scenario(name: str) -> Scenario:
    """Return the scenario with a name; for an unknown name, UserError names the nearest known one."""
    if name not in SCENARIOS:
        near = difflib.get_close_matches(name.lower(), list(SCENARIOS), n=1, cutoff=0.0)[0]
        raise UserError(f'There is no scenario "{name}"; did you mean {near}? Known: {", ".join(SCENARIOS)}')
    return SCENARIOS[name]


def per_path(scenario: Scenario | None, num_paths: int) -> Scenario:
    """Broadcast a scenario (None is neutral) to float32 leaves [P]."""
    return jax.tree.map(
        lambda leaf: np.broadcast_to(np.asarray(leaf, np.float32), (num_paths,)), scenario or Scenario()
    )


def scheduled_events(timestamps: np.ndarray) -> np.ndarray:
    """Find the bars [T] bool that hold a scheduled event, from bar opens in seconds since 1970-01-01 UTC.

    The calendar of macro_events is the same for all paths: Wednesday 18:00 UTC (a central bank) and Friday 13:00 UTC
    (a labour report).
    """
    day, hour = timestamps // 86_400, timestamps // 3600 % 24
    weekday = (day + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    events: np.ndarray = ((weekday == 2) & (hour == 18)) | ((weekday == 4) & (hour == 13))
    return events


STAGES: tuple[ScenarioName, ...] = (
    "trending",
    "sector_rotation",
    "neutral",
    "low_volatility",
    "correlation_breakdown",
    "high_volatility",
    "crisis",
    "macro_events",
    "ranging",
)
"""Scenarios in curriculum order: by the profit of a simple trend rule, highest first (benchmarks/curriculum.py)."""
