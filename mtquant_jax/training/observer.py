"""What a training calls on the host between its compiled chunks: files, progress and tables hang on these hooks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.evidence import Evidence
from mtquant_jax.backtest.performance import Performance
from mtquant_jax.backtest.picture import Picture
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.training.curriculum import Curriculum
from mtquant_jax.training.outcome import Outcome
from mtquant_jax.training.phases import Plan
from mtquant_jax.training.saved import SavedTraining
from mtquant_jax.training.validation import Validated


class Validate(Protocol):
    """Trades a policy on the validation split."""

    def __call__(self, policy: Policy, whole_lots: bool = True, first: int | None = None) -> Validated:
        """How it does, in whole lots or without lot rounding, on as many bars from ``first`` on where that is given."""
        ...


@dataclasses.dataclass(frozen=True)
class Member:
    """One training of a phase; those of one program run side by side."""

    phase: int
    hierarchy: int  # index of the hierarchy that it is of, among those trained side by side
    seed: int
    name: str  # of the asset class, meta_controller, or portfolio
    plan: Plan
    validate: Validate


@dataclasses.dataclass(frozen=True)
class Progress:
    """Where a member stands after a chunk."""

    member: Member
    timesteps: int  # done
    total_timesteps: int
    timesteps_per_second: float  # of the chunk, of all members side by side
    metrics: dict[str, np.ndarray]  # means over the chunk: [A] per agent, [], or [S] for stacked groups
    validation: Performance | None  # of the checkpoint after the chunk, if there is one
    picture: Picture | None  # of the same
    curriculum: Curriculum | None  # that the chunk drew its episodes from
    rejected_updates: int = 0  # of the chunk, that changed nothing, for their gradients were no numbers


class Stopped(Exception):
    """A training was asked to stop, and has saved where it stands."""


class TrainingObserver:
    """Base class of what watches a training; every method of it does nothing."""

    def phase_begins(self, phase: int, members: Sequence[Member]) -> None:
        """All members of a phase are planned and nothing is trained yet."""

    def earlier(self, members: Sequence[Member], like: Sequence[TrainState]) -> Sequence[SavedTraining] | None:
        """Where the members, trained side by side, were before; None begins them anew.

        ``like`` are their first states, whose shapes the earlier ones have.
        """
        return None

    def checkpoint(self, member: Member, saved: SavedTraining) -> None:
        """A checkpoint is due; the state is donated once the call returns."""

    def stops(self) -> bool:
        """Whether to save and stop after this chunk, with `Stopped`."""
        return False

    def chunk(self, progress: Progress) -> None:
        """A chunk is done, and validated where a checkpoint was due."""

    def curriculum_opens(self, member: Member, curriculum: Curriculum, opened: Sequence[str]) -> None:
        """A member's curriculum moves on to stages that it has not drawn before."""

    def decided(self, member: Member) -> tuple[Evidence, Policy | None] | None:
        """What was decided of what a member hands on before the training was interrupted.

        The evidence, and the policy with all of its tilt where it is not the outcome's own.
        """
        return None

    def trains_without(self, members: Sequence[Member], folds: int) -> None:
        """Trainings of members are repeated without parts of the bars, to see how they do on those."""

    def trained_without(self, share: float) -> None:
        """So much of these repetitions, of 1, is done."""

    def trained(self, member: Member, outcome: Outcome) -> None:
        """A member is trained."""

    def phase_ends(self, phase: int) -> None:
        """All members of a phase are trained."""
