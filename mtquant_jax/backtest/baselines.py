"""Trading rules without learning, as agents of `backtest`: what a policy has to beat, under the same costs and limits.

A rule names the relative weights it wants ``[..., C]``; they are traded like a policy's, so that what outgrows a full
position is sold on any bar.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.agents.hierarchy import HierarchyAgent
from mtquant_jax.market.features import FEATURE_NAMES
from mtquant_jax.simulation.anchor import calm_shares, new_day
from mtquant_jax.simulation.execution import change_to
from mtquant_jax.simulation.portfolio_env import PortfolioObservation, PortfolioParams
from mtquant_jax.simulation.portfolio_inputs import HierarchyInputs, hierarchy_inputs
from mtquant_jax.simulation.specialist_env import SpecialistObservation
from mtquant_jax.types import MarketTable

Target = Callable[[SpecialistObservation, MarketTable], jax.Array]
"""``(observation, table) -> [..., C]`` relative weights wanted, for observations with any leading axes."""


@struct.dataclass
class Decision:
    """A distribution of one action."""

    action: jax.Array  # [..., A, K]

    def mode(self) -> jax.Array:
        """The action."""
        return self.action


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule in the place of a specialist; hashable, so that equal rules share one program."""

    name: str
    target: Target

    def inputs(self, observation: SpecialistObservation, env_params: Any) -> SpecialistObservation:
        """What the rule sees: the whole observation."""
        return observation

    def policy(self, params: Any, normalizers: Any, inputs: SpecialistObservation, env_params: Any) -> Decision:
        """The change that leads from what is held to what is wanted ``[..., 1, C]``."""
        wanted = jnp.clip(self.target(inputs, env_params.table), -1.0, 1.0)
        change = change_to(wanted, inputs.tilt, env_params.rules, inputs.anchor)
        return Decision(jnp.where(env_params.mask[0], change, 0.0)[..., None, :])

    def env_action(self, action: jax.Array) -> jax.Array:
        """``[..., 1, C] -> [..., C]``."""
        return action[..., 0, :]


@struct.dataclass
class _Seen:
    """What an allocation rule sees: the observation, and what the specialists under it see."""

    observation: PortfolioObservation
    inputs: HierarchyInputs


@dataclasses.dataclass(frozen=True)
class InverseVolatilityAllocation:
    """A rule in the place of the meta-controller: capital in proportion to 1 / volatility of the specialists' returns.

    Cash keeps the share that it has at equal allocation, 1 / (S + 1), and the risk appetite is one half.
    """

    hierarchy: HierarchyAgent

    def inputs(self, observation: PortfolioObservation, env_params: PortfolioParams) -> _Seen:
        """The whole observation, and what the specialists see."""
        return _Seen(observation, hierarchy_inputs(observation, env_params.table, self.hierarchy.slots))

    def policy(self, params: Any, normalizers: Any, inputs: _Seen, env_params: PortfolioParams) -> Decision:
        """The specialists' own actions, and logits of the rule in the last row ``[..., S + 1, K]``."""
        action = self.hierarchy.policy(params, normalizers, inputs.inputs, env_params).mode()
        volatility = inputs.observation.class_volatility
        calm = 1.0 / jnp.maximum(volatility, 1e-6 + 0.01 * jnp.max(volatility, axis=-1, keepdims=True))
        num_classes = calm.shape[-1]
        shares = calm / jnp.sum(calm, axis=-1, keepdims=True) * num_classes  # against 1 of cash
        row = jnp.zeros_like(action[..., -1, :]).at[..., :num_classes].set(jnp.log(shares))
        return Decision(action.at[..., -1, :].set(row))

    def env_action(self, action: jax.Array) -> jax.Array:
        """The environment takes actions of this form."""
        return action


