"""Turns a directory into one validated, scaled and resampled bar file per symbol, and collects the problems of all."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import PRICES, BarFile, Findings
from mtquant_jax.market.bars.options import ReadingOptions
from mtquant_jax.market.bars.reading import inspect_bar_file
from mtquant_jax.market.bars.timeframes import opens_of, resample
from mtquant_jax.market.instruments import Instrument, select, symbol_of_file
from mtquant_jax.market.synthetic.calibration_files import load_calibration

_ENDINGS = (".csv", ".txt", ".tsv", ".prn", ".parquet", ".pq", ".zip")


@dataclasses.dataclass(frozen=True)
class Member:
    """Content of a directory for one symbol."""

    instrument: Instrument
    path: Path | None  # None if there is no file or more than one
    source: BarFile | None  # as in the file, prices scaled; None if it cannot be used
    file: BarFile | None  # in the requested timeframe; None if it cannot be used
    findings: Findings  # of reading; its problem is set wherever `file` is None


def read_members(
    data_dir: Path, symbols: Sequence[str], instruments: Mapping[str, Instrument], options: ReadingOptions
) -> list[Member]:
    """Read the file of each symbol, in the order of symbols; problems of files are recorded and do not raise.

    Raises UserError for a missing directory and for symbols without a contract specification.
    """
    if not symbols:
        raise UserError("No instruments are selected; list at least one symbol in the asset classes")
    chosen = select(symbols, instruments)
    if not data_dir.is_dir():
        raise UserError(f"The data directory {data_dir} does not exist")
    seen = bar_files(data_dir)
    by_symbol: dict[str | None, list[Path]] = {}
    for path in seen:
        by_symbol.setdefault(symbol_of_file(path.name, instruments), []).append(path)
    return [_read(data_dir, one, by_symbol.get(one.symbol, []), seen, options) for one in chosen]


def symbols_in(data_dir: Path, instruments: Mapping[str, Instrument]) -> list[str]:
    """The symbols that a directory has files of, in the order of instruments.

    Raises UserError for a missing directory and for one without such files.
    """
    if not data_dir.is_dir():
        raise UserError(f"The data directory {data_dir} does not exist")
    files = bar_files(data_dir)
    found = {symbol_of_file(path.name, instruments) for path in files}
    if not found - {None}:
        names = ", ".join(path.name for path in files) or "none"
        raise UserError(f"{data_dir} has no bar file of a known instrument (such as EURUSD.csv); files seen: {names}")
    return [symbol for symbol in instruments if symbol in found]


def bar_files(data_dir: Path) -> list[Path]:
    """Return the files of a directory whose extension is one of bar files, sorted by name."""
    found = (path for path in data_dir.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted(path for path in found if path.name.lower().removesuffix(".gz").endswith(_ENDINGS))


def _read(
    data_dir: Path, instrument: Instrument, matches: list[Path], seen: list[Path], options: ReadingOptions
) -> Member:
    symbol = instrument.symbol
    if len(matches) != 1:
        names = ", ".join(path.name for path in seen) or "none"
        several = " and ".join(path.name for path in matches)
        problem = (
            f"{data_dir} has {len(matches)} files for {symbol}: {several}; keep one of them"
            if matches
            else f"{data_dir} has no file for {symbol} (such as {symbol}.csv or {symbol}.csv.gz); files seen: {names}"
        )
        return Member(instrument, None, None, None, Findings(problem=problem))
    read = inspect_bar_file(matches[0], options.zone_of(symbol), options.stamps_wanted(symbol))
    return as_member(instrument, matches[0], *read, options)


def as_member(
    instrument: Instrument, path: Path | None, source: BarFile | None, findings: Findings, options: ReadingOptions
) -> Member:
    """Scale and resample the bars that were read for an instrument; problems are recorded and do not raise."""
    if source is None:
        return Member(instrument, path, None, None, findings)
    file = None
    try:
        source, notices = _scaled(instrument, source)
        findings.notices += notices
        if not source.interval:
            raise UserError(f"{source.name} has only one bar; at least two are needed to know the bar interval")
        if options.at_end(instrument.symbol) and source.tradable is None:
            source = opens_of(source, options.zone_of(instrument.symbol))
        file = resample(source, options.timeframe, options.zone)
    except UserError as error:
        findings.problem = str(error)
    return Member(instrument, path, source, file, findings)


def _scaled(instrument: Instrument, file: BarFile) -> tuple[BarFile, list[str]]:
    """Convert integer points into prices, with a notice that says so; other files are returned unchanged.

    Whole prices of an instrument with two or more digits are points, unless that reading is much further from the
    price in the calibration than the prices themselves are. Read as prices, points make every spread far too small.
    """
    if instrument.digits < 2 or file.decimals > 0:
        return file, []
    digits, price = instrument.digits, float(file.close[-1])
    known = load_calibration()["instruments"].get(instrument.symbol, {}).get("start_price")
    scaled = price / 10**digits
    what = f"{file.name}: prices such as {price:.10g} have no decimals although {instrument.symbol} is quoted with "
    what += str(digits)
    if known is None and digits < 3:
        raise UserError(f"{what}; if they are points, divide them by {10**digits}; if not, set its digits to 0")
    if known is not None and abs(math.log10(price / known)) < abs(math.log10(scaled / known)):
        return file, [f"{what}; they are taken as whole prices, because as points they would be {scaled:.10g}."]
    if known is not None and abs(math.log10(scaled / known)) > 1.5:
        raise UserError(f"{what}, and as points they would be {scaled:.10g}, far from the usual {known:.6g}")
    prices = {name: getattr(file, name) / 10**digits for name in PRICES}
    spread = None if file.spread is None else file.spread / 10**digits
    notice = f"{what}; they are points and were divided by {10**digits}, which gives prices such as {scaled:.10g}."
    return dataclasses.replace(file, **prices, spread=spread, decimals=digits), [notice]
