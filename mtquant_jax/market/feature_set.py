"""The registry of all features: which there are, what they are called, and their values at the end of a bar."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from mtquant_jax.market.bar_view import BarView, Feature, columns
from mtquant_jax.market.domain import CLASS_FEATURES, DOMAIN_FEATURES, MACRO_FEATURES, InstrumentRoles, MarketView
from mtquant_jax.market.indicators import INSTRUMENT_FEATURES

_BOUND = 5.0  # features lie within +- this


@dataclasses.dataclass(frozen=True, eq=False)
class FeatureSet:
    """All features of a market table, by what they describe."""

    instrument: tuple[Feature, ...]
    """Of every instrument: BarView -> [P, N]."""
    every_class: tuple[Feature, ...]
    """Of every class: MarketView -> [P, C]."""
    domains: Mapping[str, tuple[Feature, ...]]
    """Of the classes of a domain besides: MarketView, positions of the members -> [P]."""
    macro: tuple[Feature, ...]
    """Of the whole market: MarketView, positions of all instruments -> [P]."""

    def __post_init__(self) -> None:
        groups = [self.instrument, self.macro, *((*self.every_class, *added) for added in self.domains.values())]
        for group in groups:
            names = [feature.name for feature in group]
            if len(names) > len(set(names)):
                twice = next(name for name in names if names.count(name) > 1)
                raise ValueError(f"Two features have the name {twice}")

    @property
    def look_back(self) -> int:
        """The longest window or span of any feature, in bars."""
        added = (feature for features in self.domains.values() for feature in features)
        return max(feature.look_back for feature in (*self.instrument, *self.every_class, *added, *self.macro))

    @property
    def domain_size(self) -> int:
        """D, the columns of a class; domains with fewer are filled up with zeros."""
        return len(self.every_class) + max(len(added) for added in self.domains.values())

    def row(self, view: BarView, roles: InstrumentRoles) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Features [P, N, F], domain [P, C, D] and macro [P, M] at the end of a bar."""
        paths, instruments = view.bar.close.shape
        features = _bounded(_stack(columns(self.instrument, (paths, instruments), view), (paths, instruments)))
        by_name = {feature.name: features[..., index] for index, feature in enumerate(self.instrument)}
        market = MarketView(view.bar, view.moves, view.recent, view.averages, roles, by_name)
        classes = (paths, len(roles.members))
        common = _stack(columns(self.every_class, classes, market), classes)
        size, specific = self.domain_size - len(self.every_class), []
        for domain, members in zip(roles.domains, roles.members, strict=True):
            values = columns(self.domains[domain], (paths,), market, members)
            specific.append(_stack([*values, *[market.zero] * (size - len(values))], (paths,)))
        by_class = jnp.concatenate([common, jnp.stack(specific, axis=-2)], axis=-1)
        macro = _stack(columns(self.macro, (paths,), market, roles.traded), (paths,))
        return features, _bounded(by_class), _bounded(macro)


def _stack(values: Sequence[jax.Array], shape: tuple[int, ...]) -> jax.Array:
    """Columns [...] of a shape -> [..., number of columns], which may be zero."""
    return jnp.stack(values, axis=-1) if values else jnp.zeros((*shape, 0))


def _bounded(values: jax.Array) -> jax.Array:
    return jnp.clip(values, -_BOUND, _BOUND)


FEATURES = FeatureSet(INSTRUMENT_FEATURES, CLASS_FEATURES, DOMAIN_FEATURES, MACRO_FEATURES)
"""What training sees."""

FEATURE_NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES.instrument)

LOOK_BACK_BARS = FEATURES.look_back
"""The longest window or span of any feature, in bars."""
