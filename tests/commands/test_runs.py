"""`mtquant-jax runs`: what it prints in terminals and pipes, what it writes, deletes and refuses."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mtquant_jax.cli import main
from mtquant_jax.runs.run_record import read_record
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.dotted import with_values
from mtquant_jax.settings.yaml_files import apply, write_settings
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.storage.files import read_sealed, write_sealed
from mtquant_jax.storage.paths import RunPaths

Run = Callable[..., str]


def written(origin: Path, run_dir: Path, sharpe: float, **settings: object) -> None:
    """A run with other settings and another Sharpe ratio, without models and checkpoints."""
    paths = RunPaths(run_dir)
    shutil.copytree(RunPaths(origin).log_dir, paths.log_dir)
    config = apply(TrainConfig(), read_yaml(paths.resolved_config), "test")
    dotted = {name.replace("__", "."): value for name, value in settings.items()}
    write_settings(paths.resolved_config, with_values(config, dotted, "test"))
    results = read_sealed(paths.phase_results(3), "")
    results["portfolio"]["validation"] |= {"sharpe": sharpe, "sharpe_standard_error": 0.25}
    write_sealed(paths.phase_results(3), results)
    record = read_record(paths)
    assert record is not None
    identity = dataclasses.replace(record.identity, market=f"market of seed {settings.get('seed', 0)}")
    dataclasses.replace(record, started="2026-03-04T05:06:07", seconds=83.0, identity=identity).write(paths)


@pytest.fixture
def folder(synthetic_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current directory with four runs below ``runs``: two values of gamma, two seeds."""
    for seed in (0, 1):
        written(synthetic_run, tmp_path / "runs" / f"low{seed}", 1.0 + seed, ppo__gamma=0.5, seed=seed)
        written(synthetic_run, tmp_path / "runs" / f"high{seed}", 3.0 + seed, ppo__gamma=0.9, seed=seed)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def runs(capsys: pytest.CaptureFixture[str]) -> Run:
    """``runs(*arguments, code=0) -> output``; of an error what is printed of it."""

    def run(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert main(["runs", *arguments]) == code, capsys.readouterr()
        shown = capsys.readouterr()
        return shown.err if code == 2 else shown.out

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """``terminal(columns)``: what is printed goes to a terminal of that width."""

    def of(columns: int) -> None:
        monkeypatch.setattr("mtquant_jax.commands.runs.terminal_width", lambda: columns)

    return of


def test_a_list_has_what_tells_runs_apart(folder: Path, runs: Run) -> None:
    lines = runs("list", "--sort", "validation").splitlines()
    assert lines[0] == "4 runs below runs: finished, phases 1,2,3, started on 2026-03-04"
    assert lines[2].split() == ["run", "started", "seed", "gamma", "validation", "time"]
    assert [line.split() for line in lines[3:7]] == [
        ["runs/high1", "05:06", "1", "0.9", "+4.00", "±", "0.25", "1", "min", "23", "s"],
        ["runs/high0", "05:06", "0", "0.9", "+3.00", "±", "0.25", "1", "min", "23", "s"],
        ["runs/low1", "05:06", "1", "0.5", "+2.00", "±", "0.25", "1", "min", "23", "s"],
        ["runs/low0", "05:06", "0", "0.5", "+1.00", "±", "0.25", "1", "min", "23", "s"],
    ]
    assert "on the split that chose the policy" in lines[-1]
    assert runs("list", "--where", "gamma=0.7") == "none of 4 runs below runs fits\n"
    (folder / "empty").mkdir()
    assert runs("list", "empty") == "no run below empty\n"
    assert runs("list", "--where", "gamma=0.9", "--sort", "seed", "--reverse").split().index("runs/high1") > 0


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_a_table_fits_the_terminal_and_is_whole_in_a_pipe(
    folder: Path, runs: Run, terminal: Callable[[int], None], columns: int
) -> None:
    name = "runs/a_run_with_a_name_that_goes_on_and_on_for_more_than_any_terminal_is_wide_which_happens"
    shutil.copytree(folder / "runs" / "low0", folder / name)
    runs("tag", "runs/high0", "a", "tag-that-is-rather-long", "and-another-one-of-them")
    RunPaths(folder / "runs" / "low1").run_record.write_text("damaged")
    bars = "a_folder_of_bars_with_a_name_that_is_longer_than_any_column_of_a_table_in_a_terminal_should_be"
    written(folder / "runs" / "low0", folder / "runs" / "bars", 1.0, data_dir=bars)
    assert name in runs("list") and bars in runs("list", "--group-by", "data_dir")
    assert name in runs("prune", "runs", "--where", "gamma=0.5")
    terminal(columns)
    for shown in (
        runs("list"),
        runs("list", "--group-by", "gamma", "data_dir"),
        runs("compare", "runs/low0", "runs/bars", "runs/high1"),
        runs("prune", "runs", "--where", "gamma=0.5"),
    ):
        lines = [line for line in shown.splitlines() if str(folder) not in line]  # paths of a sentence stay whole
        assert name not in shown and bars not in shown and max(map(len, lines)) <= columns
    assert "…" in runs("list") and "+1.00 ± 0.25" in runs("list")


def test_many_settings_become_one_column_in_a_terminal(
    synthetic_run: Path, folder: Path, runs: Run, terminal: Callable[[int], None]
) -> None:
    rates = {f"specialists__{name}__learning_rate": 5e-5 for name in ("forex", "commodities", "equity")}
    written(synthetic_run, folder / "runs" / "other", 0.0, ppo__gamma=0.9, ppo__clip_range=0.1, num_envs=20, **rates)
    written(synthetic_run, folder / "runs" / "forex", 0.0, ppo__gamma=0.9, specialists__forex__learning_rate=5e-5)
    piped = runs("list").splitlines()[2].split()
    assert {"forex.learning_rate", "equity.learning_rate", "gamma", "clip_range", "num_envs"} <= set(piped)
    terminal(120)
    shown = runs("list").splitlines()
    assert "settings" in shown[2].split()
    assert any("runs/other" in line and "num_envs=20 learning_rate=5e-05 clip_range=0.1" in line for line in shown)
    assert any("runs/forex" in line and " forex.learning_rate=5e-05 " in line for line in shown)


def test_groups(folder: Path, runs: Run) -> None:
    lines = runs("list", "--group-by", "ppo.gamma").splitlines()
    assert lines[0] == "2 groups of 4 runs below runs"
    assert [line.split() for line in lines[2:5]] == [
        ["gamma", "runs", "seeds", "validation"],
        ["0.9", "2", "2", "+3.50", "±", "0.50"],
        ["0.5", "2", "2", "+1.50", "±", "0.50"],
    ]
    assert "warning" not in lines[-1]
    assert "warning: runs of a group also differ in ppo.gamma" in runs("list", "--group-by", "seed")


def test_json_and_csv(folder: Path, runs: Run) -> None:
    content = json.loads(runs("list", "--json", "--csv", "runs.csv"))
    assert content["differing"] == ["ppo.gamma"]
    first = next(run for run in content["runs"] if run["path"] == "runs/high1")
    assert (first["state"], first["seed"], first["settings"]["ppo"]["gamma"], first["test"]) == (
        "finished",
        1,
        0.9,
        None,
    )
    assert first["validation"] == {"value": 4.0, "error": 0.25} and first["seconds"] == 83.0
    with Path("runs.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["run"]: row for row in csv.DictReader(stream)}
    assert len(rows) == 4
    assert (rows["runs/low0"]["ppo.gamma"], rows["runs/low0"]["validation"]) == ("0.5", "1.0")
    groups = json.loads(runs("list", "--json", "--group-by", "gamma", "--csv", "groups.csv"))["groups"]
    assert groups[0]["validation"] == {"value": 3.5, "error": pytest.approx(0.5), "seeds": 2}
    with Path("groups.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["gamma"] for row in csv.DictReader(stream)] == ["0.9", "0.5"]
    assert "cannot be written" in runs("list", "--csv", "runs/low0/logs", code=2)


def test_show_is_info(folder: Path, runs: Run, capsys: pytest.CaptureFixture[str]) -> None:
    runs("tag", "runs/low0", "best")
    shown = runs("show", "runs/low0")
    assert main(["info", "runs/low0"]) == 0
    assert shown == capsys.readouterr().out
    assert "trained for     1 min 23 s" in shown and "tags            best" in shown


def test_a_comparison_is_of_validation_figures_and_says_so(folder: Path, runs: Run) -> None:
    shown = runs("compare", "runs/low0", "runs/low1", "runs/high0")
    lines = [line.split() for line in shown.splitlines()]
    assert shown.startswith("A  seeds 0, 1: runs/low0 runs/low1\nB  seed 0: runs/high0\n")
    assert ["gamma", "0.5", "0.9"] in lines
    assert ["phase", "3", "portfolio", "+1.50", "±", "0.50", "+3.00", "±", "0.25"] in lines
    assert [line[2] for line in lines if line[:2] == ["phase", "1"]] == ["forex", "commodities", "equity"]
    assert (
        "These are validation figures" in shown and "`mtquant-jax compare` compares runs that were evaluated" in shown
    )
    assert "warning" not in shown
    assert "A  seeds 0, 1: runs/high0 runs/high1" in runs("compare", "runs")
    assert "no setting differs but the seed" in runs("compare", "runs/low0", "runs/low1")


def test_a_wide_comparison_is_divided(
    synthetic_run: Path, folder: Path, runs: Run, terminal: Callable[[int], None]
) -> None:
    for number in range(9):
        written(synthetic_run, folder / "runs" / f"n{number}", float(number), ppo__gamma=0.1 + number / 100)
    terminal(80)
    shown = runs("compare", "runs")
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("phase 3 portfolio") > 1
    assert all(f"+{number}.00 ± 0.25" in shown for number in range(9))


def test_what_cannot_be_compared_is_refused(folder: Path, runs: Run) -> None:
    assert "give at least two runs" in runs("compare", "runs/low0", code=2)
    assert "nowhere: there is no such folder" in runs("compare", "runs/low0", "nowhere", code=2)
    (folder / "empty").mkdir()
    assert "empty holds no run" in runs("compare", "empty", code=2)
    RunPaths(folder / "runs" / "low1").run_record.write_text("{}")
    assert "has no checksum" in runs("compare", "runs/low0", "runs/low1", code=2)
    sweep = folder / "sweeps" / "ppo"
    sweep.mkdir(parents=True)
    (sweep / "study.db").touch()
    assert "is a sweep" in runs("compare", "runs/low0", "sweeps/ppo", code=2)


def test_a_damaged_run_and_a_sweep_are_listed(folder: Path, runs: Run) -> None:
    RunPaths(folder / "runs" / "low1").run_record.write_text("{}")
    sweep = folder / "runs" / "sweeps" / "ppo"
    sweep.mkdir(parents=True)
    (sweep / "study.db").touch()
    lines = runs("list").splitlines()
    assert lines[0] == "5 runs below runs: started on 2026-03-04"
    assert any(line.split()[:2] == ["runs/low1", "damaged"] for line in lines)
    assert any(line.split()[:4] == ["runs/sweeps/ppo", "stopped", "-", "sweep"] for line in lines)
    assert "has no checksum" in lines[-1] and "`" not in lines[-1]


def test_tags(folder: Path, runs: Run) -> None:
    assert runs("tag", "runs/low0", "keep", "best") == "runs/low0: best, keep\n"
    assert "runs/low0" in runs("list", "--where", "tag=best") and "low1" not in runs("list", "--where", "tag=best")
    assert runs("tag", "runs/low0", "keep", "best", "--remove") == "runs/low0: no tags\n"
    assert "runs is no run directory" in runs("tag", "runs", "best", code=2)
    assert "a tag has at most 40 letters" in runs("tag", "runs/low0", "a b", code=2)


def test_pruning_deletes_only_with_yes(folder: Path, runs: Run) -> None:
    runs("tag", "runs/low0", "keep")
    (folder / "runs" / "low1" / "mine").touch()
    dry = runs("prune", "runs", "--keep-best", "1")
    assert "would delete 2 runs, " in dry and dry.endswith("; --yes deletes\n")
    assert "stays: runs/low0 is tagged keep" in dry and "stays: runs/high1 one of the best 1 by validation" in dry
    assert len(list((folder / "runs").iterdir())) == 4
    done = runs("prune", "runs", "--keep-best", "1", "--yes")
    assert "deleted 2 runs, " in done and "runs/low1 remains, for there are other files in it" in done
    assert sorted(path.name for path in (folder / "runs").iterdir()) == ["high1", "low0", "low1"]
    assert [path.name for path in (folder / "runs" / "low1").iterdir()] == ["mine"]
    assert runs("prune", "runs", "--where", "state=failed") == "nothing to delete\n"
    assert "give --where or --keep-best" in runs("prune", "runs", code=2)


def test_the_commands_come_without_jax(folder: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    for arguments in (["list"], ["compare", "runs"], ["tag", "runs/low0", "x"], ["prune", "runs", "--where", "seed=9"]):
        code = (
            f"import sys; from mtquant_jax.cli import main; code = main(['runs', *{arguments!r}]); "
            "sys.exit(code or any(name in sys.modules for name in ('jax', 'optuna', 'pandas', 'orbax')))"
        )
        result = subprocess.run(
            [sys.executable, "-c", code],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            env={"PYTHONPATH": str(root), "PATH": ""},
        )
        assert result.returncode == 0, result.stderr
