"""Turns Bars into the MarketTable: causal features, covariance, conversion factors and calendar, computed once.

One scan over the bars makes row t out of the state after bar t - 1 and of bar t, so nothing can look ahead. Outside the
scan only exact operations are done (lags, running maxima); each step has the same shape however long the market is: the
table of a prefix of the bars is the prefix of the table, byte for byte.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mtquant_jax.market.averages import TREND_SPANS, VOLATILITY_SPANS, Averages, State, initial_state, update
from mtquant_jax.market.calendar import NEW_YORK_CLOSE, broker_days, charged_nights
from mtquant_jax.market.domain import MACRO_NAMES, InstrumentRoles, correlations, domain_and_macro, instrument_roles
from mtquant_jax.market.instruments import ConversionPlan, Instrument, conversion, conversion_plan
from mtquant_jax.types import AssetClass, Bars, MarketTable

__all__ = ["FEATURE_NAMES", "LOOK_BACK_BARS", "MACRO_NAMES", "build_table", "correlations"]

RETURN_HORIZONS = (1, 3, 8, 24, 120)
_BOLLINGER_BARS = 20
_RANGE_BARS = 24

FEATURE_NAMES: tuple[str, ...] = (
    *(f"return_{horizon}" for horizon in RETURN_HORIZONS),
    *(f"trend_{span}" for span in TREND_SPANS),
    "volatility_ratio",
    "volatility_level",
    "rsi",
    "macd_histogram",
    "bollinger",
    "atr_level",
    "range_position",
    "volume_score",
    "gap",
    "hour_sin",
    "hour_cos",
    "weekday_sin",
    "weekday_cos",
    "tradable",
)

LOOK_BACK_BARS = max(*RETURN_HORIZONS, *TREND_SPANS, *VOLATILITY_SPANS, _BOLLINGER_BARS, _RANGE_BARS)
"""The longest window or span of any feature, in bars."""


def build_table(
    bars: Bars,
    classes: Sequence[AssetClass],
    instruments: Mapping[str, Instrument],
    account_currency: str,
    broker_timezone: str = NEW_YORK_CLOSE,
) -> MarketTable:
    """All that a simulation looks up, for instruments in the order of bars.symbols, as float32 arrays on the device.

    Raises UserError where a class has a symbol without bars or an unknown domain, or where no instrument converts a
    profit currency into the account currency.
    """
    plan = conversion_plan(bars.symbols, instruments, account_currency)
    fees = conversion_plan(bars.symbols, instruments, account_currency, "fee_currency")
    static = instrument_roles(bars.symbols, classes, instruments)
    prices = [x.astype(np.float32) for x in (bars.open, bars.high, bars.low, bars.close, bars.volume)]
    spread, tradable = bars.spread.astype(np.float32), bars.tradable.astype(bool)
    timestamps = np.asarray(bars.timestamps)
    triple_days = tuple(instruments[symbol].triple_swap_day for symbol in bars.symbols)
    table: MarketTable = _table(
        prices,
        spread,
        tradable,
        _calendar(timestamps),
        broker_days(timestamps, broker_timezone),
        charged_nights(timestamps, triple_days, broker_timezone),
        static,
        (plan, fees),
    )
    return table


def _calendar(timestamps: np.ndarray) -> np.ndarray:
    """[T, 7] float32: hour and weekday as sine and cosine, Tokyo, London, New York.

    Sessions by UTC hour of the bar's open, without daylight saving: 0-9, 7-16 and 12-21.
    """
    day, second = np.divmod(timestamps, 86_400)
    minute, hour = second // 60, second // 3600
    weekday = (day + 3) % 7  # 1970-01-01 was a Thursday; Monday is 0
    clock = np.exp(2j * np.pi * np.arange(1440) / 1440)[minute]
    week = np.exp(2j * np.pi * np.arange(7) / 7)[weekday]
    sessions = [(hour >= first) & (hour < last) for first, last in ((0, 9), (7, 16), (12, 21))]
    columns = np.stack([clock.imag, clock.real, week.imag, week.real, *sessions], axis=-1)
    return columns.astype(np.float32)


@struct.dataclass
class _Row:
    """What the scan takes in per bar; [T, ...] outside of it."""

    open: jax.Array  # [P, N]
    high: jax.Array  # [P, N]
    low: jax.Array  # [P, N]
    close: jax.Array  # [P, N]
    volume: jax.Array  # [P, N]
    tradable: jax.Array  # [P, N] bool
    moves: jax.Array  # [P, N] bool, tradable and not the first bar
    past: jax.Array  # [P, N, H] close of RETURN_HORIZONS bars ago
    top: jax.Array  # [P, N] highest high of 24 bars
    bottom: jax.Array  # [P, N] lowest low of 24 bars
    calendar: jax.Array  # [7] see _calendar


@functools.partial(jax.jit, static_argnames=("static", "plans"))
def _table(
    prices: list[jax.Array],
    spread: jax.Array,
    tradable: jax.Array,
    calendar: jax.Array,
    day: jax.Array,
    swap_nights: jax.Array,
    static: InstrumentRoles,
    plans: tuple[ConversionPlan, ConversionPlan],
) -> MarketTable:
    open_, high, low, close, volume, moves = (jnp.swapaxes(x, 0, 1) for x in (*prices, tradable))
    window, padding = (_RANGE_BARS, 1, 1), ((_RANGE_BARS - 1, 0), (0, 0), (0, 0))
    rows = _Row(
        open=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        tradable=moves,
        moves=moves.at[0].set(False),  # the first bar has no return
        past=jnp.stack([_lag(close, horizon) for horizon in RETURN_HORIZONS], axis=-1),
        top=jax.lax.reduce_window(high, -jnp.inf, jax.lax.max, window, (1, 1, 1), padding),
        bottom=jax.lax.reduce_window(low, jnp.inf, jax.lax.min, window, (1, 1, 1), padding),
        calendar=calendar,
    )
    recent = jnp.broadcast_to(close[0, :, :, None], (*close.shape[1:], _BOLLINGER_BARS))
    carry = (initial_state(jnp.log(high[0] / low[0]), jnp.log1p(volume[0])), recent)
    _, columns = jax.lax.scan(functools.partial(_bar, static=static), carry, rows)
    features, domain, macro, covariance = (jnp.swapaxes(x, 0, 1) for x in columns)
    return MarketTable(
        open=prices[0],
        close=prices[3],
        spread=spread,
        tradable=tradable,
        conversion_open=conversion(prices[0], plans[0]),
        conversion_close=conversion(prices[3], plans[0]),
        fee_conversion=conversion(prices[0], plans[1]),
        swap_nights=swap_nights,
        features=features,
        domain=domain,
        macro=macro,
        covariance=covariance,
        day=day,
    )


def _lag(values: jax.Array, bars: int) -> jax.Array:
    """The values [T, P, N] of some bars ago; the first bar where there is none so old."""
    padded = jnp.pad(values, ((bars, 0), (0, 0), (0, 0)), mode="edge")
    return padded[: values.shape[0]]


def _bar(
    carry: tuple[State, jax.Array], row: _Row, static: InstrumentRoles
) -> tuple[tuple[State, jax.Array], tuple[jax.Array, ...]]:
    """One bar: features [P, N, F], domain [P, C, D], macro [P, M] and covariance [P, N, N]; carries the averages' state
    and the last 20 closes [P, N, 20].
    """
    state, recent = carry
    previous = row.past[..., 0]
    true_range = jnp.log(jnp.maximum(row.high, previous) / jnp.minimum(row.low, previous))
    state, smooth = update(state, jnp.log(row.close / previous), true_range, jnp.log1p(row.volume), row.moves)
    recent = jnp.concatenate([recent[..., 1:], row.close[..., None]], axis=-1)
    features = _features(row, smooth, recent)
    day_return = features[..., RETURN_HORIZONS.index(24)]
    domain, macro = domain_and_macro(smooth, day_return, row.calendar[4:], static)
    return (state, recent), (features, domain, macro, smooth.covariance)


def _features(row: _Row, smooth: Averages, recent: jax.Array) -> jax.Array:
    """Features [P, N, F] in the order of FEATURE_NAMES, within +-5."""
    short, scale, long = (smooth.volatility[..., i] for i in range(3))
    deviation = jnp.sqrt(jnp.asarray(RETURN_HORIZONS, scale.dtype))[None, None] * scale[..., None]
    returns = jnp.log(row.close[..., None] / row.past) / deviation
    span = jnp.maximum(row.top - row.bottom, 1e-6 * row.close)
    columns = [
        jnp.log(short / scale),
        jnp.log(scale / long),
        2.0 * smooth.rsi,
        smooth.macd_histogram,
        _bollinger(row.close, recent, scale),
        jnp.log(smooth.atr[..., 0] / smooth.atr[..., 1]),
        (2.0 * row.close - row.top - row.bottom) / span,
        smooth.volume_score,
        jnp.where(row.moves, jnp.log(row.open / row.past[..., 0]) / scale, 0.0),
        *(jnp.broadcast_to(row.calendar[i], row.close.shape) for i in range(4)),
        row.tradable.astype(row.close.dtype),
    ]
    return jnp.clip(jnp.concatenate([returns, smooth.trend, jnp.stack(columns, axis=-1)], axis=-1), -5.0, 5.0)


def _bollinger(close: jax.Array, recent: jax.Array, volatility: jax.Array) -> jax.Array:
    """Log close less its mean over recent [P, N, 20], in units of two deviations of the window.

    Moments are taken about the current close, so that float32 loses nothing to the level of the price.
    """
    above = jnp.log(close[..., None] / recent)
    mean = jnp.mean(above, axis=-1)
    deviation = jnp.sqrt(jnp.maximum(jnp.mean(jnp.square(above), axis=-1) - jnp.square(mean), 0.0))
    return mean / (2.0 * deviation + 0.1 * volatility)
