"""Turns one bar after the other into exponentially weighted averages and a covariance of all bars so far."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import struct

TREND_SPANS = (3, 8, 20, 50, 120)
VOLATILITY_SPANS = (20, 60, 240)  # short, the scale of returns, long-run
COVARIANCE_SPAN = 120
VOLUME_SPAN = 120
LEVEL_SPAN = 240  # the average that log prices are compared with, for gold against oil
WILDER_PERIOD = 14  # RSI and ATR smooth with 1 / 14, a span of 27
MACD_SPANS = (12, 26, 9)

_PRIOR_BARS = 10.0  # weight of the first bar's range as a guess of volatility
_MIN_VARIANCE = 1e-10  # (1e-5 per bar)^2: below any quoted market; keeps flat prices finite
_MAX_SCORE = 6.0  # standardised returns are cut here before they enter a trend


@struct.dataclass
class Averages:
    """What the bars up to and including one bar amount to."""

    volatility: jax.Array  # [P, N, 3] deviation of log returns per bar, for VOLATILITY_SPANS
    trend: jax.Array  # [P, N, 5] average standardised return in units of its own deviation, for TREND_SPANS
    macd_histogram: jax.Array  # [P, N] MACD(12, 26) less its signal(9), in volatilities
    rsi: jax.Array  # [P, N] relative strength index(14), -1 to 1
    atr: jax.Array  # [P, N, 2] average true range as a log ratio, period 14 and long-run
    level: jax.Array  # [P, N] log price less its average of LEVEL_SPAN
    volume_score: jax.Array  # [P, N] log volume less its average, in deviations
    covariance: jax.Array  # [P, N, N] of log returns per bar


def _rate(span: float) -> float:
    return 2.0 / (span + 1.0)


def level_deviation() -> float:
    """Stationary deviation of `Averages.level` for a random walk of unit volatility."""
    keep = 1.0 - _rate(LEVEL_SPAN)
    return math.sqrt(keep**2 / (1.0 - keep**2))


# Channels that move by state += rate * (input - state): the rate, and the number of bars that the initial state is
# worth. An infinite number is a plain filter; with a finite one the channel is an ordinary mean at first.
_CHANNELS: tuple[tuple[float, float], ...] = (
    *((_rate(span), _PRIOR_BARS) for span in VOLATILITY_SPANS),
    *((_rate(span), 0.0) for span in TREND_SPANS),
    *((_rate(span), math.inf) for span in (*MACD_SPANS[:2], LEVEL_SPAN)),
    *((1.0 / WILDER_PERIOD, math.inf) for _ in ("up", "down")),
    *((rate, _PRIOR_BARS) for rate in (1.0 / WILDER_PERIOD, _rate(VOLATILITY_SPANS[-1]))),
    *((_rate(VOLUME_SPAN), count) for count in (1.0, _PRIOR_BARS)),
)
_VOLATILITY, _TREND = slice(0, 3), slice(3, 8)
_MACD_FAST, _MACD_SLOW, _LEVEL, _UP, _DOWN = 8, 9, 10, 11, 12
_RANGE, _VOLUME_MEAN, _VOLUME_VARIANCE = slice(13, 15), 15, 16


@struct.dataclass
class State:
    """What is carried from bar to bar."""

    channels: jax.Array  # [P, N, K]
    trend_variance: jax.Array  # [P, N, 5] of the trend channels for independent unit returns
    signal: jax.Array  # [P, N] average MACD
    count: jax.Array  # [P, N] tradable bars so far
    covariance: jax.Array  # [P, N, N]
    bars: jax.Array  # [] bars so far


def initial_state(true_range: jax.Array, log_volume: jax.Array) -> State:
    """The state before any return, from the first bar's range (log high / low) and log volume, both [P, N]."""
    variance = jnp.maximum(jnp.square(true_range) / (4.0 * math.log(2.0)), 1e-7)  # Parkinson 1980, from one bar
    zero = jnp.zeros_like(variance)
    normal_range = 1.6 * jnp.sqrt(variance)  # mean range of a Brownian motion in units of its deviation
    channels = [variance] * 3 + [zero] * 10 + [normal_range] * 2 + [log_volume, jnp.full_like(zero, 0.25)]
    return State(
        channels=jnp.stack(channels, axis=-1),
        trend_variance=jnp.zeros((*variance.shape, len(TREND_SPANS)), variance.dtype),
        signal=zero,
        count=zero,
        covariance=variance[..., None] * jnp.eye(variance.shape[-1], dtype=variance.dtype)[None],
        bars=jnp.zeros((), variance.dtype),
    )


