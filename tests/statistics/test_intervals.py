"""Bootstrap intervals: how often they cover, what is paired in a difference, and records that hardly move."""

import dataclasses
import math
import sys

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.statistics.intervals import CONFIDENCE, Interval, bootstrap, interval
from mtquant_jax.statistics.returns import maximum_drawdown, sharpe_ratio

DAYS = 250
NONE = Interval(None, None, None)


def normal_days(seed, *shape, mean=0.0005, deviation=0.01):
    return np.random.default_rng(seed).normal(mean, deviation, shape)


def test_the_first_row_is_the_sample_itself():
    record = normal_days(0, DAYS, 3)
    drawn = bootstrap({"a": record}, 252.0, draws=5)
    equity = np.cumprod(np.concatenate([np.ones((1, 3)), 1.0 + record]), axis=0)
    assert drawn.sharpe.shape == drawn.annual_return.shape == drawn.max_drawdown.shape == (6, 1)
    assert drawn.sharpe[0, 0] == pytest.approx(sharpe_ratio(record, 252.0))
    assert drawn.annual_return[0, 0] == pytest.approx(252.0 * record.mean())
    assert drawn.max_drawdown[0, 0] == pytest.approx(maximum_drawdown(equity).mean())
    assert drawn.intervals("a").sharpe.value == drawn.sharpe[0, 0]


@pytest.mark.slow
def test_intervals_of_independent_days_cover_at_the_nominal_rate():
    covered, trials = np.zeros(2), 300
    for seed in range(trials):
        found = bootstrap({"a": normal_days(seed, DAYS)}, 252.0, draws=200, seed=seed).intervals("a")
        truths = ((found.annual_return, 0.0005 * 252), (found.sharpe, 0.05 * math.sqrt(252)))
        covered += [figure.low <= truth <= figure.high for figure, truth in truths]
    error = math.sqrt(CONFIDENCE * (1.0 - CONFIDENCE) / trials)
    np.testing.assert_allclose(covered / trials, CONFIDENCE, atol=3 * error)


def test_the_interval_of_a_mean_has_the_width_of_its_standard_error():
    record = normal_days(1, 1000)
    figure = bootstrap({"a": record}, 252.0, draws=2000).intervals("a").annual_return
    expected = 2 * 1.96 * record.std() / math.sqrt(1000) * 252
    assert figure.high - figure.low == pytest.approx(expected, rel=0.1)


def test_days_that_follow_one_another_widen_the_interval():
    shocks, record = normal_days(2, 3000, mean=0.0), np.zeros(3000)
    for t in range(1, len(record)):
        record[t] = 0.5 * record[t - 1] + shocks[t]
    shuffled = np.random.default_rng(3).permutation(record)
    chained, free = (bootstrap({"a": days}, 252.0, draws=500) for days in (record, shuffled))
    assert chained.block_length > 3 * free.block_length
    widths = [b.intervals("a").annual_return.high - b.intervals("a").annual_return.low for b in (chained, free)]
    # The variance of a mean grows by (1 + rho) / (1 - rho) = 3; blocks that end give a little of it away.
    assert 1.4 < widths[0] / widths[1] < 1.9


def test_a_record_minus_itself_is_exactly_nothing():
    record = normal_days(4, DAYS, 2)
    difference = bootstrap({"a": record, "b": record}, 252.0, draws=100).difference("a", "b")
    assert dataclasses.astuple(difference) == ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


def test_a_constant_offset_is_found_on_every_draw_although_each_record_hides_it():
    record = normal_days(5, DAYS, deviation=0.02)
    drawn = bootstrap({"ahead": record + 1e-4, "behind": record}, 252.0, draws=200)
    found, reverse = drawn.difference("ahead", "behind"), drawn.difference("behind", "ahead")
    assert dataclasses.astuple(found.annual_return) == pytest.approx((0.0252,) * 3)
    assert dataclasses.astuple(reverse.annual_return) == pytest.approx((-0.0252,) * 3)
    assert found.sharpe.low > 0.0 > reverse.sharpe.high
    assert drawn.intervals("ahead").annual_return.low < drawn.intervals("behind").annual_return.value


def test_a_flat_record_has_no_sharpe_ratio_and_counts_as_zero_in_a_difference():
    drawn = bootstrap({"moving": normal_days(6, DAYS), "flat": np.zeros(DAYS)}, 252.0, draws=200)
    flat = drawn.intervals("flat")
    assert flat.sharpe == NONE
    assert flat.annual_return == flat.max_drawdown == Interval(0.0, 0.0, 0.0)
    assert drawn.difference("moving", "flat").sharpe == drawn.intervals("moving").sharpe


