"""Performance of made-up records by hand, and the form that it has in result files."""

import json

import numpy as np
import pytest

from mtquant_jax.backtest.performance import Performance, performance, score
from mtquant_jax.errors import UserError
from mtquant_jax.storage.files import json_text
from tests.backtest.performances import HEALTHY, a_performance
from tests.statistics.records import record, tally

# Three bars of day 0 (the first holds the start of the account), two of day 1, none of day 2, two of day 3.
DAY = np.array([0, 0, 0, 1, 1, 3, 3])
EQUITY = np.array([1.0, 1.5, 1.1, 0.4, 0.99, 2.0, 1.188])[:, None]


def test_performance_of_two_paths():
    equity = np.concatenate([EQUITY, np.ones_like(EQUITY)], axis=1)
    steps = np.ones((6, 2))
    found = performance(
        record(
            equity,
            exposure=np.array([[1.0, 0.0]] * 3 + [[0.0, 0.0]] * 3),
            turnover=0.5 * steps,
            costs=np.array([[0.001, 0.003]] * 6),
            swap=np.array([[0.0005, -0.0015]] * 6),
            terminated=np.array([False, True]),
        ),
        DAY,
    )
    # Daily returns 0.1, -0.1, 0.2 and three zeros over 4 calendar days: 252 days a year.
    pooled = np.array([0.1, -0.1, 0.2, 0.0, 0.0, 0.0])
    assert found.sharpe == pytest.approx(pooled.mean() / pooled.std(ddof=1) * np.sqrt(252), rel=1e-6)
    assert found.total_return == pytest.approx(0.188 / 2, rel=1e-6)
    # Within bars: 1.5 -> 0.4, and nothing.
    assert found.worst_drawdown == pytest.approx(1 - 0.4 / 1.5, rel=1e-6)
    assert found.max_drawdown == pytest.approx((1 - 0.4 / 1.5) / 2, rel=1e-6)
    assert found.turnover_per_day == pytest.approx(6 * 0.5 / 3, rel=1e-6)
    assert found.mean_exposure == pytest.approx(0.25, rel=1e-6)
    assert found.time_in_market == pytest.approx(0.25, rel=1e-6)
    assert found.cost_share == pytest.approx(6 * 0.002, rel=1e-6)
    assert found.swap_share == pytest.approx(-6 * 0.0005, rel=1e-6)
    assert found.gross_return == pytest.approx(0.188 / 2 + 6 * 0.002 + 6 * 0.0005, rel=1e-6)
    assert (found.days, found.paths, found.terminated) == (3, 2, 1)


def test_a_flat_curve_has_no_sharpe_and_zeros_elsewhere():
    found = performance(record(np.ones((7, 3))), DAY)
    assert found.sharpe is None
    assert found.sharpe_standard_error is None
    for name in ("total_return", "max_drawdown", "worst_drawdown", "turnover_per_day", "mean_exposure", "cost_share"):
        assert getattr(found, name) == 0.0
    assert found.pinned is None  # there is no bar in the market to be pinned on
    assert found.action_standard_deviation == 0.0


def test_weights_at_their_bounds_are_shares_of_the_bars_in_the_market():
    # Two paths of four bars; the second instrument is padding and would look pinned.
    wanted = np.array([[1.0, 0.995], [1.0, 0.4], [0.5, -1.0], [-0.995, 0.4]])
    values = np.stack([wanted, np.ones_like(wanted)], axis=-1)
    found = performance(
        record(np.ones((5, 2)), real=np.array([True, False]), wanted=tally(values), exposure=np.ones((4, 2))), DAY[:5]
    )
    assert found.long_bound == (3 / 8,)
    assert found.short_bound == (2 / 8,)
    assert found.pinned == pytest.approx(5 / 8)
    assert found.action_standard_deviation == pytest.approx(np.std(wanted))
    assert found.allocation is None


