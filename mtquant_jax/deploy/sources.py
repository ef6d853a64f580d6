"""Where finished bars come from while one trades: a directory that is kept up to date, or a broker."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from mtquant_jax.deploy.broker import Broker
from mtquant_jax.deploy.desk import TradingDesk
from mtquant_jax.deploy.freshness import finished
from mtquant_jax.deploy.history import MT5, finished_of, read_history
from mtquant_jax.deploy.metatrader import MetaTraderBroker, MetaTraderOptions
from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.options import MoreOptions
from mtquant_jax.market.prepare import instruments_of
from mtquant_jax.types import Bars

BARS = 5_000
"""Bars that a broker is asked for: the history that features and their averages begin with."""


class Source(Protocol):
    """Whatever has bars."""

    def read(self, now: int) -> Bars | None:
        """All bars that are finished by ``now`` (seconds since 1970 UTC), with history; None where nothing is new."""
        ...


class DirectorySource:
    """Bar files, which are read again whenever one of them has changed."""

    def __init__(self, desk: TradingDesk) -> None:
        self._desk = desk
        self._seen: tuple[tuple[str, int, int], ...] | None = None
        self._bars: Bars | None = None
        self._count = -1

    def read(self, now: int) -> Bars | None:
        """See `Source`; also None where no further bar of the same files is finished."""
        seen = _state_of(Path(self._desk.config.data_dir))
        changed = seen != self._seen
        if changed or self._bars is None:
            self._bars, self._seen = read_history(self._desk), seen
        bars, _ = finished_of(self._desk, self._bars, now)
        if not changed and len(bars.timestamps) == self._count:
            return None
        self._count = len(bars.timestamps)
        return bars


def _state_of(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, sizes and times of the files of a folder."""
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    found = []
    for path in files:
        stat = path.stat()
        found.append((path.name, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


@dataclasses.dataclass
class BrokerSource:
    """The newest bars of a broker."""

    broker: Broker
    desk: TradingDesk
    count: int = BARS
    """Bars that are asked for."""

    def read(self, now: int) -> Bars:
        """See `Source`; whatever the broker has."""
        bars = self.broker.bars(self.desk.symbols, self.desk.bar_seconds, self.count)
        return finished(bars, self.desk.bar_seconds, now)[0]


def source_of(desk: TradingDesk, name: str, names: Sequence[str] = (), booked: int = 0) -> Source:
    """The source of a name: MetaTrader's terminal, or the desk's directory.

    Args:
        desk: of the training.
        name: MT5, or anything else.
        names: as for `terminal_of`.
        booked: bars that were traded, which a terminal is asked for besides the history before them.

    Raises:
        UserError: there is no terminal.
    """
    if name != MT5:
        return DirectorySource(desk)
    return BrokerSource(terminal_of(desk, names=names), desk, BARS + booked)


def terminal_of(desk: TradingDesk, magic: int | None = None, names: Sequence[str] = ()) -> MetaTraderBroker:
    """MetaTrader's terminal, with the training's contracts and clock.

    Args:
        desk: of the training.
        magic: number that marks our positions; None for the usual one.
        names: of symbols at the broker, where they are not found, as ``EURUSD=EURUSD.r``.

    Raises:
        UserError: there is no terminal, or a name is written otherwise.
    """
    reading = MoreOptions(zero_spread=desk.config.zero_spread, allow_jumps=desk.config.allow_jumps)
    given = dict(_named(text) for text in names)
    options = MetaTraderOptions(clock=desk.config.simulation.broker_clock, reading=reading, names=given)
    options = options if magic is None else dataclasses.replace(options, magic=magic)
    return MetaTraderBroker(options, instruments_of(desk.config))


def _named(text: str) -> tuple[str, str]:
    symbol, equals, name = text.partition("=")
    if not (symbol and equals and name):
        raise UserError(f"`names` {text}: must be a symbol and its name at the broker, as EURUSD=EURUSD.r")
    return symbol, name
