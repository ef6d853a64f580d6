"""Bar files: formats, spread points, validation and alignment."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import format_time
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.bars.reading import read_bar_file
from mtquant_jax.market.instruments import load_instruments
from tests.market.random_bars import SYMBOLS

INSTRUMENTS = load_instruments()
HEADER = "time,open,high,low,close,volume,spread\n"
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "market"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="no real bars beside this checkout")


def row(time: str, open_=1.1, high=1.2, low=1.0, close=1.15123, volume=10, spread=7) -> str:
    return f"{time},{open_},{high},{low},{close},{volume},{spread}\n"


def hours(first: int, last: int, day: str = "2024-01-02") -> list[str]:
    return [f"{day} {hour:02d}:00:00" for hour in range(first, last)]


def write(directory: Path, name: str, rows: list[str], header: str = HEADER) -> Path:
    path = directory / name
    path.write_text(header + "".join(rows))
    return path


def seconds(text: str) -> int:
    return int(np.datetime64(text, "s").astype(np.int64))


def test_alignment_carries_the_last_close_and_fills_nothing_backwards(tmp_path):
    write(tmp_path, "EURUSD.csv", [row(t, close=1.10001 + 0.01 * i) for i, t in enumerate(hours(1, 8))])
    gold = [t for t in hours(0, 7) if t[11:13] not in ("03", "04")]
    prices = [2000.001 + i for i in range(len(gold))]
    rows = [row(t, p, p + 2, p - 2, p + 1, 5, 100 + i) for i, (t, p) in enumerate(zip(gold, prices, strict=True))]
    write(tmp_path, "XAUUSD.csv", rows)

    bars, notices = load_bars(tmp_path, ["XAUUSD", "EURUSD"], INSTRUMENTS)

    assert bars.symbols == ("XAUUSD", "EURUSD")
    # Latest first bar 01:00, earliest last bar 06:00.
    assert [format_time(t) for t in bars.timestamps] == [t[:16] for t in hours(1, 7)]
    assert bars.close.shape == (1, 6, 2) and bars.close.dtype == np.float64
    assert bars.tradable[0, :, 0].tolist() == [True, True, False, False, True, True]
    assert bars.tradable[0, :, 1].all()
    # Gold's bars at 01:00 and 02:00 are its second and third; 03:00 and 04:00 carry the third's close.
    np.testing.assert_allclose(
        bars.close[0, :, 0], [2002.001, 2003.001, 2003.001, 2003.001, 2004.001, 2005.001], rtol=1e-12
    )
    for column in (bars.open, bars.high, bars.low):
        np.testing.assert_allclose(column[0, 2:4, 0], 2003.001, rtol=1e-12)
    np.testing.assert_allclose(bars.volume[0, :, 0], [5, 5, 0, 0, 5, 5])
    np.testing.assert_allclose(bars.spread[0, :, 0], [0.101, 0.102, 0.102, 0.102, 0.103, 0.104], rtol=1e-12)
    np.testing.assert_allclose(bars.open[0, 4, 0], 2003.001)
    assert notices == []


def test_start_is_inclusive_and_end_exclusive(tmp_path):
    rows = [row(t) for day in ("2024-01-02", "2024-01-03", "2024-01-04") for t in hours(0, 24, day)]
    write(tmp_path, "EURUSD.csv", rows)
    bars, _ = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, start="2024-01-03", end="2024-01-04")
    assert format_time(bars.timestamps[0]) == "2024-01-03 00:00"
    assert format_time(bars.timestamps[-1]) == "2024-01-03 23:00"
    with pytest.raises(UserError, match=r"No bars are left between start 2025-01-01 .*share 2024-01-02 00:00 to"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, start="2025-01-01")
    with pytest.raises(UserError, match="The end date 'tomorrow' is not YYYY-MM-DD"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, end="tomorrow")


@pytest.mark.parametrize(("decimals", "point"), [(1, 0.1), (2, 0.01), (3, 0.001)])
def test_points_are_units_of_the_last_decimal_in_the_file(tmp_path, decimals, point):
    rng = np.random.default_rng(0)
    rows = []
    for t in hours(0, 24) + hours(0, 24, "2024-01-03"):
        price = round(float(rng.uniform(1900, 2000)), decimals)
        rows.append(row(t, price, price, price, price, 1, 200))
    rows.append(row("2024-01-04 00:00:00", 1950.3000000000001, 1960, 1940, 1950, 1, 200))  # float noise
    file = read_bar_file(write(tmp_path, "XAUUSD.csv", rows))
    assert file.decimals == decimals
    np.testing.assert_allclose(file.spread, 200 * point)


def test_a_missing_or_zero_spread_is_replaced_by_the_default_and_reported(tmp_path):
    write(tmp_path, "EURUSD.csv", [row(t, spread=0) for t in hours(0, 9)])
    rows = [f"{t},2000.5,2001.5,1999.25,2000.75,3\n" for t in hours(0, 9)]
    write(tmp_path, "GOLD.csv", rows, "time,open,high,low,close,volume\n")
    bars, notices = load_bars(tmp_path, ["EURUSD", "XAUUSD"], INSTRUMENTS)
    np.testing.assert_allclose(bars.spread[0], np.tile([0.00007, 0.2], (9, 1)))
    assert notices == [
        "EURUSD.csv has a spread of zero on every bar: the default of 7e-05 is used for EURUSD on every bar.",
        "GOLD.csv has no spread column: the default of 0.2 is used for XAUUSD on every bar.",
    ]


@pytest.mark.parametrize(("spread", "noticed"), [(1, True), (2, False), (7, False), (35, False), (36, True)])
def test_a_spread_far_from_the_default_is_reported(tmp_path, spread, noticed):
    write(tmp_path, "EURUSD.csv", [row(t, spread=spread) for t in hours(0, 9)])
    _, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    assert [("far from the default of 7e-05" in notice) for notice in notices] == [True] * noticed


def test_a_long_hole_is_reported(tmp_path):
    write(tmp_path, "EURUSD.csv", [row(t) for day in range(1, 20) for t in hours(0, 24, f"2024-01-{day:02d}")])
    gold = [t for day in (1, 2, 3, 12, 13) for t in hours(0, 24, f"2024-01-{day:02d}")]
    write(tmp_path, "XAUUSD.csv", [row(t, 2000.25, 2001.55, 1999, 2000, spread=20) for t in gold])
    bars, notices = load_bars(tmp_path, ["EURUSD", "XAUUSD"], INSTRUMENTS)
    assert len(notices) == 1
    assert notices[0].startswith("XAUUSD has no bars for 192 hours from 2024-01-04 00:00 to 2024-01-12 00:00")
    assert not bars.tradable[0, 72:264, 1].any() and bars.tradable[0, 264:, 1].all()


GOOD = [row(t) for t in hours(0, 6)]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row("2024-01-02 03:00:00", high=1.05), "row 5 (2024-01-02 03:00): high 1.05 is below open 1.1"),
        (row("2024-01-02 03:00:00", high=0.9), "row 5 (2024-01-02 03:00): high 0.9 is below low 1"),
        (row("2024-01-02 03:00:00", close=1.3), "row 5 (2024-01-02 03:00): high 1.2 is below close 1.3"),
        (row("2024-01-02 03:00:00", low=1.12), "row 5 (2024-01-02 03:00): low 1.12 is above open 1.1"),
        (row("2024-01-02 03:00:00", close=0.9), "row 5 (2024-01-02 03:00): low 1 is above close 0.9"),
        (row("2024-01-02 03:00:00", low=-1), "row 5 (2024-01-02 03:00): low -1 is not positive"),
        (
            row("2024-01-02 03:00:00", close="nan"),
            "row 5 (2024-01-02 03:00): close 'nan' is not a number; every bar needs one",
        ),
        (row("2024-01-02 03:00:00", close="1,2"), "row 5: 8 columns where the rows above and the header have 7"),
        (row("2024-01-02 03:00:00", open_="x"), "row 5 (2024-01-02 03:00): open 'x' is not a number"),
        (row("2024-01-02 03:00:00", high="inf"), "row 5 (2024-01-02 03:00): high 'inf' is not a number"),
        (
            row("2024-01-02 02:00:00", close=1.16),
            "row 5 (2024-01-02 02:00): row 4 has the same time, with close 1.15123 there and 1.16 here; keep the",
        ),
        (row("02.01.2024 03h"), "row 5: the time '02.01.2024 03h' cannot be read; write it as 2024-01-31 13:00:00"),
        (row("2024-02-30 03:00:00"), "row 5: the time '2024-02-30 03:00:00' cannot be read"),
        (
            row("2024-01-02 03:00:00+01:00"),
            "row 5 (2024-01-02 02:00): the time '2024-01-02 03:00:00+01:00' has an offset",
        ),
        (row("2024-01-02 03:00:00", volume=-1), "row 5 (2024-01-02 03:00): volume -1 is negative"),
        (row("2024-01-02 03:00:00", spread=-7), "row 5 (2024-01-02 03:00): spread -7 is negative"),
        ("2024-01-02 03:00:00,1.1\n", "row 5: 2 columns where the rows above and the header have 7"),
        ("2024-01-02 03:00:00,,1.2,1,1.1,1,1\n", "row 5 (2024-01-02 03:00): open '' is not a number"),
        ("2024-01-02 03:00:00;1;1;1;1;1;1\n", "have 7 (separated by ';', not by ',')"),
        (",1.1,1.2,1.0,1.1,1,1\n", "row 5: the time '' cannot be read"),
        ("2024-01-02 03:00:00,1,1,1,1,1,1,1,1\n", "row 5: 9 columns where the rows above and the header have 7"),
    ],
)
def test_bad_rows_are_reported_with_row_time_and_value(tmp_path, bad, message):
    path = write(tmp_path, "EURUSD.csv", [*GOOD[:3], bad, *GOOD[4:]])
    with pytest.raises(UserError) as error:
        read_bar_file(path)
    assert str(error.value).startswith("EURUSD.csv") and message in str(error.value)


def test_blank_lines_at_the_end_and_comments_at_the_top_are_not_rows(tmp_path):
    path = write(tmp_path, "EURUSD.csv", [*GOOD, "\n", "\n"], "# from somewhere\n" + HEADER)
    assert len(read_bar_file(path).close) == 6
    path = write(tmp_path, "EURUSD.csv", [*GOOD[:3], row(hours(3, 4)[0], low=-1)], "# from somewhere\n" + HEADER)
    with pytest.raises(UserError, match="row 6 "):
        read_bar_file(path)


def test_files_without_bars_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text(HEADER)
    (tmp_path / "c.csv").write_text("Day,Open,High,Low,Close\n1,2,3,4,5\n")
    (tmp_path / "d.csv.gz").write_bytes(b"no gzip at all")
    (tmp_path / "e.csv.gz").write_bytes(gzip.compress((HEADER + GOOD[0] * 99).encode())[:-20])
    (tmp_path / "f.csv").write_bytes(b"\x80\x81\x82")
    for name, message in {
        "a.csv": "a.csv is empty",
        "b.csv": "b.csv has a header but no bars",
        "c.csv": "c.csv row 2: the time '1' cannot be read; as a number it is no date between 1971-01-01 and",
        "d.csv.gz": "d.csv.gz cannot be unpacked: Not a gzipped file",
        "e.csv.gz": "e.csv.gz is truncated: Compressed file ended before the end-of-stream marker was reached; copy or",
        "f.csv": "f.csv is not a text file",
    }.items():
        with pytest.raises(UserError) as error:
            read_bar_file(tmp_path / name)
        assert message in str(error.value)


def test_problems_of_the_directory_are_reported(tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist"):
        load_bars(tmp_path / "nowhere", ["EURUSD"], INSTRUMENTS)
    with pytest.raises(UserError, match=r"has no file for EURUSD .*files seen: none"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    write(tmp_path, "GBPUSD.csv", GOOD)
    (tmp_path / "notes.csv").write_text("hello")
    with pytest.raises(UserError, match=r"has no file for EURUSD .*files seen: GBPUSD\.csv, notes\.csv"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    write(tmp_path, "EURUSD.csv", GOOD)
    write(tmp_path, "eurusd_h1.csv", GOOD)
    with pytest.raises(UserError, match=r"2 files for EURUSD: EURUSD\.csv and eurusd_h1\.csv"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)


def test_files_that_do_not_fit_together_are_refused(tmp_path):
    write(tmp_path, "EURUSD.csv", GOOD)
    write(tmp_path, "GBPUSD.csv", [row(t) for t in hours(0, 6, "2025-01-02")])
    with pytest.raises(UserError, match=r"no common period: EURUSD.csv 2024-01-02 00:00 to .*GBPUSD.csv 2025-01-02"):
        load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS)
    write(tmp_path, "GBPUSD.csv", [row(t) for t in hours(0, 24)[::4]])
    with pytest.raises(UserError, match=r"GBPUSD.csv has H4 bars but EURUSD.csv H1 bars; .*`timeframe` H4 resamples"):
        load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS)
    write(tmp_path, "GBPUSD.csv", [row(t.replace(":00:00", ":30:00")) for t in hours(0, 6)])
    with pytest.raises(UserError, match=r"GBPUSD.csv open 30 minutes past but those of EURUSD.csv 0 minutes past"):
        load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS)
    write(tmp_path, "GBPUSD.csv", GOOD[:1])
    with pytest.raises(UserError, match=r"GBPUSD.csv has only one bar"):
        load_bars(tmp_path, ["EURUSD", "GBPUSD"], INSTRUMENTS)


METATRADER = (
    "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\t\r\n"
    "2024.01.02\t00:00:00\t1.10001\t1.20000\t1.00000\t1.10002\t123\t0\t7\r\n"
    "2024.01.02\t01:00:00\t1.10002\t1.20000\t1.00000\t1.10003\t124\t0\t8\r\n"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_metatrader_export_is_read_and_its_clock_is_reported(tmp_path, encoding):
    (tmp_path / "EURUSD_H1.csv").write_bytes(METATRADER.encode(encoding))
    bars, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    assert format_time(bars.timestamps[1]) == "2024-01-02 01:00"
    np.testing.assert_allclose(bars.close[0, :, 0], [1.10002, 1.10003])
    np.testing.assert_allclose(bars.volume[0, :, 0], [123, 124])
    np.testing.assert_allclose(bars.spread[0, :, 0], [0.00007, 0.00008])
    assert notices == [
        "EURUSD_H1.csv holds bars of MetaTrader 5; its times are taken as UTC. They are usually on the broker's clock: "
        "name its zone with `broker_timezone` (often NewYork+7)."
    ]
    bars, notices = load_bars(tmp_path, ["EURUSD"], INSTRUMENTS, broker_timezone="NewYork+7")
    assert format_time(bars.timestamps[1]) == "2024-01-01 23:00"
    assert notices == []


def test_a_daily_metatrader_export_has_no_time_column(tmp_path):
    lines = [line.split("\t") for line in METATRADER.replace("2024.01.02\t01", "2024.01.03\t01").splitlines()]
    (tmp_path / "EURUSD.csv").write_text("\n".join("\t".join(line[:1] + line[2:]) for line in lines))
    file = read_bar_file(tmp_path / "EURUSD.csv")
    assert [format_time(t) for t in file.timestamps] == ["2024-01-02 00:00", "2024-01-03 00:00"]


@needs_data
def test_real_spreads_are_in_price_units():
    bars, notices = load_bars(SHARED / "h1", SYMBOLS, INSTRUMENTS)
    medians = dict(zip(bars.symbols, np.median(np.where(bars.tradable, bars.spread, np.nan)[0], axis=0), strict=True))
    expected = {"EURUSD": 9e-5, "GBPUSD": 1e-4, "USDJPY": 0.010, "XAUUSD": 0.16, "SPX500": 0.64, "NAS100": 2.16}
    for symbol, spread in {**expected, "US30": 2.7}.items():
        got = np.median(bars.spread[0, bars.tradable[0, :, bars.symbols.index(symbol)], bars.symbols.index(symbol)])
        assert got == pytest.approx(spread, rel=0.02), medians
    assert bars.spread[0, :, bars.symbols.index("WTIUSD")] == pytest.approx(0.03)
    assert len(notices) == 2
    assert "WTIUSD.csv.gz has no spread column" in notices[0]
    assert "WTIUSD has no bars for 3146 hours" in notices[1]
    assert bars.timestamps[0] == seconds("2023-08-21T00:00:00")
    assert bars.timestamps[-1] == seconds("2025-12-31T21:00:00")


@needs_data
def test_the_real_metatrader_export_is_read():
    file = read_bar_file(SHARED / "raw_formats" / "mt5_export_tab_EURUSD_H1.csv")
    assert file.decimals == 5 and file.broker_time
    assert file.open[0] == 1.14565 and file.spread[0] == pytest.approx(7e-5)
    assert format_time(file.timestamps[0]) == "2025-06-23 00:00"


@needs_data
def test_non_positive_prices_of_a_real_file_are_refused():
    with pytest.raises(UserError, match=r"WTIUSD.csv.gz row 3597 \(2020-04-20 00:00\): low -40.32 is not positive"):
        read_bar_file(SHARED / "d1" / "WTIUSD.csv.gz")
