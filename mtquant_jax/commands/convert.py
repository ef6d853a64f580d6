"""Writes the aligned bars of a directory of bar files as Parquet, one file per symbol."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtquant_jax.commands.bar_flags import BarFlags, load, print_list, symbols_of
from mtquant_jax.errors import UserError
from mtquant_jax.settings.config import READING, TrainConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConvertCommand(BarFlags):
    """Write the aligned bars as Parquet, one file per symbol."""

    output: str
    """Directory for the Parquet files."""


def run(arguments: Sequence[str], prog: str) -> None:
    """Write the bars that a training would see.

    Raises:
        UserError: bars that a training would refuse, or an output directory with other bar files of the same symbols.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command, config = load(ConvertCommand, arguments, prog)
    output = Path(command.output)
    from mtquant_jax.market.bars.bar_file import format_time
    from mtquant_jax.market.bars.loading import load_bars
    from mtquant_jax.market.bars.parquet import write_bars
    from mtquant_jax.market.prepare import instruments_of

    instruments = instruments_of(config)
    options: dict[str, Any] = {name: getattr(config, name) for name in ("timeframe", *READING)}
    options |= {"start": config.market.start, "end": config.market.end}
    bars, notices = load_bars(Path(config.data_dir), symbols_of(config), instruments, **options)
    _check_output(config, output, bars.symbols)
    print_list("Notices", notices)
    try:
        files = write_bars(bars, output)
    except OSError as error:
        raise UserError(f"`output` {output} cannot be written: {error.strerror}") from error
    first, last = (format_time(bars.timestamps[i]) for i in (0, -1))
    print(
        f"Wrote {len(files)} files of {len(bars.timestamps):,} bars, {first} to {last} UTC, to {output}: "
        f"{', '.join(path.name for path in files)}"
    )


def _check_output(config: TrainConfig, output: Path, symbols: Sequence[str]) -> None:
    """Refuse a directory in which the new files would stand beside others of the same symbols."""
    from mtquant_jax.market.bars.directory import bar_files
    from mtquant_jax.market.instruments import symbol_of_file
    from mtquant_jax.market.prepare import instruments_of

    if output.exists() and not output.is_dir():
        raise UserError(f"`output` {output} is a file; give a directory")
    if output.resolve() == Path(config.data_dir).resolve():
        raise UserError(f"`output` {output} is the data directory itself; give another one")
    instruments = instruments_of(config)
    for path in bar_files(output) if output.is_dir() else []:
        symbol = symbol_of_file(path.name, instruments)
        if symbol in symbols and path.name != f"{symbol}.parquet":
            raise UserError(f"`output` {output} has {path.name}, another file for {symbol}; give an empty directory")
