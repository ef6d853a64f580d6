"""How the speed of a specialist's training and its memory go with its sizes, one at a time.

    python benchmarks/scaling.py [--only environments bars]

Each case is a process of its own, so that the peak of its memory is its own. Instruments, of one class, and bars are of
random walks given to the package as frames of minutes, as a user would; the other cases are of the default market.
``timesteps`` are those of a chunk, with which memory must not grow.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from recording import RESULTS, spread, store
from timing import Timed

from mtquant_jax.jax_setup import prepare_jax

SIZES: dict[str, tuple[int, ...]] = {
    "environments": (64, 256, 1024, 4096, 16384),
    "bars": (10_000, 100_000, 1_000_000, 5_000_000),
    "instruments": (8, 32, 128),
    "seeds": (1, 2, 4, 8),
    "width": (32, 64, 128, 256),
    "timesteps": (50_000, 200_000, 800_000),
}
_OTHER_BATCHES = ("meta_controller", "joint_training")
_CONTRACT = """{digits: 5, contract_size: 100000, spread: 12, commission: 3.5, base_currency: EUR, profit_currency: USD,
  margin_class: forex, margin_rate: 0.033, swap_mode: points, swap_long: -6.0, swap_short: 1.0, triple_swap_day: Wed}"""


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure how training scales."""

    only: tuple[str, ...] = tuple(SIZES)
    """Which sizes are changed."""
    runs: int = 3
    """Timed chunks of each case."""
    timesteps: int = 50_000
    """Minimum of timesteps of a chunk."""
    worker: str = ""
    """One case, JSON; how the benchmark calls itself."""
    name: str = "scaling"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Run case after case and store, or be one process."""
    if arguments.worker:
        print(json.dumps(_worker(**json.loads(arguments.worker))))
        return
    prepare_jax()
    rows = []
    for what in arguments.only:
        for size in SIZES[what]:
            case = {"what": what, "size": size, "runs": arguments.runs, "timesteps": arguments.timesteps}
            command = [sys.executable, __file__, "--worker", json.dumps(case)]
            finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            row = {"what": what, "size": size, **json.loads(finished.stdout.splitlines()[-1])}
            rows.append(row)
            print(
                f"{what} {size:,}: {row['rate']['median']:,.0f} a second, {row['peak_bytes']:,} bytes", file=sys.stderr
            )
    store(arguments.name, {"rows": rows}, arguments.results)


def _worker(what: str, size: int, runs: int, timesteps: int) -> dict[str, Any]:
    """Rate, compile time and peak of memory of one case."""
    prepare_jax()
    import mtquant_jax as mt
    from mtquant_jax.training.phases import plan_specialist

    config, bars = mt.load_config(), None
    if what == "environments":
        config = _with_envs(config, size)
    elif what == "width":
        config = dataclasses.replace(config, ppo=dataclasses.replace(config.ppo, hidden_size=size))
    with tempfile.TemporaryDirectory() as scratch:  # of the contracts, which are read twice
        if what in ("instruments", "bars"):
            config, bars = _walks(Path(scratch), *((size, 10_000) if what == "instruments" else (3, size)))
        market = mt.prepare(config, bars)
    seeds = range(size if what == "seeds" else 1)
    plans = [plan_specialist(dataclasses.replace(config, seed=seed), market, 0) for seed in seeds]
    timed = Timed(plans, size if what == "timesteps" else timesteps)
    rates = [timed.rate() for _ in range(runs)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rate": spread(rates), "compile_seconds": timed.compile_seconds, "peak_bytes": peak}


def _with_envs(config: Any, num_envs: int) -> Any:
    """So many environments, in four minibatches."""
    batch = num_envs * config.num_steps // 4
    specialists = {name: dataclasses.replace(one, batch_size=batch) for name, one in config.specialists.items()}
    others = {name: dataclasses.replace(getattr(config, name), batch_size=batch) for name in _OTHER_BATCHES}
    return dataclasses.replace(config, num_envs=num_envs, specialists=specialists, **others)


def _walks(scratch: Path, num_instruments: int, num_bars: int) -> tuple[Any, Any]:
    """Settings of one class of so many instruments, and bars of random walks."""
    import pandas as pd

    import mtquant_jax as mt

    symbols = [f"WALK{number:03d}" for number in range(num_instruments)]
    file = str(scratch / "instruments.yaml")
    Path(file).write_text("".join(f"{symbol}: {_CONTRACT}\n" for symbol in symbols), encoding="utf-8")
    minutes = np.arange(-(-num_bars // 7200) + 1)[:, None] * 10_080 + np.arange(7200)  # of five days in each week
    index = pd.Timestamp("2005-01-03") + pd.to_timedelta(minutes.ravel()[:num_bars], unit="min")
    generator = np.random.default_rng(0)
    frames = {}
    for symbol in symbols:
        close = 1.2 * np.exp(0.3 * np.tanh(np.cumsum(1e-3 * generator.normal(size=num_bars))))
        opened = np.append(1.2, close[:-1])
        high, low = np.maximum(opened, close) * 1.0003, np.minimum(opened, close) * 0.9997
        frames[symbol] = pd.DataFrame({"open": opened, "high": high, "low": low, "close": close}, index=index)
    specialists = {"walks": {"symbols": symbols, "domain": "generic"}}
    config = mt.load_config(instruments=file, specialists=specialists)
    return config, mt.load_bars(frames, instruments=file, broker_timezone="UTC")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
