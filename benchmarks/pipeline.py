"""Duration of the default training and of the quick test, from process start to end, with a cold compilation cache.

    python benchmarks/pipeline.py [--runs 3] [--data-dir DIR]

Each run is a separate process with an empty cache directory; a warm run follows, which loads the compiled programs.
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

import tyro
from recording import RESULTS, spread, store


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure the duration of whole trainings."""

    runs: int = 3
    """Cold runs of each kind."""
    data_dir: str = ""
    """Also train on these bars."""
    name: str = "pipeline"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Measure and store."""
    kinds: dict[str, list[str]] = {"quick_test": ["--quick-test"], "default": []}
    if arguments.data_dir:
        kinds["default_on_bars"] = ["--data-dir", str(Path(arguments.data_dir).absolute())]
    figures: dict[str, Any] = {}
    for kind, flags in kinds.items():
        cold, warm, summary = [], [], {}
        for _ in range(arguments.runs):
            with tempfile.TemporaryDirectory() as scratch:
                cold.append(_train(flags, Path(scratch), "cold")[0])
                seconds, summary = _train(flags, Path(scratch), "warm")
                warm.append(seconds)
        figures[kind] = {"cold_seconds": spread(cold), "warm_seconds": spread(warm), "last_run": _extract(summary)}
    store(arguments.name, {"figures": figures}, arguments.results)


def _train(flags: list[str], scratch: Path, label: str) -> tuple[float, dict[str, Any]]:
    """Run one training process, and return its seconds and summary."""
    run_dir = scratch / label
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(scratch / "cache")}
    command = [sys.executable, "-m", "mtquant_jax", "train", "--run-dir", str(run_dir), *flags]
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    print(f"{label} {' '.join(flags) or 'default'}: {seconds:.1f} s", file=sys.stderr)
    return seconds, json.loads((run_dir / "logs/e2e_training/training_summary.json").read_text(encoding="utf-8"))


def _extract(summary: dict[str, Any]) -> dict[str, Any]:
    """Figures of a run that are stored with its duration."""
    phases = {}
    for name, result in summary["results"].items():
        agents = result.get("specialists") or {k: v for k, v in result.items() if isinstance(v, dict) and "model" in v}
        phases[name] = {
            "seconds": result["seconds"],
            "agents": {
                agent: {
                    "timesteps": report["timesteps"],
                    "timesteps_per_second": report["timesteps_per_second"],
                    "validation": report["validation"],
                }
                for agent, report in agents.items()
            },
        }
    return {"seconds": summary["seconds"], "phases": phases}


if __name__ == "__main__":
    main(tyro.cli(Arguments))
