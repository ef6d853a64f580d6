"""Turns a seed and a calibration into Bars of an artificial hourly market with a known, documented edge.

The edge is a hidden drift per instrument: an AR(1) with coefficient 0.98 per bar and a stationary deviation of `edge`
in units of the bar's volatility, independent of the noise. With edge = 0 prices are martingales: nothing can be earned.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mtquant_jax.errors import UserError
from mtquant_jax.market.calibration import load_calibration
from mtquant_jax.market.instruments import Instrument, select
from mtquant_jax.types import Bars

DRIFT_PERSISTENCE = 0.98
"""Coefficient of the hidden drift per hourly bar: a half-life of 34 bars."""

_FIRST_BAR = 1_514_764_800  # Monday 2018-01-01 00:00 UTC
_BREAK_HOUR = 21  # UTC; instruments that are not currency pairs pause for this hour
_WIDE_HOURS, _WIDE_FACTOR = (21, 22), 2.5  # spreads around the New York close
_SPREAD_NOISE, _VOLUME_NOISE, _VOLUME_ELASTICITY = 0.2, 0.35, 0.8
_MAX_SCORE, _MAX_TAIL_FACTOR = 15.0, 8.0  # a Student-t has no moment generating function; its cut tails have one


@struct.dataclass
class _Parameters:
    """The calibration as arrays, traced: another calibration of the same size compiles nothing."""

    mixing: jax.Array  # [N, N] lower triangle; mixing @ independent normals have the wanted correlations
    dof: jax.Array  # [N] of Student-t
    dof_mask: jax.Array  # [K, N] which of the K squared normals count for each instrument
    volatility: jax.Array  # [T, N] of the log return, from open to close; 0 where not tradable
    gap: jax.Array  # [T, N] deviation of log open / close before; 0 where not tradable
    persistence: jax.Array  # [N] of log volatility
    of_volatility: jax.Array  # [N] stationary deviation of log volatility
    common_share: jax.Array  # [] share of log volatility's variance that all instruments have in common
    start_price: jax.Array  # [N]
    spread: jax.Array  # [T, N] default, with the hour's factor, price units
    volume: jax.Array  # [T, N] ticks
    tradable: jax.Array  # [T, N] bool


def generate(
    key: jax.Array,
    num_paths: int,
    num_bars: int,
    edge: float,
    calibration: Mapping[str, Any] | None,
    symbols: Sequence[str],
    instruments: Mapping[str, Instrument],
) -> Bars:
    """Bars of num_paths independent markets of num_bars hours, drawn on the device in float32.

    Hours run from Monday 2018-01-01 00:00 UTC, Sunday 22:00 to Friday 21:00; instruments that are not currency pairs
    have a break at 21:00 UTC, where the price is carried and nothing is tradable. `edge` is the stationary deviation of
    the hidden drift in volatilities per bar. `calibration` is as `calibrate` and `load_calibration` give it; None is
    the shipped one. The same key gives the same bars.

    Raises UserError for a symbol that the calibration or the contract specifications do not know.
    """
    calibration = load_calibration() if calibration is None else calibration
    known = list(calibration["instruments"])
    unknown = [symbol for symbol in symbols if symbol not in known]
    if unknown:
        raise UserError(
            f"The synthetic market has no {', '.join(unknown)}; it knows {', '.join(known)}. "
            "For other instruments give bar files with --data-dir"
        )
    timestamps = clock(num_bars)
    parameters = _parameters(calibration, select(symbols, instruments), timestamps)
    columns = _draw(key, jnp.asarray(edge, jnp.float32), parameters, num_paths)
    return Bars(symbols=tuple(symbols), timestamps=timestamps, **columns)


def clock(num_bars: int) -> np.ndarray:
    """Bar opens [T] int64, seconds since 1970 UTC: hours of the week from Sunday 22:00 to Friday 21:00 (119 a week)."""
    hours = np.arange(2 * num_bars + 168)
    of_week = hours % 168  # 0 is Monday 00:00
    is_open = (of_week < 4 * 24 + 21) | (of_week >= 6 * 24 + 22)
    return (_FIRST_BAR + 3600 * hours[is_open][:num_bars]).astype(np.int64)


def _parameters(calibration: Mapping[str, Any], chosen: Sequence[Instrument], timestamps: np.ndarray) -> _Parameters:
    numbers = [calibration["instruments"][instrument.symbol] for instrument in chosen]

    def each(key: str) -> np.ndarray:
        return np.array([one[key] for one in numbers], np.float64)

    hour = (timestamps // 3600) % 24
    pauses = np.array([not instrument.is_currency_pair for instrument in chosen])
    tradable = ~((hour == _BREAK_HOUR)[:, None] & pauses)
    profile = np.array([one["hour_profile"] for one in numbers]).T[hour]  # [T, N]
    after_break = np.pad(~tradable[:-1], ((1, 0), (0, 0)))
    after_weekend = np.diff(timestamps, prepend=timestamps[0] - 3600) > 3600
    gap = np.where(after_break, each("break_gap"), each("open_gap") * profile)
    gap = np.where(after_weekend[:, None], each("weekend_gap"), gap)
    body = profile * np.sqrt(1.0 - np.minimum(each("open_gap"), 0.9) ** 2)
    widening = np.where(np.isin(hour, _WIDE_HOURS), _WIDE_FACTOR, 1.0)[:, None]
    spread = np.array([instrument.default_spread for instrument in chosen]) * widening
    dof = np.round(each("tail_dof")).astype(int)
    correlation = np.asarray(calibration["correlations"], np.float64)
    rows = [list(calibration["instruments"]).index(instrument.symbol) for instrument in chosen]
    arrays = {
        "mixing": _mixing(correlation[np.ix_(rows, rows)], dof),
        "dof": dof,
        "dof_mask": np.arange(dof.max())[:, None] < dof,
        "volatility": np.where(tradable, body * each("hourly_volatility"), 0.0),
        "gap": np.where(tradable, gap * each("hourly_volatility"), 0.0),
        "persistence": each("volatility_persistence"),
        "of_volatility": each("volatility_of_volatility"),
        "common_share": np.asarray(calibration["volatility_common_share"]),
        "start_price": each("start_price"),
        "spread": spread,
        "volume": each("median_volume") * profile / np.median(profile, axis=0),
    }
    return _Parameters(
        tradable=jnp.asarray(tradable), **{name: jnp.asarray(x, jnp.float32) for name, x in arrays.items()}
    )


def _mixing(correlation: np.ndarray, dof: np.ndarray) -> np.ndarray:
    """Lower triangle L [N, N] with which the Student-t scores get the wanted correlations.

    The chi-squares of a pair come from normals with the same correlation rho as the scores; where rho is small they are
    nearly independent, which lowers the correlation of the scores by E[W^-1/2]^2 / E[W^-1] (W chi-square). Computed on
    the host: LAPACK inside a compiled program can hang on few cores.
    """
    half = np.array([math.exp(math.lgamma((n - 1) / 2) - math.lgamma(n / 2)) for n in dof]) * np.sqrt((dof - 2) / 2)
    kept = half[:, None] * half
    wanted = correlation / (1.0 - (1.0 - kept) * (1.0 - correlation**2))
    values, vectors = np.linalg.eigh(wanted * (1.0 - np.eye(len(dof))) + np.eye(len(dof)))
    repaired = (vectors * np.maximum(values, 1e-4)) @ vectors.T  # pairwise estimates need not be positive definite
    scale = 1.0 / np.sqrt(np.diag(repaired))
    return np.linalg.cholesky(repaired * scale[:, None] * scale)


@functools.partial(jax.jit, static_argnames=("num_paths",))
def _draw(key: jax.Array, edge: jax.Array, p: _Parameters, num_paths: int) -> dict[str, jax.Array]:
    """Columns of Bars [P, T, N]."""
    shape = (num_paths, *p.tradable.shape)
    count = p.dof_mask.shape[0]
    # One call for all noise: every further call would compile the generator again.
    noise = jax.random.normal(key, (count + 11, *shape))
    normals = _correlated(p, noise[: count + 2])
    common, own, drift_shock, spread_noise, volume_noise = (noise[count + 2 + i] for i in range(5))

    # Student-t: a normal over the root of a chi-square, which is a sum of squared normals; unit variance.
    chi_square = jnp.sum(jnp.square(normals[:count]) * p.dof_mask[:, None, None], axis=0)
    tail = jnp.minimum(jnp.sqrt((p.dof - 2.0)[None, None] / chi_square), _MAX_TAIL_FACTOR)
    score = jnp.clip(normals[count] * tail, -_MAX_SCORE, _MAX_SCORE)
    share = p.common_share
    shock = jnp.sqrt(share) * common[..., :1] + jnp.sqrt(1.0 - share) * own
    shocks = jnp.stack([shock * p.of_volatility[None, None], edge * drift_shock], axis=-1)
    log_volatility, deviation, log_open, log_close = _walk(p, shocks, score, normals[count + 1])

    start = p.start_price[None, None]
    open_, close = start * jnp.exp(log_open), start * jnp.exp(log_close)
    # Extremes of a Brownian bridge from open to close: (b + sqrt(b^2 + 2 s^2 X)) / 2, where X is exponential, which is
    # half the sum of two squared normals.
    body = log_close - log_open
    exponential = 0.5 * jnp.sum(jnp.square(noise[count + 7 :].reshape(2, 2, *shape)), axis=0)
    reach = jnp.sqrt(jnp.square(body)[None] + 2.0 * jnp.square(deviation * tail)[None] * exponential)
    high = jnp.maximum(open_ * jnp.exp(0.5 * (body + reach[0])), jnp.maximum(open_, close))
    low = jnp.minimum(open_ * jnp.exp(0.5 * (body - reach[1])), jnp.minimum(open_, close))

    spread = p.spread[None] * jnp.exp(_SPREAD_NOISE * spread_noise)
    before = jnp.concatenate([spread[:, :1], spread[:, :-1]], axis=1)
    volume = p.volume[None] * jnp.exp(_VOLUME_ELASTICITY * log_volatility + _VOLUME_NOISE * volume_noise)
    tradable = jnp.broadcast_to(p.tradable[None], shape)
    return {
        "open": open_,
        "high": jnp.where(tradable, high, close),
        "low": jnp.where(tradable, low, close),
        "close": close,
        "spread": jnp.where(tradable, spread, before),
        "volume": jnp.where(tradable, jnp.maximum(jnp.round(volume), 1.0), 0.0),
        "tradable": tradable,
    }


def _walk(
    p: _Parameters, shocks: jax.Array, score: jax.Array, gap_score: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Log volatility, deviation of the bar's return, and log open and close relative to the start, all [P, T, N].

    Takes the stationary shocks [P, T, N, 2] of log volatility and of the drift, and the noise of bodies and gaps
    [P, T, N] of unit variance. Half the variance is subtracted from each log return, so that the expected simple return
    is zero where the drift is.
    """
    decay = jnp.stack([p.persistence, jnp.full_like(p.persistence, DRIFT_PERSISTENCE)], axis=-1)[None]
    innovation = jnp.sqrt(1.0 - jnp.square(decay))

    def step(
        carry: tuple[jax.Array, jax.Array], bar: tuple[jax.Array, ...]
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, ...]]:
        hidden, last = carry
        shock, score, gap_score, volatility, gap = bar
        hidden = decay * hidden + innovation * shock
        level = jnp.exp(hidden[..., 0] - jnp.square(p.of_volatility)[None])  # mean square 1
        deviation, gap_deviation = volatility[None] * level, gap[None] * level
        log_open = last + gap_deviation * gap_score - 0.5 * jnp.square(gap_deviation)
        log_close = log_open + deviation * (score + hidden[..., 1]) - 0.5 * jnp.square(deviation)
        return (hidden, log_close), (hidden[..., 0], deviation, log_open, log_close)

    shocks, score, gap_score = (jnp.swapaxes(x, 0, 1) for x in (shocks, score, gap_score))
    start = (shocks[0], jnp.zeros_like(score[0]))  # a shock of stationary size: stationary from the first bar on
    _, columns = jax.lax.scan(step, start, (shocks, score, gap_score, p.volatility, p.gap))
    log_volatility, deviation, log_open, log_close = (jnp.swapaxes(x, 0, 1) for x in columns)
    return log_volatility, deviation, log_open, log_close


def _correlated(p: _Parameters, normals: jax.Array) -> jax.Array:
    """Independent normals [..., N] -> normals with the correlations of p.mixing; full float32 also on GPUs."""
    return jnp.einsum("...j,ij->...i", normals, p.mixing, precision=jax.lax.Precision.HIGHEST)
