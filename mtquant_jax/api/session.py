"""What a Python session needs besides results: notices in its log, and compiled programs kept on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable

import jax

from mtquant_jax.jax_setup import prepare_jax

_LOG = logging.getLogger("mtquant_jax")


def log(notices: Iterable[str]) -> None:
    """Log sentences for the user as warnings."""
    for notice in notices:
        _LOG.warning("%s", notice)


def keep_compiled_programs() -> None:
    """Keep compiled programs on disk, as the command line does, unless the session has another folder for them."""
    known = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    if known in (None, os.environ.get("JAX_COMPILATION_CACHE_DIR")):
        prepare_jax()
