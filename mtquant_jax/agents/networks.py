"""The networks: a specialist sees its class, the meta-controller the portfolio.

Initialisation runs on the host, outside any compiled program (batched LAPACK inside one can deadlock XLA on 2 cores).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.dense import dense_layer
from mtquant_jax.settings.choices import register
from mtquant_jax.settings.config import NetworkName
from mtquant_jax.simulation.portfolio_inputs import PortfolioInputs
from mtquant_jax.simulation.specialist_env import SpecialistInputs

# Gains of the output layers; hidden ones use sqrt 2.
_HEAD_GAIN = {"policy_head": 0.01, "class_head": 0.01, "value_head": 1.0}


class SpecialistNetwork(nn.Module):
    """A domain encoder over the class, one policy head per instrument, and a separate critic."""

    num_instruments: int  # C
    hidden_size: int
    initial_log_std: float = dataclasses.field(compare=False)  # of new parameters; compiled programs do without
    half: bool = False  # products of factors rounded to bfloat16

    def setup(self) -> None:
        """The layers."""
        layer = functools.partial(dense_layer, half=self.half)
        self.domain_encoder = layer(self.hidden_size)
        self.instrument_encoder = layer(self.hidden_size)
        self.trunk = layer(self.hidden_size)
        self.policy_head = layer(self.num_instruments)
        self.log_std = self.param("log_std", nn.initializers.constant(self.initial_log_std), (self.num_instruments,))
        self.log_trade_scale = self.param("log_trade_scale", nn.initializers.zeros, (self.num_instruments,))
        self.critic_encoder = layer(self.hidden_size)
        self.critic_trunk = layer(self.hidden_size)
        self.value_head = layer(1)

    def __call__(self, inputs: SpecialistInputs) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Mean ``[..., C]``, log standard deviation ``[C]`` and value ``[...]``."""
        return *self.policy(inputs), self.value(inputs)

    def policy(self, inputs: SpecialistInputs) -> tuple[jax.Array, jax.Array]:
        """Mean ``[..., C]`` and log standard deviation ``[C]`` of the changes of relative weight.

        All instruments share encoder and trunk; each reads its own column of the head. Heads and noise are in units of
        the trade scale, which is not learnt but belongs to the parameters: it goes wherever the policy goes.
        """
        context = self.domain_encoder(_flatten(inputs))[..., None, :]
        hidden = nn.tanh(self.instrument_encoder(inputs.instruments) + context)
        hidden = nn.tanh(self.trunk(hidden))
        heads = self.policy_head(hidden)  # [..., C, C]; instrument i reads column i
        log_scale = jax.lax.stop_gradient(self.log_trade_scale)
        return jnp.exp(log_scale) * jnp.diagonal(heads, axis1=-2, axis2=-1), self.log_std + log_scale

    def value(self, inputs: SpecialistInputs) -> jax.Array:
        """Value ``[...]`` of the class's state."""
        hidden = nn.tanh(self.critic_encoder(_flatten(inputs)))
        return self.value_head(nn.tanh(self.critic_trunk(hidden)))[..., 0]


