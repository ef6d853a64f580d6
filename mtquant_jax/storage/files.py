"""Atomic files and strict JSON, sealed where numbers in it are relied on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from mtquant_jax.errors import UserError


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON; the file appears under its name only when it is complete.

    NumPy and JAX values become numbers and lists, dataclasses become objects, and paths and times become text. Numbers
    that are not finite, which JSON cannot represent, become null.
    """
    text = json_text(content)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(content: Any) -> str:
    """The text that `write_json` writes."""
    return json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def json_line(content: Any) -> str:
    """JSON as `write_json` writes it, in one line without an end."""
    return json.dumps(_plain(content), ensure_ascii=False, allow_nan=False)


def read_json(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: the file.
        what: start of the error message, such as ``phase 2 needs the results of phase 1``.

    Raises:
        UserError: the file is missing or is not a JSON object.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(LARGEST_JSON + 1)
    except OSError as error:
        reason = "there is no" if isinstance(error, FileNotFoundError) else f"cannot read ({error.strerror})"
        raise UserError(f"{what}: {reason} {path}") from None
    return json_object(text, f"{what}: {path}")


LARGEST_JSON = 256_000_000
"""Bytes of the largest JSON file that is read."""


def json_object(text: bytes, where: str) -> dict[str, Any]:
    """Parse a strict JSON object, in which no key is given twice.

    Args:
        text: in UTF-8.
        where: names it in messages, such as a file.

    Raises:
        UserError: it is none, or is too large.
    """
    if len(text) > LARGEST_JSON:
        raise UserError(f"{where} has more than {LARGEST_JSON:,} bytes; no file of this program has")
    try:
        content = json.loads(
            text.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates
        )
    except json.JSONDecodeError as error:
        raise UserError(f"{where} line {error.lineno} is not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not JSON ({error})") from None
    if not isinstance(content, dict):
        raise UserError(f"{where} is not a JSON object")
    return content


SEAL = "sha256"
"""Last key of a sealed JSON object: the checksum of all the others."""


def write_sealed(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write a JSON object and a checksum of what it says; see `write_json`. Returns what `read_sealed` would."""
    plain: dict[str, Any] = _plain(content)
    write_json(path, sealed(plain))
    return plain


def sealed_text(content: Mapping[str, Any]) -> str:
    """The text that `write_sealed` writes."""
    return json_text(sealed(_plain(content)))


def read_sealed(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object that `write_sealed` wrote, without its checksum.

    Args:
        path: the file.
        what: start of the error message, as for `read_json`.

    Raises:
        UserError: the file is missing, is not a JSON object, has no checksum, or says something else than was written.
    """
    return unsealed(read_json(path, what), f"{what}: {path}")


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with its checksum."""
    return {**content, SEAL: _seal(content)}


def unsealed(content: dict[str, Any], where: str) -> dict[str, Any]:
    """A JSON object without its checksum, which must be right.

    Raises:
        UserError: there is none, or it is another.
    """
    seal = content.pop(SEAL, None)
    if seal is None:
        raise UserError(f"{where} has no checksum ({SEAL}); it was written by an earlier version, or is damaged")
    if seal != _seal(content):
        raise UserError(f"{where} was changed after it was written, or is damaged: its checksum is another")
    return content


def _seal(content: Mapping[str, Any]) -> str:
    """SHA-256 of JSON without spaces, keys in their order, as hexadecimal digits."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))  # 1e999 is read as an infinite number
    return hashlib.sha256(text.encode("ascii")).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that replaces it if the block succeeds and is removed if it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """Convert `value` to JSON types."""
    if hasattr(value, "tolist"):  # NumPy and JAX, scalars and arrays
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, Path) else value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        twice = next(name for name, _ in pairs if sum(name == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twice} is given twice")
    return content
