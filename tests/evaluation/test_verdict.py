"""What is said of numbers in words: the verdict of an evaluation, and the table for the terminal."""

from __future__ import annotations

import dataclasses

import pytest

from mtquant_jax.evaluation.evaluation import Evaluation, verdict
from mtquant_jax.evaluation.metrics import (
    BookMetrics,
    EvaluationMetrics,
    ScenarioMetrics,
    TrialMetrics,
    VariantMetrics,
)
from mtquant_jax.reports.terminal import summary_lines
from mtquant_jax.reports.wording import interval_text, number_text, percent_text
from mtquant_jax.statistics.intervals import Difference, Interval
from tests.evaluation.made_up import made_up

Span = tuple[float, float, float]
PERIOD = "Out of sample 2021-03 to 2022-11"


def interval(span: Span | None) -> Interval:
    return Interval(*(span or (None, None, None)))


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory) -> Evaluation:
    return made_up(tmp_path_factory.mktemp("runs"))


def verdict_of(
    metrics: EvaluationMetrics, sharpe: Span | None, in_sample: bool = False, days: int = 450, **ahead_of: Span | None
) -> str:
    """The verdict on a portfolio with this Sharpe ratio and this lead over others."""
    bars = dataclasses.replace(metrics.bars, first="2021-03-01 00:00", last="2022-11-30 23:00", in_sample=in_sample)
    book = dataclasses.replace(
        metrics.last,
        record=dataclasses.replace(metrics.last.record, days=days),
        intervals=dataclasses.replace(metrics.last.intervals, sharpe=interval(sharpe)),
    )
    nothing = interval((0.0, 0.0, 0.0))
    differences = {name.replace("_", " "): Difference(interval(span), nothing) for name, span in ahead_of.items()}
    return verdict(bars, book, differences)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (
            dict(sharpe=(1.5, 0.2, 2.8)),
            "Sharpe 1.50 [0.2, 2.8]; better than flat; not distinguishable from any baseline.",
        ),
        (
            dict(sharpe=(-1.5, -2.8, -0.2)),
            "Sharpe -1.50 [-2.8, -0.2]; worse than flat; not distinguishable from any baseline.",
        ),
        (
            dict(sharpe=(0.5, -0.7, 1.8), flat=(0.5, 0.1, 0.9)),  # flat is named once
            "Sharpe 0.50 [-0.7, 1.8]; not distinguishable from flat; not distinguishable from any baseline.",
        ),
        (
            dict(sharpe=(0.5, 0.0, 1.8)),  # touching it is not above it
            "Sharpe 0.50 [0.0, 1.8]; not distinguishable from flat; not distinguishable from any baseline.",
        ),
        (
            dict(sharpe=(1.5, 0.2, 2.8), flat=(1.5, 0.2, 2.8), random=(2.0, 0.1, 4.0), momentum=(1.0, -1.0, 3.0)),
            "Sharpe 1.50 [0.2, 2.8]; better than flat; ahead of random.",
        ),
        (
            dict(
                sharpe=(1.5, 0.2, 2.8),
                a=(1.0, 0.5, 2.0),
                b=(1.0, 0.5, 2.0),
                c=(1.0, 0.5, 2.0),
                buy_and_hold=(-2, -3, -1),
            ),
            "Sharpe 1.50 [0.2, 2.8]; better than flat; ahead of a, b and c, behind buy and hold.",
        ),
        (
            dict(sharpe=(-1.5, -2.0, -0.2), a=(-1.0, -2.0, -0.5), b=(-1.0, -2.0, -0.5), c=None),
            "Sharpe -1.50 [-2.0, -0.2]; worse than flat; behind a and b.",
        ),
        (dict(sharpe=None, a=(1.0, 0.5, 2.0)), "the portfolio did not trade; it is flat."),
    ],
)
def test_the_verdict(evaluation, found, expected):
    assert verdict_of(evaluation.metrics, **found) == f"{PERIOD}: {expected}"


def test_the_verdict_says_in_sample_first(evaluation):
    text = verdict_of(evaluation.metrics, (1.5, 0.2, 2.8), in_sample=True)
    assert text.startswith("In sample 2021-03 to 2022-11: Sharpe 1.50")