class MetaNetwork(nn.Module):
    """Policy and critic of the meta-controller over the portfolio state."""

    num_classes: int  # S
    hidden_size: int
    initial_log_std: float = dataclasses.field(compare=False)  # of new parameters; compiled programs do without
    half: bool = False  # products of factors rounded to bfloat16

    def setup(self) -> None:
        """The layers."""
        layer = functools.partial(dense_layer, half=self.half)
        self.encoder = layer(self.hidden_size)
        self.class_encoder = layer(self.hidden_size)
        self.trunk = layer(self.hidden_size)
        self.class_head = layer(1)
        self.class_bias = self.param("class_bias", nn.initializers.zeros, (self.num_classes,))
        self.policy_head = layer(2)
        self.log_std = self.param("log_std", nn.initializers.constant(self.initial_log_std), (self.num_classes + 2,))
        self.critic_encoder = layer(self.hidden_size)
        self.critic_trunk = layer(self.hidden_size)
        self.value_head = layer(1)

    def __call__(self, portfolio: PortfolioInputs) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Mean ``[..., S + 2]``, log standard deviation ``[S + 2]`` and value ``[...]``."""
        return *self.policy(portfolio), self.value(portfolio)

    def policy(self, portfolio: PortfolioInputs) -> tuple[jax.Array, jax.Array]:
        """Mean ``[..., S + 2]`` and log standard deviation ``[S + 2]`` of the allocation logits.

        What a good track record is worth is the same for all classes: they share encoder, trunk and head, and differ by
        their own record and a bias. Cash and risk appetite see the mean of what is made of them.
        """
        context = self.encoder(portfolio.flat())[..., None, :]
        hidden = nn.tanh(self.class_encoder(portfolio.class_records()) + context)
        hidden = nn.tanh(self.trunk(hidden))  # [..., S, H]
        capital = self.class_head(hidden)[..., 0] + self.class_bias
        return jnp.concatenate([capital, self.policy_head(jnp.mean(hidden, axis=-2))], axis=-1), self.log_std

    def value(self, portfolio: PortfolioInputs) -> jax.Array:
        """Value ``[...]`` of the portfolio's state."""
        hidden = nn.tanh(self.critic_trunk(nn.tanh(self.critic_encoder(portfolio.flat()))))
        return self.value_head(hidden)[..., 0]


@dataclasses.dataclass(frozen=True)
class NetworkKind:
    """The networks that ``ppo.network`` names."""

    specialist: type[SpecialistNetwork]
    meta: type[MetaNetwork]


NETWORKS: dict[str, NetworkKind] = {"dense": NetworkKind(SpecialistNetwork, MetaNetwork)}


def register_network(
    name: str, specialist: type[SpecialistNetwork] = SpecialistNetwork, meta: type[MetaNetwork] = MetaNetwork
) -> None:
    """Let ``ppo.network`` name other networks.

    Args:
        name: in settings and model files.
        specialist: a subclass with the parameters ``log_std`` and ``log_trade_scale``, in whose units its policy acts,
            and the layer ``policy_head``: zeros in it are no tilt.
        meta: a subclass with the layers ``class_head`` and ``policy_head`` and the parameter ``class_bias``: zeros in
            them are the equal allocation that phase 2 is compared with.

    Raises:
        UserError: there are networks of this name.
    """
    register(NetworkName, name, NETWORKS)
    NETWORKS[name] = NetworkKind(specialist, meta)


def initialise(network: nn.Module, example: Any, seed: int) -> Any:
    """Parameters of a network, made on the host with NumPy.

    Kernels are orthogonal (gain sqrt 2 hidden, 0.01 policy head, 1 value head), biases zero, ``log_std`` as the network
    says, trade scales 1.

    Args:
        network: the module; its ``__call__`` is traced for shapes only.
        example: inputs, arrays or `jax.ShapeDtypeStruct`.
        seed: any non-negative integer.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(0), example)["params"]
    generator = np.random.default_rng(seed)

    def leaf(path: tuple[Any, ...], shape: jax.ShapeDtypeStruct) -> jax.Array:
        names = [part.key for part in path]
        if names[-1] == "kernel":
            value = _orthogonal(generator, shape.shape) * _HEAD_GAIN.get(names[-2], np.sqrt(2.0))
        elif names[-1] == "log_std":
            value = np.full(shape.shape, network.initial_log_std)
        else:
            value = np.zeros(shape.shape)
        return jax.device_put(value.astype(shape.dtype))

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def _orthogonal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A matrix with orthonormal rows or columns, uniformly distributed (Saxe et al. 2014; sign fixed by R)."""
    rows, columns = shape
    q, r = np.linalg.qr(generator.normal(size=(max(shape), min(shape))))
    q = q * np.sign(np.diag(r))
    return q if rows >= columns else q.T


def _flatten(inputs: SpecialistInputs) -> jax.Array:
    """All that is known about the class in one vector ``[..., C (F + 1) + D + 1]``."""
    flat = inputs.instruments.reshape(*inputs.instruments.shape[:-2], -1)
    return jnp.concatenate([flat, inputs.market], axis=-1)
