"""Track records of daily returns against arithmetic by hand and against the definitions."""

import numpy as np
import pytest

from mtquant_jax.statistics.track_record import track_record

BY_HAND = np.array([0.10, -0.05, 0.0, -0.02, 0.04])


def test_every_number_of_five_days_by_hand():
    found = track_record(BY_HAND[:, None], 250.0)
    equity = [1.0, 1.1, 1.045, 1.045, 1.0241, 1.065064]
    assert found.total_return == pytest.approx(0.065064)
    assert found.annual_return is None  # less than a month
    assert found.calmar is None
    assert found.max_drawdown == pytest.approx(1.0 - equity[4] / equity[1])
    assert found.drawdown_days == 4
    assert found.winning_days == pytest.approx(2 / 4)
    assert found.profit_factor == pytest.approx(0.14 / 0.07)
    assert (found.best_day, found.worst_day) == (0.10, -0.05)
    mean, deviation = 0.014, np.std(BY_HAND, ddof=1)
    assert found.sharpe == pytest.approx(mean / deviation * np.sqrt(250))
    assert found.sortino == pytest.approx(mean / np.sqrt((0.05**2 + 0.02**2) / 5) * np.sqrt(250))
    assert found.volatility == pytest.approx(deviation * np.sqrt(250))
    assert found.days == 5


def test_a_year_compounds_and_calmar_divides_by_its_drawdown():
    returns = np.tile([0.02, -0.01], 126)[:, None]
    found = track_record(returns, 252.0)
    assert found.annual_return == pytest.approx(found.total_return)
    assert found.calmar == pytest.approx(found.annual_return / 0.01)
    two_years = track_record(np.tile(returns, (2, 1)), 252.0)
    assert two_years.annual_return == pytest.approx(found.annual_return)


def test_a_flat_account_has_no_ratios_and_no_zeros_in_their_place():
    found = track_record(np.zeros((30, 2)), 250.0)
    for name in ("sharpe", "sortino", "calmar", "profit_factor", "winning_days", "probabilistic_sharpe", "skewness"):
        assert getattr(found, name) is None, name
    assert (found.total_return, found.max_drawdown, found.drawdown_days) == (0.0, 0.0, 0.0)


def test_paths_are_pooled_but_do_not_lengthen_the_record():
    generator = np.random.default_rng(1)
    one = generator.normal(1e-3, 1e-2, size=(250, 1))
    alone, doubled = track_record(one, 250.0), track_record(np.repeat(one, 2, axis=1), 250.0)
    # The same curve twice is no more evidence; ddof counts it as 500 days, hence the tolerance.
    assert doubled.probabilistic_sharpe == pytest.approx(alone.probabilistic_sharpe, rel=1e-3)
    assert doubled.max_drawdown == pytest.approx(alone.max_drawdown)
    assert doubled.minimum_track_record_days == pytest.approx(alone.minimum_track_record_days, rel=1e-2)


def test_a_loss_has_no_record_long_enough():
    found = track_record(np.random.default_rng(2).normal(-2e-3, 1e-2, size=(100, 1)), 250.0)
    assert found.sharpe < 0.0
    assert found.probabilistic_sharpe < 0.5
    assert found.minimum_track_record_days is None
