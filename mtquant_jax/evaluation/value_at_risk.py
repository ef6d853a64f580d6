"""Value at risk of a book for reports, three ways, on the host in float64.

All figures are losses as positive shares of equity over the horizon of the returns or covariance given. The risk layer
uses the parametric one inside the simulation (`mtquant_jax.simulation.risk`).
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np


def parametric(weights: np.ndarray, covariance: np.ndarray, confidence: float, horizon: float = 1.0) -> float:
    """The quantile z times sqrt(w' Sigma w x horizon): normal returns without drift; hedges reduce it.

    Args:
        weights: ``[N]`` signed exposure / equity.
        covariance: ``[N, N]`` of per-bar returns.
        confidence: such as 0.95.
        horizon: bars.
    """
    variance = float(weights @ covariance @ weights)
    return float(NormalDist().inv_cdf(_checked(confidence)) * np.sqrt(max(variance, 0.0) * horizon))


def historical(weights: np.ndarray, returns: np.ndarray, confidence: float) -> float:
    """Minus the lower quantile of what the book would have earned, linear between order statistics.

    Args:
        weights: ``[N]`` signed exposure / equity.
        returns: ``[R, N]`` simple returns over the horizon wanted.
        confidence: such as 0.95.
    """
    return float(-np.quantile(returns @ weights, 1.0 - _checked(confidence)))


def monte_carlo(
    weights: np.ndarray,
    covariance: np.ndarray,
    confidence: float,
    degrees_of_freedom: float,
    generator: np.random.Generator,
    horizon: int = 1,
    num_draws: int = 100_000,
) -> float:
    """The same quantile of draws from a multivariate Student-t scaled to the covariance, summed over the horizon.

    Args:
        weights: ``[N]`` signed exposure / equity.
        covariance: ``[N, N]`` of per-bar returns; may be singular.
        confidence: such as 0.95.
        degrees_of_freedom: above 2, so that the covariance exists.
        generator: source of randomness.
        horizon: bars.
        num_draws: books drawn; the error falls with its square root.

    Raises:
        ValueError: no more than two degrees of freedom, or a confidence outside (0.5, 1).
    """
    if degrees_of_freedom <= 2.0:
        raise ValueError(f"a Student-t with {degrees_of_freedom:g} degrees of freedom has no covariance; more than 2")
    # The book of a multivariate t is a univariate t of the same degrees and of variance w' Sigma w.
    scale = np.sqrt(max(float(weights @ covariance @ weights), 0.0) * (1.0 - 2.0 / degrees_of_freedom))
    profit = scale * generator.standard_t(degrees_of_freedom, size=(num_draws, horizon)).sum(axis=1)
    return float(-np.quantile(profit, 1.0 - _checked(confidence)))


def _checked(confidence: float) -> float:
    if not 0.5 < confidence < 1.0:
        raise ValueError(f"a confidence of {confidence:g} is not between 0.5 and 1")
    return confidence
