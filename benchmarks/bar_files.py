"""Time and memory to load ten years of minute bars from one CSV file, each run in its own process.

    python benchmarks/bar_files.py [--rows 5000000] [--runs 3]

A run is the first step of a training: `load_bars`, from the file on disk to validated, aligned Bars. Its memory is the
highest resident set of the process, with interpreter and imports; its time excludes both. Linux only.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import tyro
from recording import RESULTS, spread, store

from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.instruments import load_instruments

_FIRST = 1_388_966_400  # Monday 2014-01-06 00:00
_FORMATS = ("iso", "metatrader")
_LIMITS = {"seconds": 15.0, "peak_megabytes": 2000.0}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure how long bar files take to load."""

    rows: int = 5_000_000
    """Minute bars in the file; ten years at 24 hours and five days are 3.7 million."""
    runs: int = 3
    """Processes per format."""
    name: str = "bar_files"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""
    directory: Path | None = None
    """Load the files of this directory, print seconds and memory, and do nothing else."""
    zone: str = "UTC"
    """Broker time zone of that directory."""


def main(arguments: Arguments) -> None:
    """Generate a file per format, load each in child processes and store the figures."""
    if arguments.directory is not None:
        print(json.dumps(_load(arguments.directory, arguments.zone)))
        return
    formats = {}
    for name in _FORMATS:
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "EURUSD.csv"
            _generate(path, arguments.rows, name)
            zone = "NewYork+7" if name == "metatrader" else "UTC"
            runs = [_child(Path(directory), zone) for _ in range(arguments.runs)]
            formats[name] = {
                "file_megabytes": round(path.stat().st_size / 1e6),
                "broker_timezone": zone,
                "bars": runs[0]["bars"],
                **{key: spread([run[key] for run in runs]) for key in ("seconds", "peak_megabytes")},
            }
    within = all(formats[name][key]["highest"] < limit for name in formats for key, limit in _LIMITS.items())
    store(
        arguments.name,
        {"rows": arguments.rows, "limits": _LIMITS, "within_limits": within, "formats": formats},
        arguments.results,
    )


def _child(directory: Path, zone: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--directory", str(directory), "--zone", zone]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def _load(directory: Path, zone: str) -> dict[str, Any]:
    instruments = load_instruments()
    start = time.perf_counter()
    bars, _ = load_bars(directory, ["EURUSD"], instruments, broker_timezone=zone)
    seconds = time.perf_counter() - start
    # Not ru_maxrss: a child starts with that of its parent, which holds the generated bars.
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    kilobytes = int(next(line.split()[1] for line in status if line.startswith("VmHWM:")))
    return {"bars": len(bars.timestamps), "seconds": round(seconds, 2), "peak_megabytes": round(kilobytes * 1024 / 1e6)}


def _generate(path: Path, rows: int, name: str) -> None:
    """Write a random walk in points around 1.1, minute by minute without weekends."""
    rng = np.random.default_rng(0)
    minutes = np.arange(rows, dtype=np.int64)
    times = _FIRST + 60 * (minutes + minutes // 7200 * 2880)  # five days, then two without bars
    steps = rng.integers(-3, 4, rows)
    close = 110_000 + np.cumsum(steps)
    close = 60_000 + np.abs(close - 60_000)  # reflected, so that prices are positive
    open_ = np.concatenate([close[:1], close[:-1]])
    text = np.datetime_as_string(times.astype("datetime64[s]"))
    columns: dict[str, Any] = {"time": np.char.replace(text, "T", " ")}
    if name == "metatrader":
        dates = np.char.replace(text.astype("U10"), "-", ".")
        clocks = times % 86_400
        parts = [np.char.zfill((clocks // unit % base).astype(str), 2) for unit, base in ((3600, 24), (60, 60))]
        columns = {"<DATE>": dates, "<TIME>": np.char.add(np.char.add(parts[0], ":"), np.char.add(parts[1], ":00"))}
    names = ["open", "high", "low", "close", "tick_volume", "real_volume", "spread"]
    if name == "metatrader":
        names = ["<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<TICKVOL>", "<VOL>", "<SPREAD>"]
    high, low = np.maximum(open_, close) + 1, np.minimum(open_, close) - 1
    values = [*(prices / 1e5 for prices in (open_, high, low, close)), rng.integers(1, 200, rows), np.zeros(rows, int)]
    columns |= dict(zip(names, [*values, rng.integers(3, 15, rows)], strict=True))
    options = pyarrow.csv.WriteOptions(delimiter="\t" if name == "metatrader" else ",", quoting_style="none")
    pyarrow.csv.write_csv(pa.table(columns), path, options)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
