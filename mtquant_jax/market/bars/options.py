"""Turns settings into how bar files are read: clocks, stamps, timeframe, period, and what a spread of zero means."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.timeframes import FILES
from mtquant_jax.settings.checks import by_symbol
from mtquant_jax.settings.config import READING, BarStamps, TrainConfig, ZeroSpread
from mtquant_jax.time_zones import Zone, read_zone


class MoreOptions(TypedDict, total=False):
    """The options of `ReadingOptions` that few files need, by name."""

    force_broker_timezone: bool
    symbol_timezones: Sequence[str]
    bar_stamps: BarStamps
    symbol_bar_stamps: Sequence[str]
    zero_spread: ZeroSpread
    allow_jumps: bool


@dataclasses.dataclass(frozen=True)
class ReadingOptions:
    """How the bars of a directory, or of frames, are read; the fields are the settings of these names."""

    start: str = ""
    end: str = ""
    broker_timezone: str = "UTC"
    timeframe: str = FILES
    force_broker_timezone: bool = False
    symbol_timezones: Sequence[str] = ()
    bar_stamps: BarStamps = "open"
    symbol_bar_stamps: Sequence[str] = ()
    zero_spread: ZeroSpread = "median"
    allow_jumps: bool = False
    open_end: bool = False
    """Whether bars go on to the last of any file, and not only of all: what has ended before carries its price."""

    @functools.cached_property
    def zone(self) -> Zone:
        """The clock of stamps that state none, on which days run from midnight to midnight."""
        return dataclasses.replace(read_zone(self.broker_timezone), forced=self.force_broker_timezone)

    def zone_of(self, symbol: str) -> Zone:
        """The clock that the file of a symbol is read on; `Zone.forced` if it overrides what stamps state."""
        return self._zones.get(symbol, self.zone)

    def is_declared(self, symbol: str) -> bool:
        """Return True if the clock of this very symbol is given."""
        return symbol in self._zones

    def at_end(self, symbol: str) -> bool:
        """Return True if the bars of a symbol are stamped at their end."""
        return by_symbol("symbol_bar_stamps", self.symbol_bar_stamps).get(symbol, self.bar_stamps) == "close"

    @functools.cached_property
    def period(self) -> tuple[int, int]:
        """First second wanted, and the one after the last, since 1970-01-01 UTC."""
        return _seconds("start", self.start, -(2**60)), _seconds("end", self.end, 2**60)

    def stamps_wanted(self, symbol: str) -> tuple[int, int]:
        """First second, and the one after the last, of the stamps of wanted bars; at its end, a bar is a day old."""
        first, end = self.period
        return first, end + (86_401 if self.at_end(symbol) else 0)

    @functools.cached_property
    def _zones(self) -> Mapping[str, Zone]:
        given = by_symbol("symbol_timezones", self.symbol_timezones)
        return {
            symbol: dataclasses.replace(read_zone(name, "symbol_timezones"), forced=True)
            for symbol, name in given.items()
        }


def options_of(config: TrainConfig) -> ReadingOptions:
    """How a training with these settings reads bars."""
    chosen = {name: getattr(config, name) for name in ("timeframe", *READING)}
    return ReadingOptions(start=config.market.start, end=config.market.end, **chosen)


def _seconds(name: str, date: str, unbounded: int) -> int:
    try:
        return int(np.datetime64(date, "s").astype(np.int64)) if date else unbounded
    except ValueError as error:
        raise UserError(f"The {name} date {date!r} is not YYYY-MM-DD") from error
