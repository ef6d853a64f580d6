"""Duration of an evaluation of ten years of hourly bars, and of a walk-forward, from process start to end.

    python benchmarks/evaluation.py [--runs 3] [--walk-forward-data-dir DIR]

Ten years are 62,000 hours of trading in eight instruments, drawn from the synthetic market and written as Parquet.
The first evaluation compiles all programs; the later ones load them from the cache.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import tyro
from recording import RESULTS, spread, store

from mtquant_jax.market.bars.parquet import write_parquet
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.synthetic.generator import generate
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml

_WEEKS_BACK = 520  # ten years from 2018 on would reach into the future, which is refused


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Time the evaluation of a long history, and a walk-forward."""

    runs: int = 3
    """Evaluations with compiled programs."""
    num_bars: int = 62_000
    """Bars of the history: ten years of hourly bars."""
    walk_forward_data_dir: str = ""
    """Also time four folds x three seeds at the default budget on these bars."""
    name: str = "evaluation"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Measure and store."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        write_history(scratch / "bars", arguments.num_bars)
        _run(["train", "--quick-test", "--data-dir", "bars", "--run-dir", "run"], scratch)
        command = ["evaluate", "--run-dir", "run", "--split", "all"]
        cold = _run(command, scratch)
        warm = [_run(command, scratch) for _ in range(arguments.runs)]
        metrics = json.loads((scratch / "run/evaluation/metrics.json").read_text(encoding="utf-8"))
        report = (scratch / "run/evaluation/report.html").stat().st_size
        figures["evaluate"] = {
            "bars": metrics["bars"]["bars"],
            "cold_seconds": cold,
            "warm_seconds": spread(warm),
            "report_bytes": report,
        }
        if arguments.walk_forward_data_dir:
            data_dir = str(Path(arguments.walk_forward_data_dir).absolute())
            flags = ["--folds", "4", "--num-seeds", "3", "--run-dir", "walk"]
            seconds = _run(["walk-forward", "--data-dir", data_dir, *flags], scratch)
            result = json.loads((scratch / "walk/walk_forward.json").read_text(encoding="utf-8"))
            kept = ("verdict", "seconds", "market", "scheme", "overall", "ahead_of")
            figures["walk_forward"] = {"cold_seconds": seconds} | {key: result[key] for key in kept}
    store(arguments.name, {"figures": figures}, arguments.results)


def write_history(folder: Path, num_bars: int) -> None:
    """Write one synthetic path as Parquet files of the default instruments."""
    config = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    symbols = [symbol for specialist in config.specialists.values() for symbol in specialist.symbols]
    bars = generate(jax.random.key(0), 1, num_bars, 0.05, None, symbols, load_instruments())
    bars = dataclasses.replace(bars, timestamps=bars.timestamps - _WEEKS_BACK * 7 * 86_400)
    folder.mkdir()
    for index, symbol in enumerate(symbols):
        write_parquet(bars, index, folder / f"{symbol}.parquet")


def _run(arguments: list[str], scratch: Path) -> float:
    """Run one process with a compilation cache of its own, and return its seconds."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(scratch / "cache")}
    start = time.perf_counter()
    command = [sys.executable, "-m", "mtquant_jax", *arguments]
    subprocess.run(command, env=environment, cwd=scratch, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    print(f"{' '.join(arguments)}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return seconds


if __name__ == "__main__":
    main(tyro.cli(Arguments))
