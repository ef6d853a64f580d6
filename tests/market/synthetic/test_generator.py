"""The synthetic market: its seed, its calendar, its statistics, its edge and the absence of one."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.features import FEATURE_NAMES, build_table
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.synthetic.calibration import calibrate
from mtquant_jax.market.synthetic.calibration_files import load_calibration
from mtquant_jax.market.synthetic.generator import clock, generate
from mtquant_jax.market.synthetic.parameters import tail_factors
from mtquant_jax.types import AssetClass, Bars
from tests.market.random_bars import SYMBOLS

INSTRUMENTS = load_instruments()
CALIBRATION = load_calibration()
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "market"
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


def test_the_clock_follows_the_trading_week():
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


@pytest.mark.slow
def test_statistics_match_the_calibration():
    found = calibrate(market(3, 0.0, num_paths=1, num_bars=40_000))
    for symbol, wanted in CALIBRATION["instruments"].items():
        got = found["instruments"][symbol]
        assert got["hourly_volatility"] == pytest.approx(wanted["hourly_volatility"], rel=0.25), symbol
        deviations = [np.hypot(one["fast_volatility"], one["slow_volatility"]) for one in (got, wanted)]
        assert deviations[0] == pytest.approx(deviations[1], rel=0.25), symbol
        assert got["slow_persistence"] == pytest.approx(wanted["slow_persistence"], abs=0.01), symbol
        assert got["turbulence"] == pytest.approx(wanted["turbulence"], abs=0.3), symbol
        for gap in ("open_gap", "break_gap", "weekend_gap"):
            assert got[gap] == pytest.approx(wanted[gap], rel=0.25, abs=1e-6), (symbol, gap)
        hours = [hour for hour in range(24) if hour != 21 or INSTRUMENTS[symbol].is_currency_pair]
        profiles = (np.asarray(one["hour_profile"])[hours] for one in (got, wanted))
        np.testing.assert_allclose(*profiles, rtol=0.35)
    apart = np.asarray(found["volatility_correlations"]) - CALIBRATION["volatility_correlations"]
    assert np.abs(apart).mean() < 0.15
    calm_bars, turbulent_bars = (
        1.0 / np.array([found[k], CALIBRATION[k]]) for k in ("turbulent_entry", "turbulent_exit")
    )
    assert 0.4 < calm_bars[0] / calm_bars[1] < 2.5 and 0.4 < turbulent_bars[0] / turbulent_bars[1] < 2.5
    np.testing.assert_allclose(found["correlations"], CALIBRATION["correlations"], atol=0.07)
    # Days are classified by their volatility alone, with some errors, so the estimates lie between the two regimes.
    np.testing.assert_allclose(found["turbulent_correlations"], CALIBRATION["turbulent_correlations"], atol=0.2)


def test_volatility_over_many_paths_matches_the_calibration():
    bars = market(8, 0.0, num_paths=256, num_bars=480)
    body = np.log(np.asarray(bars.close, np.float64) / np.asarray(bars.open, np.float64))
    hour = bars.timestamps // 3600 % 24
    for index, symbol in enumerate(SYMBOLS):
        one = CALIBRATION["instruments"][symbol]
        profile = np.asarray(one["hour_profile"])[hour] * one["hourly_volatility"] * np.sqrt(1.0 - one["open_gap"] ** 2)
        traded = np.asarray(bars.tradable)[0, :, index]
        found = np.sqrt(np.mean((body[:, traded, index] / profile[traded]) ** 2))
        assert found == pytest.approx(1.0, abs=0.06), symbol


def test_returns_have_heavy_tails_and_clustered_volatility(driftless):
    returns = log_returns(driftless)[..., 0]
    scores = returns / returns.std()
    assert np.mean(scores**4) > 8
    size = np.abs(scores) - np.mean(np.abs(scores))
    for lag, least in ((1, 0.1), (5, 0.06), (24, 0.06), (120, 0.03)):
        assert np.mean(size[:, lag:] * size[:, :-lag]) / np.mean(size**2) > least, lag
    signed = np.mean(scores[:, 1:] * scores[:, :-1])
    assert abs(signed) < 0.02


@pytest.mark.parametrize("dof", [2.6, 3.0, 4.5, 12.0])
def test_tail_factors_make_a_normal_a_student_t(dof):
    # Quantiles of |t| of unit variance, from SciPy, against a normal times the factor of another normal.
    rng = np.random.default_rng(0)
    grid = np.linspace(-4.5, 4.5, 91)
    factor = np.exp(np.interp(rng.standard_normal(400_000), grid, np.log(tail_factors(np.array([dof]), grid)[0])))
    assert np.mean(factor**2) == pytest.approx(1.0, rel=0.03)
    found = np.quantile(np.abs(rng.standard_normal(400_000) * factor), [0.5, 0.9, 0.99, 0.999])
    wanted = stats.t.ppf(0.5 + 0.5 * np.array([0.5, 0.9, 0.99, 0.999]), dof) * np.sqrt((dof - 2.0) / dof)
    # The cut at 12 removes variance from the heaviest tails, and the rest is scaled up to one.
    np.testing.assert_allclose(found, wanted, rtol=0.12 if dof < 3.0 else 0.05)


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_edge_can_be_seen_in_the_features_and_is_absent_without_one(driftless):
    mean, error = profit_of_following_trends(market(5, 0.12))
    # A sign of a filter of a drift of 0.12 deviations can earn at most E|drift| = 0.096 volatilities a bar.
    assert 0.02 < mean < 0.096 and mean > 8 * error
    mean, error = profit_of_following_trends(driftless)
    assert abs(mean) < 3.5 * error and abs(mean) < 0.006


def test_the_drift_has_the_persistence_and_the_size_of_the_settings():
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


def test_unknown_instruments_are_refused_with_a_remedy():
    with pytest.raises(UserError, match=r"has no BTCUSD; it knows EURUSD, GBPUSD.*with `data_dir`"):
        market(0, 0.0, 1, 100, ("EURUSD", "BTCUSD"))


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real bars beside this checkout")
def test_real_hourly_volatility_matches_the_calibration():
    bars, _ = load_bars(SHARED / "h1", ["XAUUSD"], INSTRUMENTS)
    rows = np.flatnonzero(bars.tradable[0, :, 0])
    hourly = np.diff(bars.timestamps[rows]) == 3600
    volatility = np.diff(np.log(bars.close[0, rows, 0]))[hourly].std()
    assert CALIBRATION["instruments"]["XAUUSD"]["hourly_volatility"] == pytest.approx(volatility, rel=1e-3)
