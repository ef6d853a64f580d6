"""How a training lies on devices: its environments are divided among them, and everything else is on each.

The compiler derives the rest from that (GSPMD): every device steps its own environments, and what is summed over
environments or samples (gradients, statistics, metrics) is summed over devices. The numbers are those of one device, to
rounding. On one device nothing here adds anything to a program.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

T = TypeVar("T")

ENVIRONMENTS = "environments"
"""Name of the mesh's axis."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The devices of a training; static, as a part of its `Program`."""

    mesh: Mesh | None = None  # of the axis ENVIRONMENTS, over the devices of all processes; None: one device

    @property
    def num_devices(self) -> int:
        """Of all processes."""
        return 1 if self.mesh is None else int(self.mesh.size)

    def divided(self, tree: T, axis: int = 0) -> T:
        """Arrays of a compiled program of which each device holds its part of an axis."""
        return self._constrained(tree, PartitionSpec(*[None] * axis, ENVIRONMENTS))

    def on_each(self, tree: T) -> T:
        """Arrays of a compiled program of which each device holds all."""
        return self._constrained(tree, PartitionSpec())

    def of_state(self, state: Any, axis: int = 0) -> Any:
        """A `TrainState` of a compiled program as it is passed on; ``axis`` is that of the environments."""
        environments = {"env_state": state.env_state, "observation": state.observation}
        rest = self.on_each(dataclasses.replace(state, env_state=(), observation=()))
        return dataclasses.replace(rest, **self.divided(environments, axis))

    def _constrained(self, tree: T, spec: PartitionSpec) -> T:
        if self.mesh is None:
            return tree
        constrained: T = jax.lax.with_sharding_constraint(tree, NamedSharding(self.mesh, spec))
        return constrained
