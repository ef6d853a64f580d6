"""Turns the current bar, a ring buffer of recent bars and the averages of all into what a feature's formula sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.market.averages import Averages
from mtquant_jax.market.calendar import CLOCK_NAMES, BarTimes

Price = Literal["close", "high", "low"]
_KEPT: tuple[Price, ...] = ("close", "high", "low")


@struct.dataclass
class Bar:
    """One bar of all instruments, as float32; with a leading axis T on every leaf it is a history."""

    open: jax.Array  # [P, N] bid, quote currency
    high: jax.Array  # [P, N] bid, quote currency
    low: jax.Array  # [P, N] bid, quote currency
    close: jax.Array  # [P, N] bid, quote currency
    spread: jax.Array  # [P, N] ask - bid, quote currency
    volume: jax.Array  # [P, N] ticks
    tradable: jax.Array  # [P, N] bool
    times: BarTimes  # computed on the host


@struct.dataclass
class RecentBars:
    """The last L bars in a ring buffer that holds each bar twice, L rows apart, so that every window is one slice."""

    prices: jax.Array  # [2 L, 3, P, N] quote currency; close, high and low
    row: jax.Array  # [] int32, the current bar's row, 0 to L - 1

    def push(self, bar: Bar) -> RecentBars:
        """The buffer with one more bar in place of the oldest."""
        length = self.prices.shape[0] // 2
        row = jnp.where(self.row == length - 1, 0, self.row + 1)
        added = jnp.stack([getattr(bar, price) for price in _KEPT])
        prices = jax.lax.dynamic_update_index_in_dim(self.prices, added, row, 0)
        return RecentBars(jax.lax.dynamic_update_index_in_dim(prices, added, row + length, 0), row)

    def window(self, price: Price, bars: int) -> jax.Array:
        """The last values [bars, P, N] of a price, the current bar's at the end.

        The first bar stands in for older ones. Raises ValueError where the buffer holds fewer bars.
        """
        return self._rows(price, bars - 1, bars)

    def ago(self, price: Price, bars: int) -> jax.Array:
        """The price [P, N] of some bars ago: as `window`."""
        return self._rows(price, bars, 1)[0]

    def _rows(self, price: Price, ago: int, count: int) -> jax.Array:
        length = self.prices.shape[0] // 2
        if not 0 <= ago < length:
            raise ValueError(f"A formula reads {price} of {ago} bars ago; its feature must have a look_back of {ago}")
        start = (self.row + (length - ago), _KEPT.index(price), 0, 0)
        return jax.lax.dynamic_slice(self.prices, start, (count, 1, *self.prices.shape[2:]))[:, 0]


def repeat_bar(bar: Bar, length: int) -> RecentBars:
    """A buffer of ``length`` bars that are all this one."""
    prices = jnp.stack([getattr(bar, price) for price in _KEPT])
    return RecentBars(jnp.broadcast_to(prices, (2 * length, *prices.shape)), jnp.full((), length - 1, jnp.int32))


@dataclasses.dataclass(frozen=True)
class BarView:
    """What is known of each instrument at the end of a bar."""

    bar: Bar
    moves: jax.Array  # [P, N] bool, tradable and not the first bar
    recent: RecentBars  # up to and including the bar
    averages: Averages  # up to and including the bar

    def clock(self, name: str) -> jax.Array:
        """A column of the clock [], see `calendar.CLOCK_NAMES`."""
        return self.bar.times.clock[CLOCK_NAMES.index(name)]


@dataclasses.dataclass(frozen=True)
class Feature:
    """A column of the market table: the one place where its name and its formula stand."""

    name: str
    look_back: int
    """The longest window or span that the formula reads, in bars."""
    formula: Callable[..., jax.Array]
    """View -> dimensionless values; the table of features that it is listed in says which view and which shape."""


def columns(features: Sequence[Feature], shape: tuple[int, ...], *seen: object) -> list[jax.Array]:
    """The values of features, each of ``shape``, for what their formulas take.

    Raises ValueError naming the feature whose formula returns another shape.
    """
    values = []
    for feature in features:
        value = feature.formula(*seen)
        if value.shape != shape:
            raise ValueError(f"The feature {feature.name} has the shape {value.shape}; it must have {shape}")
        values.append(value)
    return values
