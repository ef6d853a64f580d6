"""The fits behind a calibration, its file, and the command that writes it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from mtquant_jax.cli import main
from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.market.synthetic.calibration import calibrate
from mtquant_jax.market.synthetic.calibration_files import calibration_yaml, load_calibration
from mtquant_jax.market.synthetic.calibration_fits import (
    draw_regimes,
    extreme_correlation,
    find_regimes,
    stochastic_volatility,
    tails,
)
from mtquant_jax.market.synthetic.generator import generate
from mtquant_jax.settings.layers import load_config

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared" / "data" / "market"
CALIBRATION = load_calibration()


def autoregression(rng: np.random.Generator, persistence: float, deviation: float, size: int) -> np.ndarray:
    state, shocks = np.zeros(size), rng.standard_normal(size) * deviation * np.sqrt(1.0 - persistence**2)
    for t in range(1, size):
        state[t] = persistence * state[t - 1] + shocks[t]
    return state


def test_two_speeds_of_volatility_are_separated():
    rng = np.random.default_rng(1)
    log_volatility = autoregression(rng, 0.7, 0.35, 60_000) + autoregression(rng, 0.99, 0.4, 60_000)
    found = stochastic_volatility(log_volatility + np.log(np.abs(rng.standard_normal(60_000)) + 1e-3))
    assert found["fast_persistence"] == pytest.approx(0.7, abs=0.15)
    assert found["fast_volatility"] == pytest.approx(0.35, rel=0.2)
    assert found["slow_persistence"] == pytest.approx(0.99, abs=0.006)
    assert found["slow_volatility"] == pytest.approx(0.4, rel=0.15)


@pytest.mark.parametrize(
    ("dof", "rate", "size", "least_dof", "most_dof", "least_share", "most_share"),
    [
        (3.0, 0.0, 0.0, 2.6, 4.5, 0.0, 0.15),
        (12.0, 0.0, 0.0, 6.0, 12.0, 0.0, 0.03),
        (12.0, 0.002, 8.0, 5.0, 12.0, 0.05, 0.2),
    ],
)
def test_tails_and_jumps_are_found(dof, rate, size, least_dof, most_dof, least_share, most_share):
    # Rare jumps and a heavier tail can replace each other, so the bounds of both are wide.
    rng = np.random.default_rng(2)
    volatility = {"fast_persistence": 0.5, "fast_volatility": 0.3, "slow_persistence": 0.99, "slow_volatility": 0.0}
    level = np.exp(autoregression(rng, 0.5, 0.3, 70_000))
    noise = level * rng.standard_t(dof, 70_000) * np.sqrt((dof - 2.0) / dof)
    jumps = size * rng.standard_normal(70_000) * (rng.random(70_000) < rate)
    found = tails(noise + level * jumps, {**volatility, "turbulence": 0.0}, draw_regimes(0.0, 1.0))
    assert least_dof <= found["tail_dof"] <= most_dof
    assert least_share <= found["jump_rate"] * found["jump_size"] ** 2 <= most_share  # of the variance


def test_regimes_are_found_and_their_lengths():
    rng = np.random.default_rng(3)
    turbulent = np.zeros(800, bool)
    for day in range(1, 800):
        turbulent[day] = rng.random() < (0.9 if turbulent[day - 1] else 0.03)
    day = np.repeat(np.arange(800), 24)
    sizes = np.log(np.abs(rng.standard_normal((4, day.size)))) + 0.6 * turbulent[day]
    sizes[2, ::7] = np.nan
    found = find_regimes(sizes, day)
    assert np.mean(found.turbulent == turbulent[day]) > 0.97
    assert found.entry == pytest.approx(0.03 / 24, rel=0.4) and found.exit == pytest.approx(0.1 / 24, rel=0.4)


def test_a_short_history_has_no_regimes():
    found = find_regimes(np.zeros((2, 240)), np.repeat(np.arange(10), 24))
    assert found.entry == 0.0 and not found.turbulent.any()


def test_extreme_correlation_is_inverted():
    rng = np.random.default_rng(4)
    left, own = rng.standard_normal((2, 2_000_000))
    right = 0.6 * left + 0.8 * own
    share = np.mean(right[left > 2.326] > 2.326)
    assert extreme_correlation(float(share), 0.99) == pytest.approx(0.6, abs=0.02)
    assert extreme_correlation(0.0, 0.99) == 0.0 and extreme_correlation(1.0, 0.99) == 0.95


def test_a_calibration_is_the_same_after_writing_and_reading(tmp_path):
    path = tmp_path / "mine.yaml"
    text = calibration_yaml(CALIBRATION, "a test")
    path.write_text(text)
    assert load_calibration(path) == CALIBRATION
    for old, new, message in (
        ("    start_price", "    startprice", r"mine.yaml: EURUSD: start_price must be a number; found None"),
        ("    tail_dof: ", "    tail_dof: -", r"mine.yaml: EURUSD: tail_dof must be from 2.1 to 1000; found -"),
        ("  - [1.000, ", "  - [", r"mine.yaml: correlations must have a row and a column per instrument, 8 of each"),
        ("  - [1.000, ", "  - [0.500, ", r"mine.yaml: correlations must be symmetric, with ones on the diagonal"),
        ("turbulent_exit", "turbulent_end", r"mine.yaml lacks the key turbulent_exit; write it with mtquant-jax data"),
    ):
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(UserError, match=message):
            load_calibration(path)


def test_too_few_bars_are_refused():
    bars = generate(jax.random.key(0), 1, 100, 0.0, None, ("EURUSD",), load_instruments())
    with pytest.raises(UserError, match="at least 1000 hourly bars; found 100"):
        calibrate(bars)


def write_bars(folder: Path, num_bars: int = 2000) -> None:
    instruments = load_instruments()
    bars = generate(jax.random.key(5), 1, num_bars, 0.0, None, ("EURUSD", "SPX500"), instruments)
    folder.mkdir()
    for index, symbol in enumerate(bars.symbols):
        rows = np.flatnonzero(np.asarray(bars.tradable)[0, :, index])
        columns = [np.asarray(getattr(bars, name))[0, rows, index] for name in ("open", "high", "low", "close")]
        times = bars.timestamps[rows].astype("datetime64[s]")
        lines = [
            f"{time},{o:.5f},{h:.5f},{low:.5f},{c:.5f},100" for time, o, h, low, c in zip(times, *columns, strict=True)
        ]
        text = "time,open,high,low,close,volume\n" + "\n".join(lines).replace("T", " ")
        (folder / f"{symbol}.csv").write_text(text + "\n")


@pytest.mark.slow
def test_the_command_measures_the_existing_files_and_a_training_can_use_the_result(tmp_path, capsys):
    write_bars(tmp_path / "bars")
    output = tmp_path / "mine.yaml"
    assert main(["data", "calibrate", "--data-dir", str(tmp_path / "bars"), "--output", str(output)]) == 0
    assert "bars of 2 instruments" in capsys.readouterr().out
    assert list(load_calibration(output)["instruments"]) == ["EURUSD", "SPX500"]

    config, _ = load_config(["--market.calibration", str(output), "--market.scenario", "crisis", "--quick-test"])
    with pytest.raises(UserError, match=r"The synthetic market has no GBPUSD.*it knows EURUSD, SPX500"):
        prepare_market(config)
    classes = {
        "forex": dataclasses.replace(config.specialists["forex"], symbols=("EURUSD",)),
        "equity": dataclasses.replace(config.specialists["equity"], symbols=("SPX500",)),
    }
    market = prepare_market(dataclasses.replace(config, specialists=classes))
    assert "edge 0.12, crisis" in market.description


def test_the_command_reports_errors(tmp_path, capsys):
    command = ["data", "calibrate", "--data-dir", str(tmp_path / "nowhere"), "--output", str(tmp_path / "x.yaml")]
    assert main(command) == 2
    assert capsys.readouterr().err.strip().endswith("nowhere does not exist")
    command = ["data", "calibrate", "--data-dir", str(tmp_path), "--output", str(tmp_path / "no" / "x.yaml")]
    assert main(command) == 2
    assert "x.yaml: the folder" in capsys.readouterr().err
    command = ["data", "calibrate", "--data-dir", str(tmp_path), "--output", str(tmp_path / "x.yaml")]
    assert main(command) == 2
    assert "has no file for EURUSD" in capsys.readouterr().err
    assert main(["data", "divine"]) == 2
    assert main(["data", "--help"]) == 0 and "calibrate" in capsys.readouterr().out


def test_scenarios_and_calibrations_are_refused_with_real_bars(tmp_path):
    for flags in (["--market.scenario", "crisis"], ["--market.calibration", "x.yaml"]):
        with pytest.raises(UserError, match="shapes the synthetic market, and `data_dir` takes its place"):
            load_config([*flags, "--data-dir", str(tmp_path)])


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real bars beside this checkout")
def test_the_shipped_calibration_equals_the_output_of_the_command(tmp_path):
    output = tmp_path / "synthetic.yaml"
    assert main(["data", "calibrate", "--data-dir", str(SHARED / "h1"), "--output", str(output)]) == 0
    assert output.read_text() == (ROOT / "configs" / "synthetic.yaml").read_text()
