"""The metrics of an evaluation as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mtquant_jax.evaluation.metrics import BookMetrics, EvaluationMetrics, ScenarioMetrics, TrialMetrics, VariantMetrics
from mtquant_jax.reports.wording import interval_text, number_text, percent_text
from mtquant_jax.statistics.intervals import Interval

_WIDTH = 30
_COLUMNS = ("return", "drawdown", "costs", "swap", "exposure")


def summary_lines(metrics: EvaluationMetrics) -> Iterator[str]:
    """The verdict first, then phases, baselines, differences, costs, delay and scenarios, line by line."""
    last = metrics.portfolio
    yield metrics.verdict
    yield ""
    yield _head("", "annual Sharpe [95 %]")
    for name, book in metrics.books.items():
        yield _row(name, interval_text(book.intervals.sharpe), _shares_of_book(book))
    yield ""
    yield f"{f'{last} minus':<{_WIDTH}} {'paired [95 %]':>22}"
    for name, difference in metrics.ahead_of.items():
        yield f"  {name:<{_WIDTH - 2}} {_difference(difference.sharpe):>22}"
    yield ""
    yield _head(f"{last} with", "annual Sharpe ± error")
    for name, variant in metrics.variants("costs and swap", "every order a bar late", "no lot rounding"):
        yield _row(name, _with_error(variant), _shares_of_variant(variant))
    for name, scenario in metrics.scenarios.items():
        yield _row(f"stress: {name.replace('_', ' ')}", _with_error(scenario), _shares_of_scenario(scenario))
    yield from _seen(metrics)
    yield from _lots(metrics)
    if metrics.trials is not None:
        yield ""
        yield from _trials(metrics.trials)


def _head(name: str, sharpe: str) -> str:
    return f"{name:<{_WIDTH}} {sharpe:>22}" + "".join(f" {column:>9}" for column in _COLUMNS)


def _row(name: str, sharpe: str, shares: Sequence[float | None]) -> str:
    cells = ("" if share is None else percent_text(share) for share in shares)
    return f"{name:<{_WIDTH}} {sharpe:>22}" + "".join(f" {cell:>9}" for cell in cells)


def _shares_of_book(book: BookMetrics) -> Sequence[float]:
    record, performance = book.record, book.performance
    of_bars = (performance.cost_share, performance.swap_share, performance.mean_exposure)
    return record.total_return, record.max_drawdown, *of_bars


def _shares_of_variant(variant: VariantMetrics) -> Sequence[float]:
    of_bars = (variant.cost_share, variant.swap_share, variant.mean_exposure)
    return variant.total_return, variant.max_drawdown, *of_bars


def _shares_of_scenario(scenario: ScenarioMetrics) -> Sequence[float | None]:
    return scenario.total_return, scenario.max_drawdown, None, None, scenario.mean_exposure


def _with_error(found: VariantMetrics | ScenarioMetrics) -> str:
    error = found.sharpe_standard_error
    return number_text(found.sharpe) + ("" if error is None else f" ± {error:.2f}")


def _difference(interval: Interval) -> str:
    if interval.value == interval.low == interval.high == 0.0:
        return "the same every day"
    return interval_text(interval, signed=True)


def _seen(metrics: EvaluationMetrics) -> Iterator[str]:
    """How far each policy did better where it was trained."""
    if not metrics.seen:
        return
    columns = ("trained on", "unseen folds", "validation", "these bars", "tilt kept")
    yield ""
    yield f"{'annual Sharpe on bars':<{_WIDTH}}" + "".join(f" {column:>14}" for column in columns)
    for name, found in metrics.seen.items():
        readings = (found.train, found.out_of_fold, found.validation, found.judged)
        cells = ["" if reading is None else number_text(reading.sharpe) for reading in readings]
        cells.append(percent_text(found.tilt, 0) if name.endswith(" alone") else "")
        yield f"{name:<{_WIDTH}}" + "".join(f" {cell:>14}" for cell in cells)
    yield "first three: with the whole tilt; where trained on is far above the others, it is memory"


def _lots(metrics: EvaluationMetrics) -> Iterator[str]:
    """The instruments whose positions whole lots change most."""
    found = sorted((metrics.lots or {}).items(), key=lambda item: -item[1].mean_distance)
    far = [f"{symbol} {percent_text(lots.mean_distance)}" for symbol, lots in found[:3] if lots.mean_distance > 0.0005]
    if far:
        yield ""
        yield f"{'whole lots, mean distance':<{_WIDTH}} {', '.join(far)} of equity from the wanted position"


def _trials(trials: TrialMetrics) -> Iterator[str]:
    trainings, times = (f"{count} {word}{'s' * (count != 1)}" for count, word in (
        (trials.trials, "training"), (trials.evaluations, "time"),
    ))  # fmt: skip
    yield f"{trainings} judged on these bars, this one {times}"
    if trials.deflated_sharpe is not None:
        chance = percent_text(trials.deflated_sharpe, 0)
        yield f"probability that the true Sharpe ratio is above what the best of so many shows by luck: {chance}"
