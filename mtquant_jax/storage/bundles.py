"""Turns a trained model into one .zip and back: a JSON manifest and one .npy per array, never a pickled object.

Equal models have equal bytes.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.storage.arrays import from_named_arrays, to_named_arrays
from mtquant_jax.storage.files import json_text, replacing

FORMAT = "mtquant-jax model"
FORMAT_VERSION = 1

_MANIFEST = "manifest.json"
_ARRAYS = "arrays/"
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)  # the earliest in a zip; the time of writing would make equal models differ


def write_bundle(path: Path, manifest: Mapping[str, Any], tree: Any) -> None:
    """Write a model; the file appears under its name only when it is complete.

    Args:
        path: the .zip to write; a missing folder is created.
        manifest: description of the model, in JSON types. ``format``, ``format_version`` and ``arrays`` (shapes and
            types) are added.
        tree: any pytree of arrays, such as parameters and normaliser statistics.
    """
    arrays = to_named_arrays(tree)
    description = {name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in arrays.items()}
    head = {"format": FORMAT, "format_version": FORMAT_VERSION, **manifest, "arrays": description}
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        _write_entry(archive, _MANIFEST, json_text(head).encode())
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.save(buffer, _storable(array), allow_pickle=False)
            _write_entry(archive, f"{_ARRAYS}{name}.npy", buffer.getvalue())


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a model.

    Raises:
        UserError: the file is missing, is not a model of this program, or has another format version.
    """
    with _opened(path) as archive:
        return _manifest(archive, path)


def read_bundle(path: Path, like: Any) -> Any:
    """Read the arrays of a model.

    Args:
        path: the .zip.
        like: a pytree of the structure that was written, concrete or from `jax.eval_shape`.

    Raises:
        UserError: as in `read_manifest`, or the arrays do not match `like`.
    """
    with _opened(path) as archive:
        manifest = _manifest(archive, path)
        arrays = {}
        for name, description in manifest["arrays"].items():
            with archive.open(f"{_ARRAYS}{name}.npy") as entry:
                array = np.load(io.BytesIO(entry.read()), allow_pickle=False)
            arrays[name] = array.view(np.dtype(description["dtype"])).reshape(description["shape"])
    return from_named_arrays(arrays, like, str(path))


def check_symbols(path: Path, manifest: Mapping[str, Any], expected_symbols: Sequence[str]) -> None:
    """Refuse a model whose instruments, or their order, differ from those of the configuration.

    Args:
        path: the .zip, for the message.
        manifest: its manifest, with the key ``symbols``.
        expected_symbols: the configuration's instruments in order.

    Raises:
        UserError: they differ.
    """
    symbols = list(manifest.get("symbols", []))
    if symbols != list(expected_symbols):
        raise UserError(
            f"{path} was trained on {', '.join(symbols) or 'no named instruments'}; "
            f"this configuration asks for {', '.join(expected_symbols)}"
        )


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise UserError(f"{path}: no such model file") from None
    except zipfile.BadZipFile:
        raise UserError(f"{path} is not a .zip file, or is damaged") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is not a complete mtquant-jax model: {' '.join(str(error).split())}") from None


def _manifest(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    if _MANIFEST not in archive.namelist():
        raise UserError(f"{path} is not a mtquant-jax model: it has no {_MANIFEST}")
    manifest = json.loads(archive.read(_MANIFEST))
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{path} is not a mtquant-jax model: its {_MANIFEST} belongs to another program")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise UserError(
            f"{path} has format version {manifest.get('format_version')}; this program reads version {FORMAT_VERSION}"
        )
    return manifest


def _storable(array: np.ndarray) -> np.ndarray:
    """View types that .npy does not support (bfloat16) as bytes; the manifest records the type."""
    return array if array.dtype.isbuiltin == 1 else array.reshape(-1).view(np.uint8)


def _write_entry(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, date_time=_TIMESTAMP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    entry.create_system = 3  # the same bytes on Windows
    archive.writestr(entry, content)
