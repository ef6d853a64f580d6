"""The command `sweep`: what it prints and leaves, that its best settings train as they did, and what it refuses."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml

from mtquant_jax.cli import main
from mtquant_jax.runs.sweep.study import Study

FLAGS = ["--quick-test", "--classes", "forex", "--seeds", "2"]
GRID = ["--grid", "learning_rate=1e-3,1e-2", "clip_range=0.1,0.3"]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A grid, and the directory that it was run in."""
    folder = tmp_path_factory.mktemp("swept")
    assert main(["sweep", *GRID, *FLAGS, "--run-dir", str(folder)]) == 0
    return folder


def test_it_leaves_trials_curves_a_report_and_the_best_settings(swept):
    folder = swept / "sweeps" / "grid"
    assert {path.name for path in folder.iterdir()} == {
        "trials.parquet",
        "curves.parquet",
        "report.html",
        "best.yaml",
        "study.db",
    }
    trials = pd.read_parquet(folder / "trials.parquet")
    assert len(trials) == 4 and set(trials["state"]) == {"complete"}
    assert len(pd.read_parquet(folder / "curves.parquet")) == 4 * 2 * 2
    best = yaml.safe_load((folder / "best.yaml").read_text())
    first = trials.sort_values("value", ascending=False).iloc[0]
    assert best["ppo"]["clip_range"] == first["clip_range"] and best["trials"] == 4
    assert {settings["learning_rate"] for settings in best["specialists"].values()} == {first["learning_rate"]}


def test_the_best_settings_train_as_they_did_in_the_sweep(swept, tmp_path):
    folder = swept / "sweeps" / "grid"
    trials = pd.read_parquet(folder / "trials.parquet")
    first = trials.sort_values("value", ascending=False).iloc[0]
    best = ["--config", str(folder / "best.yaml"), "--phases", "1", "--run-dir", str(tmp_path / "run")]
    assert main(["train", *best, "--quiet"]) == 0
    results = json.loads((tmp_path / "run/logs/e2e_training/phase1_results.json").read_text())
    validation = results["specialists"]["forex"]["validation"]
    assert validation["sharpe"] == first["score_seed_0"]


def test_a_finished_sweep_is_not_begun_again_and_goes_on_with_nothing(swept, capsys):
    assert main(["sweep", *GRID, *FLAGS, "--run-dir", str(swept)]) == 2
    assert "holds a sweep; go on with it with --resume, or give another --name" in capsys.readouterr().err
    assert main(["sweep", *GRID, *FLAGS, "--run-dir", str(swept), "--resume"]) == 0
    text = capsys.readouterr().out
    assert "4 trials are finished already" in text and "best: trial" in text
    assert main(["sweep", *GRID, *FLAGS, "--run-dir", str(swept), "--resume", "--seeds", "3"]) == 2
    assert "is of another seeds ([0, 1], and here [0, 1, 2])" in capsys.readouterr().err


def test_a_file_has_options_and_flags_win_over_them(tmp_path, capsys, monkeypatch):
    space = tmp_path / "mine.yaml"
    space.write_text(
        "space:\n  learning_rate: {low: 1e-4, high: 1e-2, log: true}\nmethod: random\nnum_trials: 2\nseeds: 1\n"
        "classes: [equity]\nobjective: growth\n"
    )
    monkeypatch.setattr(Study, "ask", lambda study, count, total: [])  # nothing is trained
    flags = ["--quick-test", "--run-dir", str(tmp_path)]
    assert main(["sweep", str(space), *flags]) == 0
    text = capsys.readouterr().out
    assert "2 trials of phase 1 of equity, 1 seed each; by growth" in text and "no trial is complete" in text
    assert main(["sweep", str(space), *flags, "--name", "other", "--num-trials", "7", "--seeds", "2"]) == 0
    assert "7 trials of phase 1 of equity, 2 seeds each; by growth" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([], "give a YAML file with a search space, or --grid with settings and their values"),
        (["--grid", "ppo.gama=1"], "unknown key ppo.gama; did you mean ppo.gamma?"),
        (["--grid", "ppo.gamma=0.9", "--phases", "2"], "--phases 2: a trial begins with phase 1"),
        (["--grid", "ppo.gamma=0.9", "--classes", "bonds"], "--classes bonds: unknown class; choose from forex"),
        (["--grid", "ppo.gamma=0.9", "--classes", "forex", "--phases", "1,2"], "only phase 1 can be trained for some"),
        (["--grid", "ppo.gamma=0.9", "--seeds", "0"], "--seeds 0: at least 1"),
        (["--grid", "ppo.gamma=0.9", "--num-trials", "0"], "--num-trials 0: at least 1"),
        (["--grid", "ppo.gamma=0.9", "--batch", "0"], "--batch 0: at least 1"),
        (["--grid", "ppo.gamma=0.9", "--name", "a/b"], "--name a/b: it names a folder"),
        (["--grid", "ppo.gamma=0.9", "--resume"], "holds no sweep that could go on"),
        (["--grid", "ppo.gamma=0.9", "--executor", "slurm"], "--executor slurm: processes:N, ray or ray:N"),
        (["nowhere.yaml"], "nowhere.yaml: no such file; shipped search spaces are learning_rate, pathwise, ppo"),
        (["--grid", "pathwise.window=16,32"], "pathwise.window: nothing is changed by it, for what is"),
        (["learning_rate", "--algorithm", "pathwise"], "learning_rate: nothing is changed by it"),
        (["{file}"], "unknown key spaces; valid ones are space, method"),
    ],
)
def test_what_is_refused_before_anything_is_trained(tmp_path, capsys, flags, says):
    (tmp_path / "x.yaml").write_text("spaces: {}\n")
    flags = [flag.replace("{file}", str(tmp_path / "x.yaml")) for flag in flags]
    assert main(["sweep", *flags, "--run-dir", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.parametrize("name", ["learning_rate", "ppo", "reward", "pathwise"])
def test_shipped_spaces_are_found_by_their_names_anywhere(name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Study, "ask", lambda *_: [])  # nothing is trained
    algorithm = "pathwise" if name == "pathwise" else "ppo"
    assert main(["sweep", name, "--quick-test", "--algorithm", algorithm]) == 0
    assert (tmp_path / "sweeps" / name / "trials.parquet").exists()
    assert f"mtquant-jax sweep {name} on" in capsys.readouterr().out
