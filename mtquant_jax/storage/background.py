"""A thread that does things one after the other while a training goes on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """Does what it is given, in order; what goes wrong is raised by a later call."""

    def __init__(self, name: str) -> None:
        """``name`` is of the thread, which begins with the first thing to do."""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._pending: list[Future[None]] = []

    def do(self, task: Callable[[], None]) -> None:
        """Put a task behind the others.

        Raises:
            Exception: that of an earlier task; this one is then not begun.
        """
        while self._pending and self._pending[0].done():
            self._pending.pop(0).result()
        self._pending.append(self._thread.submit(task))

    def wait(self) -> None:
        """Until all is done.

        Raises:
            Exception: the first one of these tasks.
        """
        pending, self._pending = self._pending, []
        errors = [error for one in pending if (error := one.exception()) is not None]  # waits for each
        if errors:
            raise errors[0]

    def close(self) -> None:
        """Let what is there be done, and end the thread; errors of it are not raised."""
        self._thread.shutdown()
