"""Turns runs of a registry into tables for a terminal, rows of a CSV file, and JSON."""

from __future__ import annotations

import csv
import io
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mtquant_jax.errors import UserError, with_flags
from mtquant_jax.reports.wording import duration, plural, short_names, shortened
from mtquant_jax.runs.inspected import Validation
from mtquant_jax.runs.pruning import Pruning
from mtquant_jax.runs.registry import Entry, Figure, figure
from mtquant_jax.runs.selection import (
    Mean,
    RunGroup,
    differ_in_market,
    differing,
    is_of_all_classes,
    mean,
    phases_text,
    value_of,
)
from mtquant_jax.settings.dotted import SPECIALISTS
from mtquant_jax.storage.files import replacing
from mtquant_jax.storage.records import to_json

_NARROWEST = 60  # columns of a table that is made to fit
_NARROWEST_CELL = 8  # to which a cell is cut
_READABLE_CELL = 20  # to which it is cut before a column is left out
_GAP = 2
_CUT = ("run", "settings", "tags")
_LEFT_OUT = {
    **dict.fromkeys(("time", "started", "phases"), _READABLE_CELL),
    **dict.fromkeys(("tags", "settings"), _NARROWEST_CELL),
}
"""Columns that are left out one after the other, until the others fit with cells of so many characters."""
_NONE = "-"

_CHOSE = "on the split that chose the policy ± its standard error"
_OVER_SEEDS = (
    "validation: annual Sharpe ratio of the last phase on the split that chose the policies, mean over the seeds ± "
    "standard error"
)
_MIXED = "group by that, too, or choose with `where`"
_FLATTERED = (
    "These are validation figures: that split chose the policies, so all of them are flattered, and none is of the "
    "test split. `mtquant-jax compare` compares runs that were evaluated. ± is the standard error over the seeds, or "
    "of one run that of the figure."
)


def lines(entries: Sequence[Entry], searched: str, width: int | None) -> Iterator[str]:
    """A heading with what all runs have in common, one line per run, and what is damaged.

    Args:
        entries: in their order.
        searched: the folders, in words.
        width: characters of a line; None: as many as it takes.
    """
    common, (on, started) = [], _started(entries)
    columns = [_column("run", entries, lambda entry: str(entry.path))]
    for name, of in (("state", lambda entry: entry.state), ("started", None), ("phases", _phases), ("seed", _seed)):
        column = started if of is None else _column(name, entries, of)
        if of is None or len(entries) == 1 or len(set(column[1:])) > 1 or column[1] == _NONE:
            columns.append(column)
        else:
            common.append(column[1] if name == "state" else f"{name} {column[1]}")
    common += on
    heading = f"{plural(len(entries), 'run')} {searched}{': ' * bool(common)}{', '.join(common)}"
    yield from _wrapped(heading, width)
    yield ""
    settings = differing(entries)
    results = [_column("validation", entries, lambda entry: _figure(entry.validation))]
    for name, found in (
        ("test", lambda entry: _figure(entry.test)),
        ("time", _seconds),
        ("tags", lambda entry: " ".join(entry.tags or ()) or _NONE),
    ):
        column = _column(name, entries, found)
        if set(column[1:]) != {_NONE}:
            results.append(column)
    every = [*columns, *_setting_columns(settings, entries), *results]
    if width is not None and _shortest(every, _READABLE_CELL) > max(width, _NARROWEST):
        every = [*columns, *[_differences(settings, entries)] * bool(settings), *results]
    left_out = []
    for name, cell in _LEFT_OUT.items():
        if width is not None and _shortest(every, cell) > max(width, _NARROWEST):
            left_out += [column[0] for column in every if column[0] == name]
            every = [column for column in every if column[0] != name]
    yield from table(every, width)
    yield ""
    if left_out:
        yield from _wrapped(f"not shown in a terminal as narrow as this: {', '.join(left_out)}", width)
    yield from _notes(entries, width)


