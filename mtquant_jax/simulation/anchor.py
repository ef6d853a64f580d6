"""The portfolio that a policy tilts: a rule without forecasts, held where the policy has nothing to say.

A relative weight is the anchor's plus a tilt; actions change the tilt. With a flat anchor the tilt is all there is.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

_MEASURABLE = 1e-3  # relative weight from which what became of it in a bar can be told


@struct.dataclass
class Anchor:
    """Which portfolio it is; traced, so that all anchors share one program."""

    size: jax.Array  # [] relative weight of its largest position; 0 is flat
    by_volatility: jax.Array  # [] 1: in proportion to 1 / volatility, 0: all instruments equally
    held: jax.Array  # [] 1: bought once and held, 0: brought back to its weights on the first bar of a day

    @classmethod
    def named(cls, name: str, size: float) -> Anchor:
        """The anchor of settings: ``flat``, ``equal_weight``, ``inverse_volatility`` or ``buy_and_hold``."""
        numbers = (0.0 if name == "flat" else size, name == "inverse_volatility", name == "buy_and_hold")
        return cls(*(jax.device_put(np.asarray(number, np.float32)) for number in numbers))


def calm_shares(covariance: jax.Array) -> jax.Array:
    """Weights ``[..., N]`` in proportion to 1 / volatility, of a covariance ``[..., N, N]``; the largest is 1.

    Padding, whose variance is zero, gets nothing.
    """
    variance = jnp.diagonal(covariance, axis1=-2, axis2=-1)
    real = variance > 0.0
    calm = jnp.where(real, 1.0 / jnp.sqrt(jnp.where(real, variance, 1.0)), 0.0)
    return calm / jnp.maximum(jnp.max(calm, axis=-1, keepdims=True), 1e-30)


def new_day(day: jax.Array, bar: jax.Array) -> jax.Array:
    """Whether ``bar`` ``[...]`` is the first of a day, of the day number of each bar ``[T]``."""
    return day[bar] != day[jnp.maximum(bar - 1, 0)]


def anchor_weights(
    anchor: Anchor, held: jax.Array, covariance: jax.Array, mask: jax.Array, day: jax.Array, bar: jax.Array
) -> jax.Array:
    """Relative weights ``[S, C]`` that the anchor wants at the close of ``bar``, class by class.

    Args:
        anchor: which portfolio.
        held: ``[S, C]`` its part of what is held.
        covariance: ``[N, N]`` as known at the close, N = S x C.
        mask: ``[S, C]`` bool, real instruments.
        day: ``[T]`` day number of each bar.
        bar: ``[]``.
    """
    num_classes, width = mask.shape
    variance = jnp.diagonal(covariance).reshape(num_classes, width)
    shares = calm_shares(variance[..., None] * jnp.eye(width))
    wanted = anchor.size * jnp.where(anchor.by_volatility > 0.0, shares, 1.0)
    # What could not be bought, for its market was closed, is tried again on every bar.
    due = (held == 0.0) | (new_day(day, bar) & (anchor.held == 0.0))
    return jnp.where(mask, jnp.minimum(jnp.where(due, wanted, held), 1.0), 0.0)


def drifted(
    before: jax.Array, anchor: jax.Array, held: jax.Array, wanted: jax.Array, now: jax.Array, tradable: jax.Array
) -> jax.Array:
    """The anchor's part of what is held after a bar, as it shares in what became of the whole position.

    Args:
        before: ``[...]`` its part before the bar.
        anchor: ``[...]`` its part of what was wanted.
        held: ``[...]`` relative weights before the bar.
        wanted: ``[...]`` relative weights wanted.
        now: ``[...]`` relative weights after it.
        tradable: ``[...]`` bool, whether what was wanted could be traded; otherwise nothing but the price moved.
    """
    part, whole = jnp.where(tradable, anchor, before), jnp.where(tradable, wanted, held)
    tells = jnp.abs(whole) > _MEASURABLE
    became = jnp.where(tells, now / jnp.where(tells, whole, 1.0), 1.0)
    return part * jax.lax.stop_gradient(jnp.clip(became, 0.0, 2.0))
