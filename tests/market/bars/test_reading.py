"""All bar file formats, in real and in small artificial files, and the rows that are tolerated, repaired or refused."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars import table
from mtquant_jax.market.bars.bar_file import format_time
from mtquant_jax.market.bars.reading import inspect_bar_file, read_bar_file
from mtquant_jax.time_zones import read_zone
from tests.conftest import SHARED

RAW = SHARED / "raw_formats"
BARS = [(1.1, 1.2, 1.0, 1.15123, 10), (1.15, 1.21, 1.05, 1.16001, 20), (1.16, 1.3, 1.1, 1.2, 30)]


def text(pattern: str, stamps: list[str], separator: str = ",") -> str:
    """Rows of `pattern`, in which TIME is a stamp and o, h, l, c, v are the values of a bar."""
    rows = []
    for stamp, bar in zip(stamps, BARS, strict=True):
        numbers = dict(zip("ohlcv", map(str, bar), strict=True))
        fields = [stamp if field == "TIME" else numbers.get(field, field) for field in pattern.split(",")]
        rows.append(separator.join(fields) + "\n")
    return "".join(rows)


def put(directory: Path, content: str | bytes, name: str = "EURUSD.csv") -> Path:
    path = directory / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


HOURS = [f"2024-01-02 {hour:02d}:00:00" for hour in (13, 14, 15)]
EPOCHS = [1_704_200_400 + 3600 * i for i in range(3)]

FORMATS = {
    "MetaTrader 5": "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>\r\n"
    + text("TIME,o,h,l,c,v,0,7", [f"2024.01.02\t{h}:00:00" for h in (13, 14, 15)], "\t").replace("\n", "\r\n"),
    "MetaTrader 4": text("TIME,o,h,l,c,v", [f"2024.01.02,{h}:00" for h in (13, 14, 15)]),
    "HistData": text("TIME,o,h,l,c,v", [f"20240102 {h}0000" for h in (13, 14, 15)], ";"),
    "Dukascopy": "Gmt time,Open,High,Low,Close,Volume\n"
    + text("TIME,o,h,l,c,v", [f"02.01.2024 {h}:00:00.000" for h in (13, 14, 15)]),
    "Dukascopy local": "Local time,Open,High,Low,Close,Volume\n"
    + text("TIME,o,h,l,c,v", [f"02.01.2024 {h}:00:00.000 GMT+0800" for h in (21, 22, 23)]),
    "CSV": "TIME,OPEN,HIGH,LOW,CLOSE,VOLUME\n" + text("TIME,o,h,l,c,v", HOURS),
    "CSV of any order": "close;low;high;open;Datetime;Tick_Volume;note\n" + text("c,l,h,o,TIME,v,x", HOURS, ";"),
    "CSV without header": text("TIME,o,h,l,c,v", HOURS),
    "CSV with date and time": "Date,Time,Open,High,Low,Close,Vol\n"
    + text("TIME,o,h,l,c,v", [f"20240102,{h}0000" for h in (13, 14, 15)]),
    "CSV with Z": "time,open,high,low,close,real_volume\n"
    + text("TIME,o,h,l,c,v", [f"2024-01-02T{h}:00:00.000Z" for h in (13, 14, 15)]),
    "CSV with mixed offsets": "time,open,high,low,close,volume\n"
    + text("TIME,o,h,l,c,v", ["2024-01-02 15:00:00+02:00", "2024-01-02 09:00:00-05:00", "2024-01-02T20:30:00+0530"]),
    "CSV with seconds": "timestamp,open,high,low,close,volume\n" + text("TIME,o,h,l,c,v", [str(t) for t in EPOCHS]),
    "CSV with milliseconds": "open_time,open,high,low,close,volume\n"
    + text("TIME,o,h,l,c,v", [f"{t}000" for t in EPOCHS]),
    "CSV with comments": "# made by someone\n# on a day\ntime,open,high,low,close,volume\n"
    + text("TIME,o,h,l,c,v", HOURS).replace("\n", "\n# half time\n", 1),
    "CSV with quotes": '"time","open","high","low","close","volume"\n'
    + text("TIME,o,h,l,c,v", [f'"{hour}"' for hour in HOURS]),
    "CSV with decimal commas": "time;open;high;low;close;volume\n"
    + text("TIME,o,h,l,c,v", HOURS, ";").replace(".", ","),
    "CSV with an index": ",open,high,low,close,volume\n" + text("TIME,o,h,l,c,v", HOURS),
    "CSV ending lines with commas": "time,open,high,low,close,volume\n" + text("TIME,o,h,l,c,v,", HOURS),
    "yfinance": "Price,Close,High,Low,Open,Volume\nTicker,E,E,E,E,E\nDatetime,,,,,\n"
    + text("TIME,c,h,l,o,v", [f"2024-01-02 {h:02d}:00:00+00:00" for h in (13, 14, 15)]),
    "Lean bid/ask": "".join(
        line.strip() + ",1.1001,1.3,1.1,1.2,9\n"
        for line in text("TIME,o,h,l,c,v", [f"20240102 {h}:00" for h in (13, 14, 15)])
        .replace("1.15,", "1.1,")
        .splitlines()
    ).replace("1.16,1.3,1.1,1.2,30,1.1001", "1.1,1.3,1.1,1.2,30,1.1001"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_recognised_and_read(tmp_path, name):
    file = read_bar_file(put(tmp_path, FORMATS[name]))
    assert file.format == name.split(" with ")[0].split(" of ")[0].split(" local")[0].split(" ending")[0] or (
        name == "CSV without header" == file.format
    )
    assert [format_time(t) for t in file.timestamps] == [f"2024-01-02 {h}:00" for h in (13, 14, 15)]
    np.testing.assert_array_equal(file.high, [1.2, 1.21, 1.3])
    np.testing.assert_array_equal(file.low, [1.0, 1.05, 1.1])
    np.testing.assert_array_equal(file.close, [1.15123, 1.16001, 1.2])
    np.testing.assert_array_equal(file.volume, [10, 20, 30])
    assert file.decimals == 5 and file.interval == 3600
    assert file.naive == (
        name not in ("Dukascopy", "Dukascopy local", "yfinance")
        and not any(word in name for word in ("Z", "offsets", "seconds"))
    )
    assert file.broker_time == name.startswith("MetaTrader")


@pytest.mark.parametrize("name", ["MetaTrader 5", "CSV", "CSV with Z"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "gzip", "zip"])
def test_encodings_and_packings(tmp_path, name, encoding):
    content = FORMATS[name]
    if encoding == "gzip":
        path = put(tmp_path, gzip.compress(content.encode()), "EURUSD.csv.gz")
    elif encoding == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("whatever.csv", content)
        path = put(tmp_path, buffer.getvalue(), "EURUSD.zip")
    else:
        path = put(tmp_path, content.encode(encoding))
    packed = f" {encoding}" if encoding in ("gzip", "zip") else ""
    file = read_bar_file(path)
    assert file.format == name.split(" with ")[0] + packed
    np.testing.assert_array_equal(file.close, [1.15123, 1.16001, 1.2])


def test_spreads_in_points_and_from_both_sides(tmp_path):
    file = read_bar_file(put(tmp_path, FORMATS["MetaTrader 5"]))
    np.testing.assert_array_equal(file.spread, [7e-5] * 3)
    # Bid opens of 1.1 against ask opens of 1.1001: 10 points of the file.
    file = read_bar_file(put(tmp_path, FORMATS["Lean bid/ask"]))
    np.testing.assert_allclose(file.spread / file.point, 10)
    header = "time,bidopen,bidhigh,bidlow,bidclose,askopen,askhigh,asklow,askclose\n"
    file = read_bar_file(
        put(tmp_path, header + "2024-01-02 00:00,1,2,0.75,1.25,1.03125,3,1,2\n2024-01-02 01:00,1,1,1,1,1,1,1,1\n")
    )
    assert file.format == "CSV bid/ask" and file.spread.tolist() == [0.03125, 0.0]
    bad = header + "2024-01-02 00:00,1.25,2,0.75,1.25,1,3,1,2\n2024-01-02 01:00,1.25,2,1,1.25,1.25,2,1,1.25\n"
    with pytest.raises(
        UserError, match=r"row 2 \(2024-01-02 00:00\): spread -0.25 is negative: the ask is below the bid"
    ):
        read_bar_file(put(tmp_path, bad))


def test_a_daily_file_has_days(tmp_path):
    content = "Date,Open,High,Low,Close,Adj Close,Volume\n" + text(
        "TIME,o,h,l,c,99,v", ["2024-01-02", "2024-01-03", "2024-01-04"]
    )
    file = read_bar_file(put(tmp_path, content))
    assert file.interval == 86_400 and file.close[0] == 1.15123


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Helsinki"])
def test_parquet_with_timestamps(tmp_path, unit, zone):
    times = pa.array(np.array(EPOCHS, "datetime64[s]").astype(f"datetime64[{unit}]"), pa.timestamp(unit, zone))
    values = np.array(BARS).T
    table = pa.table({"Datetime": times, **dict(zip(["Open", "High", "Low", "Close", "Volume"], values, strict=True))})
    pyarrow.parquet.write_table(table, tmp_path / "EURUSD.parquet")
    file = read_bar_file(tmp_path / "EURUSD.parquet", read_zone("NewYork+7"))
    assert file.format == "Parquet" and file.naive == (zone is None)
    assert format_time(file.timestamps[0]) == ("2024-01-02 11:00" if zone is None else "2024-01-02 13:00")
    np.testing.assert_array_equal(file.close, values[3])


def test_parquet_with_other_times_and_bad_rows(tmp_path):
    values = dict(zip(["open", "high", "low", "close"], np.array(BARS).T, strict=False))
    for column in (pa.array(EPOCHS), pa.array([t * 1000.0 for t in EPOCHS]), pa.array(HOURS)):
        pyarrow.parquet.write_table(pa.table({"time": column, **values}), tmp_path / "a.parquet")
        assert format_time(read_bar_file(tmp_path / "a.parquet").timestamps[0]) == "2024-01-02 13:00"
    values["low"] = pa.array([1.0, None, 1.1])
    pyarrow.parquet.write_table(pa.table({"time": HOURS, **values}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet row 2 \(2024-01-02 14:00\): low 'None' is not a number"):
        read_bar_file(tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pa.table({"when": HOURS}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet has an unknown format: its columns are when"):
        read_bar_file(tmp_path / "a.parquet")
    put(tmp_path, (tmp_path / "a.parquet").read_bytes()[:-9], "a.parquet")
    with pytest.raises(UserError, match=r"a.parquet is not a readable Parquet file"):
        read_bar_file(tmp_path / "a.parquet")


CSV = FORMATS["CSV"]
ROWS = CSV.splitlines(keepends=True)


def test_exact_copies_of_rows_are_dropped_and_counted(tmp_path):
    file, found = inspect_bar_file(put(tmp_path, "".join([*ROWS, *ROWS[1:3]])))
    assert len(file.close) == 3 and (found.rows, found.duplicates, found.unsorted) == (5, 2, 1)
    assert found.notices == [
        "EURUSD.csv: its 5 rows were sorted by time (1 of them out of order).",
        "EURUSD.csv: 2 exact copies of rows were dropped.",
    ]


def test_a_file_with_the_newest_row_first_is_reversed(tmp_path):
    file, found = inspect_bar_file(put(tmp_path, "".join([ROWS[0], *ROWS[:0:-1]])))
    np.testing.assert_array_equal(file.close, [1.15123, 1.16001, 1.2])
    assert found.notices == ["EURUSD.csv: its 3 rows were sorted by time (newest first)."]


def test_fillers_for_closed_hours_are_dropped(tmp_path):
    flat = "".join(f"2024-01-02 {h}:00:00,1.2,1.2,1.2,1.2,0\n" for h in (16, 17))
    file, found = inspect_bar_file(put(tmp_path, CSV + flat))
    assert len(file.close) == 3 and found.fillers == 2
    assert found.notices[0].startswith("EURUSD.csv: 2 flat bars without volume at the previous price are fillers")
    without_volume = "".join(line.rpartition(",")[0] + "\n" for line in (CSV + flat).splitlines())
    file, found = inspect_bar_file(put(tmp_path, without_volume))
    assert len(file.close) == 5 and found.fillers == 0


def test_a_range_that_misses_its_open_by_under_half_a_basis_point_is_widened(tmp_path):
    file, found = inspect_bar_file(put(tmp_path, CSV + "2024-01-02 16:00:00,1.20001,1.2,1.1,1.15,5\n"))
    assert file.high[-1] == 1.20001 and found.inconsistent == 1
    assert "in 1 rows the open or close lies outside the range by less than half a basis point" in found.notices[0]
    noise = "2024-01-02 16:00:00,1.2000000000000002,1.2,1.1,1.15,5\n"
    assert inspect_bar_file(put(tmp_path, CSV + noise))[1].inconsistent == 0


def test_a_blank_volume_column_counts_as_missing(tmp_path):
    file, found = inspect_bar_file(
        put(tmp_path, "".join(line.rpartition(",")[0] + ",\n" for line in ROWS).replace("CLOSE,", "CLOSE,VOLUME"))
    )
    assert file.volume.tolist() == [0, 0, 0]
    assert found.notices == ["EURUSD.csv: the column volume is blank and counts as missing."]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "EURUSD.csv is empty; it needs a header and one row per bar"),
        (b" \n\n", "EURUSD.csv is empty"),
        (b"# only this\n", "EURUSD.csv has comments but no bars"),
        (
            b"\n<!DOCTYPE html>\n<html><head><title>404</title>",
            "EURUSD.csv row 1: '<!DOCTYPE html>' begins a web page, not bars; the download failed, repeat it",
        ),
        (b"<html>no</html>", "'<html>no</html>' begins a web page"),
        (b'{"error": "rate limit"}', 'EURUSD.csv has an unknown format: its columns are {"error": "rate limit"}'),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "EURUSD.csv is not a text file in UTF-8 or UTF-16 (invalid start byte: 0x89"),
        (CSV.encode() + b"caf\xe9", "EURUSD.csv is not a text file in UTF-8 or UTF-16"),
        (CSV.encode() + b"\0\0\0\0", "EURUSD.csv is not a text file: it has a zero at byte"),
        (CSV.encode("utf-16")[:-1], "EURUSD.csv is not a text file in UTF-8 or UTF-16 (truncated data"),
        (b"PK\x03\x04 no zip", "EURUSD.csv cannot be unpacked: File is not a zip file; copy or download it again"),
        (
            CSV.replace(",", ";", 5).encode(),
            "EURUSD.csv row 2: commas separate the values but semicolons the names in the header; use one of them",
        ),
        (b"time;open;high;low;close\n1;2;3;4\n", "EURUSD.csv row 2: 4 columns where the header has 5: '1;2;3;4'"),
        (b"time,open,open,high,low,close\n", "EURUSD.csv has 2 columns called open; keep one of them"),
        (b"time,open,high,low\n", "EURUSD.csv has an unknown format: its columns are time, open, high, low; expected"),
        (
            b"when,open,high,low,close\n1,2,3,4,5\n",
            "EURUSD.csv has prices but no column of times; its columns are when, open, high, low, close; call that of",
        ),
        (b"20240102,1,2,1\n", "EURUSD.csv row 1: '20240102,1,2,1' has no header above and 4 columns"),
        (
            b"Price,Close,High,Low,Open\nTicker,A,B,A,B\nDate,,,,\n2024-01-02,1,1,1,1\n",
            "EURUSD.csv row 2: it has the tickers A, B; write one file per ticker",
        ),
        (b"time,open,high,low,close\n01/02/2024 00:00,1,1,1,1\n", "row 2: the time '01/02/2024 00:00' cannot be read"),
        (
            b"time,open,high,low,close\n5,1,1,1,1\n",
            "row 2: the time '5' cannot be read; as a number it is no date",
        ),
        (
            ("".join(ROWS[:3]) + ROWS[2].replace("1.16001", "1.16002") + ROWS[3]).encode(),
            "row 4 (2024-01-02 14:00): row 3 has the same time, with close 1.16001 there and 1.16002 here; keep",
        ),
        (
            ("".join(ROWS[:2]) + ROWS[2].replace("1.15", "0") + ROWS[3].replace("1.16", "-1")).encode(),
            "row 3 (2024-01-02 14:00): open 0 is not positive; a price must be above zero; 1 more row is wrong",
        ),
        (
            (CSV + "# pause\n" + "2024-01-02 16:00:00,1,2,1,x,1\n").encode(),
            "EURUSD.csv row 6 (2024-01-02 16:00): close 'x' is not a number; every bar needs one",
        ),
    ],
)
def test_what_is_no_bar_file_is_refused_with_what_would_be_right(tmp_path, content, message):
    file, found = inspect_bar_file(put(tmp_path, content))
    assert file is None and message in (found.problem or "")


def test_archives_that_hold_more_or_less_than_one_file_are_refused(tmp_path):
    for members in ([], ["a.csv", "b.csv"]):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            for member in members:
                archive.writestr(member, CSV)
        names = ", ".join(members) or "none"
        with pytest.raises(UserError, match=rf"a.zip holds {len(members)} files \({names}\); it must hold one"):
            read_bar_file(tmp_path / "a.zip")
    with pytest.raises(UserError, match=r"absent.csv cannot be read: No such file"):
        read_bar_file(tmp_path / "absent.csv")


def test_a_tradable_column_of_text_is_read_also_beside_a_bad_number(tmp_path):
    lines = [line.strip() for line in ROWS]
    good = "\n".join([lines[0] + ",tradable", lines[1] + ",true", lines[2] + ",False", lines[3] + ",TRUE"])
    assert read_bar_file(put(tmp_path, good)).tradable.tolist() == [True, False, True]
    with pytest.raises(UserError, match=r"row 3 \(2024-01-02 14:00\): open 'x' is not a number; every bar needs one$"):
        read_bar_file(put(tmp_path, good.replace("1.15,", "x,")))


def test_long_files_are_read_in_pieces(tmp_path, monkeypatch):
    rows = "".join(
        f"2024-01-{1 + i // 1440:02d} {i // 60 % 24:02d}:{i % 60:02d},1.1,1.2,1.0,{1 + i / 1e5:.5f},{i + 1}\n"
        for i in range(9000)
    )
    path = put(tmp_path, ROWS[0] + rows)
    whole = read_bar_file(path)
    monkeypatch.setattr(table, "_PIECE_BYTES", 10_007)
    pieces = read_bar_file(path)
    assert len(whole.close) == 9000 and whole.interval == 60
    for field in ("timestamps", "open", "close", "volume"):
        np.testing.assert_array_equal(getattr(whole, field), getattr(pieces, field))
    path.write_text(path.read_text().replace("1.08000", "?"))
    with pytest.raises(UserError, match=r"EURUSD.csv row 8002 \(2024-01-06 13:20\): close '\?' is not a number"):
        read_bar_file(path)
    path.write_text(path.read_text().replace("?", "1.08,1"))
    with pytest.raises(UserError, match=r"EURUSD.csv row 8002: 7 columns where the rows above and the header have 6"):
        read_bar_file(path)


def test_bad_numbers_do_not_hide_the_count_of_the_others(tmp_path):
    rows = [ROWS[0], ROWS[1].replace("1.1,", "x,"), ROWS[2].replace("1.21", "nan"), ROWS[3].replace("1.3,", "1.01,")]
    _, found = inspect_bar_file(put(tmp_path, "".join(rows)))
    assert (found.unreadable, found.inconsistent) == (2, 1)
    assert found.problem.endswith("open 'x' is not a number; every bar needs one; 2 more rows are wrong")


# name, time zone given, format, rows, first bar (UTC), clock, first open, decimals
REAL = [
    ("comment_line_iso_z_USDJPY_1h.csv", "UTC", "CSV", "2025-10-03 20:00", "UTC (in the file)", 147.472),
    ("dukascopy_local_time_EURUSD_H1.csv", "NewYork+7", "Dukascopy", "2021-10-10 21:00", "UTC (in the file)", 1.15674),
    ("integer_points_GBPUSD_H1.csv", "Europe/Helsinki", "CSV", "2012-11-16 03:00", "Europe/Helsinki", 158611.0),
    ("lean_oanda_daily_eurusd.zip", "UTC", "Lean bid/ask zip", "2007-01-01 00:00", "UTC", 1.31927),
    ("lean_oanda_hour_bidask_noheader_eurusd.csv", "UTC", "Lean bid/ask", "2007-01-01 21:00", "UTC", 1.31927),
    ("mt5_export_tab_EURUSD_H1.csv", "NewYork+7", "MetaTrader 5", "2025-06-22 21:00", "NewYork+7", 1.14565),
    ("mt5_python_server_time_USOIL_H1.csv", "NewYork+7", "CSV", "2023-07-13 22:00", "NewYork+7", 77.085),
    ("mt5_python_utc_spread_EURUSD_H1.csv", "NewYork+7", "CSV", "2023-08-21 00:00", "UTC (in the file)", 1.08746),
    ("tab_separated_US30_H1.csv", "UTC", "CSV", "2013-05-23 00:00", "UTC", 15343.0),
    ("yfinance_mixed_offset_SPX500_1h.csv", "UTC", "CSV", "2023-07-26 13:30", "UTC (in the file)", 4558.9599609375),
]


@pytest.mark.skipif(not RAW.is_dir(), reason="no real bars beside this checkout")
@pytest.mark.parametrize(("name", "zone", "kind", "first", "clock", "price"), REAL)
def test_real_files_of_every_format(name, zone, kind, first, clock, price):
    file = read_bar_file(RAW / name, read_zone(zone))
    assert (file.format, file.zone, format_time(file.timestamps[0]), file.open[0]) == (kind, clock, first, price)
    assert np.all(np.diff(file.timestamps) > 0)


@pytest.mark.skipif(not RAW.is_dir(), reason="no real bars beside this checkout")
def test_all_real_files_are_accounted_for():
    assert {path.name for path in RAW.iterdir()} == {row[0] for row in REAL} | {"yfinance_multiheader_CL_D1.csv"}
    with pytest.raises(UserError, match=r"yfinance_.*csv row 3599 \(2020-04-20 00:00\): low -40.3\d* is not positive"):
        read_bar_file(RAW / "yfinance_multiheader_CL_D1.csv")
    lines = (RAW / "yfinance_multiheader_CL_D1.csv").read_text().splitlines()
    assert lines[0].startswith("Price,Adj Close,Close")


@pytest.mark.skipif(not RAW.is_dir(), reason="no real bars beside this checkout")
def test_a_real_broker_file_equals_its_published_conversion_to_utc():
    oil = read_bar_file(RAW / "mt5_python_server_time_USOIL_H1.csv", read_zone("NewYork+7"))
    converted = read_bar_file(SHARED / "h1" / "WTIUSD.csv.gz")
    rows = len(oil.close)
    np.testing.assert_array_equal(oil.timestamps, converted.timestamps[:rows])
    np.testing.assert_array_equal(oil.close, converted.close[:rows])
    pound = read_bar_file(RAW / "integer_points_GBPUSD_H1.csv", read_zone("Europe/Helsinki"))
    converted = read_bar_file(SHARED / "h1_long" / "GBPUSD.csv.gz")
    np.testing.assert_array_equal(pound.timestamps, converted.timestamps[: len(pound.close)])
