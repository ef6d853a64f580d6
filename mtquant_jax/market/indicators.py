"""Turns what is known of each instrument at the end of a bar into its features: their names and formulas."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp

from mtquant_jax.market.averages import MACD_SPANS, TREND_SPANS, VOLATILITY_SPANS, VOLUME_SPAN, WILDER_PERIOD
from mtquant_jax.market.bar_view import BarView, Feature

_SHORT, _SCALE, _LONG = VOLATILITY_SPANS  # _SCALE is the span of the volatility that returns are measured in
RETURN_HORIZONS = (1, 3, 8, 24, 120)
_BOLLINGER_BARS = 20
_RANGE_BARS = 24


def scaled_return(view: BarView, horizon: int) -> jax.Array:
    """Log return over some bars in the deviation that a random walk would have [P, N]."""
    deviation = math.sqrt(horizon) * view.averages.volatility(_SCALE)
    return jnp.log(view.bar.close / view.recent.ago("close", horizon)) / deviation


def volatility_ratio(view: BarView) -> jax.Array:
    """Log ratio of the volatilities of spans 20 and 60 [P, N]."""
    return jnp.log(view.averages.volatility(_SHORT) / view.averages.volatility(_SCALE))


def trend(view: BarView, span: int) -> jax.Array:
    """Average standardised return in its own deviation [P, N]."""
    return view.averages.trend(span)


def _volatility_level(view: BarView) -> jax.Array:
    """Log ratio of the volatilities of spans 60 and 240."""
    return jnp.log(view.averages.volatility(_SCALE) / view.averages.volatility(_LONG))


def _rsi(view: BarView) -> jax.Array:
    """Relative strength index(14), from -2 to 2."""
    gain, loss = view.averages.channel("gain"), view.averages.channel("loss")
    return 2.0 * ((gain - loss) / (gain + loss + 1e-9))


def _bollinger(view: BarView) -> jax.Array:
    """Log close less its mean over 20 bars, in units of two deviations of the window.

    Moments are taken about the current close, so that float32 loses nothing to the level of the price.
    """
    recent = jnp.moveaxis(view.recent.window("close", _BOLLINGER_BARS), 0, -1)
    above = jnp.log(view.bar.close[..., None] / recent)
    mean = jnp.mean(above, axis=-1)
    deviation = jnp.sqrt(jnp.maximum(jnp.mean(jnp.square(above), axis=-1) - jnp.square(mean), 0.0))
    return mean / (2.0 * deviation + 0.1 * view.averages.volatility(_SCALE))


def _atr_level(view: BarView) -> jax.Array:
    """Log ratio of the average true ranges of period 14 and of span 240."""
    short, long = (jnp.maximum(view.averages.channel(name), 1e-6) for name in ("range", "long_range"))
    return jnp.log(short / long)


def _range_position(view: BarView) -> jax.Array:
    """Place of the close in the range of 24 bars, from -1 at the bottom to 1 at the top."""
    close = view.bar.close
    top = jnp.max(view.recent.window("high", _RANGE_BARS), axis=0)
    bottom = jnp.min(view.recent.window("low", _RANGE_BARS), axis=0)
    return (2.0 * close - top - bottom) / jnp.maximum(top - bottom, 1e-6 * close)


def _gap(view: BarView) -> jax.Array:
    """Log return from the close before to the open, in volatilities; zero without a bar."""
    gap = jnp.log(view.bar.open / view.recent.ago("close", 1)) / view.averages.volatility(_SCALE)
    return jnp.where(view.moves, gap, 0.0)


def _clock(view: BarView, name: str) -> jax.Array:
    return jnp.broadcast_to(view.clock(name), view.bar.close.shape)


INSTRUMENT_FEATURES: tuple[Feature, ...] = (
    *(Feature(f"return_{bars}", bars, functools.partial(scaled_return, horizon=bars)) for bars in RETURN_HORIZONS),
    *(Feature(f"trend_{span}", span, functools.partial(trend, span=span)) for span in TREND_SPANS),
    Feature("volatility_ratio", _SCALE, volatility_ratio),
    Feature("volatility_level", _LONG, _volatility_level),
    Feature("rsi", WILDER_PERIOD, _rsi),
    Feature("macd_histogram", max(MACD_SPANS), lambda view: view.averages.macd_histogram),
    Feature("bollinger", _SCALE, _bollinger),
    Feature("atr_level", _LONG, _atr_level),
    Feature("range_position", _RANGE_BARS, _range_position),
    Feature("volume_score", VOLUME_SPAN, lambda view: view.averages.volume_score),
    Feature("gap", _SCALE, _gap),
    *(
        Feature(name, 0, functools.partial(_clock, name=name))
        for name in ("hour_sin", "hour_cos", "weekday_sin", "weekday_cos")
    ),
    Feature("tradable", 0, lambda view: view.bar.tradable.astype(view.bar.close.dtype)),
)
"""What every instrument has, in the order of the table's columns, cut at +-5: formulas BarView -> [P, N]."""
