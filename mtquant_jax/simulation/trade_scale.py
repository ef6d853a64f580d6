"""What trading costs -> the size of trades that a policy should try.

Noise that is wide against what trading costs pays on every bar and teaches a policy not to trade; noise that is narrow
learns slowly. Both are a matter of costs, which differ between instruments, so the scale is computed and not set.
"""

from __future__ import annotations

import numpy as np

_LARGEST = 1.0  # half of the way from fully short to fully long, where trading costs little
_MEAN_SIZE = np.sqrt(2.0 / np.pi)  # mean absolute value of a standard normal


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
