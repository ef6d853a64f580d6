"""What `mtquant-jax evaluate` refuses, and the message for each."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from mtquant_jax.storage.paths import RunPaths
from tests.evaluation.test_metrics import SOURCE, evaluate, hashes
from tests.forms import rewrite
from tests.market.bars.test_timeframes import times, write


@pytest.fixture
def copy(synthetic_run, tmp_path) -> Path:
    """The small files of the quick run, to be changed; its models stay behind."""
    run_dir = tmp_path / "runs" / "mine"
    shutil.copytree(synthetic_run / "logs", run_dir / "logs", ignore=shutil.ignore_patterns("tensorboard"))
    return run_dir


def refusal(run_dir: Path, *flags: str) -> str:
    """The one line that refuses; nothing is printed and nothing written."""
    parent = run_dir.parent
    before = hashes(parent) if parent.is_dir() else {}
    code, out, err = evaluate(run_dir, *flags)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert (hashes(parent) if parent.is_dir() else {}) == before
    assert not (run_dir / "evaluation").exists()
    return err[len("error: ") : -1]


def test_directories_that_hold_no_finished_training_are_refused(copy, tmp_path):
    assert refusal(tmp_path / "absent") == f"--run-dir {tmp_path / 'absent'}: there is no such directory"
    (tmp_path / "empty").mkdir()
    assert "holds no training" in refusal(tmp_path / "empty")
    RunPaths(copy).phase_results(3).unlink()
    command = f"mtquant-jax train --resume --run-dir {copy}"
    assert refusal(copy).endswith(f"the training was not finished; this goes on with it: {command}")


def test_a_training_without_scales_is_refused(copy):
    rewrite(RunPaths(copy).phase_results(1), lambda content: content.pop("scales"))
    assert "phase1_results.json lacks the scales that observations were divided by" in refusal(copy)


@pytest.mark.parametrize("scales", [{"classes": "banana", "portfolio": 1.0}, {"classes": [1.0], "portfolio": None}])
def test_scales_that_are_no_numbers_are_refused(copy, scales):
    rewrite(RunPaths(copy).phase_results(1), lambda content: content.update(scales=scales))
    assert "phase1_results.json has scales that are no numbers" in refusal(copy)


def test_bars_of_another_interval_are_refused(copy):
    rewrite(RunPaths(copy).training_summary, lambda content: content["market"].update(interval_seconds=4 * 3600))
    message = f"{SOURCE}: bars are 60 minutes apart, but mine was trained on bars of 240 minutes"
    assert refusal(copy) == message


def test_a_split_without_bars_is_refused(copy):
    later = {"first": "2030-01-01 00:00", "last": "2030-06-01 00:00", "bars": 10}
    rewrite(RunPaths(copy).training_summary, lambda content: content["market"]["splits"].update(validation=later))
    message = refusal(copy, "--split", "validation")
    assert "of which 0 belong to the validation split of the training (2030-01-01 to 2030-06-01)" in message


def test_bars_that_are_not_there_are_refused(copy, tmp_path):
    absent = tmp_path / "absent"
    assert str(absent) in refusal(copy, "--data-dir", str(absent))
    data = tmp_path / "data"
    data.mkdir()
    write(data / "EURUSD.csv", times("2024-01-01T00:00", "2024-03-01T00:00", 3600))
    message = refusal(copy, "--data-dir", str(data))
    assert "GBPUSD" in message and str(data) in message


def test_models_that_are_not_there_are_refused(copy):
    assert str(copy / "models") in refusal(copy)


def test_too_few_draws_are_refused(copy):
    message = "--draws 10: at least 100 are required for meaningful ends of an interval"
    assert refusal(copy, "--draws", "10") == message


@pytest.mark.parametrize(("module", "name"), [("arch", "arch"), ("plotly.offline", "plotly")])
def test_packages_that_are_missing_are_named(copy, monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    message = refusal(copy)
    assert re.search(rf"needs? the package {name}, which is not installed; pip install .*{name}", message)


def test_a_split_that_does_not_exist_is_a_wrong_flag(copy):
    code, out, err = evaluate(copy, "--split", "sideways")
    assert (code, out) == (2, "") and "--split" in err
