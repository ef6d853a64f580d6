"""Turns whatever the content of a file can cause into one sentence for the user; its cause stays attached."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mtquant_jax.errors import UserError

_OURS = (AssertionError, AttributeError, ImportError, NameError, NotImplementedError)
"""Errors of this program and not of a file: they stay what they are."""


@contextlib.contextmanager
def wall(origin: str) -> Iterator[None]:
    """Raise UserError, which names the file, in place of any error that a file can cause.

    Sentences of the loaders pass unchanged. They know row and value; what reaches this wall is known only by its kind,
    such as a format that Arrow does not support or a size that does not fit into memory.
    """
    try:
        yield
    except (UserError, *_OURS):
        raise
    except MemoryError as error:
        raise UserError(f"{origin} does not fit into memory: {_first_line(error)}") from error
    except Exception as error:
        raise UserError(
            f"{origin} cannot be read ({type(error).__name__}: {_first_line(error)}); it may be damaged: export or "
            "download it again"
        ) from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")[:200] or "no details"
