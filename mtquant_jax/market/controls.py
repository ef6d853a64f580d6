"""Markets that tell whether a training learns and does not leak: one that knows the next bar, one with nothing to know.

The first is the positive control of an experiment, the second the negative one.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from mtquant_jax.types import Bars, MarketTable

_HOURS_A_WEEK = 168
_LARGEST = 5.0  # volatilities, as of every feature
_SMALLEST_VOLATILITY = 1e-9


def with_oracle(table: MarketTable) -> MarketTable:
    """The market with one feature, the first, replaced by what it must not know: the next bar's move.

    It is the move from open to close, for which a position decided now is held, in units of the last known per-bar
    volatility. Shapes stay, so that nothing compiles again.
    """
    opens, closes = table.open[:, 1:], table.close[:, 1:]
    move = jnp.pad((closes - opens) / opens, ((0, 0), (0, 1), (0, 0)))
    variance = jnp.diagonal(table.covariance, axis1=-2, axis2=-1)
    volatility = jnp.sqrt(jnp.maximum(variance, _SMALLEST_VOLATILITY**2))
    oracle = jnp.clip(move / volatility, -_LARGEST, _LARGEST)
    return table.replace(features=table.features.at[..., 0].set(oracle))  # type: ignore[attr-defined]


def shuffled(bars: Bars, seed: int) -> Bars:
    """The same bars in random order, and each upside down by the toss of a coin: no return can be forecast.

    A bar trades places with others of the same hour of the week and with the same instruments trading, so that
    calendar, spreads and volatility by the hour stay what they are. All instruments of a bar move together, which keeps
    their correlations; the coin, one per path and bar, takes out drift.

    Args:
        bars: history or synthetic.
        seed: of the order and the coins.
    """
    generator = np.random.default_rng(seed)
    prices = {name: np.asarray(getattr(bars, name), np.float64) for name in ("open", "high", "low", "close")}
    before = np.concatenate([prices["open"][:, :1], prices["close"][:, :-1]], axis=1)
    moves = {name: np.log(values / before) for name, values in prices.items()}
    relative_spread = np.asarray(bars.spread, np.float64) / before
    order = _order(bars, generator)
    coin = generator.choice((-1.0, 1.0), size=(*before.shape[:2], 1))
    moves = {name: coin * values[:, order] for name, values in moves.items()}
    low, high = np.minimum(moves["low"], moves["high"]), np.maximum(moves["low"], moves["high"])
    closes = before[:, :1] * np.exp(np.cumsum(moves["close"], axis=1))
    base = np.concatenate([before[:, :1], closes[:, :-1]], axis=1)
    return dataclasses.replace(
        bars,
        open=base * np.exp(moves["open"]),
        high=base * np.exp(high),
        low=base * np.exp(low),
        close=closes,
        spread=base * relative_spread[:, order],
        volume=np.asarray(bars.volume)[:, order],
    )


def _order(bars: Bars, generator: np.random.Generator) -> np.ndarray:
    """Which bar stands in the place of each ``[T]``."""
    hour = (np.asarray(bars.timestamps) // 3600) % _HOURS_A_WEEK
    trades = np.moveaxis(np.asarray(bars.tradable), 1, 0).reshape(len(hour), -1)
    _, kind = np.unique(np.column_stack([hour, trades]), axis=0, return_inverse=True)
    order = np.arange(len(hour))
    for one in range(int(kind.max()) + 1):
        places = np.flatnonzero(kind == one)
        order[places] = generator.permutation(places)
    return order
