"""Turns features of instruments into what describes an asset class and the whole market: the tables of them.

Whatever the instruments do not provide (no gold, no dollar pair, no equity class) is zero.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Collection, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.averages import COVARIANCE_SPAN, LEVEL_SPAN, VOLATILITY_SPANS, level_deviation
from mtquant_jax.market.bar_view import BarView, Feature
from mtquant_jax.market.indicators import trend, volatility_ratio
from mtquant_jax.market.instruments import Instrument, nearest
from mtquant_jax.types import AssetClass

_SHORT, _SCALE, _LONG = VOLATILITY_SPANS

_SMALLEST_COVARIANCE = 1e-20  # of log returns; an instrument that never moves has correlations of 0
_OIL = ("WTI", "BRENT", "BRN", "XTI", "XBR")


@dataclasses.dataclass(frozen=True)
class InstrumentRoles:
    """Which instruments are what, by position; hashable, so that it can be a static argument.

    An instrument in no class supplies prices for conversion and is no part of the market that features describe.
    """

    num_instruments: int
    members: tuple[tuple[int, ...], ...]  # per class
    domains: tuple[str, ...]  # per class
    dollar: tuple[tuple[int, int], ...]  # currency pairs with USD: (position, +1 where they rise with the dollar)
    gold: int | None
    oil: int | None
    equity: tuple[int, ...]

    @property
    def traded(self) -> tuple[int, ...]:
        """Positions of the instruments that belong to a class."""
        return tuple(sorted({index for members in self.members for index in members}))

    @property
    def member(self) -> np.ndarray:
        """``[C, N]`` float32, 1 where an instrument belongs to a class."""
        member = np.zeros((len(self.members), self.num_instruments), np.float32)
        for row, members in zip(member, self.members, strict=True):
            row[list(members)] = 1.0
        return member

    @property
    def inside(self) -> np.ndarray:
        """``[C, N]`` weights of a mean over the members of each class."""
        return _normalised(self.member, axis=-1)

    @property
    def outside(self) -> np.ndarray:
        """``[C, N]`` weights of a mean over the members of all other classes."""
        return _normalised(self.member.max(axis=0, initial=0.0) - self.member, axis=-1)

    @property
    def pairs(self) -> np.ndarray:
        """``[C, N, N]`` weights of a mean over the pairs of members of each class."""
        pairs = self.member[:, :, None] * self.member[:, None, :]
        return _normalised(pairs * (1.0 - np.eye(self.num_instruments, dtype=np.float32)), axis=(-2, -1))


def _normalised(weights: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Weights that sum to one along the axes; zeros stay."""
    return weights / np.maximum(weights.sum(axis, keepdims=True), 1.0)


def instrument_roles(
    symbols: Sequence[str],
    classes: Sequence[AssetClass],
    instruments: Mapping[str, Instrument],
    domains: Collection[str] | None = None,
) -> InstrumentRoles:
    """Positions of the classes' members, the dollar pairs, gold and oil among symbols.

    A class may have one of the domains; None stands for those of DOMAIN_FEATURES. Raises UserError for a class with
    another domain or with a symbol that has no bars.
    """
    position = {symbol: index for index, symbol in enumerate(symbols)}
    known = tuple(DOMAIN_FEATURES if domains is None else domains)
    for asset_class in classes:
        if asset_class.domain not in known:
            raise UserError(
                f"The class {asset_class.name} has the unknown domain '{asset_class.domain}'; did you mean "
                f"'{nearest(asset_class.domain, known)}'?"
            )
        for symbol in asset_class.symbols:
            if symbol not in position:
                raise UserError(f"The class {asset_class.name} has {symbol}, for which there are no bars")
    traded = {symbol for asset_class in classes for symbol in asset_class.symbols}
    chosen = [(index, instruments[symbol]) for index, symbol in enumerate(symbols) if symbol in traded]
    dollar = tuple(
        (index, 1 if instrument.base_currency == "USD" else -1)
        for index, instrument in chosen
        if instrument.is_currency_pair and "USD" in (instrument.base_currency, instrument.profit_currency)
    )
    return InstrumentRoles(
        num_instruments=len(symbols),
        members=tuple(tuple(position[symbol] for symbol in c.symbols) for c in classes),
        domains=tuple(c.domain for c in classes),
        dollar=dollar,
        gold=next((i for i, one in chosen if one.base_currency == "XAU"), None),
        oil=next((i for i, one in chosen if one.base_currency in _OIL), None),
        equity=tuple(position[symbol] for c in classes if c.domain == "equity" for symbol in c.symbols),
    )


