"""Turns one bar after the other into exponentially weighted averages and a covariance of all bars so far."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

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


@dataclasses.dataclass(frozen=True)
class BarMoves:
    """What the averages take from one bar."""

    log_return: jax.Array  # [P, N] of the close
    score: jax.Array  # [P, N] log_return in volatilities of span 60 up to the bar before, within +-6
    true_range: jax.Array  # [P, N] log ratio of the extremes, the previous close included
    log_volume: jax.Array  # [P, N] log(1 + ticks)
    surprise: jax.Array  # [P, N] log_volume less its average up to the bar before


@dataclasses.dataclass(frozen=True)
class FirstBar:
    """What the first bar says about the initial averages."""

    variance: jax.Array  # [P, N] of log returns per bar
    log_volume: jax.Array  # [P, N] log(1 + ticks)


@dataclasses.dataclass(frozen=True)
class Channel:
    """An average that moves by rate x (input - average) with every tradable bar."""

    rate: float
    """Weight of the newest input, (0, 1]."""
    prior: float
    """Bars that the initial value is worth: with a finite number the average is an ordinary mean at first."""
    initial: Callable[[FirstBar], jax.Array]
    """The value [P, N] before the first bar."""
    input: Callable[[BarMoves], jax.Array]
    """What is averaged [P, N]."""


def _rate(span: float) -> float:
    return 2.0 / (span + 1.0)


def _zero(first: FirstBar) -> jax.Array:
    return jnp.zeros_like(first.variance)


def _variance(first: FirstBar) -> jax.Array:
    return first.variance


def _normal_range(first: FirstBar) -> jax.Array:
    """The mean range of a Brownian motion is 1.6 of its deviations."""
    return 1.6 * jnp.sqrt(first.variance)


def _deviation(span: int, of: Callable[[BarMoves], jax.Array]) -> Channel:
    """The cumulated input less its average.

    log p - EMA(log p) obeys d' = (1 - a)(d + r), which is a channel with the input r (1 - a) / a.
    """
    gain = (1.0 - _rate(span)) / _rate(span)
    return Channel(_rate(span), math.inf, _zero, lambda bar: of(bar) * gain)


_WILDER = 1.0 / WILDER_PERIOD
_LONG = _rate(VOLATILITY_SPANS[-1])

CHANNELS: dict[str, Channel] = {
    **{
        f"variance_{span}": Channel(_rate(span), _PRIOR_BARS, _variance, lambda bar: jnp.square(bar.log_return))
        for span in VOLATILITY_SPANS
    },
    **{f"trend_{span}": Channel(_rate(span), 0.0, _zero, lambda bar: bar.score) for span in TREND_SPANS},
    "macd_fast": _deviation(MACD_SPANS[0], lambda bar: bar.score),
    "macd_slow": _deviation(MACD_SPANS[1], lambda bar: bar.score),
    "level": _deviation(LEVEL_SPAN, lambda bar: bar.log_return),
    "gain": Channel(_WILDER, math.inf, _zero, lambda bar: jnp.maximum(bar.log_return, 0.0)),
    "loss": Channel(_WILDER, math.inf, _zero, lambda bar: jnp.maximum(-bar.log_return, 0.0)),
    "range": Channel(_WILDER, _PRIOR_BARS, _normal_range, lambda bar: bar.true_range),
    "long_range": Channel(_LONG, _PRIOR_BARS, _normal_range, lambda bar: bar.true_range),
    "volume": Channel(_rate(VOLUME_SPAN), 1.0, lambda first: first.log_volume, lambda bar: bar.log_volume),
    "volume_variance": Channel(
        _rate(VOLUME_SPAN),
        _PRIOR_BARS,
        lambda first: jnp.full_like(first.variance, 0.25),
        lambda bar: jnp.square(bar.surprise),
    ),
}
"""The averages of each instrument; their order is that of the state's last axis."""


def _channel(channels: jax.Array, name: str) -> jax.Array:
    """One of the channels [..., K] -> [...]."""
    return channels[..., list(CHANNELS).index(name)]


def _several(channels: jax.Array, kind: str, spans: Sequence[int]) -> jax.Array:
    """The channels of one kind for several spans: [..., K] -> [..., len(spans)]."""
    return jnp.stack([_channel(channels, f"{kind}_{span}") for span in spans], axis=-1)


def level_deviation() -> float:
    """Stationary deviation of the channel ``level`` for a random walk of unit volatility."""
    keep = 1.0 - _rate(LEVEL_SPAN)
    return math.sqrt(keep**2 / (1.0 - keep**2))


@struct.dataclass
class AveragesState:
    """What is carried from bar to bar."""

    channels: jax.Array  # [P, N, K] in the order of CHANNELS
    trend_variance: jax.Array  # [P, N, 5] of the trend channels for independent unit returns
    signal: jax.Array  # [P, N] average MACD
    count: jax.Array  # [P, N] tradable bars so far
    covariance: jax.Array  # [P, N, N] of log returns per bar
    bars: jax.Array  # [] bars so far


