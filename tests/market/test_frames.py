"""DataFrames and MetaTrader's arrays as bars: what they may look like, and that they pass the checks of bar files."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.frames import bars_frame, load_frames
from mtquant_jax.market.instruments import load_instruments

INSTRUMENTS = load_instruments()
MONDAY = 1_704_153_600  # 2024-01-02 00:00 UTC
KINDS = {"time": "<i8", **dict.fromkeys(("open", "high", "low", "close"), "<f8")}
RATES = np.dtype([*KINDS.items(), ("tick_volume", "<u8"), ("spread", "<i4"), ("real_volume", "<u8")])


def rates(num_bars: int = 48, start: int = MONDAY, level: float = 1.1, step: float = 1e-5) -> np.ndarray:
    """What MetaTrader5.copy_rates_range returns."""
    found = np.zeros(num_bars, RATES)
    moves = np.random.default_rng(0).integers(-40, 40, (num_bars, 2))
    found["time"] = start + 3600 * np.arange(num_bars)
    found["close"] = np.round(level + step * np.cumsum(moves[:, 0]) + step, 5)
    found["open"] = np.round(found["close"] + step * moves[:, 1], 5)
    found["high"] = np.round(np.maximum(found["open"], found["close"]) + step, 5)
    found["low"] = np.round(np.minimum(found["open"], found["close"]) - step, 5)
    found["tick_volume"] = 100 + np.arange(num_bars)
    found["spread"] = 7
    return found


def as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """The same bars with times as text, as a CSV file has them."""
    return frame.assign(time=pd.to_datetime(frame["time"], unit="s").dt.strftime("%Y-%m-%d %H:%M:%S"))


def assert_same(first, second) -> None:
    assert first.symbols == second.symbols
    for name in ("timestamps", "open", "high", "low", "close", "spread", "volume", "tradable"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def test_rates_of_metatrader_are_on_the_broker_s_clock():
    bars, notices = load_frames({"EURUSD": rates()}, [], INSTRUMENTS, broker_timezone="NewYork+7")
    assert bars.symbols == ("EURUSD",) and notices == []
    np.testing.assert_array_equal(bars.timestamps, rates()["time"] - 2 * 3600)  # winter: UTC+2
    np.testing.assert_array_equal(bars.close[0, :, 0], rates()["close"])
    np.testing.assert_array_equal(bars.volume[0, :, 0], rates()["tick_volume"])
    np.testing.assert_allclose(bars.spread[0, :, 0], 7e-5)


def test_without_its_zone_the_clock_of_metatrader_is_taken_as_utc_and_reported():
    bars, notices = load_frames({"EURUSD": rates()}, [], INSTRUMENTS)
    np.testing.assert_array_equal(bars.timestamps, rates()["time"])
    assert notices == [
        "frame EURUSD holds bars of MetaTrader 5; its times are taken as UTC. They are usually on the broker's clock: "
        "name its zone with `broker_timezone` (often NewYork+7)."
    ]


@pytest.mark.parametrize(
    "shape",
    [
        pd.DataFrame,
        lambda found: pd.DataFrame(found).assign(time=lambda frame: pd.to_datetime(frame["time"], unit="s")),
        lambda found: pd.DataFrame(found).assign(time=lambda frame: pd.to_datetime(frame["time"], unit="s")).iloc[::-1],
        lambda found: pd.DataFrame(found).set_index("time"),
        lambda found: as_text(pd.DataFrame(found)),
        lambda found: as_text(pd.DataFrame(found)).rename(columns=str.title),
        lambda found: (
            pd.DataFrame(found)
            .assign(Date=lambda frame: pd.to_datetime(frame["time"], unit="s"))
            .set_index("Date")
            .drop(columns="time")
        ),
        lambda found: pd.DataFrame(found).assign(comment=[object()] * len(found)),
    ],
    ids=["numbers", "times", "newest first", "index of numbers", "text", "title case", "index of times", "more"],
)
def test_shapes_of_the_same_rates_give_the_same_bars(shape):
    expected, _ = load_frames({"EURUSD": rates()}, [], INSTRUMENTS, broker_timezone="Europe/Helsinki")
    found, _ = load_frames({"EURUSD": shape(rates())}, [], INSTRUMENTS, broker_timezone="Europe/Helsinki")
    assert_same(found, expected)


def test_times_with_an_offset_keep_it():
    stamped = pd.DataFrame(rates()).assign(time=lambda frame: pd.to_datetime(frame["time"], unit="s", utc=True))
    for frame in (stamped, stamped.assign(time=stamped["time"].dt.tz_convert("America/New_York"))):
        bars, notices = load_frames({"EURUSD": frame}, [], INSTRUMENTS, broker_timezone="NewYork+7")
        np.testing.assert_array_equal(bars.timestamps, rates()["time"])
        assert len(notices) == 1 and "`broker_timezone` NewYork+7 has no effect on it" in notices[0]


def test_seconds_of_other_frames_are_utc():
    frame = pd.DataFrame(rates()).drop(columns="real_volume").rename(columns={"tick_volume": "volume"})
    bars, _ = load_frames({"EURUSD": frame}, [], INSTRUMENTS, broker_timezone="NewYork+7")
    np.testing.assert_array_equal(bars.timestamps, rates()["time"])


def test_a_frame_passes_the_same_checks_and_repairs_as_a_file(tmp_path):
    frame = pd.DataFrame(rates()).drop(columns="real_volume")
    flat = frame.iloc[20].copy()
    flat[["open", "high", "low", "close"]], flat["tick_volume"] = frame.iloc[19]["close"], 0
    frame.iloc[20] = flat  # a filler
    frame.loc[30, "high"] = frame.loc[30, ["open", "close"]].max() * (1 - 2e-5)  # a range that must be widened
    frame.loc[30, "low"] = min(frame.loc[30, "low"], frame.loc[30, "high"])
    frame = as_text(pd.concat([frame.iloc[10:], frame.iloc[:12]]))  # out of order, two rows twice
    frame.to_csv(tmp_path / "EURUSD.csv", index=False)
    from_file, said = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    from_frame, found = load_frames({"EURUSD": frame}, [], INSTRUMENTS)
    assert_same(from_frame, from_file)
    assert not from_frame.tradable.all() or len(from_frame.timestamps) == 47
    kinds = ("sorted by time", "exact copies", "fillers", "widened")
    assert [sum(kind in notice for notice in found) for kind in kinds] == [1, 1, 1, 1]
    holds = "frame EURUSD holds bars of MetaTrader 5"
    assert [n.replace("EURUSD.csv", "frame EURUSD") for n in said] == [n for n in found if not n.startswith(holds)]


def test_frames_are_aligned_cut_and_resampled_like_files():
    gold = rates(60, MONDAY + 6 * 3600, 2000.0, 0.01)
    both = {"GOLD": gold, "EURUSD.pro": rates(), "notes": None}
    bars, _ = load_frames(
        both, ["EURUSD", "XAUUSD"], INSTRUMENTS, "2024-01-02", "2024-01-03", broker_timezone="UTC", timeframe="H4"
    )
    assert bars.symbols == ("EURUSD", "XAUUSD")
    np.testing.assert_array_equal(bars.timestamps, MONDAY + 3600 * np.array([4, 8, 12, 16, 20]))
    np.testing.assert_array_equal(bars.open[0, :, 0], rates()["open"][4:24:4])


def test_all_frames_are_loaded_where_no_symbols_are_named():
    bars, _ = load_frames({"#US30": rates(level=40_000.0, step=0.1), "gold": rates(level=2000.0)}, [], INSTRUMENTS)
    assert bars.symbols == ("US30", "XAUUSD")


def test_a_written_frame_reads_back_to_the_same_bars():
    holes = {"EURUSD": rates(), "XAUUSD": np.delete(rates(level=2000.0, step=0.01), [9, 10])}
    bars, _ = load_frames(holes, [], INSTRUMENTS, broker_timezone="NewYork+7")
    again, notices = load_frames({s: bars_frame(bars, s) for s in bars.symbols}, [], INSTRUMENTS)
    assert_same(again, bars)
    assert notices == [] and not bars.tradable.all()
    assert str(bars_frame(bars, "XAUUSD").index.tz) == "UTC"
    with pytest.raises(UserError, match="The bars have no WTIUSD; they have EURUSD, XAUUSD"):
        bars_frame(bars, "WTIUSD")


FRAME = pd.DataFrame(rates())


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ({}, "No frames are given"),
        ({"EURUSD": None}, "frame EURUSD is None; give a DataFrame"),
        ({"EURUSD": np.ones((3, 5))}, "frame EURUSD is an array without named columns"),
        ({"FOO": FRAME}, "No contract specification for FOO"),
        ({"EURUSD": FRAME, "EURUSDm": FRAME}, "There are 2 frames for EURUSD: EURUSD and EURUSDm; keep one"),
        ({"EURUSD": FRAME.drop(columns="high")}, "frame EURUSD has an unknown format: its columns are time, open, low"),
        (
            {"EURUSD": FRAME.drop(columns="time")},
            "frame EURUSD has prices but no column of times",
        ),
        ({"EURUSD": FRAME.head(0)}, "frame EURUSD has columns but no bars"),
        ({"EURUSD": FRAME.head(1)}, "frame EURUSD has only one bar"),
        ({"EURUSD": FRAME.rename(columns={"high": "open"})}, "frame EURUSD has 2 columns called open"),
        ({"EURUSD": FRAME.assign(open="x")}, r"row 0 \(2024-01-02 00:00\): open 'x' is not a number; .*; 47 more rows"),
        ({"EURUSD": FRAME.assign(open=[object()] * 48)}, "the column open has values of different kinds"),
        ({"EURUSD": FRAME.assign(close=FRAME["close"].where(FRAME.index != 5))}, r"row 5 \(2024-01-02 05:00\): close"),
        ({"EURUSD": FRAME.assign(low=FRAME["low"] + (FRAME.index == 7))}, r"row 7 \(2024-01-02 07:00\): high .* low"),
        (
            {"EURUSD": pd.concat({"EURUSD": FRAME, "GBPUSD": FRAME}, axis=1).swaplevel(axis=1)},
            "frame EURUSD has columns of several instruments",
        ),
    ],
)
def test_a_wrong_frame_is_refused_in_one_sentence(frames, message):
    with pytest.raises(UserError, match=message):
        load_frames(frames, [], INSTRUMENTS)


def test_a_missing_symbol_names_the_frames_there_are():
    with pytest.raises(UserError, match="There is no frame for XAUUSD; there are frames for EURUSD"):
        load_frames({"EURUSD": rates()}, ["EURUSD", "XAUUSD"], INSTRUMENTS)


def test_the_columns_of_yfinance_carry_a_ticker():
    frame = pd.DataFrame(rates()).assign(time=lambda f: pd.to_datetime(f["time"], unit="s", utc=True))
    frame = frame.drop(columns=["spread", "real_volume"]).rename(columns={"tick_volume": "Volume"}).set_index("time")
    frame.columns = pd.MultiIndex.from_tuples([(name.title(), "EURUSD=X") for name in frame.columns])
    bars, notices = load_frames({"EURUSD": frame}, [], INSTRUMENTS)
    np.testing.assert_array_equal(bars.close[0, :, 0], rates()["close"])
    assert notices == ["frame EURUSD has no spread column: the default of 7e-05 is used for EURUSD on every bar."]
