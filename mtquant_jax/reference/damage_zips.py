"""Damage to models: .zip files that lie about what is in them, and bundles whose arrays or manifest were changed."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mtquant_jax.reference.damage import (
    SEALED_AGAIN,
    Random,
    change_field,
    damage_file,
    replace_file,
    resealed,
)

_BOMB = 1 << 29  # bytes of zeros that half a megabyte of .zip unpacks to


def damage_model(random: Random, file: Path, others: Sequence[Path]) -> str:
    """Damage a model .zip; ``others`` are models of other classes and runs."""
    draw = random.random()
    if draw < 0.5:
        return damage_file(random, file)
    if draw < 0.6:
        return replace_file(random, file, others)
    name = str(random.choice(list(_ZIP_DAMAGE)))
    with zipfile.ZipFile(file) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    _ZIP_DAMAGE[name](random, file, entries)
    return name


_Entries = list[tuple[str, bytes]]


def _write_zip(file: Path, entries: _Entries, compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)


def _entry_added(random: Random, file: Path, entries: _Entries) -> None:
    names = ["../../x.npy", "/tmp/x.npy", "arrays/../../x.npy", "arrays/more.npy", "code.pkl", "__main__.py", "arrays/"]
    at = int(random.integers(len(entries) + 1))
    _write_zip(file, [*entries[:at], (str(random.choice(names)), _array(np.zeros(3))), *entries[at:]])


def _entry_removed(random: Random, file: Path, entries: _Entries) -> None:
    del entries[int(random.integers(len(entries)))]
    _write_zip(file, entries)


def _entry_twice(random: Random, file: Path, entries: _Entries) -> None:
    name, content = entries[int(random.integers(len(entries)))]
    other = content if random.random() < 0.5 else entries[int(random.integers(len(entries)))][1]
    _write_zip(file, [*entries, (name, other)])


def _contents_exchanged(random: Random, file: Path, entries: _Entries) -> None:
    one, two = random.choice(len(entries), 2, replace=False)
    (name, content), (other, instead) = entries[one], entries[two]
    entries[one], entries[two] = (name, instead), (other, content)
    _write_zip(file, entries)


def _array_changed(random: Random, file: Path, entries: _Entries) -> None:
    index = int(random.integers(1, len(entries)))
    name, content = entries[index]
    array = np.load(io.BytesIO(content), allow_pickle=False)
    changes: list[Callable[[], np.ndarray]] = [
        lambda: np.full_like(array, np.nan if array.dtype.kind == "f" else 7),
        lambda: np.full_like(array, np.inf if array.dtype.kind == "f" else -1),
        lambda: array[None],
        lambda: array.astype(np.float64),
        lambda: -array,
        lambda: np.array([{"a": print}], dtype=object),
        lambda: array.ravel()[:1],
    ]
    entries[index] = (name, _array(changes[int(random.integers(len(changes)))]()))
    _write_zip(file, entries)


def _array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def _manifest_changed(random: Random, file: Path, entries: _Entries) -> None:
    manifest = json.loads(entries[0][1])
    change_field(random, manifest)
    _write_zip(file, [("manifest.json", json.dumps(manifest).encode()), *entries[1:]])


def _manifest_sealed_again(random: Random, file: Path, entries: _Entries) -> None:
    manifest = json.loads(entries[0][1])
    change_field(random, manifest)
    _write_zip(file, [("manifest.json", json.dumps(resealed(manifest)).encode()), *entries[1:]])


def _shapes_of_a_giant(random: Random, file: Path, entries: _Entries) -> None:
    manifest = json.loads(entries[0][1])
    name = str(random.choice(list(manifest["arrays"])))
    manifest["arrays"][name]["shape"] = [int(random.choice([1 << 33, 1 << 70, -1])), 2]
    index = next(i for i, entry in enumerate(entries) if entry[0] == f"arrays/{name}.npy")
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (8589934592, 2), }"
    content = b"\x93NUMPY\x01\x00" + len(f"{head:117s}\n").to_bytes(2, "little") + f"{head:117s}\n".encode()
    entries[index] = (entries[index][0], content)
    _write_zip(file, [("manifest.json", json.dumps(resealed(manifest)).encode()), *entries[1:]])


def _manifest_of_megabytes(random: Random, file: Path, entries: _Entries) -> None:
    kinds = [b" " * (64 << 20), b"[" * 200_000, b'{"format": "' + b"x" * (64 << 20) + b'"}', b"\xff\xfe", b"null"]
    _write_zip(file, [("manifest.json", kinds[int(random.integers(len(kinds)))]), *entries[1:]])


def _bomb(random: Random, file: Path, entries: _Entries) -> None:
    bomb = int(random.integers(len(entries)))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for index, (name, content) in enumerate(entries):
            if index != bomb:
                archive.writestr(name, content)
                continue
            with archive.open(name, "w") as stream:
                stream.write(content)
                for _ in range(_BOMB >> 22):
                    stream.write(_ZEROS)


_ZEROS = bytes(1 << 22)


def _other_compression(random: Random, file: Path, entries: _Entries) -> None:
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    _write_zip(file, entries, methods[int(random.integers(len(methods)))])


def _encrypted(random: Random, file: Path, entries: _Entries) -> None:
    content = bytearray(file.read_bytes())
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(mark), bytes(content)):
            content[found.start() + place] |= 1
    file.write_bytes(content)


def _larger_than_said(random: Random, file: Path, entries: _Entries) -> None:
    """The central directory says that an entry is small, and it is not, or the other way round."""
    content = bytearray(file.read_bytes())
    places = [found.start() for found in re.finditer(b"PK\x01\x02", bytes(content))]
    at = places[int(random.integers(len(places)))] + int(random.choice([20, 24]))
    content[at : at + 4] = int(random.choice([0, 1, 0xFFFFFFFF, 1 << 30])).to_bytes(4, "little")
    file.write_bytes(content)


_ZIP_DAMAGE: dict[str, Callable[[Random, Path, _Entries], None]] = {
    "entry added": _entry_added,
    "entry removed": _entry_removed,
    "entry twice": _entry_twice,
    "contents exchanged": _contents_exchanged,
    "array changed": _array_changed,
    "manifest changed": _manifest_changed,
    f"manifest changed{SEALED_AGAIN}": _manifest_sealed_again,
    "shapes of a giant": _shapes_of_a_giant,
    "manifest of megabytes": _manifest_of_megabytes,
    "bomb": _bomb,
    "other compression": _other_compression,
    "encrypted": _encrypted,
    "sizes that lie": _larger_than_said,
}
