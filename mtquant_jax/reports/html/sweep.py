"""What a sweep found -> its report: which trial is the best, what that is worth, and what the settings do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from mtquant_jax.reports.html import sweep_charts
from mtquant_jax.reports.html.charts import Chart, Drawn, drawing
from mtquant_jax.reports.html.page import Page
from mtquant_jax.reports.html.text import DASH, Tile, number, paragraph, percent, section, table, with_error
from mtquant_jax.reports.sweep import counts, objective_name, reason
from mtquant_jax.reports.wording import decimals, duration, plural
from mtquant_jax.runs.sweep.result import SweepResult
from mtquant_jax.runs.sweep.study import Finished
from mtquant_jax.settings.search_space import Value, written

_CONFIDENT = 0.95  # deflated Sharpe ratio, from which on a result is not called luck
_BY_LUCK = 0.5  # probability of overfitting, from which on the choice is as good as none
_NOTHING = "No trial is complete, so there is nothing to show."


def write_sweep_report(result: SweepResult, path: Path) -> None:
    """Write the report; it appears when it is whole.

    Raises:
        UserError: plotly is not installed, or the file cannot be written.
    """
    charts: list[Chart] = []
    seeds = ", ".join(map(str, result.seeds))
    Page(
        title=f"Sweep {result.name}",
        heading=f"Sweep {result.name}",
        bars=f"{result.trained} ({seeds}); validation split of {result.market}",
        verdict=_verdict(result),
        warnings=dict.fromkeys(_warnings(result), False),
        tiles=_tiles(result),
        sections=_sections(result, drawing(charts)),
        charts=charts,
    ).write(path)


def _verdict(result: SweepResult) -> str:
    best, tried = result.best, len(result.finished)
    if best is None:
        return f"{plural(tried, 'trial')}, none of them complete: there is nothing to choose."
    rank = f"the best of {tried:,}" if tried > 1 else "the only one"
    found = _with_error(best, decimals([best.result.value]))
    chosen = "it was chosen, and the best of many is flattered by luck" if tried > 1 else "its checkpoints were chosen"
    return (
        f"Trial {best.trial.number} is {rank}: {objective_name(result)} {found} on the validation split, by which "
        f"{chosen}. Evaluate it on the test split before you trust it."
    )


def _warnings(result: SweepResult) -> Iterator[str]:
    deflated, overfit = result.deflated_sharpe, result.probability_of_overfitting
    if deflated is not None and deflated < _CONFIDENT:
        least = percent(_CONFIDENT, 0)
        yield f"the deflated Sharpe ratio is {percent(deflated, 1)}, below {least}: luck alone may show as much"
    if overfit is not None and overfit >= _BY_LUCK:
        yield (
            f"the probability of overfitting is {percent(overfit, 0)}: to choose the best of these trials is to choose "
            "by luck"
        )
    if failed := sum(one.result.state == "failed" for one in result.finished):
        yield f"{plural(failed, 'trial')} failed; the table of trials says why"


def _tiles(result: SweepResult) -> list[Tile]:
    best, tried = result.best, len(result.finished)
    value, of = DASH, "no trial is complete"
    if best is not None:
        value = _with_error(best, decimals([best.result.value]))
        seeds = len(best.result.scores)
        of = f"trial {best.trial.number}, " + (f"± standard error of {seeds} seeds" if seeds > 1 else "of one seed")
    trained = sum(one.result.seconds for one in result.finished)
    timesteps = sum(one.result.timesteps for one in result.finished)
    session = f"this session took {duration(result.seconds)}"
    if result.compile_seconds is not None:
        session += f", {duration(result.compile_seconds)} of them compiling"
    return [
        Tile(f"Best {objective_name(result)}", value, of),
        Tile("Trials", number(tried, 0), counts(result)),
        Tile(
            "Deflated Sharpe",
            percent(result.deflated_sharpe, 1),
            "probability that the true one is above what luck shows as the best of so many",
        ),
        Tile(
            "Probability of overfitting",
            percent(result.probability_of_overfitting, 0),
            "how often the best on half of the days is in the worse half on the others",
        ),
        Tile("Timesteps trained", number(timesteps, 0), f"in {duration(trained)}, all trials; {session}"),
    ]


def _sections(result: SweepResult, drawn: Drawn) -> str:
    name, nothing = objective_name(result), paragraph(_NOTHING)
    finite = sweep_charts.finite(result)
    undrawn = len(result.complete) - len(finite)
    notice = paragraph(f"Not drawn: {plural(undrawn, 'complete trial')} whose value is not finite.") if undrawn else ""
    nothing = nothing if not undrawn else ""
    return (
        section(
            "trials",
            "Trials",
            f"The value of a trial is the interquartile mean of its seeds' {name}, with the standard error over the "
            "seeds; two trials whose values differ by less than their errors are not distinguishable.",
            _trials(result),
            _by_setting(result),
        )
        + section(
            "settings",
            "All settings together",
            f"Every line is a complete trial, which runs down through its settings to its {name}; the orange one is "
            "the best, and the fainter a line, the worse its trial. Within a category, lines are spread by rank.",
            drawn(sweep_charts.parallel(result)) or nothing,
            notice,
        )
        + section(
            "importance",
            "Importance of settings",
            "How much of the differences in value each setting accounts for (PED-ANOVA), as shares of all; rough for "
            "few trials, and it does not say which value is the best.",
            drawn(sweep_charts.importance(result))
            or paragraph("There is none of fewer than four complete trials, or where all have the same value."),
        )
        + section(
            "slices",
            "One setting at a time",
            "Every point is a complete trial with its standard error over the seeds, the diamond is the best one; the "
            "other settings differ too, so a slope here need not come from this setting.",
            f'<div class="pair">{found}</div>' if (found := drawn(*sweep_charts.slices(result))) else nothing,
            notice,
        )
        + section(
            "curves",
            "Learning curves",
            "Mean over the seeds on the validation split, and the range of the seeds; a curve that still rises wants "
            "more timesteps, and one that falls wants fewer.",
            drawn(sweep_charts.curves(result)) or paragraph("No complete trial was validated during its training."),
        )
        + section(
            "history",
            "Order of the trials",
            "Every point is a complete trial, and the line is the best value so far; where it has long been level, "
            "more trials of the same kind bring little.",
            drawn(sweep_charts.history(result)) or nothing,
            notice,
        )
    )


def _with_error(one: Finished, digits: int) -> str:
    return with_error(one.result.value, one.result.standard_error, digits)


def _written(value: Value | None) -> str:
    return DASH if value is None else written(value)


def _trials(result: SweepResult) -> str:
    """Every trial, the best first, and what failed last."""
    if not result.finished:
        return paragraph("No trial has ended.")
    complete = result.complete
    done = {one.trial.number for one in complete}
    others = sorted(
        (one for one in result.finished if one.trial.number not in done), key=lambda one: one.result.state != "pruned"
    )
    digits = decimals(one.result.value for one in complete)
    explained = any(reason(one) for one in result.finished)
    rows = []
    for one in [*complete, *others]:
        scores = [number(score, digits) for score in one.result.scores]
        rows.append(
            [
                str(one.trial.number),
                _with_error(one, digits) if one.result.value is not None else DASH,
                *(_written(one.trial.values.get(name)) for name in result.space.names),
                one.result.state,
                *(scores + [DASH] * len(result.seeds))[: len(result.seeds)],
                *([reason(one) or DASH] if explained else []),
            ]
        )
    names = result.space.names
    head = ["Trial", "Value ± error", *names, "State", *(f"Seed {seed}" for seed in result.seeds)]
    words = [place for place, name in enumerate(names, start=2) if not _is_numeric(result, name)]
    words += [2 + len(names), *([len(head)] if explained else [])]
    caption = f"All trials, {objective_name(result)}; best first, click a column's name to sort by it"
    return table(caption, head + ["Reason"] * explained, rows, text=words, sortable=True, descending=1)


def _is_numeric(result: SweepResult, name: str) -> bool:
    values = [one.trial.values.get(name) for one in result.finished]
    return all(value is None or (isinstance(value, (int, float)) and not isinstance(value, bool)) for value in values)


def _by_setting(result: SweepResult) -> str:
    """Mean over the trials of every value of every setting, where all were combined."""
    finite = sweep_charts.finite(result)
    if not (result.space.is_grid and finite):
        return ""
    digits = decimals(one.result.value for one in finite)
    rows = []
    for dimension in result.space.dimensions:
        for choice in dimension.choices:
            having = [one for one in finite if one.trial.values.get(dimension.name) == choice]
            values = [one.result.value for one in having if one.result.value is not None]
            rows.append([dimension.name, written(choice), *_mean(values, digits), number(len(values), 0)])
    caption = f"By setting: mean {objective_name(result)} over all complete trials with that value"
    return table(caption, ["Setting", "Value", "Mean ± error", "Best", "Trials"], rows, text=(1,))


def _mean(values: Sequence[float], digits: int) -> tuple[str, str]:
    if not values:
        return DASH, DASH
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return with_error(float(np.mean(values)), error, digits), number(max(values), digits)
