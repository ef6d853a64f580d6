"""The bars of one file, once they are known to be right, and what was found on the way there."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

PRICES = ("open", "high", "low", "close")


@dataclasses.dataclass(frozen=True)
class BarFile:
    """Bars of one file, validated: times strictly increase, prices are positive and consistent."""

    name: str  # file name, for messages
    format: str  # what the file was recognised as, for people
    zone: str  # the clock of its stamps, for people
    timestamps: np.ndarray  # [R] int64, seconds since 1970 UTC, bar open
    open: np.ndarray  # [R] float64 bid
    high: np.ndarray  # [R] float64 bid
    low: np.ndarray  # [R] float64 bid
    close: np.ndarray  # [R] float64 bid
    volume: np.ndarray  # [R] float64 ticks; zeros where the file has none
    spread: np.ndarray | None  # [R] float64, ask - bid in price units; None where the file has none
    tradable: np.ndarray | None  # [R] bool; None where every bar is, as in all files but those of `data convert`
    decimals: int  # decimals of the file's prices; its point is 10^-decimals
    broker_time: bool  # stamps without an offset, in a format that carries the broker's clock
    naive: bool  # stamps without an offset, in a format that does not say whose clock they are of

    @property
    def point(self) -> float:
        """Price of one point of this file."""
        return float(10.0**-self.decimals)

    @functools.cached_property
    def interval(self) -> int:
        """Seconds between two bars: the most frequent step; 0 for a single bar."""
        steps, counts = np.unique(np.diff(self.timestamps), return_counts=True)
        return int(steps[np.argmax(counts)]) if len(steps) else 0


@dataclasses.dataclass
class Findings:
    """What reading a file found: counts of rows, sentences for the user, and why it cannot be used, if so."""

    rows: int = 0
    duplicates: int = 0  # rows repeated exactly, dropped
    conflicts: int = 0  # rows that give a time again with other values
    unsorted: int = 0  # rows whose time is before that of the row above
    fillers: int = 0  # flat bars without volume at the price before, dropped
    ambiguous: int = 0  # local times that happen twice
    missing: int = 0  # local times that never happen
    inconsistent: int = 0  # rows whose range does not include open and close; refused, or widened if by next to nothing
    not_positive: int = 0  # rows with a price of zero or less
    unreadable: int = 0  # rows with a time or number that cannot be read
    notices: list[str] = dataclasses.field(default_factory=list)
    problem: str | None = None


def format_time(seconds: int | np.integer) -> str:
    """Seconds since 1970 UTC as YYYY-MM-DD HH:MM."""
    return str(np.datetime_as_string(np.datetime64(int(seconds), "s"), unit="m")).replace("T", " ")
