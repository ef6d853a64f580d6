"""A market environment as most trainers want one: one vector to observe and one bounded vector to act with.

It is for trainers of other libraries. Training inside this package steps the environments themselves, whose compact
observations are indices into the market.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.simulation.gymnax_contract import Environment
from mtquant_jax.simulation.market_env import MarketEnvironment, MarketParams
from mtquant_jax.simulation.portfolio_env import PortfolioEnv
from mtquant_jax.simulation.portfolio_inputs import hierarchy_inputs
from mtquant_jax.simulation.specialist_env import SpecialistEnv, specialist_inputs

if TYPE_CHECKING:
    from gymnax.environments import spaces

Mask = tuple[tuple[bool, ...], ...]
"""Real instruments of each class ``[S][C]``, hashable."""

OBSERVATION_BOUND = 100.0
"""Observations are clipped to +-this; features end at +-5, and an account short of ruin stays far below, too."""


class FlatEnv(Environment):
    """A class's or the portfolio's environment with vectors.

    The observation ``[D]`` is all that the networks of this package see, one input after the other. The action ``[K]``
    holds the changes of relative weight of the real instruments, class by class; that of a portfolio ends with the
    meta-controller's capital logits (of the classes and of cash) and the logit of its risk appetite.
    """

    def __init__(self, env: MarketEnvironment, slots: tuple[int, ...], inputs: Callable[[Any, MarketParams], Any]):
        """``slots`` are the places of the K actions in the flattened action of ``env``; the rest is padding.

        ``inputs(observation, params)`` looks up what the networks see.
        """
        super().__init__()
        self.env, self.slots, self.inputs = env, slots, inputs

    @property
    def name(self) -> str:
        """That of the environment inside."""
        return f"Flat{self.env.name}"

    @property
    def default_params(self) -> MarketParams:
        """There are none: a market must be given."""
        return self.env.default_params

    def reset_env(self, key: jax.Array, params: MarketParams) -> tuple[jax.Array, Any]:
        """Start at a random path and bar of the span."""
        observation, state = self.env.reset_env(key, params)
        return self._vector(observation, params), state

    def step_env(
        self, key: jax.Array, state: Any, action: jax.Array, params: MarketParams
    ) -> tuple[jax.Array, Any, jax.Array, jax.Array, dict[str, Any]]:
        """Trade one bar; ``action`` is ``[K]``, everything else as of the environment inside."""
        shape = self.env.action_space(params).shape
        padded = jnp.zeros(int(np.prod(shape))).at[np.asarray(self.slots)].set(action).reshape(shape)
        observation, *others = self.env.step_env(key, state, padded, params)
        return self._vector(observation, params), *others  # type: ignore[return-value]

    def observe(self, key: jax.Array | None, state: Any, action: jax.Array | None, params: MarketParams) -> jax.Array:
        """What is known at the close of the state's bar ``[D]``."""
        return self._vector(self.env.observe(key, state, None, params), params)

    def is_truncated(self, state: Any, params: MarketParams) -> jax.Array:
        """Whether the episode has its full length or the span has no further bar ``[]``."""
        return self.env.is_truncated(state, params)

    def action_space(self, params: MarketParams) -> spaces.Box:
        """The actions ``[K]`` with the bounds of the environment inside."""
        from gymnax.environments import spaces

        whole = self.env.action_space(params)
        low, high = (
            np.broadcast_to(bound, whole.shape).reshape(-1)[list(self.slots)].astype(np.float32)
            for bound in (whole.low, whole.high)
        )
        return spaces.Box(low, high, (len(self.slots),))

    def observation_space(self, params: MarketParams) -> spaces.Box:
        """The vectors ``[D]``."""
        from gymnax.environments import spaces

        shape = jax.eval_shape(lambda p: self.reset_env(jax.random.key(0), p)[0], params).shape
        return spaces.Box(-OBSERVATION_BOUND, OBSERVATION_BOUND, shape)

    def _vector(self, observation: Any, params: MarketParams) -> jax.Array:
        leaves = jax.tree.leaves(self.inputs(observation, params))
        return jnp.clip(jnp.concatenate([leaf.reshape(-1) for leaf in leaves]), -OBSERVATION_BOUND, OBSERVATION_BOUND)


@functools.cache
def flat_specialist(env: SpecialistEnv, num_instruments: int) -> FlatEnv:
    """A class of so many instruments, padding apart; equal arguments give the same object, which compiles once."""
    return FlatEnv(env, tuple(range(num_instruments)), lambda seen, params: specialist_inputs(seen, params.table))


@functools.cache
def flat_portfolio(env: PortfolioEnv, mask: Mask) -> FlatEnv:
    """The portfolio of the classes of a mask; equal arguments give the same object, which compiles once."""
    real = np.asarray(mask)
    num_classes, width = real.shape
    columns = max(width, num_classes + 2)
    trades = [s * columns + i for s, i in zip(*np.nonzero(real), strict=True)]
    allocation = [num_classes * columns + i for i in range(num_classes + 2)]
    positions = tuple(int(slot) for slot in np.flatnonzero(real))
    slots = tuple(int(slot) for slot in (*trades, *allocation))
    return FlatEnv(env, slots, lambda seen, params: hierarchy_inputs(seen, params.table, positions))
