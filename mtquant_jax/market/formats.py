"""Turns one bar file (generic CSV or MetaTrader 5 export, gzip or not) into validated arrays in UTC and price units.

The format is told from the first lines, never from the file name; nothing is repaired.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from mtquant_jax.errors import UserError

_PRICES = ("open", "high", "low", "close")
_GENERIC = "time,open,high,low,close[,volume[,spread]]"
_METATRADER = "<DATE> <TIME> <OPEN> <HIGH> <LOW> <CLOSE> <TICKVOL> <VOL> <SPREAD>"
_MAX_DECIMALS = 8


@dataclasses.dataclass(frozen=True)
class BarFile:
    """Bars of one file, validated: times strictly increase, prices are positive and consistent."""

    name: str  # file name, for messages
    timestamps: np.ndarray  # [R] int64, seconds since 1970 UTC, bar open
    open: np.ndarray  # [R] float64 bid
    high: np.ndarray  # [R] float64 bid
    low: np.ndarray  # [R] float64 bid
    close: np.ndarray  # [R] float64 bid
    volume: np.ndarray  # [R] float64 ticks; zeros where the file has none
    spread_points: np.ndarray | None  # [R] float64, in points of this file; None where the file has none
    decimals: int  # decimals of the file's prices; its point is 10^-decimals
    broker_time: bool  # a MetaTrader export, whose stamps are the broker's clock

    @property
    def spread(self) -> np.ndarray | None:
        """Spread [R] in price units (ask - bid), or None."""
        return None if self.spread_points is None else self.spread_points * 10.0**-self.decimals


def read_bar_file(path: Path) -> BarFile:
    """Read and validate one bar file.

    Times are UTC bar opens; a stamp with an offset is converted, one without is taken as UTC. The spread column counts
    points of the file's own last quoted decimal (a gold file with three decimals has points of 0.001 whatever the
    instrument's digits are), hence `decimals`.

    Raises UserError naming file, row (the header's line is row 1) and value for an unreadable or empty file, an unknown
    format, or a row that is unsorted, repeated, incomplete, not a number, not positive or inconsistent.
    """
    text = _read_text(path)
    frame, first_row = _parse(path.name, text)
    times, problem = _times(frame)
    columns = {name: pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64) for name in _PRICES}
    for name in ("volume", "spread"):
        if name in frame:
            columns[name] = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64)
    _validate(path.name, frame, first_row, times, problem, columns)
    return BarFile(
        name=path.name,
        timestamps=times,
        volume=columns.get("volume", np.zeros(len(times))),
        spread_points=columns.get("spread"),
        decimals=_decimals(np.concatenate([columns[name] for name in _PRICES])),
        broker_time="date" in frame,
        **{name: columns[name] for name in _PRICES},
    )


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        if path.suffix.lower() == ".gz" or raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path.name} cannot be read: {error}") from error
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name} is not a text file ({error.reason} at byte {error.start})") from error
    if not text.strip():
        raise UserError(f"{path.name} is empty; it needs a header {_GENERIC} and one row per bar")
    return text


def _parse(name: str, text: str) -> tuple[pd.DataFrame, int]:
    """Text -> (columns as text by lower-case name, row number of the first bar)."""
    lines = text.splitlines()
    header_line = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
    header = lines[header_line]
    separator = max("\t;,", key=header.count)
    found = [column.strip().strip("\"'") for column in header.split(separator)]
    columns = [column.strip("<>").lower() for column in found]
    metatrader = found[0].upper() == "<DATE>"
    renamed = {"tickvol": "volume"} if metatrader else {"tick_volume": "volume"}
    if not metatrader and "volume" in columns:
        renamed = {}
    columns = [renamed.get(column, column) for column in columns]
    needed = ("date", *_PRICES) if metatrader else ("time", *_PRICES)
    if any(columns.count(column) != 1 for column in needed) or any(columns.count(c) > 1 for c in ("volume", "spread")):
        raise UserError(
            f"{name} has an unknown format: its columns are {', '.join(c for c in found if c) or 'none'}; expected "
            f"{_GENERIC} (UTC) or a MetaTrader 5 export {_METATRADER}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO("\n".join(lines[header_line + 1 :]) + "\n"),
                sep=separator,
                header=None,
                names=[column or f"unnamed {i}" for i, column in enumerate(columns)],
                index_col=False,
                dtype=str,
                skip_blank_lines=False,
            )
    except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
        widths = [line.count(separator) + 1 for line in lines[header_line + 1 :]]
        wide = next((i for i, width in enumerate(widths) if width > len(columns)), 0)
        raise UserError(
            f"{name} row {header_line + 2 + wide}: {widths[wide]} columns where the header has {len(columns)}"
        ) from error
    except ValueError as error:
        raise UserError(f"{name}: its columns {', '.join(found)} cannot be read ({error})") from error
    blank = frame.isna().all(axis=1).to_numpy()
    rows = len(frame) - int(np.argmin(blank[::-1])) if not blank.all() else 0  # blank lines at the end are no bars
    if rows == 0:
        raise UserError(f"{name} has a header but no bars")
    return frame.iloc[:rows], header_line + 2


def _times(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Seconds since 1970 UTC [R] int64, and where the stamp could not be read [R] bool."""
    if "date" in frame and "time" not in frame:
        stamps = frame["date"].str.replace(".", "-")
    elif "date" in frame:
        stamps = frame["date"].str.replace(".", "-") + " " + frame["time"]
    else:
        stamps = frame["time"]
    parsed = pd.to_datetime(stamps, format="ISO8601", utc=True, errors="coerce")
    unread = parsed.isna().to_numpy()
    seconds = parsed.dt.tz_localize(None).to_numpy().astype("datetime64[s]").astype(np.int64)
    return np.where(unread, 0, seconds), unread


def _validate(
    name: str,
    frame: pd.DataFrame,
    first_row: int,
    times: np.ndarray,
    unread: np.ndarray,
    columns: dict[str, np.ndarray],
) -> None:
    """Raise UserError for the first bad row; earlier rows are named before later ones, whatever is wrong with them."""
    o, h, low, c = (columns[price] for price in _PRICES)
    step = np.diff(times, prepend=times[0] - 1)
    problems: list[tuple[np.ndarray, str]] = [(unread, "the time {stamp!r} is not YYYY-MM-DD HH:MM:SS")]
    for column, values in columns.items():
        problems.append((~np.isfinite(values), f"{column} {{raw[{column}]!r}} is not a number"))
    problems += [
        (step == 0, "the time is repeated"),
        (step < 0, "the time is before the row above; bars must be sorted"),
        *((columns[price] <= 0, f"{price} {{{price}:.10g}} is not positive") for price in _PRICES),
        (h < low, "high {high:.10g} is below low {low:.10g}"),
        (h < o, "high {high:.10g} is below open {open:.10g}"),
        (h < c, "high {high:.10g} is below close {close:.10g}"),
        (low > o, "low {low:.10g} is above open {open:.10g}"),
        (low > c, "low {low:.10g} is above close {close:.10g}"),
    ]
    for column in ("volume", "spread"):
        if column in columns:
            problems.append((columns[column] < 0, f"{column} {{{column}:.10g}} is negative"))
    first_bad = min((int(np.argmax(mask)) for mask, _ in problems if mask.any()), default=None)
    if first_bad is None:
        return
    message = next(text for mask, text in problems if mask[first_bad])
    raw = {column: frame[column].iloc[first_bad] for column in frame}
    stamp = " ".join(str(raw[part]) for part in ("date", "time") if part in raw)
    values_there = {column: values[first_bad] for column, values in columns.items()}
    when = "" if unread[first_bad] else f" ({format_time(times[first_bad])})"
    raise UserError(
        f"{name} row {first_row + first_bad}{when}: " + message.format(stamp=stamp, raw=raw, **values_there)
    )


def _decimals(prices: np.ndarray) -> int:
    """Decimals of the quotes: the fewest that write 99 % of them, so that float noise in a few rows counts for nothing.

    One quote in ten ends in a zero by chance, so a whole file shows its last decimal even if some rows drop it.
    """
    for decimals in range(_MAX_DECIMALS):
        exact = np.abs(np.round(prices, decimals) - prices) <= 1e-9 * np.abs(prices)
        if np.mean(exact) >= 0.99:
            return decimals
    return _MAX_DECIMALS


def format_time(seconds: int | np.integer) -> str:
    """Seconds since 1970 UTC as YYYY-MM-DD HH:MM."""
    return str(np.datetime_as_string(np.datetime64(int(seconds), "s"), unit="m")).replace("T", " ")
