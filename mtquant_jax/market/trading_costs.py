"""Typical trading costs and price volatility, per instrument."""

from __future__ import annotations

import numpy as np

from mtquant_jax.types import Contracts, MarketTable


def typical_costs(table: MarketTable, contracts: Contracts, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute the trading cost and the volatility of each instrument over the bars ``[first, last)``.

    Args:
        table: the market ``[P, T, N]``.
        contracts: ``[N]`` contract sizes, commissions and slippage.
        first: first bar included.
        last: bar after the last one included.

    Returns:
        ``[N]`` half the spread, slippage and commission of one side as a share of the value traded, and ``[N]`` the
        root mean square of per-bar log returns. Both are means over tradable bars of all paths, float64; zero for an
        instrument that never trades.
    """

    def column(leaf: object) -> np.ndarray:
        return np.asarray(leaf, np.float64)[:, first:last]

    tradable, close = column(table.tradable), column(table.close)
    count = np.maximum(tradable.sum(axis=(0, 1)), 1.0)
    moves = tradable[:, 1:] * np.diff(np.log(close), axis=1)
    volatility = np.sqrt((moves**2).sum(axis=(0, 1)) / count)
    per_lot = np.asarray(contracts.contract_size, np.float64) * close * column(table.conversion_close)
    commission = np.asarray(contracts.commission, np.float64) * column(table.fee_conversion) / per_lot
    price = 0.5 * column(table.spread) + np.asarray(contracts.slippage, np.float64)
    share = np.asarray(contracts.slippage_volatility, np.float64) * volatility
    cost = (tradable * (price / close + commission)).sum(axis=(0, 1)) / count + share
    return cost, volatility
