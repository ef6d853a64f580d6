"""The training states on the device, and how a compiled chunk moves them on; of one member or of several side by side.

On a CPU every member runs the program of a single training, several at a time on threads (*lanes*): that is quicker
than one vmapped program, compiles nothing besides, and gives each member the bytes that it would have alone. On an
accelerator, members of one program are vmapped. Programs of several devices wait for each other's parts, so that they
run one after the other: two at a time could each hold what the other waits for.
"""

from __future__ import annotations

import abc
import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.hierarchy import stack, unstack
from mtquant_jax.jax_setup import available_cores
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.learning.train import start_training, train_chunk, train_chunk_parallel
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.curriculum import Curriculum
from mtquant_jax.training.phases import Plan
from mtquant_jax.training.placement import gathered, on_each, spread

Metrics = dict[str, np.ndarray]

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(function: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """The function of each item, as many at a time as there are cores; it must wait outside the interpreter lock."""
    lanes = min(len(items), available_cores())
    if lanes < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(lanes) as pool:
        return list(pool.map(function, items))


class Runner(abc.ABC):
    """Holds the training states of N members on the device and advances them chunk by chunk."""

    def __init__(self, compiler: Compiler, plans: Sequence[Plan], curricula: Sequence[Curriculum]) -> None:
        self._compiler, self._plans, self.seconds = compiler, plans, 0.0
        self._layout = plans[0].program.layout
        self._env_params: list[Any] = on_each(self._layout, [plan.env_params for plan in plans])
        self._hypers: list[Any] = on_each(self._layout, [plan.hyper for plan in plans])
        self.follow(curricula)
        started = [_started(compiler, plan, env) for plan, env in zip(plans, self._of_host(), strict=True)]
        self._states = [spread(self._layout, state) for state in started]

    def _of_host(self) -> list[Any]:
        """The market of each member on the first device of this process."""
        return gathered(self._layout, self._env_params)

    def follow(self, curricula: Sequence[Curriculum]) -> None:
        """Let new episodes start where each member's curriculum stands; nothing without one."""
        for i, curriculum in enumerate(curricula):
            env_params = self._env_params[i]
            num_paths = env_params.table.open.shape[0]
            drawn = on_each(self._layout, jnp.asarray(curriculum.path_probability(num_paths)))
            self._env_params[i] = dataclasses.replace(env_params, path_probability=drawn)

    @abc.abstractmethod
    def prepare(self) -> None:
        """Compile a chunk; what was trained before needs none."""

    @abc.abstractmethod
    def _advance(self, updates: jax.Array) -> list[Metrics]:
        """Move every state on by a number of updates; metrics of each member."""

    def run(self, updates: int) -> list[Metrics]:
        """Advance by a number of updates; metrics of each member."""
        start = time.perf_counter()
        metrics = self._advance(on_each(self._layout, jnp.asarray(updates, jnp.int32)))
        self.seconds += time.perf_counter() - start
        return metrics

    @abc.abstractmethod
    def states(self) -> list[TrainState]:
        """The state of each member, whole; several processes must all ask for it."""

    @abc.abstractmethod
    def stand_at(self, states: Sequence[TrainState]) -> None:
        """Go on from other states of each member."""

    def params(self) -> list[Any]:
        """The parameters of each member, on the host."""
        return jax.device_get([state.params for state in self.states()])


class _Lanes(Runner):
    """Each member runs the program of a single training."""

    def prepare(self) -> None:
        one = on_each(self._layout, jnp.ones((), jnp.int32))
        arguments = zip(self._plans, self._states, self._env_params, self._hypers, strict=True)
        self._chunks = [self._compiler(train_chunk, (plan.program,), *of_plan, one) for plan, *of_plan in arguments]

    def _advance(self, updates: jax.Array) -> list[Metrics]:
        def advance(i: int) -> Metrics:
            moved = self._chunks[i](self._states[i], self._env_params[i], self._hypers[i], updates)
            self._states[i], metrics = moved
            return jax.device_get(metrics)

        members = range(len(self._states))
        return side_by_side(advance, members) if self._layout.mesh is None else [advance(i) for i in members]

    def states(self) -> list[TrainState]:
        return gathered(self._layout, self._states)

    def stand_at(self, states: Sequence[TrainState]) -> None:
        self._states = [spread(self._layout, jax.tree.map(jnp.asarray, state)) for state in states]


class _Vmapped(Runner):
    """All members run as one program, in which leaves of their markets that are one array are there once."""

    _stacked: TrainState

    def __init__(self, compiler: Compiler, plans: Sequence[Plan], curricula: Sequence[Curriculum]) -> None:
        super().__init__(compiler, plans, curricula)
        self.stand_at(gathered(self._layout, self._states))
        self._states = []  # the stacked ones take their place
        self._hyper = on_each(self._layout, stack([plan.hyper for plan in plans]))

    def follow(self, curricula: Sequence[Curriculum]) -> None:
        super().follow(curricula)
        of_each = [jax.tree.leaves(env_params) for env_params in self._env_params]
        columns = list(zip(*of_each, strict=True))
        self._shared = tuple(all(leaf is column[0] for leaf in column) for column in columns)
        pairs = zip(self._shared, columns, strict=True)
        leaves = [column[0] if once else self._stack(column) for once, column in pairs]
        self._market = jax.tree.unflatten(jax.tree.structure(self._env_params[0]), leaves)

    def prepare(self) -> None:
        static = (self._plans[0].program, self._shared)
        one = on_each(self._layout, jnp.ones((), jnp.int32))
        self._chunk = self._compiler(train_chunk_parallel, static, self._stacked, self._market, self._hyper, one)

    def _advance(self, updates: jax.Array) -> list[Metrics]:
        self._stacked, metrics = self._chunk(self._stacked, self._market, self._hyper, updates)
        metrics = jax.device_get(metrics)
        return [unstack(metrics, i) for i in range(len(self._plans))]

    def states(self) -> list[TrainState]:
        stacked = gathered(self._layout, self._stacked)
        return [unstack(stacked, i) for i in range(len(self._plans))]

    def stand_at(self, states: Sequence[TrainState]) -> None:
        self._stacked = spread(self._layout, stack(states), axis=1)

    def _stack(self, leaves: Sequence[jax.Array]) -> jax.Array:
        return on_each(self._layout, stack(gathered(self._layout, leaves)))


def runner_of(
    compiler: Compiler, plans: Sequence[Plan], curricula: Sequence[Curriculum], vmapped: bool | None = None
) -> Runner:
    """The runner that suits the device.

    Args:
        compiler: keeps the compiled programs.
        plans: of one program.
        curricula: one per plan, or none.
        vmapped: whether several members run as one program; None: unless the device is a CPU.
    """
    vmapped = jax.default_backend() != "cpu" if vmapped is None else vmapped
    return (_Vmapped if vmapped and len(plans) > 1 else _Lanes)(compiler, plans, curricula)


def kept(state: T) -> T:
    """A copy of arrays that the next chunk donates; on a CPU of NumPy arrays, which is quick."""
    copied: T = jax.tree.map(_kept, state)
    return copied


def _kept(leaf: jax.Array) -> Any:
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jnp.copy(leaf) if is_key or jax.default_backend() != "cpu" else np.array(leaf)


def _started(compiler: Compiler, plan: Plan, env_params: Any) -> TrainState:
    """The first state of a plan, in buffers of its own, since it is donated."""
    arguments = jax.tree.map(_copy, (plan.start.params, plan.start.normalizers, plan.reference))
    arguments = (*arguments, env_params, plan.key)
    started: TrainState = compiler(start_training, (plan.program,), *arguments)(*arguments)
    return started


def _copy(leaf: jax.Array) -> jax.Array:
    return jax.device_put(np.array(leaf)) if jax.default_backend() == "cpu" else jnp.copy(leaf)
