"""What a sweep found -> a table for the terminal, and the line that is printed for each of its trials."""

from __future__ import annotations

import math
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from mtquant_jax.reports.wording import decimals, duration, percent_text, plural, short_names, shortened
from mtquant_jax.runs.sweep.result import SweepResult
from mtquant_jax.runs.sweep.study import Finished
from mtquant_jax.settings.search_space import written

_OBJECTIVES = {
    "sharpe": "Sharpe ratio",
    "growth": "log growth",
    "calmar": "Calmar ratio",
    "growth_less_drawdown": "growth less half the drawdown",
}
_ROWS = 10
_WIDTH = 80
_CELL = 16  # characters, at most, of a setting's name or value in the table
_OWN_NAME = re.compile(r"^trial \d+\W*")


def objective_name(result: SweepResult) -> str:
    """What a value is, in words."""
    return _OBJECTIVES.get(result.objective, result.objective.replace("_", " "))


def counts(result: SweepResult) -> str:
    """How many trials are in each state, without states that none is in."""
    states = Counter(one.result.state for one in result.finished)
    found = [f"{states[state]:,} {state}" for state in ("complete", "pruned", "failed") if states[state]]
    return ", ".join(found) or "none"


def reason(one: Finished) -> str:
    """Why a trial failed, without its number."""
    return _OWN_NAME.sub("", one.result.reason)


def lines(result: SweepResult) -> Iterator[str]:
    """The best ten trials, what the best of so many is worth, what it cost, and why trials failed."""
    best, complete = result.best, result.complete
    yield f"{plural(len(result.finished), 'trial')}: {counts(result)}; {result.trained}"
    if best is None:
        yield "no trial is complete, so there is nothing to choose"
    else:
        digits = decimals(one.result.value for one in complete)
        found = f"{objective_name(result)} {value_text(best, digits)}"
        yield f"best: trial {best.trial.number}, {found} on the validation split"
        yield ""
        yield from _table(result, complete[:_ROWS], digits)
        if len(complete) > _ROWS:
            yield f"and {plural(len(complete) - _ROWS, 'more complete trial')}"
    yield ""
    yield f"deflated Sharpe ratio       {_share(result.deflated_sharpe)}"
    yield "  probability that the true one of the best trial is above what luck shows"
    yield f"probability of overfitting  {_share(result.probability_of_overfitting)}"
    yield "  how often the best on half of the days is in the worse half on the others"
    timesteps = sum(one.result.timesteps for one in result.finished)
    yield f"{plural(timesteps, 'timestep')} trained in {duration(sum(one.result.seconds for one in result.finished))}"
    if best is not None:
        flattered = "the best of many is flattered: " * (len(result.finished) > 1)
        yield f"{flattered}evaluate it on the test split before you trust it"
    yield from _failures(result)


def one_line(finished: Finished, best: Finished | None) -> str:
    """What is printed when a trial ends.

    Args:
        finished: the trial.
        best: the best trial so far, which may be this one; None where none is complete.
    """
    result, start = finished.result, f"trial {finished.trial.number}: "
    if result.state == "failed":
        found, ahead = f"failed: {reason(finished)}", ""
    elif result.state == "pruned":
        found, ahead = "pruned", ""
    else:
        found, ahead = value_text(finished), _standing(finished, best)
    values = finished.trial.values
    names = short_names(list(values))
    settings = ", ".join(f"{name} {_cell(value)}" for name, value in zip(names, values.values(), strict=True))
    text = f"{start}{settings}{': ' * bool(settings)}{found}"
    return text + ahead if ahead == _AHEAD or len(text + ahead) <= _WIDTH else text


_AHEAD = ", the best so far"


def _standing(finished: Finished, best: Finished | None) -> str:
    mine, theirs = finished.result.value, None if best is None else best.result.value
    if mine is None or not math.isfinite(mine):
        return ""
    if best is None or theirs is None or not theirs >= mine or best.trial.number == finished.trial.number:
        return _AHEAD
    return f" (best: {theirs:.{decimals([theirs])}f} of trial {best.trial.number})"


def value_text(one: Finished, digits: int | None = None) -> str:
    """Value and standard error, of so many decimals or as many as `decimals` says."""
    value, error = one.result.value, one.result.standard_error
    if value is None or not math.isfinite(value):
        return "none"
    digits = decimals([value]) if digits is None else digits
    return f"{value:.{digits}f}" + ("" if error is None else f" ± {error:.{digits}f}")


def _cell(value: Any) -> str:
    return "-" if value is None else written(value)


def _share(share: float | None) -> str:
    return "none" if share is None else percent_text(share, 0)


def _table(result: SweepResult, trials: Sequence[Finished], digits: int) -> Iterator[str]:
    """Rows of trials, with as many settings as there is room for."""
    columns = [["trial", *(str(one.trial.number) for one in trials)]]
    columns.append(["value ± error", *(value_text(one, digits) for one in trials)])
    columns += [
        [shortened(short, _CELL), *(shortened(_cell(one.trial.values.get(name)), _CELL) for one in trials)]
        for name, short in zip(result.space.names, short_names(result.space.names), strict=True)
    ]
    widths = [max(map(len, column)) + 2 for column in columns]
    shown = sum(sum(widths[: place + 1]) - 2 <= _WIDTH for place in range(len(columns)))
    for row in zip(*columns[:shown], strict=True):
        yield "".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=False))[2:]
    if left_out := result.space.names[shown - 2 :]:
        yield from textwrap.wrap(f"not shown: {', '.join(left_out)}", _WIDTH, subsequent_indent="  ")


def _failures(result: SweepResult) -> Iterator[str]:
    reasons = Counter(reason(one) for one in result.finished if one.result.state == "failed")
    for text, count in reasons.most_common():
        yield f"{plural(count, 'trial')} failed: {text or 'without a reason'}"