@dataclasses.dataclass(frozen=True)
class MarketView(BarView):
    """What is known of all instruments together at the end of a bar."""

    roles: InstrumentRoles
    features: Mapping[str, jax.Array]  # [P, N] of each instrument, by name, within +-5

    @property
    def zero(self) -> jax.Array:
        """Zero on every path [P], for what the instruments do not provide."""
        return jnp.zeros_like(self.bar.close[..., 0])

    def mean(self, values: jax.Array, members: Sequence[int]) -> jax.Array:
        """Mean over some instruments: [P, N] -> [P]."""
        return sum((values[..., i] for i in members), self.zero) / max(len(members), 1)

    def class_means(self, values: jax.Array) -> jax.Array:
        """Mean over the members of each class: [P, N] -> [P, C]."""
        return _weighted(values, self.roles.inside)

    def single(self, values: jax.Array, index: int | None) -> jax.Array:
        """The value of one instrument, or zero: [P, N] -> [P]."""
        return self.zero if index is None else values[..., index]


def _weighted(values: jax.Array, weights: np.ndarray) -> jax.Array:
    """Values [P, N] and weights [C, N] -> sums [P, C]."""
    return jnp.sum(values[:, None] * jnp.asarray(weights)[None], axis=-1)


def _deviation(mean: jax.Array, mean_square: jax.Array) -> jax.Array:
    return jnp.sqrt(jnp.maximum(mean_square - jnp.square(mean), 0.0))


def _class_trend(view: MarketView, span: int) -> jax.Array:
    return view.class_means(trend(view, span))


def _class_dispersion(view: MarketView) -> jax.Array:
    """Deviation of the daily returns across the members."""
    returns = view.features["return_24"]
    return _deviation(view.class_means(returns), view.class_means(jnp.square(returns)))


def _average_correlation(view: MarketView) -> jax.Array:
    """Mean correlation of the pairs inside each class."""
    pairs = jnp.asarray(view.roles.pairs)[None]
    return jnp.sum(_correlation(view.averages.covariance)[:, None] * pairs, axis=(2, 3))


def _relative_strength(view: MarketView) -> jax.Array:
    """Trend of the class less that of the other classes' instruments."""
    return view.class_means(trend(view, 50)) - _weighted(trend(view, 50), view.roles.outside)


CLASS_FEATURES: tuple[Feature, ...] = (
    *(Feature(f"trend_{span}", span, functools.partial(_class_trend, span=span)) for span in (8, 20, 50)),
    Feature("dispersion", _SCALE, _class_dispersion),
    Feature("average_correlation", COVARIANCE_SPAN, _average_correlation),
    Feature("volatility_ratio", _SCALE, lambda view: view.class_means(volatility_ratio(view))),
    Feature("breadth", 50, lambda view: view.class_means(jnp.sign(trend(view, 50)))),
    Feature("relative_strength", 50, _relative_strength),
)
"""What every class has, cut at +-5: formulas MarketView -> [P, C]."""


def _session(view: MarketView, members: Sequence[int], name: str) -> jax.Array:
    """1 while the session is open."""
    return jnp.broadcast_to(view.clock(name), view.zero.shape)


def _dollar_trend(view: MarketView, members: Sequence[int], span: int) -> jax.Array:
    """Mean trend of the dollar in its currency pairs."""
    trends, dollar = trend(view, span), view.roles.dollar
    return sum((sign * trends[..., i] for i, sign in dollar), view.zero) / max(len(dollar), 1)


def _gold_oil(view: MarketView, members: Sequence[int]) -> jax.Array:
    """Log ratio of gold to oil less its average, in deviations that a random walk would have."""
    gold, oil, covariance = view.roles.gold, view.roles.oil, view.averages.covariance
    if gold is None or oil is None:
        return view.zero
    level = view.averages.channel("level")
    variance = covariance[..., gold, gold] + covariance[..., oil, oil] - 2.0 * covariance[..., gold, oil]
    distance = level[..., gold] - level[..., oil]
    return distance / (level_deviation() * jnp.sqrt(jnp.maximum(variance, 1e-12)))


