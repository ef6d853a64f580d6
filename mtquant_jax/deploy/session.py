"""The hours of paper trading: wake at each close, trade, and sleep; or run recorded bars through the same path."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from mtquant_jax.deploy.broker import BrokerUnavailable
from mtquant_jax.deploy.freshness import freshness
from mtquant_jax.deploy.paper import Booked, PaperTrader
from mtquant_jax.deploy.sources import Source
from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.selection import first_bars
from mtquant_jax.market.features import LOOK_BACK_BARS
from mtquant_jax.market.periods import moment
from mtquant_jax.types import Bars

_AFTER_CLOSE = 5  # seconds for a broker to write its bar
_POLL = 15  # seconds between two looks while a bar is due
_REPLAYED = 256  # bars that a replay at full speed books in one transaction


class Clock(Protocol):
    """Time, which tests make up."""

    def now(self) -> int:
        """Seconds since 1970 UTC."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class WallClock:
    """The machine's clock."""

    def now(self) -> int:
        """See `Clock`."""
        return int(time.time())

    def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        time.sleep(max(0.0, seconds))


def trade_on(
    trader: PaperTrader, source: Source, clock: Clock, say: Callable[[str], None], bars: int | None = None
) -> Iterator[Booked]:
    """Trade what comes until the process is stopped, or so many bars were booked.

    A source that cannot be read now is tried again; ``say`` hears of it.

    Raises:
        UserError: bars or ledger do not fit the training, at the start.
    """
    count, begun, said = 0, False, ""
    while bars is None or count < bars:
        now = clock.now()
        try:
            found = source.read(now)
        except (BrokerUnavailable, UserError, OSError) as error:
            if not begun and not isinstance(error, BrokerUnavailable):
                raise
            if said != str(error):
                say(f"{moment(now)} UTC: no bars now: {error}")
            found, said = None, str(error)
        booked = [] if found is None else trader.trade(found, now)
        if found is not None and not begun:
            _say_age(trader, found, now, say)
        begun, said = begun or found is not None, said if found is None else ""
        yield from booked
        count += len(booked)
        if bars is None or count < bars:
            newest = booked[-1].time + trader.desk.bar_seconds if booked else 0
            now = clock.now()
            clock.sleep(_until_next(now, trader.desk.bar_seconds, newest >= now - now % trader.desk.bar_seconds))


def _say_age(trader: PaperTrader, bars: Bars, now: int, say: Callable[[str], None]) -> None:
    """Say where bars are older than they should be; they are traded all the same, when they come."""
    found = freshness(bars, trader.desk.bar_seconds, now, trader.desk.config.simulation.broker_clock)
    if found.missing > 1:
        newest = moment(int(bars.timestamps[-1]))
        say(f"the newest bar opened at {newest} UTC, and {found.missing:,} more should have come; they are waited for")


def _until_next(now: int, seconds: int, traded: bool) -> float:
    """Seconds until the next look: after the next close, or soon where the bar that closed has not come."""
    since = now % seconds
    due = _AFTER_CLOSE - since
    if due > 0:
        return due
    return seconds - since + _AFTER_CLOSE if traded else min(_POLL, seconds - since + _AFTER_CLOSE)


def replay(
    trader: PaperTrader, bars: Bars, first: int, last: int, clock: Clock, seconds_per_bar: float = 0.0
) -> Iterator[Booked]:
    """Trade recorded bars as if each had just closed.

    Args:
        trader: with a ledger of this replay alone, which may have been begun.
        bars: with history.
        first: time from which bars are traded, seconds since 1970 UTC; a flat account opens with the bar before.
        last: bars that open before this time are traded.
        clock: that waits between bars.
        seconds_per_bar: to wait; 0 goes as fast as it can, and books many bars at once.

    Raises:
        UserError: there is no bar in between, or too few before.
    """
    if last <= first:
        raise UserError(f"`replay` {moment(first)} to {moment(last)}: the second time must come after the first")
    begin, end = (int(np.searchsorted(bars.timestamps, time)) for time in (first, last))
    if end <= begin:
        ends = f"{moment(int(bars.timestamps[0]))} to {moment(int(bars.timestamps[-1]))}"
        raise UserError(f"`replay`: no bars from {moment(first)} to {moment(last)}; there are some from {ends}")
    if begin <= LOOK_BACK_BARS:
        earliest = moment(int(bars.timestamps[min(LOOK_BACK_BARS + 1, len(bars.timestamps) - 1)]))
        raise UserError(
            f"`replay` from {moment(first)}: features need {LOOK_BACK_BARS} bars before; from {earliest} on"
        )
    opens, step = int(bars.timestamps[begin - 1]), 1 if seconds_per_bar else _REPLAYED
    booked = trader.ledger.last
    position = begin if booked is None else int(np.searchsorted(bars.timestamps, booked, side="right"))
    while position < end:
        position = min(position + step, end)
        yield from trader.trade(first_bars(bars, position), None, opens)
        clock.sleep(seconds_per_bar)
