"""Where finished bars come from while one trades: a directory that is kept up to date, or a broker."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol

from mtquant_jax.deploy.broker import Broker
from mtquant_jax.deploy.desk import TradingDesk
from mtquant_jax.deploy.freshness import finished
from mtquant_jax.deploy.history import read_history
from mtquant_jax.types import Bars


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
        bars, _ = finished(self._bars, self._desk.bar_seconds, now)
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
    count: int = 5_000
    """Bars that are asked for: history that features and their averages begin with."""

    def read(self, now: int) -> Bars:
        """See `Source`; whatever the broker has."""
        bars = self.broker.bars(self.desk.symbols, self.desk.bar_seconds, self.count)
        return finished(bars, self.desk.bar_seconds, now)[0]
