"""`mtquant-jax info`: what it says of trainings, walk-forwards, checkpoints and models, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mtquant_jax.cli import main
from mtquant_jax.runs.inspection import inspect
from mtquant_jax.runs.run_directory import claimed
from mtquant_jax.runs.run_record import STOPPED, read_record
from mtquant_jax.storage.files import read_sealed, write_json, write_sealed
from mtquant_jax.storage.paths import RunPaths, saved_timesteps

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def info(capsys, monkeypatch):
    """``info(path, *flags) -> output`` of a command that must succeed, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(path: Path, *flags: str) -> str:
        capsys.readouterr()
        assert main(["info", str(path), *flags]) == 0
        shown = capsys.readouterr()
        assert shown.err == ""
        return shown.out

    return run


@pytest.fixture
def stopped(synthetic_run, tmp_path) -> RunPaths:
    """A copy of the run as if it had been stopped in phase 2."""
    shutil.copytree(synthetic_run, tmp_path / "my run")
    paths = RunPaths(tmp_path / "my run")
    for file in (paths.phase_results(2), paths.phase_results(3), paths.training_summary):
        file.unlink()
    shutil.rmtree(paths.checkpoints(3))
    set_state(paths, STOPPED)
    return paths


def set_state(paths: RunPaths, state: str) -> None:
    record = read_record(paths)
    assert record is not None
    dataclasses.replace(record, state=state, sessions=2).write(paths)


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_finished_training(synthetic_run, info):
    shown = info(synthetic_run)
    record = read_record(RunPaths(synthetic_run))
    assert record is not None
    assert shown.startswith(f"training {record.run_id} in {synthetic_run}: finished\n")
    summary = json.loads(RunPaths(synthetic_run).training_summary.read_text())
    best = summary["results"]["phase3"]["portfolio"]
    handed_on = f"after {best['best_timesteps']:,}" if best["best_timesteps"] else "as it began"
    for text in (
        summary["market"]["description"],
        record.identity.market,
        "phases 1, 2, 3, seed 0, quick test",
        record.device,
        f"jaxlib {record.versions['jaxlib']}",
        "phase 1 forex: 1,000/1,000 timesteps; best after",
        "phase 3 portfolio: 500/500 timesteps; "
        f"best {handed_on}: validation Sharpe {best['validation']['sharpe']:+.2f} ±",
        "none; it has not been evaluated",
        f"mtquant-jax evaluate --run-dir {synthetic_run}",
    ):
        assert text in words(shown)
    assert "--resume" not in shown
    assert [line for line in shown.splitlines()[1:] if len(line) > 80 and str(synthetic_run) not in line] == []


def test_json_is_the_same(synthetic_run, info):
    content = json.loads(info(synthetic_run, "--json"))
    assert content == json.loads(json.dumps(inspect(synthetic_run).to_json()))
    assert (content["kind"], content["state"], content["seed"]) == ("training", "finished", 0)
    progress = {(found["phase"], found["agent"]): found for found in content["progress"]}
    assert list(progress) == [
        *((1, name) for name in ("forex", "commodities", "equity")),
        *((2, "meta_controller"), (3, "portfolio")),
    ]
    assert "resume" not in content and "verdict" not in content


def test_a_stopped_training_shows_how_far_it_is_and_how_it_goes_on(stopped, info, monkeypatch):
    shown = info(stopped.run_dir)
    assert "my run: stopped\n" in shown and "in 2 sessions" in shown
    assert "phase 2 meta_controller: 500/500 timesteps; best " in words(shown)
    assert "phase 3 portfolio: no checkpoint yet" in words(shown)
    assert f"resume          mtquant-jax train --resume --run-dir '{stopped.run_dir}'\n" in shown
    assert "mtquant-jax evaluate" not in shown
    monkeypatch.chdir(stopped.run_dir.parent)
    assert "mtquant-jax train --resume --run-dir 'my run'\n" in info(Path("my run"))


def test_a_damaged_checkpoint_is_passed_over_as_resuming_does(stopped, info):
    older, newer = saved_timesteps(stopped, 1)[-2:]
    for phase in (1, 2):
        stopped.phase_results(phase).unlink(missing_ok=True)
    newest = stopped.checkpoint(1, newer) / "forex" / "checkpoint.json"
    newest.write_text(newest.read_text().replace("forex", "forxe", 1))
    shown = words(info(stopped.run_dir))
    assert f"phase 1 forex: {older:,}/1,000 timesteps" in shown
    assert f"warning: checkpoint {newest.parent}: {newest} was changed after it was written, or is damaged" in shown
    assert f"commodities: {newer:,}/1,000 timesteps" in shown


def test_a_run_that_calls_itself_running_is_running_or_killed(stopped, info):
    set_state(stopped, "running")
    assert "its process is gone" in info(stopped.run_dir)
    assert json.loads(info(stopped.run_dir, "--json"))["state"] == "killed"
    with claimed(stopped):
        assert "my run: running\n" in info(stopped.run_dir)


