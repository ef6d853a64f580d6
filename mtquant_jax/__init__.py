"""Trains hierarchies of trading agents with JAX: market data in, models, metrics and reports out.

The names below are those of `mtquant_jax.api`, which is imported with the first use of one: importing the package
alone brings no JAX.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mtquant_jax.version import __version__

if TYPE_CHECKING:
    from mtquant_jax.api import (
        Run,
        UserError,
        bars_frame,
        load_bars,
        load_config,
        load_policy,
        load_run,
        make_env,
        make_gymnasium,
        prepare,
        train,
    )
    from mtquant_jax.api.sweep import sweep

__all__ = [
    "Run",
    "UserError",
    "__version__",
    "bars_frame",
    "load_bars",
    "load_config",
    "load_policy",
    "load_run",
    "make_env",
    "make_gymnasium",
    "prepare",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import the Python API with the first use of one of its names."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("mtquant_jax.api"), name)


def __dir__() -> list[str]:
    """All names, also those that are not imported yet."""
    return sorted({*globals(), *__all__})
