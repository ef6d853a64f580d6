"""Which of a file's columns are taken for prices, volume and spread, whatever they are called."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars import layouts
from mtquant_jax.market.bars.bar_file import PRICES
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.frames import load_frames
from mtquant_jax.market.instruments import load_instruments
from tests.conftest import SHARED

INSTRUMENTS = load_instruments()
CASES = SHARED.parents[1] / "cases"
HALF = 8e-5  # half of the spread of `quotes`


def mids(num_bars: int = 60) -> pd.DataFrame:
    """Random bars around 1.1, with a tick volume that moves."""
    rng = np.random.default_rng(0)
    close = 1.1 + 1e-5 * rng.integers(-90, 91, num_bars).cumsum()
    opens = np.concatenate([[1.1], close[:-1]])
    prices = {"open": opens, "high": np.maximum(opens, close) + 1e-4, "low": np.minimum(opens, close) - 1e-4}
    times = pd.date_range("2024-01-02", periods=num_bars, freq="h").strftime("%Y-%m-%d %H:%M:%S")
    frame = pd.DataFrame({"time": times, **prices, "close": close}).round(5)
    return frame.assign(volume=rng.integers(100, 900, num_bars))


def quotes(named: str, **more: str) -> pd.DataFrame:
    """Bid and ask of the same bars; in the pattern of names, SIDE, PRICE, S and P stand for words and letters."""
    bars = mids()
    frame = bars[["time", "volume"]].copy()
    for side, shift in (("bid", -HALF), ("ask", HALF)):
        for price in PRICES:
            frame[_name(named, side, price)] = (bars[price] + shift).round(5)
    for pattern in more.values():
        for price in PRICES:
            frame[_name(pattern, "mid", price)] = bars[price]
    return frame


def _name(pattern: str, side: str, price: str) -> str:
    words = {"Side": side.title(), "side": side, "SIDE": side.upper(), "Price": price.title(), "price": price}
    words |= {"PRICE": price.upper(), "P1": price[0]}
    for word, text in words.items():
        pattern = pattern.replace(word, text)
    return pattern


def load(folder, frame: pd.DataFrame, separator: str = ","):
    (folder / "EURUSD.csv").write_text(frame.to_csv(index=False, sep=separator))
    return load_bars(folder, ["EURUSD"], INSTRUMENTS)


NAMINGS = [
    *("side_price", "priceSide", "side.P1", "SidePrice", "price_side", "side_P1", "SIDEPRICE", "P1 side", "sideP1"),
    *("Side Price Quote", "EURUSD.side.price", "side/price", "1. side price"),
]


@pytest.mark.parametrize("named", NAMINGS)
def test_bid_and_ask_are_found_under_any_naming_and_go_before_other_prices(tmp_path, named):
    bars, notices = load(tmp_path, quotes(named, mid="price"))
    for price in PRICES:
        np.testing.assert_array_equal(getattr(bars, price)[0, :, 0], (mids()[price] - HALF).round(5))
    np.testing.assert_allclose(bars.spread, 2 * HALF)
    np.testing.assert_array_equal(bars.volume[0, :, 0], mids()["volume"])
    bid, ask = (", ".join(_name(named, side, price) for price in PRICES) for side in ("bid", "ask"))
    assert notices == [
        f"EURUSD.csv: its prices are taken from {bid}, and not from open, high, low, close.",
        f"EURUSD.csv: its spread is {ask.split(', ')[0]} - {bid.split(', ')[0]}.",
    ]
    without, notices = load(tmp_path, quotes(named))
    np.testing.assert_array_equal(without.close, bars.close)
    np.testing.assert_array_equal(without.spread, bars.spread)
    assert notices == []


def test_parquet_and_frames_choose_as_text_does(tmp_path):
    frame = quotes("side_price", mid="price").assign(Volume=0)
    expected, notices = load(tmp_path, frame)
    (tmp_path / "EURUSD.csv").unlink()
    frame.to_parquet(tmp_path / "EURUSD.parquet")
    for bars, found in (
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS),
        load_frames({"EURUSD": frame}, [], INSTRUMENTS),
    ):
        for name in (*PRICES, "volume", "spread"):
            np.testing.assert_array_equal(getattr(bars, name), getattr(expected, name))
        assert [notice.partition(":")[2] for notice in found] == [notice.partition(":")[2] for notice in notices]
    both = quotes("side_price").set_index("time").drop(columns="volume")
    both.columns = pd.MultiIndex.from_tuples([tuple(name.split("_")) for name in both.columns])
    bars, _ = load_frames({"EURUSD": both}, [], INSTRUMENTS)
    np.testing.assert_array_equal(bars.spread, expected.spread)


@pytest.mark.parametrize(
    ("change", "close", "spread", "notice"),
    [
        (lambda f: f.drop(columns=[f"bid_{p}" for p in PRICES]), 0.0, HALF, "its spread is ask_open - open"),
        (lambda f: f.assign(**{f"bid_{p}": np.nan for p in PRICES}), 0.0, HALF, "(no prices)"),
        (lambda f: f.assign(ask_open=0), -HALF, 7e-5, "ask_open and bid_open give no spread, for one holds no prices"),
        (lambda f: f.assign(spread=3), -HALF, 2 * HALF, "its spread is ask_open - bid_open, and not the column spread"),
        (lambda f: f.filter(regex="time|ask"), HALF, 7e-5, "They are ask prices: every fill is worse by one spread"),
        (
            lambda f: f[["time", *PRICES]].rename(columns={p: f"mid_{p}" for p in PRICES}),
            0.0,
            7e-5,
            "its only prices are mid_open, mid_high, mid_low, mid_close. They are mid prices",
        ),
        (
            lambda f: f[["time", *PRICES, "ask_open"]].rename(columns={p: f"mid_{p}" for p in PRICES}),
            0.0,
            2 * HALF,
            "its spread is twice ask_open - mid_open",
        ),
        (
            lambda f: f[["time", *PRICES]].rename(columns={p: f"last {p}" for p in PRICES}),
            0.0,
            7e-5,
            "They are prices of trades",
        ),
        (lambda f: f[["time", *PRICES]].assign(bid=1.1, ask=1.1001), 0.0, 1e-4, "its spread is ask - bid"),
        (
            lambda f: f[["time", *PRICES]].rename(columns={"close": "Last"}),
            0.0,
            7e-5,
            "the column Last is taken for the close",
        ),
    ],
)
def test_what_there_is_instead_of_bid_and_ask_is_named(tmp_path, change, close, spread, notice):
    bars, notices = load(tmp_path, change(quotes("side_price", mid="price")))
    np.testing.assert_allclose(bars.close[0, :, 0], mids()["close"] + close, rtol=1e-9)
    np.testing.assert_allclose(bars.spread, spread, rtol=1e-6)
    assert sum(notice in one for one in notices) == 1, notices


def test_columns_that_are_no_prices_are_ignored(tmp_path):
    plain, _ = load(tmp_path, mids())
    more = {
        name: 1.0 for name in ("Adj Close", "ha_open", "ha_high", "ha_low", "ha_close", "close_lag1", "open_interest")
    }
    more |= {"sma_close": 2.0, "high_low": 0.1, "Volume MA": 5.0, "quote_volume": 7.0, "min": 30}
    bars, notices = load(tmp_path, mids().assign(**more))
    for name in (*PRICES, "volume"):
        np.testing.assert_array_equal(getattr(bars, name), getattr(plain, name))
    assert notices == ["EURUSD.csv has no spread column: the default of 7e-05 is used for EURUSD on every bar."]


def test_two_columns_for_one_price_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"EURUSD.csv has 2 columns called close; keep one of them"):
        load(tmp_path, mids().assign(Close=1.2))
    with pytest.raises(UserError, match=r"EURUSD.csv has 2 columns called bidopen; keep one of them"):
        load(tmp_path, quotes("side_price").assign(bidOpen=1.2))


MOVING = mids()["volume"].to_numpy()


@pytest.mark.parametrize(
    ("columns", "chosen", "notice"),
    [
        ({"TickVolume": MOVING, "Volume": 0}, "TickVolume", "TickVolume, and not Volume (which never changes)"),
        ({"Volume": 7, "tick_volume": MOVING}, "tick_volume", "tick_volume, and not Volume (which never changes)"),
        ({"Volume": np.nan, "ticks": MOVING}, "ticks", "ticks, and not Volume (which never changes)"),
        ({"Volume": np.where(MOVING > 800, 5, 0), "TickVolume": MOVING}, "TickVolume", "TickVolume, and not Volume."),
        ({"Volume": MOVING, "TickVolume": MOVING * 2}, "Volume", "Volume, and not TickVolume."),
        ({"tick_volume": MOVING, "real_volume": 0}, "tick_volume", ""),
        ({"Volume": 0, "TickVolume": 0}, "Volume", ""),
        ({"Volume BTC": MOVING, "Volume USDT": MOVING * 9}, "Volume BTC", "Volume BTC, and not Volume USDT."),
    ],
)
def test_of_several_volumes_the_one_that_moves_is_taken(tmp_path, columns, chosen, notice):
    bars, notices = load(tmp_path, mids().drop(columns="volume").assign(spread=7, **columns))
    np.testing.assert_array_equal(bars.volume[0, :, 0], np.broadcast_to(columns[chosen], len(MOVING)))
    assert len(notices) == bool(notice) and all(notice in one for one in notices)


def test_of_two_columns_called_volume_the_one_that_moves_is_taken(tmp_path):
    frame = mids().assign(spread=7)
    frame.insert(1, "other", 0)
    (tmp_path / "EURUSD.csv").write_text(frame.to_csv(index=False).replace("other", "Volume", 1))
    bars, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    np.testing.assert_array_equal(bars.volume[0, :, 0], MOVING)
    assert notices == ["EURUSD.csv: its volume is the column volume, and not Volume (which never changes)."]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.rename(columns=lambda name: name.replace("bid", "x").replace("ask", "bid").replace("x", "ask")),
            r"^EURUSD.csv: the spread ask_open - bid_open is mostly negative, .* are the two exchanged\?$",
        ),
        (
            lambda f: f.assign(ask_open=f["ask_open"] * 1.1),
            r"the spread ask_open - bid_open is 0.11\d* at the median, 10.0%",
        ),
        (
            lambda f: f.assign(ask_open=f["ask_open"].where(f.index != 30, f["ask_open"] * 10)),
            r"^EURUSD.csv row 32 \(2024-01-03 06:00\): the spread ask_open - bid_open is 9.\d+, 90\d% of the price",
        ),
        (lambda f: mids().assign(spread=9000), r"the column spread is 0.09 at the median, 8\.\d% of the price"),
        (lambda f: mids().assign(spread=-9), "the column spread is mostly negative"),
    ],
)
def test_a_spread_that_no_market_has_is_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        load(tmp_path, change(quotes("side_price")))


def test_a_spread_below_one_point_is_in_price_units(tmp_path):
    bars, notices = load(tmp_path, mids().assign(spread=0.00012))
    np.testing.assert_array_equal(bars.spread, 0.00012)
    assert "the column spread is taken in price units and not in points" in notices[0]
    bars, _ = load(tmp_path, mids().assign(spread=np.where(MOVING > 500, 0.5, 0.9)))  # implausible as prices: points
    assert set(np.round(bars.spread.ravel(), 9)) == {5e-6, 9e-6}


@pytest.mark.skipif(not CASES.is_dir(), reason="no cases beside this checkout")
def test_cases_of_volumes_and_mids():
    bars, notices = load_bars(CASES / "12_mt5_custom_symbol_csv" / "bars", ["EURUSD"], INSTRUMENTS)
    assert (bars.volume > 0).all() and len(notices) >= 1 and "is the column TickVolume" in notices[0]
    first, _ = load_bars(CASES / "18_oanda_mid_bid_ask" / "bars", ["EURUSD"], INSTRUMENTS)
    second, _ = load_bars(CASES / "18_oanda_mid_bid_ask" / "bid_ask_only", ["EURUSD"], INSTRUMENTS)
    for name in (*PRICES, "spread", "volume"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    np.testing.assert_allclose(first.spread, 16e-5)


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        ({"TickVolume": MOVING, "Volume": 0}, "TickVolume"),
        ({"Volume": MOVING, "TickVolume": MOVING * 2}, "Volume"),
        ({"tick_volume": MOVING, "real_volume": 0}, "tick_volume"),
        ({"Volume": 0, "TickVolume": 0}, "Volume"),
    ],
)
def test_a_large_file_is_probed_and_the_choice_is_the_same(tmp_path, monkeypatch, columns, chosen):
    frame = mids().drop(columns="volume").assign(spread=7, **columns)
    whole, said = load(tmp_path, frame)
    monkeypatch.setattr(layouts, "_LARGE", 100)
    probed, notices = load(tmp_path, frame)
    np.testing.assert_array_equal(probed.volume, whole.volume)
    np.testing.assert_array_equal(probed.volume[0, :, 0], np.broadcast_to(columns[chosen], len(MOVING)))
    assert notices == said
