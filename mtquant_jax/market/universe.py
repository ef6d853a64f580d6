"""Assigns instruments to classes, and pads and orders market tables by class.

Classes are padded to the widest one, so that all specialists share one compiled program.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.types import AssetClass, Contracts, MarketTable


@dataclasses.dataclass(frozen=True)
class Universe:
    """The asset classes in order, and the positions of their instruments in a table of ``symbols``."""

    classes: tuple[AssetClass, ...]
    symbols: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """S, the number of classes."""
        return len(self.classes)

    @property
    def width(self) -> int:
        """C, the number of instruments of the widest class."""
        return max(len(asset_class.symbols) for asset_class in self.classes)

    @property
    def mask(self) -> np.ndarray:
        """``[S, C]`` bool, True for an instrument and False for padding."""
        return np.array([[i < len(c.symbols) for i in range(self.width)] for c in self.classes])

    @property
    def share(self) -> np.ndarray:
        """``[S, C]`` float32, share of the class budget per instrument: equal shares, zero for padding."""
        return (self.mask / self.mask.sum(-1, keepdims=True)).astype(np.float32)

    @property
    def slots(self) -> tuple[int, ...]:
        """Positions of the instruments, without padding, among the N = S x C slots of an arranged table."""
        return tuple(int(i) for i in np.flatnonzero(self.mask))

    @property
    def source(self) -> np.ndarray:
        """``[S x C]`` position of each slot's instrument among ``symbols``; 0 for padding."""
        rows = [[self.symbols.index(s) for s in c.symbols] + [0] * (self.width - len(c.symbols)) for c in self.classes]
        return np.array(rows).reshape(-1)


def universe_of(classes: Sequence[AssetClass]) -> Universe:
    """The universe whose table holds exactly the instruments of the classes, in order."""
    return Universe(tuple(classes), tuple(symbol for c in classes for symbol in c.symbols))


@functools.partial(jax.jit, static_argnums=1)
def arrange_table(table: MarketTable, universe: Universe) -> MarketTable:
    """Reorder a table of ``symbols`` into N = S x C slots in class order; padding is priced 1 and never trades."""
    source, real = jnp.asarray(universe.source), jnp.asarray(universe.mask.reshape(-1))

    def pick(leaf: jax.Array, padding: float) -> jax.Array:
        return jnp.where(real, leaf[..., source], jnp.asarray(padding, leaf.dtype))

    both = real[:, None] & real[None, :]
    return MarketTable(
        open=pick(table.open, 1.0),
        close=pick(table.close, 1.0),
        spread=pick(table.spread, 0.0),
        tradable=pick(table.tradable, False),
        conversion_open=pick(table.conversion_open, 1.0),
        conversion_close=pick(table.conversion_close, 1.0),
        fee_conversion=pick(table.fee_conversion, 1.0),
        swap_nights=pick(table.swap_nights, 0.0),
        features=jnp.where(real[:, None], table.features[:, :, source], 0.0),
        domain=table.domain,
        macro=table.macro,
        covariance=jnp.where(both, table.covariance[..., source[:, None], source[None, :]], 0.0),
        day=table.day,
    )


def arrange_contracts(contracts: Contracts, universe: Universe) -> Contracts:
    """Reorder the contracts of ``symbols`` into the N = S x C slots; padding costs nothing."""
    source, real = universe.source, universe.mask.reshape(-1)
    sizes = ("contract_size", "min_lot", "lot_step", "max_lot")  # divisors, padded with 1 instead of 0

    def arrange(name: str) -> jax.Array:
        picked = np.asarray(getattr(contracts, name))[..., source]
        return jax.device_put(np.where(real, picked, np.float32(name in sizes)))

    return Contracts(**{field.name: arrange(field.name) for field in dataclasses.fields(Contracts)})


@functools.partial(jax.jit, static_argnums=1)
def class_table(table: MarketTable, universe: Universe, index: int | jax.Array) -> MarketTable:
    """The part of an arranged table that belongs to one class: N = C, one row of domain features."""
    width = universe.width
    cut = functools.partial(jax.lax.dynamic_slice_in_dim, start_index=index * width, slice_size=width)
    names = ("open", "close", "spread", "tradable", "conversion_open", "conversion_close", "fee_conversion", "features")
    return dataclasses.replace(
        table,
        **{name: cut(getattr(table, name), axis=2) for name in names},
        swap_nights=cut(table.swap_nights, axis=1),
        domain=jax.lax.dynamic_slice_in_dim(table.domain, index, 1, axis=2),
        covariance=cut(cut(table.covariance, axis=2), axis=3),
    )


def class_contracts(contracts: Contracts, universe: Universe, index: int) -> Contracts:
    """The part of arranged contracts that belongs to one class."""
    slots = slice(index * universe.width, (index + 1) * universe.width)
    return jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf)[..., slots]), contracts)
