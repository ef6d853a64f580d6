"""What one training gives: the policy that is handed on, and how it was chosen."""

from __future__ import annotations

import dataclasses

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.evidence import Evidence
from mtquant_jax.backtest.performance import Performance


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A policy that may be handed on."""

    policy: Policy
    timesteps: int  # after which it was saved; 0 for the starting point
    score: float  # validation Sharpe ratio; 0 for a flat one


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one training gives."""

    policy: Policy  # what is handed on: the last one, or one that is ahead of it by more than chance
    last_policy: Policy  # after the last update
    best_timesteps: int  # after which the policy handed on was saved; 0 for the starting point
    best_validation: Performance | None  # of the policy handed on; None where nothing is validated
    history: list[tuple[int, Performance]]  # (timesteps, performance) of every checkpoint
    timesteps: int
    seconds: dict[str, float]  # compile, run, validate, total; of all members side by side
    timesteps_per_second: float  # over the run seconds, of all members together
    chunk_rates: list[float]  # timesteps per second chunk by chunk
    training_metrics: dict[str, dict[str, float]]  # agent -> closing metrics of its last chunk
    evidence: Evidence | None = None  # for what is handed on; None where nothing is validated
    averaged: Policy | None = None  # what is handed on with all of its tilt, where no checkpoint has it

    @property
    def validation(self) -> Performance:
        """Performance of the policy handed on.

        Raises:
            ValueError: nothing was validated.
        """
        if self.best_validation is None:
            raise ValueError("this training validated nothing")
        return self.best_validation
