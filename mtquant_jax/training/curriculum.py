"""Turns validation performance by scenario into how often training draws each: easy ones first, hard ones more often.

Pure numbers on the host; the compiled training sees no more of it than `MarketParams.path_probability`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from mtquant_jax.backtest.scenarios import ScenarioPerformance

_FIRST_OPEN = 2  # stages that are open from the start
_ALL_OPEN = 0.6  # share of the phase after which all are: episodes under way are finished, so that changes act late
_FLOOR = 0.5  # of an equal share that every open stage has at least
_SMALLEST_SPREAD = 0.5  # annual Sharpe ratio; smaller differences between stages are mostly noise and count for less


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """Where a training stands in its curriculum."""

    stages: tuple[str, ...]  # names, easiest first
    num_open: int  # the first so many are drawn
    sharpe: tuple[float, ...] = ()  # of each stage at the last checkpoint, annualised, 0 where flat; empty before it

    @classmethod
    def begin(cls, stages: Sequence[str]) -> Curriculum:
        """The first two stages."""
        return cls(tuple(stages), min(_FIRST_OPEN, len(stages)))

    @classmethod
    def with_all_open(cls, stages: Sequence[str]) -> Curriculum:
        """All stages, for policies that have been through the curriculum."""
        return cls(tuple(stages), len(stages))

    def after(self, fraction: float, scenarios: Mapping[str, ScenarioPerformance] | None = None) -> Curriculum:
        """Where it stands once ``fraction`` of the phase is done; ``scenarios`` is as of `by_scenario`, if validated.

        The pace opens all stages by 60 % of the phase, slowly at first. Where the Sharpe ratio is positive on average
        over the open stages, one more is opened, or as many as the pace wants when twice as much is done.
        """
        due = self._due(fraction)
        if scenarios is None:
            return dataclasses.replace(self, num_open=max(self.num_open, due))
        sharpe = tuple(_number(scenarios[stage].sharpe) for stage in self.stages)
        if np.mean(sharpe[: self.num_open]) > 0.0:
            due = max(due, self._due(2.0 * fraction), self.num_open + 1)
        return dataclasses.replace(self, num_open=min(max(self.num_open, due), len(self.stages)), sharpe=sharpe)

    def _due(self, fraction: float) -> int:
        """Stages that the pace wants open."""
        first = min(_FIRST_OPEN, len(self.stages))
        progress = min(fraction / _ALL_OPEN, 1.0)
        return first + math.floor((len(self.stages) - first) * progress**2 + 1e-9)

    def shares(self) -> np.ndarray:
        """How often an episode starts in each stage ``[K]``, summing to 1; zero where not open.

        Half is shared equally among the open stages, half by a softmax of minus the standardised Sharpe ratio.
        """
        weights = np.ones(self.num_open)
        if self.sharpe:
            values = np.asarray(self.sharpe[: self.num_open])
            scores = (values - values.mean()) / max(float(values.std()), _SMALLEST_SPREAD)
            weights = np.exp(-scores)
        open_shares = _FLOOR / self.num_open + (1.0 - _FLOOR) * weights / weights.sum()
        return np.pad(open_shares, (0, len(self.stages) - self.num_open))

    def path_probability(self, num_paths: int) -> np.ndarray:
        """The shares on the market's paths ``[P]`` float32, which lie stage by stage."""
        per_stage = num_paths // len(self.stages)
        return np.repeat(self.shares() / per_stage, per_stage).astype(np.float32)

    def columns(self, scenarios: Mapping[str, ScenarioPerformance] | None) -> dict[str, float | None]:
        """Columns of metrics: open stages, the share of each, and its validation where there is one."""
        shares = zip(self.stages, self.shares(), strict=True)
        row: dict[str, float | None] = {"curriculum/stage": float(self.num_open)}
        row |= {f"curriculum/share/{stage}": float(share) for stage, share in shares}
        found = scenarios or {}
        return row | {
            f"curriculum/sharpe/{stage}": found[stage].sharpe if stage in found else None for stage in self.stages
        }


def _number(sharpe: float | None) -> float:
    """A flat policy counts as 0, and so does what cannot be measured."""
    return float(sharpe) if sharpe is not None and math.isfinite(sharpe) else 0.0
