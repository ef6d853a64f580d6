"""Turns a trained model into one .zip and back: a JSON manifest and one .npy per array, never a pickled object.

Equal models have equal bytes. The manifest is sealed and holds the shape, type and checksum of every array: nothing is
unpacked before it is known to be small enough, and nothing is believed that was changed since.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.storage.arrays import check_arrays, from_named_arrays, to_named_arrays
from mtquant_jax.storage.files import json_object, replacing, sealed_text, unsealed
from mtquant_jax.storage.records import JsonRecord

FORMAT = "mtquant-jax model"
FORMAT_VERSION = 2

_MANIFEST = "manifest.json"
_ARRAYS = "arrays/"
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the earliest in a zip; the time of writing would make equal models differ

_LARGEST_MANIFEST = 4 << 20  # bytes
_MOST_ENTRIES = 4096
_HEADER = 1 << 16  # bytes that a .npy may have besides its numbers
_SMALL = 16 << 20  # bytes that any model may unpack to
_BEST_COMPRESSION = 64  # times by which a larger one may be compressed; trained numbers hardly are

_END = struct.Struct("<4s4H2LH")  # of a zip without a comment: signature, disks, entries, directory, comment


@dataclasses.dataclass(frozen=True)
class ArrayDescription(JsonRecord):
    """What the manifest says of an array."""

    shape: tuple[int, ...]
    dtype: str
    sha256: str  # of its .npy


@dataclasses.dataclass(frozen=True)
class _Described(JsonRecord):
    """What of a manifest this module reads."""

    arrays: Mapping[str, ArrayDescription]


def write_bundle(path: Path, manifest: Mapping[str, Any], tree: Any) -> None:
    """Write a model; the file appears under its name only when it is complete.

    Args:
        path: the .zip to write; a missing folder is created.
        manifest: description of the model, in JSON types. ``format``, ``format_version``, ``arrays`` (shapes, types and
            checksums) and a checksum of the manifest itself are added.
        tree: any pytree of arrays, such as parameters and normaliser statistics.
    """
    entries = {name: (array, npy(array)) for name, array in to_named_arrays(tree).items()}
    description = {
        name: ArrayDescription(array.shape, str(array.dtype), sha256(content)).to_json()
        for name, (array, content) in entries.items()
    }
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, **manifest, "arrays": description}
    arrays = {f"{_ARRAYS}{name}.npy": content for name, (_, content) in entries.items()}
    write_zip(path, {_MANIFEST: sealed_text(head).encode(), **arrays})


def write_zip(path: Path, entries: Mapping[str, bytes]) -> None:
    """Write a .zip of files by name; it appears when it is complete, and equal files make equal bytes."""
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in entries.items():
            _write_entry(archive, name, content)


def arrays_checksum(tree: Any) -> str:
    """SHA-256 of the names, types, shapes and numbers of a pytree of arrays."""
    digest = hashlib.sha256()
    for name, array in sorted(to_named_arrays(tree).items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a model.

    Raises:
        UserError: the file is missing or damaged, is not a model of this program, or has another format version.
    """
    with _opened(path) as archive:
        return _manifest(archive, path)


def read_bundle(path: Path, like: Any) -> Any:
    """Read the arrays of a model; nothing is unpacked before it is known to fit.

    Args:
        path: the .zip.
        like: a pytree of the structure that was written, concrete or from `jax.eval_shape`.

    Raises:
        UserError: as in `read_manifest`, or the arrays do not match `like`, or were changed since they were written, or
            are not finite.
    """
    with _opened(path) as archive:
        described = _descriptions(archive, path)
        check_arrays({name: (d.shape, np.dtype(d.dtype)) for name, d in described.items()}, like, str(path))
        arrays = {name: _array(archive, path, name, description) for name, description in described.items()}
    return from_named_arrays(arrays, like, str(path))


