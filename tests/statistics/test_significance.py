"""Significance of Sharpe ratios, against the worked examples of the papers and against plain counting."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from mtquant_jax.statistics.significance import (
    SharpeSample,
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    interquartile_mean,
    minimum_track_record,
    probabilistic_sharpe_ratio,
    probability_of_overfitting,
)

# Bailey and Lopez de Prado 2012: a fund with two years of monthly returns.
FUND = SharpeSample(sharpe=0.458, periods=24, skewness=-2.448, kurtosis=10.164)
# Bailey and Lopez de Prado 2014: five years of daily returns, 2.5 a year, the best of 100 trials.
BEST = SharpeSample(sharpe=2.5 / math.sqrt(250), periods=1250, skewness=-3.0, kurtosis=10.0)


def test_the_moments_are_those_of_scipy():
    returns = np.random.default_rng(0).standard_t(5, size=400) * 0.01 + 0.001
    sample = SharpeSample.of(returns)
    assert sample.periods == 400
    assert sample.sharpe == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert sample.skewness == pytest.approx(stats.skew(returns))
    assert sample.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False))


@pytest.mark.parametrize("returns", [np.ones(10), np.array([0.1, 0.2]), np.array([0.1, np.nan, 0.2]), np.ones((4, 2))])
def test_returns_without_a_sharpe_ratio_are_refused(returns):
    with pytest.raises(ValueError, match="Sharpe ratio"):
        SharpeSample.of(returns)


def test_probabilistic_sharpe_ratio_of_the_papers_fund():
    assert probabilistic_sharpe_ratio(FUND) == pytest.approx(0.913, abs=5e-4)
    normal = SharpeSample(FUND.sharpe, FUND.periods)
    assert probabilistic_sharpe_ratio(normal) == pytest.approx(0.982, abs=5e-4)
    three_years = SharpeSample(FUND.sharpe, 36, FUND.skewness, FUND.kurtosis)
    assert probabilistic_sharpe_ratio(three_years) == pytest.approx(0.953, abs=1e-3)


def test_probabilistic_sharpe_ratio_tells_how_often_noise_is_believed():
    # Of records without skill, one in twenty is believed at 95 %.
    returns = np.random.default_rng(1).normal(size=(2000, 250))
    believed = np.mean([probabilistic_sharpe_ratio(SharpeSample.of(row)) > 0.95 for row in returns])
    assert believed == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / 2000))


def test_minimum_track_record_is_where_the_probability_reaches_the_confidence():
    periods = minimum_track_record(FUND, benchmark=0.1, confidence=0.9)
    reached = SharpeSample(FUND.sharpe, math.ceil(periods), FUND.skewness, FUND.kurtosis)
    before = SharpeSample(FUND.sharpe, math.floor(periods), FUND.skewness, FUND.kurtosis)
    assert probabilistic_sharpe_ratio(before, 0.1) < 0.9 <= probabilistic_sharpe_ratio(reached, 0.1)
    assert minimum_track_record(FUND, benchmark=0.458) == math.inf
    with pytest.raises(ValueError, match="is not between"):
        minimum_track_record(FUND, confidence=95)


def test_deflated_sharpe_ratio_of_the_paper():
    variance = 0.5 / 250  # half, in annual Sharpe ratios
    assert expected_maximum_sharpe(variance, 100) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe_ratio(BEST, variance, 100) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe_ratio(BEST, variance, 46) == pytest.approx(0.9505, abs=5e-5)


def test_one_trial_is_not_deflated():
    assert deflated_sharpe_ratio(FUND, 0.3, 1) == probabilistic_sharpe_ratio(FUND)
    for variance, trials in ((0.1, 0), (-0.1, 5)):
        with pytest.raises(ValueError, match="at least 1 trial"):
            expected_maximum_sharpe(variance, trials)


def test_the_expected_maximum_is_that_of_normal_draws():
    best = np.random.default_rng(2).normal(scale=0.2, size=(20_000, 30)).max(axis=1)
    assert expected_maximum_sharpe(0.04, 30) == pytest.approx(best.mean(), rel=0.02)


def counted(returns, blocks):
    """Probability of overfitting by plain counting."""
    parts = np.array_split(returns[len(returns) % blocks :], blocks)
    below = []
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[i] for i in chosen])
        outside = np.concatenate([parts[i] for i in range(blocks) if i not in chosen])
        best = np.argmax(inside.mean(0) / inside.std(0))
        ranks = stats.rankdata(outside.mean(0) / outside.std(0))
        omega = ranks[best] / (returns.shape[1] + 1)
        below.append(math.log(omega / (1 - omega)) <= 0.0)
    return float(np.mean(below))


@pytest.mark.parametrize(("seed", "edge"), [(0, 0.0), (1, 0.05), (2, 0.2)])
def test_probability_of_overfitting_is_that_of_plain_counting(seed, edge):
    returns = np.random.default_rng(seed).normal(size=(203, 7))
    returns[:, 3] += edge
    assert probability_of_overfitting(returns, blocks=8) == pytest.approx(counted(returns, 8))


def test_a_choice_among_noise_is_overfitted_and_one_with_an_edge_is_not():
    generator = np.random.default_rng(4)
    noise = [probability_of_overfitting(generator.normal(size=(320, 20)), blocks=10) for _ in range(30)]
    assert 0.35 < np.mean(noise) < 0.75
    skilled = generator.normal(size=(320, 20))
    skilled[:, 5] += 0.5
    assert probability_of_overfitting(skilled, blocks=10) < 0.01


@pytest.mark.parametrize(("shape", "blocks"), [((100, 1), 4), ((100, 3), 5), ((7, 3), 4), ((100, 3), 0)])
def test_what_cannot_be_cross_validated_is_refused(shape, blocks):
    with pytest.raises(ValueError, match="at least 2"):
        probability_of_overfitting(np.zeros(shape), blocks)


def test_interquartile_mean():
    assert interquartile_mean([1.0, 2.0, 3.0, 100.0]) == pytest.approx(2.5)
    assert interquartile_mean([7.0]) == 7.0
    values = np.random.default_rng(5).normal(size=40)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))
    assert interquartile_mean(range(5)) == pytest.approx((0.75 * 1 + 2 + 0.75 * 3) / 2.5)
    assert interquartile_mean([-math.inf, 1.0, 2.0, 3.0]) == 1.5
    assert interquartile_mean([-math.inf, 1.0]) == -math.inf
    assert math.isnan(interquartile_mean([0.0, 1.0, 2.0, 3.0, math.nan]))
    with pytest.raises(ValueError, match="no values"):
        interquartile_mean([])
