"""Turns a seed, a calibration and a scenario into Bars of an artificial hourly market with a known, documented edge.

The edge is a hidden drift per instrument: an AR(1) with coefficient 0.98 per bar and a stationary deviation of `edge`
in units of the bar's volatility, independent of the noise. With edge = 0 and without a scenario that has a drift,
prices are martingales: nothing can be earned. For scenarios in which the edge switches, `edge_states` gives its bars.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import Instrument, select
from mtquant_jax.market.synthetic.calibration_files import load_calibration
from mtquant_jax.market.synthetic.edge_regimes import class_numbers, edge_states, switching
from mtquant_jax.market.synthetic.parameters import TAIL_RANGE, Parameters, clock, parameters
from mtquant_jax.market.synthetic.scenarios import Scenario, per_path
from mtquant_jax.types import AssetClass, Bars

__all__ = ["DRIFT_PERSISTENCE", "clock", "edge_states", "generate"]

DRIFT_PERSISTENCE = 0.98
"""Coefficient of the hidden drift per hourly bar, except in trending scenarios: a half-life of 34 bars."""

_SPREAD_NOISE, _VOLUME_NOISE, _VOLUME_ELASTICITY = 0.2, 0.35, 0.8
_BY_REGIME, _EXTREME = ("body", "gap", "jump"), ("tail", "occurrence")
_OWN = ("fast", "slow", "drift", "spread", "volume", "high_1", "high_2", "low_1", "low_2")
_COMMON = ("regime", *_BY_REGIME, *_EXTREME)


def generate(
    key: jax.Array,
    num_paths: int,
    num_bars: int,
    edge: float,
    calibration: Mapping[str, Any] | None,
    symbols: Sequence[str],
    instruments: Mapping[str, Instrument],
    scenario: Scenario | None = None,
    classes: Sequence[AssetClass] = (),
) -> Bars:
    """Generate num_paths independent markets of num_bars hourly bars, drawn on the device in float32.

    Hours run from Monday 2018-01-01 00:00 UTC, Sunday 22:00 to Friday 21:00; instruments that are not currency pairs
    have a break at 21:00 UTC, in which the price is carried and nothing is tradable. `edge` is the stationary standard
    deviation of the hidden drift in volatilities per bar. `calibration` is the output of `calibrate` or
    `load_calibration`; None is the shipped one. `scenario` is neutral if None; leaves [P] set one per path. `classes`
    move together under sector rotation; a symbol outside of them forms its own class. The same key gives the same bars.

    Raises UserError for a symbol that the calibration or the contract specifications do not contain.
    """
    calibration = load_calibration() if calibration is None else calibration
    known = list(calibration["instruments"])
    unknown = [symbol for symbol in symbols if symbol not in known]
    if unknown:
        raise UserError(
            f"The synthetic market has no {', '.join(unknown)}; it knows {', '.join(known)}. "
            "For other instruments give bar files with `data_dir`"
        )
    timestamps = clock(num_bars)
    traced = parameters(calibration, select(symbols, instruments), class_numbers(symbols, classes), timestamps)
    columns = draw(key, jnp.asarray(edge, jnp.float32), per_path(scenario, num_paths), traced)
    return Bars(symbols=tuple(symbols), timestamps=timestamps, **columns)


@struct.dataclass
class _Hidden:
    """Unobservable state of the market."""

    regime: jax.Array  # [P, T] bool, True if turbulent
    log_volatility: jax.Array  # [P, T, N] log of the bar's volatility over that of its hour
    drift: jax.Array  # [P, T, N] volatilities per bar


@jax.jit
def draw(key: jax.Array, edge: jax.Array, scenario: Scenario, p: Parameters) -> dict[str, jax.Array]:
    """Draw the columns of Bars [P, T, N]; the leaves of scenario are [P]. Pure, so that it can be vmapped."""
    noise, common = _noise(key, scenario.volatility.shape[0], p)
    switched = switching(key, scenario.edge_switch_bars, *p.tradable.shape)
    hidden = _hidden(edge, scenario, p, noise, common["regime"], switched)
    mixed = _correlated(scenario, p, noise, common, hidden.regime)
    tail = _tail_factor(p, mixed["tail"])
    deviation = p.volatility[None] * jnp.exp(hidden.log_volatility)
    body = _body(p, deviation, tail * mixed["body"], tail, hidden.drift)
    body = body + _jumps(scenario, p, deviation, mixed["jump"], mixed["occurrence"])
    gap_deviation = p.gap[None] * jnp.exp(hidden.log_volatility)
    gap = gap_deviation * mixed["gap"] - 0.5 * jnp.square(gap_deviation)
    log_open, log_close = _prices(scenario, gap, body, p.tradable)

    start = p.start_price[None, None]
    open_, close = start * jnp.exp(log_open), start * jnp.exp(log_close)
    high, low = _extremes(open_, close, log_close - log_open, deviation * tail * p.body_share[None, None], noise)
    spread = p.spread[None] * scenario.spread[:, None, None] * jnp.exp(_SPREAD_NOISE * noise["spread"])
    before = jnp.concatenate([spread[:, :1], spread[:, :-1]], axis=1)
    volume = p.volume[None] * jnp.exp(_VOLUME_ELASTICITY * hidden.log_volatility + _VOLUME_NOISE * noise["volume"])
    tradable = jnp.broadcast_to(p.tradable[None], open_.shape)
    return {
        "open": open_,
        "high": jnp.where(tradable, high, close),
        "low": jnp.where(tradable, low, close),
        "close": close,
        "spread": jnp.where(tradable, spread, before),
        "volume": jnp.where(tradable, jnp.maximum(jnp.round(volume), 1.0), 0.0),
        "tradable": tradable,
    }


def _noise(key: jax.Array, num_paths: int, p: Parameters) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    """Draw independent normals by name: per instrument [P, T, N] and common to all instruments [P, T].

    A single call draws them all, because every further call would compile the random generator again.
    """
    num_bars, size = p.tradable.shape
    names = _BY_REGIME + _EXTREME + _OWN
    flat = jax.random.normal(key, (num_paths * num_bars * (len(names) * size + len(_COMMON)),), jnp.float32)
    split = num_paths * num_bars * len(names) * size
    own = flat[:split].reshape(len(names), num_paths, num_bars, size)
    common = flat[split:].reshape(len(_COMMON), num_paths, num_bars)
    return dict(zip(names, own, strict=True)), dict(zip(_COMMON, common, strict=True))


def _hidden(
    edge: jax.Array,
    s: Scenario,
    p: Parameters,
    noise: dict[str, jax.Array],
    chance: jax.Array,
    switched: jax.Array,
) -> _Hidden:
    """Compute regime, log volatility and drift, stationary from the first bar on; `switched` is that of `switching`.

    The mean square of exp(log_volatility) is the square of the scenario's volatility, unless the scenario changes the
    regimes.
    """
    of_volatility = p.of_volatility[None] * s.volatility_of_volatility[:, None, None]  # [P, N, 2]
    shocks = [
        _mix(p.volatility_mixing, noise[name]) * of_volatility[:, None, :, index]
        for index, name in enumerate(("fast", "slow"))
    ]
    drift_deviation = jnp.sqrt(jnp.square(edge) + jnp.square(s.trend))[:, None, None]
    shocks.append(drift_deviation * noise["drift"])
    persistence = jnp.broadcast_to(s.trend_persistence[:, None, None], (*of_volatility.shape[:2], 1))
    decay = jnp.concatenate([jnp.broadcast_to(p.persistence[None], of_volatility.shape), persistence], axis=-1)
    entry, exit_ = (
        jnp.minimum(probability * factor, 1.0)
        for probability, factor in ((p.turbulent_entry, s.turbulent_entry), (p.turbulent_exit, s.turbulent_exit))
    )
    # Off, only the trend's share of the drift shows; its state evolves, so that on is the neutral market at any time.
    trend_share = jnp.broadcast_to(s.trend[:, None, None] / jnp.maximum(drift_deviation, 1e-9), noise["drift"].shape)
    present = jnp.where(jnp.take(switched, p.class_number, axis=-1), 1.0, trend_share)
    regime, states = _evolve(jnp.stack(shocks, axis=-1), decay, chance, entry, exit_, present)

    since = jnp.exp(-p.since_event[None] / s.event_decay[:, None])  # [P, T]
    event = jnp.log1p((s.event_volatility[:, None] - 1.0) * since) + jnp.log(s.volatility)[:, None]
    level = jnp.where(regime[..., None], p.turbulence[None, None], 0.0) - p.regime_level[None, None] + event[..., None]
    mean_square = jnp.sum(jnp.square(of_volatility), axis=-1)
    log_volatility = level + states[..., 0] + states[..., 1] - mean_square[:, None]
    turn = jnp.arange(p.tradable.shape[0], dtype=jnp.float32)[None] / s.rotation_bars[:, None]  # [P, T]
    place = jnp.floor(turn[..., None] + p.class_phase[None, None])
    rotation = s.rotation[:, None, None] * (1.0 - 2.0 * jnp.mod(place, 2.0))
    drift = states[..., 2] + rotation + s.drift[:, None, None] * p.direction[None, None]
    return _Hidden(regime=regime, log_volatility=log_volatility, drift=drift)


def _uniform(normal: jax.Array) -> jax.Array:
    """Map each normal to a uniform number between 0 and 1."""
    return 0.5 * jax.lax.erfc(-math.sqrt(0.5) * normal)


def _evolve(
    shocks: jax.Array,
    decay: jax.Array,
    normal: jax.Array,
    entry: jax.Array,
    exit_: jax.Array,
    present: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Evolve the regime [P, T] bool and AR(1) states [P, T, N, 3].

    Args:
        shocks: ``[P, T, N, 3]`` normals of stationary size.
        decay: ``[P, N, 3]`` coefficients per bar.
        normal: ``[P, T]`` a normal per bar, which decides on changes of regime.
        entry: ``[P]`` probability per bar of entering turbulence.
        exit_: ``[P]`` probability per bar of leaving turbulence.
        present: ``[P, T, N]`` factor of the last state in the output.
    """
    innovation = jnp.sqrt(1.0 - jnp.square(decay))
    uniform = _uniform(normal)

    def step(
        carry: tuple[jax.Array, jax.Array], bar: tuple[jax.Array, ...]
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        regime, state = carry
        shock, chance, share = bar
        regime = jnp.where(regime, chance >= exit_, chance < entry)
        state = decay * state + innovation * shock
        return (regime, state), (regime, state.at[..., 2].multiply(share))

    first = uniform[:, 0] < entry / jnp.maximum(entry + exit_, 1e-9)
    _, (regime, states) = jax.lax.scan(
        step, (first, shocks[:, 0]), tuple(jnp.swapaxes(x, 0, 1) for x in (shocks, uniform, present))
    )
    return jnp.swapaxes(regime, 0, 1), jnp.swapaxes(states, 0, 1)


def _correlated(
    s: Scenario, p: Parameters, noise: dict[str, jax.Array], common: dict[str, jax.Array], regime: jax.Array
) -> dict[str, jax.Array]:
    """Correlate normals [P, T, N] by regime; the scenario shifts correlations towards zero or towards one factor.

    The uncorrelated normals are mixed in for independence, a common normal for the factor; both keep the variance at
    one.
    """
    num_bars = p.tradable.shape[0]
    progress = jnp.arange(num_bars, dtype=jnp.float32)[None] / num_bars
    bend = jnp.where(progress < s.switch[:, None], s.correlation[:, None], s.correlation_after[:, None])
    factor, alone = jnp.maximum(bend, 0.0)[..., None], jnp.maximum(-bend, 0.0)[..., None]
    turbulent, result = regime[..., None], {}
    for name in _BY_REGIME + _EXTREME:
        independent = noise[name]
        if name in _EXTREME:
            mixed, sign = _mix(p.extreme_mixing, independent), jnp.ones_like(p.direction)
            own_weight = jnp.diagonal(p.extreme_mixing)[None, None]
        else:
            mixed = jnp.where(turbulent, _mix(p.mixing[1], independent), _mix(p.mixing[0], independent))
            own_weight = jnp.where(turbulent, *(jnp.diagonal(p.mixing[i])[None, None] for i in (1, 0)))
            sign = p.direction
        variance = jnp.square(1.0 - alone) + jnp.square(alone) + 2.0 * alone * (1.0 - alone) * own_weight
        bent = ((1.0 - alone) * mixed + alone * independent) / jnp.sqrt(variance)
        result[name] = jnp.sqrt(1.0 - factor) * bent + jnp.sqrt(factor) * sign[None, None] * common[name][..., None]
    return result


def _mix(mixing: jax.Array, normals: jax.Array) -> jax.Array:
    """Map independent normals [..., N] to correlated ones, in full float32 precision also on GPUs."""
    return jnp.einsum("...j,ij->...i", normals, mixing, precision=jax.lax.Precision.HIGHEST)


def _tail_factor(p: Parameters, normal: jax.Array) -> jax.Array:
    """Interpolate the table of tail factors at normals [P, T, N]."""
    steps = p.tail_factor.shape[1] - 1
    place = (jnp.clip(normal, -TAIL_RANGE, TAIL_RANGE) + TAIL_RANGE) * (steps / (2.0 * TAIL_RANGE))
    left = jnp.minimum(place.astype(jnp.int32), steps - 1)
    row = (steps + 1) * jnp.arange(normal.shape[-1], dtype=jnp.int32)[None, None]
    below, above = (jnp.take(p.tail_factor.reshape(-1), row + left + shift) for shift in (0, 1))
    return jnp.exp(below + (place - left.astype(jnp.float32)) * (above - below))


def _body(p: Parameters, deviation: jax.Array, score: jax.Array, tail: jax.Array, drift: jax.Array) -> jax.Array:
    """Log returns [P, T, N] from open to close without jumps, whose expected simple return is that of the drift.

    Given volatility and tail factor, the noise is normal, so half its variance is subtracted.
    """
    noise = deviation * p.body_share[None, None]
    return noise * score - 0.5 * jnp.square(noise * tail) + deviation * drift


def _jumps(s: Scenario, p: Parameters, deviation: jax.Array, score: jax.Array, occurrence: jax.Array) -> jax.Array:
    """Log returns [P, T, N] of random and scheduled jumps, with an expected simple return of zero.

    `score` holds the normals of the sizes and `occurrence` those of the times, correlated so that jumps coincide.
    """
    rate = jnp.minimum(p.jump_rate[None] * s.jump_rate[:, None], 0.5)[:, None]  # [P, 1, N]
    happens = _uniform(occurrence) > 1.0 - rate
    size = deviation * (p.jump_size[None] * s.jump_size[:, None])[:, None]
    mean = size * (s.jump_mean[:, None] * p.direction[None])[:, None]
    scheduled = jnp.where((p.since_event == 0.0)[None, :, None], deviation * s.event_jump[:, None, None], 0.0)
    spread = jnp.sqrt(jnp.where(happens, jnp.square(size), 0.0) + jnp.square(scheduled))
    expected = 0.5 * jnp.square(scheduled) + jnp.log1p(rate * jnp.expm1(mean + 0.5 * jnp.square(size)))
    return spread * score + jnp.where(happens, mean, 0.0) - expected


def _prices(s: Scenario, gap: jax.Array, body: jax.Array, tradable: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log open and close [P, T, N] relative to the start price, from the log returns of gaps and bodies."""

    def step(last: jax.Array, bar: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        gap, body, open_now = bar
        log_open = last + gap
        log_close = log_open + body - jnp.where(open_now[None], s.reversion[:, None] * log_open, 0.0)
        return log_close, (log_open, log_close)

    returns = (jnp.swapaxes(x, 0, 1) for x in (gap, body))
    _, columns = jax.lax.scan(step, jnp.zeros_like(gap[:, 0]), (*returns, tradable))
    log_open, log_close = (jnp.swapaxes(x, 0, 1) for x in columns)
    return log_open, log_close


def _extremes(
    open_: jax.Array, close: jax.Array, body: jax.Array, deviation: jax.Array, noise: dict[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """High and low [P, T, N] of a Brownian bridge from open to close.

    The log high over the open is (b + sqrt(b^2 + 2 s^2 X)) / 2, where X is exponential: half the sum of two squared
    normals. The low is symmetric.
    """

    def reach(side: str) -> jax.Array:
        exponential = 0.5 * (jnp.square(noise[f"{side}_1"]) + jnp.square(noise[f"{side}_2"]))
        return jnp.sqrt(jnp.square(body) + 2.0 * jnp.square(deviation) * exponential)

    high = jnp.maximum(open_ * jnp.exp(0.5 * (body + reach("high"))), jnp.maximum(open_, close))
    low = jnp.minimum(open_ * jnp.exp(0.5 * (body - reach("low"))), jnp.minimum(open_, close))
    return high, low
