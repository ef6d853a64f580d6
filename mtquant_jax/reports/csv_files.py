"""Writes the tables that an evaluation leaves in ``RUN_DIR/evaluation``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.evaluation.metrics import BarsDescription
from mtquant_jax.evaluation.tables import equity_table, positions_table, trades_table
from mtquant_jax.storage.files import read_sealed, write_sealed
from mtquant_jax.storage.records import from_json
from mtquant_jax.storage.tables import write_csv


def check_writable(folder: Path) -> None:
    """Try to write before anything is traded.

    Raises:
        UserError: nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None


def other_period(folder: Path, bars: BarsDescription) -> str:
    """Which bars the evaluation in a folder is of; nothing where there is none, or one of the same bars."""
    try:
        content = read_sealed(folder / "metrics.json", "the evaluation before")
        found = from_json(BarsDescription, content.get("bars"), "the evaluation before")
    except UserError:
        return ""
    if (found.split, found.source, found.first, found.last) == (bars.split, bars.source, bars.first, bars.last):
        return ""
    return f"{found.source}, {found.split} split, {found.first} to {found.last},"


def write_files(evaluation: Evaluation, folder: Path) -> None:
    """Write ``metrics.json``, ``equity.csv``, ``trades.csv`` and ``positions.csv``; each appears when it is whole.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_sealed(folder / "metrics.json", evaluation.metrics.to_json())
        write_csv(folder / "equity.csv", equity_table(evaluation))
        write_csv(folder / "trades.csv", trades_table(evaluation))
        write_csv(folder / "positions.csv", positions_table(evaluation))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
