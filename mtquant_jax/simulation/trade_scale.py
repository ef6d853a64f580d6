"""What trading costs -> the size of trades that a policy should try.

Noise that is wide against what trading costs pays on every bar and teaches a policy not to trade; noise that is narrow
learns slowly. Both are a matter of costs, which differ between instruments, so the scale is computed and not set.
"""

from __future__ import annotations

import numpy as np

from mtquant_jax.types import Contracts, MarketTable

_LARGEST = 1.0  # half of the way from fully short to fully long, where trading costs little
_MEAN_SIZE = np.sqrt(2.0 / np.pi)  # mean absolute value of a standard normal


def typical_costs(table: MarketTable, contracts: Contracts, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
    """Cost of trading and volatility of each instrument over the bars ``[first, last)``.

    Args:
        table: the market ``[P, T, N]``.
        contracts: ``[N]`` contract sizes, commissions and slippage.
        first: first bar that counts.
        last: the bar after the last that counts.

    Returns:
        ``[N]`` half the spread, slippage and commission of one side as a share of the value traded, and ``[N]`` the
        root mean square of per-bar log returns. Both are means over tradable bars of all paths, float64; zeros where
        an instrument never trades.
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


def trade_scales(
    cost: np.ndarray, impact: float, volatility: np.ndarray, full_weight: np.ndarray, exploration_cost: float
) -> np.ndarray:
    """Standard deviations of trades ``[C]``, in relative weight, whose mean cost per bar is ``exploration_cost``.

    Noise of deviation s costs sqrt(2 / pi) cost s + impact / 2 x volatility^2 x full_weight s^2 per unit of a full
    position; the positive root of that quadratic equation is taken, at most 1.

    Args:
        cost: ``[C]`` share of the value traded, one side.
        impact: lambda of the quadratic impact.
        volatility: ``[C]`` per bar.
        full_weight: ``[C]`` weight of a full position, share of equity; padding has 0.
        exploration_cost: in per-bar volatilities of a full position.
    """
    moving = np.where(volatility > 0.0, volatility, 1.0)
    linear = _MEAN_SIZE * cost / moving
    quadratic = 0.5 * impact * moving * full_weight
    root = linear + np.sqrt(linear**2 + 4.0 * quadratic * exploration_cost)
    scales = np.where(root > 0.0, 2.0 * exploration_cost / np.maximum(root, 1e-12), _LARGEST)
    return np.where((full_weight > 0.0) & (volatility > 0.0), np.minimum(scales, _LARGEST), _LARGEST)
