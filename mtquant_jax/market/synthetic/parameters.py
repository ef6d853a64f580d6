"""Turns a calibration and a calendar into the arrays of the synthetic market's generator; NumPy, on the host.

Matrices are factorised here and never in a compiled program, where LAPACK can hang on few cores.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import struct

from mtquant_jax.market.instruments import Instrument
from mtquant_jax.market.synthetic.scenarios import scheduled_events

_FIRST_BAR = 1_514_764_800  # Monday 2018-01-01 00:00 UTC
_BREAK_HOUR = 21  # UTC; instruments with a daily break pause for this hour
_WIDE_HOURS, _WIDE_FACTOR = (21, 22), 2.5  # spreads around the New York close
_LONG_AGO = 10_000.0  # bars since the last event if there was none
_MAX_TAIL_FACTOR = 12.0  # a Student-t of dof 4 or less has no finite kurtosis; one with truncated tails has
TAIL_RANGE = 4.5
"""Bound at which the table of tail factors clips normal deviates (7 in a million lie beyond it)."""
_TAIL_KNOTS = 91


@struct.dataclass
class Parameters:
    """The calibration on a calendar; all fields are traced, so a calibration of the same size compiles nothing."""

    mixing: jax.Array  # [2, N, N] Cholesky factors of the calm and the turbulent regime; mixing @ normals correlates
    extreme_mixing: jax.Array  # [N, N] Cholesky factor for the normals of tail factors and of the times of jumps
    volatility_mixing: jax.Array  # [N, N] Cholesky factor for the shocks of log volatility
    tail_factor: jax.Array  # [N, K] log of the factor that turns a normal into a Student-t, at even steps of a normal
    body_share: jax.Array  # [N] standard deviation of the noise without jumps, in volatilities
    volatility: jax.Array  # [T, N] of the log return from open to close; 0 if not tradable
    gap: jax.Array  # [T, N] standard deviation of log open / previous close; 0 if not tradable
    persistence: jax.Array  # [N, 2] per bar, of the fast and the slow part of log volatility
    of_volatility: jax.Array  # [N, 2] stationary standard deviations of the two parts
    turbulence: jax.Array  # [N] log volatility of the turbulent regime minus that of the calm one
    regime_level: jax.Array  # [N] log of the root mean square of exp(turbulence x regime)
    turbulent_entry: jax.Array  # [] probability per bar
    turbulent_exit: jax.Array  # [] probability per bar
    jump_rate: jax.Array  # [N] per bar
    jump_size: jax.Array  # [N] standard deviation of a jump in volatilities
    start_price: jax.Array  # [N]
    spread: jax.Array  # [T, N] default spread times the factor of the hour, price units
    volume: jax.Array  # [T, N] ticks
    tradable: jax.Array  # [T, N] bool
    direction: jax.Array  # [N] sign of the exposure to the risk factor, +1 or -1
    class_number: jax.Array  # [N] int32, index of the instrument's class
    class_phase: jax.Array  # [N] phase of the instrument's class in the rotation, 0 to 2 changes of sign
    since_event: jax.Array  # [T] bars since the last scheduled event


def clock(num_bars: int) -> np.ndarray:
    """Bar opens [T] int64, seconds since 1970-01-01 UTC: hourly from Sunday 22:00 to Friday 21:00 (119 a week)."""
    hours = np.arange(2 * num_bars + 168)
    of_week = hours % 168  # 0 is Monday 00:00
    is_open = (of_week < 4 * 24 + 21) | (of_week >= 6 * 24 + 22)
    return (_FIRST_BAR + 3600 * hours[is_open][:num_bars]).astype(np.int64)


def parameters(
    calibration: Mapping[str, Any],
    chosen: Sequence[Instrument],
    class_of: Sequence[int],
    timestamps: np.ndarray,
) -> Parameters:
    """Build the arrays of the chosen instruments, whose class indices are class_of, on the bars of timestamps.

    `calibration` is the output of `calibrate` or `load_calibration` and contains all chosen instruments.
    """
    numbers = [calibration["instruments"][instrument.symbol] for instrument in chosen]
    rows = [list(calibration["instruments"]).index(instrument.symbol) for instrument in chosen]
    calm, turbulent, together, volatilities = (
        np.asarray(calibration[name], np.float64)[np.ix_(rows, rows)]
        for name in ("correlations", "turbulent_correlations", "extreme_correlations", "volatility_correlations")
    )

    def each(*keys: str) -> np.ndarray:
        columns = np.array([[one[key] for key in keys] for one in numbers], np.float64)
        return columns[:, 0] if len(keys) == 1 else columns

    entry, exit_ = calibration["turbulent_entry"], calibration["turbulent_exit"]
    turbulent_share = entry / max(entry + exit_, 1e-9)
    factor, kept = _tail_factors(each("tail_dof"), together)
    fast = each("fast_volatility")
    # Measured correlations are of returns over a slow average of volatility, which leaves its fast part in.
    kept = kept * np.exp(volatilities * np.outer(fast, fast) - 0.5 * (fast[:, None] ** 2 + fast**2))
    arrays: dict[str, Any] = {
        "mixing": np.stack([_triangle(matrix / kept) for matrix in (calm, turbulent)]),
        "extreme_mixing": _triangle(together),
        "volatility_mixing": _triangle(volatilities),
        "tail_factor": factor,
        "body_share": np.sqrt(np.maximum(1.0 - each("jump_rate") * each("jump_size") ** 2, 0.1)),
        "persistence": each("fast_persistence", "slow_persistence"),
        "of_volatility": each("fast_volatility", "slow_volatility"),
        "turbulence": each("turbulence"),
        "regime_level": 0.5 * np.log1p(turbulent_share * np.expm1(2.0 * each("turbulence"))),
        "turbulent_entry": entry,
        "turbulent_exit": exit_,
        "jump_rate": each("jump_rate"),
        "jump_size": each("jump_size"),
        "start_price": each("start_price"),
        "direction": _directions(calm),
        "class_phase": 2.0 * np.asarray(class_of) / (max(class_of) + 1),
        "since_event": _since(scheduled_events(timestamps)),
        **_on_calendar(numbers, chosen, timestamps),
    }
    whole = {"tradable": arrays.pop("tradable"), "class_number": np.asarray(class_of, np.int32)}
    whole |= {name: np.asarray(x, np.float32) for name, x in arrays.items()}
    return Parameters(**jax.device_put(whole))


def _on_calendar(
    numbers: Sequence[Mapping[str, Any]], chosen: Sequence[Instrument], timestamps: np.ndarray
) -> dict[str, np.ndarray]:
    """Build the arrays that depend on the hour, all [T, N]: tradable, volatility, gap, spread and volume."""

    def each(key: str) -> np.ndarray:
        return np.array([one[key] for one in numbers], np.float64)

    hour = (timestamps // 3600) % 24
    pauses = np.array([instrument.session == "daily_break" for instrument in chosen])
    tradable = ~((hour == _BREAK_HOUR)[:, None] & pauses)
    profile = np.array([one["hour_profile"] for one in numbers]).T[hour]
    after_break = np.pad(~tradable[:-1], ((1, 0), (0, 0)))
    after_weekend = np.diff(timestamps, prepend=timestamps[0] - 3600) > 3600
    gap = np.where(after_break, each("break_gap"), each("open_gap") * profile)
    gap = np.where(after_weekend[:, None], each("weekend_gap"), gap)
    body = profile * np.sqrt(1.0 - np.minimum(each("open_gap"), 0.9) ** 2)
    widening = np.where(np.isin(hour, _WIDE_HOURS), _WIDE_FACTOR, 1.0)[:, None]
    return {
        "tradable": tradable,
        "volatility": np.where(tradable, body * each("hourly_volatility"), 0.0),
        "gap": np.where(tradable, gap * each("hourly_volatility"), 0.0),
        "spread": np.array([instrument.default_spread for instrument in chosen]) * widening,
        "volume": each("median_volume") * profile / np.median(profile, axis=0),
    }


def _since(events: np.ndarray) -> np.ndarray:
    """Bars [T] since the last event, 0 on the bar of an event."""
    index = np.arange(len(events))
    last = np.maximum.accumulate(np.where(events, index, -1))
    return np.where(last >= 0, index - last, _LONG_AGO)


def tail_factors(dof: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Compute the factors [N, K] that turn an independent normal into a Student-t, as a function of normals [K].

    The factor is sqrt((dof - 2) / W), where W is the chi-square with dof degrees of freedom at the quantile of minus
    the normal, for any dof above 2. It increases with the normal, is cut at 12, beyond which returns are implausible,
    and is scaled to unit mean square.
    """
    from scipy import special  # takes as long as reading bar files, whose readers import this module

    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    lower = special.ndtr(-np.concatenate([normals, nodes]))
    chi_square = 2.0 * special.gammaincinv(0.5 * dof[:, None], lower[None])
    factor = np.minimum(np.sqrt((dof - 2.0)[:, None] / chi_square), _MAX_TAIL_FACTOR)
    mean_square = np.square(factor[:, len(normals) :]) @ (weights / np.sum(weights))
    scaled: np.ndarray = factor[:, : len(normals)] / np.sqrt(mean_square)[:, None]
    return scaled


