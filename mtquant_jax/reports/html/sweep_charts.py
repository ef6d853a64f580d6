"""Charts of a sweep: parallel coordinates, importance and slices of settings, learning curves, order of the trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from mtquant_jax.reports.html.charts import COLOURS, DASHES, MARKERS, Chart, Trace, rounded
from mtquant_jax.reports.html.text import label, wrapped
from mtquant_jax.reports.sweep import objective_name, value_text
from mtquant_jax.reports.wording import decimals, shortened
from mtquant_jax.runs.sweep.result import SweepResult
from mtquant_jax.runs.sweep.study import Finished
from mtquant_jax.settings.search_space import Dimension, Value, written

_SCALE = ("@s1", "@s2", "@s3", "@s4", "@s5")  # from high ranks to low ones
_BEST = "@c2"
_CURVES = 5
_FEW = 9  # trials, each of which then has its number on the axis
_SPREAD = 0.6  # of a category's width
_UNSET = -0.15  # place of trials without the setting, on an axis from 0 to 1
_DECADES = 300.0  # factor from the low end to the high one, from which on an axis shows powers of ten alone
_LETTERS = (120, 40)  # below an axis, for which there is room on a screen and on a phone
_LABEL = 14  # letters of a category at most
_NEAR = 0.12  # of an axis, within which two numbers would touch


def finite(result: SweepResult) -> list[Finished]:
    """Complete trials whose value is finite, the best first."""
    return [one for one in result.complete if one.result.value is not None and math.isfinite(one.result.value)]


def _values(trials: Sequence[Finished]) -> np.ndarray:
    return np.array([one.result.value for one in trials], np.float64)


def _errors(trials: Sequence[Finished]) -> list[float]:
    return [float(f"{one.result.standard_error or 0.0:.4g}") for one in trials]


def _names(trials: Sequence[Finished]) -> list[str]:
    """``trial 3: 1.23 ± 0.45``."""
    digits = decimals(one.result.value for one in trials)
    return [f"trial {one.trial.number}: {value_text(one, digits)}" for one in trials]


def _is_number(value: Value | None) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _categories(dimension: Dimension, trials: Sequence[Finished]) -> tuple[list[str], list[float | None]]:
    """Labels of the categories, and every trial's place: the number of its category, spread about it in their order."""
    values = [one.trial.values.get(dimension.name) for one in trials]
    choices = list(dict.fromkeys([*dimension.choices, *(value for value in values if value is not None)]))
    places: list[float | None] = [None] * len(trials)
    for number, choice in enumerate(choices):
        members = [index for index, value in enumerate(values) if value == choice]
        for rank, index in enumerate(members):
            places[index] = number + _SPREAD * ((rank + 0.5) / len(members) - 0.5)
    return [written(choice) for choice in choices], places


def _axis(dimension: Dimension, trials: Sequence[Finished]) -> tuple[dict[float, str], list[float | None]]:
    """Place -> label, and every trial's place, on an axis from 0 to 1."""
    if dimension.choices:
        labels, numbers = _categories(dimension, trials)
        ticks = {(number + 0.5) / len(labels): text for number, text in enumerate(labels)}
        return ticks, [None if number is None else (number + 0.5) / len(labels) for number in numbers]
    return _range(
        [one.trial.values.get(dimension.name) for one in trials], dimension.low, dimension.high, dimension.log
    )


def _range(
    values: Sequence[Value | None], low: float, high: float, log: bool
) -> tuple[dict[float, str], list[float | None]]:
    known = [float(value) for value in values if _is_number(value) and (not log or float(value) > 0.0)]
    low, high = min([low, *known]), max([high, *known])
    transform = math.log if log else float
    length = (transform(high) - transform(low)) or 1.0

    def place(value: float) -> float:
        return (transform(value) - transform(low)) / length

    between = [10.0**power for power in range(-12, 13)] if log else [(low + high) / 2.0]
    inner = {place(value): written(value) for value in between if low < value < high}
    ticks = {0.0: written(low), **{at: text for at, text in inner.items() if _NEAR < at < 1.0 - _NEAR}}
    places = [place(float(v)) if _is_number(v) and (not log or float(v) > 0.0) else None for v in values]
    return {**ticks, place(high): written(high)}, places


