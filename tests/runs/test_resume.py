"""A training that is stopped, killed or damaged goes on, and ends with the models of one that was left alone."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mtquant_jax.cli import main, train_main
from mtquant_jax.errors import Interrupted, UserError
from mtquant_jax.runs.run_record import FAILED, FINISHED, RUNNING, STOPPED, read_record
from mtquant_jax.runs.train import run
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.layers import load_config
from mtquant_jax.storage.files import read_sealed
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.training.observer import Progress
from tests.conftest import SMALL, walk_forward


class Crash(Exception):
    """Stands for a process that dies."""


def models(run_dir: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in sorted(run_dir.glob("**/*.zip"))}


def metrics(run_dir: Path) -> list[str]:
    """Rows of the metrics files without speeds."""
    rows = []
    for path in sorted(run_dir.glob("metrics/training/*.csv")):
        header, *body = (line.split(",") for line in path.read_text().splitlines())
        keep = [index for index, name in enumerate(header) if name != "timesteps_per_second"]
        rows += [",".join(row[index] for index in keep) for row in body]
    return rows


@pytest.fixture
def config(tmp_path) -> TrainConfig:
    """Settings of the shared quick run, in a directory of its own."""
    settings, _ = load_config(["--quick-test"])
    return dataclasses.replace(settings, run_dir=str(tmp_path / "run"))


def at(phase: int, name: str, timesteps: int, action: Callable[[], None]) -> Callable[[Progress], None]:
    """Calls ``action`` after a chunk of a member."""

    def on_chunk(progress: Progress) -> None:
        if (progress.member.phase, progress.member.name, progress.timesteps) == (phase, name, timesteps):
            action()

    return on_chunk


def crash() -> None:
    raise Crash


def send(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def test_stops_and_crashes_in_every_phase_change_nothing(config, synthetic_run, capsys):
    paths, usual = RunPaths(Path(config.run_dir)), signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as stop:
        run(config, "test", on_chunk=at(1, "forex", 250, send(signal.SIGINT)))
    assert stop.value.exit_code == 130
    assert (
        str(stop.value)
        == f"stopped and saved; this goes on with it: mtquant-jax train --resume --run-dir {paths.run_dir}"
    )
    assert signal.getsignal(signal.SIGINT) is usual
    record = read_record(paths)
    assert record is not None and (record.state, record.sessions) == (STOPPED, 1)
    capsys.readouterr()

    with pytest.raises(Crash):  # after a chunk that was not saved
        run(config, "test", on_chunk=at(1, "equity", 750, crash), resume=True)
    out = capsys.readouterr().out
    assert "forex                    250/1,000  goes on from its checkpoint" in out
    assert read_record(paths).state == FAILED
    (paths.checkpoints(1) / "checkpoint_750" / ".unfinished.equity.1").mkdir(parents=True)  # and while writing

    with pytest.raises(Interrupted) as stop:
        run(
            config,
            "test",
            on_chunk=at(2, "meta_controller", 250, lambda: os.kill(os.getpid(), signal.SIGTERM)),
            resume=True,
        )
    assert stop.value.exit_code == 143
    out = capsys.readouterr().out
    assert "commodities              500/1,000  goes on from its checkpoint" in out
    assert "equity                   500/1,000  goes on from its checkpoint" in out
    assert not [*paths.run_dir.rglob(".unfinished*")]

    with pytest.raises(Crash):
        run(config, "test", on_chunk=at(3, "portfolio", 500, crash), resume=True)
    capsys.readouterr()
    summary = run(config, "test", resume=True)
    assert "commodities            1,000/1,000  trained before" in capsys.readouterr().out
    assert (summary["run_id"], summary["sessions"]) == (record.run_id, 5)
    assert models(paths.run_dir) == models(synthetic_run)
    assert metrics(paths.run_dir) == metrics(synthetic_run)
    whole = read_sealed(RunPaths(synthetic_run).phase_results(1), "test")["specialists"]["equity"]
    resumed = summary["results"]["phase1"]["specialists"]["equity"]
    times = ("seconds", "timesteps_per_second", "chunk_timesteps_per_second")
    assert {key: value for key, value in resumed.items() if key not in times} == {
        key: value for key, value in whole.items() if key not in times
    }
    assert len(resumed["chunk_timesteps_per_second"]) == 4
    assert read_record(paths).state == FINISHED
    capsys.readouterr()
    assert run(config, "test", resume=True) == summary
    assert capsys.readouterr().out == f"the training in {paths.run_dir} is finished; nothing is left to resume\n"


@pytest.fixture
def stopped(config, synthetic_run) -> RunPaths:
    """A run in the middle of its third specialist: the shared run without what comes after."""
    paths = RunPaths(Path(config.run_dir))
    shutil.copytree(synthetic_run, paths.run_dir)
    paths.training_summary.unlink()
    for phase in (2, 3):
        shutil.rmtree(paths.checkpoints(phase))
    record = read_record(paths)
    dataclasses.replace(record, state=RUNNING).write(paths)
    return paths


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_checkpoint_is_passed_over_and_the_loss_named(stopped, config, synthetic_run, damage, capsys):
    folder = stopped.checkpoint(1, 1000) / "equity"
    file = next(path for path in (folder / "training").rglob("*") if path.is_file() and path.stat().st_size > 100)
    content = bytearray(file.read_bytes())
    content[50] ^= 4
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(content if damage == "flipped" else content[:80])
    run(config, "test", resume=True)
    out = capsys.readouterr().out
    assert f"warning: checkpoint {folder} is damaged: " in out
    assert "the one after 500 timesteps is used, and what came after it is trained again" in out
    assert "equity                   500/1,000  goes on from its checkpoint" in out
    assert models(stopped.run_dir) == models(synthetic_run)


def test_checkpoints_of_another_class_or_step_are_not_taken(stopped, config, capsys):
    of_another_class, of_another_step = stopped.checkpoint(1, 1000) / "equity", stopped.checkpoint(1, 500) / "forex"
    for old, new in (("forex", of_another_class), ("forex", of_another_step)):
        shutil.rmtree(new)
        shutil.copytree(stopped.checkpoint(1, 1000) / old, new)
    with pytest.raises(Crash):
        run(config, "test", on_chunk=at(2, "meta_controller", 250, crash), resume=True)
    out = capsys.readouterr().out
    assert "is of agent forex, and agent equity is expected there" in out
    assert "is of timesteps 1000, and timesteps 500 is expected there" in out


def test_what_differs_is_refused_and_named(stopped, config):
    def refusal(**changes) -> str:
        with pytest.raises(UserError) as error:
            run(dataclasses.replace(config, **changes), "test", resume=True)
        return str(error.value)

    other = dataclasses.replace(config.ppo, gamma=0.9)
    assert "was trained with other settings: `ppo.gamma` 0.98, now 0.9" in refusal(ppo=other)
    assert "`phases` 1: the training in" in refusal(phases="1")
    assert "was trained with other settings: `seed` 0, now 1" in refusal(seed=1)
    with pytest.raises(UserError, match="`resume` goes on with a training, and `overwrite` would remove it"):
        run(config, "test", resume=True, overwrite=True)
    content = stopped.run_record.read_text()
    stopped.run_record.write_text(content.replace('"sessions": 1', '"sessions": 2'))
    assert "run.json was changed after it was written" in refusal()


def test_the_settings_come_from_the_run(synthetic_run, tmp_path, capsys):
    run_dir = tmp_path / "run"
    shutil.copytree(synthetic_run, run_dir)
    assert train_main(["--resume", "--run-dir", str(run_dir)]) == 0
    assert "nothing is left to resume" in capsys.readouterr().out
    assert train_main(["--resume", "--run-dir", str(run_dir), "--overwrite"]) == 2
    assert "--resume goes on with a training, and --overwrite would remove it" in capsys.readouterr().err
    assert main(["walk-forward", "--resume", "--quick-test", "--run-dir", str(run_dir)]) == 2
    error = capsys.readouterr().err
    assert f"holds a training; this goes on with it: mtquant-jax train --resume --run-dir {run_dir}" in error


def test_a_directory_without_a_training_is_refused(config):
    with pytest.raises(UserError) as error:
        run(config, "test", resume=True)
    assert str(error.value) == (
        f"`run_dir` {config.run_dir} holds no training that could go on; begin it without `resume`, or correct the "
        "directory"
    )
    assert not Path(config.run_dir).exists()


def test_old_checkpoints_are_removed_and_the_best_stays(config):
    settings = dataclasses.replace(config, phases="1", save_freq=250, keep=2)
    results = run(settings, "test")["results"]["phase1"]["specialists"]
    paths = RunPaths(Path(config.run_dir))
    for name, report in results.items():
        there = {t for t in (250, 500, 750, 1000) if (paths.checkpoint(1, t) / name).is_dir()}
        best = max(report["history"], key=lambda point: point["sharpe"])
        assert there == {750, 1000, best["timesteps"]} and report["best_timesteps"] in there
    assert all(any(folder.iterdir()) for folder in paths.checkpoints(1).iterdir())


def test_a_checkpoint_that_cannot_be_written_ends_with_the_command_that_goes_on(config, synthetic_run, monkeypatch):
    def full(path: Path, content: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mtquant_jax.storage.checkpoints.write_sealed", full)
        with pytest.raises(UserError) as error:
            run(config, "test")
    assert re.fullmatch(
        r"checkpoint .*/checkpoint_500/forex cannot be written: No space left on device \([\d,]+ MB are free on this "
        r"disk\); once that is mended, this goes on with it: mtquant-jax train --resume --run-dir .*/run",
        str(error.value),
    )
    assert not [*Path(config.run_dir).rglob(".unfinished*")]
    assert read_record(RunPaths(Path(config.run_dir))).state == FAILED
    run(config, "test", resume=True)
    assert models(Path(config.run_dir)) == models(synthetic_run)


@pytest.mark.slow
def test_evidence_outlives_an_interruption_after_phase_1(config, tmp_path, capsys):
    settings = dataclasses.replace(config, tilt="whole", evidence_folds=2, phases="1,2")
    with pytest.raises(Crash):
        run(settings, "test", on_chunk=at(2, "meta_controller", 250, crash))
    assert "  forex, commodities, equity are trained 2 times more, each time" in capsys.readouterr().out
    run(settings, "test", resume=True)
    out = capsys.readouterr().out
    assert "trained 2 times more" not in out
    assert out.count("on unseen bars (2 folds and the validation split)") == 3
    whole = dataclasses.replace(settings, run_dir=str(tmp_path / "whole"))
    run(whole, "test")
    assert models(Path(settings.run_dir)) == models(Path(whole.run_dir))
    resumed, straight = (
        {
            name: (report["evidence"], report["best_checkpoint"])
            for name, report in read_sealed(RunPaths(Path(one.run_dir)).phase_results(1), "test")["specialists"].items()
        }
        for one in (settings, whole)
    )
    assert resumed == straight and all(evidence["folds"] == 2 for evidence, _ in straight.values())
    # Phase 2 went on with the mean of the policies, which is kept beside the last checkpoint.
    means = [path.endswith(f"/checkpoint_1000/{name}_mean") for name, (found, path) in straight.items()]
    assert means == [found["policies"] == 3 for found, _ in straight.values()] and any(means)


@pytest.mark.slow
def test_specialists_side_by_side_go_on_together(config, tmp_path):
    settings = dataclasses.replace(config, phases="1", parallel=True)
    run(dataclasses.replace(settings, run_dir=str(tmp_path / "whole")), "test")
    with pytest.raises(Crash):
        run(settings, "test", on_chunk=at(1, "commodities", 750, crash))
    # Killed between the checkpoints of two members: all go back to the one that all have.
    shutil.rmtree(RunPaths(Path(settings.run_dir)).checkpoint(1, 500) / "equity")
    run(settings, "test", resume=True)
    assert models(Path(settings.run_dir)) == models(tmp_path / "whole")


@pytest.mark.slow
def test_a_walk_forward_goes_on_from_the_middle_of_a_fold(walked, tmp_path, monkeypatch):
    flags = ("--folds", "2", "--num-seeds", "2", *SMALL.split())
    for fold, phase in (("fold_1", 2), ("fold_2", 3)):

        def stop(recorder, progress, label, fold=fold, phase=phase):
            if label.startswith(f"{fold}/seed0") and progress.member.phase == phase:  # once: twice ends at once
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patch:
            patch.setattr("mtquant_jax.evaluation.walk_forward.record_chunk", stop)
            resume = ["--resume"] if (tmp_path / "walk").exists() else []
            code, out, err = walk_forward(tmp_path / "walk", *flags, *resume)
        assert code == 143
        assert f"--resume --run-dir {tmp_path / 'walk'} --folds 2 --num-seeds 2 --scheme anchored" in err
    code, out, err = walk_forward(tmp_path / "walk", *flags, "--resume")
    assert code == 0, err
    assert models(tmp_path / "walk") == models(walked.run_dir)
    assert not [*(tmp_path / "walk").rglob("checkpoints")]
    code, out, _ = walk_forward(tmp_path / "walk", *flags, "--resume")
    assert code == 0 and out.endswith("is finished; nothing is left to resume\n")
    code, _, err = walk_forward(tmp_path / "walk", "--resume", "--folds", "3", "--num-seeds", "2", *SMALL.split())
    assert code == 2 and "holds a walk-forward with other flags; this goes on with it: mtquant-jax walk-forward" in err


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["pathwise", "pathwise_ppo"])
def test_every_algorithm_goes_on_where_it_was_stopped(algorithm, tmp_path):
    flags = ["--quick-test", "--phases", "1", "--algorithm", algorithm, "--market.num-paths", "2"]
    settings, _ = load_config(flags)
    once, twice = (dataclasses.replace(settings, run_dir=str(tmp_path / name)) for name in ("once", "twice"))
    run(once, "test")
    with pytest.raises(Crash):
        run(twice, "test", on_chunk=at(1, "forex", 750, crash))  # goes on from 500, where PPO follows
    run(twice, "test", resume=True)
    left_alone, stopped = Path(once.run_dir), Path(twice.run_dir)
    assert [*models(left_alone).values()] == [*models(stopped).values()] and len(models(stopped)) == 3
    assert metrics(left_alone) == metrics(stopped)
