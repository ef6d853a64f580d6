"""A directory that receives a training: what it holds, who writes to it, and what a new training replaces."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from mtquant_jax.errors import UserError
from mtquant_jax.runs.run_record import FINISHED, read_record
from mtquant_jax.storage.paths import RunPaths, evaluation_dir

try:
    import fcntl
except ImportError:  # not on Windows, where two trainings in one directory are not told apart
    fcntl = None  # type: ignore[assignment]

_PHASES = (1, 2, 3)
_UNFINISHED = "that was not finished"
_ADVICE = "give another `run_dir`, such as runs/{time}, or replace all of it with `overwrite`"
_LOCK = ".training.lock"
_EVALUATION = ("report.html", "metrics.json", "equity.csv", "trades.csv", "positions.csv")


def named(run_dir: str, start: datetime) -> str:
    """The run directory with ``{time}`` replaced by the start, YYYYMMDD_HHMMSS.

    Raises:
        UserError: it has another name in braces.
    """
    for name in re.findall(r"\{(\w*)\}", run_dir):
        if name != "time":
            raise UserError(f"`run_dir` {run_dir}: {{{name}}} has no meaning; {{time}} is the start of the training")
    return run_dir.replace("{time}", f"{start:%Y%m%d_%H%M%S}")


def check_free(paths: RunPaths, overwrite: bool) -> None:
    """Refuse a directory that holds a training, unless it may be replaced.

    Raises:
        UserError: it holds one; the message says which.
    """
    if not overwrite and (found := held(paths)):
        goes_on = "go on with it with `resume`, " if found.endswith(_UNFINISHED) else ""
        raise UserError(f"`run_dir` {paths.run_dir} holds {found}; {goes_on}{_ADVICE}")


def held(paths: RunPaths) -> str:
    """What training a directory holds, in words; empty where it holds none."""
    if (paths.run_dir / "walk_forward.json").exists() or any(paths.run_dir.glob("fold_*/seed_*/models")):
        return "a walk-forward"
    if any(paths.run_dir.glob("fold_*/models/checkpoints")):
        return f"a walk-forward {_UNFINISHED}"
    with contextlib.suppress(UserError):  # a record that is damaged says nothing
        if (record := read_record(paths)) is not None and record.state != FINISHED:
            return f"a {'training' if record.walk_forward is None else 'walk-forward'} {_UNFINISHED}"
    done = [phase for phase in _PHASES if paths.phase_results(phase).exists()]
    if done:
        return f"a training (phase{'s' * (len(done) > 1)} {', '.join(map(str, done))})"
    begun = [
        phase for phase in _PHASES if paths.checkpoints(phase).is_dir() and any(paths.checkpoints(phase).iterdir())
    ]
    models = [*paths.specialist_bundles.glob("*_specialist.zip"), *([paths.meta_bundle] * paths.meta_bundle.exists())]
    if begun or models or paths.training_summary.exists():
        return f"a training {_UNFINISHED}" if begun else "models of a training"
    return ""


def check_paths(paths: RunPaths) -> None:
    """Find what would stop a training from writing its files, before it begins.

    Raises:
        UserError: a file stands where a folder is needed or the other way round, or something cannot be written.
    """
    files = [paths.phase_results(phase) for phase in _PHASES] + [paths.metrics_csv(phase) for phase in _PHASES]
    files += [paths.training_summary, paths.resolved_config, paths.run_record, paths.meta_bundle]
    folders = [paths.run_dir, paths.tensorboard, paths.specialist_bundles]
    folders += [file.parent for file in files] + [paths.checkpoints(phase) for phase in _PHASES]
    folders.append(evaluation_dir(paths))
    for folder in dict.fromkeys(folders):
        existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
        if not existing.is_dir():
            raise UserError(f"`run_dir` {paths.run_dir}: {existing} is a file, and a folder is needed there")
        _check_permission(paths, existing, os.W_OK | os.X_OK)
    for file in (*files, *paths.specialist_bundles.glob("*_specialist.zip")):
        if file.is_dir():
            raise UserError(f"`run_dir` {paths.run_dir}: {file} is a folder, and a file is needed there")
        if file.exists():
            _check_permission(paths, file, os.W_OK)


def _check_permission(paths: RunPaths, path: Path, to_write: int) -> None:
    for mode, what in ((to_write, "written"), (os.R_OK, "read")):
        if not os.access(path, mode):
            raise UserError(f"`run_dir` {paths.run_dir}: {path} cannot be {what}: permission denied")


@contextlib.contextmanager
def claimed(paths: RunPaths) -> Iterator[None]:
    """Keep a directory for one training at a time; the claim ends with the process, however that ends.

    Raises:
        UserError: another training has it, or it cannot be written.
    """
    if fcntl is None:
        yield
        return
    path = paths.run_dir / _LOCK
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(path)
    except OSError as error:
        raise UserError(f"`run_dir` {paths.run_dir} cannot be written: {error.strerror}") from None
    if descriptor is None:
        raise _running(paths)
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock is given up: whoever waits finds a new file
        os.close(descriptor)


def is_claimed(paths: RunPaths) -> bool | None:
    """Whether a process trains in a directory now; None where that cannot be known (on Windows)."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(paths.run_dir / _LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _locked(path: Path) -> int | None:
    """A descriptor of the locked file; None where another one has it locked."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # its last owner has removed it since


def check_not_running(paths: RunPaths) -> None:
    """Refuse a directory that another process trains in now, before anything is said of what it holds.

    Raises:
        UserError: one does.
    """
    if is_claimed(paths):
        raise _running(paths)


def _running(paths: RunPaths) -> UserError:
    return UserError(
        f"`run_dir` {paths.run_dir}: another training is running there{_owner(paths.run_dir / _LOCK)}; wait for its "
        "end, or give another `run_dir`"
    )


def _owner(path: Path) -> str:
    with contextlib.suppress(OSError):
        if text := path.read_text(encoding="utf-8").strip():
            return f" ({text})"
    return ""


def clear(paths: RunPaths, phases: Sequence[int], all_of_it: bool) -> None:
    """Remove what a new training makes stale: later phases, the summary and the evaluation, or all that a run leaves.

    Only files that a run writes are removed. The record of trials stays: how often bars were used to judge trainings
    does not change with the training that is judged.

    Args:
        paths: of the run.
        phases: from which on results and checkpoints go.
        all_of_it: whether models, metrics, logs and tags go as well.
    """
    _remove(_stale(paths, phases))
    with contextlib.suppress(OSError):
        evaluation_dir(paths).rmdir()
    if all_of_it:
        _remove(_kept_by_later_phases(paths))
        _remove_empty(paths.run_dir, *_FOLDERS[:2])


def owned(paths: RunPaths) -> list[Path]:
    """All that `clear` removes where all of a run goes: files, and folders with all that is in them, each once."""
    found = {path for path in (*_stale(paths, _PHASES), *_kept_by_later_phases(paths)) if os.path.lexists(path)}
    return sorted(path for path in found if found.isdisjoint(path.parents))


def delete(paths: RunPaths) -> bool:
    """Remove all that a run owns, and the folders that are empty then; returns whether the run directory is gone.

    Raises:
        UserError: a training is running there, or a file cannot be removed.
    """
    try:
        with claimed(paths):
            _remove(owned(paths))
    except OSError as error:
        raise UserError(f"`run_dir` {paths.run_dir}: {error.filename} cannot be removed: {error.strerror}") from None
    if left := owned(paths):
        raise UserError(f"`run_dir` {paths.run_dir}: {left[0]} cannot be removed")
    _remove_empty(paths.run_dir, *_FOLDERS)
    with contextlib.suppress(OSError):
        paths.run_dir.rmdir()
    return not paths.run_dir.exists()


_FOLDERS = (
    *("fold_[0-9]*/models", "fold_[0-9]*", "evaluation", "metrics/training", "metrics", "models/checkpoints"),
    *("models/specialists", "models/meta_controller", "models", "logs/tensorboard", "logs/e2e_training", "logs"),
)
"""Folders that a run makes, those within others first."""


def _stale(paths: RunPaths, phases: Sequence[int]) -> list[Path]:
    """What a training of these phases makes stale."""
    found: list[Path] = []
    for phase in _PHASES:
        if phase >= min(phases):
            found += [paths.checkpoints(phase), paths.phase_results(phase), paths.metrics_csv(phase)]
    evaluation = evaluation_dir(paths)
    return [*found, paths.training_summary, paths.run_record, *(evaluation / name for name in _EVALUATION)]


def _kept_by_later_phases(paths: RunPaths) -> list[Path]:
    """What else a run leaves."""
    run_dir = paths.run_dir
    found = [paths.resolved_config, paths.tags, paths.meta_bundle, *paths.specialist_bundles.glob("*_specialist.zip")]
    found += paths.log_dir.glob("e2e_training_????????_??????.log")
    found += paths.tensorboard.glob("????????_??????")
    found += run_dir.glob("fold_*/models/checkpoints")
    trained = {models.parents[1] for models in run_dir.glob("fold_*/seed_*/models")}
    if (run_dir / "walk_forward.json").exists() or trained:
        found += [run_dir / name for name in ("walk_forward.json", "walk_forward.png", "equity.csv")]
    return [*found, *trained]


def clear_checkpoints(run_dir: Path) -> None:
    """Remove the checkpoints of all folds of a walk-forward."""
    _remove(run_dir.glob("fold_*/models/checkpoints"))
    _remove_empty(run_dir, *_FOLDERS[:2])


def _remove_empty(run_dir: Path, *patterns: str) -> None:
    """Remove the folders that are empty, pattern after pattern."""
    for pattern in patterns:
        for folder in list(run_dir.glob(pattern)):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _remove(paths: Iterable[Path]) -> None:
    """Remove files, and folders with all that is in them; a link goes, and not what it leads to."""
    for path in list(paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
