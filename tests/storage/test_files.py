"""Sealed JSON: what was changed, doubled or cut is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.storage import files
from mtquant_jax.storage.files import read_sealed, sealed, sealed_text, write_sealed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "results.json"
    assert write_sealed(path, {"run_id": "a", "sharpe": 1.5, "nothing": float("nan")})["nothing"] is None
    return path


def test_what_was_written_is_read(path: Path) -> None:
    assert read_sealed(path, "test") == {"run_id": "a", "sharpe": 1.5, "nothing": None}
    assert path.read_text(encoding="utf-8") == sealed_text({"run_id": "a", "sharpe": 1.5, "nothing": None})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1 is not JSON"),
        (b"\xff", "is not JSON ('utf-8' codec can't decode"),
        (b"[1]", "is not a JSON object"),
        (b'{"a": NaN}', "is not JSON (NaN is not a JSON number)"),
        (b'{"a": 1, "b": 2, "a": 1}', "is not JSON (the key a is given twice)"),
        (b'{"a": ' + b"[" * 100_000, "is not JSON (maximum recursion depth exceeded"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON (Exceeds the limit"),
        (b'{"a": 1}', "has no checksum (sha256); it was written by an earlier version, or is damaged"),
        (b'{"a": 1e999, "sha256": "0"}', "was changed after it was written, or is damaged: its checksum is another"),
        (b'{"a": 1, "sha256": [1]}', "was changed after it was written, or is damaged: its checksum is another"),
        (json.dumps(sealed({"a": 1})).replace("1", "2", 1).encode(), "was changed after it was written"),
    ],
)
def test_anything_else_is_refused(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_sealed(path, "test")
    assert str(error.value).startswith(f"test: {path} {message}")


def test_a_file_without_end_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LARGEST_JSON", 10)
    with pytest.raises(UserError, match="has more than 10 bytes; no file of this program has"):
        read_sealed(path, "test")
