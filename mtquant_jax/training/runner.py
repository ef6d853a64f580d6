"""The training state on the device, and how a compiled chunk moves it on; of one member or of several side by side."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.hierarchy import stack, unstack
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.learning.train import start_training, train_chunk, train_chunk_parallel
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.curriculum import Curriculum
from mtquant_jax.training.phases import Plan


class Runner:
    """Holds the training state on the device and advances it chunk by chunk."""

    def __init__(self, compiler: Compiler, plans: Sequence[Plan], curricula: Sequence[Curriculum]) -> None:
        self._plans, self._count, self.seconds = plans, len(plans), 0.0
        self._parallel = len(plans) > 1
        self._shared = self._parallel and all(plan.env_params is plans[0].env_params for plan in plans)
        if curricula:
            plans = [_with_curriculum(plan, curriculum) for plan, curriculum in zip(plans, curricula, strict=True)]
            self._shared = False
        program = plans[0].program
        states = [_started(compiler, plan) for plan in plans]
        self._state = stack(states) if self._parallel else states[0]
        self._hyper = stack([plan.hyper for plan in plans]) if self._parallel else plans[0].hyper
        each_market = self._parallel and not self._shared
        self._env_params = stack([plan.env_params for plan in plans]) if each_market else plans[0].env_params
        self._function = train_chunk_parallel if self._parallel else train_chunk
        self._static = (program, self._shared) if self._parallel else (program,)
        self._compiler = compiler

    def prepare(self) -> None:
        """Compile a chunk; what was trained before needs none."""
        arguments = (self._state, self._env_params, self._hyper, jnp.ones((), jnp.int32))
        self._chunk = self._compiler(self._function, self._static, *arguments)

    def follow(self, curricula: Sequence[Curriculum]) -> None:
        """Let new episodes start where each member's curriculum stands; nothing without one."""
        if curricula:
            num_paths = self._plans[0].env_params.path_probability.shape[0]
            drawn = [jnp.asarray(curriculum.path_probability(num_paths)) for curriculum in curricula]
            probability = stack(drawn) if self._parallel else drawn[0]
            self._env_params = dataclasses.replace(self._env_params, path_probability=probability)

    def run(self, updates: int) -> list[dict[str, np.ndarray]]:
        """Advance by a number of updates; metrics of each member."""
        start = time.perf_counter()
        self._state, metrics = self._chunk(self._state, self._env_params, self._hyper, jnp.asarray(updates, jnp.int32))
        metrics = jax.device_get(metrics)
        self.seconds += time.perf_counter() - start
        return [unstack(metrics, i) for i in range(self._count)] if self._parallel else [metrics]

    def kept(self) -> TrainState:
        """A copy of the state, which the next chunk donates; on a CPU of NumPy arrays, which is quick."""
        copied: TrainState = jax.tree.map(_kept, self._state)
        return copied

    def policies(self, state: TrainState) -> list[Policy]:
        """The policy of each member in a state."""
        policy = Policy(state.params, state.normalizers)
        return [unstack(policy, i) for i in range(self._count)] if self._parallel else [policy]

    def params(self) -> list[Any]:
        """The parameters of each member, on the host."""
        params = jax.device_get(self._state.params)
        return [unstack(params, i) for i in range(self._count)] if self._parallel else [params]

    def go_back(self, state: TrainState) -> None:
        """Go on from a state that was kept."""
        self._state = jax.tree.map(jnp.asarray, state)

    def stand_at(self, states: Sequence[TrainState], seconds: float) -> None:
        """Go on from states of each member that were restored, after so many seconds of training."""
        self._state = stack(states) if self._parallel else states[0]
        self.seconds = seconds

    def states(self) -> list[TrainState]:
        """The state of each member."""
        return [unstack(self._state, i) for i in range(self._count)] if self._parallel else [self._state]


def _started(compiler: Compiler, plan: Plan) -> TrainState:
    """The first state of a plan, in buffers of its own, since it is donated."""
    arguments = jax.tree.map(_copy, (plan.start.params, plan.start.normalizers, plan.reference))
    arguments = (*arguments, plan.env_params, plan.key)
    started: TrainState = compiler(start_training, (plan.program,), *arguments)(*arguments)
    return started


def _copy(leaf: jax.Array) -> jax.Array:
    return jax.device_put(np.array(leaf)) if jax.default_backend() == "cpu" else jnp.copy(leaf)


def _kept(leaf: jax.Array) -> Any:
    is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jnp.copy(leaf) if is_key or jax.default_backend() != "cpu" else np.array(leaf)


def _with_curriculum(plan: Plan, curriculum: Curriculum) -> Plan:
    """The plan with episodes that start as often on each path as the curriculum wants."""
    drawn = jnp.asarray(curriculum.path_probability(plan.env_params.table.open.shape[0]))
    return dataclasses.replace(plan, env_params=dataclasses.replace(plan.env_params, path_probability=drawn))
