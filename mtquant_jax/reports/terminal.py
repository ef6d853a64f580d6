"""The figures of an evaluation as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mtquant_jax.reports.wording import interval_text, number_text, percent_text

_WIDTH = 30
_COLUMNS = {
    "return": "total_return",
    "drawdown": "max_drawdown",
    "costs": "cost_share",
    "swap": "swap_share",
    "exposure": "mean_exposure",
}


def summary_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """The verdict first, then phases, baselines, differences, costs, delay and scenarios, line by line."""
    last = metrics["portfolio"]
    yield metrics["verdict"]
    yield ""
    yield _head("", "annual Sharpe [95 %]")
    alone = {f"{name} alone": figures for name, figures in metrics["specialists"].items()}
    for name, figures in {**metrics["phases"], **alone, **metrics["baselines"]}.items():
        yield _row(name, interval_text(figures["intervals"]["sharpe"]), figures)
    yield ""
    yield f"{f'{last} minus':<{_WIDTH}} {'paired [95 %]':>22}"
    for name, difference in metrics["ahead_of"].items():
        yield f"  {name:<{_WIDTH - 2}} {_difference(difference['sharpe']):>22}"
    yield ""
    yield _head(f"{last} with", "annual Sharpe ± error")
    for name, figures in _variants(metrics).items():
        yield _row(name, _with_error(figures), figures)
    if trials := metrics.get("trials"):
        yield ""
        yield from _trials(trials)


def _variants(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The last portfolio under other conditions."""
    return {
        **{f"costs and swap {name}": told for name, told in metrics["cost_stress"].items()},
        "every order a bar late": metrics["one_bar_late"],
        "no lot rounding": metrics["without_lot_rounding"],
        **{f"stress: {name.replace('_', ' ')}": told for name, told in metrics["scenarios"].items()},
    }


def _head(name: str, sharpe: str) -> str:
    return f"{name:<{_WIDTH}} {sharpe:>22}" + "".join(f" {column:>9}" for column in _COLUMNS)


def _row(name: str, sharpe: str, figures: Mapping[str, Any]) -> str:
    cells = (percent_text(figures[key]) if key in figures else "" for key in _COLUMNS.values())
    return f"{name:<{_WIDTH}} {sharpe:>22}" + "".join(f" {cell:>9}" for cell in cells)


def _with_error(figures: Mapping[str, Any]) -> str:
    error = figures["sharpe_standard_error"]
    return number_text(figures["sharpe"]) + ("" if error is None else f" ± {error:.2f}")


def _difference(interval: Mapping[str, Any]) -> str:
    if interval["value"] == interval["low"] == interval["high"] == 0.0:
        return "the same every day"
    return interval_text(interval, signed=True)


def _trials(trials: Mapping[str, Any]) -> Iterator[str]:
    yield f"{trials['trials']} training(s) judged on these bars, this one {trials['evaluations']} time(s)"
    if trials["deflated_sharpe"] is not None:
        chance = percent_text(trials["deflated_sharpe"], 0)
        yield f"probability that the true Sharpe ratio is above what the best of so many shows by luck: {chance}"
