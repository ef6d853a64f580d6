"""Significance of Sharpe ratios against independent libraries: purgedcv, arch and SciPy."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from mtquant_jax.statistics.significance import (
    SharpeSample,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    interquartile_mean,
    minimum_track_record,
    probabilistic_sharpe_ratio,
    probability_of_overfitting,
)


@pytest.fixture(scope="module")
def purgedcv():
    return pytest.importorskip("purgedcv")


def skewed_days(seed, periods=750):
    """Returns with fat tails and a skew, about 0.06 a day."""
    generator = np.random.default_rng(seed)
    return 0.01 * (generator.standard_t(6, periods) - 0.3 * generator.exponential(size=periods) + 0.37)


def as_purgedcv_estimates(returns):
    """The sample with purgedcv's estimators.

    It divides by the population's deviation (ddof 0) and takes skewness and kurtosis without bias; ours are the papers'
    and our reports' conventions, ddof 1 and plain moments. Kurtosis is not excess in both.
    """
    return SharpeSample(
        sharpe=float(returns.mean() / returns.std()),
        periods=returns.size,
        skewness=float(stats.skew(returns, bias=False)),
        kurtosis=float(stats.kurtosis(returns, fisher=False, bias=False)),
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("benchmark", [0.0, 0.03])
def test_probabilistic_sharpe_ratio_is_that_of_purgedcv(purgedcv, seed, benchmark):
    returns = skewed_days(seed)
    theirs = purgedcv.probabilistic_sharpe_ratio(returns, benchmark)
    assert probabilistic_sharpe_ratio(as_purgedcv_estimates(returns), benchmark) == pytest.approx(theirs, rel=1e-10)
    assert probabilistic_sharpe_ratio(SharpeSample.of(returns), benchmark) == pytest.approx(theirs, abs=2e-3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("variance", "trials"), [(0.001, 2), (0.0005, 20), (0.002, 300), (0.002, 1)])
def test_deflated_sharpe_ratio_is_that_of_purgedcv(purgedcv, seed, variance, trials):
    returns = skewed_days(seed)
    theirs = purgedcv.deflated_sharpe_ratio(returns, trials, variance)  # variance per period in both
    assert deflated_sharpe_ratio(as_purgedcv_estimates(returns), variance, trials) == pytest.approx(theirs, rel=1e-9)
    assert deflated_sharpe_ratio(SharpeSample.of(returns), variance, trials) == pytest.approx(theirs, abs=5e-3)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("benchmark", "confidence"), [(0.0, 0.95), (0.01, 0.9), (-0.02, 0.99)])
def test_minimum_track_record_is_that_of_purgedcv(purgedcv, seed, benchmark, confidence):
    sample = SharpeSample.of(skewed_days(seed))
    theirs = purgedcv.min_track_record_length(
        sample.sharpe, benchmark, 1.0 - confidence, sample.skewness, sample.kurtosis
    )
    # purgedcv counts whole periods.
    assert 1 + math.ceil(minimum_track_record(sample, benchmark, confidence) - 1.0) == theirs
    assert purgedcv.min_track_record_length(0.1, 0.1, 0.05, 0.0, 3.0) == minimum_track_record(
        SharpeSample(0.1, 100), 0.1
    )


@pytest.mark.parametrize(("trials", "blocks"), [(2, 4), (8, 6), (9, 8), (15, 10)])
@pytest.mark.parametrize("edge", [0.0, 0.1])
def test_probability_of_overfitting_is_that_of_purgedcv(purgedcv, trials, blocks, edge):
    returns = np.random.default_rng(trials).normal(size=(24 * blocks + 3, trials))
    returns[:, 1] += edge
    # purgedcv wants [N, T] and spreads what does not divide over its first blocks, where ours leaves it out; its Sharpe
    # ratio has ddof 1, which ranks alike.
    theirs = purgedcv.probability_of_backtest_overfitting(returns[3:].T, blocks)
    ours = probability_of_overfitting(returns, blocks)
    # An odd number of trials has one at the median (logit 0): overfitted in the paper and here, not in purgedcv.
    assert ours == pytest.approx(float(np.mean(theirs.logits < 1e-9)))
    if trials % 2 == 0:
        assert ours == pytest.approx(theirs.pbo)


def test_the_error_of_a_sharpe_ratio_is_that_of_a_bootstrap():
    library = pytest.importorskip("arch.bootstrap")
    returns = skewed_days(5, 2000)
    sample = SharpeSample.of(returns)
    resampler = library.IIDBootstrap(returns, seed=0)
    drawn = np.array([values[0].mean() / values[0].std(ddof=1) for values, _ in resampler.bootstrap(4000)])
    assert math.sqrt(sample.error_factor / (sample.periods - 1)) == pytest.approx(drawn.std(), rel=0.05)


@pytest.mark.parametrize("trials", [5, 20, 100, 1000])
def test_the_expected_maximum_is_that_of_the_order_statistic(trials):
    def density(z):
        return z * trials * stats.norm.pdf(z) * stats.norm.cdf(z) ** (trials - 1)

    exact = integrate.quad(density, -10.0, 10.0, limit=200)[0]
    assert expected_maximum_sharpe(0.25, trials) == pytest.approx(0.5 * exact, rel=0.03)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7, 10, 33])
def test_the_interquartile_mean_is_a_trimmed_mean(count):
    # SciPy cuts whole values; of each value four times, it cuts quarters.
    values = np.random.default_rng(count).normal(size=count)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(np.repeat(values, 4), 0.25))
