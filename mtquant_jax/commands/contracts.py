"""Writes the contracts of a broker's symbols, as MetaTrader tells them, as a YAML file of instruments."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from mtquant_jax.commands.bar_flags import print_list, terminal_width
from mtquant_jax.errors import UserError
from mtquant_jax.settings.flags import parsed

if TYPE_CHECKING:
    from mtquant_jax.market.metatrader.entries import Entries


_SHOWN = (
    *("margin_class", "digits", "contract_size", "spread", "commission", "margin_rate"),
    *("swap_mode", "swap_long", "swap_short", "triple_swap_day", "min_lot"),
)
"""Keys of an entry that are printed."""


@dataclasses.dataclass(frozen=True)
class ContractsCommand:
    """Write a broker's contracts, from a dump of MetaTrader's symbol_info, for `--instruments`.

    docs/market_data.md shows the six lines of Python that make the dump.
    """

    source: Annotated[str, tyro.conf.arg(name="from")]
    """CSV or JSON file with the fields of symbol_info of one or more symbols."""
    output: str = "instruments.yaml"
    """YAML file to write."""
    symbols: tuple[str, ...] = ()
    """Symbols to take, by the broker's name or ours; empty: all that can be traded."""
    account_currency: str = "USD"
    """Currency of the account, of swaps in deposit currency and of `--commission`."""
    commission: float | None = None
    """Commission of every symbol per lot and side, which MetaTrader does not say; left out: that of the examples."""
    margin_rate: float | None = None
    """Margin of every symbol as a share of its value, which MetaTrader does not say; left out: that of the examples."""
    overwrite: bool = False
    """Replace a file that is there already."""


def run(arguments: Sequence[str], prog: str) -> None:
    """Read the dump, write the file and print what is in it.

    Raises:
        UserError: the dump or a flag is wrong, no symbol of it can be an instrument, or the file cannot be written.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(ContractsCommand, arguments, prog)
    from mtquant_jax.market.instruments import load_instruments
    from mtquant_jax.market.metatrader.dump import read_dump
    from mtquant_jax.market.metatrader.entries import Account, entries_of, entries_yaml

    output = Path(command.output)
    if output.exists() and not command.overwrite:
        raise UserError(f"`output` {output} is there already; give another file, or `overwrite`")
    _check(command)
    wanted = [name for given in command.symbols for name in given.split(",") if name]
    account = Account(command.account_currency.upper(), command.commission, command.margin_rate)
    entries = entries_of(read_dump(Path(command.source)), load_instruments(), account, wanted)
    if not entries.found:
        name, reason = next(iter(entries.left_out.items()))
        raise UserError(f"{command.source}: no symbol of it can be an instrument; {name}: {reason}")
    try:
        output.write_text(entries_yaml(entries.found, Path(command.source).name), encoding="utf-8")
    except OSError as error:
        raise UserError(f"`output` {output}: cannot be written ({error.strerror})") from None
    _show(entries)
    print(f"Wrote {output} with {len(entries.found)} instruments. Train with it: --instruments {output}")


def _check(command: ContractsCommand) -> None:
    """Refuse values that no contract has."""
    if command.commission is not None and not 0.0 <= command.commission < float("inf"):
        raise UserError(f"`commission` {command.commission:g}: must be at least 0")
    if command.margin_rate is not None and not 0.0 < command.margin_rate <= 1.0:
        raise UserError(f"`margin_rate` {command.margin_rate:g}: must be above 0 and at most 1; 0.0333 is that of 30:1")


def _show(entries: Entries) -> None:
    """Print a table of the instruments, and what is not the broker's or was left out."""
    from mtquant_jax.market.bars.inspection import render

    rows = [["symbol", "broker's name", *(key.replace("_", " ") for key in _SHOWN)]]
    for entry in entries.found:
        cells = (entry.values[key] for key in _SHOWN)
        rows.append([entry.symbol, entry.name, *(c if isinstance(c, str) else f"{c:.10g}" for c in cells)])
    print(render(rows, terminal_width()) + "\n")
    print_list("Not the broker's, converted or unusual", [note for entry in entries.found for note in entry.notes])
    print_list("Left out", [f"{name}: {reason}." for name, reason in entries.left_out.items()])
