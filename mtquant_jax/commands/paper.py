"""Trades bars on paper as they come, and reports on what was traded."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtquant_jax.errors import UserError, with_flags
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.settings.flags import parsed

if TYPE_CHECKING:
    from mtquant_jax.deploy.broker import Broker
    from mtquant_jax.deploy.desk import TradingDesk
    from mtquant_jax.deploy.paper import Booked
    from mtquant_jax.settings.config import TrainConfig

MT5 = "mt5"
"""The source that is MetaTrader's terminal."""


@dataclasses.dataclass(frozen=True)
class PaperCommand:
    """Trade every bar on paper when it closes, and keep a ledger that nothing can tear.

    Orders fill at the next open in the simulator's own account. Stop and start it as you like: it goes on where the
    ledger ends. Nothing is sent to a broker.
    """

    run_dir: str
    """Directory of the training."""
    source: str = ""
    """Directory of bar files that is kept up to date, or mt5 for MetaTrader's terminal; the training's bars when left
    out."""
    ledger: str | None = None
    """SQLite file; RUN_DIR/paper/ledger.sqlite when left out, or replay.sqlite there."""
    replay: tuple[str, str] | None = None
    """Trade recorded bars of this time instead (UTC dates: from the first, before the second)."""
    speed: str = "max"
    """Of a replay: bars a second, or max."""
    bars: int | None = None
    """Stop after so many bars; never when left out."""
    initial_capital: float | None = None
    """Of the account, in its currency; that of the training when left out."""
    account_currency: str | None = None
    """Of the account; that of the training when left out."""
    quiet: bool = False
    """Print only what is odd, and the end."""


def run(arguments: Sequence[str], prog: str) -> None:
    """Trade.

    Raises:
        UserError: whatever is wrong with the run, the bars or the ledger.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(PaperCommand, arguments, prog)
    pause = _seconds_per_bar(command.speed)
    prepare_jax()
    from mtquant_jax.deploy.clock import time_of
    from mtquant_jax.deploy.history import desk_of, read_history
    from mtquant_jax.deploy.ledger import Ledger
    from mtquant_jax.deploy.paper import PaperTrader, about, paper_ledger
    from mtquant_jax.deploy.session import WallClock, replay, trade_on
    from mtquant_jax.deploy.sources import BrokerSource, DirectorySource, Source
    from mtquant_jax.runs.trained_run import open_run

    trained = open_run(Path(command.run_dir)).on_account(command.initial_capital, command.account_currency)
    usual = paper_ledger(trained)
    path = Path(command.ledger) if command.ledger else usual
    clock = WallClock()
    if command.replay is not None:
        first, last = (time_of(text, "replay") for text in command.replay)
        path = path if command.ledger else usual.with_name("replay.sqlite")
        desk = desk_of(trained, command.source or None)
        what = about(trained, desk) | {"replay": " to ".join(command.replay)}
        with Ledger(path, what, durable=False) as ledger:
            bars = read_history(desk)
            _print(replay(PaperTrader(desk, ledger), bars, first, last, clock, pause), command, desk.config, path)
        return
    broker = command.source == MT5
    desk = desk_of(trained, None if broker else command.source or None, broker=broker)
    source: Source = BrokerSource(_terminal(desk), desk) if broker else DirectorySource(desk)
    with Ledger(path, about(trained, desk)) as ledger:
        trader = PaperTrader(desk, ledger)

        def say(text: str) -> None:
            print(with_flags(text), flush=True)

        _print(trade_on(trader, source, clock, say, command.bars), command, desk.config, path)


def _seconds_per_bar(speed: str) -> float:
    with contextlib.suppress(ValueError):
        if speed == "max":
            return 0.0
        if float(speed) > 0.0:
            return 1.0 / float(speed)
    raise UserError(f"`speed` {speed!r:.20} is neither max nor a number of bars a second above 0")


def _terminal(desk: TradingDesk) -> Broker:
    """MetaTrader's terminal, with the training's contracts and clocks."""
    from mtquant_jax.deploy.metatrader import MetaTraderBroker, MetaTraderOptions
    from mtquant_jax.market.prepare import instruments_of

    options = MetaTraderOptions(clock=desk.config.simulation.broker_clock)
    return MetaTraderBroker(options, instruments_of(desk.config))


def _print(booked: Iterable[Booked], command: PaperCommand, config: TrainConfig, path: Path) -> None:
    """Print what is booked as it comes, and how it stands at the end, also where the process is interrupted."""
    from mtquant_jax.market.periods import moment
    from mtquant_jax.reports.paper import booked_lines

    currency, last, count, orders = config.simulation.account_currency, None, 0, 0
    try:
        for one in booked:
            last, count, orders = one, count + 1, orders + len(one.orders)
            for line in booked_lines(one, currency):
                if not command.quiet or line.startswith("  "):
                    print(line, flush=True)
    finally:
        if last is not None:
            equity = "" if last.equity is None else f", equity {last.equity:,.2f} {currency}"
            print(f"{count:,} bars and {orders:,} orders booked to {moment(last.time)} UTC{equity}; ledger in {path}")
        else:
            print(f"nothing new to book; ledger in {path}")
