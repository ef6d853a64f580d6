"""What a run was computed with."""

from __future__ import annotations

import functools
import platform
from importlib import metadata

from mtquant_jax.version import __version__

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "gymnax", "numpy", "orbax-checkpoint")


@functools.cache
def versions() -> dict[str, str]:
    """Version of this package, of Python and of what results depend on, by name."""
    found = {"mtquant-jax": __version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in _PACKAGES}