def group_lines(groups: Sequence[RunGroup], searched: str, width: int | None) -> Iterator[str]:
    """One line per group: what its runs have in common, how many there are, and means with standard errors."""
    if not groups:
        yield f"no training {searched} can be grouped"
        return
    count = sum(len(group.entries) for group in groups)
    yield from _wrapped(f"{plural(len(groups), 'group')} of {plural(count, 'run')} {searched}", width)
    yield ""
    names = list(groups[0].values)
    columns = [
        [short, *(_value(group.values[name]) for group in groups)]
        for name, short in zip(names, _short(names), strict=True)
    ]
    columns.append(["runs", *(str(len(group.entries)) for group in groups)])
    columns.append(["seeds", *(str(len(_seeds(group))) for group in groups)])
    columns.append(["validation", *(_mean(group.validation) for group in groups)])
    if any(group.test for group in groups):
        columns.append(["test", *(_mean(group.test) for group in groups)])
    yield from table(columns, width, _short(names))
    yield ""
    yield from _wrapped(_OVER_SEEDS, width)
    mixed = dict.fromkeys(key for group in groups for key in group.also_differ)
    if mixed:
        yield from _wrapped(f"warning: runs of a group also differ in {', '.join(mixed)}; {_MIXED}", width)


def comparison_lines(groups: Sequence[RunGroup], width: int | None) -> Iterator[str]:
    """Settings that differ, and validation figures phase by phase, side by side; a column is one setting."""
    letters = [_letter(place) for place in range(len(groups))]
    entries = [entry for group in groups for entry in group.entries]
    for letter, group in zip(letters, groups, strict=True):
        seeds = _seeds(group)
        seed = f"seed{'s' * (len(seeds) != 1)} {', '.join(map(str, seeds))}: " if seeds else ""
        yield from _wrapped(f"{letter}  {seed}{' '.join(str(entry.path) for entry in group.entries)}", width, "   ")
    yield ""
    rows = [["settings", *letters]]
    names = list(groups[0].values)
    rows += [
        [short, *(_value(group.values[name]) for group in groups)]
        for name, short in zip(names, _short(names), strict=True)
    ]
    if not names:
        rows = []
        yield "no setting differs but the seed"
    phases = sorted({phase for entry in entries for phase in entry.validations})
    figures = [["validation Sharpe ratio", *letters]]
    for phase in phases:
        for agent in dict.fromkeys(name for entry in entries for name in entry.validations.get(phase, {})):
            found = [_of_group(group, phase, agent) for group in groups]
            figures.append([f"phase {phase} {agent.replace('_', '-')}", *found])
    for block in (rows, figures):
        if block:
            yield from _side_by_side(block, width)
            yield ""
    if not phases:
        yield "no run has completed a phase"
    yield from _wrapped(_FLATTERED, width)
    if differ_in_market(entries):
        yield from _wrapped("warning: the runs were trained and validated on different markets", width)
    for entry in entries:
        if entry.info is not None and not entry.validations:
            yield from _wrapped(f"{entry.path} is {entry.state} and has completed no phase", width)


def pruning_lines(pruning: Pruning, width: int | None) -> Iterator[str]:
    """What is deleted, with its size, and what is spared."""
    if pruning.doomed:
        columns = [["run", *(str(one.entry.path) for one in pruning.doomed)]]
        columns.append(["state", *(one.entry.state for one in pruning.doomed)])
        columns.append(["validation", *(_figure(one.entry.validation) for one in pruning.doomed)])
        columns.append(["size", *(size_text(one.size_in_bytes) for one in pruning.doomed)])
        yield from table(columns, width)
    for one in pruning.spared:
        yield from _wrapped(f"stays: {one.entry.path} {one.why}", width)


