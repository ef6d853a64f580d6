"""Puts trainings on the devices that `devices` asks for, and takes what the host needs of them back.

With several processes every one calls these functions at the same point, and the values of the first one count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mtquant_jax import processes
from mtquant_jax.errors import UserError
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.learning.layout import ENVIRONMENTS, Layout
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.training.learners import LEARNERS, rollout_of_ppo

T = TypeVar("T")


def layout_of(config: TrainConfig) -> Layout:
    """The first `devices` devices of every process."""
    if config.devices == 1 and processes.count() == 1:
        return Layout()
    chosen = [device for process in range(processes.count()) for device in _devices_of(process)[: config.devices]]
    return Layout(Mesh(np.array(chosen), (ENVIRONMENTS,)))


def check_devices(config: TrainConfig, phases: Sequence[int]) -> None:
    """Refuse devices that there are not, and environments that cannot be divided among them equally.

    Raises:
        UserError: the setting at fault, with values that would be right.
    """
    for process in range(processes.count()):
        if config.devices > (there := len(_devices_of(process))):
            where = f"process {process}" if processes.count() > 1 else "this machine"
            raise UserError(f"`devices` {config.devices}: {where} has {there}, {jax.devices()[0].platform}")
    total = config.devices * processes.count()
    for phase in phases:
        kind = LEARNERS[config.algorithm_of(phase)]
        key = "num_envs" if kind.rollout is rollout_of_ppo else f"{config.algorithm_of(phase)}.num_envs"
        if (num_envs := kind.rollout(config)[0]) % total:
            below = num_envs - num_envs % total
            nearest = " or ".join(str(number) for number in (below, below + total) if number)
            several = f" x {processes.count()} processes" if processes.count() > 1 else ""
            raise UserError(
                f"`{key}` {num_envs}: episodes are divided equally among `devices` {config.devices}{several}; the "
                f"nearest number is {nearest}"
            )


def _devices_of(process: int) -> list[jax.Device]:
    return [device for device in jax.devices() if device.process_index == process]


def on_each(layout: Layout, tree: T) -> T:
    """A pytree of arrays of this process with all of every array on each device; as it is on one device.

    Of several processes the arrays of the first one count. What is one array in several places is there once.
    """
    if (mesh := layout.mesh) is None:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    distinct = {id(leaf): leaf for leaf in leaves}
    placed = dict(zip(distinct, _copies(mesh, list(distinct.values())), strict=True))
    return jax.tree.unflatten(structure, [placed[id(leaf)] for leaf in leaves])


def spread(layout: Layout, state: TrainState, axis: int = 0) -> TrainState:
    """A state of this process with its environments divided among the devices; as it is on one device.

    Args:
        layout: of the training.
        state: the same in every process.
        axis: of the environments.
    """
    if (mesh := layout.mesh) is None:
        return state
    divided = PartitionSpec(*[None] * axis, ENVIRONMENTS)
    environments = (state.env_state, state.observation)
    env_state, observation = jax.tree.map(lambda leaf: _put(leaf, mesh, divided), environments)
    leaves, structure = jax.tree.flatten(dataclasses.replace(state, env_state=(), observation=()))
    rest: TrainState = jax.tree.unflatten(structure, _copies(mesh, leaves))
    return dataclasses.replace(rest, env_state=env_state, observation=observation)


def gathered(layout: Layout, tree: T) -> T:
    """A pytree of arrays on several devices as arrays of the first device of this process, each whole."""
    if (mesh := layout.mesh) is None:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    divided = [i for i, leaf in enumerate(leaves) if not leaf.is_fully_replicated]
    whole = jax.jit(_same, out_shardings=NamedSharding(mesh, PartitionSpec()))([leaves[i] for i in divided])
    # Awaited: two programs that exchange something must not run at once, in another order in each process.
    for i, leaf in zip(divided, jax.block_until_ready(whole), strict=True):
        leaves[i] = leaf
    result: T = jax.tree.unflatten(structure, [leaf.addressable_data(0) for leaf in leaves])
    return result


def _same(leaves: list[Any]) -> list[Any]:
    return leaves


def _copies(mesh: Mesh, leaves: list[Any]) -> list[jax.Array]:
    """Arrays of the first process on every device."""
    if processes.count() > 1 and leaves:
        plain = [np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf) for leaf in leaves]
        values = multihost_utils.broadcast_one_to_all(plain)
        leaves = [_like(leaf, value) for leaf, value in zip(leaves, values, strict=True)]
    return [_put(leaf, mesh, PartitionSpec()) for leaf in leaves]


def _put(leaf: Any, mesh: Mesh, spec: PartitionSpec) -> jax.Array:
    """An array on the devices of a mesh, in buffers of its own, for states are donated."""
    if _is_key(leaf):
        return _like(leaf, _put(jax.random.key_data(leaf), mesh, spec))
    value = np.array(leaf)
    return jax.make_array_from_callback(value.shape, NamedSharding(mesh, spec), lambda index: value[index])


def _like(leaf: Any, value: Any) -> Any:
    """A value that is a key where the leaf is one."""
    return jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else value


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
