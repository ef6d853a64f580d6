"""Trades a broker's account by a finished training, or only says what it would do."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mtquant_jax.errors import with_flags
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.settings.flags import parsed


@dataclasses.dataclass(frozen=True)
class LiveCommand:
    """Trade a broker's account by a finished training.

    Without --send it is a dry run, and without --real-account only demo accounts are traded.
    The broker's own terminal is logged in; this program asks for no password and keeps none. See docs/brokers.md for
    what a turn does, and docs/going_live.md before you send anything. Nothing here is investment advice.
    """

    run_dir: str
    """Directory of the training."""
    broker: Literal["mt5"] = "mt5"
    """Whose account: that of the MetaTrader 5 terminal on this computer."""
    capital_share: float = 0.1
    """Share of the account's equity that is traded."""
    send: bool = False
    """Send orders; otherwise they are checked and written to the journal only."""
    real_account: int | None = None
    """Login of the account that may be traded although it is no demo account."""
    max_day_loss: float = 0.05
    """Loss since the day's first equity, as a share of it, that closes all and stops; 0 is off."""
    stop_file: str = "STOP"
    """File in the folder whose presence closes all and stops."""
    max_spread: float = 5.0
    """Largest spread at which an order is sent, in multiples of the instrument's usual one; 0 is off."""
    magic: int = 20_250_101
    """Number that marks our positions among those of others."""
    names: tuple[str, ...] = ()
    """Names of symbols at the broker that are not found by themselves, as EURUSD=EURUSD.r."""
    folder: str | None = None
    """Journal, state, heartbeat and ledger; RUN_DIR/live when left out."""
    every: float = 10.0
    """Seconds between two looks at the broker."""
    turns: int | None = None
    """Stop after so many looks; never when left out."""


def run(arguments: Sequence[str], prog: str) -> None:
    """Trade until a kill switch has closed everything.

    Raises:
        UserError: whatever a person must change: the account, a contract, a rule, a damaged file.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(LiveCommand, arguments, prog)
    prepare_jax()
    from mtquant_jax.deploy.history import MT5, desk_of
    from mtquant_jax.deploy.ledger import Ledger
    from mtquant_jax.deploy.live import LiveTrading
    from mtquant_jax.deploy.live_model import LiveModel, trained_of
    from mtquant_jax.deploy.loop import keep_trading
    from mtquant_jax.deploy.paper import PaperTrader, about
    from mtquant_jax.deploy.rules import LiveRules, check_rules
    from mtquant_jax.deploy.sources import terminal_of
    from mtquant_jax.runs.trained_run import open_run

    rules = LiveRules(
        send=command.send,
        real_account=command.real_account,
        magic=command.magic,
        max_day_loss=command.max_day_loss,
        stop_file=command.stop_file,
        max_spread=command.max_spread,
        capital_share=command.capital_share,
    )
    check_rules(rules)
    trained = open_run(Path(command.run_dir))
    desk = desk_of(trained, MT5)
    broker = terminal_of(desk, command.magic, command.names)
    folder = Path(command.folder) if command.folder else trained.paths.run_dir / "live"
    folder.mkdir(parents=True, exist_ok=True)
    kind = "sending orders" if rules.send else "dry run"
    print(f"{kind}: {command.capital_share:.0%} of the equity; files in {folder}", flush=True)

    def show(text: str) -> None:
        print(with_flags(text), flush=True)

    with Ledger(folder / "model.sqlite", about(trained, desk)) as ledger:
        model = LiveModel(trained.run_id, PaperTrader(desk, ledger), broker)
        trading = LiveTrading(model, broker, rules, trained_of(desk), folder)
        keep_trading(trading, command.every, show, turns=command.turns)
