"""What a learner asks of an agent, and what acts.

Axis letters: A agents (each with its reward stream), K actions of the widest agent, N instruments.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import jax
from flax import struct


@struct.dataclass
class Policy:
    """What acts: parameters and the statistics of its observations, by group."""

    params: Any
    normalizers: Any


class Distribution(Protocol):
    """An action distribution of A agents over any leading axes."""

    def mode(self) -> jax.Array:
        """The most likely action ``[..., A, K]``."""
        ...

    def noise(self, key: jax.Array, count: int) -> jax.Array:
        """Random numbers ``[count, ...]`` that `sample` turns into as many draws; only shapes of the parameters count.

        They may be `jax.ShapeDtypeStruct`.
        """
        ...

    def sample(self, noise: jax.Array) -> jax.Array:
        """The draw ``[..., A, K]`` of one entry of `noise`."""
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
class ControlVariate:
    """A part of the reward that the action cannot change: what was held before it, and what that earned."""

    exposure: jax.Array  # [..., A, N] held before the action, in units of each reward stream
    driver: jax.Array  # [..., A, N] or [..., 1, N] earned over the step by one unit of exposure; no action moves it


@dataclasses.dataclass(frozen=True)
class Group:
    """A part of the parameters that is clipped and stepped on its own."""

    name: str
    agents: tuple[int, ...] = (0,)  # rows of actions that it decides
    stacked: bool = False  # a leading axis holds these agents, each clipped by its own global norm


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

    def control(self, info: dict[Any, Any]) -> ControlVariate | None:
        """What the step would have earned whatever the action was; None where that is not known."""
        ...

    def metrics(self, info: dict[Any, Any]) -> dict[str, jax.Array]:
        """What is measured of a step ``[...]``, by name; empty where the environment measures nothing."""
        ...

    def extend_normalizers(self, normalizers: Any, inputs: Any) -> Any:
        """Statistics extended by a batch of inputs."""
        ...