def _tail_factors(dof: np.ndarray, correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate log tail factors [N, K], and compute the share of a correlation that each pair of them keeps [N, N].

    The share is E[factor_i factor_j], by Gauss-Hermite quadrature over two normals of the given correlation.
    """
    grid = np.linspace(-TAIL_RANGE, TAIL_RANGE, _TAIL_KNOTS)
    table = np.log(tail_factors(dof, grid))
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    weights = weights / np.sum(weights)
    kept = np.ones_like(correlation)
    for i, j in itertools.combinations(range(len(dof)), 2):
        rho = correlation[i, j]
        second = rho * nodes[:, None] + np.sqrt(max(1.0 - rho**2, 0.0)) * nodes
        left, right = np.exp(np.interp(nodes, grid, table[i])), np.exp(np.interp(second, grid, table[j]))
        kept[i, j] = kept[j, i] = (weights * left) @ right @ weights
    return table, kept


def _triangle(correlation: np.ndarray) -> np.ndarray:
    """Cholesky factor [N, N] of `correlation`, with eigenvalues raised where it is not positive definite."""
    size = len(correlation)
    wanted = correlation * (1.0 - np.eye(size)) + np.eye(size)
    values, vectors = np.linalg.eigh(wanted)
    repaired = (vectors * np.maximum(values, 1e-4)) @ vectors.T  # pairwise estimates need not be positive definite
    scale = 1.0 / np.sqrt(np.diag(repaired))
    return np.linalg.cholesky(repaired * scale[:, None] * scale)


def _directions(correlation: np.ndarray) -> np.ndarray:
    """Sign of each instrument in the first principal component, +1 for most of them and -1 for the others."""
    first = np.linalg.eigh(correlation)[1][:, -1]
    sign = np.where(first * np.sign(np.sum(first) + 1e-12) >= 0.0, 1.0, -1.0)
    return sign
