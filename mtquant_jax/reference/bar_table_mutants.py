"""Mutations of Parquet files and of packed files, for `bar_mutants`."""

from __future__ import annotations

import gzip
import io
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from mtquant_jax.reference.bar_originals import Mutant, Original, parquet

Random = np.random.Generator


def pack(rng: Random, original: Original) -> Mutant:
    """The file is packed, perhaps beside notes, and the archive may be damaged."""
    if rng.random() < 0.5:
        data, name = gzip.compress(original.content), original.name + ".gz"
    else:
        buffer, name = io.BytesIO(), "EURUSD.zip"
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(original.name, original.content)
            if rng.random() < 0.5:
                archive.writestr("readme.txt", "Bars, and nothing else.\n")
        data = buffer.getvalue()
    how, damaged = rng.random(), bytearray(data)
    if how < 0.4:
        damaged[rng.integers(len(damaged))] = rng.integers(256)
    elif how < 0.7:
        del damaged[int(rng.integers(1, len(damaged))) :]
    return Mutant(bytes(damaged), name)


def change_table(rng: Random, original: Original) -> Mutant:
    """A Parquet file has its columns, rows or types in another way."""
    table = pyarrow.parquet.read_table(io.BytesIO(original.content))
    seconds = np.asarray(original.bars.timestamps)
    stamps = seconds.astype("datetime64[s]")
    digits = np.char.replace(np.char.replace(np.char.replace(stamps.astype(str), "-", ""), "T", ""), ":", "")
    mixed = np.where(np.arange(len(seconds)) < rng.integers(len(seconds)), seconds * 1000, seconds * 1_000_000)
    times = [
        *(pa.array(seconds * scale) for scale in (1, 1_000, 1_000_000, 1_000_000_000)),
        *(pa.array((seconds * scale).astype(float)) for scale in (1, 1_000, 1_000_000)),
        *(pa.array(stamps, pa.timestamp(unit, zone)) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC")),
        *(pa.array(kind) for kind in (stamps.astype(str), digits, digits.astype(np.int64), mixed)),
        *(pa.array(seconds // divisor) for divisor in (86_400, 3_600, 60)),
        *(pa.nulls(len(seconds)), pa.array([[1]] * len(seconds)), pa.array([True] * len(seconds))),
        pa.array(np.where(np.arange(len(seconds)) == 3, np.datetime64("2567-01-02", "s"), stamps)),
    ]
    how = rng.integers(4)
    if how == 0:
        table = table.set_column(table.column_names.index("time"), "time", times[int(rng.integers(len(times)))])
    elif how == 1:
        table = table.select([table.column_names[i] for i in rng.permutation(table.num_columns)])
    elif how == 2:
        table = table.take(pa.array(rng.permutation(len(table))))
    else:
        name = str(rng.choice(table.column_names))
        cells = table[name].to_pylist()
        cells[int(rng.integers(len(cells)))] = None
        odd = [pa.array(cells), pa.array(list(map(str, cells))), pa.nulls(len(cells)), pa.array([b"\xff"] * len(cells))]
        table = table.set_column(table.column_names.index(name), name, odd[int(rng.integers(len(odd)))])
    return Mutant(parquet(table))


def damage_table(rng: Random, original: Original) -> Mutant:
    """Bytes of a Parquet file with checksums are changed or cut."""
    data = bytearray(original.content)
    if rng.random() < 0.5:
        del data[int(rng.integers(4, len(data))) :]
    for _ in range(int(rng.integers(1, 5))):
        data[rng.integers(4, len(data))] = rng.integers(256)
    return Mutant(bytes(data), touched=len(original.bars.timestamps))
