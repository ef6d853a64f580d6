"""Backtests of value at risk: published tables and examples, hand-worked ratios, and how often they reject."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import stats

from mtquant_jax.statistics.value_at_risk import backtest_exceedances


def periods(count, *exceedances):
    """``[count]`` with exceedances at the places given."""
    exceeded = np.zeros(count, bool)
    exceeded[list(exceedances)] = True
    return exceeded


def spread_out(count, exceedances):
    return periods(count, *np.linspace(0, count - 1, exceedances, dtype=int))


# Kupiec 1995, as printed by Jorion, Value at Risk, chapter 6: the exceedances between which a forecast is not rejected
# at 5 %, both ends excluded. The first is printed as N < 7, but none at all has a ratio of 5.13, beyond 3.84, too.
@pytest.mark.parametrize(
    ("confidence", "count", "below", "above"),
    [
        (0.99, 255, 0, 7),
        (0.99, 510, 1, 11),
        (0.99, 1000, 4, 17),
        (0.975, 255, 2, 12),
        (0.975, 510, 6, 21),
        (0.975, 1000, 15, 36),
        (0.95, 255, 6, 21),
        (0.95, 510, 16, 36),
        (0.95, 1000, 37, 65),
        (0.925, 255, 11, 28),
        (0.925, 510, 27, 51),
        (0.925, 1000, 59, 92),
        (0.90, 255, 16, 36),
        (0.90, 510, 38, 65),
        (0.90, 1000, 81, 120),
    ],
)
def test_kupiecs_regions_of_no_rejection(confidence, count, below, above):
    def rejected(exceedances):
        return backtest_exceedances(spread_out(count, exceedances), confidence).kupiec.p_value < 0.05

    assert rejected(below) and not rejected(below + 1)
    assert not rejected(above - 1) and rejected(above)


def test_the_clustered_exceedances_of_jorion():
    # Jorion, Value at Risk, chapter 6: J.P. Morgan 1998, 20 exceedances of 95 % in 252 days, 6 of them after another.
    singles = range(25, 25 + 13 * 15, 15)
    found = backtest_exceedances(periods(252, *singles, *range(231, 238)), 0.95)
    assert (found.exceedances, found.periods) == (20, 252)
    assert found.share == pytest.approx(20 / 252)
    assert found.expected == pytest.approx(0.05)
    assert found.kupiec.statistic == pytest.approx(3.91, abs=0.005)
    # His table has 252 transitions (218, 14, 14, 6), hence one day more.
    found = backtest_exceedances(periods(253, *singles, *range(231, 238)), 0.95)
    assert found.independence.statistic == pytest.approx(9.53, abs=0.005)
    assert found.conditional_coverage.statistic == found.kupiec.statistic + found.independence.statistic


def test_the_question_of_jorion():
    # The same book, chapter 6, question 10: 6 exceedances of 99 % in 252 days, 4 of them after another.
    assert backtest_exceedances(periods(252, 5, 6, 7, 90, 91, 92), 0.99).kupiec.statistic == pytest.approx(
        3.498, abs=0.001
    )
    found = backtest_exceedances(periods(253, 5, 6, 7, 90, 91, 92), 0.99)
    assert found.independence.statistic == pytest.approx(25.837, abs=0.001)


def test_ratios_worked_by_hand():
    # 2 of 5 at 80 %: 0 1 1 0 0 has transitions 0->0, 0->1, 1->0, 1->1 once each, so that memory explains nothing.
    found = backtest_exceedances(np.array([0, 1, 1, 0, 0], bool), 0.8)
    share = 2 * (2 * math.log(0.4 / 0.2) + 3 * math.log(0.6 / 0.8))
    assert found.kupiec.statistic == pytest.approx(share)
    assert found.kupiec.p_value == pytest.approx(math.erfc(math.sqrt(share / 2)))
    assert found.independence.statistic == pytest.approx(0.0, abs=1e-12)
    assert found.conditional_coverage.p_value == pytest.approx(math.exp(-share / 2))
    # 0 0 1 1 1: from 0 half stay, from 1 all stay; 3 of 4 transitions end in 1.
    found = backtest_exceedances(np.array([0, 0, 1, 1, 1], bool), 0.8)
    memory = 2 * (2 * math.log(0.5) - 3 * math.log(0.75) - math.log(0.25))
    assert found.independence.statistic == pytest.approx(memory)
    assert found.independence.p_value == pytest.approx(stats.chi2.sf(memory, 1))
    both = found.conditional_coverage
    assert both.p_value == pytest.approx(stats.chi2.sf(both.statistic, 2))


def test_none_and_nothing_but_exceedances_have_ratios():
    none, all_ = (backtest_exceedances(np.full(100, value), 0.95) for value in (False, True))
    assert none.kupiec.statistic == pytest.approx(-200 * math.log(0.95))
    assert all_.kupiec.statistic == pytest.approx(-200 * math.log(0.05))
    for found in (none, all_):
        assert dataclasses.astuple(found.independence) == (0.0, 1.0)
        assert found.conditional_coverage.statistic == found.kupiec.statistic
        json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_exceedances_that_never_meet_have_a_ratio():
    found = backtest_exceedances(periods(100, 10, 40, 70), 0.95)
    # From 0, 3 of 96; from 1, none of 3; of all, 3 of 99.
    expected = 3 * math.log(3 / 96) + 93 * math.log(93 / 96) - 3 * math.log(3 / 99) - 96 * math.log(96 / 99)
    assert found.independence.statistic == pytest.approx(2 * expected)
    assert found.independence.p_value > 0.5


@pytest.mark.parametrize("shape", [(0,), (1,), (0, 3), (1, 3)])
def test_without_transitions_independence_is_not_doubted(shape):
    found = backtest_exceedances(np.zeros(shape, bool), 0.95)
    assert found.periods == math.prod(shape)
    assert dataclasses.astuple(found.independence) == (0.0, 1.0)
    assert (found.share is None) == (found.periods == 0)
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_transitions_never_cross_from_one_path_to_the_next():
    ends, starts = periods(50, 48, 49), periods(50, 0, 1)
    apart = backtest_exceedances(np.stack([ends, starts], axis=1), 0.95)
    joined = backtest_exceedances(np.concatenate([ends, starts]), 0.95)
    assert (apart.exceedances, apart.periods, apart.kupiec) == (joined.exceedances, joined.periods, joined.kupiec)
    assert apart.independence.statistic == pytest.approx(_memory(zero=(94, 1), one=(1, 2)))
    assert joined.independence.statistic == pytest.approx(_memory(zero=(94, 1), one=(1, 3)))


def _memory(zero, one):
    """The statistic of transitions (to none, to an exceedance) after none and after one."""

    def fit(counts):
        return sum(n * math.log(n / sum(counts)) for n in counts if n)

    return 2 * (fit(zero) + fit(one) - fit((zero[0] + one[0], zero[1] + one[1])))


def test_periods_without_risk_are_left_out_and_break_the_chain():
    exceeded = np.array([0, 1, 1, 0, 1, 1, 0, 0, 0], bool)
    counted = np.array([1, 1, 1, 1, 0, 1, 1, 1, 1], bool)
    found = backtest_exceedances(exceeded, 0.9, counted)
    assert (found.exceedances, found.periods) == (3, 8)
    # 0->1 1->1 1->0, then the period left out, then 1->0 0->0 0->0.
    assert found.independence.statistic == pytest.approx(_memory(zero=(2, 1), one=(2, 1)), abs=1e-12)
    everything = backtest_exceedances(exceeded, 0.9)
    assert everything == backtest_exceedances(exceeded, 0.9, np.ones(9, bool))
    assert backtest_exceedances(exceeded, 0.9, np.zeros(9, bool)).share is None


def test_a_right_forecast_is_rejected_about_one_time_in_twenty():
    # Counts are whole, so that the chance of a rejection is 5 % only about; longer records come closer.
    generator = np.random.default_rng(0)
    found = [backtest_exceedances(generator.random((4000, 1)) < 0.05, 0.95) for _ in range(2000)]
    for test in ("kupiec", "independence", "conditional_coverage"):
        rejected = np.mean([getattr(one, test).p_value < 0.05 for one in found])
        assert rejected == pytest.approx(0.05, abs=0.02), test


def test_kupiecs_test_rejects_what_its_region_says():
    # Exactly: the chance of 37 or fewer, or of 65 or more, of 1000.
    generator = np.random.default_rng(1)
    rejected = [backtest_exceedances(generator.random(1000) < 0.05, 0.95).kupiec.p_value < 0.05 for _ in range(3000)]
    exact = stats.binom.cdf(37, 1000, 0.05) + stats.binom.sf(64, 1000, 0.05)
    assert np.mean(rejected) == pytest.approx(exact, abs=3 * math.sqrt(exact / 3000))


def test_clusters_are_rejected_by_independence_and_not_by_the_share():
    # After an exceedance another one in three; 5 % in the long run.
    generator = np.random.default_rng(2)
    after, trials = 0.35, 300
    first = 0.05 * (1.0 - after) / 0.95
    draws = generator.random((1000, trials))
    exceeded = np.zeros((1000, trials), bool)
    exceeded[0] = draws[0] < 0.05
    for t in range(1, 1000):
        exceeded[t] = draws[t] < np.where(exceeded[t - 1], after, first)
    assert exceeded.mean() == pytest.approx(0.05, abs=0.002)
    found = [backtest_exceedances(path, 0.95) for path in exceeded.T]
    assert np.mean([one.independence.p_value < 0.05 for one in found]) > 0.95
    assert np.mean([one.conditional_coverage.p_value < 0.05 for one in found]) > 0.95
    assert np.mean([one.kupiec.p_value < 0.05 for one in found]) < 0.3
    # Paths together say it louder.
    assert backtest_exceedances(exceeded, 0.95).independence.p_value < 1e-100


def test_a_forecast_half_as_large_as_the_risk_is_rejected_by_its_share():
    losses = np.random.default_rng(3).normal(size=1000)
    half, right = (backtest_exceedances(losses > z, 0.95) for z in (0.8224, 1.6449))
    assert half.kupiec.p_value < 1e-10 and right.kupiec.p_value > 0.05


@pytest.mark.parametrize(
    ("exceeded", "counted", "words"),
    [
        (np.zeros(10), None, r"booleans \[T\] or \[T, P\]; got float64"),
        (np.zeros((4, 2, 2), bool), None, "booleans"),
        (np.array(True), None, "booleans"),
        (np.zeros(10, bool), np.ones(10), "booleans"),
        (np.zeros((10, 2), bool), np.ones(10, bool), "differ in shape"),
    ],
)
def test_other_arrays_are_refused(exceeded, counted, words):
    with pytest.raises(ValueError, match=words):
        backtest_exceedances(exceeded, 0.95, counted)


@pytest.mark.parametrize("confidence", [0.05, 0.5, 1.0, 95.0])
def test_other_confidences_are_refused(confidence):
    with pytest.raises(ValueError, match="not between"):
        backtest_exceedances(np.zeros(10, bool), confidence)
