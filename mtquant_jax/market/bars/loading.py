"""Turns a directory of bar files into Bars on one clock: the union of all bar times in their common period.

A missing bar carries the last close and is not tradable; nothing is filled backwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import BarFile, format_time
from mtquant_jax.market.bars.clock_checks import check_clocks
from mtquant_jax.market.bars.common import common_period, short_symbols
from mtquant_jax.market.bars.directory import Member, read_members
from mtquant_jax.market.bars.options import MoreOptions, ReadingOptions
from mtquant_jax.market.bars.sessions import LONG_GAP
from mtquant_jax.market.bars.stretches import other_lengths, quality_notices, stretches_of
from mtquant_jax.market.bars.timeframes import FILES, timeframe_name
from mtquant_jax.market.bars.zero_spreads import filled_spread, spread_notices
from mtquant_jax.market.instruments import Instrument
from mtquant_jax.types import Bars


def load_bars(
    data_dir: Path,
    symbols: Sequence[str],
    instruments: Mapping[str, Instrument],
    start: str = "",
    end: str = "",
    broker_timezone: str = "UTC",
    timeframe: str = FILES,
    open_end: bool = False,
    **more: Unpack[MoreOptions],
) -> tuple[Bars, list[str]]:
    """Load the bars of symbols (float64 NumPy, P = 1) from the files of data_dir, with notices for the user.

    The clock is the union of all bar times from the latest first bar to the earliest last bar (with open_end to the
    latest), cut to start <= t < end (UTC dates, YYYY-MM-DD; empty: no cut). Stamps without an offset are on the clock
    of broker_timezone (see `read_zone`); bars are resampled to timeframe, one of TIMEFRAMES or "files". Spreads are in
    price units; a file without spreads, or with zero spreads only, gets the instrument's default spread. Steps of a
    factor two or more between bars are refused unless they are allowed. `ReadingOptions` has `more`.

    Notices are plain sentences: long holes, missing or unusual spreads, repairs, broker times taken as UTC. Raises
    UserError for a missing directory, a symbol without a file or with two, bad rows (see `read_bar_file`), different
    bar intervals or clocks, and files without a common period.
    """
    options = ReadingOptions(start, end, broker_timezone, timeframe, open_end=open_end, **more)
    return align(read_members(Path(data_dir), symbols, instruments, options), options)


def align(members: Sequence[Member], options: ReadingOptions) -> tuple[Bars, list[str]]:
    """Align members, as `load_bars` describes; UserError for the first that has a problem, or if they do not fit."""
    for member in members:
        if member.findings.problem:
            raise UserError(member.findings.problem)
    problems, about_clocks = problems_of(members, options)
    for problem in problems:
        raise UserError(problem)
    bars, notices = combine(members, options)
    return bars, about_clocks + notices


def problems_of(members: Sequence[Member], options: ReadingOptions) -> tuple[list[str], list[str]]:
    """Problems of usable files with each other's bars and clocks, for which they are refused, and notices on clocks."""
    files = [member.file for member in members if member.file is not None]
    problems, notices = check_clocks(members, options)
    return (misfits(files) if files else []) + problems, notices


def combine(members: Sequence[Member], options: ReadingOptions) -> tuple[Bars, list[str]]:
    """Align files without problems, as `load_bars` describes; UserError if they have no common bars."""
    files = [member.file for member in members if member.file is not None]
    first, last = common_period(files, options)
    clock = _clock(files, first, last)
    if clock.size == 0:
        raise UserError(f"No bars between {format_time(first)} and {format_time(last)}")
    _check_clock(files, clock)

    notices: list[str] = short_symbols(members, options)
    shape = (1, len(clock), len(files))
    columns: dict[str, Any] = {name: np.empty(shape) for name in ("open", "high", "low", "close", "spread", "volume")}
    tradable = np.empty(shape, bool)
    for index, (member, file) in enumerate(zip(members, files, strict=True)):
        _check_lengths(member, file, first, last)
        present = tradable[0, :, index]
        spread = filled_spread(member.instrument, file, options.zero_spread)
        _align(file, spread, clock, present, {n: c[0, :, index] for n, c in columns.items()})
        notices += notices_of(member, options)
        notices += _hole_notices(member.instrument.symbol, clock[present], clock, file.interval)
    symbols = tuple(member.instrument.symbol for member in members)
    return Bars(symbols=symbols, timestamps=clock, tradable=tradable, **columns), notices


def notices_of(member: Member, options: ReadingOptions) -> list[str]:
    """Return the notices about one usable file, without those about its clock."""
    if member.file is None or member.source is None:
        return member.findings.notices
    source, found = member.source, stretches_of(member.source)
    spreads = spread_notices(member.instrument, source, found.zero_spread, options.zero_spread)
    return member.findings.notices + quality_notices(source, found) + spreads


