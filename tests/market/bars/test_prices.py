"""Prices that cannot be: of another unit or instrument, steps, spikes; and what a user can state to have them read."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import PRICES
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.bars.parquet import write_bars
from mtquant_jax.market.frames import load_frames
from mtquant_jax.market.instruments import load_instruments
from tests.conftest import SHARED

INSTRUMENTS = load_instruments()
DAY = 86_400


def gold(num_bars: int = 200, level: float = 2000.0, start: str = "2024-01-02", step: int = 3600) -> pd.DataFrame:
    """Bars of a random walk with spreads and volumes; row i of the file is line i + 2."""
    rng = np.random.default_rng(0)
    close = level * np.exp(1e-3 * rng.normal(size=num_bars)).round(5)
    opens = np.concatenate([[level], close[:-1]])
    times = pd.Timestamp(start) + pd.to_timedelta(step * np.arange(num_bars), unit="s")
    return pd.DataFrame(
        {
            "time": times.strftime("%Y-%m-%d %H:%M:%S"),
            "open": opens,
            "high": 1.0005 * np.maximum(opens, close),
            "low": 0.9995 * np.minimum(opens, close),
            "close": close,
            "volume": rng.integers(1, 99, num_bars),
            "spread_price": 1e-4 * level,
        }
    )


def scaled(frame: pd.DataFrame, factor, rows=slice(None)) -> pd.DataFrame:
    frame = frame.copy()
    frame.loc[rows, list(PRICES)] *= factor
    return frame


def read(folder, frame: pd.DataFrame, symbol: str = "XAUUSD", instruments=INSTRUMENTS, **options):
    (folder / f"{symbol}.csv").write_text(frame.to_csv(index=False))
    return load_bars(folder, [symbol], instruments, **options)


@pytest.mark.parametrize(
    ("symbol", "level", "year", "remedy"),
    [
        ("XAUUSD", 12.0, 2012, "multiplied by 100"),
        ("XAUUSD", 206.3, 2024, "multiplied by 10 "),
        ("XAUUSD", 20_630.4, 2024, "divided by 10 "),
        ("US30", 4500.1, 2025, "multiplied by 10 "),
        ("US30", 450_000.5, 2025, "divided by 10 "),
        ("US30", 4500.1, 2015, "multiplied by 10 "),
        ("SPX500", 685.4, 2025, "multiplied by 10 "),  # also the price of a fund, and of the index in 2009
        ("NAS100", 2526.3, 2025, "multiplied by 10 "),
        ("NAS100", 25.26, 2025, "multiplied by 1000 "),
        ("GBPUSD", 158.6, 2013, "divided by 100"),
        ("USDJPY", 1.5, 2024, "multiplied by 100"),
        ("USDJPY", 0.0067, 2024, "inverted (1 / price)"),
        ("EURUSD", 0.00011, 2024, "multiplied by 10000"),
        ("WTIUSD", 5.744, 2025, "multiplied by 10 "),
    ],
)
def test_prices_of_another_unit_are_refused_with_the_factor(tmp_path, symbol, level, year, remedy):
    with pytest.raises(UserError) as error:
        read(tmp_path, gold(level=level, start=f"{year}-03-05"), symbol)
    message = str(error.value)
    assert message.startswith(f"{symbol}.csv: prices such as ") and f"are no prices of {symbol}, expected" in message
    assert remedy in message and f"set the price_range of {symbol} in your file of `instruments`" in message


@pytest.mark.parametrize(
    ("symbol", "year", "level"),
    [
        *(("XAUUSD", year, level) for year, level in ((2005, 420.0), (2015, 1050.0), (2025, 4300.0), (2026, 9000.0))),
        *(("SPX500", year, level) for year, level in ((2009, 676.5), (2021, 3700.4), (2026, 15_000.5))),
        *(("NAS100", year, level) for year, level in ((2008, 1050.5), (2022, 10_700.5))),
        *(("US30", year, level) for year, level in ((2009, 6550.5), (2026, 120_000.5))),
        *(("WTIUSD", year, level) for year, level in ((2008, 145.2), (2020, 11.6), (2022, 123.7))),
        *(("EURUSD", year, level) for year, level in ((2008, 1.599), (2022, 0.956))),
        *(("GBPUSD", year, level) for year, level in ((2007, 2.1), (2022, 1.05))),
        *(("USDJPY", year, level) for year, level in ((2011, 75.9), (2024, 161.7))),
    ],
)
def test_prices_of_twenty_years_and_some_to_come_are_read(tmp_path, symbol, year, level):
    frame = gold(level=level, start=f"{year}-03-05")
    np.testing.assert_array_equal(read(tmp_path, frame, symbol)[0].close[0, :, 0], frame["close"])


def test_a_user_can_state_another_range_and_one_without_falls_back_on_the_calibration(tmp_path):
    def named(price_range):
        return {"SPX500": dataclasses.replace(INSTRUMENTS["SPX500"], price_range=price_range)}

    fund = gold(level=685.4)
    bars, _ = read(tmp_path, fund, "SPX500", named((100.0, 2000.0)))
    np.testing.assert_allclose(bars.close[0, :, 0], fund["close"])
    with pytest.raises(UserError, match=r"no prices of SPX500, expected from 100 to 200; divided by 10 they would be;"):
        read(tmp_path, gold(level=1371.0), "SPX500", named((100.0, 200.0)))
    with pytest.raises(UserError, match=r"expected near 6854, its price at the end of 2025; multiplied by 10"):
        read(tmp_path, fund, "SPX500", named(None))
    with pytest.raises(UserError, match=r"expected from 228\.\d+ to 205620; multiplied by 1000 "):
        read(tmp_path, gold(level=20.5, start="2013-01-01"), "SPX500", named(None))
    unknown = {"DAX": dataclasses.replace(INSTRUMENTS["SPX500"], symbol="DAX", price_range=None)}
    _, notices = read(tmp_path, gold(level=18.7).round(3), "DAX", unknown)
    assert any("have three decimals although DAX is quoted with 1; if they are thousands" in one for one in notices)


def test_some_closes_outside_are_counted(tmp_path):
    frame = gold(400, step=30 * DAY, start="1990-01-01")
    frame = scaled(frame, np.linspace(1, 9, 400)[:, None])
    with pytest.raises(UserError, match=r"XAUUSD.csv: prices of \d\d bars such as 15\d+"):
        read(tmp_path, frame)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: scaled(f, 10.0, slice(100, None)),
            r"row 102 \(2024-01-06 04:00\): \w+ \d{5}\S* is (10|9\.99\d|10\.0\d*) times the close \S+ of row 101, "
            "and prices stay there, as after a split or where rows of another unit begin; correct",
        ),
        (
            lambda f: scaled(f, 0.1, slice(100, 102)),
            r"row 102 .* is 1/10(\.0\d*)? of the close \S+ of row 101, and row 105 is back at \S+, as after a slip of "
            r"the decimal point \(2 such steps, there and back\)",
        ),
        (
            lambda f: scaled(f, 0.5, slice(100, None)),
            r"row 102 .* is 1/(2|2\.00\d|1\.99\d) of the close .*prices stay there",
        ),
        (lambda f: scaled(f, 2.0, slice(0, 0)), r"row 3 .* is 1/(2|2\.00\d|1\.99\d) of the close \S+ of row 2"),
        (
            lambda f: f.assign(open=f["open"].where(f.index != 50, 200.0), low=f["low"].where(f.index != 50, 200.0)),
            r"row 52 .*: open 200 is 1/\S+ of the close \S+ of row 51, and its close is back at",
        ),
        (
            lambda f: f.assign(
                close=f["close"].where(f.index != 0, 4100.0), high=f["high"].where(f.index != 0, 4200.0)
            ),
            r"row 2 .*: close 4100 is 2.05 times its open 2000, and row 3 is back",
        ),
        (
            lambda f: f.assign(high=f["high"].where(f.index != 7, 4100.0)),
            r"row 9 .*: high 4100 is far from its open 2\S+,",
        ),
        (lambda f: f.assign(low=f["low"].where(f.index != 199, 900.0)), r"row 201 .*: low 900 is far from its open"),
    ],
)
def test_steps_and_spikes_are_refused_unless_they_are_allowed(tmp_path, change, message):
    frame = change(gold().round(3))
    with pytest.raises(UserError, match=message + r".*or use `allow_jumps` if that is real$"):
        read(tmp_path, frame)
    with pytest.raises(UserError, match="`allow_jumps`"):
        load_frames({"XAUUSD": frame}, [], INSTRUMENTS)
    wide = {"XAUUSD": dataclasses.replace(INSTRUMENTS["XAUUSD"], price_range=(1.0, 1e6))}
    bars, notices = read(tmp_path, frame, instruments=wide, allow_jumps=True)
    np.testing.assert_array_equal(bars.close[0, :, 0], frame["close"])
    assert any("are taken for real (`allow_jumps`): " in notice for notice in notices)


@pytest.mark.parametrize(("column", "value"), [("high", 1e30), ("high", 30_000.0), ("low", 1e-30), ("low", 150.0)])
@pytest.mark.parametrize("rows", [[40], [40, 41], [0], [199]])
def test_a_high_or_low_that_nothing_explains_is_never_allowed(tmp_path, column, value, rows):
    frame = gold()
    frame.loc[rows, column] = value
    what = r"is (far from its open .*remove it|no price of anything)"
    with pytest.raises(UserError, match=rf"XAUUSD.csv row {rows[0] + 2} \(.*\): {column} .* {what}"):
        read(tmp_path, frame, allow_jumps=True)


@pytest.mark.parametrize("columns", [["high"], ["high", "close"], ["open", "high", "low", "close"]])
@pytest.mark.parametrize("value", [1e30, 1.79e308])
def test_a_number_that_is_no_price_of_anything_is_refused_for_any_instrument(tmp_path, columns, value):
    unknown = {"DAX": dataclasses.replace(INSTRUMENTS["XAUUSD"], symbol="DAX", price_range=None)}
    frame = gold()
    frame.loc[40:41, columns] = value
    with pytest.raises(
        UserError, match=rf"DAX.csv row 42 \(.*\): {columns[0]} 1\S+ is no price of anything; 1 more row"
    ):
        read(tmp_path, frame, "DAX", unknown, allow_jumps=True)


@pytest.mark.parametrize("newest_first", [False, True])
def test_swapped_open_and_close_show_each_bar_its_own_end_and_are_refused(tmp_path, newest_first):
    frame = gold().rename(columns={"open": "close", "close": "open"})
    with pytest.raises(UserError, match=r"XAUUSD.csv: open and close are swapped: the open of a bar is the close of"):
        read(tmp_path, frame.iloc[::-1] if newest_first else frame, allow_jumps=True)


def test_bars_with_gaps_between_close_and_open_are_read(tmp_path):
    frame, rng = gold(), np.random.default_rng(1)
    frame["open"] *= np.exp(1e-3 * rng.normal(size=len(frame)))  # as far from the close before as from any other
    frame["high"], frame["low"] = 1.01 * frame["high"], 0.99 * frame["low"]
    bars = read(tmp_path, frame)[0]
    np.testing.assert_array_equal(bars.open[0, :, 0], frame["open"])


def test_most_rows_wrong_points_to_the_columns(tmp_path):
    frame = gold().rename(columns={"high": "low", "low": "high"})
    message = r"high .* is below low .*; 199 more rows are wrong, which is most of them: are two columns swapped\?"
    with pytest.raises(UserError, match=message):
        read(tmp_path, frame)


def test_row_numbers_are_those_of_the_file_whatever_its_order(tmp_path):
    frame = scaled(gold(), 10.0, slice(100, None))
    with pytest.raises(UserError, match=r"row 101 .* of row 102, and prices stay"):
        read(tmp_path, frame.iloc[::-1])


def test_a_long_pause_explains_a_larger_step(tmp_path):
    frame = scaled(gold(), 2.5, slice(100, None))
    late = pd.to_datetime(frame["time"]) + pd.to_timedelta(np.where(frame.index < 100, 0, 40), unit="D")
    frame = frame.assign(time=late.dt.strftime("%Y-%m-%d %H:%M:%S"))
    bars, _ = read(tmp_path, frame)
    assert bars.close.max() > 4900
    with pytest.raises(UserError, match="is 10"):
        read(tmp_path, scaled(frame, 4.0, slice(100, None)))
    # Written on a clock without the pause, the bars are still the same.
    read(tmp_path, frame)
    every = gold(1400)
    (tmp_path / "EURUSD.csv").write_text(scaled(every, 5e-4).drop(columns="spread_price").to_csv(index=False))
    both, _ = load_bars(tmp_path, ["XAUUSD", "EURUSD"], INSTRUMENTS)
    folder = tmp_path / "written"
    folder.mkdir()
    write_bars(both, folder)
    again, _ = load_bars(folder, ["XAUUSD", "EURUSD"], INSTRUMENTS)
    np.testing.assert_array_equal(again.close, both.close)


def test_large_moves_that_markets_have_made_are_read(tmp_path):
    oil = gold(60, level=20.0, start="2020-04-01", step=DAY)
    oil = scaled(oil, np.where(np.arange(60) < 20, 1.0, 0.58)[:, None])  # -42 % in a day, in April 2020
    np.testing.assert_array_equal(read(tmp_path, oil, "WTIUSD")[0].close[0, :, 0], oil["close"])
    coin = {"BTCUSD": dataclasses.replace(INSTRUMENTS["XAUUSD"], symbol="BTCUSD", price_range=None)}
    crash = scaled(gold(60, level=7900.5, start="2020-03-01", step=DAY), 0.6, slice(11, None))  # -40 % on 12 March 2020
    np.testing.assert_array_equal(read(tmp_path, crash, "BTCUSD", coin)[0].close[0, :, 0], crash["close"])


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real bars beside this checkout")
@pytest.mark.parametrize("folder", ["h1", "h1_long", "d1"])
def test_no_real_file_is_refused_for_its_prices(folder):
    for path in sorted((SHARED / folder).glob("*.csv.gz")):
        symbol = path.name.partition(".")[0]
        if symbol in INSTRUMENTS and (folder, symbol) != ("d1", "WTIUSD"):  # which has negative prices
            _, notices = load_bars(SHARED / folder, [symbol], INSTRUMENTS)
            assert not any("prices" in notice or "step" in notice for notice in notices), notices
