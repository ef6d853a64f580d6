"""Model files: equal bytes for equal models, numbers only, and clear errors for other files."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.storage import bundles
from mtquant_jax.storage.bundles import arrays_checksum, check_symbols, read_bundle, read_manifest, write_bundle
from mtquant_jax.storage.files import sealed, unsealed

TREE = {
    "params": {"kernel": jnp.arange(6.0).reshape(2, 3), "low": jnp.array([1.5, -2], jnp.bfloat16)},
    "count": np.float64(3),
    "flags": (jnp.array([True]), jnp.zeros((0, 2))),
}
MANIFEST: dict[str, Any] = {"symbols": ["EURUSD", "GBPUSD"], "sharpe": float("nan")}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "forex_specialist.zip"
    write_bundle(path, MANIFEST, TREE)
    return path


def test_a_model_is_restored_exactly(path: Path) -> None:
    loaded = read_bundle(path, jax.eval_shape(lambda: TREE) | {"count": TREE["count"]})
    assert jax.tree.structure(loaded) == jax.tree.structure(TREE)
    for actual, expected in zip(jax.tree.leaves(loaded), jax.tree.leaves(TREE), strict=True):
        assert actual.dtype == expected.dtype and actual.shape == expected.shape
        np.testing.assert_array_equal(actual, expected)
    manifest = read_manifest(path)
    assert (manifest["symbols"], manifest["sharpe"]) == (["EURUSD", "GBPUSD"], None)
    described = manifest["arrays"]["params.kernel"]
    assert (described["shape"], described["dtype"], len(described["sha256"])) == ([2, 3], "float32", 64)


def test_the_file_is_a_manifest_and_plain_arrays(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[0] == "manifest.json"
        assert all(name.endswith(".npy") for name in archive.namelist()[1:])
        with archive.open("arrays/params.kernel.npy") as entry:
            np.testing.assert_array_equal(np.load(entry, allow_pickle=False), TREE["params"]["kernel"])
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_same_model_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "again.zip", MANIFEST, TREE)
    assert (tmp_path / "again.zip").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": np.zeros(2)}, "{path} does not fit this configuration: count is float64[], expected float64[2]"),
        ({"extra": jnp.zeros(1)}, "{path} does not fit this configuration: extra is missing"),
    ],
)
def test_other_arrays_are_refused(path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        read_bundle(path, {**TREE, **change})
    assert str(error.value) == message.format(path=path)


def entries_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {entry.filename: archive.read(entry) for entry in archive.infolist()}


def rewrite(path: Path, entries: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def refusal(path: Path) -> str:
    """The message of the refusal, without the path; a .npy is never handed to NumPy's own reader."""
    with pytest.raises(UserError) as error:
        read_bundle(path, TREE)
    return str(error.value).removeprefix(str(path))


WHOLE = {"format": bundles.FORMAT, "format_version": bundles.FORMAT_VERSION}


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"format": "other"}, " is not a mtquant-jax model: its manifest.json belongs to another program"),
        ([1], ", manifest.json is not a JSON object"),
        (WHOLE | {"format_version": 1}, " has format version 1; this program reads version 2: train again"),
        (WHOLE, ", manifest.json, has no checksum"),
        (sealed(WHOLE), ", manifest.json has no arrays"),
        (sealed(WHOLE | {"arrays": [1]}), ", manifest.json: arrays is [1], which is not an object"),
        ("{", ", manifest.json line 1 is not JSON"),
        ("[" * 100_000, ", manifest.json is not JSON (maximum recursion depth exceeded"),
        (" " * (5 << 20), ": manifest.json has 5,242,880 bytes, and 4,194,304 are the most"),
    ],
)
def test_foreign_manifests_are_refused(path: Path, manifest: Any, message: str) -> None:
    text = manifest if isinstance(manifest, str) else json.dumps(manifest)
    rewrite(path, entries_of(path) | {"manifest.json": text.encode()})
    assert refusal(path).startswith(message)


