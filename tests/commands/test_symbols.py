"""`--symbols` of `data check`, `data convert`, `train` and `walk-forward`; a pair that only converts currencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mtquant_jax.cli import main
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.runs.trained_run import open_run
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.storage.paths import RunPaths
from tests.market.bars.test_timeframes import times, write


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Hourly files of EURJPY and, for longer and at more hours, of USDJPY."""
    folder = tmp_path / "bars"
    folder.mkdir()
    hours = times("2024-01-01T00:00", "2024-06-15T16:00", 3600)
    write(folder / "EURJPY.pro.csv", hours[hours % 86_400 != 0], 0, 3, 160.0)
    write(folder / "USDJPY_H1.csv", times("2023-12-01T00:00", "2024-06-20T00:00", 3600), 1, 3, 150.0)
    return folder


def test_a_check_finds_what_converts_the_profit(data, capsys):
    assert main(["data", "check", "--data-dir", str(data), "--symbols", "EURJPY"]) == 0
    output = capsys.readouterr().out
    assert "Only for conversion into USD: USDJPY" in output
    assert "2024-01-01 01:00 to 2024-06-15 15:00 UTC, 3,833 bars" in output
    (data / "USDJPY_H1.csv").unlink()
    assert main(["data", "check", "--data-dir", str(data), "--symbols", "EURJPY"]) == 1
    output = capsys.readouterr().out
    assert "Profit of EURJPY is in JPY" in output and "add USDJPY or JPYUSD, which need not be traded" in output


def test_converted_bars_are_still_whole(data, tmp_path, capsys):
    output = tmp_path / "parquet"
    assert main(["data", "convert", "--data-dir", str(data), "--symbols", "EURJPY", "--output", str(output)]) == 0
    assert sorted(path.name for path in output.iterdir()) == ["EURJPY.parquet", "USDJPY.parquet"]
    assert main(["data", "check", "--data-dir", str(output), "--symbols", "EURJPY"]) == 0
    assert "3,833 bars" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["train", "walk-forward"])
def test_the_command_trains_just_these(data, capsys, monkeypatch, command):
    seen: list[TrainConfig] = []

    def stop(config: TrainConfig, *_: Any, **__: Any) -> None:
        seen.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("mtquant_jax.runs.train.run", stop)
    monkeypatch.setattr("mtquant_jax.market.prepare.prepare_market", stop)
    assert main([command, "--symbols", "XAUUSD,eurjpy", "--data-dir", str(data), "--quick-test"]) == 130
    (config,) = seen
    assert {name: s.symbols for name, s in config.specialists.items()} == {
        "forex": ("EURJPY",),
        "commodities": ("XAUUSD",),
    }
    assert main([command, "--symbols", "GER50", "--data-dir", str(data)]) == 2
    assert "No contract specification for GER50; did you mean GER40 (also DE40" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_on_a_cross_is_in_the_accounts_currency(data, train):
    run_dir = train("--symbols", "EURJPY", "--data-dir", str(data), "--phases", "1", "--phase1-timesteps", "250")
    run = open_run(run_dir)
    assert {name: s.symbols for name, s in run.config.specialists.items()} == {"forex": ("EURJPY",)}
    assert "1 instruments (USDJPY for conversion only)" in run.market["description"]
    stored = yaml.safe_load(RunPaths(run_dir).resolved_config.read_text(encoding="utf-8"))
    assert (stored["symbols"], list(stored["specialists"])) == ([], ["forex"])
    table = prepare_market(run.config).table
    close = np.asarray(table.conversion_close)[0, :, 0]
    assert np.all((close > 1 / 170) & (close < 1 / 130))
