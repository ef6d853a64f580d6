"""Writes tables as CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv

from mtquant_jax.storage.files import replacing


def write_csv(path: Path, columns: dict[str, Any]) -> None:
    """Write columns of equal length by name; the file appears when it is whole."""
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    with replacing(path) as temporary:
        pyarrow.csv.write_csv(pyarrow.table(columns), temporary, options)