def check_symbols(path: Path, symbols: Sequence[str], expected_symbols: Sequence[str]) -> None:
    """Refuse a model whose instruments, or their order, differ from those of the configuration.

    Args:
        path: the .zip, for the message.
        symbols: those of its manifest.
        expected_symbols: the configuration's instruments in order.

    Raises:
        UserError: they differ.
    """
    if list(symbols) != list(expected_symbols):
        raise UserError(
            f"{path} was trained on {', '.join(symbols) or 'no named instruments'}; "
            f"this configuration asks for {', '.join(expected_symbols)}"
        )


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # nobody waits for a pipe
            raise UserError(f"{path} cannot be read: it is no file")
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise UserError(f"{path}: no such model file") from None
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, UnicodeDecodeError):
        raise UserError(f"{path} is not a .zip file, or is damaged") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def _check_directory(path: Path) -> None:
    """Refuse a .zip with more entries than any model, before its list of them is read."""
    with path.open("rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        stream.seek(max(0, size - _END.size))
        end = stream.read()
    if len(end) < _END.size or not end.startswith(b"PK\5\6"):
        raise zipfile.BadZipFile
    _, _, _, _, entries, directory, _, _ = _END.unpack(end)
    if entries > _MOST_ENTRIES or directory > _MOST_ENTRIES * 512:
        raise UserError(f"{path} has {entries:,} entries; no model has more than {_MOST_ENTRIES:,}")


def _manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    """The manifest of a zip whose entries are those that it lists, and no larger than it says."""
    entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if _MANIFEST not in names:
        raise UserError(f"{path} is not a mtquant-jax model: it has no {_MANIFEST}")
    for entry in entries:
        if entry.flag_bits & ~0x800:  # anything but names in UTF-8
            raise UserError(f"{path} is not a mtquant-jax model, or is damaged: {entry.filename!r} is encrypted or odd")
        if entry.compress_type != zipfile.ZIP_DEFLATED:
            raise UserError(f"{path} is not a mtquant-jax model, or is damaged: {entry.filename!r} is not deflated")
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{path} is not a mtquant-jax model, or is damaged: it has {twice[0]!r} twice")
    text = _unpacked(archive, path, _MANIFEST, _LARGEST_MANIFEST)
    manifest = json_object(text, f"{path}, {_MANIFEST}")
    if manifest.get("format") != FORMAT:
        raise UserError(f"{path} is not a mtquant-jax model: its {_MANIFEST} belongs to another program")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {manifest.get('format_version')!s:.20}; this program reads version "
            f"{FORMAT_VERSION}: train again"
        )
    manifest = unsealed(manifest, f"{path}, {_MANIFEST},")
    described = _Described.from_json(manifest, f"{path}, {_MANIFEST}").arrays
    expected = {_MANIFEST, *(f"{_ARRAYS}{name}.npy" for name in described)}
    if surplus := [name for name in names if name not in expected]:
        raise UserError(f"{path} is not a mtquant-jax model, or is damaged: {surplus[0]!r} is no part of it")
    if missing := [name for name in expected if name not in names]:
        raise UserError(f"{path} is damaged: it has no {min(missing)}")
    return manifest


def _descriptions(archive: zipfile.ZipFile, path: Path) -> Mapping[str, ArrayDescription]:
    """The arrays that the manifest describes, if what they unpack to is what they need and no bomb."""
    described, total = _Described.from_json(_manifest(archive, path), str(path)).arrays, 0
    for name, description in described.items():
        try:
            itemsize = np.dtype(description.dtype).itemsize
        except TypeError:
            raise UserError(f"{path}: {name} is of an unknown type, {description.dtype:.40}") from None
        needed = math.prod(description.shape) * itemsize
        unpacked = archive.getinfo(f"{_ARRAYS}{name}.npy").file_size
        if min(description.shape, default=0) < 0 or not needed <= unpacked <= needed + _HEADER:
            raise UserError(
                f"{path} is damaged: {name} unpacks to {unpacked:,} bytes, and {description.dtype}"
                f"{list(description.shape)} has {needed:,}"
            )
        total += unpacked
    if total > max(_SMALL, _BEST_COMPRESSION * path.stat().st_size):
        raise UserError(f"{path} would unpack to {total:,} bytes, too many for a model of its size: it is a zip bomb")
    return described


def _array(archive: zipfile.ZipFile, path: Path, name: str, description: ArrayDescription) -> np.ndarray:
    """One array, if it is the one that was written."""
    content = _unpacked(archive, path, f"{_ARRAYS}{name}.npy", math.inf)
    if sha256(content) != description.sha256:
        raise UserError(f"{path} was changed after it was written, or is damaged: {name} has another checksum")
    dtype, complaint = np.dtype(description.dtype), f"{path} is damaged: {name}"
    stored = np.dtype(np.uint8) if dtype.isbuiltin != 1 else dtype
    shape = (math.prod(description.shape) * dtype.itemsize,) if dtype.isbuiltin != 1 else description.shape
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0(stream) if version == (1, 0) else None
    except Exception:  # the header is a Python literal, and NumPy raises whatever comes of parsing one
        header = None
    if header is None or header[0] != shape or header[2] != stored or (header[1] and len(shape) > 1):
        raise UserError(f"{complaint} is not stored as {stored}{list(shape)}")
    numbers = content[stream.tell() :]
    if len(numbers) != math.prod(shape) * stored.itemsize:
        raise UserError(f"{complaint} has {len(numbers):,} bytes of numbers")
    array = np.frombuffer(numbers, stored).view(dtype).reshape(description.shape)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise UserError(f"{path}: {name} has numbers that are not finite; the training went wrong, or is none")
    return array


def _unpacked(archive: zipfile.ZipFile, path: Path, name: str, most: float) -> bytes:
    """The content of an entry, of which no more is unpacked than the zip says that there is."""
    said = archive.getinfo(name).file_size
    if said > most:
        raise UserError(f"{path}: {name} has {said:,} bytes, and {most:,} are the most: it is no model")
    with archive.open(name) as stream:
        content = stream.read(said + 1)
    if len(content) != said:
        raise zipfile.BadZipFile
    return content


def npy(array: np.ndarray) -> bytes:
    """An array in NumPy's format; types that it does not know (bfloat16) as bytes, for the manifest has the type."""
    buffer = io.BytesIO()
    plain = array if array.dtype.isbuiltin == 1 else array.reshape(-1).view(np.uint8)
    np.save(buffer, np.ascontiguousarray(plain).reshape(plain.shape), allow_pickle=False)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    """Hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def _write_entry(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=_TIMESTAMP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    entry.create_system = 3  # the same bytes on Windows
    archive.writestr(entry, content)
