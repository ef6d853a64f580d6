"""Figures of daily returns against arithmetic by hand and against the definitions."""

import numpy as np
import pytest

from mtquant_jax.statistics.track_record import track_record

BY_HAND = np.array([0.10, -0.05, 0.0, -0.02, 0.04])


def test_every_figure_of_five_days_by_hand():
    told = track_record(BY_HAND[:, None], 250.0)
    equity = [1.0, 1.1, 1.045, 1.045, 1.0241, 1.065064]
    assert told["total_return"] == pytest.approx(0.065064)
    assert told["annual_return"] is None  # less than a month
    assert told["calmar"] is None
    assert told["max_drawdown"] == pytest.approx(1.0 - equity[4] / equity[1])
    assert told["drawdown_days"] == 4
    assert told["winning_days"] == pytest.approx(2 / 4)
    assert told["profit_factor"] == pytest.approx(0.14 / 0.07)
    assert (told["best_day"], told["worst_day"]) == (0.10, -0.05)
    mean, deviation = 0.014, np.std(BY_HAND, ddof=1)
    assert told["sharpe"] == pytest.approx(mean / deviation * np.sqrt(250))
    assert told["sortino"] == pytest.approx(mean / np.sqrt((0.05**2 + 0.02**2) / 5) * np.sqrt(250))
    assert told["volatility"] == pytest.approx(deviation * np.sqrt(250))
    assert told["days"] == 5


def test_a_year_compounds_and_calmar_divides_by_its_drawdown():
    returns = np.tile([0.02, -0.01], 126)[:, None]
    told = track_record(returns, 252.0)
    assert told["annual_return"] == pytest.approx(told["total_return"])
    assert told["calmar"] == pytest.approx(told["annual_return"] / 0.01)
    two_years = track_record(np.tile(returns, (2, 1)), 252.0)
    assert two_years["annual_return"] == pytest.approx(told["annual_return"])


def test_a_flat_account_has_no_ratios_and_no_zeros_in_their_place():
    told = track_record(np.zeros((30, 2)), 250.0)
    for name in ("sharpe", "sortino", "calmar", "profit_factor", "winning_days", "probabilistic_sharpe", "skewness"):
        assert told[name] is None, name
    assert (told["total_return"], told["max_drawdown"], told["drawdown_days"]) == (0.0, 0.0, 0.0)


def test_paths_are_pooled_but_do_not_lengthen_the_record():
    generator = np.random.default_rng(1)
    one = generator.normal(1e-3, 1e-2, size=(250, 1))
    alone, doubled = track_record(one, 250.0), track_record(np.repeat(one, 2, axis=1), 250.0)
    # The same curve twice is no more evidence; ddof counts it as 500 days, hence the tolerance.
    assert doubled["probabilistic_sharpe"] == pytest.approx(alone["probabilistic_sharpe"], rel=1e-3)
    assert doubled["max_drawdown"] == pytest.approx(alone["max_drawdown"])
    assert doubled["minimum_track_record_days"] == pytest.approx(alone["minimum_track_record_days"], rel=1e-2)


def test_a_loss_has_no_record_long_enough():
    told = track_record(np.random.default_rng(2).normal(-2e-3, 1e-2, size=(100, 1)), 250.0)
    assert told["sharpe"] < 0.0
    assert told["probabilistic_sharpe"] < 0.5
    assert told["minimum_track_record_days"] is None
