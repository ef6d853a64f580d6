"""Rewards per bar: pure functions of the bar's result and a small memory, injected into environments.

An objective rewards specialists and the portfolio alike; the terms are added to the objective of the portfolio only.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.settings.choices import register
from mtquant_jax.settings.config import ObjectiveName

RewardFunction = Callable[
    ["RewardMemory", "RewardInputs", "RewardParams"],
    tuple["RewardMemory", jax.Array],
]
"""``(memory, inputs, params) -> (memory, reward)``."""

_LARGEST_LOSS = 1e-3  # share of equity left, below which the logarithm is constant
_SMALLEST_VARIANCE = 1e-2  # of scaled returns: a standard deviation of a tenth of the typical return
_SMALLEST_BOOK = 0.1  # undiversified risk, in typical returns, above which diversification counts in full
_TINY = 1e-24


@struct.dataclass
class RewardParams:
    """Traced settings of the objectives."""

    scale: jax.Array  # [] 1 / typical per-bar return, so that rewards are of order one
    risk_aversion: jax.Array  # [] gamma of the mean-variance reward
    sharpe_memory: jax.Array  # [] bars over which the moments of the differential Sharpe ratio decay


@struct.dataclass
class RewardInputs:
    """Inputs of an objective."""

    net_return: jax.Array  # [] equity change over the bar as a share of the equity before it
    variance: jax.Array  # [] expected variance of that return given the held weights, w' Sigma w


@struct.dataclass
class RewardMemory:
    """State of an objective in an episode: exponentially weighted moments of the scaled returns."""

    mean: jax.Array  # []
    second_moment: jax.Array  # []


@struct.dataclass
class TermWeights:
    """Traced weights of the terms of the portfolio's reward; 0 leaves a term out."""

    var: jax.Array  # [] penalty per typical return of value at risk
    drawdown: jax.Array  # [] penalty per typical return by which the largest drawdown grows
    turnover: jax.Array  # [] cost per unit of value traded, beyond the costs of the account
    diversification: jax.Array  # [] bonus per bar of a book whose risks cancel out entirely


@struct.dataclass
class TermInputs:
    """Inputs of the terms of the portfolio's reward."""

    variance: jax.Array  # [] per bar, w' Sigma w of the held weights
    undiversified: jax.Array  # [] per-bar standard deviation without diversification, sum |w_i| sigma_i
    var_z: jax.Array  # [] standard normal quantile of the VaR's confidence
    drawdown_growth: jax.Array  # [] growth of the episode's largest drawdown over the bar, share of the peak
    traded: jax.Array  # [] value traded, share of the equity before the bar


def start_memory(shape: tuple[int, ...] = ()) -> RewardMemory:
    """Initial moments: a mean of 0 and a second moment of 1, that of the typical return in scaled units."""
    return RewardMemory(mean=jnp.zeros(shape), second_moment=jnp.ones(shape))


def log_growth(memory: RewardMemory, inputs: RewardInputs, params: RewardParams) -> tuple[RewardMemory, jax.Array]:
    """Scaled growth of log equity ``[]``; its sum over an episode is the log of total return."""
    return memory, params.scale * jnp.log(jnp.maximum(1.0 + inputs.net_return, _LARGEST_LOSS))


def mean_variance(memory: RewardMemory, inputs: RewardInputs, params: RewardParams) -> tuple[RewardMemory, jax.Array]:
    """Scaled net return minus gamma / 2 times its variance in the same units ``[]``.

    The objective of Garleanu and Pedersen (Journal of Finance 2013) without discounting.
    """
    scaled_variance = params.scale**2 * inputs.variance
    return memory, params.scale * inputs.net_return - 0.5 * params.risk_aversion * scaled_variance


def differential_sharpe(
    memory: RewardMemory, inputs: RewardInputs, params: RewardParams
) -> tuple[RewardMemory, jax.Array]:
    """Differential Sharpe ratio of the bar ``[]``: the effect of its scaled return on the recent Sharpe ratio.

    D = (B dA - A dB / 2) / (B - A^2)^(3/2) with dA = R - A and dB = R^2 - B, the derivative of the Sharpe ratio
    A / sqrt(B - A^2) with respect to the decay rate 1 / memory of its moments A and B (Moody and Saffell, NIPS 1998 and
    IEEE Transactions on Neural Networks 12, 2001). Each D / memory is approximately the ratio's growth over the bar.

    The moments start at those of a typical return without drift, so the reward of the first bar is its scaled return.
    The variance B - A^2 is at least a hundredth, so that the first trade after a long rest does not dominate.
    """
    scaled = params.scale * inputs.net_return
    variance = jnp.maximum(memory.second_moment - memory.mean**2, _SMALLEST_VARIANCE)
    second_moment = variance + memory.mean**2  # also in the numerator; otherwise an account at rest earns nothing
    gain = second_moment * (scaled - memory.mean) - 0.5 * memory.mean * (scaled**2 - second_moment)
    after = RewardMemory(
        mean=memory.mean + (scaled - memory.mean) / params.sharpe_memory,
        second_moment=memory.second_moment + (scaled**2 - memory.second_moment) / params.sharpe_memory,
    )
    reward = gain / (variance * jnp.sqrt(variance))
    return after, reward


def portfolio_terms(inputs: TermInputs, weights: TermWeights, scale: jax.Array) -> dict[str, jax.Array]:
    """Terms that are added to the portfolio's objective ``[]``, by name, weighted and in the same scaled units.

    ``var``: minus the parametric value at risk of one bar, z sqrt(w' Sigma w) (RiskMetrics, J.P. Morgan 1996).
    ``drawdown``: minus the growth of the largest drawdown so far; over an episode this sums to the maximum drawdown.
    (The growth of the current drawdown would penalise every loss, including repeated losses after a recovery.)
    ``turnover``: minus the value traded, so that its weight is an extra cost per unit of value.
    ``diversification``: 1 - sqrt(w' Sigma w) / sum |w_i| sigma_i, that is 1 - 1 / the diversification ratio of
    Choueifaty and Coignard (Journal of Portfolio Management 2008); reduced for books so small that the ratio is
    meaningless, and 0 for an empty book.
    """
    deviation = _root(inputs.variance)
    book = jnp.maximum(inputs.undiversified, _SMALLEST_BOOK / scale)
    return {
        "var": -weights.var * scale * inputs.var_z * deviation,
        "drawdown": -weights.drawdown * scale * inputs.drawdown_growth,
        "turnover": -weights.turnover * scale * inputs.traded,
        "diversification": weights.diversification * (inputs.undiversified - deviation) / book,
    }


def _root(square: jax.Array) -> jax.Array:
    """The square root, with a derivative of 0 at 0."""
    positive = square > _TINY
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


REWARDS: dict[str, RewardFunction] = {
    "log_growth": log_growth,
    "mean_variance": mean_variance,
    "differential_sharpe": differential_sharpe,
}


def register_reward(name: str, reward: RewardFunction) -> None:
    """Let ``reward.objective`` and ``portfolio_reward.objective`` name another objective.

    Raises:
        UserError: there is an objective of this name.
    """
    register(ObjectiveName, name, REWARDS)
    REWARDS[name] = reward
