"""Line ends, blank lines, archives with notes, klines and names of files: what holds the bars is read, and counted."""

from __future__ import annotations

import gzip
import io
import zipfile

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import format_time
from mtquant_jax.market.bars.directory import read_members
from mtquant_jax.market.bars.options import ReadingOptions
from mtquant_jax.market.bars.reading import inspect_bar_file, read_bar_file
from mtquant_jax.market.instruments import load_instruments, symbol_of_file

INSTRUMENTS = load_instruments()
CSV = "time,open,high,low,close,volume\n" + "".join(
    f"2024-01-02 {hour:02d}:00:00,1.1,1.2,1.0,1.1{hour},{hour}\n" for hour in (13, 14, 15)
)
HISTDATA = "".join(f"20240102 {hour}0000;1.1;1.2;1.0;1.1{hour};0\n" for hour in (13, 14, 15))
REPORT = "HistData.com (c) 2010\nFile Status Report\nGap of 61s found between 20240102 and 20240103.\n" * 20


def put(directory, content: str | bytes, name: str = "EURUSD.csv"):
    path = directory / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def archive(members: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("end", "notice"),
    [
        ("\n", None),
        ("\r\n", None),
        ("\r", "4 lines end in CR alone"),
        ("\r\r\n", "4 lines end in CR CR LF"),
    ],
)
def test_ends_of_lines(tmp_path, end, notice):
    file, found = inspect_bar_file(put(tmp_path, CSV.replace("\n", end)))
    assert file.close.tolist() == [1.113, 1.114, 1.115]
    assert found.notices == ([f"EURUSD.csv: {notice}; each was read as one end of a line."] if notice else [])
    _, found = inspect_bar_file(put(tmp_path, CSV.replace("1.114", "x").replace("\n", end)))
    assert "EURUSD.csv row 3 (2024-01-02 14:00): close 'x'" in found.problem


def test_both_wrong_ends_of_lines_are_counted(tmp_path):
    lines = CSV.splitlines()
    mixed = lines[0] + "\r\r\n" + lines[1] + "\r" + lines[2] + "\r\n" + lines[3] + "\n"
    assert inspect_bar_file(put(tmp_path, mixed))[1].notices == [
        "EURUSD.csv: 1 line ends in CR CR LF and 1 line ends in CR alone; each was read as one end of a line."
    ]


@pytest.mark.parametrize("blank", ["", "   ", "\t", ",,,,,", ",,", '"",,,,,'])
@pytest.mark.parametrize("where", [0, 1, 2, 3, 4])
def test_blank_lines_are_skipped_and_counted(tmp_path, blank, where):
    lines = CSV.splitlines()
    file, found = inspect_bar_file(put(tmp_path, "\n".join([*lines[:where], blank, *lines[where:]])))
    assert file is not None and file.close.tolist() == [1.113, 1.114, 1.115]
    inside = where < 4 or blank
    assert found.notices == (["EURUSD.csv: 1 blank line was skipped."] if inside else [])
    wrong = [line.replace("1.115", "x") for line in lines]
    _, found = inspect_bar_file(put(tmp_path, "\n".join([*wrong[:where], blank, *wrong[where:]])))
    assert f"EURUSD.csv row {5 if where < 4 else 4} (2024-01-02 15:00): close 'x'" in found.problem


def test_a_row_with_a_time_or_a_value_is_not_blank(tmp_path):
    for row in ("2024-01-02 16:00,,,,,", ",1.1,1.2,1.0,1.1,1"):
        assert inspect_bar_file(put(tmp_path, CSV + row + "\n"))[1].problem.startswith("EURUSD.csv row 5")


@pytest.mark.parametrize("title", ["sep=,", "EURUSD, 1 hour", "https://www.example.com\nall bars"])
def test_lines_above_the_table_are_skipped_and_named(tmp_path, title):
    file, found = inspect_bar_file(put(tmp_path, f"{title}\n{CSV}\x1a"))
    lines = title.count("\n") + 1
    assert file.close.tolist() == [1.113, 1.114, 1.115]
    named = f"{lines} line{'s' * (lines > 1)} above the table skipped: {title.splitlines()[0]!r}."
    assert found.notices == [f"EURUSD.csv: {named}"]
    _, found = inspect_bar_file(put(tmp_path, f"{title}\n{CSV.replace('1.114', 'x')}"))
    assert found.problem.startswith(f"EURUSD.csv row {3 + lines} ")


def test_a_quotation_mark_that_is_not_closed_names_its_row(tmp_path):
    lines = [*CSV.replace(",14\n", ',"14\n').splitlines(), '2024-01-02 16:00:00,1.1,1.2,1.0,1.1,5"']
    with pytest.raises(UserError, match="row 3: a quotation mark is not closed: '2024-01-02 14:00:00"):
        read_bar_file(put(tmp_path, "\n".join(lines)))


