"""Bar files in all formats, and the verdict on how a mutant of one is read: an error, the same bars, or a notice."""

from __future__ import annotations

import collections
import dataclasses
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import PRICES
from mtquant_jax.market.bars.layouts import Layout, sniff
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.bars.source import Source
from mtquant_jax.market.instruments import load_instruments, symbol_of_file
from mtquant_jax.types import Bars

_FIRST = 1_704_200_400  # 2024-01-02 13:00, a Tuesday
_RAW_LINES = 60
_INSTRUMENTS = load_instruments()


KINDS = {
    "error": "refused in a sentence that names the file",
    "equal": "the same bars",
    "repaired": "the same bars, and a notice",
    "notice": "other bars, and a notice",
    "touched": "the same bars but for one that random bytes made another plausible one",
    "wrong": "other bars without a notice, or no sentence",
}
"""Verdicts on a mutant; only the last is a fault."""


@dataclasses.dataclass(frozen=True)
class Original:
    """A good bar file, and its bars."""

    format: str
    name: str  # of the file
    content: bytes
    layout: Layout | None  # None for Parquet
    symbol: str
    bars: Bars
    notices: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """The lines of the text, without their ends."""
        return self.content.decode().splitlines()

    @property
    def head(self) -> int:
        """Number of lines before the first bar."""
        return self.layout.first_line if self.layout else 0


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A changed bar file, and how its bars may differ from the original's without a word."""

    content: bytes
    name: str = ""  # of the file; "": the original's
    lost: frozenset[int] = frozenset()  # rows that are not in it
    touched: int = 0  # rows that have other values, or another time, in it: if plausible, nobody can know


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a mutant was read."""

    kind: str  # one of KINDS
    detail: str


def originals(directory: Path, raw: Path | None = None, num_bars: int = 48, seed: int = 0) -> list[Original]:
    """Write a random walk in every format to an empty directory and load it.

    Args:
        directory: is empty again afterwards.
        raw: folder of real exports, whose first lines are originals as well.
        num_bars: length of the random walk.
        seed: of the random walk.
    """
    found = [_original(directory, name, content) for name, content in _texts(num_bars, seed).items()]
    found += [_original(directory, name, content) for name, content in _tables(num_bars, seed).items()]
    for path in sorted(raw.iterdir()) if raw is not None else ():
        if path.suffix != ".zip":
            lines = path.read_bytes().splitlines(keepends=True)[:_RAW_LINES]
            if "dukascopy" in path.name:  # without the fillers of closed hours, which are not read
                lines = [line for line in lines if not line.rstrip().endswith(b",0")]
            found.append(_original(directory, f"real {path.name}", b"".join(lines), _symbol_of(path)))
    return found


def judge(original: Original, mutant: Mutant, directory: Path) -> Verdict:
    """Load a mutant, the only file of a directory, and compare it with its original.

    Wrong is an exception that is not a sentence for the user, a sentence that does not name the file or comes from the
    wall instead of a loader, and bars that are not those of the file without a notice.
    """
    name = mutant.name or original.name
    try:
        bars, notices = _load(directory / name, mutant.content, original.symbol)
    except UserError as error:
        return _of_error(name, error)
    except Exception as error:
        return Verdict("wrong", f"{type(error).__name__}: {error}")
    rows = _rows(original.bars)
    expected = collections.Counter(row for index, row in enumerate(rows) if index not in mutant.lost)
    found = collections.Counter(_rows(bars))
    missing, new = (expected - found).total(), (found - expected).total()
    said = [notice for notice in notices if notice not in original.notices]
    if not missing and not new:
        return Verdict("repaired" if said else "equal", "".join(said[:1]))
    if said:
        return Verdict("notice", said[0])
    if max(missing, new) <= mutant.touched:
        return Verdict("touched", "")
    return Verdict("wrong", f"{missing} bars are missing and {new} are new, without a notice")


def _load(path: Path, content: bytes, symbol: str) -> tuple[Bars, list[str]]:
    """Write a file, load it through the same door as a training, and remove it."""
    path.write_bytes(content)
    try:
        return load_bars(path.parent, [symbol], _INSTRUMENTS)
    finally:
        path.unlink()


def _of_error(name: str, error: UserError) -> Verdict:
    problem = str(error)
    if name not in problem or "\n" in problem:
        return Verdict("wrong", f"the error does not name the file: {problem!r}")
    if f"{name} cannot be read (" in problem:
        return Verdict("wrong", f"only the wall: {problem}")
    return Verdict("error", problem)


def _rows(bars: Bars) -> list[tuple[float, ...]]:
    columns = [getattr(bars, name)[0, :, 0] for name in (*PRICES, "volume", "tradable")]
    spread = np.round(bars.spread[0, :, 0], 9)
    return list(zip(*(np.asarray(column).tolist() for column in (bars.timestamps, *columns, spread)), strict=True))


def _original(directory: Path, name: str, content: bytes, symbol: str = "EURUSD") -> Original:
    is_text = content[:4] != b"PAR1"
    path = directory / f"{symbol}.{'csv' if is_text else 'parquet'}"
    bars, notices = _load(path, content, symbol)
    layout = sniff(Source(path.name, content, False, "")) if is_text else None
    return Original(name, path.name, content, layout, symbol, bars, tuple(notices))


def _symbol_of(path: Path) -> str:
    """The symbol in the name of a real export; oil is the one that is called by its exchange's code."""
    found = (symbol_of_file(part, _INSTRUMENTS) for part in path.stem.split("_"))
    return next((symbol for symbol in found if symbol), "WTIUSD")


