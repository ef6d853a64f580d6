"""Looks at a directory of bar files as a training would, and prints what is in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtquant_jax.commands.bar_flags import BarFlags, fitting, load, print_list, symbols_of, terminal_width
from mtquant_jax.commands.working import working
from mtquant_jax.errors import UserError
from mtquant_jax.settings.config import TrainConfig

if TYPE_CHECKING:
    from mtquant_jax.market.bars.directory import Member
    from mtquant_jax.types import Bars

REFUSED = 1
"""Exit code of a check that training would not pass."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckCommand(BarFlags):
    """Print what is in the bar files, and whether training would take them. Exit code 1 if it would not."""


def run(arguments: Sequence[str], prog: str) -> int:
    """Print what the bar files are like; 0, or 1 where a training on them would be refused.

    Raises:
        UserError: a file or a setting is wrong in a way that leaves nothing to look at.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    _, config = load(CheckCommand, arguments, prog)
    from mtquant_jax.market.bars.directory import read_members
    from mtquant_jax.market.bars.inspection import render, report
    from mtquant_jax.market.bars.options import options_of
    from mtquant_jax.market.prepare import instruments_of

    instruments = instruments_of(config)
    traded, conversion = symbols_of(config)
    with working("reading the files"):
        members = read_members(Path(config.data_dir), (*traded, *conversion), instruments, options_of(config))
    for title, rows in report(members):
        print(f"{fitting(title)}\n\n{render(rows, terminal_width())}\n")
    with working("comparing them with each other"):
        bars, problems, notices = _combined(config, members, conversion)
    print_list("Notices", notices)
    if conversion:
        print(f"Only for conversion into {config.simulation.account_currency}: {', '.join(conversion)}\n")
    if bars is not None:
        print(fitting(_period(config, bars, len(members))) + "\n")
    if problems:
        print_list(f"Training would refuse this: {len(problems)} problem{'s' if len(problems) > 1 else ''}", problems)
        return REFUSED
    print("Training would take this.")
    return 0


def _combined(
    config: TrainConfig, members: Sequence[Member], conversion: Sequence[str]
) -> tuple[Bars | None, list[str], list[str]]:
    """The bars of the files that can be used, all problems on the way to a training, and all notices."""
    from mtquant_jax.market.bars.loading import combine, notices_of, problems_of
    from mtquant_jax.market.bars.options import options_of
    from mtquant_jax.market.bars.selection import choose
    from mtquant_jax.market.features import table_plan
    from mtquant_jax.market.prepare import asset_classes, instruments_of, splits_of

    options = options_of(config)
    problems = [member.findings.problem for member in members if member.findings.problem]
    usable = [member for member in members if member.file is not None]
    misfitting, notices = problems_of(usable, options)
    notices += [notice for member in members for notice in notices_of(member, options)]
    problems += misfitting
    if misfitting or not {member.instrument.symbol for member in usable} - set(conversion):
        return None, problems, notices
    bars = None
    try:
        bars, notices_of_all = combine(usable, options)
        notices = list(dict.fromkeys(notices + notices_of_all))
        if conversion:
            traded = [symbol for symbol in bars.symbols if symbol not in conversion]
            bars = choose(bars, traded, beside=[symbol for symbol in bars.symbols if symbol in conversion])
        splits_of(config, len(bars.timestamps))
        if len(usable) == len(members):
            account = config.simulation.account_currency
            table_plan(bars.symbols, asset_classes(config), instruments_of(config), account)
    except UserError as error:
        problems.append(str(error))
    return bars, problems, notices


def _period(config: TrainConfig, bars: Bars, wanted: int) -> str:
    """The common period, what trades in it and how a training divides it, in one to three lines."""
    import numpy as np

    from mtquant_jax.market.bars.bar_file import format_time
    from mtquant_jax.market.prepare import splits_of

    tradable = np.asarray(bars.tradable)[0]
    first, last = (format_time(bars.timestamps[i]) for i in (0, -1))
    some = f" of the {len(bars.symbols)} usable files" if len(bars.symbols) < wanted else ""
    lines = [
        f"Common period{some}: {first} to {last} UTC, {len(tradable):,} bars; all {len(bars.symbols)} trade in "
        f"{int(tradable.all(axis=1).sum()):,} of them."
    ]
    try:
        splits = splits_of(config, len(tradable))
    except UserError:
        return lines[0]
    for name, (start, end) in (("training", splits.train), ("validation", splits.validation), ("test", splits.test)):
        when = " to ".join(format_time(bars.timestamps[i])[:10] for i in (start, end - 1))
        lines.append(f"  {name:<11}{when}  {end - start:>9,} bars")
    return "\n".join(lines)
