"""What a trial of a sweep is: values for the settings of its space, and how the trainings with them did."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from mtquant_jax.settings.search_space import Value
from mtquant_jax.statistics.significance import SharpeSample, interquartile_mean
from mtquant_jax.storage.records import JsonRecord

State = Literal["complete", "pruned", "failed"]


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """Values that are to be tried."""

    number: int
    values: Mapping[str, Value]  # by the name of the dimension


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrialResult(JsonRecord):
    """What came of a trial."""

    state: State
    scores: tuple[float, ...] = ()  # of the policy handed on, seed by seed
    curve: tuple[tuple[int, tuple[float, ...]], ...] = ()  # timesteps, and scores on the validation split by seed
    daily_returns: tuple[float, ...] = ()  # on the validation split, mean over seeds and paths; of a complete trial
    sample: SharpeSample | None = None  # of the same, moments pooled over seeds and paths; None where flat
    seconds: float = 0.0  # its share of those of the trainings beside it
    timesteps: int = 0  # trained, of all seeds together
    reason: str = ""  # why it failed

    @property
    def value(self) -> float | None:
        """The interquartile mean of the scores over the seeds, of two seeds their mean; None for a failed trial."""
        return interquartile_mean(np.array(self.scores)) if self.scores and self.state == "complete" else None

    @property
    def standard_error(self) -> float | None:
        """Of the mean over the seeds; None of one, or where a score is not finite."""
        count = len(self.scores)
        known = count > 1 and bool(np.isfinite(self.scores).all())
        return float(np.std(self.scores, ddof=1) / np.sqrt(count)) if known else None
