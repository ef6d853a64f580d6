"""A quick run, and hourly bars of one more synthetic path that it has not seen, in memory and as files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.periods import moment
from mtquant_jax.market.synthetic.calibration_files import load_calibration
from mtquant_jax.market.synthetic.generator import generate
from mtquant_jax.market.synthetic.scenarios import find_scenario
from mtquant_jax.runs.trained_run import TrainedRun, open_run
from mtquant_jax.types import Bars

BARS = 700


@pytest.fixture(scope="session")
def run(synthetic_run: Path) -> TrainedRun:
    return open_run(synthetic_run)


@pytest.fixture(scope="session")
def new_bars(run: TrainedRun) -> Bars:
    """Bars from the training's test split on, rounded as files hold them."""
    config, instruments = run.config, load_instruments()
    symbols = tuple(symbol for specialist in config.specialists.values() for symbol in specialist.symbols)
    key = jax.random.key(99)
    bars = generate(key, 1, BARS, 0.12, load_calibration(None), symbols, instruments, find_scenario("neutral"))
    start = run.split_times("test")[0] // 86_400 * 86_400 - 300 * 3600
    names = ("open", "high", "low", "close", "spread", "volume")
    columns = {name: np.round(np.asarray(getattr(bars, name), np.float64), 5) for name in names}
    columns["tradable"] = np.ones_like(np.asarray(bars.tradable))
    return dataclasses.replace(bars, timestamps=start + 3600 * np.arange(BARS, dtype=np.int64), **columns)


@pytest.fixture(scope="session")
def bar_folder(new_bars: Bars, tmp_path_factory) -> Path:
    """The same bars, one CSV file for every symbol."""
    folder = tmp_path_factory.mktemp("bars")
    write_bars(new_bars, folder)
    return folder


def write_bars(bars: Bars, folder: Path, count: int | None = None) -> None:
    """Write the first ``count`` bars as a broker's export would."""
    for index, symbol in enumerate(bars.symbols):
        columns = [np.asarray(getattr(bars, name))[0, :count, index] for name in ("open", "high", "low", "close")]
        volume, spread = (np.asarray(getattr(bars, name))[0, :count, index] for name in ("volume", "spread"))
        point = 10.0 ** -load_instruments()[symbol].digits
        rows = zip(bars.timestamps, *columns, volume, spread, strict=False)
        lines = [
            f"{moment(time)}:00,{o:.5f},{h:.5f},{low:.5f},{c:.5f},{v:.0f},{round(s / point)}"
            for time, o, h, low, c, v, s in rows
        ]
        text = "\n".join(["time,open,high,low,close,volume,spread", *lines, ""])
        (folder / f"{symbol}.csv").write_text(text, encoding="utf-8")
