"""What PPO asks of an agent and an environment, and the pytrees it works on.

Axis letters: E environments, L steps of a rollout, B samples, A agents (each with its reward stream), K actions of the
widest agent.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
from flax import struct
from gymnax.environments.environment import Environment

from mtquant_jax.agents.contract import Agent, ControlVariate


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
    control: ControlVariate | None  # [L, E, A, N]
    metrics: dict[str, jax.Array]  # [L, E] what the environment measures of itself, if it does
