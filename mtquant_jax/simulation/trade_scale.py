"""Turns trading costs into the size of exploratory trades.

Exploration noise that is wide relative to trading costs is expensive on every bar and teaches a policy not to trade;
narrow noise learns slowly. Costs differ between instruments, so the scale is computed from them and is not a setting.
"""

from __future__ import annotations

import numpy as np

_LARGEST = 1.0  # relative weight, half the distance from fully short to fully long; used where trading is cheap
_MEAN_SIZE = np.sqrt(2.0 / np.pi)  # mean absolute value of a standard normal


def trade_scales(
    cost: np.ndarray, impact: float, volatility: np.ndarray, full_weight: np.ndarray, exploration_cost: float
) -> np.ndarray:
    """Standard deviations of trades ``[C]``, in relative weight, whose mean cost per bar is ``exploration_cost``.

    Noise of standard deviation s costs sqrt(2 / pi) cost s + impact / 2 x volatility^2 x full_weight s^2 per unit of a
    full position. The scale is the positive root of the resulting quadratic equation, at most 1.

    Args:
        cost: ``[C]`` cost of one side, share of the value traded.
        impact: lambda of the quadratic impact.
        volatility: ``[C]`` standard deviation of returns per bar.
        full_weight: ``[C]`` weight of a full position, share of equity; 0 for padding.
        exploration_cost: mean cost per bar, in per-bar volatilities of a full position.
    """
    moving = np.where(volatility > 0.0, volatility, 1.0)
    linear = _MEAN_SIZE * cost / moving
    quadratic = 0.5 * impact * moving * full_weight
    root = linear + np.sqrt(linear**2 + 4.0 * quadratic * exploration_cost)
    scales = np.where(root > 0.0, 2.0 * exploration_cost / np.maximum(root, 1e-12), _LARGEST)
    return np.where((full_weight > 0.0) & (volatility > 0.0), np.minimum(scales, _LARGEST), _LARGEST)
