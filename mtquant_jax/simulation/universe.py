"""Which instrument belongs to which class, and the market tables padded and ordered accordingly.

Classes are padded to the widest one, so that all specialists share one program.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.types import AssetClass, Contracts, MarketTable


@dataclasses.dataclass(frozen=True)
class Universe:
    """Classes in order, and where their instruments stand in a table of ``symbols``."""

    classes: tuple[AssetClass, ...]
    symbols: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        """S."""
        return len(self.classes)

    @property
    def width(self) -> int:
        """C, the number of instruments of the widest class."""
        return max(len(asset_class.symbols) for asset_class in self.classes)

    @property
    def mask(self) -> np.ndarray:
        """``[S, C]`` bool, where a real instrument stands."""
        return np.array([[i < len(c.symbols) for i in range(self.width)] for c in self.classes])

    @property
    def share(self) -> np.ndarray:
        """``[S, C]`` float32, share of the class budget one instrument may use: equal, zero where padded."""
        return (self.mask / self.mask.sum(-1, keepdims=True)).astype(np.float32)

    @property
    def slots(self) -> tuple[int, ...]:
        """Positions of the real instruments among the N = S x C of an arranged table."""
        return tuple(int(i) for i in np.flatnonzero(self.mask))

    @property
    def source(self) -> np.ndarray:
        """``[S x C]`` position of each slot's instrument among ``symbols``; 0 where padded."""
        rows = [[self.symbols.index(s) for s in c.symbols] + [0] * (self.width - len(c.symbols)) for c in self.classes]
        return np.array(rows).reshape(-1)


def universe_of(classes: Sequence[AssetClass]) -> Universe:
    """The universe whose table holds exactly the classes' instruments, in order."""
    return Universe(tuple(classes), tuple(symbol for c in classes for symbol in c.symbols))


def arrange_table(table: MarketTable, universe: Universe) -> MarketTable:
    """A table of ``symbols`` -> one with N = S x C instruments in class order; padding is priced 1 and never trades."""
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
    """Contracts of ``symbols`` -> contracts of the N = S x C slots; padding costs nothing."""
    source, real = universe.source, universe.mask.reshape(-1)
    sizes = ("contract_size", "min_lot", "lot_step", "max_lot")  # which others are divided by
    return Contracts(
        **{
            field.name: jnp.where(real, getattr(contracts, field.name)[..., source], float(field.name in sizes))
            for field in dataclasses.fields(Contracts)
        }
    )


def class_table(table: MarketTable, universe: Universe, index: int) -> MarketTable:
    """The part of an arranged table that belongs to one class: N = C, one row of domain features."""
    first, last = index * universe.width, (index + 1) * universe.width
    cut = {
        name: getattr(table, name)[:, :, first:last]
        for name in ("open", "close", "spread", "tradable", "conversion_open", "conversion_close", "fee_conversion")
    }
    return dataclasses.replace(
        table,
        **cut,
        swap_nights=table.swap_nights[:, first:last],
        features=table.features[:, :, first:last],
        domain=table.domain[:, :, index : index + 1],
        covariance=table.covariance[:, :, first:last, first:last],
    )


def class_contracts(contracts: Contracts, universe: Universe, index: int) -> Contracts:
    """The part of arranged contracts that belongs to one class."""
    return jax.tree.map(lambda leaf: leaf[..., index * universe.width : (index + 1) * universe.width], contracts)
