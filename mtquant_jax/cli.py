"""Turns a command line into a command: which ones there are, how they are called, and what is left when they end.

Nothing here imports JAX before a command runs, so that help and errors come at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Union

import tyro

from mtquant_jax.commands import (
    bar_flags,
    calibrate,
    check,
    compare,
    completion,
    contracts,
    controls,
    convert,
    doctor,
    evaluate,
    export,
    info,
    live,
    paper,
    plot,
    runs,
    sweep,
    train,
    walk_forward,
)
from mtquant_jax.commands import signal as signal_command
from mtquant_jax.errors import Interrupted, UserError, with_flags
from mtquant_jax.settings import layers
from mtquant_jax.settings.flags import with_short_lines
from mtquant_jax.version import __version__
from mtquant_jax.whole_programs import this_is_the_command

Run = Callable[[Sequence[str], str], int | None]


@dataclasses.dataclass(frozen=True)
class _Command:
    """A command, or a group of them, by what it does and how it is run."""

    summary: str
    run: Run | None = None  # with the arguments after its name, and the program's name; an exit code, or None for 0
    kind: type | None = None  # the dataclass whose fields are its flags
    usual: Callable[[], Any] | None = None  # the command without flags; None where the dataclass has all defaults
    commands: Mapping[str, _Command] = dataclasses.field(default_factory=dict)
    start: str = ""  # what it prints without arguments; empty: its commands


_START = """\
mtquant-jax trains a hierarchy of trading agents with reinforcement learning,
and tests it on bars that it has not seen.

Train all of it at a small size, on the built-in synthetic market:
  mtquant-jax train --quick-test --run-dir runs/first

Evaluate that training on its test split:
  mtquant-jax evaluate --run-dir runs/first

Look at your own bar files, one per symbol, before you train on them:
  mtquant-jax data check --data-dir DIR

Without --quick-test the first command trains in full. mtquant-jax --help lists
all commands, and mtquant-jax COMMAND --help the flags of one.
"""

_PROGRAM: _Command = _Command(
    "train and test trading agents",
    start=_START,
    commands={
        "train": _Command(
            "three-phase training of specialists and meta-controller",
            train.run,
            train.TrainCommand,
            lambda: layers.usual_command(train.TrainCommand, "mtquant-jax train"),
        ),
        "evaluate": _Command(
            "trade a finished training on held-out bars: metrics, tables, report",
            evaluate.run,
            evaluate.EvaluateCommand,
        ),
        "signal": _Command(
            "print what a finished training would do next: lots, orders, costs",
            signal_command.run,
            signal_command.SignalCommand,
        ),
        "paper": _Command(
            "trade bars on paper as they come, with a ledger",
            paper.run,
            paper.PaperCommand,
            commands={
                "report": _Command(
                    "report on what was paper traded, and whether it is time for the next stage",
                    paper.report,
                    paper.PaperReportCommand,
                )
            },
        ),
        "live": _Command("trade a broker's account by a finished training", live.run, live.LiveCommand),
        "export": _Command(
            "write what a training decides as an ONNX model or an Expert Advisor", export.run, export.ExportCommand
        ),
        "walk-forward": _Command(
            "train and judge fold by fold, over several seeds",
            walk_forward.run,
            walk_forward.WalkForwardCommand,
            lambda: layers.usual_command(walk_forward.WalkForwardCommand, "mtquant-jax walk-forward"),
        ),
        "sweep": _Command(
            "try many settings over several seeds",
            sweep.run,
            sweep.SweepCommand,
            lambda: layers.usual_command(sweep.SweepCommand, "mtquant-jax sweep"),
        ),
        "controls": _Command(
            "show on your own bars that training learns and does not leak",
            controls.run,
            controls.ControlsCommand,
            lambda: layers.usual_command(controls.ControlsCommand, "mtquant-jax controls"),
        ),
        "compare": _Command("put evaluated runs side by side", compare.run, compare.CompareCommand),
        "info": _Command("show what a run directory, a checkpoint or a model is", info.run, info.InfoCommand),
        "runs": _Command(
            "list, compare, tag and delete runs, evaluated or not",
            commands={
                "list": _Command(
                    "list runs with what tells them apart and how they did", runs.list_runs, runs.RunsListCommand
                ),
                "show": _Command("show one run: the same as mtquant-jax info", info.run, info.InfoCommand),
                "compare": _Command(
                    "put settings and validation figures side by side", runs.compare_runs, runs.RunsCompareCommand
                ),
                "tag": _Command("give a run tags, or take them away", runs.tag_run, runs.RunsTagCommand),
                "prune": _Command(
                    "delete runs by their settings, or all but the best", runs.prune_runs, runs.RunsPruneCommand
                ),
            },
        ),
        "plot": _Command("draw the metrics of a training as one PNG", plot.run, plot.PlotCommand),
        "data": _Command(
            "check, convert and measure bar files, and read a broker's contracts",
            commands={
                "check": _Command(
                    "print what is in bar files, and whether training would take them",
                    check.run,
                    check.CheckCommand,
                    lambda: bar_flags.usual_command(check.CheckCommand, "mtquant-jax data check"),
                ),
                "convert": _Command(
                    "write the aligned bars as Parquet",
                    convert.run,
                    convert.ConvertCommand,
                    lambda: bar_flags.usual_command(convert.ConvertCommand, "mtquant-jax data convert"),
                ),
                "calibrate": _Command(
                    "measure bar files and write what the synthetic market is drawn from",
                    calibrate.run,
                    calibrate.CalibrateCommand,
                    calibrate.usual_command,
                ),
                "contracts": _Command(
                    "write a broker's contracts from a dump of MetaTrader's symbols",
                    contracts.run,
                    contracts.ContractsCommand,
                ),
            },
        ),
        "doctor": _Command("look at the installation, and train for a few seconds", doctor.run, doctor.DoctorCommand),
        "completion": _Command(
            "print the script with which a shell completes commands and flags",
            lambda arguments, prog: completion.run(arguments, prog, lambda: _listed(_PROGRAM, with_flags=True)),
            completion.CompletionCommand,
        ),
    },
)
"""Every command there is."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mtquant-jax COMMAND ...``.

    Args:
        argv: arguments after the program's name; None takes those of the process.

    Returns:
        exit code: 0, what the command returns (1 where training would refuse the data that it checked), 2 for an input
        that the user can mend, 130 when interrupted, 143 when terminated, 141 when nobody reads the output any more.
    """
    arguments = _arguments(argv)
    return guarded(lambda: _dispatch(_PROGRAM, arguments, "mtquant-jax"))


def train_main(argv: Sequence[str] | None = None, phases: str | None = None, prog: str | None = None) -> int:
    """Run a training; what the scripts call.

    Args:
        argv: arguments after the program's name; None takes those of the process.
        phases: what ``--phases`` is when it is not given; None leaves it to the YAML file.
        prog: name of the program in help and messages; None takes that of the process.

    Returns:
        exit code, as that of `main`.
    """
    arguments = _arguments(argv)
    return guarded(lambda: train.run(arguments, prog or Path(sys.argv[0]).name, phases))


def _arguments(argv: Sequence[str] | None) -> list[str]:
    """Those given, or those of the process, which then is a command's and nothing else."""
    if argv is None:
        this_is_the_command()
    return list(sys.argv[1:] if argv is None else argv)