def _walk(num_bars: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    close = 110_000 + np.cumsum(rng.integers(-40, 41, num_bars))
    open_ = np.concatenate([[110_003], close[:-1] + 1])
    high = np.maximum(open_, close) + rng.integers(1, 30, num_bars)
    low = np.minimum(open_, close) - rng.integers(1, 30, num_bars)
    columns = dict(zip(PRICES, (open_, high, low, close), strict=True))
    return {"time": _FIRST + 3600 * np.arange(num_bars), **columns, "volume": rng.integers(100, 5000, num_bars)}


def _texts(num_bars: int, seed: int) -> dict[str, bytes]:
    walk = _walk(num_bars, seed)
    times = walk["time"].astype("datetime64[s]").tolist()
    prices = [",".join(f"{walk[p][i] / 1e5:.5f}" for p in PRICES) + f",{walk['volume'][i]}" for i in range(num_bars)]

    def text(header: str, stamp: str, row: str = "{t},{p}", separator: str = ",", end: str = "\n") -> bytes:
        lines = [
            row.format(t=t.strftime(stamp), p=p, e=int(s)) for t, p, s in zip(times, prices, walk["time"], strict=True)
        ]
        lines = header.split("|") * bool(header) + lines
        return (end.join(line.replace(",", separator) for line in lines) + end).encode()

    names = "time,open,high,low,close,volume"
    return {
        "MetaTrader 5": text(
            "<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>,<VOL>,<SPREAD>",
            "%Y.%m.%d,%H:%M:%S",
            "{t},{p},0,7",
            "\t",
            "\r\n",
        ),
        "MetaTrader 4": text("", "%Y.%m.%d,%H:%M"),
        "HistData": text("", "%Y%m%d %H%M%S", separator=";"),
        "Dukascopy": text("Gmt time,Open,High,Low,Close,Volume", "%d.%m.%Y %H:%M:%S.000"),
        "Dukascopy JForex": text("Time (EET),Open,High,Low,Close,Volume", "%Y.%m.%d %H:%M:%S"),
        "CSV": text(names, "%Y-%m-%d %H:%M:%S"),
        "CSV with Z": text(names, "%Y-%m-%dT%H:%M:%SZ"),
        "CSV with seconds": text(names, "", "{e},{p}"),
        "CSV with milliseconds": text("open_time,open,high,low,close,volume", "", "{e}000,{p}"),
        "CSV with YYYYMMDDHHMM": text(names, "%Y%m%d%H%M"),
        "CSV with date and time": text("Date,Time,Open,High,Low,Close,Volume", "%Y%m%d,%H%M"),
        "CSV with quotes": text(names, "%Y-%m-%d %H:%M", '"{t}",{p}'),
        "CSV with decimal commas": text(names, "%Y-%m-%d %H:%M", separator=";").replace(b".", b","),
        "Lean": text("", "%Y%m%d %H:%M", "{t},{p},{p}"),
        "klines": text("", "", "{e}000,{p},{e}999,1.5,20,3.5,4.5,0"),
        "yfinance": text("Price,Open,High,Low,Close,Volume|Ticker,E,E,E,E,E|Datetime,,,,,", "%Y-%m-%d %H:%M:%S+00:00"),
    }


def _tables(num_bars: int, seed: int) -> dict[str, bytes]:
    walk = _walk(num_bars, seed)
    columns = {name: pa.array(values / 1e5 if name in PRICES else values) for name, values in walk.items()}
    stamps = pa.array(walk["time"].astype("datetime64[s]"))
    return {
        "Parquet": parquet(pa.table({**columns, "time": stamps})),
        "Parquet with milliseconds": parquet(pa.table({**columns, "time": pa.array(walk["time"] * 1000)})),
    }


def parquet(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file with checksums."""
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(table, buffer, write_page_checksum=True)
    return buffer.getvalue()
