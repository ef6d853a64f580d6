"""The validated bars of one file, and the findings of reading it."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

PRICES = ("open", "high", "low", "close")


@dataclasses.dataclass(frozen=True)
class BarFile:
    """Validated bars of one file: times strictly increase, prices are positive and consistent."""

    name: str  # file name, for messages
    format: str  # name of the recognised format, for messages
    zone: str  # name of the clock of its stamps, for messages
    timestamps: np.ndarray  # [R] int64, seconds since 1970-01-01 UTC, bar open
    open: np.ndarray  # [R] float64 bid
    high: np.ndarray  # [R] float64 bid
    low: np.ndarray  # [R] float64 bid
    close: np.ndarray  # [R] float64 bid
    volume: np.ndarray  # [R] float64 ticks; zeros where the file has none
    spread: np.ndarray | None  # [R] float64, ask - bid in price units; None where the file has none
    tradable: np.ndarray | None  # [R] bool; None if every bar is tradable, as in all files but those of `data convert`
    decimals: int  # decimals of the file's prices; its point is 10^-decimals
    broker_time: bool  # stamps have no offset, and the format uses the broker's clock
    naive: bool  # stamps have no offset, and the format does not name their time zone

    @property
    def point(self) -> float:
        """Price of one point of this file."""
        return float(10.0**-self.decimals)

    @functools.cached_property
    def interval(self) -> int:
        """Seconds between consecutive bars: the most frequent step; 0 for a single bar."""
        steps, counts = np.unique(np.diff(self.timestamps), return_counts=True)
        return int(steps[np.argmax(counts)]) if len(steps) else 0


@dataclasses.dataclass
class Findings:
    """Findings of reading a file: counts of rows, notices for the user, and the reason to refuse the file, if any."""

    rows: int = 0
    duplicates: int = 0  # exact copies of another row, dropped
    conflicts: int = 0  # rows that repeat the time of another row with other values
    unsorted: int = 0  # rows whose time is before that of the row above
    fillers: int = 0  # flat bars without volume at the previous price, dropped
    ambiguous: int = 0  # local times that occur twice
    missing: int = 0  # local times that do not exist
    inconsistent: int = 0  # rows whose range excludes open or close; refused, or widened up to half a basis point
    not_positive: int = 0  # rows with a price of zero or less
    unreadable: int = 0  # rows with a time or number that cannot be parsed
    step: str = ""  # the first step of a factor two or more between bars, described
    steps: int = 0  # rows with such a step
    notices: list[str] = dataclasses.field(default_factory=list)
    problem: str | None = None
    cause: Exception | None = None  # what raised the problem, if anything did


def format_time(seconds: int | np.integer) -> str:
    """Format seconds since 1970-01-01 UTC as YYYY-MM-DD HH:MM."""
    return str(np.datetime_as_string(np.datetime64(int(seconds), "s"), unit="m")).replace("T", " ")
