"""Ctrl-C and SIGTERM while something is trained: the chunk is finished and saved; a second one stops at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from mtquant_jax.errors import Interrupted

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether someone wants a training to stop."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def is_made(self) -> bool:
        """Whether a signal came."""
        return self.signal is not None

    def interrupted(self, text: str) -> Interrupted:
        """What to raise once everything is saved."""
        return Interrupted(text, signal.SIGINT if self.signal is None else self.signal)


@contextlib.contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Note the first SIGINT or SIGTERM of the block instead of dying of it; die of the second at once.

    Only the main thread of a process hears signals; elsewhere nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if request.is_made():
            os.write(2, b"stopped at once; what was not saved is trained again\n")
            os._exit(128 + number)  # background threads would keep the process waiting
        request.signal = signal.Signals(number)
        name = "Ctrl-C" if number == signal.SIGINT else request.signal.name
        os.write(2, _NOTICE.format(name).encode())  # print may be in the middle of another line

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_NOTICE = "{}: finishing this chunk and saving; once more stops at once\n"