@dataclasses.dataclass(frozen=True)
class Averages:
    """The averages up to and including one bar."""

    channels: jax.Array  # [P, N, K] in the order of CHANNELS
    volatilities: jax.Array  # [P, N, 3] deviation of log returns per bar, for VOLATILITY_SPANS
    trends: jax.Array  # [P, N, 5] average standardised return in its own deviation, for TREND_SPANS
    macd_histogram: jax.Array  # [P, N] MACD(12, 26) less its signal(9), in volatilities
    volume_score: jax.Array  # [P, N] log volume less its average, in deviations
    covariance: jax.Array  # [P, N, N] of log returns per bar

    def channel(self, name: str) -> jax.Array:
        """The average [P, N] of one of CHANNELS."""
        return _channel(self.channels, name)

    def volatility(self, span: int) -> jax.Array:
        """Deviation [P, N] of log returns per bar, for one of VOLATILITY_SPANS."""
        return self.volatilities[..., VOLATILITY_SPANS.index(span)]

    def trend(self, span: int) -> jax.Array:
        """Average standardised return [P, N] in its own deviation, for one of TREND_SPANS."""
        return self.trends[..., TREND_SPANS.index(span)]


def initial_state(true_range: jax.Array, log_volume: jax.Array) -> AveragesState:
    """The state before any return, from the first bar's range (log high / low) and log volume, both [P, N]."""
    variance = jnp.maximum(jnp.square(true_range) / (4.0 * math.log(2.0)), 1e-7)  # Parkinson 1980, from one bar
    first = FirstBar(variance, log_volume)
    return AveragesState(
        channels=jnp.stack([channel.initial(first) for channel in CHANNELS.values()], axis=-1),
        trend_variance=jnp.zeros((*variance.shape, len(TREND_SPANS)), variance.dtype),
        signal=jnp.zeros_like(variance),
        count=jnp.zeros_like(variance),
        covariance=variance[..., None] * jnp.eye(variance.shape[-1], dtype=variance.dtype)[None],
        bars=jnp.zeros((), variance.dtype),
    )


def update(
    state: AveragesState, log_return: jax.Array, true_range: jax.Array, log_volume: jax.Array, moves: jax.Array
) -> tuple[AveragesState, Averages]:
    """The state and the averages after one more bar.

    Takes log_return of the close, true_range as a log ratio, log_volume and moves (bool), all [P, N]. Instruments that
    do not move (no bar) keep all their averages.
    """
    old = state.channels
    score = log_return / jnp.sqrt(jnp.maximum(_channel(old, "variance_60"), _MIN_VARIANCE))
    score = jnp.clip(score, -_MAX_SCORE, _MAX_SCORE)
    surprise = log_volume - _channel(old, "volume")
    bar = BarMoves(log_return, score, true_range, log_volume, surprise)
    count = state.count + moves.astype(old.dtype)
    rate = _rates(count)
    inputs = jnp.stack([channel.input(bar) for channel in CHANNELS.values()], axis=-1)
    channels = jnp.where(moves[..., None], old + rate * (inputs - old), old)

    trend_rate = _several(rate, "trend", TREND_SPANS)
    trend_variance = jnp.square(1.0 - trend_rate) * state.trend_variance + jnp.square(trend_rate)
    trend_variance = jnp.where(moves[..., None], trend_variance, state.trend_variance)
    macd = _channel(channels, "macd_slow") - _channel(channels, "macd_fast")
    signal = jnp.where(moves, state.signal + _rate(MACD_SPANS[2]) * (macd - state.signal), state.signal)
    bars = state.bars + 1.0
    covariance = _update_covariance(state.covariance, log_return, moves, bars)

    averages = Averages(
        channels=channels,
        volatilities=jnp.sqrt(jnp.maximum(_several(channels, "variance", VOLATILITY_SPANS), _MIN_VARIANCE)),
        trends=_several(channels, "trend", TREND_SPANS) / jnp.sqrt(jnp.maximum(trend_variance, 1e-6)),
        macd_histogram=macd - signal,
        volume_score=jnp.where(moves, surprise / jnp.sqrt(_channel(old, "volume_variance") + 0.01), 0.0),
        covariance=_regular(covariance),
    )
    return AveragesState(channels, trend_variance, signal, count, covariance, bars), averages


def _rates(count: jax.Array) -> jax.Array:
    """How far each channel moves [P, N, K], after so many tradable bars [P, N]."""
    rates = jnp.asarray([channel.rate for channel in CHANNELS.values()], count.dtype)[None, None]
    priors = jnp.asarray([channel.prior for channel in CHANNELS.values()], count.dtype)[None, None]
    return jnp.maximum(rates, 1.0 / (jnp.maximum(count, 1.0)[..., None] + priors))


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
