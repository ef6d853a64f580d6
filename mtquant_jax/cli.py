"""Turns a command line into settings and a training: flags over YAML over the shipped configuration.

Nothing here imports JAX before a command runs, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mtquant_jax import __version__
from mtquant_jax.commands import calibrate, compare, evaluate, walk_forward
from mtquant_jax.commands.walk_forward import WalkForwardCommand
from mtquant_jax.errors import UserError, with_flags
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.settings.layers import load_command, load_config

_Commands = dict[str, tuple[Callable[[Sequence[str]], int], str]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mtquant-jax COMMAND ...``.

    Args:
        argv: arguments after the program's name; None takes those of the process.

    Returns:
        exit code: 0, 2 for an input that the user can mend, 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return _dispatch("mtquant-jax", "Train and test trading agents.", _COMMANDS, arguments)


def _dispatch(prog: str, description: str, table: _Commands, arguments: Sequence[str]) -> int:
    """Run the command of the table that the first argument names, with the other arguments."""
    parser = argparse.ArgumentParser(prog=prog, description=description, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"mtquant-jax {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (_, summary) in table.items():
        commands.add_parser(name, help=summary, add_help=False)
    try:
        command = parser.parse_args(arguments[:1]).command
    except SystemExit as stop:
        return _exit_code(stop)
    return table[command][0](arguments[1:])


def train_main(argv: Sequence[str] | None = None, phases: str | None = None, prog: str | None = None) -> int:
    """Run a training; what ``mtquant-jax train`` and the scripts call.

    Args:
        argv: arguments after the program's name; None takes those of the process.
        phases: what ``--phases`` is when it is not given; None leaves it to the YAML file.
        prog: name of the program in help and messages; None takes that of the process.

    Returns:
        exit code: 0, 2 for an input that the user can mend, 130 when interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return _guarded(lambda: _train(arguments, phases, prog or Path(sys.argv[0]).name))


def data_main(argv: Sequence[str]) -> int:
    """Run ``mtquant-jax data COMMAND ...``.

    Returns:
        exit code: 0, 1 where training would refuse the data, 2 for an input that the user can mend, 130 when
        interrupted.
    """
    from mtquant_jax.commands import data

    return _guarded(lambda: data.run(list(argv)))


def _train(arguments: Sequence[str], phases: str | None, prog: str) -> None:
    config, source = load_config(arguments, phases, prog)
    prepare_jax()
    from mtquant_jax.runs import train as pipeline

    pipeline.run(config, config_source=source)


def _with_jax(command: Callable[[Sequence[str], str], None], arguments: Sequence[str], prog: str) -> None:
    """Run a command that compiles; setting JAX up takes a second, so help does without."""
    if not {"-h", "--help"} & set(arguments):
        prepare_jax()
    command(arguments, prog)


def _walk_forward(arguments: Sequence[str]) -> None:
    command, source = load_command(WalkForwardCommand, arguments, None, "mtquant-jax walk-forward")
    prepare_jax()
    walk_forward.run(command, source)


def _guarded(command: Callable[[], int | None]) -> int:
    """Run a command, which may return an exit code; an error of the user's becomes one line and exit code 2."""
    try:
        return command() or 0
    except UserError as error:
        print(f"error: {with_flags(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has gone, as in `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # lets the exit flush in peace
        return 141
    except SystemExit as stop:
        return _exit_code(stop)


def _exit_code(stop: SystemExit) -> int:
    return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


_DATA_COMMANDS: _Commands = {
    "check": (
        lambda arguments: data_main(["check", *arguments]),
        "tell what is in bar files, and whether training would take them",
    ),
    "convert": (lambda arguments: data_main(["convert", *arguments]), "write the aligned bars as Parquet"),
    "calibrate": (
        lambda arguments: _guarded(lambda: calibrate.run(arguments, "mtquant-jax data calibrate")),
        "measure bar files and write what the synthetic market is drawn from",
    ),
}

_COMMANDS: _Commands = {
    "train": (
        lambda arguments: train_main(arguments, prog="mtquant-jax train"),
        "three-phase training of specialists and meta-controller",
    ),
    "evaluate": (
        lambda arguments: _guarded(lambda: _with_jax(evaluate.run, arguments, "mtquant-jax evaluate")),
        "trade a finished training on held-out bars: metrics, tables, report",
    ),
    "walk-forward": (
        lambda arguments: _guarded(lambda: _walk_forward(arguments)),
        "train and judge fold by fold, over several seeds",
    ),
    "compare": (
        lambda arguments: _guarded(lambda: compare.run(arguments, "mtquant-jax compare")),
        "put evaluated runs side by side",
    ),
    "data": (
        lambda arguments: _dispatch("mtquant-jax data", "Work on bar files.", _DATA_COMMANDS, arguments),
        "check, convert and measure bar files",
    ),
}
