"""Statistics of equity curves by hand."""

import numpy as np
import pytest

from mtquant_jax.statistics.returns import (
    daily_returns,
    maximum_drawdown,
    rolling_sharpe_ratio,
    sharpe_ratio,
    sharpe_standard_error,
    trading_days_per_year,
)

# Three bars of day 0 (the first holds the start of the account), two of day 1, none of day 2, two of day 3.
DAY = np.array([0, 0, 0, 1, 1, 3, 3])
EQUITY = np.array([1.0, 1.5, 1.1, 0.4, 0.99, 2.0, 1.188])[:, None]


def test_daily_returns_go_from_the_last_bar_of_a_day_to_the_last_of_the_next():
    # 1.0 -> 1.1, 1.1 -> 0.99, 0.99 -> 1.188; what happens inside a day does not show.
    np.testing.assert_allclose(daily_returns(EQUITY, DAY)[:, 0], [0.1, -0.1, 0.2], rtol=1e-9)


def test_a_first_bar_that_ends_its_day_is_no_day_of_trading():
    np.testing.assert_allclose(daily_returns(EQUITY[2:], DAY[2:])[:, 0], [-0.1, 0.2], rtol=1e-9)


def test_bars_of_one_day_are_one_return():
    np.testing.assert_allclose(daily_returns(EQUITY[:3], DAY[:3])[:, 0], [0.1], rtol=1e-9)


def test_equity_that_is_held_below_zero_returns_nothing():
    # A gap took more than everything; the account then stands still.
    equity = np.array([1.0, 1.0, -0.05, -0.05, -0.05])[:, None]
    np.testing.assert_allclose(daily_returns(equity, np.arange(5))[:, 0], [0.0, -1.05, 0.0, 0.0], atol=1e-6)


def test_sharpe_is_mean_over_sample_deviation_times_the_root_of_the_days():
    # Mean 0.2 / 3; squared deviations 0.1^2 + 0.1^2 + 0.2^2 less 3 x (0.2 / 3)^2 = 0.0466667, over 2: 0.1527525^2.
    expected = 0.0666667 / 0.1527525 * np.sqrt(252)
    assert sharpe_ratio(np.array([0.1, -0.1, 0.2]), 252.0) == pytest.approx(expected, rel=1e-5)


def test_sharpe_standard_error_is_that_of_lo():
    sharpe = 0.0666667 / 0.1527525
    # sqrt((1 + SR^2 / 2) / 3) per day, times sqrt(252).
    expected = np.sqrt((1 + sharpe**2 / 2) / 3 * 252)
    assert sharpe_standard_error(np.array([0.1, -0.1, 0.2]), 252.0) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("returns", [np.zeros((30, 4)), np.full(10, 1e-12), np.array([0.1]), np.array([])])
def test_without_risk_there_is_no_sharpe(returns):
    assert sharpe_ratio(returns, 252.0) is None
    assert sharpe_standard_error(returns, 252.0) is None


def test_one_step_of_float32_rounding_is_no_risk():
    # 1 - 6e-8 is the float32 next to 1: a curve that moved by it once in 100 days has earned and lost nothing.
    equity = np.ones((101, 1), np.float32)
    equity[50:] = np.nextafter(np.float32(1.0), np.float32(0.0))
    assert sharpe_ratio(daily_returns(equity, np.arange(101)), 252.0) is None


def test_paths_are_pooled():
    two = np.array([[0.1, -0.1], [0.2, 0.0]])
    expected = np.mean(two) / np.std(two.ravel(), ddof=1) * np.sqrt(252)
    assert sharpe_ratio(two, 252.0) == pytest.approx(expected, rel=1e-9)


def test_the_rolling_sharpe_ratio_is_that_of_each_window():
    returns = np.random.default_rng(3).normal(1e-4, 1e-3, (40, 2))
    returns[10:20] = 0.0
    rolled = rolling_sharpe_ratio(returns, 7, 252.0)
    for end in range(1, 41):
        expected = sharpe_ratio(returns[end - 7 : end], 252.0) if end >= 7 else None
        assert rolled[end - 1] == pytest.approx(np.nan if expected is None else expected, rel=1e-9, nan_ok=True)
    assert np.isnan(rolled[16:20]).all() and np.isfinite(rolled[20:]).all()


def test_days_with_bars_are_counted_per_calendar_year():
    # Monday to Friday for four weeks: 20 days, from day 0 to day 25 inclusive 26 calendar days.
    day = np.repeat([week * 7 + weekday for week in range(4) for weekday in range(5)], 24)
    assert trading_days_per_year(day) == pytest.approx(20 / 26 * 365.25, rel=1e-9)
    # A whole year of them is about 261.
    day = np.array([d for d in range(364) if d % 7 < 5])
    assert trading_days_per_year(day) == pytest.approx(261, abs=2)
    assert trading_days_per_year(np.array([3, 3, 4])) == 252.0


def test_drawdown_is_the_largest_fall_from_a_peak():
    equity = np.array([[1.0, 1.0], [1.2, 0.9], [0.9, 0.8], [1.5, 1.0], [1.2, 1.1]])
    # 1.2 -> 0.9 is 25 % (1.5 -> 1.2 only 20 %); 1.0 -> 0.8 is 20 %.
    np.testing.assert_allclose(maximum_drawdown(equity), [0.25, 0.2], rtol=1e-9)
    np.testing.assert_array_equal(maximum_drawdown(np.linspace(1, 2, 5)[:, None]), [0.0])
