"""What a run was computed with."""

from __future__ import annotations

import dataclasses
import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from mtquant_jax.storage.records import JsonRecord
from mtquant_jax.version import __version__

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "gymnax", "numpy", "orbax-checkpoint")


@functools.cache
def versions() -> dict[str, str]:
    """Version of this package, of Python and of what results depend on, by name."""
    found = {"mtquant-jax": __version__, "python": platform.python_version()}
    return found | {name: metadata.version(name) for name in _PACKAGES}


@dataclasses.dataclass(frozen=True)
class CodeVersion(JsonRecord):
    """The commit of a checkout that a run was computed with."""

    commit: str  # 40 hexadecimal digits
    changed: bool  # whether code or settings of the package differed from the commit


@functools.cache
def code_version() -> CodeVersion | None:
    """That of this package where it is a git checkout; None of an installed one, or without git."""
    return code_version_of(Path(__file__).resolve().parents[2])


def code_version_of(root: Path) -> CodeVersion | None:
    """That of a checkout; None where the folder is not the top of one, or git cannot tell."""
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "-s", "--", "mtquant_jax", "configs")
    return None if not commit or status is None else CodeVersion(commit, bool(status))


def _git(root: Path, *arguments: str) -> str | None:
    """What git prints on a checkout; None where it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    command = ["git", "-C", str(root), *arguments]
    try:
        found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
