"""Turns a directory into one validated, scaled and resampled bar file per symbol, and collects the problems of all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import BarFile, Findings
from mtquant_jax.market.bars.options import ReadingOptions
from mtquant_jax.market.bars.price_ranges import in_prices
from mtquant_jax.market.bars.reading import inspect_bar_file
from mtquant_jax.market.bars.source import holds_table
from mtquant_jax.market.bars.timeframes import opens_of, resample
from mtquant_jax.market.bars.wall import wall
from mtquant_jax.market.instruments import Instrument, select, symbol_of_file

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
    if len(matches) > 1:  # HistData's archives have a report beside the bars, of the same name
        matches = [path for path in matches if holds_table(path)] or matches
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
    """Scale and resample the bars that were read for an instrument; problems are recorded and do not raise.

    A step of a factor two or more between bars is a problem unless ``allow_jumps``.
    """
    if source is None:
        return Member(instrument, path, None, None, findings)
    file = None
    try:
        with wall(source.name):
            findings.notices += _check_steps(source, findings, options.allow_jumps)
            source, notices = in_prices(instrument, source)
            findings.notices += notices
            if not source.interval:
                raise UserError(f"{source.name} has only one bar; at least two are needed to know the bar interval")
            if options.at_end(instrument.symbol) and source.tradable is None:
                source = opens_of(source, options.zone_of(instrument.symbol))
            file = resample(source, options.timeframe, options.zone)
    except UserError as error:
        findings.problem, findings.cause = str(error), error
    return Member(instrument, path, source, file, findings)


def _check_steps(source: BarFile, findings: Findings, allow_jumps: bool) -> list[str]:
    """Raise UserError for the steps of a file, or return a notice that counts them where they are allowed."""
    if not findings.steps:
        return []
    if allow_jumps:
        return [f"{source.name}: steps of a factor two or more are taken for real (`allow_jumps`): {findings.steps}."]
    more = f" ({findings.steps} such steps, there and back)" if findings.steps > 1 else ""
    raise UserError(f"{source.name} {findings.step}{more}; correct the file, or use `allow_jumps` if that is real")