def parallel(result: SweepResult) -> Chart | None:
    """A line for every complete trial through its settings to its value, coloured by rank."""
    trials = finite(result)
    if not trials:
        return None
    values, names, objective = _values(trials), _names(trials), objective_name(result)
    rows = [_axis(dimension, trials) for dimension in result.space.dimensions]
    ticks, places = _range(values.tolist(), float(values.min()), float(values.max()), log=False)
    rows.append(({place: f"{float(text):.{decimals(values)}f}" for place, text in ticks.items()}, places))
    titles = [*result.space.names, objective]
    unset = any(place is None for _, places in rows for place in places)
    texts = [
        [f"{names[index]}<br>{label(name)} {label(_written(one, name))}" for name in result.space.names]
        + [names[index]]
        for index, one in enumerate(trials)
    ]
    traces = []
    for number, members in enumerate(_groups(len(trials))):
        x: list[float | None] = []
        y: list[float | None] = []
        text: list[str] = []
        for index in members:
            x += [_UNSET if places[index] is None else round(places[index] or 0.0, 4) for _, places in rows] + [None]
            y += [*range(len(rows)), None]
            text += [*texts[index], ""]
        colour = _BEST if number == 0 else _SCALE[number - 1]
        traces.append(
            {
                "x": x,
                "y": y,
                "text": text,
                "name": _group_name(members, values, names),
                "mode": "lines+markers",
                "line": {"color": colour, "width": 3.0 if number == 0 else 2.0 - 0.2 * number},
                "marker": {"color": colour, "size": 9 if number == 0 else 5, "symbol": MARKERS[3 * (number == 0)]},
                "zorder": len(_SCALE) - number,
                "hovertemplate": "%{text}<extra></extra>",
            }
        )
    layout = {
        "xaxis": {"range": [_UNSET - 0.05 if unset else -0.04, 1.04], "visible": False, "fixedrange": True},
        "yaxis": {
            "range": [len(rows) - 0.45, -0.4],
            "tickvals": list(range(len(rows))),
            "ticktext": [wrapped(title) for title in titles],
            "gridcolor": "@quiet",
            "fixedrange": True,
        },
        "annotations": [note for row, (ticks, _) in enumerate(rows) for note in _notes(row, ticks)]
        + [_note(row, _UNSET, "unset") for row, (_, places) in enumerate(rows) if None in places],
        "hovermode": "closest",
        "margin": {"t": 10},
    }
    title = f"Settings of {len(trials)} complete trial{'s' * (len(trials) != 1)} and what came of them"
    text_of = f"Parallel coordinates of {', '.join(titles)}"
    return Chart("parallel", title, text_of, traces, layout, height=40 + 74 * len(rows))


def _written(one: Finished, name: str) -> str:
    value = one.trial.values.get(name)
    return "unset" if value is None else written(value)


def _groups(count: int) -> list[list[int]]:
    """The best one alone, and the others in at most five groups of equal numbers."""
    others = np.array_split(np.arange(1, count), min(len(_SCALE), max(count - 1, 1)))
    return [[0], *(group.tolist() for group in others if len(group))]


def _group_name(members: Sequence[int], values: np.ndarray, names: Sequence[str]) -> str:
    if len(members) == 1:
        return names[members[0]]
    digits = decimals(values)
    first, last = members[0], members[-1]
    return f"ranks {first + 1} to {last + 1}: {values[first]:.{digits}f} to {values[last]:.{digits}f}"


