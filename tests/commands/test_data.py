"""`mtquant-jax data check` and `data convert`, and the two flags of `train` that they share."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from mtquant_jax.cli import main
from mtquant_jax.commands import bar_flags, check
from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.inspection import render
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.settings.layers import load_config
from tests.conftest import SHARED
from tests.market.bars.test_timeframes import times, write
from tests.market.random_bars import SYMBOLS

INSTRUMENTS = load_instruments()
SETTINGS = """
specialists:
  forex: {symbols: [EURUSD, USDJPY], domain: forex}
simulation: {episode_length: 100}
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two files of 4 000 hours, one with a hole, and settings for them."""
    (tmp_path / "mine.yaml").write_text(SETTINGS)
    stamps = times("2024-01-01T00:00", "2024-06-15T16:00", 3600)
    (tmp_path / "bars").mkdir()
    write(tmp_path / "bars" / "EURUSD.csv", stamps)
    keep = np.ones(len(stamps), bool)
    keep[500:503] = False
    write(tmp_path / "bars" / "USDJPY_H1.csv", stamps[keep], 1, 3, 150.0)
    return tmp_path / "bars"


def run(command: str, data: Path, *flags: str) -> int:
    return main(["data", command, "--data-dir", str(data), "--config", str(data.parent / "mine.yaml"), *flags])


def cells(output: str, title: str, symbol: str) -> dict[str, str]:
    """The row of a symbol in a table, by the names of its columns."""
    lines = output[output.index(title) :].splitlines()[2:]
    widths = [len(rule) for rule in lines[1].split()]
    starts = np.concatenate([[0], np.cumsum([width + 2 for width in widths])])
    row = next(line for line in lines[2:] if line.startswith(symbol))
    cut = [(start, start + width) for start, width in zip(starts, widths, strict=False)]
    return {lines[0][a:b].strip(): row[a:b].strip() for a, b in cut}


def test_a_check_that_passes(data, capsys):
    assert run("check", data) == 0
    output = capsys.readouterr().out
    files = cells(output, "Files", "USDJPY")
    assert files == {
        "symbol": "USDJPY",
        "file": "USDJPY_H1.csv",
        "format": "CSV",
        "rows": "3,997",
        "first (UTC)": "2024-01-01 00:00",
        "last (UTC)": "2024-06-15 15:00",
        "clock of stamps": "UTC",
        "bars": "H1",
    }
    bars = cells(output, "Bars", "USDJPY")
    assert (bars["gaps"], bars["missing"], bars["longest gap"]) == ("1", "3", "3 h at 2024-01-21 20:00")
    assert (bars["duplicates"], bars["unsorted"], bars["bad OHLC"], bars["fillers"]) == ("0", "0", "0", "0")
    spreads = cells(output, "Spreads", "USDJPY")
    assert spreads == {
        "symbol": "USDJPY",
        "point": "0.001",
        "median": "7",
        "95 %": "9",
        "highest": "9",
        "in price": "0.007",
        "default": "0.008",
        "ratio": "0.88 x",
    }
    assert (
        "Common period: 2024-01-01 00:00 to 2024-06-15 15:00 UTC, 4,000 bars; all 2 trade in 3,997 of them." in output
    )
    assert "  training   2024-01-11 to 2024-04-26      2,560 bars" in output
    assert output.endswith("Training would take this.\n")


def test_a_check_tells_all_problems_of_all_files(data, capsys):
    lines = (data / "EURUSD.csv").read_text().splitlines()
    broken = lines[10].split(",")
    broken[2] = "0.5"
    (data / "EURUSD.csv").write_text("\n".join([*lines[:10], ",".join(broken), *lines[11:], lines[5]]))
    (data / "USDJPY_H1.csv").write_text("<html>")
    assert run("check", data) == 1
    output = capsys.readouterr().out
    assert "Training would refuse this: 2 problems\n" in output
    assert "- EURUSD.csv row 11 (2024-01-01 09:00): high 0.5 is below low" in output
    assert "- USDJPY_H1.csv row 1: '<html>' begins a web page, not bars" in output
    assert cells(output, "Files", "EURUSD")["bars"] == "refused"
    assert cells(output, "Bars", "EURUSD")["bad OHLC"] == "1"
    assert "Common period" not in output


def test_a_check_goes_on_with_the_files_that_are_right(data, capsys):
    (data / "USDJPY_H1.csv").unlink()
    assert run("check", data) == 1
    output = capsys.readouterr().out
    assert "has no file for USDJPY" in output and cells(output, "Files", "USDJPY")["file"] == "none"
    assert "Common period of the 1 usable files: 2024-01-01 00:00 to 2024-06-15 15:00 UTC" in output


def test_a_check_of_symbols_without_a_file_says_that_alone(data, capsys):
    assert run("check", data, "--symbols", "GER40") == 1
    refused = capsys.readouterr().out.partition("Training would refuse this: ")[2]
    assert refused.startswith("1 problem") and "has no file for GER40" in refused


def test_a_check_tells_all_files_that_do_not_fit(data, capsys):
    (data.parent / "mine.yaml").write_text("specialists: {all: {symbols: [EURUSD, USDJPY, XAUUSD, GBPUSD]}}")
    write(data / "XAUUSD.csv", times("2024-01-01T00:00", "2024-06-01T00:00", 900), 2, 2, 2000.0)
    write(data / "GBPUSD.csv", times("2024-01-01T00:30", "2024-06-01T00:00", 3600), 2)
    assert run("check", data) == 1
    output = capsys.readouterr().out
    assert "- XAUUSD.csv has M15 bars but EURUSD.csv H1 bars; all files must share one bar interval; --timef" in output
    assert "- Bars of GBPUSD.csv open 30 minutes past but those of EURUSD.csv 0 minutes past; all files" in output
    assert "refuse this: 2 problems" in output and "Common period" not in output


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("market: {start: '2024-05-20'}", "are left for training after 240 bars of warm-up"),
        ("simulation: {account_currency: CHF}", "add USDCHF or CHFUSD"),
        ("market: {start: '2030-01-01'}", "No bars are left between start 2030-01-01"),
    ],
)
def test_a_check_refuses_what_training_refuses(data, capsys, settings, message):
    (data.parent / "mine.yaml").write_text(SETTINGS.replace("simulation: {episode_length: 100}", "") + settings)
    assert run("check", data) == 1
    assert message in capsys.readouterr().out


def test_a_check_in_another_timeframe_and_zone(data, capsys):
    assert run("check", data, "--timeframe", "H4", "--broker-timezone", "Etc/GMT-2") == 1
    output = capsys.readouterr().out
    assert "- Of 1001 bars 0 are left for the validation after a gap of 250 bars" in output  # fewer bars than in H1
    assert cells(output, "Files", "EURUSD")["bars"] == "H1 to H4"
    assert cells(output, "Files", "EURUSD")["clock of stamps"] == "Etc/GMT-2"
    assert cells(output, "Files", "EURUSD")["first (UTC)"] == "2023-12-31 22:00"
    assert run("check", data, "--timeframe", "M5") == 1
    output = capsys.readouterr().out
    assert output.count("--timeframe M5: ") == 2 and cells(output, "Files", "EURUSD")["bars"] == "H1, refused"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["chek"], "error: mtquant-jax data chek: unknown command; did you mean check?"),
        (["check"], "Missing from mtquant-jax data check: --data-dir"),
        (["check", "--data-dir", "nowhere"], "error: The data directory nowhere does not exist"),
        (["check", "--data-dir", ".", "--timeframe", "H3"], "invalid choice 'H3' for argument '--timeframe'"),
        (["check", "--data-dir", ".", "--broker-timezone", "Mars"], "error: --broker-timezone Mars: no such zone"),
        (["check", "--data-dir", ".", "--config", "absent.yaml"], "error: absent.yaml: no such file"),
        (["check", "--data-dir", ".", "--verbose"], "Unrecognized options: --verbose"),
        (["check", "--data", "."], "Unrecognized options: --data"),
        (["convert", "--data-dir", "."], "Missing from mtquant-jax data convert: --output"),
        (["convert", "--data-dir", ".", "--output", "x"], "has no file for EURUSD"),
    ],
)
def test_usage_errors_are_exit_code_2(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    assert main(["data", *flags]) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_help_comes_without_jax(capsys):
    assert main(["data", "check", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--broker-timezone" in text and "{files,M1,M5,M15,M30,H1,H4,D1}" in text and "Exit code 1" in text
    code = (
        "import sys; from mtquant_jax.cli import main; main(['data', 'convert', '--help']); "
        "sys.exit(any(name in sys.modules for name in ('jax', 'numpy', 'pyarrow')))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, timeout=60
    )
    assert result.returncode == 0, result.stderr


def assert_same(first, second):
    assert first.symbols == second.symbols
    for field in ("timestamps", "open", "high", "low", "close", "spread", "volume", "tradable"):
        left, right = getattr(first, field), getattr(second, field)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right, err_msg=field)


@pytest.mark.parametrize("timeframe", ["files", "H4"])
def test_converted_bars_are_the_same_bars(data, tmp_path, capsys, timeframe):
    output = tmp_path / "new" / "parquet"
    assert run("convert", data, "--output", str(output), "--timeframe", timeframe) == 0
    assert "EURUSD.parquet, USDJPY.parquet" in capsys.readouterr().out
    assert sorted(path.name for path in output.iterdir()) == ["EURUSD.parquet", "USDJPY.parquet"]
    symbols = ["EURUSD", "USDJPY"]
    before, _ = load_bars(data, symbols, INSTRUMENTS, timeframe=timeframe)
    after, notices = load_bars(output, symbols, INSTRUMENTS, broker_timezone="NewYork+7")
    assert_same(before, after)
    assert before.tradable.all() == (timeframe == "H4") and notices == []
    assert str(pyarrow.parquet.read_schema(output / "EURUSD.parquet").field("time").type) == "timestamp[s, tz=UTC]" or (
        str(pyarrow.parquet.read_schema(output / "EURUSD.parquet").field("time").type) == "timestamp[ms, tz=UTC]"
    )
    coarse, _ = load_bars(data, symbols, INSTRUMENTS, timeframe="D1")
    again, _ = load_bars(output, symbols, INSTRUMENTS, timeframe="D1")
    assert_same(coarse, again)
    assert run("convert", data, "--output", str(output), "--timeframe", timeframe) == 0  # writing again is no harm


def test_converting_never_leaves_two_files_for_a_symbol(data, tmp_path, capsys):
    assert run("convert", data, "--output", str(data)) == 2
    assert "is the data directory itself; give another one" in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "eurusd_m1.csv").touch()
    assert run("convert", data, "--output", str(tmp_path / "other")) == 2
    assert "has eurusd_m1.csv, another file for EURUSD; give an empty directory" in capsys.readouterr().err
    assert run("convert", data, "--output", str(tmp_path / "mine.yaml")) == 2
    assert "mine.yaml is a file; give a directory" in capsys.readouterr().err


def test_train_takes_zone_and_timeframe(tmp_path):
    config, _ = load_config(["--data-dir", "bars", "--broker-timezone", "newyork+7", "--timeframe", "H4"])
    assert (config.broker_timezone, config.timeframe) == ("newyork+7", "H4")
    (tmp_path / "mine.yaml").write_text("broker_timezone: Europe/Helsinki\ntimeframe: D1\ndata_dir: bars\n")
    config, _ = load_config(["--config", str(tmp_path / "mine.yaml"), "--timeframe", "files"])
    assert (config.broker_timezone, config.timeframe) == ("Europe/Helsinki", "files")
    with pytest.raises(
        UserError, match="`broker_timezone` Europe/Helsinky: no such zone; did you mean Europe/Helsinki"
    ):
        load_config(["--broker-timezone", "Europe/Helsinky"])
    with pytest.raises(UserError, match="`timeframe` H4: the synthetic market has hourly bars of its own; give `data"):
        load_config(["--timeframe", "H4"])


def test_the_market_of_a_training_has_the_timeframe(data):
    flags = ["--config", str(data.parent / "mine.yaml"), "--data-dir", str(data), "--broker-timezone", "Etc/GMT-2"]
    splits = ["--market.gap-bars", "240", "--simulation.episode-length", "50", "--market.train-fraction", "0.4"]
    config, _ = load_config([*flags, "--timeframe", "H4", *splits, "--market.validation-fraction", "0.3"])
    market = prepare_market(config)
    assert np.all(np.diff(market.timestamps) == 14_400) and len(market.timestamps) == 1001
    assert market.timestamps[0] % 86_400 == 20 * 3600  # 22:00 UTC, midnight on that clock, lies in the bar of 20:00


def test_a_check_fits_a_terminal_and_loses_no_column(data, capsys, monkeypatch):
    assert main(["data", "check", "--data-dir", str(data)]) in (0, 1)
    wide = capsys.readouterr().out
    assert max(map(len, wide.splitlines())) > 80
    monkeypatch.setattr(bar_flags, "terminal_width", lambda: 80)
    monkeypatch.setattr(check, "terminal_width", lambda: 80)
    assert main(["data", "check", "--data-dir", str(data)]) in (0, 1)
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.splitlines())) <= 80
    assert sorted(set(narrow.split())) == sorted(set(wide.split()) | set(re.findall(r"-{3,}", narrow)))


def test_a_wide_table_is_divided_and_every_part_has_the_first_column():
    rows = [["symbol", "a", "longest"], ["EURUSD", "1", "two"]]
    parts = ["symbol  a\n------  -\nEURUSD  1", "symbol  longest\n------  -------\nEURUSD  two"]
    assert render(rows, 17) == "\n\n".join(parts) == render(rows, 5)
    assert render(rows, 18) == render(rows) == "symbol  a  longest\n------  -  -------\nEURUSD  1  two"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real bars beside this checkout")
def test_real_bars_pass_and_real_days_are_refused(capsys):
    assert main(["data", "check", "--data-dir", str(SHARED / "h1")]) == 0
    output = capsys.readouterr().out
    assert cells(output, "Bars", "XAUUSD")["daily breaks"] == "469"
    assert cells(output, "Spreads", "EURUSD")["ratio"] == "1.29 x"
    assert cells(output, "Spreads", "WTIUSD")["ratio"] == "none in the file"
    assert main(["data", "check", "--data-dir", str(SHARED / "d1")]) == 1
    output = capsys.readouterr().out
    assert "Training would refuse this: 1 problem\n" in output
    assert "- WTIUSD.csv.gz row 3597 (2020-04-20 00:00): low -40.32 is not positive" in output
    assert cells(output, "Bars", "WTIUSD")["bad OHLC"] == "0, 2 not positive"


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real bars beside this checkout")
def test_real_bars_survive_conversion(tmp_path):
    assert main(["data", "convert", "--data-dir", str(SHARED / "h1"), "--output", str(tmp_path)]) == 0
    before, _ = load_bars(SHARED / "h1", SYMBOLS, INSTRUMENTS)
    after, _ = load_bars(tmp_path, SYMBOLS, INSTRUMENTS)
    assert_same(before, after)


def test_a_check_takes_the_period_of_a_training(data, capsys):
    lines = (data / "EURUSD.csv").read_text().splitlines()
    (data / "EURUSD.csv").write_text("\n".join([*lines[:10], lines[10].replace(",", ",x", 1), *lines[11:]]) + "\n")
    assert run("check", data) == 1
    assert "EURUSD.csv row 11 (2024-01-01 09:00): open 'x" in capsys.readouterr().out
    assert run("check", data, "--market.start", "2024-01-02", "--market.end", "2024-06-01") == 0
    output = capsys.readouterr().out
    assert (
        "24 rows outside the wanted period" not in output and "rows outside the wanted period were left out" in output
    )
    assert "Common period: 2024-01-02 00:00 to 2024-05-31 23:00 UTC" in output
    assert run("check", data, "--market.start", "tomorrow") == 2
    assert '--market.start "tomorrow": must be a date as YYYY-MM-DD' in capsys.readouterr().err


def test_clocks_and_stamps_can_be_given_to_every_command(data, tmp_path, capsys):
    flags = ["--symbol-timezones", "EURUSD=Etc/GMT-2", "USDJPY=Etc/GMT-2", "--symbol-bar-stamps", "EURUSD=close"]
    assert run("check", data, *flags) == 0
    output = capsys.readouterr().out
    assert cells(output, "Files", "EURUSD")["clock of stamps"] == "Etc/GMT-2"
    assert cells(output, "Files", "EURUSD")["first (UTC)"] == "2023-12-31 21:00"
    assert cells(output, "Files", "USDJPY")["first (UTC)"] == "2023-12-31 22:00"
    assert run("convert", data, "--output", str(tmp_path / "new"), *flags) == 0
    config, _ = load_config(["--config", str(data.parent / "mine.yaml"), "--data-dir", str(data), *flags])
    assert config.symbol_timezones == ("EURUSD=Etc/GMT-2", "USDJPY=Etc/GMT-2")
    market = prepare_market(config)
    bars, _ = load_bars(tmp_path / "new", ["EURUSD", "USDJPY"], INSTRUMENTS, force_broker_timezone=True)
    np.testing.assert_array_equal(market.timestamps, bars.timestamps)
    assert run("check", data, "--symbol-timezones", "XAUUSD=UTC") == 2
    assert "--symbol-timezones XAUUSD=UTC: no class trades XAUUSD, only EURUSD, USDJPY" in capsys.readouterr().err
    assert run("check", data, "--symbol-bar-stamps", "EURUSD=end") == 2
    assert "must be EURUSD=open or EURUSD=close" in capsys.readouterr().err


def test_stretches_are_shown_and_zero_spreads_chosen(data, capsys):
    lines = (data / "EURUSD.csv").read_text().splitlines()
    free = [line.rpartition(",")[0] + ",0" for line in lines[1:501]]
    (data / "EURUSD.csv").write_text("\n".join([lines[0], *free, *lines[501:]]) + "\n")
    assert run("check", data, "--zero-spread", "default") == 0
    output = capsys.readouterr().out
    row = cells(output, "Stretches", "EURUSD")
    assert row["zero spread"] == "12.5%, from 2024-01-01 00:00 to 2024-01-21 19:00"
    assert (row["frozen volume"], row["overlapping"], row["other lengths"]) == ("none", "0", "none")
    assert "the default of EURUSD, 7e-05, is used there (--zero-spread median, default or keep decides)" in output
    assert cells(output, "Spreads", "EURUSD")["median"] == "7"