def test_an_evaluation_gives_its_verdict(stopped, info):
    bars = {"split": "test", "first": "2018-06-13 15:00", "last": "2018-06-26 00:00"}
    write_sealed(stopped.run_dir / "evaluation" / "metrics.json", {"verdict": "Better than flat.", "bars": bars})
    shown = words(info(stopped.run_dir))
    assert "verdict test split, 2018-06-13 15:00 to 2018-06-26 00:00: Better than flat." in shown


def test_a_walk_forward(synthetic_run, tmp_path, info):
    paths = RunPaths(tmp_path / "walk")
    record = read_record(RunPaths(synthetic_run))
    assert record is not None
    flags = {"folds": 2, "num_seeds": 1, "scheme": "anchored", "first_train_fraction": 0.5}
    dataclasses.replace(record, state=STOPPED, walk_forward=flags).write(paths)
    bundle = RunPaths(paths.run_dir / "fold_1" / "seed_0").meta_bundle
    bundle.parent.mkdir(parents=True)
    shutil.copy(RunPaths(synthetic_run).meta_bundle, bundle)
    checkpoint = RunPaths(paths.run_dir / "fold_2").checkpoint(2, 500) / "seed_0" / "meta_controller"
    shutil.copytree(RunPaths(synthetic_run).checkpoint(2, 500), checkpoint)
    shown = words(info(paths.run_dir))
    assert shown.startswith("walk-forward ") and "folds done 1 of 2" in shown
    assert "fold 2 phase 2 meta_controller, seed 0: 500/500 timesteps" in shown
    assert f"mtquant-jax walk-forward --resume --run-dir {paths.run_dir} --folds 2 --num-seeds 1" in shown
    assert "has not been evaluated" not in shown


def test_a_checkpoint(synthetic_run, info, capsys, tmp_path):
    path = RunPaths(synthetic_run).checkpoint(1, 1000) / "forex"
    shown = words(info(path))
    assert shown.startswith(f"checkpoint of forex in phase 1: {path} timesteps 1,000/1,000 best after ")
    assert "every byte as it was written" in shown and "0." in shown
    content = json.loads(info(path, "--json"))
    files = [file for file in path.rglob("*") if file.is_file() and file.name != "checkpoint.json"]
    assert (content["files"], content["size_in_bytes"]) == (len(files), sum(file.stat().st_size for file in files))
    shutil.copytree(path, tmp_path / "copy")
    victim = next(file for file in (tmp_path / "copy" / "policy").rglob("*") if file.is_file() and file.stat().st_size)
    victim.write_bytes(bytes([victim.read_bytes()[0] ^ 1]) + victim.read_bytes()[1:])
    assert main(["info", str(tmp_path / "copy")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: checkpoint ") and "is damaged" in error and error.count("\n") == 1
    assert main(["info", str(path.parent)]) == 2
    assert "is a checkpoint" in capsys.readouterr().err


def test_models(synthetic_run, info):
    paths = RunPaths(synthetic_run)
    shown = words(info(paths.specialist_bundle("forex")))
    assert shown.startswith("model of the specialist forex: ") and "symbols EURUSD GBPUSD USDJPY bars 1 hour" in shown
    assert "training phase 3, " in shown and "validation of the portfolio: Sharpe" in shown
    assert "a decision every 8 bars" in words(info(paths.meta_bundle))
    content = json.loads(info(paths.meta_bundle, "--json"))
    assert content["agent"] == "meta_controller" and content["num_parameters"] > 1000
    assert content["identity"] == json.loads(paths.run_record.read_text())["identity"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent", None, "no such file or directory"),
        ("notes.txt", b"hello", "is not a .zip file, or is damaged"),
        ("empty", "folder", "holds no training, walk-forward, checkpoint or model"),
    ],
)
def test_what_is_none_of_them_is_one_line(tmp_path, capsys, name, content, message):
    path = tmp_path / name
    if content == "folder":
        path.mkdir()
    elif content:
        path.write_bytes(content)
    assert main(["info", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}") and message in error and error.count("\n") == 1


def test_damaged_runs_and_models_are_one_line(stopped, capsys, tmp_path):
    model = tmp_path / "cut.zip"
    whole = stopped.specialist_bundle("forex").read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    record = read_sealed(stopped.run_record, "")
    write_json(stopped.run_record, {**record, "state": "finished", "sha256": "0"})
    for path, message in ((model, "damaged"), (stopped.run_dir, "its checksum is another")):
        assert main(["info", str(path)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1
    stopped.run_record.unlink()
    assert main(["info", str(stopped.run_dir)]) == 2
    assert "of an earlier version, which kept no record" in capsys.readouterr().err


def test_it_answers_without_jax(synthetic_run):
    paths = RunPaths(synthetic_run)
    for path in (paths.run_dir, paths.meta_bundle, paths.checkpoint(1, 1000) / "forex"):
        code = (
            f"import sys; from mtquant_jax.cli import main; code = main(['info', {str(path)!r}]); "
            "sys.exit(code or any(name in sys.modules for name in ('jax', 'flax', 'orbax', 'pandas', 'matplotlib')))"
        )
        result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
