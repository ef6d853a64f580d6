"""Damaged files of a training: refused in a sentence, or as good as whole. `benchmarks/damage.py` reads thousands."""

from __future__ import annotations

import functools
import pickle
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtquant_jax.agents.contract import Policy
from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.synthetic.calibration_files import load_calibration
from mtquant_jax.reference import damage, damage_yaml, damage_zips
from mtquant_jax.reference.damage import FAILURES, OUTCOMES, Subject, intact, judge
from mtquant_jax.runs.checkpoints import Origin, restore_policy
from mtquant_jax.runs.run_record import check_resumable
from mtquant_jax.runs.trading_policy import load_policy, read_model
from mtquant_jax.runs.trained_run import open_run
from mtquant_jax.settings.layers import override_config
from mtquant_jax.settings.yaml_files import shipped
from mtquant_jax.storage.arrays import to_named_arrays
from mtquant_jax.storage.bundles import read_manifest, write_bundle
from mtquant_jax.storage.checkpoints import describe
from mtquant_jax.storage.paths import RunPaths

FOREX = Path("models/specialists/forex_specialist.zip")


@pytest.fixture(scope="module")
def like(synthetic_run: Path) -> Policy:
    """The shapes of a specialist."""
    return read_model(synthetic_run / FOREX)[1]


def read_policy(folder: Path) -> Any:
    found = load_policy(folder)
    return found.manifest, {name: array.tobytes() for name, array in to_named_arrays(found.policy).items()}


def models(run_dir: Path, folder: Path, like: Policy) -> list[Subject]:
    shutil.copytree(run_dir / "models", folder / "models", ignore=shutil.ignore_patterns("checkpoints"))
    others = [file for file in sorted(folder.rglob("*.zip")) if file.name != FOREX.name]
    return [
        Subject(
            "models", folder, lambda random, copy: damage_zips.damage_model(random, copy / FOREX, others), read_policy
        )
    ]


def checkpoints(run_dir: Path, folder: Path, like: Policy) -> list[Subject]:
    paths = RunPaths(run_dir)
    path = paths.checkpoint(1, 500) / "forex"
    shutil.copytree(path, folder / "checkpoint")
    others = [file.parent for file in sorted(run_dir.rglob("checkpoint.json")) if file.parent != path]
    run_id = open_run(run_dir).results[1]["run_id"]

    def read(copy: Path) -> Any:
        arrays = to_named_arrays(restore_policy(copy / "checkpoint", Origin(run_id, 1, "forex", 500), like))
        return describe(copy / "checkpoint"), {name: array.tobytes() for name, array in arrays.items()}

    def harm(random: np.random.Generator, copy: Path) -> str:
        return damage.damage_checkpoint(random, copy / "checkpoint", others)

    return [Subject("checkpoints", folder, harm, read)]


def settings(run_dir: Path, folder: Path, like: Policy) -> list[Subject]:
    def harm(file: str, random: np.random.Generator, copy: Path) -> str:
        return damage_yaml.damage_settings(random, copy / file)

    resolved = RunPaths(folder / "run").resolved_config.relative_to(folder / "run")
    found = [Subject("resolved", small(run_dir, folder / "run"), functools.partial(harm, str(resolved)), read_run)]
    readers: dict[str, Callable[[Path], Any]] = {
        "agents.yaml": lambda path: override_config(path, {}),
        "instruments.yaml": load_instruments,
        "synthetic.yaml": load_calibration,
    }
    for name, reader in readers.items():
        (folder / name).mkdir()
        shutil.copyfile(shipped(name), folder / name / name)

        def read(copy: Path, name: str = name, reader: Callable[[Path], Any] = reader) -> Any:
            return reader(copy / name)

        found.append(Subject(name, folder / name, functools.partial(harm, name), read, is_sealed=False))
    return found


def results(run_dir: Path, folder: Path, like: Policy) -> list[Subject]:
    files = sorted(small(run_dir, folder).rglob("*.json"))

    def harm(file: Path, random: np.random.Generator, copy: Path) -> str:
        return damage.damage_results(random, copy / file.relative_to(folder), [f for f in files if f != file])

    return [Subject(file.name, folder, functools.partial(harm, file), read_run) for file in files]


def small(run_dir: Path, folder: Path) -> Path:
    """A copy of a run's settings and results."""
    shutil.copytree(run_dir / "logs/e2e_training", folder / "logs/e2e_training", ignore=shutil.ignore_patterns("*.log"))
    return folder


