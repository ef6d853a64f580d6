"""Writes the tables that an evaluation leaves in ``RUN_DIR/evaluation``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.csv

from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.evaluation.metrics import BarsDescription
from mtquant_jax.evaluation.tables import equity_columns, position_columns, trade_columns
from mtquant_jax.storage.files import read_json, replacing, write_json
from mtquant_jax.storage.records import from_json


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
        content = read_json(folder / "metrics.json", "the evaluation before")
        found = from_json(BarsDescription, content.get("bars"), "the evaluation before")
    except UserError:
        return ""
    if (found.split, found.source, found.first, found.last) == (bars.split, bars.source, bars.first, bars.last):
        return ""
    return f"{found.source}, {found.split} split, {found.first} to {found.last},"


def write_files(evaluation: Evaluation, folder: Path) -> dict[str, Path]:
    """Write ``metrics.json``, ``equity.csv``, ``trades.csv`` and ``positions.csv``; each appears when it is whole.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "metrics.json", evaluation.metrics.to_json())
        write_csv(folder / "equity.csv", equity_columns(evaluation))
        write_csv(folder / "trades.csv", trade_columns(evaluation))
        write_csv(folder / "positions.csv", position_columns(evaluation))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror or error}") from None
    return {name: folder / name for name in ("metrics.json", "equity.csv", "trades.csv", "positions.csv")}


def write_csv(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns of equal length by name; times become text, "YYYY-MM-DD HH:MM" UTC."""
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    table = pyarrow.table({name: _written(values) for name, values in columns.items()})
    with replacing(path) as temporary:
        pyarrow.csv.write_csv(table, temporary, options)


def _written(values: Any) -> Any:
    if not np.issubdtype(getattr(values, "dtype", float), np.datetime64):
        return values
    texts = np.datetime_as_string(values, unit="m").tolist()
    return [None if text == "NaT" else text.replace("T", " ") for text in texts]
