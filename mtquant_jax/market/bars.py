"""Turns a directory of bar files into Bars on one clock: the union of all bar times in the period that all share.

A missing bar carries the last close and is not tradable; nothing is filled backwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.formats import BarFile, format_time, read_bar_file
from mtquant_jax.market.instruments import Instrument, select, symbol_of_file
from mtquant_jax.types import Bars

_LONG_GAP_HOURS = 5 * 24
_SPREAD_FACTOR = 5.0


def load_bars(
    data_dir: Path,
    symbols: Sequence[str],
    instruments: Mapping[str, Instrument],
    start: str = "",
    end: str = "",
) -> tuple[Bars, list[str]]:
    """Bars of symbols (float64 NumPy, P = 1) from the files of data_dir, and what the user should know about them.

    The clock is the union of all bar times from the latest first bar to the earliest last bar, cut to start <= t < end
    (UTC dates, YYYY-MM-DD; empty: no cut). Spreads are in price units; without a spread column, or with one that is
    zero throughout, the instrument's default counts.

    Notices are plain sentences: long holes, missing or unusual spreads, broker times taken as UTC. Raises UserError for
    a missing directory, a symbol without a file or with two, bad rows (see `read_bar_file`), different bar intervals
    and no common period.
    """
    if not symbols:
        raise UserError("No instruments were asked for; list at least one symbol in the asset classes")
    chosen = select(symbols, instruments)
    paths = _find_files(Path(data_dir), symbols, instruments)
    files = [read_bar_file(path) for path in paths]
    for instrument, file in zip(chosen, files, strict=True):
        _check_price_scale(instrument, file)
    _common_interval(files)
    first, last = _period(files, start, end)
    clock = np.unique(np.concatenate([file.timestamps for file in files]))
    clock = clock[(clock >= first) & (clock <= last)]
    if clock.size == 0:
        raise UserError(f"No bars between {format_time(first)} and {format_time(last)}")

    notices: list[str] = []
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ("open", "high", "low", "close", "spread", "volume")}
    tradable = []
    for instrument, file in zip(chosen, files, strict=True):
        spread, spread_notices = _spread(instrument, file)
        if file.broker_time:
            notices.append(f"{file.name} is a MetaTrader export; its times are taken as UTC.")
        notices += spread_notices + _hole_notices(instrument.symbol, file.timestamps, clock)
        present, aligned = _align(file, spread, clock)
        tradable.append(present)
        for name, values in aligned.items():
            columns[name].append(values)
    arrays = {name: np.stack(values, axis=-1)[None] for name, values in columns.items()}
    return Bars(symbols=tuple(symbols), timestamps=clock, tradable=np.stack(tradable, axis=-1)[None], **arrays), notices


def _find_files(data_dir: Path, symbols: Sequence[str], instruments: Mapping[str, Instrument]) -> list[Path]:
    """The one file of each symbol, in the order of symbols."""
    if not data_dir.is_dir():
        raise UserError(f"The data directory {data_dir} does not exist")
    seen = sorted(p for p in data_dir.iterdir() if p.is_file() and p.name.lower().endswith((".csv", ".csv.gz")))
    by_symbol: dict[str, list[Path]] = {}
    for path in seen:
        symbol = symbol_of_file(path.name, instruments)
        if symbol is not None:
            by_symbol.setdefault(symbol, []).append(path)
    for symbol in symbols:
        matches = by_symbol.get(symbol, [])
        if len(matches) > 1:
            names = " and ".join(path.name for path in matches)
            raise UserError(f"{data_dir} has {len(matches)} files for {symbol}: {names}; keep one of them")
        if not matches:
            names = ", ".join(path.name for path in seen) or "none"
            raise UserError(
                f"{data_dir} has no file for {symbol} (such as {symbol}.csv or {symbol}.csv.gz); files seen: {names}"
            )
    return [by_symbol[symbol][0] for symbol in symbols]


def _check_price_scale(instrument: Instrument, file: BarFile) -> None:
    """Refuse prices that look like integer points: read as prices they would make every spread 10^digits too small."""
    if instrument.digits >= 2 and file.decimals == 0:
        raise UserError(
            f"{file.name}: prices such as {file.close[0]:.10g} have no decimals although {instrument.symbol} is quoted "
            f"with {instrument.digits}; if they are points, divide them by {10**instrument.digits}"
        )


def _common_interval(files: Sequence[BarFile]) -> int:
    """Seconds between two bars, the median step, which all files must share; so must the minute that bars open at."""
    intervals = []
    for file in files:
        if len(file.timestamps) < 2:
            raise UserError(f"{file.name} has only one bar; at least two are needed to know the bar interval")
        intervals.append(int(np.median(np.diff(file.timestamps))))
    for file, interval in zip(files, intervals, strict=True):
        if interval != intervals[0]:
            raise UserError(
                f"{file.name} has a bar every {interval / 3600:g} hours but {files[0].name} every "
                f"{intervals[0] / 3600:g}; all files must share one bar interval"
            )
    phases = [int(np.median(file.timestamps % min(intervals[0], 3600))) for file in files]
    for file, phase in zip(files, phases, strict=True):
        if phase != phases[0]:
            raise UserError(
                f"Bars of {file.name} open {phase / 60:g} minutes past but those of {files[0].name} "
                f"{phases[0] / 60:g} minutes past; all files must share one clock"
            )
    return intervals[0]


def _period(files: Sequence[BarFile], start: str, end: str) -> tuple[int, int]:
    """First and last bar time, inclusive, of the period that all files cover and start / end allow."""
    first = max(int(file.timestamps[0]) for file in files)
    last = min(int(file.timestamps[-1]) for file in files)
    if first > last:
        periods = "; ".join(
            f"{file.name} {format_time(file.timestamps[0])} to {format_time(file.timestamps[-1])}" for file in files
        )
        raise UserError(f"The files have no dates in common: {periods}")
    common = f"{format_time(first)} to {format_time(last)}"
    first = max(first, _date("start", start)) if start else first
    last = min(last, _date("end", end) - 1) if end else last
    if first > last:
        raise UserError(
            f"No bars are left between start {start or '(none)'} and end {end or '(none)'}: the files share {common}"
        )
    return first, last


def _date(name: str, value: str) -> int:
    try:
        return int(np.datetime64(value, "s").astype(np.int64))
    except ValueError as error:
        raise UserError(f"The {name} date {value!r} is not YYYY-MM-DD") from error


def _spread(instrument: Instrument, file: BarFile) -> tuple[np.ndarray, list[str]]:
    """Spread [R] in price units, and notices about it."""
    default = instrument.default_spread
    spread = file.spread
    if spread is None or not spread.any():
        why = "has no spread column" if spread is None else "has a spread of zero on every bar"
        notice = f"{file.name} {why}: the default of {default:.6g} is used for {instrument.symbol} on every bar."
        return np.full(len(file.timestamps), default), [notice]
    median = float(np.median(spread))
    if not default / _SPREAD_FACTOR <= median <= default * _SPREAD_FACTOR:
        return spread, [
            f"{file.name}: the median spread of {median:.6g} (its points taken as {10.0**-file.decimals:g}) is far "
            f"from the default of {default:.6g} for {instrument.symbol}; check the spread column and instruments.yaml."
        ]
    return spread, []


def _hole_notices(symbol: str, times: np.ndarray, clock: np.ndarray) -> list[str]:
    """A sentence for every stretch longer than five days inside the clock without a bar of the instrument."""
    inside = times[(times > clock[0]) & (times < clock[-1])]
    edges = np.concatenate([clock[:1], inside, clock[-1:]])
    hours = np.diff(edges) // 3600
    return [
        f"{symbol} has no bars for {hours[i]} hours from {format_time(edges[i])} to {format_time(edges[i + 1])}; "
        "its last price is carried and it is not tradable there."
        for i in np.flatnonzero(hours > _LONG_GAP_HOURS)
    ]


def _align(file: BarFile, spread: np.ndarray, clock: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Bars of one file on the clock [T]: where it has a bar [T] bool, and the columns with carried closes between."""
    # The clock starts at or after the file's first bar, so there always is a row to carry.
    row = np.searchsorted(file.timestamps, clock, side="right") - 1
    present = file.timestamps[row] == clock
    close = file.close[row]
    return present, {
        "open": np.where(present, file.open[row], close),
        "high": np.where(present, file.high[row], close),
        "low": np.where(present, file.low[row], close),
        "close": close,
        "spread": spread[row],
        "volume": np.where(present, file.volume[row], 0.0),
    }
