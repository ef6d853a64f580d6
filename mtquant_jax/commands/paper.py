"""Trades bars on paper as they come, and reports on what was traded."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtquant_jax.commands.working import working
from mtquant_jax.errors import UserError, with_flags
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.settings.flags import parsed

if TYPE_CHECKING:
    from mtquant_jax.deploy.paper import Booked
    from mtquant_jax.settings.config import TrainConfig


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
    names: tuple[str, ...] = ()
    """Names of symbols at the broker that are not found by themselves, as EURUSD=EURUSD.r."""
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
    if command.bars is not None and command.bars < 1:
        raise UserError(f"`bars` {command.bars} must be at least 1")
    with working("reading the training and its bars"):
        prepare_jax()
        from mtquant_jax.deploy.clock import time_of
        from mtquant_jax.deploy.history import desk_of, read_history
        from mtquant_jax.deploy.ledger import Ledger
        from mtquant_jax.deploy.paper import PaperTrader, about, paper_ledger
        from mtquant_jax.deploy.session import WallClock, replay, trade_on
        from mtquant_jax.deploy.sources import source_of
        from mtquant_jax.runs.trained_run import open_run

        trained = open_run(Path(command.run_dir)).on_account(command.initial_capital, command.account_currency)
        usual = paper_ledger(trained)
        path = Path(command.ledger) if command.ledger else usual
        if command.replay is not None:
            first, last = (time_of(text, "replay") for text in command.replay)
        desk = desk_of(trained, command.source or None)
    clock = WallClock()
    if command.replay is not None:
        path = path if command.ledger else usual.with_name("replay.sqlite")
        what = about(trained, desk) | {"replay": " to ".join(command.replay)}
        with Ledger(path, what, durable=False) as ledger:
            bars = read_history(desk)
            _print(replay(PaperTrader(desk, ledger), bars, first, last, clock, pause), command, desk.config, path)
        return
    source = source_of(desk, command.source, command.names)
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


@dataclasses.dataclass(frozen=True)
class PaperReportCommand:
    """Report on what was paper traded: its evaluation, what was to be expected, and whether to take the next stage."""

    run_dir: str
    """Directory of the training."""
    source: str = ""
    """Directory of bar files, or mt5, as for the trading."""
    names: tuple[str, ...] = ()
    """Names of symbols at the broker, as for the trading."""
    ledger: str | None = None
    """SQLite file; RUN_DIR/paper/ledger.sqlite when left out."""
    output: str | None = None
    """Directory of the report; the ledger's when left out."""
    initial_capital: float | None = None
    """Of the account, as for the trading."""
    account_currency: str | None = None
    """Of the account, as for the trading."""
    draws: int = 1000
    """Draws of the bootstrap behind every interval."""


def report(arguments: Sequence[str], prog: str) -> None:
    """Report.

    Raises:
        UserError: nothing was traded, too few days were, the bars are others, or the extra eval is missing.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(PaperReportCommand, arguments, prog)
    prepare_jax()
    import time

    from mtquant_jax.deploy.history import desk_of
    from mtquant_jax.deploy.ledger import open_ledger
    from mtquant_jax.deploy.paper import about, paper_ledger
    from mtquant_jax.deploy.paper_report import paper_report
    from mtquant_jax.deploy.sources import source_of
    from mtquant_jax.evaluation.backtests import trade_all
    from mtquant_jax.evaluation.evaluation import evaluate
    from mtquant_jax.reports.csv_files import check_writable
    from mtquant_jax.reports.html.evaluation import write_report
    from mtquant_jax.reports.html.page import require_plotly
    from mtquant_jax.reports.paper import report_lines
    from mtquant_jax.runs.trained_run import open_run, restore_all
    from mtquant_jax.statistics.intervals import check_draws
    from mtquant_jax.storage.files import write_json

    trained = open_run(Path(command.run_dir)).on_account(command.initial_capital, command.account_currency)
    check_draws(command.draws)
    require_plotly()
    path = Path(command.ledger) if command.ledger else paper_ledger(trained)
    folder = Path(command.output) if command.output else path.parent
    check_writable(folder)
    desk = desk_of(trained, command.source or None)
    with (
        open_ledger(path, about(trained, desk)) as ledger,
        working("reading the bars, and trading them as the simulator does"),
    ):
        source = source_of(desk, command.source, command.names, booked=len(ledger.bars_from(0)))
        bars = source.read(int(time.time()))
        assert bars is not None
        found, judged = paper_report(trained, desk, ledger, bars)
        traded = trade_all(trained, judged, restore_all(trained, judged.market))
        evaluation = evaluate(trained, judged, traded, command.draws)
    write_json(folder / "report.json", found.to_json() | {"verdict": found.verdict})
    write_report(evaluation, folder / "report.html")
    for line in report_lines(found):
        print(line)
    print(f"report in {folder / 'report.html'}")


def _print(booked: Iterable[Booked], command: PaperCommand, config: TrainConfig, path: Path) -> None:
    """Print what is booked as it comes, and how it stands at the end, also where the process is interrupted."""
    from mtquant_jax.market.periods import moment
    from mtquant_jax.reports.paper import booked_lines
    from mtquant_jax.reports.wording import plural

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
            done = f"{plural(count, 'bar')} and {plural(orders, 'order')}"
            print(f"{done} booked to {moment(last.time)} UTC{equity}; ledger in {path}")
        else:
            print(f"nothing new to book; ledger in {path}")
