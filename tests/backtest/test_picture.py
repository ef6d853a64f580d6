"""Pictures of made-up records by hand."""

import numpy as np
import pytest

from mtquant_jax.backtest.picture import picture
from tests.statistics.records import record, tally

# Three bars of day 0 (the first holds the start of the account), two of day 1, none of day 2, one of day 3.
DAY = np.array([17000, 17000, 17000, 17001, 17001, 17003])


def test_equity_is_shown_at_the_end_of_each_day():
    equity = np.array([[1.0, 1.0], [1.5, 1.0], [1.1, 0.9], [0.4, 0.8], [0.99, 0.7], [2.0, 0.6]])
    found = picture(record(equity), DAY, ["EURUSD"], [])
    assert found.day.tolist() == [17000, 17001, 17003]
    assert found.equity.tolist() == [[1.1, 0.9], [0.99, 0.7], [2.0, 0.6]]
    assert not found.capital and found.risk_appetite is None


def test_decisions_are_counted_over_the_bars_of_all_paths_and_padding_is_left_out():
    wanted = np.array([[-1.0, -0.95], [0.0, 0.05], [0.99, 1.0], [0.31, 0.31], [0.31, 0.31]])  # [L, P]
    values = np.stack([np.ones_like(wanted), wanted], axis=-1)
    made = record(np.ones((6, 2)), real=np.array([False, True]), wanted=tally(values))
    found = picture(made, DAY, ["EURUSD"], []).weights
    assert list(found) == ["EURUSD"]
    counts = dict(enumerate(found["EURUSD"].counts.tolist()))
    assert {part: count for part, count in counts.items() if count} == {0: 2, 10: 2, 13: 4, 19: 2}
    np.testing.assert_allclose(found["EURUSD"].edges[[0, 10, 13, 20]], [-1.0, 0.0, 0.3, 1.0], atol=1e-12)
    spread = found["EURUSD"].mean, found["EURUSD"].standard_deviation
    assert spread == pytest.approx((wanted.mean(), wanted.std()))


def test_an_allocation_is_counted_by_class_cash_and_risk_appetite():
    decided = np.array([[[0.22, 0.06, 0.72, 0.52]]] * 3 + [[[0.0, 0.0, 1.0, 0.99]]] * 2)  # [L, P, S + 2]
    found = picture(
        record(np.ones((6, 1)), allocation=tally(decided, 0.0)), DAY, ["EURUSD"], ["forex", "equity", "cash"]
    )
    assert list(found.capital) == ["forex", "equity", "cash"]
    counts = {place: np.flatnonzero(spread.counts).tolist() for place, spread in found.capital.items()}
    assert counts == {"forex": [0, 4], "equity": [0, 1], "cash": [14, 19]}
    assert found.capital["cash"].counts[[14, 19]].tolist() == [3.0, 2.0]
    assert found.risk_appetite.counts[[10, 19]].tolist() == [3.0, 2.0]
    assert found.risk_appetite.edges[10] == 0.5