def misfits(files: Sequence[BarFile]) -> list[str]:
    """Return a message for every file whose bar interval, or minute of opening, differs from that of most files."""
    interval = _most_frequent(np.array([file.interval for file in files]))
    usual = next(file for file in files if file.interval == interval)
    longest = timeframe_name(max(file.interval for file in files))
    problems = [
        f"{file.name} has {timeframe_name(file.interval)} bars but {usual.name} {timeframe_name(interval)} bars; all "
        f"files must share one bar interval; `timeframe` {longest} resamples finer files to it"
        for file in files
        if file.interval != interval
    ]
    phases = [_most_frequent(file.timestamps % min(interval, 3600)) for file in files]
    most = _most_frequent(np.array(phases))
    usual = next(file for file, phase in zip(files, phases, strict=True) if phase == most)
    return problems + [
        f"Bars of {file.name} open {phase / 60:g} minutes past but those of {usual.name} {most / 60:g} minutes past; "
        "all files must share one clock"
        for file, phase in zip(files, phases, strict=True)
        if phase != most and file.interval == interval
    ]


def _clock(files: Sequence[BarFile], first: int, last: int) -> np.ndarray:
    """Return the distinct bar times [T] of all files from first to last."""
    times = np.concatenate([file.timestamps for file in files])
    times = times[(times >= first) & (times <= last)]
    if len(files) > 1:
        times = np.sort(times, kind="stable")  # merges sorted runs, where np.unique would hash millions of times
        times = times[np.diff(times, prepend=times[:1] - 1) > 0]
    return times


def _check_clock(files: Sequence[BarFile], clock: np.ndarray) -> None:
    """Refuse files whose long bars open at different hours: on one clock each would trade in only some rows."""
    interval = files[0].interval
    if interval <= 3600 or len(clock) < 3 or _most_frequent(np.diff(clock)) == interval:
        return
    hours = [_most_frequent(file.timestamps % interval) for file in files]
    other = next((i for i, hour in enumerate(hours) if hour != hours[0]), len(files) - 1)
    name = timeframe_name(interval)
    raise UserError(
        f"The {name} bars of {files[other].name} open at {_clock_text(files[other])} UTC but those of {files[0].name} "
        f"at {_clock_text(files[0])}; all files must share one clock: give `broker_timezone` if it is a broker's, or "
        f"use finer files with `timeframe` {name}"
    )


def _clock_text(file: BarFile) -> str:
    return format_time(_most_frequent(file.timestamps % 86_400))[11:]


def _most_frequent(values: np.ndarray) -> int:
    """Return the most frequent integer among the first 100,000; the first one in a tie."""
    found, first, counts = np.unique(values[:100_000], return_index=True, return_counts=True)
    return int(found[np.lexsort((first, -counts))[0]])


def _check_lengths(member: Member, file: BarFile, first: int, last: int) -> None:
    """Refuse bars longer than those of their file in the common period: read as short ones, they show the future."""
    for other in other_lengths(member.source) if member.source else ():
        if other.seconds > file.interval and other.first <= last and other.last >= first:
            after = np.datetime64(other.last + other.seconds, "s").astype("datetime64[D]") + 1
            raise UserError(
                f"{file.name} has {timeframe_name(other.seconds)} bars from {format_time(other.first)} to "
                f"{format_time(other.last)} ({other.bars:,}) and {timeframe_name(file.interval)} bars otherwise; they "
                f"would show prices before they are known: begin after them with `market.start` {after}, end before "
                f"them with `market.end`, or make longer bars with `timeframe`"
            )


def _hole_notices(symbol: str, times: np.ndarray, clock: np.ndarray, interval: int) -> list[str]:
    """Return a notice for every stretch longer than five days inside the clock without a bar of the instrument."""
    begins = np.concatenate([clock[:1], times + interval])
    ends = np.concatenate([times, clock[-1:] + interval])
    return [
        f"{symbol} has no bars for {(ends[i] - begins[i]) // 3600} hours from {format_time(begins[i])} to "
        f"{format_time(ends[i])}; its last price is carried and it is not tradable in that time."
        for i in np.flatnonzero(ends - begins >= LONG_GAP)
    ]


def _align(
    file: BarFile, spread: np.ndarray, clock: np.ndarray, present: np.ndarray, columns: dict[str, np.ndarray]
) -> None:
    """Write the bars of one file and its tradable flags onto the clock, all [T], and carry closes in between.

    Arrays are written in place, because copies of millions of bars are expensive.
    """
    # The clock starts at or after the file's first bar, so there is always a row to carry.
    row = np.searchsorted(file.timestamps, clock, side="right") - 1
    np.equal(file.timestamps[row], clock, out=present)
    if file.tradable is not None:
        present &= file.tradable[row]
    columns["close"][:] = file.close[row]
    columns["spread"][:] = spread[row]
    for name in ("open", "high", "low"):
        columns[name][:] = np.where(present, getattr(file, name)[row], columns["close"])
    columns["volume"][:] = np.where(present, file.volume[row], 0.0)
