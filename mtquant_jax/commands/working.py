"""Shows in a terminal that a command of several seconds is at work."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Turn beside a text in the terminal until the block ends; nothing elsewhere, so that outputs stay the same."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True, highlight=False).status(text):
        yield
