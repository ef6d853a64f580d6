"""Value at risk of a book by three methods, and tests of its forecasts; on the host in float64, for reports.

All figures are losses as positive shares of equity over the horizon of the given returns or covariance. The risk layer
has its own parametric value at risk inside the simulation (`mtquant_jax.simulation.risk`).
"""

from __future__ import annotations

import dataclasses
from statistics import NormalDist

import numpy as np
from scipy.special import chdtrc, xlogy


@dataclasses.dataclass(frozen=True)
class LikelihoodRatio:
    """A likelihood ratio test of a forecast."""

    statistic: float  # -2 log of the ratio, at least 0
    p_value: float  # asymptotic chi-square probability of at least this statistic if the forecast is right


@dataclasses.dataclass(frozen=True)
class VarBacktest:
    """Losses above a value at risk, and tests of whether a right forecast explains their number and order."""

    exceedances: int
    periods: int  # periods with a forecast
    share: float | None  # exceedances / periods; None without periods
    expected: float  # share under a right forecast: 1 - confidence
    kupiec: LikelihoodRatio  # test that the share is as expected, 1 degree of freedom
    independence: LikelihoodRatio  # test that exceedances do not depend on the period before, 1 degree of freedom
    conditional_coverage: LikelihoodRatio  # test of both hypotheses, 2 degrees of freedom


def parametric(weights: np.ndarray, covariance: np.ndarray, confidence: float, horizon: float = 1.0) -> float:
    """Value at risk of normal returns without drift: the quantile z times sqrt(w' Sigma w x horizon).

    Args:
        weights: ``[N]`` exposure: signed value / equity.
        covariance: ``[N, N]`` of per-bar returns.
        confidence: such as 0.95.
        horizon: bars.
    """
    variance = float(weights @ covariance @ weights)
    return float(NormalDist().inv_cdf(_checked(confidence)) * np.sqrt(max(variance, 0.0) * horizon))


def historical(weights: np.ndarray, returns: np.ndarray, confidence: float) -> float:
    """Value at risk from history: minus the lower quantile of the book's past returns, linear between order statistics.

    Args:
        weights: ``[N]`` exposure: signed value / equity.
        returns: ``[R, N]`` simple returns over the required horizon.
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
    """Value at risk of draws from a multivariate Student-t scaled to the covariance, summed over the horizon.

    Args:
        weights: ``[N]`` exposure: signed value / equity.
        covariance: ``[N, N]`` of per-bar returns; may be singular.
        confidence: such as 0.95.
        degrees_of_freedom: above 2, so that the covariance exists.
        generator: source of randomness.
        horizon: bars.
        num_draws: number of draws; the error is inversely proportional to its square root.

    Raises:
        ValueError: degrees of freedom of at most 2, or a confidence outside (0.5, 1).
    """
    if degrees_of_freedom <= 2.0:
        raise ValueError(
            f"a Student-t with {degrees_of_freedom:g} degrees of freedom has no covariance; use more than 2"
        )
    # A book of multivariate t returns is a univariate t of the same degrees of freedom and of variance w' Sigma w.
    scale = np.sqrt(max(float(weights @ covariance @ weights), 0.0) * (1.0 - 2.0 / degrees_of_freedom))
    profit = scale * generator.standard_t(degrees_of_freedom, size=(num_draws, horizon)).sum(axis=1)
    return float(-np.quantile(profit, 1.0 - _checked(confidence)))


def backtest_exceedances(exceeded: np.ndarray, confidence: float, counted: np.ndarray | None = None) -> VarBacktest:
    """Test forecasts of value at risk from the periods in which losses exceeded them.

    Share: Kupiec, Techniques for Verifying the Accuracy of Risk Measurement Models, Journal of Derivatives 1995.
    Independence, against a chain with memory of one period, and conditional coverage, the sum of the two statistics:
    Christoffersen, Evaluating Interval Forecasts, International Economic Review 1998. Outcomes that never occur add
    nothing to a likelihood, so that a sample of only exceedances, or of none, counts as independent.

    The p-values assume that paths are independent; for paths that share the days of one market they are too small. They
    are approximate under about ten expected exceedances: of right forecasts of 99 % for 250 periods, the test of the
    share rejects one in ten at a level of 5 %.

    Args:
        exceeded: ``[T]`` or ``[T, P]`` booleans: the loss of consecutive periods on P paths was above the forecast.
        confidence: confidence of the forecast, such as 0.95.
        counted: booleans of the same shape: the period had risk to forecast; all if None. Other periods are left out,
            as are the transitions from and to them.

    Raises:
        ValueError: arrays of another type or shape, or a confidence outside (0.5, 1).
    """
    expected = 1.0 - _checked(confidence)
    exceeded = np.asarray(exceeded)
    counted = np.ones_like(exceeded) if counted is None else np.asarray(counted)
    if exceeded.dtype != np.bool_ or counted.dtype != np.bool_ or exceeded.ndim not in (1, 2):
        found = ", ".join(f"{array.dtype} {array.shape}" for array in (exceeded, counted))
        raise ValueError(f"exceedances and counted periods must be booleans [T] or [T, P]; got {found}")
    if counted.shape != exceeded.shape:
        raise ValueError(f"counted periods {counted.shape} and exceedances {exceeded.shape} differ in shape")
    periods, exceedances = int(counted.sum()), int((exceeded & counted).sum())
    share = exceedances / periods if periods else None
    held = periods - exceedances
    kupiec = _best_likelihood(exceedances, held) - float(xlogy(exceedances, expected) + xlogy(held, 1.0 - expected))

    before, after, linked = exceeded[:-1], exceeded[1:], counted[:-1] & counted[1:]
    # [from, to]: index 1 is an exceedance.
    moves = np.array([[(linked & (before == i) & (after == j)).sum() for j in (False, True)] for i in (False, True)])
    chained = sum(_best_likelihood(stay, go) for stay, go in moves)
    independence = chained - _best_likelihood(*moves.sum(axis=0))
    return VarBacktest(
        exceedances=exceedances,
        periods=periods,
        share=share,
        expected=expected,
        kupiec=_likelihood_ratio(kupiec, 1),
        independence=_likelihood_ratio(independence, 1),
        conditional_coverage=_likelihood_ratio(max(kupiec, 0.0) + max(independence, 0.0), 2),
    )


def _best_likelihood(first: int, second: int) -> float:
    """Maximum log likelihood of two counts, under their own shares."""
    return float(xlogy(first, first) + xlogy(second, second) - xlogy(first + second, first + second))


def _likelihood_ratio(gain: float, degrees_of_freedom: int) -> LikelihoodRatio:
    """Test a gain in log likelihood, which is negative only by rounding."""
    statistic = 2.0 * max(gain, 0.0)
    return LikelihoodRatio(statistic, float(chdtrc(degrees_of_freedom, statistic)))


def _checked(confidence: float) -> float:
    if not 0.5 < confidence < 1.0:
        raise ValueError(f"a confidence of {confidence:g} is not between 0.5 and 1")
    return confidence
