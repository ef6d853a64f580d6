"""The figures of an evaluation as a table for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mtquant_jax.analysis.wording import interval_text, number_text, percent_text

_WIDTH = 30


def summary_lines(metrics: Mapping[str, Any]) -> Iterator[str]:
    """The verdict first, then phases, baselines, costs, delay and scenarios, line by line."""
    yield metrics["verdict"]
    yield ""
    yield f"{'':<{_WIDTH}} {'Sharpe [95 %]':>22} {'return':>9} {'drawdown':>9} {'costs':>8} {'in market':>9}"
    for name, figures in metrics["phases"].items():
        yield _row(name, figures)
    for name, figures in metrics["specialists"].items():
        yield _row(f"{name} alone", figures)
    for name, figures in metrics["baselines"].items():
        yield _row(name, figures)
    yield ""
    yield f"{metrics['portfolio']} minus"
    for name, difference in metrics["ahead_of"].items():
        yield f"  {name:<{_WIDTH - 2}} {interval_text(difference['sharpe'], signed=True):>22}"
    yield ""
    for name, figures in {**metrics["cost_stress"], "one bar late": metrics["one_bar_late"]}.items():
        told = f"costs {name}" if name.startswith("x") else name
        yield f"{told:<{_WIDTH}} {number_text(figures['sharpe']):>22} {percent_text(figures['total_return']):>9}"
    if metrics["scenarios"]:
        yield ""
    for name, figures in metrics["scenarios"].items():
        told = f"stress: {name}"
        yield f"{told:<{_WIDTH}} {number_text(figures['sharpe']):>22} {percent_text(figures['total_return']):>9}"
    trials = metrics.get("trials")
    if trials:
        yield ""
        yield (
            f"{trials['trials']} training(s) judged on these bars, this one {trials['evaluations']} time(s); "
            f"deflated Sharpe ratio {number_text(trials['deflated_sharpe'])}"
        )


def _row(name: str, figures: Mapping[str, Any]) -> str:
    shares = (figures[key] for key in ("total_return", "max_drawdown", "cost_share"))
    total, drawdown, costs = (percent_text(share) for share in shares)
    sharpe, in_market = interval_text(figures["intervals"]["sharpe"]), percent_text(figures["time_in_market"], 0)
    return f"{name:<{_WIDTH}} {sharpe:>22} {total:>9} {drawdown:>9} {costs:>8} {in_market:>9}"