def test_flat_records_alone_can_be_resampled():
    drawn = bootstrap({"a": np.zeros((64, 2)), "b": np.zeros((64, 2))}, 252.0, draws=10)
    assert drawn.block_length == pytest.approx(4.0)
    assert drawn.intervals("a").sharpe == NONE
    assert drawn.difference("a", "b").sharpe == Interval(0.0, 0.0, 0.0)


def test_one_lucky_day_is_not_significant():
    # Every draw that holds the day at all has a Sharpe ratio above zero.
    record = np.zeros(DAYS)
    record[100] = 0.01
    sharpe = bootstrap({"a": record}, 252.0, draws=500).intervals("a").sharpe
    assert sharpe.value > 0.0 and sharpe.low == 0.0


def test_draws_without_a_figure_count_as_zero():
    assert interval(np.array([1.0, np.nan, np.nan, np.nan])) == Interval(1.0, 0.0, 0.0)
    assert interval(np.array([np.nan, 1.0, 2.0])) == NONE


def test_paths_share_their_days_and_pool_them():
    record = normal_days(7, DAYS)
    single = bootstrap({"a": record}, 252.0, draws=50)
    column = bootstrap({"a": record[:, None]}, 252.0, draws=50)
    copies = bootstrap({"a": np.repeat(record[:, None], 4, axis=1)}, 252.0, draws=50)
    np.testing.assert_array_equal(column.sharpe, single.sharpe)
    for figure in ("annual_return", "max_drawdown"):
        np.testing.assert_allclose(getattr(copies, figure), getattr(single, figure))
    # Four times the same days say no more than once; only the n - 1 of the deviation differs.
    np.testing.assert_allclose(copies.sharpe, single.sharpe, rtol=0.01)


def test_independent_paths_narrow_the_interval():
    one, many = normal_days(8, 500, 1, mean=0.0), normal_days(9, 500, 16, mean=0.0)
    widths = []
    for record in (one, many):
        figure = bootstrap({"a": record}, 252.0, draws=500).intervals("a").annual_return
        widths.append(figure.high - figure.low)
    assert widths[0] / widths[1] == pytest.approx(4.0, rel=0.25)


def test_the_same_seed_gives_the_same_draws():
    records = {"a": normal_days(10, 100), "b": normal_days(11, 100)}
    first, again, other = (bootstrap(records, 252.0, draws=20, seed=seed) for seed in (3, 3, 4))
    for figure in ("sharpe", "annual_return", "max_drawdown"):
        np.testing.assert_array_equal(getattr(first, figure), getattr(again, figure))
    assert (first.sharpe[0] == other.sharpe[0]).all() and (first.sharpe[1:] != other.sharpe[1:]).all()


def test_an_account_that_owes_money_no_longer_trades_in_a_draw():
    record = np.full(60, 0.1)
    record[20], record[21:] = -1.2, 0.0
    drawdown = bootstrap({"a": record}, 252.0, draws=200).max_drawdown[:, 0]
    assert drawdown[0] == pytest.approx(1.2)
    np.testing.assert_allclose(drawdown, np.where(drawdown > 0.5, 1.2, 0.0), atol=1e-12)


def test_a_record_that_falls_still_has_a_block_length():
    record = np.zeros(40)
    record[:2] = 0.5, -0.5
    assert 1.0 <= bootstrap({"a": record}, 252.0, draws=5).block_length <= 10.0


def test_a_few_days_are_enough_to_resample():
    drawn = bootstrap({"a": np.array([0.01, -0.02, 0.03])}, 252.0, draws=20)
    assert drawn.block_length == pytest.approx(3 ** (1 / 3))
    assert np.isfinite(drawn.annual_return).all()


@pytest.mark.parametrize(
    "records",
    [
        {},
        {"a": np.zeros(2)},
        {"a": np.zeros(0)},
        {"a": np.zeros((5, 0))},
        {"a": np.zeros((5, 2, 2))},
        {"a": np.array(0.1)},
        {"a": np.zeros(5), "b": np.zeros(6)},
        {"a": np.zeros((5, 2)), "b": np.zeros((5, 3))},
    ],
)
def test_records_of_other_shapes_are_refused(records):
    with pytest.raises(ValueError, match="of equal shape, over at least 3 days"):
        bootstrap(records, 252.0)


def test_returns_that_are_not_finite_are_refused_by_name():
    with pytest.raises(ValueError, match="not finite in broken"):
        bootstrap({"whole": np.zeros(4), "broken": np.array([0.1, np.nan, 0.2, 0.1])}, 252.0)


def test_at_least_one_draw():
    with pytest.raises(ValueError, match="at least 1"):
        bootstrap({"a": np.zeros(5)}, 252.0, draws=0)


def test_without_arch_the_error_names_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "arch", None)
    with pytest.raises(UserError, match="pip install arch plotly"):
        bootstrap({"a": np.zeros(5)}, 252.0)