@dataclasses.dataclass(frozen=True)
class RulePortfolio:
    """One of the `baselines` on all instruments, in the place of a hierarchy: equal capital, half the risk appetite.

    Its parameters are ``rule``, the index, and ``turnover`` of the random rule, so that all rules, whatever they trade,
    are one program.
    """

    @staticmethod
    def params(rule: str, turnover: float) -> dict[str, jax.Array]:
        """What selects a rule by its name; ``turnover`` as in `baselines`."""
        return {
            "rule": jnp.asarray(BASELINES.index(rule), jnp.int32),
            "turnover": jnp.asarray(turnover, jnp.float32),
        }

    def inputs(self, observation: PortfolioObservation, env_params: PortfolioParams) -> SpecialistObservation:
        """The book as if all instruments were one class."""

        def flat(weights: jax.Array) -> jax.Array:
            return weights.reshape(*weights.shape[:-2], -1)

        return SpecialistObservation(
            path=observation.path,
            bar=observation.bar,
            relative_weights=flat(observation.relative_weights),
            tilt=flat(observation.tilt),
            anchor=flat(observation.anchor),
            drawdown=observation.drawdown,
        )

    def policy(
        self, params: Any, normalizers: Any, inputs: SpecialistObservation, env_params: PortfolioParams
    ) -> Decision:
        """The changes that lead to what the rule wants, and the logits of equal allocation ``[..., S + 1, K]``."""
        targets = jnp.stack([rule.target(inputs, env_params.table) for rule in baselines(params["turnover"])])
        wanted = jnp.clip(targets[params["rule"]], -1.0, 1.0)
        change = change_to(wanted, inputs.tilt, env_params.rules, inputs.anchor)
        num_classes, width = env_params.mask.shape
        change = jnp.where(env_params.mask, change.reshape(*change.shape[:-1], num_classes, width), 0.0)
        columns = max(width, num_classes + 2)
        action = jnp.zeros((*change.shape[:-2], num_classes + 1, columns))
        return Decision(action.at[..., :num_classes, :width].set(change))

    def env_action(self, action: jax.Array) -> jax.Array:
        """The environment takes actions of this form."""
        return action


def baselines(turnover: float | jax.Array = 0.0) -> tuple[Rule, ...]:
    """The rules that a specialist is compared with, by name.

    Args:
        turnover: of the specialist, relative weight per bar and instrument; the random rule trades as much. Traced, it
            makes rules that may be called but not hashed.
    """
    # Two uniform draws from [-1, 1] are 2 / 3 apart on average.
    flips: Any = 1.5 * turnover
    flips = jnp.minimum(1.0, flips) if isinstance(turnover, jax.Array) else min(1.0, flips)
    return (
        Rule("flat", _flat),
        Rule("buy and hold", _buy_and_hold),
        Rule("equal weight", _equal_weight),
        Rule("inverse volatility", _inverse_volatility),
        Rule("momentum of 120 bars", _Sign("return_120", 0.0, daily=True)),
        Rule("trend of span 20", _Sign("trend_20", 0.5, daily=False)),
        Rule("random, same turnover", _Random(flips)),
    )


def _flat(observation: SpecialistObservation, table: MarketTable) -> jax.Array:
    return jnp.zeros_like(observation.relative_weights)


def _buy_and_hold(observation: SpecialistObservation, table: MarketTable) -> jax.Array:
    """Fully long from the start, and never bought again."""
    held = observation.relative_weights
    return jnp.where(held == 0.0, 1.0, held)


def _equal_weight(observation: SpecialistObservation, table: MarketTable) -> jax.Array:
    """Fully long, rebalanced at the beginning of every day."""
    return _daily(jnp.ones_like(observation.relative_weights), observation, table)


def _inverse_volatility(observation: SpecialistObservation, table: MarketTable) -> jax.Array:
    """Long in proportion to 1 / volatility, the least volatile instrument fully, rebalanced once a day."""
    return _daily(calm_shares(table.covariance[observation.path, observation.bar]), observation, table)


@dataclasses.dataclass(frozen=True)
class _Sign:
    """Fully in the direction of a feature where it is beyond a threshold; held otherwise."""

    feature: str
    threshold: float
    daily: bool

    def __call__(self, observation: SpecialistObservation, table: MarketTable) -> jax.Array:
        value = table.features[observation.path, observation.bar][..., FEATURE_NAMES.index(self.feature)]
        held = observation.relative_weights
        wanted = jnp.where(jnp.abs(value) > self.threshold, jnp.sign(value), held)
        return _daily(wanted, observation, table) if self.daily else wanted


@dataclasses.dataclass(frozen=True)
class _Random:
    """Each instrument draws a new weight from [-1, 1] with a chance per bar; the same numbers every time."""

    chance: float

    def __call__(self, observation: SpecialistObservation, table: MarketTable) -> jax.Array:
        held = observation.relative_weights
        seeds = (observation.path * table.open.shape[1] + observation.bar).reshape(-1)

        def draw(seed: jax.Array) -> jax.Array:
            return jax.random.uniform(jax.random.fold_in(jax.random.key(0), seed), (2, held.shape[-1]))

        when, what = jnp.moveaxis(jax.vmap(draw)(seeds).reshape(*observation.bar.shape, 2, held.shape[-1]), -2, 0)
        return jnp.where(when < self.chance, 2.0 * what - 1.0, held)


def _daily(wanted: jax.Array, observation: SpecialistObservation, table: MarketTable) -> jax.Array:
    """The wanted weights on the first bar of a day and for an account that holds nothing; otherwise those held."""
    held = observation.relative_weights
    empty = jnp.all(held == 0.0, axis=-1)
    return jnp.where((new_day(table.day, observation.bar) | empty)[..., None], wanted, held)


BASELINES = tuple(rule.name for rule in baselines())
"""Names of the rules, in the order of `baselines`."""
