"""What a run says of itself from its first minute on: which training it is, of what, and how far it has come."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.jax_setup import device
from mtquant_jax.runs.identity import Identity
from mtquant_jax.runs.versions import CodeVersion, code_version, versions
from mtquant_jax.storage.files import read_sealed, write_sealed
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.storage.records import JsonRecord

RUNNING, STOPPED, FAILED, FINISHED = "running", "stopped", "failed", "finished"


@dataclasses.dataclass(frozen=True)
class RunRecord(JsonRecord):
    """Content of ``logs/e2e_training/run.json``."""

    run_id: str
    started: str  # local time, ISO 8601
    phases: tuple[int, ...]
    state: str  # running, stopped, failed or finished; a run that was killed is still called running
    identity: Identity
    versions: Mapping[str, str]
    device: str
    sessions: int = 1  # processes that have trained it
    walk_forward: Mapping[str, Any] | None = None  # flag -> value, of a walk-forward
    code: CodeVersion | None = None  # None where the package is no checkout
    seconds: float | None = None  # wall time of all sessions that have ended; one that was killed does not count

    def ended(self, state: str, seconds: float) -> RunRecord:
        """The record once a session has ended in a state, after so many seconds."""
        return dataclasses.replace(self, state=state, seconds=(self.seconds or 0.0) + seconds)

    def write(self, paths: RunPaths) -> None:
        """Write it."""
        write_sealed(paths.run_record, self.to_json())


def read_record(paths: RunPaths) -> RunRecord | None:
    """The record of a run; None where there is none.

    Raises:
        UserError: it is damaged.
    """
    if not paths.run_record.exists() and not paths.run_record.is_symlink():
        return None
    what = f"`run_dir` {paths.run_dir}"
    return RunRecord.from_json(read_sealed(paths.run_record, what), str(paths.run_record))


def other_versions(then: Mapping[str, str]) -> str:
    """Packages that have another version now than they had, in words; empty where all are the same."""
    now = versions()
    changed = [f"{name} {then[name]}, now {now[name]}" for name in now if name in then and then[name] != now[name]]
    return ", ".join(changed)


def begun(
    before: RunRecord | None,
    run_id: str,
    start: datetime,
    phases: Sequence[int],
    identity: Identity,
    walk_forward: Mapping[str, Any] | None = None,
) -> RunRecord:
    """The record of a run that begins now, or goes on with an earlier one."""
    if before is not None:
        return dataclasses.replace(
            before,
            state=RUNNING,
            versions=versions(),
            code=code_version(),
            device=device(),
            sessions=before.sessions + 1,
        )
    return RunRecord(
        run_id=run_id,
        started=start.isoformat(timespec="seconds"),
        phases=tuple(phases),
        state=RUNNING,
        identity=identity,
        versions=versions(),
        device=device(),
        walk_forward=walk_forward,
        code=code_version(),
    )


def how_to_go_on(run_dir: Path | str, walk_forward: Mapping[str, Any] | None = None) -> str:
    """The command that resumes a run; ``walk_forward`` are the flags of a walk-forward."""
    if walk_forward is None:
        return f"mtquant-jax train --resume --run-dir {shlex.quote(str(run_dir))}"
    flags = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in walk_forward.items())
    return f"mtquant-jax walk-forward --resume --run-dir {shlex.quote(str(run_dir))} {flags}"


def how_to_evaluate(run_dir: Path | str) -> str:
    """The command that evaluates a training."""
    return f"mtquant-jax evaluate --run-dir {shlex.quote(str(run_dir))}"


def check_resumable(paths: RunPaths, walk_forward: Mapping[str, Any] | None = None) -> RunRecord:
    """The record of a run that can go on.

    Args:
        paths: of the run.
        walk_forward: flags of the walk-forward that is to go on; None for a training.

    Raises:
        UserError: it holds nothing that can go on, or a walk-forward with other flags.
    """
    record = read_record(paths)
    if record is None:
        if paths.phase_results(1).exists():
            raise UserError(
                f"`run_dir` {paths.run_dir} holds a training of an earlier version, which cannot be resumed; train "
                "into another `run_dir`"
            )
        raise UserError(
            f"`run_dir` {paths.run_dir} holds no training that could go on; begin it without `resume`, or correct the "
            "directory"
        )
    for phase in record.phases:
        if paths.phase_results(phase).exists():
            there = read_sealed(paths.phase_results(phase), f"`run_dir` {paths.run_dir}").get("run_id")
            if there != record.run_id:
                raise UserError(
                    f"{paths.run_record} is of training {record.run_id}, but {paths.phase_results(phase)} is of "
                    f"training {there}; copy a run directory as a whole, or train into another `run_dir`"
                )
    if (record.walk_forward is None) != (walk_forward is None):
        there = "a walk-forward" if record.walk_forward is not None else "a training"
        advice = how_to_go_on(paths.run_dir, record.walk_forward)
        raise UserError(f"`run_dir` {paths.run_dir} holds {there}; this goes on with it: {advice}")
    if record.walk_forward is not None and walk_forward is not None and dict(record.walk_forward) != dict(walk_forward):
        advice = how_to_go_on(paths.run_dir, record.walk_forward)
        raise UserError(
            f"`run_dir` {paths.run_dir} holds a walk-forward with other flags; this goes on with it: {advice}"
        )
    return record
