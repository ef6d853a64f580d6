"""Turns per-instrument trends and volatilities into what describes an asset class and the whole market, causally.

Whatever the instruments do not provide (no gold, no dollar pair, no equity class) is zero.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.averages import TREND_SPANS, Averages, level_deviation
from mtquant_jax.market.instruments import Instrument, nearest
from mtquant_jax.types import AssetClass

CLASS_NAMES = (
    "trend_8",
    "trend_20",
    "trend_50",
    "dispersion",
    "average_correlation",
    "volatility_ratio",
    "breadth",
    "relative_strength",
)
SPECIFIC_NAMES: dict[str, tuple[str, ...]] = {
    "generic": (),
    "forex": ("tokyo", "london", "new_york", "dollar_trend_8", "dollar_trend_50"),
    "commodities": ("gold_oil", "gold_trend", "oil_trend", "gold_oil_trend", "dollar_trend_50"),
    "equity": ("volatility_index", "volatility_change", "breadth_8", "breadth_120", "dollar_trend_50"),
}
DOMAIN_SIZE = len(CLASS_NAMES) + max(len(names) for names in SPECIFIC_NAMES.values())
MACRO_NAMES = ("equity_volatility", "dollar_index", "gold_oil", "breadth", "dispersion")

_SMALLEST_COVARIANCE = 1e-20  # of log returns; an instrument that never moves has correlations of 0
_OIL = ("WTI", "BRENT", "BRN", "XTI", "XBR")


@dataclasses.dataclass(frozen=True)
class InstrumentRoles:
    """Which instruments are what, by position; hashable, so that it can be a static argument."""

    num_instruments: int
    members: tuple[tuple[int, ...], ...]  # per class
    domains: tuple[str, ...]  # per class
    dollar: tuple[tuple[int, int], ...]  # currency pairs with USD: (position, +1 where they rise with the dollar)
    gold: int | None
    oil: int | None
    equity: tuple[int, ...]


def instrument_roles(
    symbols: Sequence[str], classes: Sequence[AssetClass], instruments: Mapping[str, Instrument]
) -> InstrumentRoles:
    """Positions of the classes' members, the dollar pairs, gold and oil among symbols.

    Raises UserError for a class with an unknown domain or with a symbol that has no bars.
    """
    position = {symbol: index for index, symbol in enumerate(symbols)}
    for asset_class in classes:
        if asset_class.domain not in SPECIFIC_NAMES:
            raise UserError(
                f"The class {asset_class.name} has the unknown domain '{asset_class.domain}'; did you mean "
                f"'{nearest(asset_class.domain, list(SPECIFIC_NAMES))}'?"
            )
        for symbol in asset_class.symbols:
            if symbol not in position:
                raise UserError(f"The class {asset_class.name} has {symbol}, for which there are no bars")
    chosen = [instruments[symbol] for symbol in symbols]
    dollar = tuple(
        (index, 1 if instrument.base_currency == "USD" else -1)
        for index, instrument in enumerate(chosen)
        if instrument.is_currency_pair and "USD" in (instrument.base_currency, instrument.profit_currency)
    )
    return InstrumentRoles(
        num_instruments=len(symbols),
        members=tuple(tuple(position[symbol] for symbol in c.symbols) for c in classes),
        domains=tuple(c.domain for c in classes),
        dollar=dollar,
        gold=next((i for i, one in enumerate(chosen) if one.base_currency == "XAU"), None),
        oil=next((i for i, one in enumerate(chosen) if one.base_currency in _OIL), None),
        equity=tuple(position[symbol] for c in classes if c.domain == "equity" for symbol in c.symbols),
    )


def domain_and_macro(
    averages: Averages, day_return: jax.Array, sessions: jax.Array, static: InstrumentRoles
) -> tuple[jax.Array, jax.Array]:
    """Domain features [P, C, D] and macro indicators [P, M] at one bar, dimensionless, within +-5.

    Takes the averages, day_return [P, N] (24-bar log return in its own deviation) and sessions [3] (Tokyo, London,
    New York).
    """
    trend = {span: averages.trend[..., i] for i, span in enumerate(TREND_SPANS)}
    short, _, long = (averages.volatility[..., i] for i in range(3))
    volatility_change = jnp.log(short / averages.volatility[..., 1])
    volatility_index = jnp.log(short / long)
    gold_oil = _gold_oil(averages, static)
    zero = jnp.zeros_like(gold_oil)

    def mean(values: jax.Array, members: Sequence[int]) -> jax.Array:
        """Mean [P] over instruments."""
        return sum((values[..., i] for i in members), zero) / max(len(members), 1)

    def dollar(span: int) -> jax.Array:
        return sum((sign * trend[span][..., i] for i, sign in static.dollar), zero) / max(len(static.dollar), 1)

    def single(values: jax.Array, index: int | None) -> jax.Array:
        return zero if index is None else values[..., index]

    gold_trend, oil_trend = single(trend[50], static.gold), single(trend[50], static.oil)
    both = static.gold is not None and static.oil is not None
    session = [jnp.broadcast_to(sessions[i], zero.shape) for i in range(3)]

    def specific(domain: str, members: Sequence[int]) -> list[jax.Array]:
        if domain == "forex":
            return [*session, dollar(8), dollar(50)]
        if domain == "commodities":
            return [
                gold_oil,
                gold_trend,
                oil_trend,
                (gold_trend - oil_trend) / math.sqrt(2.0) if both else zero,
                dollar(50),
            ]
        if domain == "equity":
            up_8, up_120 = (mean(jnp.sign(trend[span]), members) for span in (8, 120))
            return [mean(volatility_index, members), mean(volatility_change, members), up_8, up_120, dollar(50)]
        return []

    common = _class_features(averages, day_return, volatility_change, static)
    rows = []
    for index, (name, members) in enumerate(zip(static.domains, static.members, strict=True)):
        columns = [common[..., index, i] for i in range(len(CLASS_NAMES))] + specific(name, members)
        columns += [zero] * (DOMAIN_SIZE - len(columns))
        rows.append(jnp.stack(columns, axis=-1))
    everyone = tuple(range(static.num_instruments))
    macro = jnp.stack(
        [
            mean(volatility_index, static.equity),
            dollar(50),
            gold_oil,
            mean(jnp.sign(trend[50]), everyone),
            jnp.sqrt(_variance(mean(day_return, everyone), mean(jnp.square(day_return), everyone))),
        ],
        axis=-1,
    )
    return jnp.clip(jnp.stack(rows, axis=-2), -5.0, 5.0), jnp.clip(macro, -5.0, 5.0)


def _variance(mean: jax.Array, mean_square: jax.Array) -> jax.Array:
    return jnp.maximum(mean_square - jnp.square(mean), 0.0)


def _class_features(
    averages: Averages, day_return: jax.Array, volatility_change: jax.Array, static: InstrumentRoles
) -> jax.Array:
    """The features that every class has [P, C, 8], in the order of CLASS_NAMES."""
    size, num_classes = static.num_instruments, len(static.members)
    member = np.zeros((num_classes, size), np.float32)
    for row, members in zip(member, static.members, strict=True):
        row[list(members)] = 1.0
    inside = member / np.maximum(member.sum(-1, keepdims=True), 1.0)
    outside = (1.0 - member) / np.maximum((1.0 - member).sum(-1, keepdims=True), 1.0)
    pairs = member[:, :, None] * member[:, None, :] * (1.0 - np.eye(size, dtype=np.float32))
    pairs /= np.maximum(pairs.sum((-2, -1), keepdims=True), 1.0)

    trend_50 = averages.trend[..., 3]
    columns = [averages.trend[..., 1], averages.trend[..., 2], trend_50, day_return, jnp.square(day_return)]
    statistics = jnp.stack([*columns, volatility_change, jnp.sign(trend_50)], axis=-1)

    def weighted(values: jax.Array, weights: np.ndarray) -> jax.Array:
        """[P, N, V] and [C, N] -> [P, C, V]."""
        return jnp.sum(values[:, None] * jnp.asarray(weights)[None, :, :, None], axis=2)

    means = weighted(statistics, inside)
    trends, (returns, squares, change, breadth) = means[..., :3], (means[..., i] for i in range(3, 7))
    correlation = _correlation(averages.covariance)
    average_correlation = jnp.sum(correlation[:, None] * jnp.asarray(pairs)[None], axis=(2, 3))
    strength = trends[..., 2] - weighted(trend_50[..., None], outside)[..., 0]
    rest = [jnp.sqrt(_variance(returns, squares)), average_correlation, change, breadth, strength]
    return jnp.concatenate([trends, jnp.stack(rest, axis=-1)], axis=-1)


def _gold_oil(averages: Averages, static: InstrumentRoles) -> jax.Array:
    """Log ratio of gold to oil less its average, in deviations that a random walk would have [P]."""
    if static.gold is None or static.oil is None:
        return jnp.zeros_like(averages.level[..., 0])
    gold, oil, covariance = static.gold, static.oil, averages.covariance
    variance = covariance[..., gold, gold] + covariance[..., oil, oil] - 2.0 * covariance[..., gold, oil]
    distance = averages.level[..., gold] - averages.level[..., oil]
    return distance / (level_deviation() * jnp.sqrt(jnp.maximum(variance, 1e-12)))


def _correlation(covariance: jax.Array) -> jax.Array:
    deviation = jnp.sqrt(jnp.diagonal(covariance, axis1=-2, axis2=-1))
    return covariance / jnp.maximum(deviation[..., :, None] * deviation[..., None, :], _SMALLEST_COVARIANCE)


def correlations(covariance: jax.Array) -> jax.Array:
    """Correlations above the diagonal, row by row: covariance [..., N, N] -> [..., N (N - 1) / 2]."""
    rows, columns = np.triu_indices(covariance.shape[-1], 1)
    return _correlation(covariance)[..., rows, columns]
