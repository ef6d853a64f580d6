"""Numbers as people and programs write them: read as meant, or refused, never read as something else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import PRICES
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.bars.numbers import decimal_mark, read_numbers
from mtquant_jax.market.frames import load_frames
from mtquant_jax.market.instruments import load_instruments

INSTRUMENTS = load_instruments()
LEVELS = {"NAS100": (14_726.5, 0.25, 2), "EURUSD": (1.1, 1e-4, 5), "USDJPY": (145.321, 0.01, 3)}


def bars_of(symbol: str, write) -> pd.DataFrame:
    """Twenty bars whose prices are written by ``write`` (price, decimals)."""
    level, step, decimals = LEVELS[symbol]
    close = level + step * np.random.default_rng(0).integers(-9, 10, 20).cumsum()
    values = {"open": close, "high": close + 9 * step, "low": close - 9 * step, "close": close}
    times = pd.date_range("2024-01-02", periods=20, freq="h").strftime("%Y-%m-%d %H:%M:%S")
    return pd.DataFrame({"time": times, **{name: [write(v, decimals) for v in values[name]] for name in PRICES}})


def german(value: float, decimals: int) -> str:
    return f"{value:,.{decimals}f}".translate(str.maketrans(",.", ".,"))


def digits_of(zero: str, point: str):
    table = {ord("0") + i: ord(zero) + i for i in range(10)} | {ord("."): ord(point)}
    return lambda value, decimals: f"{value:.{decimals}f}".translate(table)


STYLES = {
    "plain": lambda v, d: f"{v:.{d}f}",
    "scientific": lambda v, d: f"{v:.8e}",
    "english": lambda v, d: f"{v:,.{d}f}",
    "german": german,
    "decimal comma": lambda v, d: f"{v:.{d}f}".replace(".", ","),
    "swiss": lambda v, d: f"{v:,.{d}f}".replace(",", "'"),
    "typographic": lambda v, d: f"{v:,.{d}f}".replace(",", "\N{RIGHT SINGLE QUOTATION MARK}"),
    "french": lambda v, d: german(v, d).replace(".", "\N{NARROW NO-BREAK SPACE}"),
    "blanks": lambda v, d: f" {v:,.{d}f} ".replace(",", " "),
    "arabic": digits_of("\N{ARABIC-INDIC DIGIT ZERO}", "\N{ARABIC DECIMAL SEPARATOR}"),
    "full width": digits_of("\N{FULLWIDTH DIGIT ZERO}", "\N{FULLWIDTH FULL STOP}"),
}


@pytest.mark.parametrize("symbol", ["NAS100", "EURUSD"])
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_every_way_of_writing_a_price_is_read_as_meant(tmp_path, symbol, style, separator):
    expected, _ = load_frames({symbol: bars_of(symbol, lambda v, d: round(v, d))}, [], INSTRUMENTS)
    frame = bars_of(symbol, STYLES[style])
    (tmp_path / f"{symbol}.csv").write_text(frame.to_csv(index=False, sep=separator), encoding="utf-8")
    for bars, notices in (
        load_bars(tmp_path, [symbol], INSTRUMENTS),
        load_frames({symbol: frame}, [], INSTRUMENTS),
    ):
        for name in PRICES:
            np.testing.assert_array_equal(getattr(bars, name), getattr(expected, name))
        grouped = symbol == "NAS100" and style in ("english", "german", "swiss", "typographic", "french", "blanks")
        assert sum("have thousands separators" in notice for notice in notices) == grouped


@pytest.mark.parametrize("write", [lambda v, d: f"{v:,.0f}", lambda v, d: f"{v:,.0f}".replace(",", ".")])
def test_thousands_that_look_like_decimals_are_refused_with_the_factor(tmp_path, write):
    (tmp_path / "NAS100.csv").write_text(bars_of("NAS100", write).to_csv(index=False, sep=";"))
    with pytest.raises(
        UserError, match=r"multiplied by 1000 \(a thousands separator taken for a decimal mark\?\) they"
    ):
        load_bars(tmp_path, ["NAS100"], INSTRUMENTS)


def test_a_comma_before_three_digits_is_a_decimal_comma_and_named(tmp_path):
    frame = bars_of("USDJPY", lambda v, d: f"{v:.3f}".replace(".", ","))
    (tmp_path / "USDJPY.csv").write_text(frame.to_csv(index=False, sep=";"))
    bars, notices = load_bars(tmp_path, ["USDJPY"], INSTRUMENTS)
    assert bars.close.min() > 144 and bars.close.max() < 147
    assert "is taken as a decimal comma" in notices[0]


@pytest.mark.parametrize("bad", ["$1.1000", "1.1000 USD", "1_1", "0x1", "1,1000", "1.1.0", "--1", "one", "12,34", "€1"])
def test_what_is_no_number_is_refused_with_its_row(tmp_path, bad):
    frame = bars_of("EURUSD", STYLES["plain"])
    frame.loc[15, "open"] = bad
    (tmp_path / "EURUSD.csv").write_text(frame.to_csv(index=False, sep=";"))
    with pytest.raises(UserError, match=r"EURUSD.csv row 17 \(2024-01-02 15:00\): open '.*' is not a number|different"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    with pytest.raises(
        UserError, match=r"frame EURUSD row 15 \(.*\): open '.*' is not a number|different decimal marks"
    ):
        load_frames({"EURUSD": frame}, [], INSTRUMENTS)


def test_two_decimal_marks_in_a_file_are_refused_early_and_late(tmp_path):
    lines = bars_of("EURUSD", STYLES["plain"]).to_csv(index=False, sep=";").splitlines()
    lines[3] = lines[3].replace(".", ",")
    (tmp_path / "EURUSD.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match=r"EURUSD.csv: the prices '1\.\d+' and '1,\d+' have different decimal marks"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)
    lines[3] = lines[3].replace(",", ".")
    late = [f"2024-01-{3 + i // 24:02d} {i % 24:02d}:00:00;" + lines[-1].split(";", 1)[1] for i in range(150)]
    late[-1] = late[-1].replace(".", ",")
    (tmp_path / "EURUSD.csv").write_text("\n".join([*lines, *late]))
    with pytest.raises(UserError, match=r"row 171 .*open '1,\d+' is not a number; every bar needs one, written like"):
        load_bars(tmp_path, ["EURUSD"], INSTRUMENTS)


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["1.1001"], "."),
        (["1,1001"], ","),
        (["1,234.5", "999.5"], "."),
        (["1.234,5"], ","),
        (["18.700", "18.700,5"], ","),
        (["18,700", "18,700.5"], "."),
        (["1.234.567"], ","),
        (["1,234,567"], "."),
        (["18.700"], "."),
        (["18,700"], ","),
        (["1", "2"], "."),
    ],
)
def test_the_decimal_mark_is_shown_by_any_clear_price(cells, mark):
    assert decimal_mark("a.csv", cells)[0] == mark


def test_numbers_are_read_by_the_mark_of_their_file():
    cells = [
        "1.5",
        "1,5",
        "1,234.5",
        "1.234,5",
        "1,234",
        "1.234",
        "0,123",
        "12,34,567.5",
        "1 234",
        "nan",
        "",
        "true",
        ".5",
    ]
    point = [1.5, np.nan, 1234.5, np.nan, 1234, 1.234, np.nan, 1234567.5, 1234, np.nan, np.nan, 1, 0.5]
    comma = [np.nan, 1.5, np.nan, 1234.5, 1.234, 1234, 0.123, np.nan, 1234, np.nan, np.nan, 1, np.nan]
    for kind in (pa.string(), pa.binary()):
        np.testing.assert_array_equal(read_numbers(pa.array(cells, kind), ".", words=True), point)
        np.testing.assert_array_equal(read_numbers(pa.array(cells, kind), ",", words=True), comma)
        assert np.isnan(read_numbers(pa.array(["true", "False"], kind), ".")).all()  # as a price
        np.testing.assert_array_equal(read_numbers(pa.array(["true", "False"], kind), ".", words=True), [1.0, 0.0])
