"""What is odd about bars as they come: late, missing, revised, or there after the decision that they belonged to."""

from __future__ import annotations

import dataclasses

import numpy as np

from mtquant_jax.deploy.freshness import usual
from mtquant_jax.deploy.ledger import Event
from mtquant_jax.market.bars.selection import COLUMNS, between
from mtquant_jax.market.periods import moment
from mtquant_jax.time_zones import Zone, read_zone
from mtquant_jax.types import Bars

_LATE = 300  # seconds after its close at which a bar is too late for an order at the next open
_KEPT = 4 * 7 * 86_400 + 1  # seconds of recent bars that say when an instrument has one


def prices_of(bars: Bars, index: int) -> dict[str, list[float]]:
    """The columns of one bar, ``n`` numbers each."""
    return {name: [float(value) for value in np.asarray(getattr(bars, name))[0, index]] for name in COLUMNS}


@dataclasses.dataclass
class Watch:
    """The bars of the last four weeks, by which the next are judged."""

    seconds: int  # from the open of a bar to its close
    zone: Zone  # the broker's clock, on which markets have the same hours in summer and winter
    timestamps: np.ndarray  # [T] int64, seconds since 1970 UTC
    tradable: np.ndarray  # [T, n] bool

    @classmethod
    def over(cls, bars: Bars, seconds: int, clock: str) -> Watch:
        """After these bars; ``clock`` is `simulation.broker_clock`."""
        zone = read_zone(clock, "simulation.broker_clock")
        watch = cls(seconds, zone, np.empty(0, np.int64), np.empty((0, len(bars.symbols)), bool))
        watch.see(bars)
        return watch

    def see(self, bars: Bars) -> None:
        """Add bars."""
        times = np.concatenate([self.timestamps, bars.timestamps])
        tradable = np.concatenate([self.tradable, np.asarray(bars.tradable)[0].astype(bool)])
        kept = times > times[-1] - _KEPT
        self.timestamps, self.tradable = times[kept], tradable[kept]

    def judge(self, bars: Bars, index: int, known: int) -> list[Event]:
        """What is odd about the next bar, which is then seen.

        Args:
            bars: of which it is one.
            index: which.
            known: when it was known, seconds since 1970 UTC.
        """
        time, found = int(bars.timestamps[index]), np.asarray(bars.tradable)[0, index].astype(bool)
        events, late = [], known - time - self.seconds
        if late >= _LATE:
            text = f"known {late:,} s after its close: its orders were too late for the next open"
            events.append(Event("late", time, text))
        *absent, expected = self._usual(range(int(self.timestamps[-1]) + self.seconds, time + 1, self.seconds))
        if count := sum(slot.any() for slot in absent):
            last = moment(int(self.timestamps[-1]))
            events.append(Event("missing", time, f"{count:,} after {last} did not come"))
        gone = [symbol for symbol, due, has in zip(bars.symbols, expected, found, strict=True) if due > has]
        if gone:
            events.append(Event("missing", time, f"no bar of {', '.join(gone)}; the last price is carried"))
        self.see(between(bars, index, index + 1))
        return events

    def _usual(self, times: range) -> list[np.ndarray]:
        """Instruments ``[n]`` that usually have a bar at each of some times; of the last where there is none."""
        wanted = np.array(times or [times.stop - 1], np.int64)
        known, wanted = (self.zone.from_utc(both) for both in (self.timestamps, wanted))
        return [usual(known, self.tradable, int(time)) for time in wanted]


def compared(bars: Bars, booked: dict[int, dict[str, list[float]]], last: int) -> list[Event]:
    """How bars that were traded differ from what they are now.

    Args:
        bars: as they are now.
        booked: those that were traded, by their opens.
        last: open of the last of them.
    """
    events = []
    earliest = min(booked, default=last)
    for index, time in enumerate(bars.timestamps.tolist()):
        if time > last:
            break
        if time < earliest:
            continue
        if time not in booked:
            events.append(Event("late", time, "came after later bars had been decided on; it is left out"))
            continue
        events += _revisions(bars.symbols, time, booked[time], prices_of(bars, index))
    return events


def _revisions(
    symbols: tuple[str, ...], time: int, old: dict[str, list[float]], new: dict[str, list[float]]
) -> list[Event]:
    events = []
    for place, symbol in enumerate(symbols):
        if not old["tradable"][place] and new["tradable"][place]:
            events.append(Event("late", time, f"its {symbol} came after the decision, which stands"))
            continue
        changes = [
            f"{name} {old[name][place]:.10g} became {new[name][place]:.10g}"
            for name in COLUMNS[:5]
            if old[name][place] != new[name][place]
        ]
        if changes:
            events.append(Event("revised", time, f"{symbol}: {', '.join(changes)}; the decision stands"))
    return events