def read_run(copy: Path) -> Any:
    run = open_run(copy)
    times = {name: (run.split_times(name), run.learnt_times(name)) for name in ("train", "validation", "test")}
    return run.config, run.results, run.summary, times, check_resumable(run.paths)


@pytest.mark.parametrize(("make", "mutants"), [(models, 24), (checkpoints, 24), (settings, 40), (results, 40)])
def test_nothing_damaged_gives_other_numbers_or_a_traceback(synthetic_run, tmp_path, like, make, mutants):
    subjects, place = make(synthetic_run, tmp_path / "original", like), tmp_path / "mine"
    expected = [intact(subject, place) for subject in subjects]
    failures, refused = [], 0
    for number in range(mutants):
        index = number % len(subjects)
        verdict = judge(subjects[index], np.random.default_rng([mutants, number]), expected[index], place)
        assert verdict.outcome in OUTCOMES
        refused += verdict.outcome == "refused"
        if verdict.outcome in FAILURES:
            failures.append(f"{number}: {subjects[index].name}, {verdict}")
    assert not failures, "\n".join(failures)
    assert refused > mutants / 2


def test_the_judge_sees_every_failure(tmp_path, monkeypatch):
    """What reads whatever it is given, raises or wastes is called so."""
    (tmp_path / "original").mkdir()
    (tmp_path / "original" / "file").write_text("1")

    def outcome(read: Callable[[Path], Any], is_sealed: bool = True) -> str:
        subject = Subject("file", tmp_path / "original", lambda _, copy: append(copy / "file"), read, is_sealed)
        return judge(subject, np.random.default_rng(0), "1", tmp_path / "copy").outcome

    def append(file: Path) -> str:
        file.write_text("12")
        return "longer"

    def refuse(_: Path) -> None:
        raise UserError("no")

    assert outcome(lambda copy: (copy / "file").read_text()) == "silently other"
    assert outcome(lambda copy: (copy / "file").read_text(), is_sealed=False) == "as another file"
    assert outcome(lambda _: "1") == "equal"
    assert outcome(refuse) == "refused"
    assert outcome(lambda _: 1 // 0) == "traceback"
    if sys.platform == "linux":
        assert outcome(lambda _: np.ones(300_000_000, np.uint8).sum() and "1") == "too much memory"
    monkeypatch.setattr(damage, "_SECONDS", 0.05)
    assert outcome(lambda _: time.sleep(5)) == "too slow"


def test_a_specialist_of_another_training_is_refused(synthetic_run, tmp_path):
    """Its manifest may be the same but for its arrays."""
    shutil.copytree(synthetic_run / "models", tmp_path / "models", ignore=shutil.ignore_patterns("checkpoints"))
    manifest, policy = read_model(tmp_path / FOREX)
    params = {name: {**group, "log_trade_scale": 2 * group["log_trade_scale"]} for name, group in policy.params.items()}
    write_bundle(tmp_path / FOREX, manifest.to_json(), {"params": params, "normalizers": policy.normalizers})
    assert read_manifest(tmp_path / FOREX)["seed"] == manifest.seed
    with pytest.raises(UserError, match=r"forex_specialist\.zip is of another training than .*meta_controller\.zip"):
        load_policy(tmp_path)


def test_a_specialist_in_the_place_of_another_is_refused(synthetic_run, tmp_path):
    shutil.copytree(synthetic_run / "models", tmp_path / "models", ignore=shutil.ignore_patterns("checkpoints"))
    shutil.copyfile(tmp_path / "models/specialists/equity_specialist.zip", tmp_path / FOREX)
    with pytest.raises(UserError, match=r"forex_specialist\.zip is the specialist equity"):
        load_policy(tmp_path)


def test_nothing_that_is_read_is_unpickled(synthetic_run, like, monkeypatch):
    def unpickled(*_: Any, **__: Any) -> None:
        raise AssertionError("something was unpickled")

    for name in ("load", "loads", "Unpickler", "_Unpickler", "_load", "_loads"):
        monkeypatch.setattr(pickle, name, unpickled)
    load_policy(synthetic_run)
    origin = Origin(open_run(synthetic_run).results[1]["run_id"], 1, "forex", 500)
    restore_policy(RunPaths(synthetic_run).checkpoint(1, 500) / "forex", origin, like)
