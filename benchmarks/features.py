"""How long the market table takes to prepare, and one step of the features for the newest bar.

    python benchmarks/features.py [--runs 5] [--num-bars 60000]

The table is `build_table` on synthetic bars of the eight default instruments: the first call compiles, the second does
not. Seconds are given by the clock and by the processor, which a busy machine disturbs less. A live step waits for its
row; the bar's calendar is measured apart. Compiled programs are not kept on disk.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["MTQUANT_JAX_NO_CACHE"] = "1"

import jax
import numpy as np
import tyro
from recording import RESULTS, spread, store

from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.features import build_table, feature_bars, replay, start, step, table_plan
from mtquant_jax.market.prepare import asset_classes, instruments_of
from mtquant_jax.market.synthetic.generator import generate
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.types import Bars


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure the preparation of the features."""

    runs: int = 5
    """Repetitions: compilations, tables and series of live steps."""
    num_bars: int = 60_000
    """Bars of the table."""
    live_bars: int = 2000
    """Bars per series of live steps."""
    name: str = "features"
    """Name of the result file."""
    results: Path = RESULTS
    """Where the result file goes."""


def main(arguments: Arguments) -> None:
    """Measure and store."""
    prepare_jax()
    config = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    classes, instruments = asset_classes(config), instruments_of(config)
    symbols = tuple(symbol for asset_class in classes for symbol in asset_class.symbols)
    bars = on_host(generate(jax.random.key(0), 1, arguments.num_bars, 0.12, None, symbols, instruments))
    compiling, running = [], []
    for _ in range(arguments.runs):
        jax.clear_caches()
        first, second = (seconds(lambda: build_table(bars, classes, instruments, "USD")) for _ in range(2))
        compiling.append(first - second)
        running.append(second)
    figures = {
        "num_bars": arguments.num_bars,
        "num_instruments": len(symbols),
        "table": {
            "compile_seconds": spread_of(compiling),
            "run_seconds": spread_of(running),
        },
        "live": live(bars, arguments, classes, instruments),
    }
    store(arguments.name, figures, arguments.results)


def on_host(bars: Bars) -> Bars:
    """The same bars as NumPy arrays: history comes from files."""
    leaves = {field.name: getattr(bars, field.name) for field in dataclasses.fields(Bars) if field.name != "symbols"}
    return dataclasses.replace(bars, **{name: np.asarray(leaf) for name, leaf in leaves.items()})


def seconds(work: Callable[[], Any]) -> np.ndarray:
    """How long a computation takes until its results are there ``[2]``: by the clock, and by the processor."""
    begin = np.array([time.perf_counter(), time.process_time()])
    jax.block_until_ready(work())
    return np.array([time.perf_counter(), time.process_time()]) - begin


def spread_of(times: Sequence[np.ndarray]) -> dict[str, Any]:
    """Spreads of what `seconds` measured."""
    return {name: spread([float(one[i]) for one in times]) for i, name in enumerate(("clock", "processor"))}


def live(bars: Bars, arguments: Arguments, *market: Any) -> dict[str, Any]:
    """Microseconds per bar of the newest bars, one by one from the state that the bars before them leave."""
    plan = table_plan(bars.symbols, *market, "USD")
    history = feature_bars(bars, plan)
    state, _ = replay(start(jax.tree.map(lambda leaf: leaf[0], history), plan), history, plan)
    newest = [slice(t, t + 1) for t in range(arguments.num_bars - arguments.live_bars, arguments.num_bars)]
    singles = [on_host(cut(bars, bar)) for bar in newest]
    preparing, stepping = [], []
    for run in range(arguments.runs + 1):
        begin = time.perf_counter()
        prepared = []
        for single, bar in zip(singles, newest, strict=True):
            columns = feature_bars(single, plan, before=int(bars.timestamps[bar.start - 1]))
            prepared.append(jax.tree.map(lambda leaf: leaf[0], columns))
        jax.block_until_ready(prepared)
        middle = time.perf_counter()
        current = state
        for columns in prepared:
            current, row = step(current, columns, plan)
            jax.block_until_ready(row)
        if run:  # the first compiles
            preparing.append(1e6 * (middle - begin) / arguments.live_bars)
            stepping.append(1e6 * (time.perf_counter() - middle) / arguments.live_bars)
    return {"prepare_microseconds": spread(preparing), "step_microseconds": spread(stepping)}


def cut(bars: Bars, rows: slice) -> Bars:
    """Some bars of all."""
    names = ("open", "high", "low", "close", "spread", "volume", "tradable")
    leaves = {name: getattr(bars, name)[:, rows] for name in names}
    return dataclasses.replace(bars, timestamps=bars.timestamps[rows], **leaves)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
