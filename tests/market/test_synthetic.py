"""The synthetic market: its seed, its calendar, its statistics, its edge and the absence of one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars import load_bars
from mtquant_jax.market.calibration import calibrate, calibration_yaml, load_calibration
from mtquant_jax.market.features import FEATURE_NAMES, build_table
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.synthetic import clock, generate
from mtquant_jax.types import AssetClass, Bars

INSTRUMENTS = load_instruments()
SYMBOLS = tuple(INSTRUMENTS)
CALIBRATION = load_calibration()
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "market"
PATHS, BARS = 16, 6000


@pytest.fixture(autouse=True)
def strict_promotion():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def market(seed: int, edge: float, num_paths: int = PATHS, num_bars: int = BARS, symbols=SYMBOLS) -> Bars:
    return generate(jax.random.key(seed), num_paths, num_bars, edge, CALIBRATION, symbols, INSTRUMENTS)


@pytest.fixture(scope="module")
def driftless() -> Bars:
    return market(0, 0.0)


def log_returns(bars: Bars) -> np.ndarray:
    return np.diff(np.log(np.asarray(bars.close, np.float64)), axis=1)


def test_the_same_seed_gives_the_same_bytes(driftless):
    again, other = market(0, 0.0), market(1, 0.0)
    for name in ("open", "high", "low", "close", "spread", "volume", "tradable"):
        same = np.asarray(getattr(driftless, name))
        assert same.tobytes() == np.asarray(getattr(again, name)).tobytes(), name
        assert name == "tradable" or same.tobytes() != np.asarray(getattr(other, name)).tobytes(), name


def test_the_clock_is_that_of_a_trading_week():
    times = clock(2000)
    moments = times.astype("datetime64[s]").tolist()
    assert str(moments[0]) == "2018-01-01 00:00:00" and moments[0].weekday() == 0
    for moment in moments:
        weekday, hour = moment.weekday(), moment.hour
        assert weekday < 4 or (weekday == 4 and hour < 21) or (weekday == 6 and hour >= 22), moment
    assert np.sum((times >= times[0] + 7 * 86400) & (times < times[0] + 14 * 86400)) == 119
    assert set(np.diff(times).tolist()) == {3600, 50 * 3600}  # Friday's last bar opens at 20:00


def test_bars_are_consistent_and_breaks_carry_the_price(driftless):
    o, h, low, c = (np.asarray(getattr(driftless, name)) for name in ("open", "high", "low", "close"))
    tradable, spread = np.asarray(driftless.tradable), np.asarray(driftless.spread)
    assert np.all(h >= np.maximum(o, c)) and np.all(low <= np.minimum(o, c)) and np.all(low > 0)
    hour = driftless.timestamps // 3600 % 24
    currency = np.array([INSTRUMENTS[symbol].is_currency_pair for symbol in SYMBOLS])
    assert np.array_equal(tradable[3], ~((hour == 21)[:, None] & ~currency))
    closed = np.argwhere(~tradable)
    paths, rows, columns = closed.T
    for column in (o, h, low, c):
        assert np.array_equal(column[paths, rows, columns], c[paths, rows - 1, columns])
    assert np.array_equal(spread[paths, rows, columns], spread[paths, rows - 1, columns])
    volume = np.asarray(driftless.volume)
    assert np.all(volume[~tradable] == 0) and np.all(volume[tradable] >= 1)


def test_spreads_are_the_defaults_and_wider_around_the_new_york_close(driftless):
    spread, hour = np.asarray(driftless.spread), driftless.timestamps // 3600 % 24
    default = np.array([INSTRUMENTS[symbol].default_spread for symbol in SYMBOLS])
    np.testing.assert_allclose(np.median(spread[:, ~np.isin(hour, (21, 22))], axis=(0, 1)), default, rtol=0.02)
    np.testing.assert_allclose(np.median(spread[:, hour == 22], axis=(0, 1)), 2.5 * default, rtol=0.03)


def test_statistics_are_those_of_the_calibration():
    bars = market(3, 0.0, num_paths=1, num_bars=40_000)
    found = calibrate(bars)
    for symbol, wanted in CALIBRATION["instruments"].items():
        got = found["instruments"][symbol]
        assert got["hourly_volatility"] == pytest.approx(wanted["hourly_volatility"], rel=0.15), symbol
        assert got["volatility_of_volatility"] == pytest.approx(wanted["volatility_of_volatility"], rel=0.25), symbol
        assert got["volatility_persistence"] == pytest.approx(wanted["volatility_persistence"], abs=0.01), symbol
        assert abs(got["tail_dof"] - wanted["tail_dof"]) <= 2, symbol
        for gap in ("open_gap", "break_gap", "weekend_gap"):
            assert got[gap] == pytest.approx(wanted[gap], rel=0.2, abs=1e-6), (symbol, gap)
        hours = [hour for hour in range(24) if hour != 21 or INSTRUMENTS[symbol].is_currency_pair]
        profiles = (np.asarray(one["hour_profile"])[hours] for one in (got, wanted))
        np.testing.assert_allclose(*profiles, rtol=0.3)
    assert found["volatility_common_share"] == pytest.approx(CALIBRATION["volatility_common_share"], abs=0.15)
    np.testing.assert_allclose(found["correlations"], CALIBRATION["correlations"], atol=0.05)


def test_returns_have_heavy_tails_and_clustered_volatility(driftless):
    returns = log_returns(driftless)[..., 0]
    scores = returns / returns.std()
    assert np.mean(scores**4) > 5
    square = scores**2 - np.mean(scores**2)
    for lag in (1, 5, 24):
        assert np.mean(square[:, lag:] * square[:, :-lag]) / np.mean(square**2) > 0.02, lag
    signed = np.mean(scores[:, 1:] * scores[:, :-1])
    assert abs(signed) < 0.02


def test_without_an_edge_prices_are_martingales():
    # Simple returns over whole paths: their mean over 512 paths is zero within its error, for every instrument.
    bars = market(4, 0.0, num_paths=512, num_bars=500)
    close, start = np.asarray(bars.close, np.float64), np.asarray(bars.open, np.float64)[:, 0]
    growth = close[:, -1] / start - 1.0
    error = growth.std(axis=0) / np.sqrt(len(growth))
    assert np.all(np.abs(growth.mean(axis=0)) < 3.5 * error), growth.mean(axis=0) / error
    simple = close[:, 1:] / close[:, :-1] - 1.0
    error = simple.std(axis=(0, 1)) / np.sqrt(simple[..., 0].size)
    assert np.all(np.abs(simple.mean(axis=(0, 1))) < 3.5 * error), simple.mean(axis=(0, 1)) / error


def profit_of_following_trends(bars: Bars) -> tuple[float, float]:
    """Mean next return, in volatilities, of holding the sign of trend_20, and its standard error (over paths)."""
    table = build_table(bars, [AssetClass("all", SYMBOLS)], INSTRUMENTS, "USD")
    trend = np.asarray(table.features)[:, 240:-1, :, FEATURE_NAMES.index("trend_20")]
    deviation = np.sqrt(np.diagonal(np.asarray(table.covariance), axis1=-2, axis2=-1))[:, 240:-1]
    gain = np.sign(trend) * log_returns(bars)[:, 240:] / deviation
    per_path = gain.mean(axis=(1, 2))
    return float(per_path.mean()), float(per_path.std(ddof=1) / np.sqrt(len(per_path)))


def test_the_edge_can_be_seen_in_the_features_and_is_absent_without_one(driftless):
    mean, error = profit_of_following_trends(market(5, 0.12))
    # A sign of a filter of a drift of 0.12 deviations can earn at most E|drift| = 0.096 volatilities a bar.
    assert 0.02 < mean < 0.096 and mean > 8 * error
    mean, error = profit_of_following_trends(driftless)
    assert abs(mean) < 3.5 * error and abs(mean) < 0.006


def test_the_drift_is_persistent_and_of_the_size_asked_for():
    # Autocovariance of standardised returns at lag k is edge^2 0.98^k; a large edge makes it visible.
    bars = market(6, 0.5)
    scores = log_returns(bars)[..., :3] / np.asarray(
        [CALIBRATION["instruments"][symbol]["hourly_volatility"] for symbol in SYMBOLS[:3]]
    )
    lags = np.array([10, 30, 60])
    found = np.array([np.mean(scores[:, lag:] * scores[:, :-lag]) for lag in lags])
    np.testing.assert_allclose(found[1:] / found[0], 0.98 ** (lags[1:] - lags[0]), atol=0.15)
    assert 0.5 * 0.25 * 0.98**10 < found[0] < 1.5 * 0.25 * 0.98**10


def test_an_instrument_does_not_depend_on_which_others_are_drawn_for_its_statistics():
    bars = market(7, 0.0, num_paths=4, num_bars=2000, symbols=("US30", "EURUSD"))
    assert bars.symbols == ("US30", "EURUSD") and bars.close.shape == (4, 2000, 2)
    ratio = log_returns(bars).std(axis=(0, 1))
    assert ratio[0] > 1.5 * ratio[1]
    assert np.asarray(bars.close)[:, 0, 0] == pytest.approx(CALIBRATION["instruments"]["US30"]["start_price"], rel=0.05)


def test_unknown_instruments_are_refused_with_the_way_out():
    with pytest.raises(UserError, match=r"has no BTCUSD; it knows EURUSD, GBPUSD.*with --data-dir"):
        market(0, 0.0, 1, 100, ("EURUSD", "BTCUSD"))


def test_a_calibration_survives_writing_and_reading(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(calibration_yaml(CALIBRATION, "a test"))
    assert load_calibration(path) == CALIBRATION
    path.write_text(calibration_yaml(CALIBRATION, "a test").replace("    start_price", "    startprice", 1))
    with pytest.raises(UserError, match=r"mine.yaml: EURUSD: start_price must be a number; found None"):
        load_calibration(path)
    path.write_text("instruments: {}\n")
    with pytest.raises(UserError, match=r"mine.yaml lacks the key volatility_common_share"):
        load_calibration(path)
    with pytest.raises(UserError, match="at least 1000 hourly bars; found 100"):
        calibrate(dataclasses.replace(market(0, 0.0, 1, 100)))


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real bars beside this checkout")
def test_the_shipped_calibration_is_what_the_script_measures(tmp_path):
    output, root = tmp_path / "synthetic.yaml", Path(__file__).resolve().parents[2]
    script = root / "scripts" / "calibrate_synthetic_market.py"
    command = [sys.executable, str(script), "--data-dir", str(SHARED / "h1"), "--output", str(output)]
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=root, env={"PYTHONPATH": str(root)}, check=False
    )
    assert result.returncode == 0, result.stderr
    assert output.read_text() == (root / "configs" / "synthetic.yaml").read_text()
    command[3] = str(tmp_path / "nowhere")
    result = subprocess.run(
        command, capture_output=True, text=True, cwd=root, env={"PYTHONPATH": str(root)}, check=False
    )
    assert result.returncode == 2 and result.stderr.strip().endswith("nowhere does not exist")


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real bars beside this checkout")
def test_real_hourly_volatility_is_what_the_calibration_says():
    bars, _ = load_bars(SHARED / "h1", ["XAUUSD"], INSTRUMENTS)
    rows = np.flatnonzero(bars.tradable[0, :, 0])
    hourly = np.diff(bars.timestamps[rows]) == 3600
    volatility = np.diff(np.log(bars.close[0, rows, 0]))[hourly].std()
    assert CALIBRATION["instruments"]["XAUUSD"]["hourly_volatility"] == pytest.approx(volatility, rel=1e-3)
