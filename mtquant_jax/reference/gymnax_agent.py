"""An agent for any gymnax environment with a flat observation: a discrete or continuous policy and its critic.

It trains standard environments with the same PPO as the trading agents, which verifies the PPO implementation.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces
from gymnax.environments.environment import Environment

from mtquant_jax.agents.contract import Distribution, Group
from mtquant_jax.agents.dense import dense_layer
from mtquant_jax.agents.distributions import Categorical, DiagonalGaussian
from mtquant_jax.agents.networks import initialise
from mtquant_jax.agents.normalizer import start_normalizer

CONTROL = "control"


class ControlNetwork(nn.Module):
    """Separate policy and critic, with two hidden tanh layers each."""

    num_outputs: int  # number of choices N of a discrete action space, number of dimensions K of a continuous one
    hidden_size: int
    continuous: bool
    initial_log_std: float = 0.0  # of a continuous policy, log of units of the action

    def setup(self) -> None:
        """Create the layers."""
        self.encoder = dense_layer(self.hidden_size)
        self.trunk = dense_layer(self.hidden_size)
        self.policy_head = dense_layer(self.num_outputs)
        if self.continuous:
            self.log_std = self.param("log_std", nn.initializers.constant(self.initial_log_std), (self.num_outputs,))
        self.critic_encoder = dense_layer(self.hidden_size)
        self.critic_trunk = dense_layer(self.hidden_size)
        self.value_head = dense_layer(1)

    def __call__(self, observation: jax.Array) -> tuple[Distribution, jax.Array]:
        """Policy of one agent and value ``[...]`` of observations ``[..., D]``."""
        return self.policy(observation), self.value(observation)

    def policy(self, observation: jax.Array) -> Distribution:
        """Distribution of one agent's action from observations ``[..., D]``."""
        outputs = self.policy_head(nn.tanh(self.trunk(nn.tanh(self.encoder(observation)))))[..., None, :]
        everything = jnp.ones((1, self.num_outputs), bool)
        if self.continuous:
            return DiagonalGaussian(mean=outputs, log_std=self.log_std, mask=everything)
        return Categorical(logits=outputs, mask=everything)

    def value(self, observation: jax.Array) -> jax.Array:
        """Value ``[...]`` of observations ``[..., D]``."""
        return self.value_head(nn.tanh(self.critic_trunk(nn.tanh(self.critic_encoder(observation)))))[..., 0]


@dataclasses.dataclass(frozen=True)
class ControlAgent:
    """One agent, A = 1: a choice out of N (K = 1), or K numbers that are clipped to the environment's bounds."""

    network: ControlNetwork
    low: tuple[float, ...] = ()  # [K] lower bounds of a continuous action; empty for a discrete one
    high: tuple[float, ...] = ()  # [K] upper bounds of a continuous action; empty for a discrete one
    reward_scale: float = 1.0  # factor of the environment's reward in the reward of the learner

    num_agents = 1
    groups = (Group(CONTROL),)

    def inputs(self, observation: jax.Array, env_params: Any) -> jax.Array:
        """The observation ``[..., D]``, unchanged."""
        return observation

    def policy(self, params: Any, normalizers: Any, inputs: jax.Array, env_params: Any) -> Distribution:
        """Distribution of the action ``[..., 1, K]``."""
        normalised = normalizers[CONTROL].normalise(inputs)
        return self.network.apply({"params": params[CONTROL]}, normalised, method="policy")

    def value(self, params: Any, normalizers: Any, inputs: jax.Array) -> jax.Array:
        """Value ``[..., 1]`` of the scaled reward."""
        normalised = normalizers[CONTROL].normalise(inputs)
        return self.network.apply({"params": params[CONTROL]}, normalised, method="value")[..., None]

    def env_action(self, action: jax.Array) -> jax.Array:
        """``[..., 1, 1] -> [...]`` for a choice, else ``[..., 1, K] -> [..., K]`` clipped to the bounds.

        Only the environment receives the clipped action; log-probabilities are those of the unclipped one.
        """
        if not self.network.continuous:
            return action[..., 0, 0]
        return jnp.clip(action[..., 0, :], jnp.asarray(self.low), jnp.asarray(self.high))

    def decides(self, observation: jax.Array) -> jax.Array:
        """Ones ``[..., 1]``: the agent decides at every step."""
        return jnp.ones((*observation.shape[:-1], 1))

    def rewards(self, reward: jax.Array, info: dict[Any, Any]) -> jax.Array:
        """Scaled rewards ``[..., 1]``."""
        return self.reward_scale * reward[..., None]

    def control(self, info: dict[Any, Any]) -> None:
        """None: every outcome depends on the action."""
        return None

    def metrics(self, info: dict[Any, Any]) -> dict[str, jax.Array]:
        """Nothing."""
        return {}

    def extend_normalizers(self, normalizers: Any, inputs: jax.Array) -> Any:
        """Add observations to the statistics."""
        return {CONTROL: normalizers[CONTROL].extend(inputs)}


def control_agent(
    env: Environment, env_params: Any, hidden_size: int = 64, initial_log_std: float = 0.0, reward_scale: float = 1.0
) -> ControlAgent:
    """Build the agent for the action space of an environment.

    Args:
        env: a gymnax environment with observations ``[D]`` and a `Discrete` action space or a `Box` ``[K]``.
        env_params: parameters of the environment.
        hidden_size: width of both hidden layers of policy and critic.
        initial_log_std: of a continuous policy, log of units of the action.
        reward_scale: factor of the environment's reward in the reward of the learner.

    Raises:
        ValueError: the observation or the action space is of another kind.
    """
    seen = env.observation_space(env_params)
    if not isinstance(seen, spaces.Box) or len(seen.shape) != 1:
        raise ValueError(f"{env.name} observes {seen}; it must be a Box with one axis")
    space = env.action_space(env_params)
    if isinstance(space, spaces.Discrete):
        return ControlAgent(ControlNetwork(space.n, hidden_size, continuous=False), reward_scale=reward_scale)
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise ValueError(f"{env.name} acts in {space}; it must be a Discrete space or a Box with one axis")
    network = ControlNetwork(space.shape[0], hidden_size, continuous=True, initial_log_std=initial_log_std)
    low, high = (tuple(np.broadcast_to(bound, space.shape).tolist()) for bound in (space.low, space.high))
    return ControlAgent(network, low, high, reward_scale)


def start_control(agent: ControlAgent, env: Environment, env_params: Any, seed: int) -> tuple[Any, Any]:
    """Create untrained parameters and empty observation statistics on the host, each ``{CONTROL: ...}``.

    Args:
        agent: the agent whose network is initialised.
        env: its environment.
        env_params: parameters of the environment.
        seed: any non-negative integer.
    """
    example = jax.ShapeDtypeStruct(env.observation_space(env_params).shape, jnp.float32)
    return {CONTROL: initialise(agent.network, example, seed)}, {CONTROL: start_normalizer(example)}


def traced_params(env: Environment) -> Any:
    """Default parameters of an environment as float32 or int32 arrays, so that a change compiles nothing."""

    def leaf(value: Any) -> jax.Array:
        return jnp.asarray(value, jnp.int32 if isinstance(value, int) else jnp.float32)

    return jax.tree.map(leaf, env.default_params)