def size_text(size: int) -> str:
    """Bytes, in megabytes from a tenth of one on."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size:,} bytes"


def as_json(entries: Sequence[Entry]) -> dict[str, Any]:
    """Every run with all that is known of it."""
    return {"differing": differing(entries), "runs": [entry.to_json() for entry in entries]}


def groups_as_json(groups: Sequence[RunGroup]) -> dict[str, Any]:
    """Every group with its means and its runs."""
    return {
        "groups": [
            {
                "values": dict(group.values),
                "runs": [str(entry.path) for entry in group.entries],
                "seeds": _seeds(group),
                "validation": to_json(group.validation),
                "test": to_json(group.test),
                "also_differ": group.also_differ,
            }
            for group in groups
        ]
    }


def write_csv(entries: Sequence[Entry], path: Path) -> None:
    """One row per run, with a column for every setting in which they differ.

    Raises:
        UserError: the file cannot be written.
    """
    settings = differing(entries)
    rows = [
        {
            "run": str(entry.path),
            "kind": entry.kind,
            "state": entry.state,
            "started": entry.info.started if entry.info else None,
            "phases": phases_text(entry),
            "seed": entry.settings.get("seed"),
            **{key: _value(value_of(entry, key), _exact) for key in settings},
            "last_phase": entry.last_phase,
            **_figure_columns("validation", entry.validation),
            **_figure_columns("test", entry.test),
            "seconds": entry.info.seconds if entry.info else None,
            "tags": " ".join(entry.tags or ()),
            "market": entry.market,
            "commit": entry.info.code.commit if entry.info and entry.info.code else None,
            "problem": entry.problem,
        }
        for entry in entries
    ]
    _write_rows(rows, path)


def write_groups_csv(groups: Sequence[RunGroup], path: Path) -> None:
    """One row per group.

    Raises:
        UserError: the file cannot be written.
    """
    rows = [
        {
            **{key: _value(value, _exact) for key, value in group.values.items()},
            "runs": len(group.entries),
            "seeds": len(_seeds(group)),
            **_figure_columns("validation", group.validation),
            **_figure_columns("test", group.test),
        }
        for group in groups
    ]
    _write_rows(rows, path)


def table(columns: Sequence[Sequence[str]], width: int | None, may_cut: Sequence[str] = _CUT) -> Iterator[str]:
    """Columns below their names; the widest of those that may be are cut until a line fits.

    Args:
        columns: name and cells of each.
        width: characters of a line; None: as many as it takes.
        may_cut: names of columns whose cells may be cut.
    """
    widths = [max(map(len, column)) for column in columns]
    if width is not None:
        room = max(width, _NARROWEST) - _GAP * (len(columns) - 1)
        cut = [place for place, column in enumerate(columns) if column[0] in may_cut]
        while sum(widths) > room and cut:
            widest = max(cut, key=lambda place: widths[place])
            if widths[widest] <= _NARROWEST_CELL:
                break
            widths[widest] -= 1
    for row in zip(*columns, strict=True):
        cells = (f"{shortened(cell, size):<{size}}" for cell, size in zip(row, widths, strict=True))
        yield (" " * _GAP).join(cells).rstrip()


def _shortest(columns: Sequence[Sequence[str]], cell: int) -> int:
    """Characters of a line when all that may be is cut to cells of so many characters."""
    widths = [max(map(len, column)) for column in columns]
    shortest = (min(cell, size) if column[0] in _CUT else size for column, size in zip(columns, widths, strict=True))
    return sum(shortest) + _GAP * (len(columns) - 1)


def _side_by_side(rows: Sequence[Sequence[str]], width: int | None) -> Iterator[str]:
    """A table of rows, divided where it has more columns than fit."""
    columns = list(zip(*rows, strict=True))
    if width is None:
        yield from table(columns, None)
        return
    first, rest = columns[0], columns[1:]
    room = max(width, _NARROWEST) - min(max(map(len, first)), _NARROWEST // 2)
    while rest:
        taken, used = 0, 0
        while taken < len(rest) and (taken == 0 or used + _GAP + max(map(len, rest[taken])) <= room):
            used += _GAP + max(map(len, rest[taken]))
            taken += 1
        yield from table([first, *rest[:taken]], width, [column[0] for column in (first, *rest)])
        rest = rest[taken:]
        if rest:
            yield ""


def _column(name: str, entries: Sequence[Entry], cell: Callable[[Entry], str]) -> list[str]:
    return [name, *(cell(entry) for entry in entries)]


def _setting_columns(settings: Sequence[str], entries: Sequence[Entry]) -> list[list[str]]:
    """A column for each setting."""
    return [
        _column(short, entries, lambda entry, key=key: _value(value_of(entry, key)))  # type: ignore[misc]
        for key, short in zip(settings, _short(settings), strict=True)
    ]


def _differences(settings: Sequence[str], entries: Sequence[Entry]) -> list[str]:
    """One column for all settings: those in which a run has another value than most runs have."""
    known = [entry for entry in entries if entry.settings]
    usual = {key: Counter(_value(value_of(entry, key)) for entry in known).most_common(1)[0][0] for key in settings}
    short = dict(zip(settings, _short(settings), strict=True))
    rows = ["settings"]
    for entry in entries:
        cells = {}
        for key in settings if entry.settings else ():
            if (value := _value(value_of(entry, key))) != usual[key]:
                same = is_of_all_classes(entry, key)
                cells[key.rpartition(".")[2] if same else short[key]] = value
        rows.append(" ".join(f"{name}={value}" for name, value in cells.items()) or _NONE)
    return rows


def _short(settings: Sequence[str]) -> list[str]:
    """Names without their groups, or where two would be the same without ``specialists`` alone."""
    return short_names([name.removeprefix(f"{SPECIALISTS}.") for name in settings])


def _started(entries: Sequence[Entry]) -> tuple[list[str], list[str]]:
    """When runs began, as short as they can be told apart, and what all have in common."""
    times = [datetime.fromisoformat(entry.info.started) if entry.info else None for entry in entries]
    known = [time for time in times if time is not None]
    form, common = "%Y-%m-%d", []
    if known and len({time.date() for time in known}) == 1:
        form, common = "%H:%M", [f"started on {known[0]:%Y-%m-%d}"]
    elif len({time.year for time in known}) == 1:
        form = "%m-%d %H:%M"
    return common, ["started", *(_NONE if time is None else f"{time:{form}}" for time in times)]


def _phases(entry: Entry) -> str:
    return phases_text(entry) or (entry.kind if entry.info is None and entry.problem is None else _NONE)


def _seed(entry: Entry) -> str:
    return _value(entry.settings.get("seed"))


def _seeds(group: RunGroup) -> list[Any]:
    found = {entry.settings.get("seed") for entry in group.entries}
    return sorted(seed for seed in found if isinstance(seed, int))


def _seconds(entry: Entry) -> str:
    return duration(entry.info.seconds) if entry.info and entry.info.seconds is not None else _NONE


def _figure(found: Figure | None) -> str:
    if found is None:
        return _NONE
    return f"{found.value:+.2f} ± {found.error:.2f}" if found.error is not None else _without_error(found.value)


def _mean(found: Mean | None) -> str:
    if found is None:
        return _NONE
    return f"{found.value:+.2f} ± {found.error:.2f}" if found.error is not None else f"{found.value:+.2f}"


def _without_error(value: float) -> str:
    return "flat" if value == 0.0 else f"{value:+.2f}"


def _of_group(group: RunGroup, phase: int, agent: str) -> str:
    """A figure over the seeds of a group; of one run with the error of the figure."""
    found: list[tuple[Any, Validation]] = [
        (entry.settings.get("seed"), entry.validations[phase][agent])
        for entry in group.entries
        if agent in entry.validations.get(phase, {})
    ]
    if len(found) == 1:
        return _figure(figure([found[0][1]]))
    return _mean(mean((seed, figure([one])) for seed, one in found))


def _figure_columns(name: str, found: Figure | Mean | None) -> Mapping[str, float | None]:
    value, error = (None, None) if found is None else (found.value, found.error)
    return {name: value, f"{name}_error": error}


def _value(value: Any, number: Callable[[float], str] | None = None) -> str:
    """The value of a setting."""
    if value is None:
        return _NONE if number is None else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}" if number is None else number(value)
    if isinstance(value, list):
        return ",".join(_value(item, number) for item in value) or "none"
    return str(value) if value != "" else '""'


def _exact(value: float) -> str:
    return repr(value)


def _letter(place: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    rest, last = divmod(place, 26)
    return (_letter(rest - 1) if rest else "") + chr(ord("A") + last)


def _notes(entries: Sequence[Entry], width: int | None) -> Iterator[str]:
    """What the figures are, and why runs cannot be read."""
    phases = {entry.last_phase for entry in entries if entry.last_phase}
    if phases:
        which = f"of phase {phases.pop()}" if len(phases) == 1 else "of the last phase"
        mean_of = "; in phase 1 the mean of the specialists" if any(e.last_phase == 1 for e in entries) else ""
        yield from _wrapped(f"validation: annual Sharpe ratio {which} {_CHOSE}{mean_of}", width)
    for entry in entries:
        if entry.problem is not None:
            yield from _wrapped(with_flags(f"{entry.state}: {' '.join(entry.problem.split())}"), width)


def _wrapped(text: str, width: int | None, indent: str = "  ") -> Iterator[str]:
    if width is None:
        yield text
        return
    width = max(width, _NARROWEST)
    yield from textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    try:
        with replacing(path) as temporary:
            temporary.write_text(text.getvalue(), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