def _notes(row: int, ticks: Mapping[float, str]) -> list[dict[str, Any]]:
    """The labels of an axis for which there is room; those for which a phone has none are marked."""
    short = {place: shortened(text, _LABEL) for place, text in ticks.items()}
    letters = sum(map(len, short.values()))
    screen, phone = (max(1, -(-letters // room)) for room in _LETTERS)
    phone = screen * -(-phone // screen)
    shown = list(short.items())[::screen]
    return [_note(row, place, text, wide=bool(n * screen % phone)) for n, (place, text) in enumerate(shown)]


def _note(row: int, place: float, text: str, wide: bool = False) -> dict[str, Any]:
    note = {"x": round(place, 4), "y": row, "text": label(text), "showarrow": False, "yshift": -15}
    note |= {"font": {"size": 11, "color": "@quiet"}, "bgcolor": "@card"}
    return {**note, "name": "wide"} if wide else note


def importance(result: SweepResult) -> Chart | None:
    """Shares of the differences in value that settings account for."""
    found = {name: share for name, share in result.importance.items() if math.isfinite(share)}
    if not found:
        return None
    trace: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": rounded([100.0 * share for share in found.values()], 4),
        "y": list(range(len(found))),
        "text": [label(name) for name in found],
        "name": "importance",
        "marker": {"color": "@c1"},
        "textposition": "none",
        "hovertemplate": "%{text}: %{x:.1f} %<extra></extra>",
    }
    layout = {
        "xaxis": {"ticksuffix": " %", "rangemode": "tozero"},
        "yaxis": {
            "tickvals": list(range(len(found))),
            "ticktext": [wrapped(name) for name in found],
            "autorange": "reversed",
            "showgrid": False,
        },
        "bargap": 0.4,
    }
    text = f"Importance of {len(found)} settings, the largest first"
    height = 75 + 46 * len(found)
    return Chart("importance-chart", "Importance, % of all", text, [trace], layout, height, legend=False)


def slices(result: SweepResult) -> list[Chart]:
    """Value by every setting."""
    # In the order of their numbers, which means nothing: points of a category are spread in it.
    trials, objective = sorted(finite(result), key=lambda one: one.trial.number), objective_name(result)
    best = result.best
    found = []
    for number, dimension in enumerate(result.space.dimensions):
        axis: dict[str, Any] = {"type": "linear"}
        if dimension.log:
            step = 1 if dimension.high > _DECADES * dimension.low else "D2"  # D2: 1, 2, 5 and 10
            axis = {"type": "log", "exponentformat": "power", "dtick": step}
        if dimension.choices:
            labels, places = _categories(dimension, trials)
            # So that long names fit below narrow charts.
            texts = [wrapped(text, 10, 2) for text in labels]
            axis = {"tickvals": list(range(len(labels))), "ticktext": texts, "range": [-0.5, len(labels) - 0.5]}
        else:
            _, known = _axis(dimension, trials)
            places = [
                None if place is None else one.trial.values[dimension.name]  # type: ignore[misc]
                for one, place in zip(trials, known, strict=True)
            ]
        kept = [index for index, place in enumerate(places) if place is not None]
        if not kept:
            continue
        names = _names(trials)
        traces = [
            _points(
                [trials[index] for index in group],
                [places[index] for index in group],
                [f"{names[i]}<br>{label(dimension.name)} {label(_written(trials[i], dimension.name))}" for i in group],
                is_best,
            )
            for is_best, group in (
                (False, [i for i in kept if trials[i] is not best]),
                (True, [i for i in kept if trials[i] is best]),
            )
            if group
        ]
        layout = {"xaxis": axis, "yaxis": {"zeroline": True}, "hovermode": "closest", "margin": {"t": 10}}
        title = f"{objective} by {dimension.name}"
        title += f" ({len(trials) - len(kept)} without it left out)" if len(kept) < len(trials) else ""
        text = f"{objective} of {len(kept)} trials by {dimension.name}"
        found.append(Chart(f"slice{number}", title, text, traces, layout, height=270, legend=False))
    return found


def _points(trials: Sequence[Finished], x: Sequence[Any], text: Sequence[str], is_best: bool = False) -> Trace:
    """Values with their standard errors."""
    colour = _BEST if is_best else "@c1"
    return {
        "x": list(x),
        "y": rounded(_values(trials)),
        "error_y": {"type": "data", "array": _errors(trials), "color": colour, "thickness": 1, "width": 2},
        "text": list(text),
        "name": "the best trial" if is_best else "complete trials",
        "mode": "markers",
        "marker": {"color": colour, "size": 11 if is_best else 7, "symbol": MARKERS[3 * is_best]},
        "opacity": 1.0 if is_best else 0.75,
        "hovertemplate": "%{text}<extra></extra>",
    }


def curves(result: SweepResult) -> Chart | None:
    """Means over the seeds of the best trials by timesteps, and the range of the seeds."""
    traces: list[Trace] = []
    trials = [one for one in finite(result) if one.result.curve][:_CURVES]
    for index, one in enumerate(trials):
        looks = [(timesteps, np.array(scores, np.float64)) for timesteps, scores in one.result.curve if len(scores)]
        looks = [(timesteps, scores) for timesteps, scores in looks if np.isfinite(scores).all()]
        if not looks:
            continue
        x, name = [timesteps for timesteps, _ in looks], f"trial {one.trial.number}"
        low, high = ([float(pick(scores)) for _, scores in looks] for pick in (np.min, np.max))
        colour = COLOURS[index % len(COLOURS)]
        band: Trace = {"x": [*x, *reversed(x)], "y": rounded([*high, *reversed(low)], 4), "line": {"width": 0}}
        band |= {"fill": "toself", "fillcolor": colour, "opacity": 0.14, "hoverinfo": "skip"}
        traces.append({"name": name, "mode": "lines", **band})
        line = {"color": colour, "dash": DASHES[(index - 1) % len(DASHES)], "width": 2.6 if index == 0 else 1.8}
        curve: Trace = {"x": x, "y": rounded([scores.mean() for _, scores in looks], 4), "line": line}
        curve |= {
            "name": name,
            "mode": "lines+markers",
            "marker": {"color": colour, "size": 6, "symbol": MARKERS[index]},
        }
        traces.append({**curve, "hovertemplate": f"{name}, %{{x:,}}: %{{y:.3~f}}<extra></extra>"})
    if not traces:
        return None
    shown = len({trace["name"] for trace in traces})
    which = "the best trial" if shown == 1 else f"the best {shown} trials"
    title = f"{objective_name(result)} of {which} by timesteps"
    layout = {"xaxis": {"tickformat": "~s"}, "yaxis": {"zeroline": True}, "hovermode": "closest"}
    return Chart("learning", title, f"{title}, with the range of the seeds", traces, layout, height=380)


def history(result: SweepResult) -> Chart | None:
    """Values in the order of the trials, and the best so far."""
    trials = sorted(finite(result), key=lambda one: one.trial.number)
    if not trials:
        return None
    numbers, values = [one.trial.number for one in trials], _values(trials)
    best: Trace = {
        "x": [*numbers, max(one.trial.number for one in result.finished)],
        "y": rounded([*np.maximum.accumulate(values), values.max()]),
        "name": "best so far",
        "mode": "lines",
        "line": {"color": _BEST, "width": 2.2, "shape": "hv"},
        "hovertemplate": "best so far %{y:.4~g}<extra></extra>",
    }
    axis = {"tickformat": ",d", **({"tickvals": numbers} if len(numbers) < _FEW else {})}
    layout = {"xaxis": axis, "yaxis": {"zeroline": True}, "hovermode": "closest"}
    title = f"{objective_name(result)} by number of the trial"
    traces = [best, _points(trials, numbers, _names(trials))]
    return Chart("order", title, f"{title}, {len(trials)} complete trials", traces, layout, height=320)
