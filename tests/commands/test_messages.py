"""Messages: the library names settings, and only the command line shows flags."""

from __future__ import annotations

import ast
import dataclasses
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mtquant_jax.cli import main
from mtquant_jax.commands.compare import CompareCommand
from mtquant_jax.commands.contracts import ContractsCommand
from mtquant_jax.commands.controls import ControlsCommand
from mtquant_jax.commands.convert import ConvertCommand
from mtquant_jax.commands.evaluate import EvaluateCommand
from mtquant_jax.commands.live import LiveCommand
from mtquant_jax.commands.paper import PaperCommand
from mtquant_jax.commands.runs import RunsCompareCommand, RunsListCommand, RunsPruneCommand, RunsTagCommand
from mtquant_jax.commands.signal import SignalCommand
from mtquant_jax.commands.sweep import SweepCommand
from mtquant_jax.commands.train import TrainCommand
from mtquant_jax.commands.walk_forward import WalkForwardCommand
from mtquant_jax.errors import UserError, with_flags
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.settings.config import TrainConfig

PACKAGE = Path(__file__).resolve().parents[2] / "mtquant_jax"
COMMAND_LINE = ("commands", "cli.py", "layers.py", "flags.py")  # which read flags, and so name them
"""Rooms and modules that may call a flag by its name."""


def texts(tree: ast.AST) -> Iterator[str]:
    """Every string of a module that is no docstring; what an f-string puts in is shown as {}."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        for statement in getattr(node, "body", None) or [] if not isinstance(node, (ast.Lambda, ast.IfExp)) else []:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                skipped.add(id(statement.value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def messages() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        place = path.relative_to(PACKAGE)
        if place.parts[0] not in COMMAND_LINE and place.name not in COMMAND_LINE:
            yield from ((str(place), text) for text in texts(ast.parse(path.read_text(encoding="utf-8"))))


def flags_in(text: str) -> list[str]:
    """Flags that a text names, apart from those of a whole command that is to be typed as it stands."""
    return re.findall(r"(?<![\w-])--[a-z][\w.-]*", re.sub(r"mtquant-jax [a-z-]+( --[a-z-]+ \S+)+", "", text))


def keys(group: type, prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, hint in typing.get_type_hints(group).items():
        found |= keys(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else {prefix + name}
    return found


def test_no_message_of_the_library_names_a_flag() -> None:
    assert [(place, text) for place, text in messages() if flags_in(text)] == []


def test_every_setting_that_a_message_names_exists() -> None:
    known = keys(TrainConfig) | {"{}", "{}.batch_size", "market.{}"}
    commands = (EvaluateCommand, CompareCommand, WalkForwardCommand, ConvertCommand, ContractsCommand, TrainCommand)
    of_runs = (RunsListCommand, RunsCompareCommand, RunsTagCommand, RunsPruneCommand)
    deployed = (LiveCommand, PaperCommand, SignalCommand)
    for command in (*commands, ControlsCommand, SweepCommand, *of_runs, *deployed):
        known |= keys(command)
    named = {(place, name) for place, text in messages() for name in re.findall(r"`([a-z{][\w.{}]*)`", text)}
    assert len(named) > 30
    assert {(place, name) for place, name in named if name not in known} == set()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("give bar files with --data-dir", ["--data-dir"]),
        ("--ppo.gamma {}: must be", ["--ppo.gamma"]),
        ("{} has not been evaluated; run: mtquant-jax evaluate --run-dir {}", []),
        ("a -- b, `data_dir`", []),
    ],
)
def test_the_search_sees_flags(text: str, found: list[str]) -> None:
    assert flags_in(text) == found
    source = f'"""Docstring --x."""\nvalue = 1\nraise E(f"{text}")'.replace("{}", "{value}")
    assert list(texts(ast.parse(source))) == [text]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("`ppo.gae_lambda` 2.0: must be", "--ppo.gae-lambda 2.0: must be"),
        ("`specialists.my_class.batch_size` 64", "--specialists.my-class.batch-size 64"),
        ("run `mtquant-jax train`, then `phases` 2,3", "run `mtquant-jax train`, then --phases 2,3"),
    ],
)
def test_the_command_line_shows_flags(text: str, shown: str) -> None:
    assert with_flags(text) == shown


def test_an_error_names_the_setting_in_python_and_the_flag_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hours = np.arange(np.datetime64("2024-01-01"), np.datetime64("2024-03-01"), np.timedelta64(1, "h"))
    prices = "1.10001\t1.10003\t1.10001\t1.10002\t1\t1\t7\n"
    rows = "".join(f"{str(hour).replace('-', '.')[:10]}\t{str(hour)[11:13]}:00:00\t{prices}" for hour in hours)
    header = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\n"
    (tmp_path / "EURUSD.csv").write_text(header + rows)
    (tmp_path / "mine.yaml").write_text("specialists: {forex: {symbols: [EURUSD]}}\n")
    _, notices = load_bars(tmp_path, ["EURUSD"], load_instruments())
    assert "name its zone with `broker_timezone` (often NewYork+7)" in " ".join(notices)
    with pytest.raises(UserError, match=r"^`timeframe` M5: EURUSD\.csv has H1 bars"):
        load_bars(tmp_path, ["EURUSD"], load_instruments(), timeframe="M5")
    flags = ["--data-dir", str(tmp_path), "--config", str(tmp_path / "mine.yaml")]
    main(["data", "check", *flags])
    assert "name its zone with --broker-timezone (often NewYork+7)" in capsys.readouterr().out
    assert main(["data", "convert", *flags, "--output", str(tmp_path / "new"), "--timeframe", "M5"]) == 2
    assert capsys.readouterr().err.startswith("error: --timeframe M5: EURUSD.csv has H1 bars")
