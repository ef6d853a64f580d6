"""Resampling, sessions, and features and splits on intervals other than an hour."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import format_time
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.bars.reading import read_bar_file
from mtquant_jax.market.bars.sessions import find_gaps, looks_like_broker_time
from mtquant_jax.market.bars.timeframes import resample, timeframe_name
from mtquant_jax.market.calendar import NEW_YORK_CLOSE, broker_days
from mtquant_jax.market.features import FEATURE_NAMES, LOOK_BACK_BARS, build_table
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.splits import split
from mtquant_jax.time_zones import read_zone
from mtquant_jax.types import AssetClass, Bars
from tests.conftest import SHARED

INSTRUMENTS = load_instruments()
UTC, BROKER = read_zone("UTC"), read_zone("NewYork+7")


def times(first: str, last: str, step: int) -> np.ndarray:
    start, end = (int(np.datetime64(text, "s").astype(np.int64)) for text in (first, last))
    return np.arange(start, end, step)


def write(path: Path, stamps: np.ndarray, seed: int = 0, digits: int = 5, level: float = 1.1) -> Path:
    """A random walk on the given times; its prices have `digits` decimals."""
    rng = np.random.default_rng(seed)
    close = level * np.exp(np.cumsum(rng.normal(0, 1e-4, len(stamps))))
    open_ = np.concatenate([[level], close[:-1]])
    rows = ["time,open,high,low,close,volume,spread"]
    for i, stamp in enumerate(np.datetime_as_string(stamps.astype("datetime64[s]"))):
        o, c = round(open_[i], digits), round(close[i], digits)
        wick = 3 * 10.0**-digits
        rows.append(
            f"{stamp},{o},{max(o, c) + wick:.{digits}f},{min(o, c) - wick:.{digits}f},{c},{i % 7 + 1},{i % 5 + 5}"
        )
    path.write_text("\n".join(rows) + "\n")
    return path


def test_a_coarse_bar_aggregates_its_fine_bars(tmp_path):
    rows = ["time,open,high,low,close,volume,spread"]
    rows += ["2024-01-02 00:50,1.10001,1.2,1.09,1.11,5,9", "2024-01-02 00:55,1.11,1.15,1.05,1.12,6,8"]
    rows += ["2024-01-02 01:00,1.13,1.14,1.12,1.135,1,7", "2024-01-02 01:40,1.14,1.19,1.11,1.18,2,30"]
    (tmp_path / "EURUSD.csv").write_text("\n".join([*rows, "2024-01-02 01:45,1.18,1.18,1.17,1.175,3,6"]))
    file = read_bar_file(tmp_path / "EURUSD.csv")
    hours = resample(file, "H1", UTC)
    assert [format_time(t)[11:] for t in hours.timestamps] == ["00:00", "01:00"]
    assert hours.open.tolist() == [1.10001, 1.13] and hours.close.tolist() == [1.12, 1.175]
    assert hours.high.tolist() == [1.2, 1.19] and hours.low.tolist() == [1.05, 1.11]
    assert hours.volume.tolist() == [11, 6]
    np.testing.assert_allclose(hours.spread, [9e-5, 7e-5])  # of the bar at which orders fill
    assert resample(file, "files", UTC) is file and resample(file, "M5", UTC) is file


@pytest.mark.parametrize(
    ("timeframe", "seconds"), [("M5", 300), ("M15", 900), ("M30", 1800), ("H1", 3600), ("H4", 14_400)]
)
def test_coarse_bars_open_on_multiples_of_their_length(tmp_path, timeframe, seconds):
    file = read_bar_file(write(tmp_path / "EURUSD.csv", times("2024-01-02T00:07", "2024-01-03T12:00", 60)))
    coarse = resample(file, timeframe, BROKER)
    assert np.all(coarse.timestamps % seconds == 0) and coarse.interval == seconds
    assert timeframe_name(seconds) == timeframe
    assert coarse.volume.sum() == file.volume.sum() and coarse.close[-1] == file.close[-1]
    # Recomputed from the fine bars inside single coarse bars.
    for i in (0, 1, len(coarse.close) - 1):
        inside = (file.timestamps >= coarse.timestamps[i]) & (file.timestamps < coarse.timestamps[i] + seconds)
        assert coarse.high[i] == file.high[inside].max() and coarse.open[i] == file.open[inside][0]


def test_resampling_in_steps_equals_resampling_at_once(tmp_path):
    file = read_bar_file(write(tmp_path / "EURUSD.csv", times("2024-03-07T00:00", "2024-03-14T00:00", 60)))
    at_once = resample(file, "D1", BROKER)
    in_steps = resample(resample(resample(file, "M30", BROKER), "H1", BROKER), "D1", BROKER)
    for field in ("timestamps", "open", "high", "low", "close", "volume", "spread"):
        np.testing.assert_array_equal(getattr(at_once, field), getattr(in_steps, field))


def test_days_follow_the_clock_of_the_broker(tmp_path):
    # US clocks go forward on Sunday 2024-03-10.
    file = read_bar_file(write(tmp_path / "EURUSD.csv", times("2024-03-07T22:00", "2024-03-13T21:00", 3600)))
    days = resample(file, "D1", BROKER)
    expected = ["03-07 22:00", "03-08 22:00", "03-09 22:00", "03-10 21:00", "03-11 21:00", "03-12 21:00"]
    assert [format_time(t)[5:] for t in days.timestamps] == expected
    assert days.interval == 86_400
    assert {format_time(t)[11:] for t in resample(file, "D1", UTC).timestamps} == {"00:00"}


def test_finer_bars_and_bars_across_borders_are_refused(tmp_path):
    hours = read_bar_file(write(tmp_path / "EURUSD.csv", times("2024-01-02T00:00", "2024-01-04T00:00", 3600)))
    with pytest.raises(UserError, match=r"`timeframe` M15: EURUSD.csv has H1 bars, and finer ones cannot be made"):
        resample(hours, "M15", UTC)
    half = read_bar_file(write(tmp_path / "EURUSD.csv", times("2024-01-02T00:30", "2024-01-04T00:00", 3600)))
    with pytest.raises(
        UserError, match=r"the H1 bar of EURUSD.csv at 2024-01-02 03:30 UTC runs past the end of its H4"
    ):
        resample(half, "H4", UTC)
    four = read_bar_file(write(tmp_path / "EURUSD.csv", times("2024-01-02T00:00", "2024-01-04T00:00", 14_400)))
    with pytest.raises(UserError, match=r"at 2024-01-02 20:00 UTC .* \(2 bars do\); .* or `broker_timezone`"):
        resample(four, "D1", BROKER)
    assert len(resample(four, "D1", UTC).close) == 2


def test_resampling_never_looks_ahead(tmp_path):
    stamps = times("2024-01-02T00:00", "2024-01-09T00:00", 900)
    file = read_bar_file(write(tmp_path / "EURUSD.csv", stamps))
    other = dataclasses.replace(file, close=file.close.copy(), high=file.high * 2)
    other.close[400:] *= 3
    other.high[:400] = file.high[:400]
    known = int(stamps[400]) // 14_400  # whole H4 bars before the first change
    before = [resample(one, "H4", UTC) for one in (file, other)]
    count = np.count_nonzero(before[0].timestamps // 14_400 < known)
    assert count > 20
    for field in ("open", "high", "low", "close"):
        np.testing.assert_array_equal(getattr(before[0], field)[:count], getattr(before[1], field)[:count])


def test_files_of_different_intervals_are_resampled_to_one_timeframe(tmp_path):
    write(tmp_path / "EURUSD_M15.csv", times("2024-01-02T00:00", "2024-01-05T00:00", 900))
    write(tmp_path / "XAUUSD_H1.csv", times("2024-01-02T00:00", "2024-01-05T00:00", 3600), 1, 2, 2000.0)
    symbols = ["EURUSD", "XAUUSD"]
    with pytest.raises(UserError, match=r"XAUUSD_H1.csv has H1 bars but EURUSD_M15.csv M15 bars; .*`timeframe` H1"):
        load_bars(tmp_path, symbols, INSTRUMENTS)
    bars, _ = load_bars(tmp_path, symbols, INSTRUMENTS, timeframe="H4")
    assert bars.close.shape == (1, 18, 2) and bars.tradable.all()


def test_days_that_begin_at_different_hours_are_refused(tmp_path):
    write(tmp_path / "EURUSD.csv", times("2024-01-01T00:00", "2024-03-01T00:00", 86_400))
    write(tmp_path / "XAUUSD.csv", times("2024-01-01T05:00", "2024-03-01T00:00", 86_400), 1, 2, 2000.0)
    with pytest.raises(
        UserError, match=r"The D1 bars of XAUUSD.csv open at 05:00 UTC but those of EURUSD.csv at 00:00"
    ):
        load_bars(tmp_path, ["EURUSD", "XAUUSD"], INSTRUMENTS)


@pytest.mark.parametrize(("step", "days", "holes"), [(60, 30, 1), (86_400, 300, 1)])
def test_long_holes_are_reported_on_any_interval_and_weekends_never(tmp_path, step, days, holes):
    stamps = times("2024-01-01T00:00", "2024-12-31T00:00", step)
    stamps = stamps[(stamps // 86_400 + 3) % 7 < 5][: days * 86_400 // step]
    write(tmp_path / "EURUSD.csv", stamps)
    missing = (stamps >= stamps[0] + 9 * 86_400) & (stamps < stamps[0] + 17 * 86_400)
    write(tmp_path / "XAUUSD.csv", stamps[~missing], 1, 2, 2000.0)
    _, notices = load_bars(tmp_path, ["EURUSD", "XAUUSD"], INSTRUMENTS)
    reported = [notice for notice in notices if "has no bars for" in notice]
    assert len(reported) == holes and reported[0].startswith("XAUUSD has no bars")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "period"), [(60, ("2024-01-01", "2024-01-04")), (86_400, ("2016-01-01", "2024-01-01"))]
)
def test_features_and_splits_on_minutes_and_days(tmp_path, step, period):
    stamps = times(*period, step)
    stamps = stamps[(stamps // 86_400 + 3) % 7 < 5]
    write(tmp_path / "EURUSD.csv", stamps)
    write(tmp_path / "USDJPY.csv", stamps, 1, 3, 150.0)
    bars, notices = load_bars(tmp_path, ["EURUSD", "USDJPY"], INSTRUMENTS)
    assert notices == [] and len(bars.timestamps) == len(stamps)
    classes = [AssetClass("forex", ("EURUSD", "USDJPY"), "forex")]
    table = build_table(bars, classes, INSTRUMENTS, "USD")
    settled = np.asarray(table.features)[0, LOOK_BACK_BARS:]
    assert np.isfinite(settled).all() and np.abs(settled).max() <= 5.0
    returns = settled[..., FEATURE_NAMES.index("return_1")]
    assert 0.7 < returns.std() < 1.4  # in units of the bar's own volatility, whatever a bar is
    assert np.asarray(table.day)[-1] == broker_days(stamps, NEW_YORK_CLOSE)[-1]
    assert split(len(stamps), 0.6, 0.2, 250, 100, LOOK_BACK_BARS).test[1] == len(stamps)
    # The table of a prefix is the prefix of the table.
    cut = len(stamps) - 300
    fields = {
        name: getattr(bars, name)[:, :cut] for name in ("open", "high", "low", "close", "spread", "volume", "tradable")
    }
    prefix = build_table(Bars(bars.symbols, bars.timestamps[:cut], **fields), classes, INSTRUMENTS, "USD")
    np.testing.assert_array_equal(np.asarray(prefix.features), np.asarray(table.features)[:, :cut])


def week(name: str, tmp_path: Path, zone: str = "UTC") -> Path:
    """Two years of hours from Sunday 17:00 to Friday 17:00 in New York, stamped on the clock of a zone."""
    utc = times("2022-06-01T00:00", "2024-06-01T00:00", 3600)
    local = read_zone("America/New_York").from_utc(utc)
    hours = (local // 3600 - 4 * 24) % 168  # 1970-01-05 was a Monday
    utc = utc[(hours < 113) | (hours >= 161)]
    return write(tmp_path / name, read_zone(zone).from_utc(utc))


def test_the_clock_of_a_broker_is_recognised_from_its_weeks(tmp_path):
    assert not looks_like_broker_time(read_bar_file(week("a.csv", tmp_path)))
    broker = read_bar_file(week("b.csv", tmp_path, "NewYork+7"))
    assert looks_like_broker_time(broker) and format_time(broker.timestamps[200])[:4] == "2022"
    assert not looks_like_broker_time(resample(broker, "D1", UTC))
    week("EURUSD.csv", tmp_path, "NewYork+7")
    _, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    assert notices[0].startswith("EURUSD.csv: its weeks begin at the same hour in summer and in winter")
    assert load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, broker_timezone="NewYork+7")[1] == []


def test_gaps_are_distinguished_from_weekends_and_daily_breaks(tmp_path):
    path = week("a.csv", tmp_path)
    assert find_gaps(read_bar_file(path)).count == 0
    lines = path.read_text().splitlines()
    # Tuesday 2022-06-14: 17:00 in New York is 21:00 UTC, the daily break; 03:00 to 06:00 is a gap of three bars.
    gone = ("2022-06-14T21:", "2022-06-14T03:", "2022-06-14T04:", "2022-06-14T05:")
    path.write_text("\n".join(line for line in lines if not line.startswith(gone)) + "\n")
    gaps = find_gaps(read_bar_file(path))
    assert (gaps.count, gaps.missing_bars, gaps.longest, gaps.daily_breaks) == (1, 3, 3 * 3600, 1)
    assert format_time(gaps.longest_at) == "2022-06-14 03:00"
    path.write_text("\n".join(line for line in lines if not "2022-06-14" <= line[:10] < "2022-06-28") + "\n")
    gaps = find_gaps(read_bar_file(path))
    assert (gaps.count, gaps.longest // 86_400) == (1, 14) and gaps.missing_bars == 240


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real bars beside this checkout")
def test_real_broker_clocks_are_recognised_and_real_utc_files_are_not():
    raw = SHARED / "raw_formats"
    on_broker_time = ["integer_points_GBPUSD_H1", "mt5_export_tab_EURUSD_H1", "mt5_python_server_time_USOIL_H1"]
    assert all(looks_like_broker_time(read_bar_file(raw / f"{name}.csv")) for name in on_broker_time)
    others = [*(SHARED / "h1").iterdir(), *(SHARED / "h1_long").iterdir(), raw / "tab_separated_US30_H1.csv"]
    assert not any(looks_like_broker_time(read_bar_file(path)) for path in others)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real bars beside this checkout")
def test_real_hours_become_days(tmp_path):
    # Its stamps have the offset +00:00: the zone only determines when a day begins.
    (tmp_path / "EURUSD.csv").symlink_to(SHARED / "raw_formats" / "mt5_python_utc_spread_EURUSD_H1.csv")
    bars, _ = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, "2024-02-01", "2024-11-01", "NewYork+7", "D1")
    assert {format_time(t)[11:] for t in bars.timestamps} == {"21:00", "22:00"}
    weekday = (bars.timestamps // 86_400 + 3) % 7
    assert set(weekday.tolist()) == {6, 0, 1, 2, 3} and bars.tradable.all()  # five days a week, no short Sundays


def test_points_become_prices_and_a_notice_says_so(tmp_path):
    rows = [f"2024-01-02 {h:02d}:00,158611.0,158620,158600,158615.00000000003,5,9\n" for h in range(6)]
    (tmp_path / "GBPUSD.csv").write_text("Date,open,high,low,close,tick_volume,spread\n" + "".join(rows))
    bars, notices = load_bars(tmp_path, ["GBPUSD"], INSTRUMENTS)
    assert bars.open[0, 0, 0] == 1.58611
    np.testing.assert_allclose(bars.spread, 9e-5)
    assert notices == [
        "GBPUSD.csv: prices such as 158615 have no decimals although GBPUSD is quoted with 5; they are points and were "
        "divided by 100000, which gives prices such as 1.58615."
    ]
    (tmp_path / "XAUUSD.csv").write_text(
        "time,open,high,low,close\n" + "".join(f"2024-01-02 {h:02d}:00,2050,2060,2040,2055\n" for h in range(6))
    )
    bars, notices = load_bars(tmp_path, ["XAUUSD"], INSTRUMENTS)
    assert (
        bars.close[0, 0, 0] == 2055 and "are taken as whole prices, because as points they would be 20.55" in notices[0]
    )
    own = {"BTCUSD": dataclasses.replace(INSTRUMENTS["XAUUSD"], symbol="BTCUSD", aliases=(), price_range=None)}
    (tmp_path / "BTCUSD.csv").write_text((tmp_path / "XAUUSD.csv").read_text())
    with pytest.raises(
        UserError, match=r"BTCUSD.csv: prices such as 2055 .* divide them by 100; if not, set its digits"
    ):
        load_bars(tmp_path, ["BTCUSD"], own)
