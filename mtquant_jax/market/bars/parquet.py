"""Turns aligned Bars into Parquet files, one per symbol, that `load_bars` reads back to the same Bars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from mtquant_jax.market.bars.bar_file import PRICES
from mtquant_jax.storage.files import replacing
from mtquant_jax.types import Bars


def write_bars(bars: Bars, folder: Path) -> list[Path]:
    """Write historical bars (P = 1) into a folder, one file per symbol, each whole or not at all.

    Raises OSError if the folder cannot be written.
    """
    paths = [folder / f"{symbol}.parquet" for symbol in bars.symbols]
    for index, path in enumerate(paths):
        with replacing(path) as temporary:
            write_parquet(bars, index, temporary)
    return paths


def write_parquet(bars: Bars, index: int, path: Path) -> None:
    """Write one instrument of historical bars (P = 1), selected by its position among the symbols.

    Columns: time (UTC), open, high, low, close (bid), volume, spread_price (ask - bid in price units) and tradable.
    Rows that are not tradable carry the last close; they keep all files on one clock.
    """
    columns = {name: np.asarray(getattr(bars, name))[0, :, index] for name in (*PRICES, "volume")}
    table = pa.table(
        {
            "time": pa.array(np.asarray(bars.timestamps).astype("datetime64[s]"), pa.timestamp("s", "UTC")),
            **columns,
            "spread_price": np.asarray(bars.spread)[0, :, index],
            "tradable": np.asarray(bars.tradable)[0, :, index],
        }
    )
    pyarrow.parquet.write_table(table, path, write_page_checksum=True)
