"""Turns of live trading one after the other, by one process at a time, until trading stops."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from mtquant_jax.deploy.live import LiveTrading, Turn
from mtquant_jax.errors import UserError

_LOCK = ".live.lock"


def keep_trading(
    trading: LiveTrading,
    every: float = 10.0,
    show: Callable[[str], None] = print,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    turns: int | None = None,
) -> Turn:
    """Make turns until a kill switch has closed everything.

    Args:
        trading: what makes them.
        every: seconds between two turns.
        show: shows a message; those of a turn that are the same as before are not shown again.
        now: seconds since 1970 UTC.
        sleep: waits so many seconds.
        turns: to make at most; None for no end.

    Returns:
        The last turn.

    Raises:
        UserError: a turn was refused, or another process trades in the folder.
    """
    shown: tuple[str, ...] = ()
    with claimed(trading.folder):
        for number in itertools.count(1):
            made = trading.turn(now())
            if made.messages != shown:
                for message in made.messages:
                    show(message)
            shown = made.messages
            if made.finished or number == turns:
                break
            sleep(every)
    return made


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep a folder of live trading for one process; the claim ends with the process, however that ends.

    Raises:
        UserError: another process has it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    try:
        _lock(descriptor)
    except OSError:
        os.close(descriptor)
        raise UserError(f"another process trades in {folder}; stop it, or give another folder") from None
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
