"""A file that says which process uses something; the claim ends with the process, however that ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mtquant_jax.errors import UserError


@contextlib.contextmanager
def claimed(path: Path, doing: str) -> Iterator[None]:
    """Keep what a lock file stands for, for one process.

    Args:
        path: the lock file, which stays.
        doing: what another process with the claim does, for the message.

    Raises:
        UserError: another process has the claim, or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    try:
        _lock(descriptor)
    except OSError:
        os.close(descriptor)
        raise UserError(f"another process {doing}; stop it, or name another place") from None
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock a file for this process alone, without waiting; OSError where another has it."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
