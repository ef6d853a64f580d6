"""Turns a directory of hourly bar files into the YAML file that a synthetic market is drawn from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from mtquant_jax.commands.bar_flags import ReadingFlags
from mtquant_jax.errors import UserError, with_flags
from mtquant_jax.settings.config import READING, TrainConfig
from mtquant_jax.settings.flags import parsed


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrateCommand(ReadingFlags):
    """Measure hourly bar files and write the calibration of a synthetic market like them.

    Train on it with `mtquant-jax train --market.calibration FILE`.
    """

    data_dir: str
    """Directory of hourly bar files, one per symbol."""
    output: str
    """YAML file to write."""
    symbols: tuple[str, ...] = ()
    """Instruments to measure; empty: all of configs/instruments.yaml that have a file."""
    start: str = ""
    """First bar used, UTC, as YYYY-MM-DD; empty: as early as all instruments allow."""
    end: str = ""
    """Bars before this date are used, UTC, as YYYY-MM-DD; empty: as late as all instruments allow."""


def usual_command() -> CalibrateCommand:
    """The command that is given no flags."""
    usual = {name: getattr(TrainConfig(), name) for name in READING}
    return CalibrateCommand(data_dir=tyro.MISSING, output=tyro.MISSING, **usual)


def run(arguments: Sequence[str], prog: str) -> None:
    """Measure and write.

    Raises:
        UserError: whatever is wrong with the directory, a file, a symbol, or the output's folder.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(CalibrateCommand, arguments, prog, usual_command())
    from mtquant_jax.market.bars.bar_file import format_time
    from mtquant_jax.market.bars.loading import load_bars
    from mtquant_jax.market.instruments import load_instruments, symbol_of_file
    from mtquant_jax.market.synthetic.calibration import calibrate
    from mtquant_jax.market.synthetic.calibration_files import calibration_yaml

    folder, output = Path(command.data_dir), Path(command.output)
    if not output.absolute().parent.is_dir():
        raise UserError(f"{output}: the folder {output.absolute().parent} does not exist")
    instruments = load_instruments()
    symbols: Sequence[str] = command.symbols
    if not symbols and folder.is_dir():
        present = {symbol_of_file(path.name, instruments) for path in folder.iterdir()}
        symbols = [symbol for symbol in instruments if symbol in present]
    options: dict[str, Any] = {name: getattr(command, name) for name in ("start", "end", *READING)}
    bars, notices = load_bars(folder, symbols or list(instruments), instruments, **options)
    for notice in notices:
        print(with_flags(notice))
    period = f"{format_time(bars.timestamps[0])} to {format_time(bars.timestamps[-1])}"
    text = calibration_yaml(calibrate(bars), f"hourly bars of {folder.name}, {period} UTC")
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output}: cannot be written ({error.strerror})") from None
    print(f"Wrote {output} from {len(bars.timestamps):,} bars of {len(bars.symbols)} instruments, {period} UTC.")
