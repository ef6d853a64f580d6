"""What a sweep found: every trial, the best one, and what the best of so many is worth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mtquant_jax.runs.sweep.study import Finished
from mtquant_jax.settings.search_space import SearchSpace
from mtquant_jax.statistics.significance import deflated_sharpe_ratio, probability_of_overfitting

if TYPE_CHECKING:
    import pandas as pd

_BLOCKS = (16, 8, 4)  # of the cross-validation that estimates overfitting: as many as the days allow


@dataclasses.dataclass(frozen=True)
class SweepResult:
    """Everything that a sweep found."""

    name: str
    space: SearchSpace
    objective: str
    seeds: tuple[int, ...]
    trained: str  # what every trial trains, in words
    market: str  # description
    finished: tuple[Finished, ...]  # in the order of their numbers
    importance: Mapping[str, float]  # name -> PED-ANOVA importance, a share of 1, largest first
    seconds: float  # of this process
    compile_seconds: float | None  # of those; None where workers compiled

    @property
    def complete(self) -> list[Finished]:
        """Complete trials, the best first."""
        found = [one for one in self.finished if one.result.value is not None]
        return sorted(found, key=lambda one: -_finite(one.result.value))

    @property
    def best(self) -> Finished | None:
        """The trial with the best value; None where none is complete."""
        return next(iter(self.complete), None)

    @property
    def deflated_sharpe(self) -> float | None:
        """Probability that the best trial's true Sharpe ratio is above the best of so many without skill, by chance.

        Of daily returns on the validation split, pooled over seeds and paths; all trials count, with the variance of
        those that are complete. None where there is no risk, or the best one is flat.
        """
        samples = [one.result.sample for one in self.complete]
        if not samples or samples[0] is None:
            return None
        sharpes = [0.0 if sample is None else sample.sharpe for sample in samples]
        variance = float(np.var(sharpes, ddof=1)) if len(sharpes) > 1 else 0.0
        return deflated_sharpe_ratio(samples[0], variance, len(self.finished))

    @property
    def probability_of_overfitting(self) -> float | None:
        """Probability that the best trial of one half of the days is among the worse half on the other one.

        None of fewer than two complete trials, too few days, or returns that are not finite.
        """
        returns = [one.result.daily_returns for one in self.complete]
        days = min(map(len, returns), default=0)
        blocks = next((blocks for blocks in _BLOCKS if days // blocks >= 2), None)
        if len(returns) < 2 or blocks is None or len(set(map(len, returns))) > 1 or not np.isfinite(returns).all():
            return None
        return probability_of_overfitting(np.array(returns).T, blocks)

    def to_frame(self) -> pd.DataFrame:
        """One row per trial: ``number``, its values, ``state``, ``value`` and its ``standard_error`` over the seeds."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for one in self.finished:
            result = one.result
            scores = dict(zip((f"score_seed_{seed}" for seed in self.seeds), result.scores, strict=False))
            rows.append(
                {"number": one.trial.number}
                | {name: one.trial.values.get(name) for name in self.space.names}
                | {"state": result.state, "value": result.value, "standard_error": result.standard_error}
                | scores
                | {"timesteps": result.timesteps, "seconds": result.seconds, "reason": result.reason}
            )
        return pd.DataFrame(rows)

    def curves(self) -> pd.DataFrame:
        """Learning curves: columns ``number``, ``timesteps``, ``seed`` and ``score`` on the validation split."""
        import pandas as pd

        rows = [
            (one.trial.number, timesteps, seed, score)
            for one in self.finished
            for timesteps, scores in one.result.curve
            for seed, score in zip(self.seeds, scores, strict=False)
        ]
        return pd.DataFrame(rows, columns=["number", "timesteps", "seed", "score"])


def _finite(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else -math.inf
