"""Compact observations of the hierarchy -> what its networks see."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.market.domain import correlations
from mtquant_jax.simulation.portfolio_env import PortfolioObservation
from mtquant_jax.simulation.specialist_env import SpecialistInputs
from mtquant_jax.types import MarketTable


@struct.dataclass
class PortfolioInputs:
    """What the meta-controller's network sees of a portfolio with S classes and n real instruments."""

    returns: jax.Array  # [..., 30] of the last bars, in units of the typical per-bar return, latest last
    volatility: jax.Array  # [..., 1] standard deviation of these returns
    drawdown: jax.Array  # [..., 1] 1 - equity / peak
    correlations: jax.Array  # [..., n (n - 1) / 2] of real instruments, row by row above the diagonal
    class_sharpe: jax.Array  # [..., S] per bar, of the class's returns on its budget
    class_win_rate: jax.Array  # [..., S] share of bars with a gain
    class_drawdown: jax.Array  # [..., S] of the class's returns on its budget
    macro: jax.Array  # [..., 5] indicators of the whole market, `market.domain.MACRO_NAMES`

    def flat(self) -> jax.Array:
        """All numbers in one vector ``[..., K]``, field by field; normalisers and dense layers take it so."""
        return jnp.concatenate(jax.tree.leaves(self), axis=-1)

    def with_values(self, flat: jax.Array) -> PortfolioInputs:
        """The fields of another vector ``[..., K]`` such as this one's normalised."""
        leaves, tree = jax.tree.flatten(self)
        ends = [sum(leaf.shape[-1] for leaf in leaves[:count]) for count in range(1, len(leaves))]
        values: PortfolioInputs = jax.tree.unflatten(tree, jnp.split(flat, ends, axis=-1))
        return values

    def class_records(self) -> jax.Array:
        """Sharpe ratio, win rate and drawdown of each class ``[..., S, 3]``."""
        return jnp.stack([self.class_sharpe, self.class_win_rate, self.class_drawdown], axis=-1)


@struct.dataclass
class HierarchyInputs:
    """What all networks of the hierarchy see."""

    specialists: SpecialistInputs  # [..., S, C, F + 1] and [..., S, D + 1]
    portfolio: PortfolioInputs


def hierarchy_inputs(observation: PortfolioObservation, table: MarketTable, slots: tuple[int, ...]) -> HierarchyInputs:
    """Look up what the networks see, for observations with any leading axes.

    Args:
        observation: from `PortfolioEnv` or `AllocationEnv`.
        table: market of all classes, N = S x C padded instruments.
        slots: the positions of the real instruments among the N, whose correlations are shown.
    """
    return HierarchyInputs(
        specialists=class_inputs(observation, table), portfolio=portfolio_inputs(observation, table, slots)
    )


def class_inputs(observation: PortfolioObservation, table: MarketTable) -> SpecialistInputs:
    """What each specialist sees ``[..., S, C, F + 1]``: the same as in its own environment."""
    features = table.features[observation.path, observation.bar]
    features = features.reshape(*observation.relative_weights.shape, features.shape[-1])
    domain = table.domain[observation.path, observation.bar]
    return SpecialistInputs(
        instruments=jnp.concatenate([features, observation.tilt[..., None]], axis=-1),
        market=jnp.concatenate([domain, observation.class_drawdown[..., None]], axis=-1),
    )


def portfolio_inputs(observation: PortfolioObservation, table: MarketTable, slots: tuple[int, ...]) -> PortfolioInputs:
    """What the meta-controller sees; arguments as in `hierarchy_inputs`."""
    index = jnp.asarray(slots)
    covariance = table.covariance[observation.path, observation.bar][..., index[:, None], index[None, :]]
    variance = jnp.var(observation.returns, axis=-1, keepdims=True)
    return PortfolioInputs(
        returns=observation.returns,
        volatility=jnp.sqrt(jnp.maximum(variance, 1e-12)),
        drawdown=observation.drawdown[..., None],
        correlations=correlations(covariance),
        class_sharpe=observation.class_sharpe,
        class_win_rate=observation.class_win_rate,
        class_drawdown=observation.class_drawdown,
        macro=table.macro[observation.path, observation.bar],
    )