def update(
    state: State, log_return: jax.Array, true_range: jax.Array, log_volume: jax.Array, moves: jax.Array
) -> tuple[State, Averages]:
    """The state and the averages after one more bar.

    Takes log_return of the close, true_range as a log ratio, log_volume and moves (bool), all [P, N]. Instruments that
    do not move (no bar) keep all their averages.
    """
    old = state.channels
    score = log_return / jnp.sqrt(jnp.maximum(old[..., 1], _MIN_VARIANCE))
    score = jnp.clip(score, -_MAX_SCORE, _MAX_SCORE)
    surprise = log_volume - old[..., _VOLUME_MEAN]
    inputs = _inputs(log_return, score, true_range, log_volume, surprise)
    rates = jnp.asarray([rate for rate, _ in _CHANNELS], old.dtype)[None, None]
    priors = jnp.asarray([prior for _, prior in _CHANNELS], old.dtype)[None, None]
    count = state.count + moves.astype(old.dtype)
    move = moves[..., None]
    rate = jnp.maximum(rates, 1.0 / (jnp.maximum(count, 1.0)[..., None] + priors))
    channels = jnp.where(move, old + rate * (inputs - old), old)
    trend_rate = rate[..., _TREND]
    trend_variance = jnp.square(1.0 - trend_rate) * state.trend_variance + jnp.square(trend_rate)
    trend_variance = jnp.where(move, trend_variance, state.trend_variance)
    macd = channels[..., _MACD_SLOW] - channels[..., _MACD_FAST]
    signal = jnp.where(moves, state.signal + _rate(MACD_SPANS[2]) * (macd - state.signal), state.signal)
    bars = state.bars + 1.0
    covariance = _update_covariance(state.covariance, log_return, moves, bars)

    up, down = channels[..., _UP], channels[..., _DOWN]
    result = Averages(
        volatility=jnp.sqrt(jnp.maximum(channels[..., _VOLATILITY], _MIN_VARIANCE)),
        trend=channels[..., _TREND] / jnp.sqrt(jnp.maximum(trend_variance, 1e-6)),
        macd_histogram=macd - signal,
        rsi=(up - down) / (up + down + 1e-9),
        atr=jnp.maximum(channels[..., _RANGE], 1e-6),
        level=channels[..., _LEVEL],
        volume_score=jnp.where(moves, surprise / jnp.sqrt(old[..., _VOLUME_VARIANCE] + 0.01), 0.0),
        covariance=_regular(covariance),
    )
    return State(channels, trend_variance, signal, count, covariance, bars), result


def _inputs(
    log_return: jax.Array, score: jax.Array, true_range: jax.Array, log_volume: jax.Array, surprise: jax.Array
) -> jax.Array:
    """What each channel averages [P, N, K]."""
    # log p - EMA(log p) obeys d' = (1 - a)(d + r), which is a channel fed with r (1 - a) / a.
    fast, slow, level = ((1.0 - _rate(span)) / _rate(span) for span in (*MACD_SPANS[:2], LEVEL_SPAN))
    inputs = [jnp.square(log_return)] * 3 + [score] * 5 + [score * fast, score * slow, log_return * level]
    inputs += [jnp.maximum(log_return, 0.0), jnp.maximum(-log_return, 0.0), true_range, true_range]
    return jnp.stack([*inputs, log_volume, jnp.square(surprise)], axis=-1)


def _update_covariance(covariance: jax.Array, log_return: jax.Array, moves: jax.Array, bars: jax.Array) -> jax.Array:
    """One EWMA step [P, N, N] that leaves the variance of instruments without a bar where it was.

    Rows and columns of such instruments are scaled back by 1 / sqrt(1 - a): D M D of a positive definite M stays
    positive definite, which freezing single entries would not ensure.
    """
    rate = jnp.maximum(_rate(COVARIANCE_SPAN), 1.0 / (bars + _PRIOR_BARS))
    moved = jnp.where(moves, log_return, 0.0)
    updated = (1.0 - rate) * covariance + rate * moved[..., :, None] * moved[..., None, :]
    back = jnp.where(moves, 1.0, 1.0 / jnp.sqrt(1.0 - rate))
    return updated * back[..., :, None] * back[..., None, :]


def _regular(covariance: jax.Array) -> jax.Array:
    """Adds 1e-4 of the variances and a floor to the diagonal, so that flat or identical instruments do no harm."""
    diagonal = jnp.eye(covariance.shape[-1], dtype=covariance.dtype)[None]
    return covariance * (1.0 + 1e-4 * diagonal) + _MIN_VARIANCE * diagonal
