"""Statistical significance of Sharpe ratios: probability, correction for trials, and length of record required.

Sharpe ratios here are per period (per day), not annualised. All figures are computed on the host in float64.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from statistics import NormalDist

import numpy as np

_NORMAL = NormalDist()

TWO_SIDED = 2.0 * _NORMAL.cdf(-2.0)
"""Chance that a normal figure without substance is two standard errors from zero, to either side."""
_NO_RISK = 1e-12  # standard deviation under which returns have no Sharpe ratio


def chance_bound(looks: int) -> float:
    """Standard errors up to which the most extreme of so many figures without substance lies by chance alone.

    Two for a single figure; for several, the bound that any of them passes as rarely (Sidak 1967). Checkpoints of one
    training resemble each other, for which the bound is on the safe side.
    """
    single = 1.0 - (1.0 - TWO_SIDED) ** (1.0 / max(looks, 1))
    return -_NORMAL.inv_cdf(single / 2.0)


@dataclasses.dataclass(frozen=True)
class SharpeSample:
    """A Sharpe ratio and the quantities that determine its sampling error."""

    sharpe: float  # per period
    periods: int  # number of returns in the estimate
    skewness: float = 0.0
    kurtosis: float = 3.0  # not excess: 3 for normal returns

    @classmethod
    def of(cls, returns: np.ndarray) -> SharpeSample:
        """Estimate from per-period returns ``[T]``.

        Raises:
            ValueError: fewer than three returns, one that is not finite, or returns without risk.
        """
        returns = np.asarray(returns, np.float64)
        if returns.ndim != 1 or returns.size < 3 or not np.isfinite(returns).all():
            raise ValueError(f"a Sharpe ratio needs at least 3 finite returns [T]; got shape {returns.shape}")
        centred = returns - returns.mean()
        deviation = float(np.sqrt(np.mean(centred**2)))
        if deviation < _NO_RISK:
            raise ValueError("constant returns have no Sharpe ratio")
        return cls(
            sharpe=float(returns.mean() / np.std(returns, ddof=1)),
            periods=returns.size,
            skewness=float(np.mean(centred**3) / deviation**3),
            kurtosis=float(np.mean(centred**4) / deviation**4),
        )

    @property
    def error_factor(self) -> float:
        """Variance of the estimated Sharpe ratio times (periods - 1): Mertens (2002).

        Raises:
            ValueError: no distribution has these moments.
        """
        factor = 1.0 - self.skewness * self.sharpe + (self.kurtosis - 1.0) / 4.0 * self.sharpe**2
        if factor <= 0.0:
            raise ValueError(f"no returns have skewness {self.skewness:g} and kurtosis {self.kurtosis:g}")
        return factor


def probabilistic_sharpe_ratio(sample: SharpeSample, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio is above ``benchmark`` (per period).

    Bailey and Lopez de Prado, The Sharpe Ratio Efficient Frontier, Journal of Risk 2012.
    """
    distance = (sample.sharpe - benchmark) * math.sqrt(sample.periods - 1)
    return _NORMAL.cdf(distance / math.sqrt(sample.error_factor))


