"""Turns training states into Orbax checkpoints and back, bit for bit, and notices every byte that changed in between.

Arrays are written by name (see `arrays`), so a checkpoint from a GPU opens on a CPU and the state of an optimiser needs
no special treatment. A checkpoint is a folder of several such trees and a description of it, which holds a checksum of
every file; it appears under its name only when all of it is on disk.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mtquant_jax.errors import UserError
from mtquant_jax.storage.arrays import empty_arrays, from_named_arrays, to_named_arrays
from mtquant_jax.storage.background import Background
from mtquant_jax.storage.files import read_sealed, write_sealed

if TYPE_CHECKING:  # Orbax takes a third of a second to import, and is not needed before the first checkpoint
    import numpy as np
    import orbax.checkpoint as ocp

DESCRIPTION = "checkpoint.json"
"""Name of the file that describes a checkpoint; it is written last."""

_FILES = "files"  # key of the description: file -> its size and SHA-256


class Damaged(UserError):
    """A checkpoint is not what was written."""


def _checkpointer() -> ocp.Checkpointer:
    """Of this process alone: where others train with it, Orbax would wait for them in the middle of their programs."""
    import jax
    import orbax.checkpoint as ocp

    alone = ocp.options.MultiprocessingOptions()
    if jax.process_count() > 1:
        own = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(own, {own}, barrier_sync_key_prefix=f"process_{own}")
    # One OCDBT store of zarr v2 arrays: ten files instead of two per array, and the fastest of the four combinations.
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=False, multiprocessing_options=alone)
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


class CheckpointWriter:
    """Writes checkpoints in the background, one after the other; the end of the ``with`` block waits for all.

    A checkpoint appears under its name only when it is complete, and replaces an older one of that name.
    """

    def __init__(self) -> None:
        self._background = Background("checkpoints")

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.wait()
        finally:
            self._background.close()  # waits, too

    def save(
        self,
        path: Path,
        trees: Mapping[str, Any],
        description: Mapping[str, Any],
        then: Callable[[], None] | None = None,
    ) -> None:
        """Copy pytrees to the host and start writing them to the directory `path`.

        The arrays may be donated or overwritten once this returns. Copies wait for their turn in memory: of one state
        of each training, where `wait` is called before the next.

        Args:
            path: directory of the checkpoint.
            trees: pytrees of arrays, typed PRNG keys and numbers, by the names of their folders.
            description: what `describe` gives back, as JSON.
            then: called in the background once the checkpoint is on disk.

        Raises:
            UserError: an earlier checkpoint could not be written.
        """
        # Orbax refuses arrays without elements; `restore` creates them again.
        arrays = {
            name: {key: array for key, array in to_named_arrays(tree).items() if array.size}
            for name, tree in trees.items()
        }
        self._background.do(functools.partial(_write, path.absolute(), arrays, dict(description), then))

    def wait(self) -> None:
        """Wait until everything is on disk.

        Raises:
            UserError: a checkpoint could not be written.
        """
        self._background.wait()


def _write(
    path: Path, trees: Mapping[str, dict[str, np.ndarray]], description: dict[str, Any], then: Callable[[], None] | None
) -> None:
    """Write a checkpoint beside its place, and put it there."""
    import orbax.checkpoint as ocp

    unfinished = path.with_name(f"{_UNFINISHED}{path.name}.{os.getpid()}")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name, arrays in trees.items():
            with _checkpointer() as checkpointer:
                checkpointer.save(unfinished / name, ocp.args.PyTreeSave(arrays))
        files = {str(file.relative_to(unfinished).as_posix()): _stamp(file) for file in _files(unfinished)}
        write_sealed(unfinished / DESCRIPTION, {**description, _FILES: files})
        _to_disk(unfinished)
        if path.exists():
            shutil.rmtree(path)
        os.replace(unfinished, path)
        _sync(path.parent)
        if then is not None:
            then()
    except Exception as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise UserError(f"checkpoint {path} cannot be written: {_reason(error, path)}") from error


_UNFINISHED = ".unfinished."


def remove_unfinished(folder: Path) -> None:
    """Remove checkpoints that a process was killed in the middle of."""
    for unfinished in folder.rglob(f"{_UNFINISHED}*"):
        shutil.rmtree(unfinished, ignore_errors=True)


def describe(path: Path) -> dict[str, Any]:
    """The description of a checkpoint, which is read without its arrays.

    Raises:
        Damaged: it is missing, or is not what was written.
    """
    path = path.absolute()
    if not path.is_dir():
        raise Damaged(f"checkpoint {path} does not exist; was the run directory cleaned or copied incompletely?")
    if not (path / DESCRIPTION).is_file():
        raise Damaged(
            f"checkpoint {path} is incomplete: it has no {DESCRIPTION}, which lists its files and their checksums"
        )
    try:
        return read_sealed(path / DESCRIPTION, f"checkpoint {path}")
    except UserError as error:
        raise Damaged(str(error)) from None


def check(path: Path) -> dict[str, Any]:
    """The description of a checkpoint of which every file is as it was written.

    Raises:
        Damaged: a file is missing, was added, or has other bytes.
    """
    path, description = path.absolute(), describe(path)
    stamps = description.get(_FILES)
    if not isinstance(stamps, dict):
        raise Damaged(f"checkpoint {path} does not list its files")
    there = {file.relative_to(path).as_posix(): file for file in _files(path)}
    del there[DESCRIPTION]
    for name in sorted({*stamps, *there}):
        if name not in there:
            raise Damaged(f"checkpoint {path} is damaged: {name} is missing")
        if name not in stamps:
            raise Damaged(f"checkpoint {path} is damaged: {name} is not part of it")
        if there[name].is_symlink() or _stamp(there[name]) != stamps[name]:
            raise Damaged(f"checkpoint {path} is damaged: {name} has other bytes than were written")
    return description


def restore(path: Path, name: str, like: Any) -> Any:
    """Read a tree of a checkpoint that `check` has passed.

    Args:
        path: directory of the checkpoint.
        name: of the tree in it.
        like: a pytree of the structure that was saved, concrete or from `jax.eval_shape`.

    Returns:
        a pytree like `like` with the arrays that were saved.

    Raises:
        UserError: the checkpoint is missing or damaged, or its arrays do not match `like`.
    """
    path = path.absolute()
    if not (path / name).is_dir():
        raise Damaged(f"checkpoint {path} cannot be read: it has no {name}")
    import orbax.checkpoint as ocp

    try:
        with _checkpointer() as checkpointer:
            arrays = checkpointer.restore(path / name, args=ocp.args.PyTreeRestore())
    except (OSError, ValueError, KeyError) as error:
        raise Damaged(f"checkpoint {path} cannot be read: {_reason(error, path)}") from error
    return from_named_arrays({**empty_arrays(like), **arrays}, like, f"checkpoint {path}")


def _files(folder: Path) -> list[Path]:
    """All files of a checkpoint, and whatever else is not a folder."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _stamp(file: Path) -> list[Any]:
    """Size in bytes and SHA-256 of a file."""
    content = file.read_bytes()
    return [len(content), hashlib.sha256(content).hexdigest()]


def _to_disk(folder: Path) -> None:
    """Wait until a folder would survive a loss of power."""
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception, path: Path) -> str:
    """What went wrong in a line, with the space that is left where that may be it."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    if "space" in text.lower() or "quota" in text.lower():
        existing = next(parent for parent in path.parents if parent.exists())
        text += f" ({shutil.disk_usage(existing).free / 1e6:,.0f} MB are free on this disk)"
    return text
