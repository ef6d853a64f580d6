"""Folders -> the runs and sweeps below them, each by what its files say; without JAX, and without opening a study."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.runs.inspected import Progress, RunInfo, Validation
from mtquant_jax.runs.inspection import inspect
from mtquant_jax.runs.run_directory import held, is_claimed
from mtquant_jax.runs.run_record import FINISHED, RUNNING, STOPPED
from mtquant_jax.runs.tags import read_tags
from mtquant_jax.settings.dotted import flat
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.storage.records import JsonRecord

DAMAGED = "damaged"
"""State of a run that cannot be read."""

TRAINING, SWEEP = "training", "sweep"

_OF_A_RUN = ("logs", "models", "metrics", "evaluation", "bars")
_OF_A_FOLD = "fold_"
_SWEEPS = "sweeps"
_STUDY, _TRIALS = "study.db", "trials.parquet"


@dataclasses.dataclass(frozen=True)
class Figure(JsonRecord):
    """An annual Sharpe ratio; that of a flat policy counts as 0 and has no error."""

    value: float
    error: float | None


@dataclasses.dataclass(frozen=True)
class Entry:
    """A run or a sweep, as far as it can be read."""

    path: Path  # as a command would name it
    kind: str  # training, walk-forward or sweep; run where it cannot be read
    state: str  # running, stopped, failed, finished, killed or damaged
    info: RunInfo | None = None  # None of a sweep, or where it cannot be read
    tags: tuple[str, ...] | None = ()  # None where their file is damaged
    problem: str | None = None  # why it cannot be read

    @functools.cached_property
    def settings(self) -> dict[str, Any]:
        """By dotted key; empty where they are not known."""
        return flat(self.info.settings or {}) if self.info else {}

    @functools.cached_property
    def validations(self) -> dict[int, dict[str, Validation]]:
        """Phase -> agent -> the figures of what it handed on, of every phase of a training that is complete."""
        phases: dict[int, list[Progress]] = {}
        for progress in self.info.progress if self.info and self.kind == TRAINING else ():
            phases.setdefault(progress.phase, []).append(progress)
        return {
            phase: {one.agent: one.validation for one in agents if one.validation is not None}
            for phase, agents in sorted(phases.items())
            if agents and all(one.finished and one.validation is not None for one in agents)
        }

    @property
    def last_phase(self) -> int | None:
        """The last phase that is complete."""
        return max(self.validations, default=None)

    @property
    def validation(self) -> Figure | None:
        """Of the last phase that is complete, on the validation split; of phase 1 the mean over the specialists."""
        return figure(list(self.validations[self.last_phase].values())) if self.last_phase else None

    @property
    def test(self) -> Figure | None:
        """Of the last portfolio on the test split, or of a walk-forward over all folds; None before."""
        return figure([self.info.test]) if self.info and self.info.test else None

    @property
    def market(self) -> str | None:
        """Fingerprint of the market; of a synthetic one it differs from seed to seed."""
        return self.info.identity.market if self.info else None

    def to_json(self) -> dict[str, Any]:
        """All of it as an object."""
        content: dict[str, Any] = {"path": str(self.path), "kind": self.kind, "state": self.state}
        if self.problem is not None:
            content["problem"] = self.problem
        if self.info is not None:
            content |= {key: value for key, value in self.info.to_json().items() if key not in content}
        figures = {"validation": self.validation, "test": self.test}
        return content | {
            "tags": None if self.tags is None else list(self.tags),
            **{name: None if found is None else found.to_json() for name, found in figures.items()},
        }


def figure(found: Sequence[Validation]) -> Figure:
    """The mean Sharpe ratio of policies, with its standard error if they were independent."""
    errors = [one.sharpe_standard_error for one in found if one.sharpe_standard_error is not None]
    value = sum(one.sharpe or 0.0 for one in found) / len(found)
    return Figure(value, math.hypot(*errors) / len(found) if errors else None)


def runs_below(folders: Sequence[Path]) -> list[Entry]:
    """Every run and every sweep below folders, at any depth, and the folders that are one.

    Folders that a run makes are not searched for others, hidden folders and links are not followed.

    Raises:
        UserError: a folder does not exist, or is none.
    """
    found: dict[Path, Entry] = {}
    for folder in folders:
        if not folder.is_dir():
            what = "is a file, and a folder is needed" if folder.exists() else "there is no such folder"
            raise UserError(f"{folder}: {what}")
        for path in _found_below(folder):
            if (resolved := path.resolve()) not in found:
                found[resolved] = entry_of(path)
    return list(found.values())


def entry_of(path: Path) -> Entry:
    """What a run directory or the folder of a sweep says; where it cannot be read, why."""
    if _is_sweep(path):
        claimed = is_claimed(RunPaths(path))
        state = RUNNING if claimed else FINISHED if (path / _TRIALS).is_file() else STOPPED
        return Entry(path, SWEEP, state)
    try:
        tags: tuple[str, ...] | None = read_tags(RunPaths(path))
    except (UserError, OSError):
        tags = None
    try:
        info = inspect(path)
    except UserError as error:
        return Entry(path, "run", _state_unread(path), tags=tags, problem=str(error))
    except (OSError, ValueError, TypeError, AttributeError) as error:  # what a damaged file made of its content
        return Entry(path, "run", _state_unread(path), tags=tags, problem=f"{path} cannot be read: {error}")
    if not isinstance(info, RunInfo):  # a folder of a checkpoint
        return Entry(path, "run", DAMAGED, tags=tags, problem=f"{path} is no run directory")
    return Entry(path, info.kind, info.state, info, tags)


def _state_unread(path: Path) -> str:
    """A run that is trained now may be between two files."""
    return RUNNING if is_claimed(RunPaths(path)) else DAMAGED


def is_run(path: Path) -> bool:
    """Whether a folder is a run directory, be it damaged."""
    paths = RunPaths(path)
    return paths.run_record.exists() or bool(held(paths))


def _is_sweep(path: Path) -> bool:
    return path.absolute().parent.name == _SWEEPS and ((path / _STUDY).is_file() or (path / _TRIALS).is_file())


def _found_below(folder: Path) -> Iterator[Path]:
    """Runs and sweeps, in the order of their paths."""
    if _is_sweep(folder):
        yield folder
        return
    try:
        with os.scandir(folder) as inside:
            names = sorted(one.name for one in inside if one.is_dir(follow_symlinks=False))
    except OSError:  # it may not be read, or is gone since
        return
    own = {name for name in names if name in _OF_A_RUN or name.startswith(_OF_A_FOLD)}
    is_one = bool(own) and is_run(folder)
    if is_one:
        yield folder
    for name in names:
        if not name.startswith(".") and not (is_one and name in own):
            yield from _found_below(folder / name)
