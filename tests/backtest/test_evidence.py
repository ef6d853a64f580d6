"""What evidence is worth: differences with their errors, and the share of a tilt that they carry."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from mtquant_jax.backtest.evidence import Ahead, Evidence, Reading, tilt_of
from mtquant_jax.backtest.verdict import describe_evidence


def test_a_difference_has_the_error_of_its_sums_over_five_days():
    generator = np.random.default_rng(0)
    spans = [generator.normal(0.001, 0.01, size=(50, 3)), generator.normal(0.001, 0.01, size=(25, 3))]
    found = Ahead.of(spans, 252.0)
    every = np.concatenate([span.ravel() for span in spans])
    sums = np.concatenate([span.reshape(-1, 5, 3).sum(axis=1).ravel() for span in spans])
    assert found.per_year == pytest.approx(252.0 * every.mean())
    assert found.standard_error == pytest.approx(252.0 / 5.0 * stats.sem(sums))
    assert found.ratio == pytest.approx(found.per_year / found.standard_error)
    assert found.days == 225


@pytest.mark.parametrize("days", [1, 2, 3, 7])
def test_short_spans_have_errors_of_their_size(days):
    generator = np.random.default_rng(days)
    ratios = [Ahead.of([generator.normal(size=(days, 64))], 252.0).ratio for _ in range(400)]
    assert np.std(ratios) == pytest.approx(1.0, rel=0.15)


def test_days_that_resemble_their_neighbours_count_as_fewer():
    generator = np.random.default_rng(1)
    alone = generator.normal(size=(1000, 1))
    alike = np.repeat(generator.normal(size=(200, 1)), 5, axis=0)
    one, other = (Ahead.of([days], 1.0).standard_error for days in (alone, alike))
    assert other / one == pytest.approx(math.sqrt(5.0), rel=0.15)


def test_the_same_policy_is_not_ahead_of_itself_and_one_block_says_nothing():
    same = Ahead.of([np.zeros((20, 2))], 252.0)
    assert (same.per_year, same.standard_error, same.ratio) == (0.0, 0.0, 0.0)
    assert Ahead.of([np.ones((3, 1))], 252.0).ratio == 0.0  # whose error is infinite


def test_the_share_of_a_tilt_is_the_probability_of_an_edge():
    for ratio, trials in ((2.0, 1), (3.0, 1), (3.0, 5), (4.0, 100)):
        nothing = stats.norm.pdf(ratio)
        edge, _ = integrate.quad(
            lambda size, seen=ratio: 2.0 * stats.norm.pdf(size, scale=10.0) * stats.norm.pdf(seen - size), 0.0, 60.0
        )
        expected = edge / (edge + trials * nothing)
        assert tilt_of(ratio, trials) == pytest.approx(expected if expected >= 0.5 else 0.0, abs=6e-4)


@pytest.mark.parametrize("ratio", [-3.0, -0.0, 0.0, 1.0, 1.7, math.nan, -math.inf])
def test_no_evidence_carries_nothing(ratio):
    assert tilt_of(ratio) == 0.0


def test_much_evidence_carries_all_and_more_carries_no_less():
    assert tilt_of(5.0) == 1.0 and tilt_of(1000.0) == 1.0
    found = [tilt_of(ratio) for ratio in np.linspace(0.0, 8.0, 200)]
    assert np.all(np.diff(found) >= 0.0) and 0.0 in found and any(0.0 < one < 1.0 for one in found)
    assert tilt_of(2.5, trials=1) > tilt_of(2.5, trials=3) >= tilt_of(2.5, trials=50) == 0.0


def evidence(tilt=1.0, folds=4, per_year=0.174, timesteps=1000, out_of_fold=True, policies=1):
    reading = Reading(5.07, 0.4, 0.2, 500)
    return Evidence(
        candidates=10,
        timesteps=timesteps,
        ahead=Ahead(per_year, 0.019, 600),
        folds=folds,
        tilt=tilt,
        train=reading,
        out_of_fold=Reading(3.82, 0.41, 0.1, 500) if out_of_fold else None,
        validation=Reading(None, None, 0.0, 100),
        policies=policies,
    )


@pytest.mark.parametrize(
    ("found", "phase", "anchor", "expected"),
    [
        (
            evidence(),
            1,
            "flat",
            "on unseen bars (4 folds and the validation split) ahead of a flat account by 17.4 ± 1.9 % a year: "
            "all of its tilt is handed on",
        ),
        (
            evidence(policies=5),
            1,
            "flat",
            "on unseen bars (4 folds and the validation split) ahead of a flat account by 17.4 ± 1.9 % a year: "
            "all of its tilt is handed on (the mean of 5 policies)",
        ),
        (
            evidence(tilt=0.62, folds=0),
            1,
            "equal_weight",
            "on unseen bars (the validation split) ahead of equal weights by 17.4 ± 1.9 % a year: 62 % of its tilt is "
            "handed on",
        ),
        (
            evidence(tilt=0.0, per_year=-0.05),
            1,
            "flat",
            "on unseen bars (4 folds and the validation split) behind a flat account by 5.0 ± 1.9 % a year: no "
            "evidence of an edge, so it is handed on as a flat account",
        ),
        (
            evidence(),
            3,
            "buy_and_hold",
            "the last policy is handed on, on the validation split ahead of buy and hold by 17.4 ± 1.9 % a year",
        ),
        (
            evidence(policies=2),
            3,
            "flat",
            "the mean of the starting point and the last policy is handed on, on the validation split ahead of a flat "
            "account by 17.4 ± 1.9 % a year",
        ),
        (
            evidence(timesteps=0),
            2,
            "inverse_volatility",
            "the starting point is handed on, on the validation split ahead of inverse volatility by 17.4 ± 1.9 % a "
            "year",
        ),
        (evidence(timesteps=500), 3, "flat", "the policy after 500 timesteps is handed on"),
    ],
)
def test_it_is_said_in_a_sentence(found, phase, anchor, expected):
    first, second = describe_evidence(found, phase, anchor, 1000)
    assert first == expected if phase == 1 else first.startswith(expected)
    assert second == (
        "Sharpe +5.07 ± 0.40 on bars it was trained on, +3.82 ± 0.41 on the same bars without having been, "
        "none (flat) on the validation split"
    )


def test_without_folds_there_is_no_second_reading_of_the_bars_trained_on():
    _, gap = describe_evidence(evidence(out_of_fold=False), 2, "flat", 1000)
    assert gap == "Sharpe +5.07 ± 0.40 on bars it was trained on, none (flat) on the validation split"
