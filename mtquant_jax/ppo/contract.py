"""What PPO asks of an agent and an environment, and the pytrees it works on.

Axis letters: E environments, L steps of a rollout, B samples, A agents (each with its reward stream), K actions of the
widest agent.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
from flax import struct
from gymnax.environments.environment import Environment


class Distribution(Protocol):
    """An action distribution of A agents over any leading axes."""

    def mode(self) -> jax.Array:
        """The most likely action ``[..., A, K]``."""
        ...

    def sample(self, key: jax.Array) -> jax.Array:
        """One draw ``[..., A, K]``."""
        ...

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Log density ``[..., A]`` of an action ``[..., A, K]``."""
        ...

    def entropy(self) -> jax.Array:
        """Entropy ``[..., A]``, nats."""
        ...

    def kl_to(self, other: Any) -> jax.Array:
        """KL(self || other) ``[..., A]``, nats."""
        ...


@struct.dataclass
class Control:
    """A part of the reward that the action cannot change: what was held before it, and what that earned."""

    exposure: jax.Array  # [..., A, N] held before the action, in units of each reward stream
    driver: jax.Array  # [..., A, N] or [..., 1, N] earned over the step by one unit of exposure; no action moves it


@dataclasses.dataclass(frozen=True)
class Group:
    """A part of the parameters that is clipped and stepped on its own."""

    name: str
    stacked: bool = False  # a leading axis holds several agents, each clipped by its own global norm


class Agent(Protocol):
    """One or several policies that decide together; hashable, since it is a static argument.

    ``params`` and ``normalizers`` are dictionaries keyed by group name. All methods take any leading axes.
    """

    @property
    def num_agents(self) -> int:
        """A."""
        ...

    @property
    def groups(self) -> tuple[Group, ...]:
        """The parts of the parameters."""
        ...

    def inputs(self, observation: Any, env_params: Any) -> Any:
        """What the networks see: features looked up for compact observations."""
        ...

    def policy(self, params: Any, normalizers: Any, inputs: Any, env_params: Any) -> Distribution:
        """The action distribution."""
        ...

    def value(self, params: Any, normalizers: Any, inputs: Any) -> jax.Array:
        """Value ``[..., A]`` of each agent's reward stream."""
        ...

    def env_action(self, action: jax.Array) -> jax.Array:
        """``[..., A, K]`` -> what the environment takes."""
        ...

    def decides(self, observation: Any) -> jax.Array:
        """``[..., A]`` float, 1 where an agent's action counts."""
        ...

    def rewards(self, reward: jax.Array, info: dict[Any, Any]) -> jax.Array:
        """``[..., A]`` reward streams."""
        ...

    def control(self, info: dict[Any, Any]) -> Control | None:
        """What the step would have earned whatever the action was; None where that is not known."""
        ...

    def extend_normalizers(self, normalizers: Any, inputs: Any) -> Any:
        """Statistics extended by a batch of inputs."""
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
    num_minibatches: int
    num_epochs: int
    learn_normalizers: bool = True
    coordinated_group: str = ""  # group whose first two objectives' gradients are coordinated

    @property
    def timesteps_per_update(self) -> int:
        """Decisions per update, E x L."""
        return self.num_envs * self.num_steps


@struct.dataclass
class Hyper:
    """Every number of PPO that may change without compiling; scalars, or ``[S]`` for stacked groups."""

    learning_rate: Any  # {group: [] or [S]} Adam step size at the first update
    update_interval: Any  # {group: []} the group learns in every n-th update
    total_updates: jax.Array  # [] length of the annealing
    anneal_learning_rate: jax.Array  # [] 1 anneals linearly to zero, 0 does not
    gamma: jax.Array
    gae_lambda: jax.Array
    clip_range: jax.Array
    value_clip_range: jax.Array  # 0 is off
    value_weight: jax.Array
    entropy_weight: jax.Array
    max_grad_norm: jax.Array
    weight_decay: jax.Array  # of kernels, per unit of learning rate
    target_kl: jax.Array  # 0 is off
    leash: jax.Array  # weight of KL(policy || reference)
    individual_weight: jax.Array  # of the first coordinated gradient
    coordination_weight: jax.Array  # of the second
    project_conflicts: jax.Array  # [] 1 projects conflicting gradients before they are added, 0 does not


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
    control: Control | None  # [L, E, A, N]
    metrics: dict[str, jax.Array]  # [L, E] what the environment measures of itself, if it does


@struct.dataclass
class Batch:
    """Samples for the update."""

    observation: Any  # [B]
    action: jax.Array  # [B, A, K]
    log_prob: jax.Array  # [B, A]
    value: jax.Array  # [B, A]
    advantage: jax.Array  # [B, A]
    target: jax.Array  # [B, A] value target
    decides: jax.Array  # [B, A]
