"""What an agent is paid per bar: pure functions of the account's return, injected into the environments."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

RewardFunction = Callable[["RewardInputs", "RewardParams"], jax.Array]

_LARGEST_LOSS = 1e-3  # share of equity left at which the logarithm stops falling


@struct.dataclass
class RewardParams:
    """Traced settings of the rewards."""

    scale: jax.Array  # [] 1 / typical per-bar return, so that rewards are of order one
    risk_aversion: jax.Array  # [] gamma of the mean-variance reward


@struct.dataclass
class RewardInputs:
    """What a reward may look at."""

    net_return: jax.Array  # [] equity change over the bar as a share of the equity before it
    variance: jax.Array  # [] variance of that return expected from the weights held, w' Sigma w


def log_growth(inputs: RewardInputs, params: RewardParams) -> jax.Array:
    """Scaled growth of log equity ``[]``; its sum over an episode is the log of total return."""
    return params.scale * jnp.log(jnp.maximum(1.0 + inputs.net_return, _LARGEST_LOSS))


def mean_variance(inputs: RewardInputs, params: RewardParams) -> jax.Array:
    """Scaled net return less gamma / 2 times its variance in the same units ``[]``.

    The objective of Garleanu and Pedersen (Journal of Finance 2013) without discounting.
    """
    scaled_variance = params.scale**2 * inputs.variance
    return params.scale * inputs.net_return - 0.5 * params.risk_aversion * scaled_variance


REWARDS: dict[str, RewardFunction] = {"log_growth": log_growth, "mean_variance": mean_variance}