def _gold_trend(view: MarketView, members: Sequence[int]) -> jax.Array:
    return view.single(trend(view, 50), view.roles.gold)


def _oil_trend(view: MarketView, members: Sequence[int]) -> jax.Array:
    return view.single(trend(view, 50), view.roles.oil)


def _gold_oil_trend(view: MarketView, members: Sequence[int]) -> jax.Array:
    """Trend of gold less that of oil, in the deviation that two independent trends would have."""
    if view.roles.gold is None or view.roles.oil is None:
        return view.zero
    return (_gold_trend(view, members) - _oil_trend(view, members)) / math.sqrt(2.0)


def _volatility_index(view: MarketView, members: Sequence[int]) -> jax.Array:
    """Mean log ratio of the volatilities of spans 20 and 240."""
    ratio = jnp.log(view.averages.volatility(_SHORT) / view.averages.volatility(_LONG))
    return view.mean(ratio, members)


def _volatility_change(view: MarketView, members: Sequence[int]) -> jax.Array:
    return view.mean(volatility_ratio(view), members)


def _breadth(view: MarketView, members: Sequence[int], span: int) -> jax.Array:
    """Share of rising less share of falling trends."""
    return view.mean(jnp.sign(trend(view, span)), members)


def _dispersion(view: MarketView, members: Sequence[int]) -> jax.Array:
    """Deviation of the daily returns across instruments."""
    returns = view.features["return_24"]
    return _deviation(view.mean(returns, members), view.mean(jnp.square(returns), members))


_DOLLAR_TREND_50 = Feature("dollar_trend_50", 50, functools.partial(_dollar_trend, span=50))

DOMAIN_FEATURES: dict[str, tuple[Feature, ...]] = {
    "generic": (),
    "forex": (
        *(Feature(name, 0, functools.partial(_session, name=name)) for name in ("tokyo", "london", "new_york")),
        Feature("dollar_trend_8", 8, functools.partial(_dollar_trend, span=8)),
        _DOLLAR_TREND_50,
    ),
    "commodities": (
        Feature("gold_oil", LEVEL_SPAN, _gold_oil),
        Feature("gold_trend", 50, _gold_trend),
        Feature("oil_trend", 50, _oil_trend),
        Feature("gold_oil_trend", 50, _gold_oil_trend),
        _DOLLAR_TREND_50,
    ),
    "equity": (
        Feature("volatility_index", _LONG, _volatility_index),
        Feature("volatility_change", _SCALE, _volatility_change),
        *(Feature(f"breadth_{span}", span, functools.partial(_breadth, span=span)) for span in (8, 120)),
        _DOLLAR_TREND_50,
    ),
}
"""What the classes of a domain have besides, cut at +-5: formulas MarketView, positions of the members -> [P]."""

MACRO_FEATURES: tuple[Feature, ...] = (
    Feature("equity_volatility", _LONG, lambda view, everyone: _volatility_index(view, view.roles.equity)),
    Feature("dollar_index", 50, functools.partial(_dollar_trend, span=50)),
    Feature("gold_oil", LEVEL_SPAN, _gold_oil),
    Feature("breadth", 50, functools.partial(_breadth, span=50)),
    Feature("dispersion", _SCALE, _dispersion),
)
"""The macro indicators, cut at +-5: formulas MarketView, positions of all traded instruments -> [P]."""

CLASS_NAMES = tuple(feature.name for feature in CLASS_FEATURES)
SPECIFIC_NAMES = {domain: tuple(feature.name for feature in features) for domain, features in DOMAIN_FEATURES.items()}
MACRO_NAMES = tuple(feature.name for feature in MACRO_FEATURES)


def _correlation(covariance: jax.Array) -> jax.Array:
    deviation = jnp.sqrt(jnp.diagonal(covariance, axis1=-2, axis2=-1))
    return covariance / jnp.maximum(deviation[..., :, None] * deviation[..., None, :], _SMALLEST_COVARIANCE)


def correlations(covariance: jax.Array) -> jax.Array:
    """Correlations above the diagonal, row by row: covariance [..., N, N] -> [..., N (N - 1) / 2]."""
    rows, columns = np.triu_indices(covariance.shape[-1], 1)
    return _correlation(covariance)[..., rows, columns]