def _dispatch(command: _Command, arguments: Sequence[str], prog: str) -> int | None:
    """Run the command that the arguments name, or the one given where it is no group."""
    if command.run is not None and (not arguments or arguments[0] not in command.commands):
        return command.run(arguments, prog)
    if not arguments and command.start:
        print(command.start, end="")
        return 0
    name = arguments[0] if arguments else "--help"
    if name in command.commands:
        return _dispatch(command.commands[name], arguments[1:], f"{prog} {name}")
    if name == "--version":
        print(f"mtquant-jax {__version__}")
        return 0
    if not name.startswith("-"):
        close = difflib.get_close_matches(name, command.commands, n=1)
        advice = f"did you mean {close[0]}?" if close else f"choose from {', '.join(command.commands)}"
        raise UserError(f"{prog} {name}: unknown command; {advice}")
    usage = f"{prog} [-h] [--version] COMMAND"
    with_short_lines(lambda: tyro.cli(_listed(command), args=[name], prog=prog), usage)  # help, or an unknown flag
    raise AssertionError("a group of commands needs one of them")


def _listed(command: _Command, with_flags: bool = False) -> Any:
    """A group of commands as tyro shows it; for completion with all flags of each."""
    listed = []
    for name, inner in command.commands.items():
        kind: Any = dataclasses.make_dataclass("Listed", [])
        shown: dict[str, Any] = {"description": inner.summary}
        if with_flags:
            kind = inner.kind if inner.kind is not None else _listed(inner, with_flags)
            shown |= {"default": inner.usual()} if inner.usual is not None else {}
        listed.append(Annotated[kind, tyro.conf.subcommand(name, **shown)])
    hint = tyro.conf.arg(help="print the version and exit", help_behavior_hint="")
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("command", Annotated[Union[tuple(listed)], tyro.conf.arg(name="")]),  # noqa: UP007
        ("version", Annotated[bool, tyro.conf.FlagCreatePairsOff, hint], False),
    ]
    sentence = f"{command.summary[0].upper()}{command.summary[1:]}."
    return dataclasses.make_dataclass("Group", fields, namespace={"__doc__": sentence})


def guarded(command: Callable[[], int | None]) -> int:
    """Run a command, which may return an exit code; an error of the user's becomes one line and exit code 2."""
    try:
        with _heard(signal.SIGTERM):
            return command() or 0
    except UserError as error:
        print(f"error: {with_flags(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(with_flags(str(stop)), file=sys.stderr)
        return stop.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except _Terminated:
        print("terminated", file=sys.stderr)
        return 143
    except BrokenPipeError:  # whoever read the output has gone, as in `--help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # lets the exit flush in peace
        return 141
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)


class _Terminated(BaseException):
    """SIGTERM, as KeyboardInterrupt is SIGINT."""


@contextlib.contextmanager
def _heard(number: signal.Signals) -> Iterator[None]:
    """Let a signal end the block as Ctrl-C would, so that what it holds is given back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_: int, __: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(number, end)
    try:
        yield
    finally:
        signal.signal(number, before)
