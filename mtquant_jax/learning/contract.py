"""What a learner is, and the pytrees that all learners work on.

Axis letters: E environments, L steps of a rollout, A agents (each with its reward stream), K actions of the widest
agent.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

import jax
from flax import struct

from mtquant_jax.agents.contract import Agent, ControlVariate
from mtquant_jax.learning.layout import Layout

if TYPE_CHECKING:  # any environment with this interface will do
    from gymnax.environments.environment import Environment

Metrics = dict[str, jax.Array]
"""Numbers of an update by name: ``[A]`` per agent, ``[]``, or ``[S]`` for stacked groups."""


class Learner(Protocol):
    """An algorithm; hashable, since it is part of the static `Program`, with its static sizes as fields."""

    @property
    def name(self) -> str:
        """What settings and results call it."""
        ...

    @property
    def closing_metrics(self) -> tuple[str, ...]:
        """Those of its metrics that the results keep of the last chunk, where a training has them."""
        ...

    def start(
        self, program: Program, params: Any, normalizers: Any, reference: Any, env_params: Any, key: jax.Array
    ) -> TrainState:
        """The state before the first update; traceable, arguments as `learning.train.start_training`."""
        ...

    def chunk(
        self, program: Program, state: TrainState, env_params: Any, hyper: Any, num_updates: jax.Array
    ) -> tuple[TrainState, Metrics]:
        """The state after ``num_updates`` updates, a traced number, and the mean of their metrics; traceable."""
        ...


@dataclasses.dataclass(frozen=True)
class Objective:
    """One loss whose gradient is taken by itself. Every tuple has A entries."""

    streams: tuple[int, ...]  # which reward stream's advantage each agent's policy follows
    policy: tuple[float, ...]  # weight of each agent's policy loss and entropy
    value: tuple[float, ...]  # weight of each agent's value loss
    leash: float = 0.0  # weight of the KL leash to the reference policy


@dataclasses.dataclass(frozen=True)
class Program:
    """All that is static: two trainings with equal programs share one compilation."""

    env: Environment
    agent: Agent
    objectives: tuple[Objective, ...]
    num_envs: int  # E
    num_steps: int  # L
    learner: Learner  # how the policy learns from a rollout
    learn_normalizers: bool = True
    coordinated_group: str = ""  # group that the first two objectives move, whose gradients are coordinated
    layout: Layout = Layout()  # on which devices it runs

    @property
    def timesteps_per_update(self) -> int:
        """Decisions per update, E x L."""
        return self.num_envs * self.num_steps


@struct.dataclass
class TrainState:
    """Everything a training needs to go on bit for bit."""

    params: Any  # {group: network parameters}
    optimizer: Any  # {group: Adam state}
    normalizers: Any  # {group: Normalizer}
    reference: Any  # {group: parameters} of the policies on the leash; empty without one
    env_state: Any  # [E]
    observation: Any  # [E]
    key: jax.Array
    update: jax.Array  # [] int32, updates done


@struct.dataclass
class Trajectory:
    """A rollout; observations are compact."""

    observation: Any  # [L, E]
    final_observation: Any  # [L, E], before a reset
    action: jax.Array  # [L, E, A, K]
    deviation: jax.Array  # [L, E, A, K] action drawn less the most likely one; 0 where padded
    log_prob: jax.Array  # [L, E, A]
    reward: jax.Array  # [L, E, A]
    terminated: jax.Array  # [L, E] bool
    truncated: jax.Array  # [L, E] bool
    decides: jax.Array  # [L, E, A]
    control: ControlVariate | None  # [L, E, A, N]
    metrics: dict[str, jax.Array]  # [L, E] what the environment measures of itself, if it does
