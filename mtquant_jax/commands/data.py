"""The `data` commands: look at a directory of bar files as a training would, and rewrite it as Parquet.

Their settings are those of a training, so that what passes here passes there.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

from mtquant_jax.errors import UserError, with_flags
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.layers import load_config

if TYPE_CHECKING:
    from mtquant_jax.market.bars.directory import Member
    from mtquant_jax.types import Bars

REFUSED = 1
"""Exit code of a check that training would not pass."""


def run(argv: Sequence[str]) -> int:
    """Run one of the commands; its exit code.

    Raises:
        UserError: an input that the user can mend.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    arguments = _parser().parse_args(argv)
    flags = ["--data-dir", arguments.data_dir]
    for name in ("config", "instruments", "broker_timezone", "timeframe"):
        if getattr(arguments, name) is not None:
            flags += [f"--{name.replace('_', '-')}", getattr(arguments, name)]
    config, _ = load_config(flags)
    return convert(config, Path(arguments.output)) if arguments.command == "convert" else check(config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mtquant-jax data", description="Look at bar files.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary, text in (
        (
            "check",
            "tell what is in the bar files, and whether training would take them",
            " Exit code 1 if it would not.",
        ),
        ("convert", "write the aligned bars as Parquet, one file per symbol", ""),
    ):
        command = commands.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + "." + text, allow_abbrev=False
        )
        command.add_argument("--data-dir", "--data_dir", required=True, help="directory of bar files, one per symbol")
        if name == "convert":
            command.add_argument("--output", required=True, help="directory for the Parquet files")
        command.add_argument("--config", help="YAML file with settings; its specialists say which symbols are needed")
        command.add_argument("--instruments", help="YAML of contract specifications laid over the shipped ones")
        command.add_argument(
            "--broker-timezone",
            "--broker_timezone",
            help="clock of files whose stamps have no offset: an IANA zone, or NewYork+7 (default: UTC)",
        )
        choices = get_args(get_type_hints(TrainConfig)["timeframe"])
        command.add_argument("--timeframe", choices=choices, help="bars to make of those of the files (default: files)")
    return parser


def check(config: TrainConfig) -> int:
    """Print what the bar files of `config` are like; 0, or 1 where a training with it would refuse them."""
    from mtquant_jax.market.bars.directory import read_members
    from mtquant_jax.market.bars.inspection import render, report
    from mtquant_jax.market.prepare import instruments_of
    from mtquant_jax.time_zones import read_zone

    instruments = instruments_of(config)
    zone = read_zone(config.broker_timezone)
    members = read_members(Path(config.data_dir), _symbols(config), instruments, zone, config.timeframe)
    for title, rows in report(members):
        print(f"{title}\n\n{render(rows)}\n")
    bars, problems, notices = _combined(config, members)
    _print_list("Notices", notices)
    if bars is not None:
        print(_period(config, bars, len(members)) + "\n")
    if problems:
        _print_list(f"Training would refuse this: {len(problems)} problem{'s' if len(problems) > 1 else ''}", problems)
        return REFUSED
    print("Training would take this.")
    return 0


def _symbols(config: TrainConfig) -> list[str]:
    return [symbol for specialist in config.specialists.values() for symbol in specialist.symbols]


def _combined(config: TrainConfig, members: Sequence[Member]) -> tuple[Bars | None, list[str], list[str]]:
    """The bars of the files that can be used, all problems on the way to a training, and all notices."""
    from mtquant_jax.market.bars.loading import combine, misfits, notices_of
    from mtquant_jax.market.domain import instrument_roles
    from mtquant_jax.market.instruments import conversion_plan
    from mtquant_jax.market.prepare import asset_classes, instruments_of, splits_of

    problems = [member.findings.problem for member in members if member.findings.problem]
    notices = [notice for member in members for notice in notices_of(member)]
    usable = [member for member in members if member.file is not None]
    misfitting = misfits([member.file for member in usable if member.file is not None]) if usable else []
    problems += misfitting
    if misfitting or not usable:
        return None, problems, notices
    bars = None
    try:
        bars, notices_of_all = combine(usable, config.market.start, config.market.end)
        notices = list(dict.fromkeys(notices + notices_of_all))
        splits_of(config, len(bars.timestamps))
        if len(usable) == len(members):
            instruments = instruments_of(config)
            instrument_roles(bars.symbols, asset_classes(config), instruments)
            conversion_plan(bars.symbols, instruments, config.simulation.account_currency)
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


def _print_list(title: str, sentences: Sequence[str]) -> None:
    if sentences:
        print(f"{title}\n")
        for sentence in sentences:
            print(f"- {with_flags(' '.join(sentence.split()))}")
        print()


def convert(config: TrainConfig, output: Path) -> int:
    """Write the bars that a training with `config` would see into `output`, as Parquet.

    Raises:
        UserError: bars that a training would refuse, or an output directory with other bar files of the same symbols.
    """
    from mtquant_jax.market.bars.bar_file import format_time
    from mtquant_jax.market.bars.loading import load_bars
    from mtquant_jax.market.bars.parquet import write_bars
    from mtquant_jax.market.prepare import instruments_of

    instruments = instruments_of(config)
    bars, notices = load_bars(
        Path(config.data_dir),
        _symbols(config),
        instruments,
        config.market.start,
        config.market.end,
        config.broker_timezone,
        config.timeframe,
    )
    _check_output(config, output, bars.symbols)
    _print_list("Notices", notices)
    try:
        files = write_bars(bars, output)
    except OSError as error:
        raise UserError(f"--output {output} cannot be written: {error.strerror}") from error
    first, last = (format_time(bars.timestamps[i]) for i in (0, -1))
    print(
        f"Wrote {len(files)} files of {len(bars.timestamps):,} bars, {first} to {last} UTC, to {output}: "
        f"{', '.join(path.name for path in files)}"
    )
    return 0


def _check_output(config: TrainConfig, output: Path, symbols: Sequence[str]) -> None:
    """Refuse a directory in which the new files would stand beside others of the same symbols."""
    from mtquant_jax.market.bars.directory import bar_files
    from mtquant_jax.market.instruments import symbol_of_file
    from mtquant_jax.market.prepare import instruments_of

    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file; give a directory")
    if output.resolve() == Path(config.data_dir).resolve():
        raise UserError(f"--output {output} is the data directory itself; give another one")
    instruments = instruments_of(config)
    for path in bar_files(output) if output.is_dir() else []:
        symbol = symbol_of_file(path.name, instruments)
        if symbol in symbols and path.name != f"{symbol}.parquet":
            raise UserError(f"--output {output} has {path.name}, another file for {symbol}; give an empty directory")