def test_an_allocation_says_where_the_capital_went():
    # Two classes, cash and the risk appetite.
    decided = np.array([[[0.0, 0.0, 1.0, 0.5]], [[0.0, 0.0, 1.0, 0.005]], [[1.0, 0.0, 0.0, 0.995]], [[0.5, 0.5, 0, 0]]])
    found = performance(record(np.ones((5, 1)), allocation=tally(decided, 0.0)), DAY[:5]).allocation
    assert found.capital == pytest.approx((0.375, 0.125, 0.5))
    assert found.risk_appetite == pytest.approx(0.375)
    assert found.capital_bound == (0.25, 0.0, 0.5)
    assert found.risk_appetite_bound == (0.5, 0.25)
    assert found.standard_deviation == pytest.approx(np.std(decided[:, 0], axis=0).mean())


def test_a_flat_policy_scores_between_a_losing_and_a_winning_one():
    flat = score(a_performance(sharpe=None))
    assert score(a_performance(sharpe=-0.5)) < flat < score(a_performance(sharpe=0.1))
    assert score(a_performance(sharpe=float("nan"))) == -np.inf


def test_the_file_has_the_keys_of_the_fields_in_their_order():
    decided = np.array([[[0.0, 0.0, 1.0, 0.5]], [[0.0, 0.0, 1.0, 0.005]]])
    found = performance(
        record(np.ones((3, 1)), allocation=tally(decided, 0.0), risk_cuts={"risk/var": np.zeros((2, 1))}),
        DAY[:3],
        ["a"],
    )
    content = found.to_json()
    assert list(content) == [
        *("sharpe", "sharpe_standard_error", "total_return", "gross_return", "max_drawdown", "worst_drawdown"),
        *("turnover_per_day", "mean_exposure", "time_in_market", "cost_share", "swap_share", "risk_bound", "days"),
        *("paths", "terminated", "action_standard_deviation", "pinned", "long_bound", "short_bound", "allocation"),
        "scenarios",
    ]
    assert content["risk_bound"] == {"var": 0.0} and content["long_bound"] == [0.0]
    assert content["scenarios"] == {"a": {"sharpe": None, "total_return": 0.0}}
    assert list(content["allocation"]) == [
        *("capital", "risk_appetite", "standard_deviation", "capital_bound", "risk_appetite_bound"),
    ]
    assert Performance.from_json(json.loads(json_text(content)), "results.json") == found
    assert not {"allocation", "scenarios"} & set(HEALTHY.to_json())


def test_numbers_that_are_not_finite_are_null_in_the_file_and_not_a_number_when_read():
    text = json_text(a_performance(total_return=float("nan"), sharpe=None).to_json())
    found = Performance.from_json(json.loads(text), "results.json")
    assert np.isnan(found.total_return) and found.sharpe is None
    assert json_text(found.to_json()) == text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"paths": 1.5}, "results.json: paths is 1.5, which is not a whole number"),
        ({"max_drawdown": "large"}, "results.json: max_drawdown is 'large', which is not a number"),
        ({"risk_bound": {"var": []}}, r"results.json: risk_bound.var is \[\], which is not a number"),
        ({"long_bound": [0.0, True]}, r"results.json: long_bound\[1\] is True, which is not a number"),
        ({"allocation": {"capital": [1.0]}}, "results.json has no allocation.risk_appetite"),
    ],
)
def test_a_file_of_another_form_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        Performance.from_json(HEALTHY.to_json() | changes, "results.json")
    missing = {key: value for key, value in HEALTHY.to_json().items() if key != "days"}
    with pytest.raises(UserError, match=r"results.json has no days"):
        Performance.from_json(missing, "results.json")


def test_a_frame_has_one_row_with_a_column_per_number():
    frame = HEALTHY.to_frame()
    assert frame.shape[0] == 1 and frame["sharpe"].item() == HEALTHY.sharpe
    assert frame["risk_bound/drawdown"].item() == 0.0 and frame["long_bound/1"].item() == HEALTHY.long_bound[1]
