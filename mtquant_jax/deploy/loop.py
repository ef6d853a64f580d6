"""Turns of live trading one after the other, by one process at a time, until trading stops."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from mtquant_jax.deploy.claims import claimed
from mtquant_jax.deploy.live import LiveTrading, Turn

_LOCK = ".live.lock"


def keep_trading(
    trading: LiveTrading,
    every: float = 10.0,
    show: Callable[[str], None] = print,
    now: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    turns: int | None = None,
) -> Turn:
    """Make turns until a kill switch has closed everything.

    Args:
        trading: what makes them.
        every: seconds between two turns.
        show: shows a message; those of a turn that are the same as before are not shown again.
        now: seconds since 1970 UTC.
        sleep: waits so many seconds.
        turns: to make at most; None for no end.

    Returns:
        The last turn.

    Raises:
        UserError: a turn was refused, or another process trades in the folder.
    """
    shown: tuple[str, ...] = ()
    with claimed(trading.folder / _LOCK, f"trades in {trading.folder}"):
        for number in itertools.count(1):
            made = trading.turn(now())
            if made.messages != shown:
                for message in made.messages:
                    show(message)
            shown = made.messages
            if made.finished or number == turns:
                break
            sleep(every)
    return made