def test_files_that_are_not_models(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.zip: no such model file"):
        read_manifest(tmp_path / "absent.zip")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(UserError, match=r"text\.zip is not a \.zip file, or is damaged"):
        read_manifest(tmp_path / "text.zip")
    with pytest.raises(UserError, match=r"cannot be read: it is no file"):
        read_manifest(tmp_path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(UserError, match=r"other\.zip is not a mtquant-jax model: it has no manifest\.json"):
        read_manifest(tmp_path / "other.zip")


@pytest.mark.parametrize("name", ["../../evil.npy", "/tmp/evil.npy", "arrays/more.npy", "code.pkl"])
def test_entries_that_are_no_part_of_it_are_refused(path: Path, name: str) -> None:
    rewrite(path, entries_of(path) | {name: b"x"})
    assert refusal(path) == f" is not a mtquant-jax model, or is damaged: {name!r} is no part of it"


def test_missing_and_repeated_entries_are_refused(path: Path) -> None:
    original = entries_of(path)
    rewrite(path, {name: content for name, content in original.items() if name != "arrays/count.npy"})
    assert refusal(path) == " is damaged: it has no arrays/count.npy"
    rewrite(path, original)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("arrays/count.npy", b"", zipfile.ZIP_DEFLATED)
    assert refusal(path).endswith("it has 'arrays/count.npy' twice")
    rewrite(path, {f"a{number}": b"" for number in range(4097)})
    assert refusal(path) == " has 4,097 entries; no model has more than 4,096"


def test_other_compression_and_encryption_are_refused(path: Path) -> None:
    original = entries_of(path)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        rewrite(path, original, method)
        assert "'manifest.json' is" in refusal(path)
    rewrite(path, original)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "'manifest.json' is encrypted or odd" in refusal(path)


def test_bombs_are_refused_before_they_are_unpacked(path: Path) -> None:
    original = entries_of(path)
    rewrite(path, original | {"arrays/count.npy": original["arrays/count.npy"] + bytes(40 << 20)})
    tracemalloc.start()
    message = refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert message == " is damaged: count unpacks to 41,943,176 bytes, and float64[] has 8"
    zeros = {"zeros": np.zeros((1 << 22, 2), np.float32)}  # a model that is one, of more zeros than any training leaves
    write_bundle(path, MANIFEST, zeros)
    with pytest.raises(UserError, match="too many for a model of its size: it is a zip bomb"):
        read_bundle(path, zeros)


def test_arrays_that_are_not_what_the_manifest_says_are_refused(path: Path) -> None:
    original, kernel = entries_of(path), "arrays/params.kernel.npy"
    rewrite(path, original | {kernel: npy(-np.asarray(TREE["params"]["kernel"]))})
    assert refusal(path) == " was changed after it was written, or is damaged: params.kernel has another checksum"
    giant = npy(np.zeros((2, 3), np.float32)).replace(b"(2, 3)", b"(2 << 40, 3)"[:6])
    for content in (npy(np.zeros((3, 2), np.float32)), npy(np.zeros(6, np.float32)), giant):
        seal_again(path, original, {kernel: content})
        assert refusal(path) == " is damaged: params.kernel is not stored as float32[2, 3]"
    seal_again(path, original, {kernel: npy(np.full((2, 3), np.nan, np.float32))})
    assert refusal(path).startswith(": params.kernel has numbers that are not finite")
    seal_again(path, original, {kernel: npy(np.zeros((2, 3), np.int32))})
    assert refusal(path) == " is damaged: params.kernel is not stored as float32[2, 3]"


def test_pickled_objects_are_never_loaded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpickled(*_: Any, **__: Any) -> None:
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, unpickled)
    objects = npy(np.array([{}], dtype=object))
    seal_again(path, entries_of(path), {"arrays/count.npy": objects})
    assert refusal(path) == " is damaged: count is not stored as float64[]"


@pytest.mark.parametrize("seed", range(3))
def test_no_changed_byte_gives_another_model(path: Path, seed: int) -> None:
    content, random = path.read_bytes(), np.random.default_rng(seed)
    for place in random.integers(len(content), size=60):
        changed = bytearray(content)
        changed[place] ^= 1 << int(random.integers(8))
        path.write_bytes(changed)
        with contextlib.suppress(UserError):
            loaded = read_bundle(path, TREE)
            assert arrays_checksum(loaded) == arrays_checksum(TREE)
            assert read_manifest(path)["symbols"] == MANIFEST["symbols"]


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def seal_again(path: Path, entries: dict[str, bytes], changes: dict[str, bytes]) -> None:
    """Write a model with other arrays whose checksums are right, as only someone who means it would."""
    manifest = unsealed(json.loads(entries["manifest.json"]), "test")
    for name, content in changes.items():
        described = manifest["arrays"][name.removeprefix("arrays/").removesuffix(".npy")]
        described["sha256"] = hashlib.sha256(content).hexdigest()
    rewrite(path, entries | changes | {"manifest.json": json.dumps(sealed(manifest)).encode()})


def test_models_of_other_symbols_are_refused() -> None:
    path = Path("models/specialists/forex_specialist.zip")
    check_symbols(path, MANIFEST["symbols"], ("EURUSD", "GBPUSD"))
    with pytest.raises(UserError) as error:
        check_symbols(path, MANIFEST["symbols"], ("EURUSD", "USDJPY"))
    assert str(error.value) == (
        "models/specialists/forex_specialist.zip was trained on EURUSD, GBPUSD; "
        "this configuration asks for EURUSD, USDJPY"
    )
