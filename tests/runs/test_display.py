"""What a training shows while it runs: the table in a terminal, plain lines elsewhere, JSON for programs."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from mtquant_jax.cli import train_main
from mtquant_jax.runs.display import LiveDisplay, shows_live, sparkline
from tests.conftest import SMALL


@pytest.mark.parametrize(
    ("values", "text"),
    [([], ""), ([1.0], "▄"), ([0.0, 7.0], "▁█"), ([float("nan")], "·"), ([2.0, float("nan"), 1.0, 1.5], "█·▁▅")],
)
def test_a_sparkline_reaches_from_the_lowest_to_the_highest(values, text):
    assert sparkline(values) == text


def test_only_a_terminal_that_can_move_its_cursor_is_drawn_in(monkeypatch):
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert shows_live(terminal) and not shows_live(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not shows_live(terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("CI", "true")
    assert not shows_live(terminal)


def member(name: str, total_updates: int = 8) -> SimpleNamespace:
    return SimpleNamespace(name=name, plan=SimpleNamespace(total_updates=total_updates))


def progress(name: str, timesteps: int, sharpe: float | None) -> SimpleNamespace:
    validation = SimpleNamespace(sharpe=sharpe, max_drawdown=0.0123, turnover_per_day=0.9)
    return SimpleNamespace(
        member=SimpleNamespace(name=name, phase=1),
        timesteps=timesteps,
        total_timesteps=100_000,
        timesteps_per_second=20_000.0,
        metrics={"entropy": np.array([3.0, 4.0]), "approximate_kl": np.array(0.0123)},
        validation=validation,
    )


def test_the_table_says_how_far_how_fast_and_how_well_in_80_columns():
    display = LiveDisplay(io.StringIO(), (1, 2, 3), {1: 100_000, 2: 50_000, 3: 50_000})
    assert display._draw() == "preparing"
    members = [member(name) for name in ("forex", "commodities", "equity")]
    display.phase_begins(1, members)
    display.resumed(members[0], 60_000, 100_000)
    for timesteps, sharpe in ((80_000, -1.0), (100_000, 1.09)):
        display.chunk(progress("forex", timesteps, sharpe))
    display.chunk(progress("commodities", 40_000, None))
    console = Console(width=80, file=io.StringIO(), record=True, highlight=False)
    console.print(display._draw())
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    # 160,000 timesteps are left of the phase, and 100,000 of the other two, at 20,000 per second.
    assert lines[0] == "phase 1, specialists: 0:00 gone, 0:08 left of the phase, 0:13 of the run"
    assert re.fullmatch(r"cpu .*GB memory", lines[1])
    rows = [re.sub(r"[━╸╺ ]+", " ", line).strip() for line in lines[2:]]
    assert rows[:3] == [
        "forex 100,000/100,000 20,000/s",
        "commodities 40,000/100,000 20,000/s",
        "equity 0/100,000 waiting",
    ]
    assert rows[3:] == [
        "validation Sharpe so far drawdown turnover entropy KL",
        "forex +1.09 ▁█ 1.23 % 0.90/day 3.5 0.0123",
        "commodities flat · 1.23 % 0.90/day 3.5 0.0123",
    ]


def test_what_is_trained_again_is_shown_and_counts_in_the_time_left():
    display = LiveDisplay(io.StringIO(), (1,), {1: 100_000}, parallel=True)
    members = [member(name) for name in ("forex", "equity")]
    display.phase_begins(1, members)
    for one in members:
        display.chunk(progress(one.name, 100_000, 1.0))
    display.trains_without(members, 4)
    display.trained_without(0.25)
    console = Console(width=80, file=io.StringIO(), record=True, highlight=False)
    console.print(display._draw())
    lines = console.export_text().splitlines()
    assert "0:30 left of the phase" in lines[0]  # 600,000 timesteps at 20,000 per second
    assert [word for word in lines[4].split() if not word.startswith(("━", "╸", "╺"))] == ["4", "times", "more", "25%"]
    display.phase_begins(2, [member("meta_controller")])
    console.print(display._draw())
    assert "times more" not in console.export_text()


@pytest.mark.parametrize(("parallel", "states"), [(False, ["starting", "waiting"]), (True, ["starting", "starting"])])
def test_what_compiles_is_starting_and_what_comes_later_waits(parallel, states):
    display = LiveDisplay(io.StringIO(), (1,), {1: 100_000}, parallel)
    display.phase_begins(1, [member(name) for name in ("forex", "equity")])

    def last_words() -> list[str]:
        console = Console(width=80, file=io.StringIO(), record=True, highlight=False)
        console.print(display._draw())
        return [line.split()[-1] for line in console.export_text().splitlines()[2:4]]

    assert last_words() == states
    display.chunk(progress("forex", 100_000, 1.0))
    assert last_words() == ["20,000/s", "starting"]


def test_lines_above_the_table_are_broken_between_words_and_commands_are_not(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    stream = io.StringIO()
    display = LiveDisplay(stream, (1,), {1: 100_000})
    display.show("  forex  [reward] :sun: " + 8 * "word " + "\n  what to do: " + 9 * "wait ")
    display.show("next: mtquant-jax evaluate --run-dir runs/a/long/name")
    assert stream.getvalue().splitlines() == [
        "  forex  [reward] :sun: word word word",
        "    word word word word word",
        "  what to do: wait wait wait wait wait",
        "    wait wait wait wait",
        "next: mtquant-jax evaluate --run-dir runs/a/long/name",
    ]


FLAGS = ["--quick-test", *SMALL.split(), "--phases", "1", "--phase1-timesteps", "500", "--save-freq", "500"]


@pytest.mark.slow
def test_lines_are_one_per_checkpoint_or_chunk_or_none(tmp_path, capsys):
    def lines(*flags: str) -> list[str]:
        assert train_main([*FLAGS, "--run-dir", str(tmp_path / str(len(flags))), *flags]) == 0
        return [
            line for line in capsys.readouterr().out.splitlines() if not line.startswith(("warning", "  what to do"))
        ]

    plain = lines()
    assert [line.split()[:2] for line in plain if "/s  reward" in line] == [
        [name, "500/500"] for name in ("forex", "commodities", "equity")
    ]
    verbose = lines("--overwrite", "--verbose")
    assert sum("/s  reward" in line for line in verbose) == 6
    assert lines("--overwrite", "--quiet", "--seed=0") == []
    events = [json.loads(line) for line in lines("--overwrite", "--log-format", "json", "--seed=0")]
    chunks = [event for event in events if event.get("event") == "chunk"]
    assert [(event["agent"], event["timesteps"], event["total_timesteps"]) for event in chunks] == [
        (name, 500, 500) for name in ("forex", "commodities", "equity")
    ]
    assert all({"time", "level", "message"} <= event.keys() for event in events)
    assert all(isinstance(event["validation_total_return"], float) for event in chunks)
    assert chunks[0]["learning_rate"] == 0.0  # annealed to the end
    text = (tmp_path / "0/logs/e2e_training").glob("*.log").__next__().read_text()
    assert "250/500" in text and "DETAIL" not in text and "Level" not in text
    assert train_main([*FLAGS, "--quiet", "--verbose", "--run-dir", str(tmp_path / "x")]) == 2


def test_a_training_outlives_who_read_its_lines(tmp_path):
    code = (
        "import logging, sys\n"
        "from datetime import datetime\nfrom pathlib import Path\n"
        "from mtquant_jax.storage.paths import RunPaths\nfrom mtquant_jax.storage.recorder import RunRecorder\n"
        "with RunRecorder(RunPaths(Path(sys.argv[1])), datetime(2026, 1, 1)) as recorder:\n"
        "    for number in range(5000):\n        recorder.info(f'line {number} ' + 40 * 'x')\n"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0
    (log,) = (tmp_path / "logs/e2e_training").glob("*.log")
    assert "line 4999" in log.read_text()


def test_a_training_with_nothing_to_learn_says_so_and_is_not_waited_for():
    display = LiveDisplay(io.StringIO(), (1, 2), {1: 100_000, 2: 50_000})
    display.phase_begins(1, [member("forex")])
    display.chunk(progress("forex", 100_000, 1.0))
    display.phase_begins(2, [member("meta_controller", total_updates=0)])
    console = Console(width=80, file=io.StringIO(), record=True, highlight=False)
    console.print(display._draw())
    assert console.export_text().splitlines()[2].endswith("nothing to learn")
    assert display._left() == (None, None)