@pytest.mark.parametrize(
    "notes",
    [
        {"readme.txt": "Bars of EURUSD.\nNo warranty, of any kind, express, or implied, by anyone.\n\nThat is all.\n"},
        {"__MACOSX/._EURUSD.csv": b"\0\5\x16\7", ".DS_Store": b"\0\0\0\1Bud1", "folder/": ""},
        {"DAT_ASCII_EURUSD_M1_2023.txt": REPORT},
        {"LICENSE": "MIT", "notes.md": "# Notes\n\n- one, two\n", "Thumbs.db": b"\xd0\xcf"},
        {"empty.csv": ""},
    ],
)
def test_an_archive_may_have_notes_beside_its_one_table(tmp_path, notes):
    content = archive({**notes, "DAT_ASCII_EURUSD_M1_2023.csv": HISTDATA})
    file, found = inspect_bar_file(put(tmp_path, content, "HISTDATA_COM_ASCII_EURUSD_M12023.zip"))
    assert found.problem is None and (file.format, len(file.close)) == ("HistData zip", 3)
    named = "DAT_ASCII_EURUSD_M1_2023.csv of its"
    assert [named in notice for notice in found.notices] == [True] * bool(found.notices)
    assert bool(found.notices) == (".DS_Store" not in notes)


def test_archives_in_archives_and_workbooks(tmp_path):
    inner = gzip.compress(CSV.encode())
    assert len(read_bar_file(put(tmp_path, archive({"EURUSD.csv.gz": inner, "a.txt": "hello"}), "a.zip")).close) == 3
    assert len(read_bar_file(put(tmp_path, archive({"a.zip": archive({"b.csv": CSV})}), "a.zip")).close) == 3
    for _ in range(5):
        inner = gzip.compress(inner)
    with pytest.raises(UserError, match="packed more than 3 times"):
        read_bar_file(put(tmp_path, inner, "a.csv.gz"))
    with pytest.raises(UserError, match=r"a.csv is a workbook of a spreadsheet; save its sheet as CSV"):
        read_bar_file(put(tmp_path, archive({"[Content_Types].xml": "<x/>", "xl/workbook.xml": "<x/>"}), "a.csv"))


def test_archives_of_absurd_size_are_refused(tmp_path, monkeypatch):
    from mtquant_jax.market.bars import source

    monkeypatch.setattr(source, "_MAX_BYTES", 50)
    for content in (gzip.compress(CSV.encode()), archive({"a.csv": CSV})):
        with pytest.raises(UserError, match=r"a.csv holds more than 0 GiB when unpacked, too much for bars"):
            read_bar_file(put(tmp_path, content, "a.csv"))


def test_a_report_beside_the_bars_is_not_a_second_file(tmp_path):
    put(tmp_path, HISTDATA, "DAT_ASCII_EURUSD_M1_2023.csv")
    put(tmp_path, REPORT, "DAT_ASCII_EURUSD_M1_2023.txt")
    (member,) = read_members(tmp_path, ["EURUSD"], INSTRUMENTS, ReadingOptions())
    assert member.path.name.endswith(".csv") and member.findings.problem is None
    put(tmp_path, CSV, "EURUSD_H1.csv")
    (member,) = read_members(tmp_path, ["EURUSD"], INSTRUMENTS, ReadingOptions())
    assert "has 2 files for EURUSD: DAT_ASCII_EURUSD_M1_2023.csv and EURUSD_H1.csv; keep one" in member.findings.problem


@pytest.mark.parametrize("columns", [11, 12])
@pytest.mark.parametrize("scale", [1_000, 1_000_000])
def test_klines_without_a_header(tmp_path, columns, scale):
    rows = [
        [(t := 1_704_200_400 + 3600 * i) * scale, 1.1, 1.2, 1.0, 1.15, 10 + i, (t + 3600) * scale - 1, 9, 5, 4, 3, 0]
        for i in range(3)
    ]
    content = "".join(",".join(map(str, row[:columns])) + "\n" for row in rows)
    file = read_bar_file(put(tmp_path, content))
    assert (file.format, format_time(file.timestamps[0]), file.spread) == ("klines", "2024-01-02 13:00", None)
    np.testing.assert_array_equal(file.volume, [10, 11, 12])


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("EUR_USD_H1.csv", "EURUSD"),
        ("EUR-USD.csv", "EURUSD"),
        ("EUR USD 60.csv", "EURUSD"),
        ("EURUSD-2024-01.csv", "EURUSD"),
        ("FX_EURUSD, 60.csv", "EURUSD"),
        ("FX_IDC_EURUSD, 1D.csv", "EURUSD"),
        ("OANDA_XAUUSD, 240 (1).csv", "XAUUSD"),
        ("OANDA_SPX500USD, 15_a1b2c.csv", "SPX500"),
        ("EURUSD, 60.csv", "EURUSD"),
        ("HISTDATA_COM_ASCII_EURUSD_M1_2023.zip", "EURUSD"),
        ("HISTDATA_COM_ASCII_EURUSD_M1202301.zip", "EURUSD"),
        ("DAT_MT_EURUSD_M1_2023.csv", "EURUSD"),
        ("XAU_USD_M15.csv.gz", "XAUUSD"),
        ("US30_USD_H1.csv", "US30"),
        ("notes_EURUSD.csv", None),
        ("NASDAQ_AAPL, 1D.csv", "AAPL"),
    ],
)
def test_names_of_files_that_other_programs_give(name, symbol):
    assert symbol_of_file(name, INSTRUMENTS) == symbol
