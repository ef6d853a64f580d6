"""Files of different trainings are told apart, and those of earlier versions are still read."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.fingerprint import of_history, of_synthetic
from mtquant_jax.market.universe import universe_of
from mtquant_jax.runs.identity import settings_hash
from mtquant_jax.runs.run_record import read_record
from mtquant_jax.runs.trained_run import open_run
from mtquant_jax.runs.versions import CodeVersion, code_version, code_version_of
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.layers import override_config
from mtquant_jax.settings.yaml_files import as_mapping, write_settings
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.types import AssetClass, Bars
from tests.conftest import make_contracts
from tests.forms import rewrite


def bars(close: float = 1.0) -> Bars:
    prices = np.full((1, 4, 2), close)
    fields = dict.fromkeys(("open", "high", "low", "close", "spread", "volume"), prices)
    times = 3600 * np.arange(4, dtype=np.int64)
    return Bars(symbols=("A", "B"), timestamps=times, tradable=np.ones((1, 4, 2), bool), **fields)


def test_a_fingerprint_follows_bars_contracts_and_classes_and_not_the_folder():
    universe, contracts, config = universe_of([AssetClass("x", ("A", "B"))]), make_contracts(2), TrainConfig()
    one = of_history(bars(), contracts, universe, config)
    assert one == of_history(bars(), contracts, universe, dataclasses.replace(config, data_dir="elsewhere", seed=3))
    other_class = universe_of([AssetClass("y", ("A", "B"))])
    others = [
        of_history(bars(1.0 + 1e-9), contracts, universe, config),
        of_history(bars(), make_contracts(2, commission=1.0), universe, config),
        of_history(bars(), contracts, other_class, config),
        of_synthetic(contracts, universe, config),
        of_synthetic(contracts, universe, dataclasses.replace(config, seed=1)),
    ]
    assert len({one, *others}) == 6


def test_the_hash_of_settings_counts_what_is_learnt_by():
    def hashed(**changes):
        return settings_hash(as_mapping(override_config(None, changes)))

    assert hashed() == hashed(run_dir="a", data_dir="b", phases="1") == hashed(**{"market.start": "2020-01-01"})
    others = [
        hashed(seed=1),
        hashed(**{"ppo.gamma": 0.9}),
        hashed(phase1_timesteps=5),
        hashed(**{"market.gap_bars": 300}),
    ]
    assert len({hashed(), *others}) == 5


@pytest.fixture
def copy(synthetic_run, tmp_path) -> RunPaths:
    """The small files of the quick run, to be changed."""
    shutil.copytree(synthetic_run / "logs/e2e_training", tmp_path / "copy/logs/e2e_training")
    return RunPaths(tmp_path / "copy")


def refusal(paths: RunPaths) -> str:
    with pytest.raises(UserError) as error:
        open_run(paths.run_dir)
    return str(error.value)


def test_results_settings_and_summaries_of_two_trainings_are_refused(copy):
    open_run(copy.run_dir)
    original = {path: path.read_text() for path in copy.log_dir.glob("*.*")}

    def back() -> None:
        for path, text in original.items():
            path.write_text(text)

    rewrite(copy.phase_results(3), lambda content: content["identity"].update(market="another"))
    assert "phase3_results.json" in refusal(copy) and "on market" in refusal(copy) and "another" in refusal(copy)
    back()
    rewrite(copy.training_summary, lambda content: content.update(run_id="another"))
    assert "training_summary.json is of training another, but" in refusal(copy)
    back()
    rewrite(copy.phase_results(1), lambda content: content.update(run_id="another"))
    assert "phase2_results.json continues phase 1 of training" in refusal(copy)
    back()
    settings = copy.resolved_config.read_text()
    copy.resolved_config.write_text(settings.replace("trade_decay: 0.1", "trade_decay: 0.2"))
    assert "resolved_config.yaml was changed after it was written" in refusal(copy)
    copy.resolved_config.write_text(settings.replace("keep: 3", "keep: 4"))  # no hash of settings counts it
    assert "resolved_config.yaml was changed after it was written" in refusal(copy)
    copy.resolved_config.write_text(settings.rpartition("#")[0])
    assert "resolved_config.yaml has no checksum" in refusal(copy)
    simulation = dataclasses.replace(TrainConfig().simulation, trade_decay=0.2)
    write_settings(copy.resolved_config, dataclasses.replace(TrainConfig(), simulation=simulation))
    assert "resolved_config.yaml holds settings" in refusal(copy)


def test_other_splits_of_a_phase_count_as_in_sample(copy):
    later = ["2030-01-01 00:00", "2030-02-01 00:00"]
    rewrite(copy.phase_results(1), lambda content: content["identity"]["splits"].update(train=later))
    run = open_run(copy.run_dir)
    assert len(run.learnt_times("train")) == 2 and len(run.learnt_times("validation")) == 1
    assert run.learnt_times("train")[-1] == (1893456000, 1896134400)


def test_results_that_were_changed_by_hand_are_refused(copy):
    path = copy.phase_results(1)
    path.write_text(path.read_text().replace('"phase": 1', '"phase": 2'))
    assert f"{path} was changed after it was written, or is damaged: its checksum is another" in refusal(copy)
    content = json.loads(path.read_text())
    del content["sha256"]
    path.write_text(json.dumps(content))
    assert f"{path} has no checksum (sha256); it was written by an earlier version, or is damaged" in refusal(copy)


def test_a_checkout_says_its_commit_and_whether_it_was_changed(tmp_path, monkeypatch):
    def git(*arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert code_version_of(tmp_path) is None
    git("init", "-q")
    assert code_version_of(tmp_path) is None  # without a commit
    package = tmp_path / "mtquant_jax"
    package.mkdir()
    (package / "cli.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD")
    assert code_version_of(tmp_path) == CodeVersion(commit, changed=False)
    (tmp_path / "notes.txt").touch()  # not of the package
    assert code_version_of(tmp_path) == CodeVersion(commit, changed=False)
    (package / "new.py").touch()
    assert code_version_of(tmp_path) == CodeVersion(commit, changed=True)
    (package / "new.py").unlink()
    (package / "cli.py").write_text("2")
    assert code_version_of(tmp_path) == CodeVersion(commit, changed=True)
    assert code_version_of(package) is None  # an installation inside of somebody's checkout
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version_of(tmp_path) is None  # without git


def test_a_record_counts_the_seconds_of_all_sessions(synthetic_run):
    record = read_record(RunPaths(synthetic_run))
    assert record is not None and record.code == code_version()
    summary = json.loads(RunPaths(synthetic_run).training_summary.read_text())
    assert record.seconds == pytest.approx(summary["seconds"]["total"])
    stopped = dataclasses.replace(record, seconds=None).ended("stopped", 2.0)
    assert (stopped.state, stopped.seconds) == ("stopped", 2.0)
    assert stopped.ended("finished", 3.0).seconds == 5.0
