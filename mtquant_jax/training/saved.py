"""A training in the middle: all that it needs to go on as if nothing had happened."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.performance import Performance
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.training.curriculum import Curriculum


@dataclasses.dataclass(frozen=True)
class Looked:
    """How a policy did on the validation split."""

    timesteps: int  # after which it was saved; 0 for the starting point
    performance: Performance


@dataclasses.dataclass(frozen=True)
class Logbook:
    """What a training knows on the host after a chunk."""

    timesteps: int  # done
    total_timesteps: int
    best_timesteps: int | None  # after which the best policy so far was saved; None before the first validation
    best_score: float | None
    history: tuple[Looked, ...]  # every validation so far
    run_seconds: float  # of all chunks, of all members side by side
    validate_seconds: float
    chunk_rates: tuple[float, ...]  # timesteps per second chunk by chunk
    first_metrics: Mapping[str, tuple[float, ...]]  # of the first chunk, raveled
    last_metrics: Mapping[str, tuple[float, ...]]
    rejected_updates: int = 0  # that changed nothing, for their gradients were no numbers
    curriculum: Curriculum | None = None  # that the next chunk draws its episodes from

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.timesteps >= self.total_timesteps


@dataclasses.dataclass(frozen=True)
class SavedTraining:
    """A member's training after a chunk."""

    state: TrainState
    best: Policy | None  # best policy so far; None before the first validation
    logbook: Logbook


def plain_metrics(metrics: Mapping[str, np.ndarray]) -> dict[str, tuple[float, ...]]:
    """Metrics as a logbook holds them; float32 survives it exactly."""
    return {name: tuple(float(number) for number in np.ravel(value)) for name, value in metrics.items()}


def read_metrics(metrics: Mapping[str, Sequence[float]]) -> dict[str, np.ndarray]:
    """Metrics of a logbook, each ``[values]``."""
    return {name: np.asarray(value, np.float64) for name, value in metrics.items()}
