"""Which runs of a registry are deleted, what that frees, and which are spared and why."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mtquant_jax.errors import UserError
from mtquant_jax.runs.registry import SWEEP, TRAINING, Entry
from mtquant_jax.runs.run_directory import delete, is_claimed, owned
from mtquant_jax.runs.run_record import RUNNING
from mtquant_jax.runs.selection import chosen, differ_in_market, ordered
from mtquant_jax.runs.tags import KEEP
from mtquant_jax.storage.paths import RunPaths

By = Literal["validation", "test", "started"]


@dataclasses.dataclass(frozen=True)
class Doomed:
    """A run that is deleted."""

    entry: Entry
    size_in_bytes: int  # of the files that it owns


@dataclasses.dataclass(frozen=True)
class Spared:
    """A run that was chosen, and stays."""

    entry: Entry
    why: str


@dataclasses.dataclass(frozen=True)
class Pruning:
    """What is deleted of a registry."""

    doomed: tuple[Doomed, ...]
    spared: tuple[Spared, ...]

    @property
    def size_in_bytes(self) -> int:
        """Of all that is deleted."""
        return sum(one.size_in_bytes for one in self.doomed)


def plan(entries: Sequence[Entry], where: Sequence[str], keep_best: int | None, by: By) -> Pruning:
    """What is deleted: the runs that fit all conditions, less the best of them.

    A running run is spared, and one that is tagged `KEEP`, or whose tags cannot be read. With ``keep_best``, so is what
    has no value to be ranked by.

    Args:
        entries: of a registry.
        where: conditions, as `chosen` takes them.
        keep_best: of those that fit, so many stay; None: none.
        by: the figure by which they are the best; of the starts, the newest are.

    Raises:
        UserError: nothing chooses runs, a condition is wrong, or what is to be ranked cannot be compared.
    """
    if not where and keep_best is None:
        raise UserError("give `where` or `keep_best`, which say what is to be deleted")
    if keep_best is not None and keep_best < 0:
        raise UserError(f"`keep_best` {keep_best}: at least 0")
    found = [entry for entry in chosen(entries, where) if entry.kind != SWEEP]
    spared: list[Spared] = []
    if keep_best is not None:
        ranked = _ranked(found, by)
        spared += [Spared(entry, f"one of the best {keep_best} by {by}") for entry in ranked[:keep_best]]
        left = set(map(id, ranked))
        spared += [Spared(entry, f"has no {by} to be ranked by") for entry in found if id(entry) not in left]
        found = ranked[keep_best:]
    doomed: list[Doomed] = []
    for entry in found:
        if why := _protected(entry):
            spared.append(Spared(entry, why))
        else:
            doomed.append(Doomed(entry, sum(map(_size, owned(RunPaths(entry.path))))))
    return Pruning(tuple(doomed), tuple(spared))


def carry_out(pruning: Pruning) -> tuple[list[Path], list[str]]:
    """Delete; returns run directories in which something else remains, and what could not be deleted, in words."""
    remaining, problems = [], []
    for one in pruning.doomed:
        try:
            if not delete(RunPaths(one.entry.path)):
                remaining.append(one.entry.path)
        except UserError as error:
            problems.append(str(error))
    return remaining, problems


def _ranked(found: Sequence[Entry], by: By) -> list[Entry]:
    """Those that can be ranked, the best first.

    Raises:
        UserError: their figures are of different phases or markets.
    """
    trainings = [entry for entry in found if entry.kind == TRAINING]
    if by == "started":
        return ordered(trainings, by, reverse=True)
    known = [entry for entry in trainings if getattr(entry, by) is not None]
    phases = sorted({entry.last_phase for entry in known if entry.last_phase})
    if len(phases) > 1:
        raise UserError(
            f"`keep_best`: figures of phases {' and '.join(map(str, phases))} cannot be ranked together; choose "
            "runs of the same phases, such as `where` phases=1,2,3"
        )
    if differ_in_market(known):
        raise UserError(
            "`keep_best`: runs on different markets cannot be ranked together; choose those of one, such as `where` "
            f"market={known[0].market}"
        )
    return ordered(known, by)


def _protected(entry: Entry) -> str:
    """Why a run is never deleted; empty where it may be."""
    if entry.state == RUNNING or is_claimed(RunPaths(entry.path)):
        return "is running"
    if entry.tags is None:
        return "has tags that cannot be read"
    return f"is tagged {KEEP}" if KEEP in entry.tags else ""


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder; a link is as large as itself."""
    if path.is_dir() and not path.is_symlink():
        inside = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
        return sum(file.lstat().st_size for file in inside)
    return path.lstat().st_size
