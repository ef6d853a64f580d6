"""Prints what a training would do at the close of the last finished bar."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from mtquant_jax.commands.working import working
from mtquant_jax.errors import UserError, with_flags
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.settings.flags import parsed


@dataclasses.dataclass(frozen=True)
class SignalCommand:
    """Print what a finished training would do next: weights, lots, orders, costs and the risk rules that bind.

    Nothing is sent to a broker. Nothing here is investment advice.
    """

    run_dir: str
    """Directory of the training."""
    data_dir: str | None = None
    """Bar files up to now; those of the training when left out."""
    account: str | None = None
    """JSON file with MetaTrader's account_info and positions_get (docs/brokers.md): orders are for this account. Left
    out: for a simulated one that has traded every bar since the training's end."""
    capital_share: float = 1.0
    """Share of the broker's equity that is traded, above 0 and up to 1."""
    magic: int | None = None
    """Count only positions of the account with this number, and leave those of others alone; all when left out."""
    as_of: str | None = None
    """Decide as it was at this time (UTC, as 2025-12-31 21:00); now when left out."""
    missing_bars: int = 1
    """Bars that may be missing at the end before the signal is refused as stale."""
    initial_capital: float | None = None
    """Of the simulated account, in its currency; that of the training when left out."""
    account_currency: str | None = None
    """Of the account; that of the training when left out."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print all of it as JSON."""
    csv: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print a row for every instrument as CSV."""


def run(arguments: Sequence[str], prog: str) -> None:
    """Decide and print.

    Raises:
        UserError: whatever is wrong with the run, the bars or the account.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(SignalCommand, arguments, prog)
    if command.json and command.csv:
        raise UserError("give either `json` or `csv`, not both")
    if not 0.0 < command.capital_share <= 1.0:
        raise UserError(f"`capital_share` {command.capital_share:g} must be above 0 and at most 1")
    if command.account is None and (command.capital_share != 1.0 or command.magic is not None):
        raise UserError("`capital_share` and `magic` are of a broker's account: give its `account`")
    if command.missing_bars < 0:
        raise UserError(f"`missing_bars` {command.missing_bars} must be at least 0")
    with working("reading the bars and deciding"):
        prepare_jax()
        from mtquant_jax.deploy.clock import time_of
        from mtquant_jax.deploy.signal import signal_of_run
        from mtquant_jax.runs.trained_run import open_run

        trained = open_run(Path(command.run_dir)).on_account(command.initial_capital, command.account_currency)
        found = signal_of_run(
            trained,
            command.data_dir,
            account=Path(command.account) if command.account else None,
            capital_share=command.capital_share,
            now=time_of(command.as_of),
            missing_bars=command.missing_bars,
            magic=command.magic,
        )
    if command.json:
        from mtquant_jax.storage.files import json_text

        print(json_text(found.to_json()), end="")
        return
    from mtquant_jax.reports.signal import signal_csv, signal_lines

    for line in signal_csv(found) if command.csv else signal_lines(found):
        print(line)
    for notice in found.notices:
        print(f"note: {with_flags(notice)}", file=sys.stderr)
