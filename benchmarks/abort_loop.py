"""How commands end on directories of bad bar files, many times over: one line after `error:` and exit code 2, always.

    python benchmarks/abort_loop.py [--runs 200] [--checkout DIR]

Every run is a process of its own, from start to the end of the interpreter, where a thread that outlives the main one
can still abort it. The directories hold a large file with a cell that is no number, one with a row of too many columns,
a damaged Parquet file, no file at all, and nothing.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import tyro
from recording import RESULTS, spread, store

from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.layers import override_config

_ROWS = 15_000
_CHECKOUT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Count how commands end on bad bar files."""

    runs: int = 200
    """Processes, in turn over the commands and directories."""
    name: str = "abort_loop"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""
    checkout: Path = _CHECKOUT
    """Checkout whose code is run."""


def main(arguments: Arguments) -> None:
    """Run the commands and store how they ended."""
    with tempfile.TemporaryDirectory() as folder:
        commands = _commands(Path(folder))
        _must_succeed(arguments.checkout, commands.pop("training"))
        ended: dict[str, Counter[str]] = {name: Counter() for name in commands}
        seconds = []
        for name in itertools.islice(itertools.cycle(commands), arguments.runs):
            began = time.perf_counter()
            ended[name][_end(arguments.checkout, commands[name])] += 1
            seconds.append(time.perf_counter() - began)
    wrong = sum(count for counts in ended.values() for end, count in counts.items() if end != "error line, exit code 2")
    figures = {"runs": arguments.runs, "ended_otherwise": wrong, "ends": ended, "seconds": spread(seconds)}
    figures["seconds"].pop("runs")
    store(arguments.name, figures, arguments.results)


def _commands(folder: Path) -> dict[str, list[str]]:
    """Name -> arguments; the training is what `evaluate` needs, the others must be refused."""
    symbols = [symbol for one in override_config(None, {}).specialists.values() for symbol in one.symbols]
    directories = {"cell": "abc", "row": "1.1,9,9", "parquet": "", "no file": None, "nothing": None}
    for name, spoilt in directories.items():
        if name != "nothing":
            _write(folder / name, symbols, spoilt)
    run_dir, new = str(folder / "run"), str(folder / "new")
    quick = ["train", "--quick-test", "--phases", "1", "--phase1-timesteps", "250", "--run-dir", run_dir]
    train = {f"train, {name}": ["train", "--data-dir", str(folder / name), "--run-dir", new] for name in directories}
    cell = str(folder / "cell")
    return {
        "training": [*quick, "--market.num-bars", str(TrainConfig().market.num_bars // 2)],
        **train,
        "evaluate, cell": ["evaluate", "--data-dir", cell, "--run-dir", run_dir],
        "data convert, cell": ["data", "convert", "--data-dir", cell, "--output", new],
    }


def _write(folder: Path, symbols: list[str], spoilt: str | None) -> None:
    """Hourly bars of all symbols; in the middle of the first a cell, or the whole file, is spoilt. None: no files."""
    folder.mkdir()
    if spoilt is None:
        return
    times = np.datetime_as_string(np.datetime64("2022-01-03T00:00") + np.arange(_ROWS) * np.timedelta64(1, "h"))
    price = 1.1 * np.exp(np.cumsum(1e-4 * np.random.default_rng(0).normal(size=_ROWS)))
    rows = [f"{t.replace('T', ' ')},{p:.5f},{p:.5f},{p:.5f},{p:.5f},100" for t, p in zip(times, price, strict=True)]
    for number, symbol in enumerate(symbols):
        lines = list(rows)
        if number == 0:
            lines[_ROWS // 2] = lines[_ROWS // 2].rsplit(",", 2)[0] + f",{spoilt},100"
        (folder / f"{symbol}.csv").write_text("\n".join(["time,open,high,low,close,volume", *lines]) + "\n")
    if not spoilt:
        (folder / f"{symbols[0]}.csv").unlink()
        (folder / f"{symbols[0]}.parquet").write_bytes(b"PAR1" + bytes(1000) + b"PAR1")


def _run(checkout: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    return subprocess.run(
        [sys.executable, "-m", "mtquant_jax", *command], env=environment, capture_output=True, text=True, check=False
    )


def _must_succeed(checkout: Path, command: list[str]) -> None:
    if (done := _run(checkout, command)).returncode:
        raise RuntimeError(done.stderr)


def _end(checkout: Path, command: list[str]) -> str:
    """How a process ended, in words."""
    done = _run(checkout, command)
    lines = done.stderr.strip().splitlines()
    if done.returncode == 2 and len(lines) == 1 and lines[0].startswith("error: "):
        return "error line, exit code 2"
    return f"exit code {done.returncode}: {lines[-1] if lines else ''}"


if __name__ == "__main__":
    main(tyro.cli(Arguments))
