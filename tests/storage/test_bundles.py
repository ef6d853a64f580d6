"""Model files: equal bytes for equal models, numbers only, and clear errors for other files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.storage import bundles
from mtquant_jax.storage.bundles import check_symbols, read_bundle, read_manifest, write_bundle

TREE = {
    "params": {"kernel": jnp.arange(6.0).reshape(2, 3), "low": jnp.array([1.5, -2], jnp.bfloat16)},
    "count": np.float64(3),
    "flags": (jnp.array([True]), jnp.zeros((0, 2))),
}
MANIFEST = {"symbols": ["EURUSD", "GBPUSD"], "sharpe": float("nan")}


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
    assert manifest["arrays"]["params.kernel"] == {"shape": [2, 3], "dtype": "float32"}


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


def rewrite(path: Path, manifest: Any) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", manifest if isinstance(manifest, str) else json.dumps(manifest))


WHOLE = {"format": bundles.FORMAT, "format_version": bundles.FORMAT_VERSION}


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"format": "other"}, "{path} is not a mtquant-jax model: its manifest.json belongs to another program"),
        ([1], "{path} is not a mtquant-jax model: its manifest.json belongs to another program"),
        (WHOLE | {"format_version": 9}, "{path} has format version 9; this program reads version 1"),
        (WHOLE, "{path} is not a complete mtquant-jax model: 'arrays'"),
        ("{", "{path} is not a complete mtquant-jax model: Expecting property name enclosed in double quotes"),
    ],
)
def test_foreign_manifests_are_refused(path: Path, manifest: Any, message: str) -> None:
    rewrite(path, manifest)
    with pytest.raises(UserError) as error:
        read_bundle(path, TREE)
    assert str(error.value).startswith(message.format(path=path))


def test_files_that_are_not_models(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.zip: no such model file"):
        read_manifest(tmp_path / "absent.zip")
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(UserError, match=r"text\.zip is not a \.zip file, or is damaged"):
        read_manifest(tmp_path / "text.zip")
    with pytest.raises(UserError, match=r"cannot be read: Is a directory"):
        read_manifest(tmp_path)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "")
    with pytest.raises(UserError, match=r"other\.zip is not a mtquant-jax model: it has no manifest\.json"):
        read_manifest(tmp_path / "other.zip")


def test_pickled_objects_are_never_loaded(path: Path) -> None:
    arrays = {"arrays": {"a": {"shape": [1], "dtype": "object"}}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(WHOLE | arrays))
        with archive.open("arrays/a.npy", "w") as entry:
            np.lib.format.write_array(entry, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(UserError, match="is not a complete mtquant-jax model: Object arrays cannot be loaded"):
        read_bundle(path, {"a": jnp.zeros(1)})


def test_models_of_other_symbols_are_refused() -> None:
    path = Path("models/specialists/forex_specialist.zip")
    check_symbols(path, MANIFEST, ("EURUSD", "GBPUSD"))
    with pytest.raises(UserError) as error:
        check_symbols(path, MANIFEST, ("EURUSD", "USDJPY"))
    assert str(error.value) == (
        "models/specialists/forex_specialist.zip was trained on EURUSD, GBPUSD; "
        "this configuration asks for EURUSD, USDJPY"
    )
