"""What lies at a path, in named fields: a training or a walk-forward, a checkpoint, or a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mtquant_jax.runs.identity import Identity
from mtquant_jax.runs.versions import CodeVersion
from mtquant_jax.storage.records import JsonRecord

KILLED = "killed"
"""State of a run whose record says that it is running, and whose process is gone."""


@dataclasses.dataclass(frozen=True)
class Validation:
    """How a policy did on the validation split, or where said the test split; None where it was flat."""

    sharpe: float | None  # annual
    sharpe_standard_error: float | None
    total_return: float  # share of initial capital
    max_drawdown: float  # share of the peak


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far an agent of a phase has come, by its newest checkpoint that is intact."""

    phase: int
    agent: str
    timesteps: int  # 0 before the first checkpoint
    total_timesteps: int | None  # None before the first checkpoint
    best_timesteps: int | None = None  # of the best policy so far
    validation: Validation | None = None  # of that policy
    damaged: tuple[str, ...] = ()  # newer checkpoints that are not what was written
    seed: int | None = None  # in a walk-forward
    fold: int | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.total_timesteps is not None and self.timesteps >= self.total_timesteps


@dataclasses.dataclass(frozen=True)
class RunInfo(JsonRecord):
    """A run directory; of a training, or of a walk-forward."""

    kind: str  # training or walk-forward
    path: str
    state: str  # running, stopped, failed, finished, or killed
    run_id: str
    started: str  # local time, ISO 8601
    sessions: int  # processes that have trained it
    phases: tuple[int, ...]
    market: str | None  # in words; None before a phase is complete
    seed: int | None
    identity: Identity
    device: str
    versions: Mapping[str, str]
    progress: tuple[Progress, ...]
    resume: str | None = None  # the command that goes on with it; None where it is finished
    evaluate: str | None = None  # the command that evaluates it; None where it cannot be yet, or is no training
    verdict: str | None = None  # of its evaluation, or of the walk-forward; None where there is none
    evaluated_on: str | None = None  # split and period of the evaluation
    flags: Mapping[str, Any] | None = None  # of a walk-forward
    folds_done: tuple[int, ...] | None = None  # of a walk-forward, by number
    code: CodeVersion | None = None
    seconds: float | None = None  # wall time of the sessions that have ended; None before, or of an earlier version
    tags: tuple[str, ...] | None = None  # in order; None where there is none
    test: Validation | None = None  # of the last portfolio on the test split, or of a walk-forward over all folds
    settings: Mapping[str, Any] | None = None  # by name, in groups; None before they are written


@dataclasses.dataclass(frozen=True)
class CheckpointInfo(JsonRecord):
    """A checkpoint, every byte of which is as it was written."""

    kind: str  # checkpoint
    path: str
    run_id: str
    phase: int
    agent: str
    seed: int
    timesteps: int
    total_timesteps: int
    best_timesteps: int | None
    validation: Validation | None  # of the best policy so far
    identity: Identity
    device: str
    versions: Mapping[str, str]
    files: int
    size_in_bytes: int


@dataclasses.dataclass(frozen=True)
class ModelInfo(JsonRecord):
    """A model zip, by its manifest."""

    kind: str  # model
    path: str
    agent: str  # kind of the model and name of its class
    symbols: tuple[str, ...]
    bar_seconds: int
    phase: int
    timesteps: int
    seed: int
    validation: Validation  # from phase 2 on of the portfolio
    num_parameters: int  # numbers in its arrays
    hidden_size: int
    versions: Mapping[str, str]
    interval: int | None = None  # bars between two decisions of a meta-controller
    identity: Identity | None = None


Info = RunInfo | CheckpointInfo | ModelInfo
