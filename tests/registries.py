"""The registries of rewards, networks and learners, which forget what a test adds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mtquant_jax.agents.networks import NETWORKS
from mtquant_jax.settings import choices
from mtquant_jax.simulation.reward import REWARDS
from mtquant_jax.training.learners import LEARNERS

_ALL: tuple[dict[Any, Any], ...] = (REWARDS, NETWORKS, LEARNERS, choices._REGISTERED)


@contextmanager
def restored() -> Iterator[None]:
    """Registries as they were, once the block ends."""
    before = [{name: list(entry) if isinstance(entry, list) else entry for name, entry in r.items()} for r in _ALL]
    try:
        yield
    finally:
        for registry, entries in zip(_ALL, before, strict=True):
            registry.clear()
            registry.update(entries)
