"""What the networks of the hierarchy see, looked up for compact observations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.simulation.portfolio_env import PortfolioObservation
from mtquant_jax.simulation.specialist_env import SpecialistInputs
from mtquant_jax.types import MarketTable


@struct.dataclass
class PortfolioInputs:
    """What the networks of the hierarchy see."""

    specialists: SpecialistInputs  # [..., S, C, F + 1] and [..., S, D + 1]
    portfolio: jax.Array  # [..., K]; K = 74 for eight instruments in three classes


def portfolio_inputs(observation: PortfolioObservation, table: MarketTable, slots: tuple[int, ...]) -> PortfolioInputs:
    """Look up what the networks see, for observations with any leading axes.

    Args:
        observation: from `PortfolioEnv` or `AllocationEnv`.
        table: market of all classes, N = S x C padded instruments.
        slots: the positions of the real instruments among the N, whose correlations are shown.
    """
    return PortfolioInputs(
        specialists=class_inputs(observation, table), portfolio=portfolio_state(observation, table, slots)
    )


def class_inputs(observation: PortfolioObservation, table: MarketTable) -> SpecialistInputs:
    """What each specialist sees ``[..., S, C, F + 1]``: the same as in its own environment."""
    features = table.features[observation.path, observation.bar]
    features = features.reshape(*observation.relative_weights.shape, features.shape[-1])
    domain = table.domain[observation.path, observation.bar]
    return SpecialistInputs(
        instruments=jnp.concatenate([features, observation.relative_weights[..., None]], axis=-1),
        market=jnp.concatenate([domain, observation.class_drawdown[..., None]], axis=-1),
    )


def portfolio_state(observation: PortfolioObservation, table: MarketTable, slots: tuple[int, ...]) -> jax.Array:
    """The meta-controller's view ``[..., K]``.

    30 portfolio returns, their volatility, drawdown, the correlations of the real instruments (28 of 8), Sharpe, win
    rate and drawdown of each specialist, macro indicators (5): 74 numbers by default.
    """
    index = jnp.asarray(slots)
    covariance = table.covariance[observation.path, observation.bar][..., index[:, None], index[None, :]]
    deviation = jnp.sqrt(jnp.diagonal(covariance, axis1=-2, axis2=-1))
    correlation = covariance / jnp.maximum(deviation[..., :, None] * deviation[..., None, :], 1e-20)
    rows, columns = jnp.triu_indices(len(slots), k=1)
    return jnp.concatenate(
        [
            observation.returns,
            jnp.sqrt(jnp.maximum(jnp.var(observation.returns, axis=-1, keepdims=True), 1e-12)),
            observation.drawdown[..., None],
            correlation[..., rows, columns],
            observation.class_sharpe,
            observation.class_win_rate,
            observation.class_drawdown,
            table.macro[observation.path, observation.bar],
        ],
        axis=-1,
    )
