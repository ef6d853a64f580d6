"""What export writes: the same bytes each time, a manifest that fits, and golden vectors that onnxruntime repeats."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from mtquant_jax.cli import main
from mtquant_jax.deploy import export
from mtquant_jax.deploy.export import GOLDEN_BARS, MEANINGS, largest_difference, trace_run
from mtquant_jax.storage.files import unsealed
from mtquant_jax.storage.paths import RunPaths

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"


@pytest.fixture(scope="module")
def exported(synthetic_run, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("export") / "decision.zip"
    assert main(["export", "--run-dir", str(synthetic_run), "--output", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def files(exported) -> dict[str, bytes]:
    with zipfile.ZipFile(exported) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def manifest(files) -> dict:
    return unsealed(json.loads(files["manifest.json"]), "manifest.json")


def test_the_manifest_describes_all_that_is_there(files, manifest):
    assert manifest["files"] == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != "manifest.json"
    }
    session = onnxruntime.InferenceSession(files["decision.onnx"])
    for described, found in ((manifest["inputs"], session.get_inputs()), (manifest["outputs"], session.get_outputs())):
        assert [(one["name"], one["shape"]) for one in described] == [(one.name, one.shape) for one in found]
        assert all(one["meaning"] for one in described)
    plain = {one["name"].removeprefix("market.") for one in manifest["inputs"] + manifest["outputs"]}
    assert set(MEANINGS) == plain
    size = sum(math.prod(part["shape"]) for part in manifest["state"])
    assert [size] == [one["shape"][0] for one in manifest["inputs"] if one["name"] == "state"]


def test_the_manifest_names_what_stands_where(manifest):
    shapes = {one["name"]: one["shape"] for one in manifest["inputs"] + manifest["outputs"]}
    assert len(manifest["slots"]) == shapes["market.close"][0] == shapes["permitted"][0]
    assert [symbol for symbol in manifest["slots"] if symbol] == [
        symbol for symbols in manifest["classes"].values() for symbol in symbols
    ]
    assert len(manifest["features"]) == shapes["market.features"][-1]
    assert max(map(len, manifest["domain"].values())) == shapes["market.domain"][-1]
    assert len(manifest["macro"]) == shapes["market.macro"][0]
    assert len(manifest["risk_rules"]) == shapes["cuts"][0]
    assert shapes["capital"] == [len(manifest["classes"]) + 1]


def test_golden_vectors_are_decisions_that_trade(files, manifest):
    golden = {name[7:-4]: np.load(io.BytesIO(content)) for name, content in files.items() if name.startswith("golden/")}
    assert manifest["golden"]["bars"] == GOLDEN_BARS == len(golden["permitted"])
    assert np.abs(golden["permitted"]).max() > 0.01 and np.abs(golden["lots"]).max() > 0.0
    padding = [index for index, symbol in enumerate(manifest["slots"]) if symbol is None]
    assert padding and not golden["permitted"][:, padding].any()


def test_the_page_runs_it_in_ten_lines(exported, monkeypatch):
    monkeypatch.chdir(exported.parent)
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
    exec(code, found := {})
    assert found["bar"] == GOLDEN_BARS - 1


def test_the_page_names_what_is_given_and_decided(manifest):
    text = PAGE.read_text(encoding="utf-8")
    for one in manifest["inputs"] + manifest["outputs"]:
        assert f"`{one['name']}`" in text, one["name"]


def test_exporting_again_gives_the_same_bytes(synthetic_run, exported, tmp_path):
    again = tmp_path / "again.zip"
    assert main(["export", "--run-dir", str(synthetic_run), "--output", str(again)]) == 0
    assert again.read_bytes() == exported.read_bytes()


def test_a_model_that_decides_otherwise_is_not_written(run, files, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "largest_difference", lambda *_: float("nan"))
    with pytest.raises(ArithmeticError, match="differs from JAX by nan"):
        export.export_onnx(run, tmp_path / "a.zip")
    assert not list(tmp_path.iterdir())


def test_a_changed_number_is_seen(run, files):
    traced = trace_run(run)
    first = traced.judged.first
    rows, state = traced.rows(first, 8), traced.first_state(first)
    wanted = export.follow(traced.graph, rows, state)
    assert largest_difference(files["decision.onnx"], traced.graph, rows, state, wanted) < 1e-5
    wanted["permitted"] = wanted["permitted"] + np.float32(1e-3)
    assert largest_difference(files["decision.onnx"], traced.graph, rows, state, wanted) > 9e-4
    rows["market.macro"] = rows["market.macro"] * np.float32("nan")
    assert largest_difference(files["decision.onnx"], traced.graph, rows, state, wanted) == np.inf


def test_a_run_without_meta_controller_is_refused(synthetic_run, tmp_path, capsys):
    copy = tmp_path / "run"
    shutil.copytree(synthetic_run, copy)
    RunPaths(copy).meta_bundle.unlink()
    assert main(["export", "--run-dir", str(copy), "--output", str(tmp_path / "a.zip")]) == 2
    assert "train phase 2" in capsys.readouterr().err


def test_a_directory_is_no_output(synthetic_run, tmp_path, capsys):
    assert main(["export", "--run-dir", str(synthetic_run), "--output", str(tmp_path)]) == 2
    assert "--output" in capsys.readouterr().err


def test_without_onnxruntime_it_says_that_nothing_was_tried(synthetic_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["export", "--run-dir", str(synthetic_run), "--output", str(tmp_path / "a.zip")]) == 0
    assert "has not been tried" in capsys.readouterr().out
