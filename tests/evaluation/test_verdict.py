"""What is said of figures in words: the verdict of an evaluation, and the table for the terminal."""

from __future__ import annotations

from typing import Any

import pytest

from mtquant_jax.evaluation.metrics import verdict
from mtquant_jax.reports.terminal import summary_lines
from mtquant_jax.reports.wording import interval_text, number_text, percent_text

Span = tuple[float, float, float]
PERIOD = "Out of sample 2021-03 to 2022-11"


def interval(span: Span | None) -> dict[str, float | None]:
    value, low, high = span or (None, None, None)
    return {"value": value, "low": low, "high": high}


def told(sharpe: Span | None, in_sample: bool = False, days: int = 450, **ahead_of: Span | None) -> dict[str, Any]:
    """Metrics of a portfolio with this Sharpe ratio, and of its lead over others."""
    return {
        "bars": {"first": "2021-03-01 00:00", "last": "2022-11-30 23:00", "in_sample": in_sample},
        "portfolio": "after phase 3",
        "phases": {"after phase 3": {"days": days, "intervals": {"sharpe": interval(sharpe)}}},
        "ahead_of": {name.replace("_", " "): {"sharpe": interval(span)} for name, span in ahead_of.items()},
    }


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (told((1.5, 0.2, 2.8)), "Sharpe 1.50 [0.2, 2.8]; better than flat; not distinguishable from any baseline."),
        (
            told((-1.5, -2.8, -0.2)),
            "Sharpe -1.50 [-2.8, -0.2]; worse than flat; not distinguishable from any baseline.",
        ),
        (
            told((0.5, -0.7, 1.8), flat=(0.5, 0.1, 0.9)),  # flat is told of once
            "Sharpe 0.50 [-0.7, 1.8]; not distinguishable from flat; not distinguishable from any baseline.",
        ),
        (
            told((0.5, 0.0, 1.8)),  # touching it is not above it
            "Sharpe 0.50 [0.0, 1.8]; not distinguishable from flat; not distinguishable from any baseline.",
        ),
        (
            told((1.5, 0.2, 2.8), flat=(1.5, 0.2, 2.8), random=(2.0, 0.1, 4.0), momentum=(1.0, -1.0, 3.0)),
            "Sharpe 1.50 [0.2, 2.8]; better than flat; ahead of random.",
        ),
        (
            told((1.5, 0.2, 2.8), a=(1.0, 0.5, 2.0), b=(1.0, 0.5, 2.0), c=(1.0, 0.5, 2.0), buy_and_hold=(-2, -3, -1)),
            "Sharpe 1.50 [0.2, 2.8]; better than flat; ahead of a, b and c, behind buy and hold.",
        ),
        (
            told((-1.5, -2.0, -0.2), a=(-1.0, -2.0, -0.5), b=(-1.0, -2.0, -0.5), c=None),
            "Sharpe -1.50 [-2.0, -0.2]; worse than flat; behind a and b.",
        ),
        (told(None, a=(1.0, 0.5, 2.0)), "the portfolio did not trade; it is flat."),
    ],
)
def test_the_verdict(metrics, expected):
    assert verdict(metrics) == f"{PERIOD}: {expected}"


def test_the_verdict_says_in_sample_first():
    assert verdict(told((1.5, 0.2, 2.8), in_sample=True)).startswith("In sample 2021-03 to 2022-11: Sharpe 1.50")


def test_few_days_have_no_verdict():
    few = told((17.89, 0.2, 45.9), days=19)
    expected = "Out of sample 2021-03-01 to 2022-11-30: Sharpe 17.89 [0.2, 45.9]; 19 trading days are too few to tell "
    assert verdict(few) == f"{expected}anything, 20 are needed."
    assert "better than flat" in verdict(told((17.89, 0.2, 45.9), days=20))


def test_figures_in_words():
    assert interval_text(interval((1.234, -0.5, 2.0))) == "1.23 [-0.50, 2.00]"
    assert interval_text(interval((1.234, -0.5, 2.0)), signed=True) == "+1.23 [-0.50, 2.00]"
    assert interval_text(interval(None)) == number_text(None) == "none (flat)"
    assert (number_text(-0.126), percent_text(0.01234), percent_text(0.5, 0)) == ("-0.13", "1.23 %", "50 %")


def test_the_table_for_the_terminal():
    figures = {
        "intervals": {"sharpe": interval((0.5, -0.7, 1.8))},
        "total_return": 0.0123,
        "max_drawdown": 0.2,
        "cost_share": 0.003,
        "swap_share": -0.002,
        "mean_exposure": 0.75,
    }
    flat = {"sharpe": None, "sharpe_standard_error": None, "total_return": 0.01}
    short = flat | {"sharpe": -0.4, "sharpe_standard_error": 1.2}
    metrics = told((0.5, -0.7, 1.8), flat=(0.5, -0.7, 1.8), after_phase_2=(0.0, 0.0, 0.0)) | {
        "verdict": "A verdict.",
        "phases": {"after phase 3": figures},
        "specialists": {"forex": figures},
        "baselines": {"flat": figures | {"intervals": {"sharpe": interval(None)}}},
        "cost_stress": {"x0": short, "x2": short},
        "one_bar_late": short,
        "without_lot_rounding": short,
        "scenarios": {"flash_crash": flat},
        "trials": {"trials": 3, "evaluations": 2, "deflated_sharpe": 0.4},
    }
    lines = list(summary_lines(metrics))
    assert lines[0] == "A verdict."
    rows = {line[:30].strip(): line[30:].split() for line in lines if line}
    numbers = ["0.50", "[-0.70,", "1.80]", "1.23", "%", "20.00", "%", "0.30", "%", "-0.20", "%", "75.00", "%"]
    assert rows["after phase 3"] == rows["forex alone"] == numbers
    variants = ("costs and swap x2", "every order a bar late", "no lot rounding")
    assert all(rows[name] == ["-0.40", "±", "1.20", "1.00", "%"] for name in variants)
    assert rows["stress: flash crash"] == ["none", "(flat)", "1.00", "%"]
    assert any(line.split() == ["flat", "+0.50", "[-0.70,", "1.80]"] for line in lines)
    assert any(line.split() == ["after", "phase", "2", "the", "same", "every", "day"] for line in lines)
    assert lines[-2] == "3 training(s) judged on these bars, this one 2 time(s)"
    assert lines[-1].endswith("above what the best of so many shows by luck: 40 %")
    assert list(summary_lines({**metrics, "trials": None})) == lines[:-3]
