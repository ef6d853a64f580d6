"""What a run directory holds, what stands in a training's way, and that only one training writes to it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

import mtquant_jax as mt
from mtquant_jax.errors import UserError
from mtquant_jax.runs.run_directory import (
    check_free,
    check_not_running,
    check_paths,
    claimed,
    clear,
    delete,
    held,
    named,
    owned,
)
from mtquant_jax.runs.train import run
from mtquant_jax.storage.paths import RunPaths

ROOT = Path(__file__).resolve().parents[2]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


@pytest.fixture
def paths(tmp_path) -> RunPaths:
    return RunPaths(tmp_path / "run")


def test_the_time_stands_for_the_start():
    start = datetime(2026, 1, 2, 3, 4, 5)
    assert named("runs/{time}/a", start) == "runs/20260102_030405/a"
    assert named("runs", start) == "runs"
    with pytest.raises(UserError, match=r"`run_dir` runs/\{date\}: \{date\} has no meaning; \{time\} is the start"):
        named("runs/{date}", start)


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("notes.txt", ""),
        ("bars/EURUSD.csv", ""),
        ("logs/e2e_training/e2e_training_20260102_030405.log", ""),
        ("logs/e2e_training/phase2_results.json", "a training (phase 2)"),
        ("models/checkpoints/phase1/checkpoint_10/forex/identity.json", "a training that was not finished"),
        ("models/specialists/forex_specialist.zip", "models of a training"),
        ("walk_forward.json", "a walk-forward"),
        ("fold_1/seed_0/models/x", "a walk-forward"),
    ],
)
def test_what_a_directory_holds(paths, file, what):
    touch(paths.run_dir / file)
    assert held(paths) == what
    check_free(paths, overwrite=True)
    if what:
        with pytest.raises(UserError, match="or replace all of it with `overwrite`"):
            check_free(paths, overwrite=False)


def test_only_what_a_run_writes_is_cleared(paths):
    kept = [
        "bars/EURUSD.csv", "logs/mine.log", "logs/e2e_training/notes.txt", "models/mine.zip", "evaluation/trials.jsonl",
        "evaluation/mine.csv", "fold_1/mine", "equity.csv", "logs/tensorboard/mine/x",
    ]  # fmt: skip
    gone = [
        "logs/e2e_training/phase1_results.json", "logs/e2e_training/training_summary.json",
        "logs/e2e_training/resolved_config.yaml", "logs/e2e_training/e2e_training_20260102_030405.log",
        "models/specialists/forex_specialist.zip", "models/checkpoints/phase3/checkpoint_5/x", "evaluation/report.html",
        "metrics/training/phase2_metrics.csv", "logs/tensorboard/20260102_030405/x", "logs/e2e_training/tags.json",
    ]  # fmt: skip
    for file in (*kept, *gone):
        touch(paths.run_dir / file)
    clear(paths, (1, 2, 3), all_of_it=True)
    found = {str(path.relative_to(paths.run_dir)) for path in paths.run_dir.rglob("*") if path.is_file()}
    assert found == set(kept)
    touch(paths.run_dir / "walk_forward.json")
    touch(paths.run_dir / "fold_2/seed_0/models/x")
    clear(paths, (1, 2, 3), all_of_it=True)
    assert not (paths.run_dir / "equity.csv").exists() and not (paths.run_dir / "fold_2").exists()
    assert (paths.run_dir / "fold_1/mine").exists()


def test_a_run_is_deleted_with_its_folders_and_nothing_else(paths):
    for file in (
        "logs/e2e_training/run.json",
        "models/checkpoints/phase1/checkpoint_5/x",
        "fold_1/seed_0/models/x",
        "fold_1/models/checkpoints/x",
    ):
        touch(paths.run_dir / file)
    other = paths.run_dir / "mine" / "logs" / "e2e_training" / "run.json"
    touch(other)
    elsewhere = paths.run_dir.parent / "elsewhere"
    touch(elsewhere / "x")
    paths.checkpoints(2).symlink_to(elsewhere)
    assert {path.name for path in owned(paths)} == {"run.json", "phase1", "phase2", "fold_1"}
    with claimed(paths), pytest.raises(UserError, match="another training is running there"):
        delete(paths)
    assert len(owned(paths)) == 4
    assert not delete(paths)
    assert [path.name for path in paths.run_dir.iterdir()] == ["mine"] and other.exists()
    assert (elsewhere / "x").exists()
    other.unlink()
    shutil.rmtree(paths.run_dir / "mine")
    touch(paths.run_record)
    assert delete(paths) and not paths.run_dir.exists()


def test_a_later_phase_clears_itself_and_those_after_it(paths):
    for phase in (1, 2, 3):
        touch(paths.phase_results(phase))
        touch(paths.checkpoint(phase, 5) / "x")
    touch(paths.resolved_config)
    touch(paths.run_dir / "evaluation/metrics.json")
    clear(paths, (2,), all_of_it=False)
    assert [paths.phase_results(phase).exists() for phase in (1, 2, 3)] == [True, False, False]
    assert [paths.checkpoints(phase).exists() for phase in (1, 2, 3)] == [True, False, False]
    assert paths.resolved_config.exists() and not (paths.run_dir / "evaluation").exists()


@pytest.mark.parametrize(
    "file", ["", "logs", "logs/tensorboard", "models/checkpoints/phase2", "metrics/training", "evaluation"]
)
def test_a_file_where_a_folder_is_needed_is_found_first(paths, file):
    touch(paths.run_dir / file)
    with pytest.raises(UserError, match=r"is a file, and a folder is needed there"):
        check_paths(paths)


@pytest.mark.parametrize(
    "folder", ["models/meta_controller/meta_controller.zip", "metrics/training/phase1_metrics.csv"]
)
def test_a_folder_where_a_file_is_needed_is_found_first(paths, folder):
    (paths.run_dir / folder).mkdir(parents=True)
    with pytest.raises(UserError, match=r"is a folder, and a file is needed there"):
        check_paths(paths)


def test_a_path_that_cannot_be_written_is_found_first(paths, monkeypatch):
    check_paths(paths)
    assert not paths.run_dir.exists()  # looking makes nothing
    (paths.run_dir / "models").mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != paths.run_dir / "models")
    with pytest.raises(UserError, match=r"run/models cannot be written: permission denied"):
        check_paths(paths)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != paths.run_dir / "models" or mode != os.R_OK)
    with pytest.raises(UserError, match=r"run/models cannot be read: permission denied"):
        check_paths(paths)


def test_one_training_at_a_time(paths):
    mine = rf"another training is running there \(process {os.getpid()} since "
    with claimed(paths), pytest.raises(UserError, match=mine), claimed(paths):
        pass
    with claimed(paths):
        pass
    assert list(paths.run_dir.iterdir()) == []


def test_a_running_training_is_named_before_anything_is_said_of_what_it_holds(paths):
    check_not_running(paths)
    with claimed(paths), pytest.raises(UserError, match=r"another training is running there \(process "):
        run(dataclasses.replace(mt.load_config(), run_dir=str(paths.run_dir)), "test")
    check_not_running(paths)


def test_the_claim_of_a_process_that_was_killed_is_void(paths):
    code = (
        "import os, sys; from pathlib import Path; from mtquant_jax.storage.paths import RunPaths\n"
        "from mtquant_jax.runs.run_directory import claimed\n"
        "with claimed(RunPaths(Path(sys.argv[1]))): print('claimed', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(paths.run_dir)]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"claimed\n"
        with pytest.raises(UserError, match=f"process {process.pid}"), claimed(paths):
            pass
        process.kill()
        process.wait()
    with claimed(paths):
        pass