def minimum_track_record(sample: SharpeSample, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Number of periods after which this Sharpe ratio is significantly above ``benchmark``; infinite if it is lower.

    Same source as `probabilistic_sharpe_ratio`.

    Raises:
        ValueError: a confidence outside (0.5, 1).
    """
    if not 0.5 < confidence < 1.0:
        raise ValueError(f"a confidence of {confidence:g} is not between 0.5 and 1")
    if sample.sharpe <= benchmark:
        return math.inf
    return 1.0 + sample.error_factor * (_NORMAL.inv_cdf(confidence) / (sample.sharpe - benchmark)) ** 2


def expected_maximum_sharpe(variance: float, trials: int) -> float:
    """Expected maximum of the Sharpe ratios of ``trials`` trials without skill.

    Bailey and Lopez de Prado, The Deflated Sharpe Ratio, Journal of Portfolio Management 2014.

    Args:
        variance: variance of the Sharpe ratios of the trials, per period.
        trials: number of independent trials, at least 1; a single one was not selected, so its expectation is 0.

    Raises:
        ValueError: no trial, or a negative variance.
    """
    if trials < 1 or variance < 0.0:
        raise ValueError(f"needs at least 1 trial and a variance of at least 0; got {trials} and {variance:g}")
    if trials == 1:
        return 0.0
    gamma = float(np.euler_gamma)
    best = (1.0 - gamma) * _NORMAL.inv_cdf(1.0 - 1.0 / trials) + gamma * _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * best


def deflated_sharpe_ratio(sample: SharpeSample, variance: float, trials: int) -> float:
    """Probability that the true Sharpe ratio is above the expected maximum of ``trials`` trials without skill.

    Arguments, errors and source are those of `expected_maximum_sharpe`.
    """
    return probabilistic_sharpe_ratio(sample, expected_maximum_sharpe(variance, trials))


def probability_of_overfitting(returns: np.ndarray, blocks: int = 16) -> float:
    """Probability that the best trial in sample is in the lower half out of sample.

    Combinatorially symmetric cross-validation: every subset of half the blocks is in sample once. Bailey, Borwein,
    Lopez de Prado and Zhu, The Probability of Backtest Overfitting, Journal of Computational Finance 2017.

    Args:
        returns: ``[T, N]`` per-period returns of N trials over the same periods.
        blocks: even number of consecutive blocks; the T mod ``blocks`` earliest periods are left out.

    Raises:
        ValueError: fewer than two trials, an odd number of blocks, or blocks of fewer than two periods.
    """
    returns = np.asarray(returns, np.float64)
    periods, trials = returns.shape
    if trials < 2:
        raise ValueError("overfitting by selection needs at least 2 trials")
    if blocks < 2 or blocks % 2 or periods // blocks < 2:
        raise ValueError(f"{periods} periods in {blocks} blocks: needs an even number, each of at least 2 periods")
    size = periods // blocks
    parts = returns[periods - size * blocks :].reshape(blocks, size, trials)
    sums, squares = parts.sum(axis=1), (parts**2).sum(axis=1)  # [blocks, N]
    half = blocks // 2
    chosen = np.zeros((math.comb(blocks, half), blocks))
    for row, combination in zip(chosen, itertools.combinations(range(blocks), half), strict=True):
        row[list(combination)] = 1.0
    inside = _sharpe(chosen @ sums, chosen @ squares, half * size)
    outside = _sharpe((1.0 - chosen) @ sums, (1.0 - chosen) @ squares, half * size)
    best = np.argmax(inside, axis=1)
    theirs = outside[np.arange(len(best)), best][:, None]
    # Relative rank in (0, 1); ties share their ranks.
    rank = ((outside < theirs).sum(axis=1) + 0.5 * ((outside == theirs).sum(axis=1) + 1.0)) / (trials + 1.0)
    return float(np.mean(rank <= 0.5))


def interquartile_mean(values: np.ndarray) -> float:
    """Mean of the middle half of the values; values at its edges count in part (Agarwal et al., NeurIPS 2021).

    An infinite value outside the middle half does not count; one that is not a number makes the mean so.

    Raises:
        ValueError: no values.
    """
    ordered = np.sort(np.asarray(values, np.float64).ravel())
    if ordered.size == 0:
        raise ValueError("the mean of no values is undefined")
    edges = np.arange(ordered.size + 1) / ordered.size
    weights = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0.0, None)
    counting = np.where((weights > 0.0) | np.isnan(ordered), ordered, 0.0)  # infinity times 0 is not a number
    return float(counting @ weights / weights.sum())


def _sharpe(total: np.ndarray, squares: np.ndarray, count: int) -> np.ndarray:
    """Sharpe ratios from sums and sums of squares; 0 without risk."""
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    return np.where(deviation > _NO_RISK, mean / np.maximum(deviation, _NO_RISK), 0.0)
