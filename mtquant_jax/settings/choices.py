"""Values of a setting that are registered in Python, besides those that its type lists."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from mtquant_jax.errors import UserError

_REGISTERED: dict[Any, list[str]] = {}


def choices_of(kind: Any) -> tuple[Any, ...]:
    """All values of a setting whose type is the Literal ``kind``."""
    return (*typing.get_args(kind), *_REGISTERED.get(kind, ()))


def register(kind: Any, name: str, registry: Mapping[str, Any]) -> None:
    """Let settings of a Literal type name an entry that is about to join a registry.

    Raises:
        UserError: the registry has the name already.
    """
    if name in registry:
        raise UserError(f"{name} is registered already; choose another name")
    _REGISTERED.setdefault(kind, []).append(name)
