"""Lists, compares, tags and deletes the runs below folders, evaluated or not."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from mtquant_jax.commands.bar_flags import terminal_width
from mtquant_jax.errors import UserError, with_flags
from mtquant_jax.settings.flags import parsed

if TYPE_CHECKING:  # NumPy is imported when a command runs, and not for its help
    from mtquant_jax.runs.registry import Entry


@dataclasses.dataclass(frozen=True)
class RunsListCommand:
    """List the runs below folders: state, settings in which they differ, validation and test Sharpe ratios.

    Walk-forwards and sweeps are listed as one each.
    """

    folders: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="[FOLDER ...]")] = ()
    """Folders that are searched at any depth; none: runs if it exists, and otherwise the current one."""
    where: tuple[str, ...] = ()
    """List only runs with all of these, such as ppo.gamma=0.95 state=finished tag=best; seed=0,1 is one of the two."""
    sort: str = "started"
    """Column or setting to sort by; validation and test begin with the best."""
    reverse: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Turn the order round."""
    group_by: tuple[str, ...] = ()
    """List groups of runs that have the same values of these settings or columns, with means over their seeds."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print all that is known of the runs as JSON."""
    csv: str = ""
    """Write a table to this file, with a column for every setting in which the runs differ."""


@dataclasses.dataclass(frozen=True)
class RunsCompareCommand:
    """Compare settings and validation figures of runs, evaluated or not; seeds of one setting are one column.

    The test split stays untouched: `mtquant-jax compare` is for evaluated runs.
    """

    runs: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="RUN [RUN ...]", help_behavior_hint="(required)"),
    ]
    """Run directories, or folders with all runs below them; two or more runs."""


@dataclasses.dataclass(frozen=True)
class RunsTagCommand:
    """Give a run tags, by which it can be listed, or take them away; one that is tagged keep is never pruned."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """Run directory of a training or a walk-forward."""
    tags: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="TAG [TAG ...]", help_behavior_hint="(required)"),
    ]
    """Names of at most 40 letters, digits, points, hyphens and underscores."""
    remove: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Take them away."""


@dataclasses.dataclass(frozen=True)
class RunsPruneCommand:
    """Delete runs: those that fit --where, all but the best, or both. Without --yes it only says what would go.

    Runs that are running or tagged keep stay, as do sweeps, and every file that is not of a run.
    """

    folder: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FOLDER")]
    """Folder whose runs are looked at, at any depth."""
    where: tuple[str, ...] = ()
    """Delete runs with these settings, such as state=failed or ppo.gamma=0.95, as in `mtquant-jax runs list`."""
    keep_best: int | None = None
    """Of the runs that fit, keep so many; runs that cannot be ranked stay."""
    by: Literal["validation", "test", "started"] = "validation"
    """Figure that is best when it is highest, or the start: the newest."""
    yes: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Delete them."""


def list_runs(arguments: Sequence[str], prog: str) -> None:
    """Find, choose and print.

    Raises:
        UserError: a folder does not exist, a flag names what there is not, or a file cannot be written.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(RunsListCommand, arguments, prog)
    from mtquant_jax.reports import runs as report
    from mtquant_jax.runs.registry import runs_below
    from mtquant_jax.runs.selection import chosen, grouped, ordered

    folders = list(command.folders) or ["runs" if Path("runs").is_dir() else "."]
    below, width = f"below {', '.join(folders)}", terminal_width()
    every = runs_below([Path(folder) for folder in folders])
    entries = ordered(chosen(every, command.where), command.sort, command.reverse)
    groups = grouped(entries, command.group_by) if command.group_by else None
    if command.csv:
        path = Path(command.csv)
        report.write_csv(entries, path) if groups is None else report.write_groups_csv(groups, path)
    if command.json:
        _print_json(report.as_json(entries) if groups is None else report.groups_as_json(groups))
    elif not entries:
        print(f"none of {len(every)} runs {below} fits" if every else f"no run {below}")
    else:
        _print(report.lines(entries, below, width) if groups is None else report.group_lines(groups, below, width))
    if command.csv:
        print(f"table in {command.csv}", file=sys.stderr)


def compare_runs(arguments: Sequence[str], prog: str) -> None:
    """Read, group and print.

    Raises:
        UserError: fewer than two runs, or one that is missing or damaged.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(RunsCompareCommand, arguments, prog)
    from mtquant_jax.reports.runs import comparison_lines
    from mtquant_jax.runs.registry import TRAINING, entry_of, is_run, runs_below
    from mtquant_jax.runs.selection import by_settings

    entries: dict[Path, Entry] = {}
    for path in map(Path, command.runs):
        found = [entry_of(path)] if path.is_dir() and is_run(path) else runs_below([path])
        if not found:
            raise UserError(f"{path} holds no run")
        if len(found) == 1 and found[0].kind != TRAINING and found[0].problem is None:
            raise UserError(f"{found[0].path} is a {found[0].kind}; only trainings have validation figures to compare")
        for entry in found:
            if entry.problem is not None:
                raise UserError(entry.problem)
            if entry.kind == TRAINING:
                entries[entry.path.resolve()] = entry
    if len(entries) < 2:
        raise UserError("give at least two runs to compare, or a folder that holds some")
    _print(comparison_lines(by_settings(list(entries.values())), terminal_width()))


def tag_run(arguments: Sequence[str], prog: str) -> None:
    """Change the tags and print them.

    Raises:
        UserError: it is no run, a name is no tag, or the run has no such tag to remove.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(RunsTagCommand, arguments, prog)
    from mtquant_jax.runs.registry import is_run
    from mtquant_jax.runs.tags import change_tags
    from mtquant_jax.storage.paths import RunPaths

    path = Path(command.run)
    if not path.is_dir() or not is_run(path):
        raise UserError(f"{path} is no run directory; only trainings and walk-forwards have tags")
    tags = change_tags(RunPaths(path), command.tags, command.remove)
    print(f"{path}: {', '.join(tags) or 'no tags'}")


def prune_runs(arguments: Sequence[str], prog: str) -> int:
    """Choose, print, and with ``yes`` delete; returns 1 where something could not be deleted.

    Raises:
        UserError: the folder does not exist, nothing chooses runs, or runs cannot be ranked together.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(RunsPruneCommand, arguments, prog)
    from mtquant_jax.reports.runs import pruning_lines, size_text
    from mtquant_jax.reports.wording import plural
    from mtquant_jax.runs.pruning import carry_out, plan
    from mtquant_jax.runs.registry import runs_below

    pruning = plan(runs_below([Path(command.folder)]), command.where, command.keep_best, command.by)
    _print(pruning_lines(pruning, terminal_width()))
    what = f"{plural(len(pruning.doomed), 'run')}, {size_text(pruning.size_in_bytes)}"
    if not pruning.doomed:
        print("nothing to delete")
        return 0
    if not command.yes:
        print(f"would delete {what}; --yes deletes")
        return 0
    remaining, problems = carry_out(pruning)
    for path in remaining:
        print(f"{path} remains, for there are other files in it")
    for problem in problems:
        print(f"error: {with_flags(problem)}", file=sys.stderr)
    print(f"deleted {what}" if not problems else f"{len(problems)} of {what} could not be deleted")
    return int(bool(problems))


def _print(lines: Any) -> None:
    for line in lines:
        print(with_flags(line))


def _print_json(content: Any) -> None:
    from mtquant_jax.storage.files import json_text

    print(json_text(content), end="")