def test_few_days_have_no_verdict(evaluation):
    wide = (17.89, 0.2, 45.9)
    expected = "Out of sample 2021-03-01 to 2022-11-30: Sharpe 17.89 [0.2, 45.9]; 19 trading days are too few to tell "
    assert verdict_of(evaluation.metrics, wide, days=19) == f"{expected}anything, 20 are needed."
    assert "better than flat" in verdict_of(evaluation.metrics, wide, days=20)


def test_numbers_in_words():
    assert interval_text(interval((1.234, -0.5, 2.0))) == "1.23 [-0.50, 2.00]"
    assert interval_text(interval((1.234, -0.5, 2.0)), signed=True) == "+1.23 [-0.50, 2.00]"
    assert interval_text(interval(None)) == number_text(None) == "none (flat)"
    assert (number_text(-0.126), percent_text(0.01234), percent_text(0.5, 0)) == ("-0.13", "1.23 %", "50 %")


def test_the_table_for_the_terminal(evaluation):
    metrics, last = evaluation.metrics, evaluation.metrics.last
    book = BookMetrics(
        performance=dataclasses.replace(last.performance, cost_share=0.003, swap_share=-0.002, mean_exposure=0.75),
        record=dataclasses.replace(last.record, total_return=0.0123, max_drawdown=0.2),
        intervals=dataclasses.replace(last.intervals, sharpe=interval((0.5, -0.7, 1.8))),
    )
    flat = dataclasses.replace(book, intervals=dataclasses.replace(book.intervals, sharpe=interval(None)))
    shares = {"total_return": 0.01, "max_drawdown": 0.02, "mean_exposure": 0.5, "terminated": 0}
    variant = VariantMetrics(sharpe=-0.4, sharpe_standard_error=1.2, cost_share=0.003, swap_share=0.0, **shares)
    scenario = ScenarioMetrics(sharpe=None, sharpe_standard_error=None, worst_day=-0.01, days=60, paths=4, **shares)
    same, ahead = (Difference(interval(span), interval(span)) for span in ((0.0, 0.0, 0.0), (0.5, -0.7, 1.8)))
    metrics = dataclasses.replace(
        metrics,
        verdict="A verdict.",
        portfolio="after phase 3",
        phases={"after phase 3": book},
        specialists={"forex": book},
        baselines={"flat": flat},
        ahead_of={"flat": ahead, "after phase 2": same},
        cost_stress={"x0": variant, "x2": variant},
        one_bar_late=variant,
        without_lot_rounding=variant,
        scenarios={"flash_crash": scenario},
        trials=TrialMetrics(trials=3, evaluations=2, sharpe_variance=0.1, deflated_sharpe=0.4, file="trials.jsonl"),
    )
    lines = list(summary_lines(metrics))
    assert lines[0] == "A verdict."
    rows = {line[:30].strip(): line[30:].split() for line in lines if line}
    numbers = ["0.50", "[-0.70,", "1.80]", "1.23", "%", "20.00", "%", "0.30", "%", "-0.20", "%", "75.00", "%"]
    assert rows["after phase 3"] == rows["forex alone"] == numbers
    variants = ("costs and swap x2", "every order a bar late", "no lot rounding")
    shares_shown = ["1.00", "%", "2.00", "%", "0.30", "%", "0.00", "%", "50.00", "%"]
    assert all(rows[name] == ["-0.40", "±", "1.20", *shares_shown] for name in variants)
    assert rows["stress: flash crash"] == ["none", "(flat)", "1.00", "%", "2.00", "%", "50.00", "%"]
    stress = next(line for line in lines if line.startswith("stress: flash crash"))
    assert stress.endswith(f"{'2.00 %':>10}{'':>20}{'50.00 %':>10}")  # costs are not known there
    assert any(line.split() == ["flat", "+0.50", "[-0.70,", "1.80]"] for line in lines)
    assert any(line.split() == ["after", "phase", "2", "the", "same", "every", "day"] for line in lines)
    assert lines[-2] == "3 trainings judged on these bars, this one 2 times"
    assert lines[-1].endswith("above what the best of so many shows by luck: 40 %")
    assert list(summary_lines(dataclasses.replace(metrics, trials=None))) == lines[:-3]
