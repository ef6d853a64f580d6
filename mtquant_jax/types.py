"""The pytrees that cross from one room to another, with shape and unit on every field.

Axis letters: P market paths, T bars, N instruments, F features per instrument, C asset classes, D domain features per
class, M macro indicators. ``E`` environments and ``A`` agents appear in the learning rooms.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from flax import struct


@dataclasses.dataclass(frozen=True)
class AssetClass:
    """One specialist's universe: its name, its instruments, and which domain features describe it."""

    name: str
    symbols: tuple[str, ...]
    domain: str = "generic"


@dataclasses.dataclass(frozen=True)
class Bars:
    """Aligned OHLCV bars on one clock, before features. Bars are bid prices in quoting units.

    A bar missing from the source carries the last close (open = high = low = close, volume 0) and is not tradable;
    nothing is filled backwards. History has P = 1. Arrays are NumPy float64 (history) or JAX float32 (synthetic).
    """

    symbols: tuple[str, ...]  # N names, the order of the last axis
    timestamps: np.ndarray  # [T] int64, seconds since 1970 UTC, bar *open* time, strictly increasing
    open: np.ndarray | jax.Array  # [P, T, N] bid, quote currency
    high: np.ndarray | jax.Array  # [P, T, N] bid, quote currency
    low: np.ndarray | jax.Array  # [P, T, N] bid, quote currency
    close: np.ndarray | jax.Array  # [P, T, N] bid, quote currency
    spread: np.ndarray | jax.Array  # [P, T, N] ask - bid, quote currency (price units, never points)
    volume: np.ndarray | jax.Array  # [P, T, N] ticks
    tradable: np.ndarray | jax.Array  # [P, T, N] bool
    notices: tuple[str, ...] = ()  # sentences on what was repaired, assumed or is unusual


@struct.dataclass
class Contracts:
    """What one lot of each instrument is and costs; padded instruments hold ones and zeros."""

    contract_size: jax.Array  # [N] base units per lot
    commission: jax.Array  # [N] fee currency per lot and side
    margin_rate: jax.Array  # [N] share of notional held as margin
    slippage: jax.Array  # [N] price units by which every fill is worse
    slippage_volatility: jax.Array  # [N] the same as a share of the per-bar volatility
    swap_price: jax.Array  # [2, N] price units per night for longs and shorts; positive is received
    swap_money: jax.Array  # [2, N] fee currency per lot and night
    swap_rate: jax.Array  # [2, N] yearly interest on the value of the position
    min_lot: jax.Array  # [N] smallest order, lots
    lot_step: jax.Array  # [N] lots
    max_lot: jax.Array  # [N] largest order, lots


@struct.dataclass
class MarketTable:
    """All a simulation may look up, computed once. Row t holds what is known at the end of bar t."""

    open: jax.Array  # [P, T, N] bid, quote currency
    close: jax.Array  # [P, T, N] bid, quote currency
    spread: jax.Array  # [P, T, N] ask - bid, quote currency
    tradable: jax.Array  # [P, T, N] bool
    conversion_open: jax.Array  # [P, T, N] account currency per unit of profit currency, at the open
    conversion_close: jax.Array  # [P, T, N] account currency per unit of profit currency, at the close
    fee_conversion: jax.Array  # [P, T, N] account currency per unit of fee currency, at the open
    swap_nights: jax.Array  # [T, N] nights charged for holding from the open of bar t - 1 to that of bar t
    features: jax.Array  # [P, T, N, F] dimensionless, causal
    domain: jax.Array  # [P, T, C, D] dimensionless, causal
    macro: jax.Array  # [P, T, M] dimensionless, causal
    covariance: jax.Array  # [P, T, N, N] EWMA of per-bar log returns, up to and including bar t
    day: jax.Array  # [T] int32, the broker's day of the bar's open, days since 1970


@struct.dataclass
class Span:
    """A half-open range of bars: first <= t < last."""

    first: jax.Array  # [] int32
    last: jax.Array  # [] int32


@dataclasses.dataclass(frozen=True)
class Splits:
    """Train, validation and test ranges of bars in time order, with gaps between them."""

    train: tuple[int, int]  # [first, last) bars
    validation: tuple[int, int]
    test: tuple[int, int]
