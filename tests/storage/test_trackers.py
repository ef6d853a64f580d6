"""Trackers: they get settings, every row and the results; a missing package is named. Real ones where installed."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from mtquant_jax.cli import main
from mtquant_jax.errors import UserError
from mtquant_jax.storage.trackers import open_tracker

QUICK = ["train", "--quick-test", "--phases", "1", "--quiet"]


class FakeWandB(SimpleNamespace):
    """What of Weights & Biases is used, kept for looking at."""

    def __init__(self):
        super().__init__(started={}, logged=[], summary={}, steps=[], exit_code=None)
        self.Settings = lambda **options: options

    def init(self, **options):
        self.started = options
        return self

    def define_metric(self, name, step_metric):
        self.steps.append((name, step_metric))

    def log(self, row):
        self.logged.append(row)

    def finish(self, exit_code):
        self.exit_code = exit_code


def test_a_training_reports_settings_rows_and_results(monkeypatch, tmp_path, synthetic_run):
    fake = FakeWandB()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert main([*QUICK, "--tracker", "wandb", "--run-dir", str(tmp_path / "mine")]) == 0
    assert fake.started["mode"] == "offline" and fake.started["name"] == "mine"
    assert fake.started["config"]["ppo.gamma"] == 0.98 and fake.started["config"]["specialists.forex.batch_size"] == 125
    rows = [row for row in fake.logged if "phase1/equity/reward" in row]
    assert [row["phase1/equity/timesteps"] for row in rows] == [250, 500, 750, 1000]
    assert ("phase1/forex/*", "phase1/forex/timesteps") in fake.steps
    assert "results/phase1/forex/validation_sharpe" in fake.summary and fake.summary["results/seconds"] > 0.0
    assert fake.exit_code == 0


def test_a_training_that_fails_is_reported_as_such(monkeypatch, tmp_path):
    fake = FakeWandB()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    flags = ["--specialists.forex.learning-rate", "1e30", "--tracker", "wandb", "--run-dir", str(tmp_path)]
    assert main([*QUICK, *flags]) == 2
    assert fake.exit_code == 1 and "results/seconds" not in fake.summary


@pytest.mark.parametrize(("kind", "package"), [("mlflow", "mlflow-skinny"), ("wandb", "wandb")])
def test_a_missing_package_is_named(monkeypatch, tmp_path, capsys, kind, package):
    for name in ("mlflow", "mlflow.tracking", "mlflow.entities", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main([*QUICK, "--tracker", kind, "--run-dir", str(tmp_path)]) == 2
    assert f"--tracker {kind} needs the package {package}, which is not installed" in capsys.readouterr().err


def test_a_tracker_that_cannot_be_opened_is_one_sentence(monkeypatch, tmp_path):
    fake = FakeWandB()
    fake.init = lambda **options: 1 / 0
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with pytest.raises(UserError, match=r"`tracker` wandb cannot be opened: division by zero"):
        open_tracker("wandb", tmp_path, "1", {})


def test_mlflow_keeps_a_run_in_its_local_store(monkeypatch, tmp_path):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main([*QUICK, "--tracker", "mlflow", "--run-dir", str(tmp_path / "mine")]) == 0
    client = tracking.MlflowClient(tracking_uri=f"file:{tmp_path / 'mlruns'}")
    (run,) = client.search_runs([client.get_experiment_by_name("mtquant-jax").experiment_id])
    assert run.info.run_name == "mine" and run.info.status == "FINISHED"
    assert run.data.params["ppo.gamma"] == "0.98"
    steps = [entry.step for entry in client.get_metric_history(run.info.run_id, "phase1/forex/reward")]
    assert steps == [250, 500, 750, 1000]
    assert "results/phase1/forex/validation_sharpe" in run.data.metrics


def test_wandb_keeps_a_run_offline(monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main([*QUICK, "--tracker", "wandb", "--run-dir", str(tmp_path)]) == 0
    assert [*tmp_path.glob("wandb/offline-run-*/run-*.wandb")]
