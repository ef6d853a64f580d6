"""The risk layer: turns target weights into permitted weights, a pure function between the policy and the orders.

Rules that cut single instruments come first, rules that scale the whole book last: a smaller leg of a hedge can raise
the risk of the rest, so only a uniform scaling at the end satisfies all limits at once.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.simulation.parts import quadratic_form
from mtquant_jax.types import Contracts

RULES = (
    "daily_loss_halving",
    "instrument_limit",
    "class_limit",
    "correlation_limit",
    "gross_limit",
    "margin_limit",
    "var_limit",
    "daily_loss_reduction",
    "daily_loss_flattening",
)
"""Names of the rules, in the order in which they apply; metrics use the same names."""

NO_LIMIT = 1e9
"""A limit that never binds; finite, because infinity would turn gradients into NaN."""

_TINY = 1e-12


@struct.dataclass
class RiskRules:
    """Traced limits; `NO_LIMIT` switches one off."""

    instrument_limit: jax.Array  # [] gross exposure of one instrument
    class_limit: jax.Array  # [] gross exposure of one class
    correlation_threshold: jax.Array  # [] correlation above which two positions count as the same bet
    correlation_limit: jax.Array  # [] gross exposure of positions that are the same bet
    gross_limit: jax.Array  # [] gross exposure of the book
    margin_limit: jax.Array  # [] margin as a share of equity
    var_limit: jax.Array  # [] value at risk of a day, share of equity
    var_z: jax.Array  # [] standard normal quantile of the VaR's confidence, 1.645 for 95 %
    bars_per_day: jax.Array  # [] ratio of the variance of a day to that of a bar
    halving_loss: jax.Array  # [] loss of the day, share of its first equity, from which sizes are halved
    reduction_loss: jax.Array  # [] loss of the day from which positions may only shrink
    flattening_loss: jax.Array  # [] loss of the day from which everything is closed until the next day


@struct.dataclass
class RiskState:
    """State of the circuit breakers."""

    day: jax.Array  # [] int32, day on the broker's clock
    day_equity: jax.Array  # [] equity at the start of the day
    worst_loss: jax.Array  # [] largest loss of the day so far, share of day_equity; a breaker lasts until the next day


@struct.dataclass
class Permission:
    """Permitted weights, and the cut by each rule."""

    weights: jax.Array  # [N] permitted exposure, signed share of equity
    cuts: jax.Array  # [len(RULES)] share of the wanted gross exposure that each rule removes


def start_risk(day: jax.Array, equity: jax.Array) -> RiskState:
    """State at the start of a day with ``equity`` ``[]``."""
    return RiskState(day=day, day_equity=equity, worst_loss=jnp.zeros(()))


def next_risk(state: RiskState, day: jax.Array, equity_before: jax.Array, equity: jax.Array) -> RiskState:
    """State of the circuit breakers at the close of a bar.

    Args:
        state: state at the close of the bar before.
        day: ``[]`` day of the bar.
        equity_before: ``[]`` equity at the close of the bar before, with which a new day begins.
        equity: ``[]`` equity at the close of the bar, floating profit and swap included.
    """
    new_day = day != state.day
    start = jnp.where(new_day, equity_before, state.day_equity)
    worst = jnp.where(new_day, 0.0, state.worst_loss)
    loss = 1.0 - equity / jnp.maximum(start, _TINY)
    return RiskState(day=day, day_equity=start, worst_loss=jnp.maximum(worst, loss))


def permit(
    target: jax.Array,
    current: jax.Array,
    covariance: jax.Array,
    classes: jax.Array,
    contracts: Contracts,
    state: RiskState,
    rules: RiskRules,
) -> Permission:
    """Cut target weights until they satisfy every limit.

    The result never changes a sign, never exceeds a target, and equals the target inside all limits. A limit on a
    scaled book holds for the returned weights; prices may still move a position past it until the next decision.

    Args:
        target: ``[N]`` wanted exposure, signed share of equity.
        current: ``[N]`` current exposure, signed share of equity.
        covariance: ``[N, N]`` covariance of per-bar returns, as known now.
        classes: ``[N]`` int, class of each instrument, below N.
        contracts: margin rates ``[N]``.
        state: losses of the day.
        rules: the limits.
    """
    wanted = jnp.sum(jnp.abs(target))
    halved = jnp.where(state.worst_loss >= rules.halving_loss, 0.5, 1.0)
    steps = [target * halved]
    steps.append(jnp.clip(steps[-1], -rules.instrument_limit, rules.instrument_limit))
    steps.append(steps[-1] * _class_scale(steps[-1], classes, rules.class_limit))
    steps.append(steps[-1] * _same_bet_scale(steps[-1], covariance, rules))
    gross = jnp.sum(jnp.abs(steps[-1]))
    steps.append(steps[-1] * _scale(rules.gross_limit, gross))
    margin = jnp.sum(jnp.abs(steps[-1]) * contracts.margin_rate)
    steps.append(steps[-1] * _scale(rules.margin_limit, margin))
    steps.append(steps[-1] * _scale(rules.var_limit, value_at_risk(steps[-1], covariance, rules)))
    # The reduction rule can remove a hedge, so the value at risk is limited again; scaling preserves the other limits.
    reducing = state.worst_loss >= rules.reduction_loss
    reduced = jnp.where(reducing, towards_zero(steps[-1], current), steps[-1])
    again = jnp.where(reducing, _scale(rules.var_limit, value_at_risk(reduced, covariance, rules)), 1.0)
    steps.append(reduced * again)
    steps.append(jnp.where(state.worst_loss >= rules.flattening_loss, 0.0, steps[-1]))
    sizes = jnp.stack([wanted, *(jnp.sum(jnp.abs(step)) for step in steps)])
    cut = jnp.maximum(sizes[:-1] - sizes[1:], 0.0)  # equal sums may differ in their last digit
    return Permission(weights=steps[-1], cuts=cut / jnp.maximum(wanted, _TINY))


def value_at_risk(weights: jax.Array, covariance: jax.Array, rules: RiskRules) -> jax.Array:
    """Parametric value at risk of a day ``[]``, share of equity: z sqrt(w' Sigma w x bars per day)."""
    variance = quadratic_form(weights, covariance)
    return rules.var_z * jnp.sqrt(jnp.maximum(variance, _TINY**2) * rules.bars_per_day)


def towards_zero(weights: jax.Array, current: jax.Array) -> jax.Array:
    """Clip weights ``[N]`` to lie between zero and the current weights."""
    return jnp.clip(weights, jnp.minimum(current, 0.0), jnp.maximum(current, 0.0))


def same_bets(weights: jax.Array, covariance: jax.Array, threshold: jax.Array) -> jax.Array:
    """``[N, N]`` bool, True for positions that are the same bet: their signed correlation exceeds the threshold."""
    deviation = jnp.sqrt(jnp.maximum(jnp.diagonal(covariance), 0.0))
    scale = deviation[:, None] * deviation[None, :]
    correlation = jnp.where(scale > 0.0, covariance / jnp.maximum(scale, _TINY), 0.0)
    signs = jnp.sign(weights)
    together = correlation * signs[:, None] * signs[None, :] > threshold
    return together | jnp.eye(weights.shape[0], dtype=bool)


def _same_bet_scale(weights: jax.Array, covariance: jax.Array, rules: RiskRules) -> jax.Array:
    """Factors ``[N]`` that bring every group of same bets within its limit.

    Each position takes the smallest factor of all positions that are the same bet, so that a group shrinks at least as
    much as its own size requires.
    """
    bets = same_bets(weights, covariance, rules.correlation_threshold)
    factors = _scale(rules.correlation_limit, bets.astype(weights.dtype) @ jnp.abs(weights))
    return jnp.min(jnp.where(bets, factors[None, :], 1.0), axis=1)


def _class_scale(weights: jax.Array, classes: jax.Array, limit: jax.Array) -> jax.Array:
    """Factors ``[N]`` that bring every class within its limit."""
    gross = jax.ops.segment_sum(jnp.abs(weights), classes, num_segments=weights.shape[0])
    return _scale(limit, gross)[classes]


def _scale(limit: jax.Array, size: jax.Array) -> jax.Array:
    """min(1, limit / size), and 1 for a size of 0."""
    binds = size > limit
    return jnp.where(binds, limit / jnp.where(binds, size, 1.0), 1.0)
