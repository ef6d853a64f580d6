"""Turns a command line into settings and a training: flags over YAML over the shipped configuration.

Nothing here imports JAX before a command runs, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from mtquant_jax import __version__
from mtquant_jax.commands import calibrate, compare, evaluate, walk_forward
from mtquant_jax.commands.walk_forward import WalkForwardCommand
from mtquant_jax.config import TrainConfig
from mtquant_jax.config_files import DEFAULT_CONFIG, apply, read_yaml, shipped
from mtquant_jax.errors import UserError
from mtquant_jax.validation import validate

_Command = TypeVar("_Command", "TrainCommand", WalkForwardCommand)

_Commands = dict[str, tuple[Callable[[Sequence[str]], int], str]]

_QUICK_TEST: dict[str, Any] = {
    "quick_test": True,
    "phase1_timesteps": 1000,
    "phase2_timesteps": 500,
    "phase3_timesteps": 500,
    "save_freq": 500,
    "num_envs": 10,
    "num_steps": 25,
    "meta_controller": {"batch_size": 125},
    "joint_training": {"batch_size": 125},
    "market": {"num_paths": 4, "num_bars": 3000},
}
_QUICK_TEST_SPECIALIST: dict[str, Any] = {"batch_size": 125}


@dataclasses.dataclass(frozen=True)
class TrainCommand:
    """Train a hierarchy of trading agents: specialists, then a meta-controller, then all of them together.

    A flag wins over the YAML file, the YAML file over the shipped configs/agents.yaml.
    """

    settings: Annotated[TrainConfig, tyro.conf.arg(name="")]
    config: str = DEFAULT_CONFIG
    """YAML file with settings; it need only hold what differs from the shipped one."""


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
    from mtquant_jax import data_commands

    return _guarded(lambda: data_commands.run(list(argv)))


def load_config(
    argv: Sequence[str], phases: str | None = None, prog: str = "mtquant-jax train"
) -> tuple[TrainConfig, str]:
    """Resolve and validate the settings of a training.

    Returns:
        the settings and the name of the YAML file they come from.

    Raises:
        UserError: a file or a setting is wrong.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command, source = _load(TrainCommand, argv, phases, prog)
    return command.settings, source


def _load(kind: type[_Command], argv: Sequence[str], phases: str | None, prog: str) -> tuple[_Command, str]:
    """A command whose settings lie over those of its YAML file; arguments and errors as `load_config`."""
    early = _early_flags(argv)
    source = early.config
    if source is None:
        source = DEFAULT_CONFIG if Path(DEFAULT_CONFIG).is_file() else str(shipped("agents.yaml"))
    try:
        base = _layers(source, phases, early.quick_test, early.risk_preset)
    except UserError:
        if not {"-h", "--help"} & set(argv):
            raise
        base = _layers(str(shipped("agents.yaml")), phases, early.quick_test, None)
    default = kind(settings=base, config=early.config or DEFAULT_CONFIG)
    command = tyro.cli(kind, default=default, args=list(argv), prog=prog)
    validate(command.settings)
    return command, source


def prepare_jax() -> None:
    """Set up JAX before its first compilation: compiled programs are kept on disk between processes.

    The folder is JAX_COMPILATION_CACHE_DIR, else mtquant-jax/xla in the user's cache folder; MTQUANT_JAX_NO_CACHE=1
    keeps nothing. A folder that cannot be written is done without.
    """
    # On some Intel processors XLA takes tuning hints (+prefer-no-gather) for features that the machine lacks and logs
    # an error of a page for each cached CPU program (github.com/jax-ml/jax/issues/38445). Only this variable, read
    # when jaxlib is loaded, keeps it from the terminal; failures that matter are raised in Python all the same.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    if os.environ.get("MTQUANT_JAX_NO_CACHE", "0") not in ("", "0"):
        jax.config.update("jax_enable_compilation_cache", False)
        return
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or home / "mtquant-jax" / "xla").absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logging.getLogger(__name__).debug("no compilation cache in %s: %s", folder, error)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _train(arguments: Sequence[str], phases: str | None, prog: str) -> None:
    config, source = load_config(arguments, phases, prog)
    prepare_jax()
    from mtquant_jax.training import pipeline

    pipeline.run(config, config_source=source)


def _with_jax(command: Callable[[Sequence[str], str], None], arguments: Sequence[str], prog: str) -> None:
    """Run a command that compiles; setting JAX up takes a second, so help does without."""
    if not {"-h", "--help"} & set(arguments):
        prepare_jax()
    command(arguments, prog)


def _walk_forward(arguments: Sequence[str]) -> None:
    command, source = _load(WalkForwardCommand, arguments, None, "mtquant-jax walk-forward")
    prepare_jax()
    walk_forward.run(command, source)


def _guarded(command: Callable[[], int | None]) -> int:
    """Run a command, which may return an exit code; an error of the user's becomes one line and exit code 2."""
    try:
        return command() or 0
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
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


def _early_flags(argv: Sequence[str]) -> argparse.Namespace:
    """The flags that decide which layers lie under the others; tyro checks them again with all the rest."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", nargs="?")
    parser.add_argument("--risk-preset", "--risk_preset", nargs="?")
    on, off = ("--quick-test", "--quick_test"), ("--no-quick-test", "--no-quick_test", "--no_quick_test")
    parser.add_argument(*on, dest="quick_test", action="store_const", const=True)
    parser.add_argument(*off, dest="quick_test", action="store_const", const=False)
    return parser.parse_known_args(list(argv))[0]


def _risk_preset(name: str) -> dict[str, Any]:
    """A preset's limits, in ``configs/risk.yaml``."""
    path = shipped("risk.yaml")
    presets = read_yaml(path)
    if name not in presets:
        raise UserError(f"--risk-preset {name}: unknown preset; choose from {', '.join(presets)} ({path})")
    limits: dict[str, Any] = presets[name] or {}
    return limits


def _layers(source: str, phases: str | None, quick_test: bool | None, risk_preset: str | None) -> TrainConfig:
    """All layers under the flags: the shipped files, the user's file, the phase of a script, the quick test.

    The risk preset lies under the user's file, so that a file may change single limits of it.
    """
    origin = shipped("agents.yaml")
    base = apply(TrainConfig(), read_yaml(origin), str(origin))
    mapping = read_yaml(Path(source))
    config = apply(base, mapping, source)  # checks the file alone, before anything is laid over it
    preset = config.risk_preset if risk_preset is None else risk_preset
    base = apply(base, {"risk_preset": preset, "risk": _risk_preset(preset)}, str(shipped("risk.yaml")))
    if risk_preset is not None:
        mapping = {key: value for key, value in mapping.items() if key != "risk_preset"}
    if phases is not None:
        mapping = {**mapping, "phases": phases}
    if quick_test or (quick_test is None and config.quick_test):
        classes = mapping.get("specialists", read_yaml(origin)["specialists"])
        quick = {**_QUICK_TEST, "specialists": {name: _QUICK_TEST_SPECIALIST for name in classes}}
        whole = {"specialists": classes}
        # Asked for in the file, the preset only fills in what the file leaves open: a run can then be repeated from
        # its resolved configuration. Asked for as a flag, it wins over the file.
        mapping = _merge({**mapping, **whole}, quick) if quick_test else _merge(_merge(whole, quick), mapping)
    return apply(base, mapping, source)


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings laid over each other."""
    both = {
        key: _merge(under[key], value) if isinstance(value, Mapping) and isinstance(under.get(key), Mapping) else value
        for key, value in over.items()
    }
    return {**under, **both}


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
