"""Runs below folders: what is found, how it is chosen, ordered and grouped, and what pruning takes and spares."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.runs.inspected import Validation
from mtquant_jax.runs.pruning import carry_out, plan
from mtquant_jax.runs.registry import DAMAGED, Entry, entry_of, figure, runs_below
from mtquant_jax.runs.run_directory import claimed
from mtquant_jax.runs.run_record import STOPPED, read_record
from mtquant_jax.runs.selection import (
    by_settings,
    chosen,
    differ_in_market,
    differing,
    grouped,
    mean,
    ordered,
    value_of,
)
from mtquant_jax.runs.tags import KEEP, change_tags, read_tags
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.dotted import with_values
from mtquant_jax.settings.yaml_files import apply, write_settings
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.storage.files import read_sealed, write_sealed
from mtquant_jax.storage.paths import RunPaths

ROOT = Path(__file__).resolve().parents[2]
Make = Callable[..., Path]
CLASSES = ("forex", "commodities", "equity")


@pytest.fixture
def make(synthetic_run: Path, tmp_path: Path) -> Make:
    """``make(name, sharpes, phases, **record or settings) -> run directory``, written as a training writes it.

    ``sharpes`` are those of the last phase, one per agent; other files are those of a quick run, without checkpoints.
    """
    config = apply(TrainConfig(), read_yaml(RunPaths(synthetic_run).resolved_config), "test")

    def run(
        name: str,
        sharpes: tuple[float | None, ...] = (1.0,),
        phases: tuple[int, ...] = (1, 2, 3),
        settings: dict[str, Any] | None = None,
        **record: Any,
    ) -> Path:
        origin, paths = RunPaths(synthetic_run), RunPaths(tmp_path / name)
        write_settings(paths.resolved_config, with_values(config, settings or {}, "test"))
        found = read_record(origin)
        assert found is not None
        market = record.pop("market", found.identity.market)
        identity = dataclasses.replace(found.identity, market=market)
        dataclasses.replace(found, phases=phases, identity=identity, **record).write(paths)
        for phase in phases:
            content = read_sealed(origin.phase_results(phase), "")
            agents = content["specialists"] if phase == 1 else content
            names = list(agents) if phase == 1 else ["meta_controller" if phase == 2 else "portfolio"]
            for agent, sharpe in zip(names, sharpes * 3, strict=False):
                error = None if sharpe is None else 0.5
                agents[agent]["validation"] |= {"sharpe": sharpe, "sharpe_standard_error": error}
            write_sealed(paths.phase_results(phase), content)
        return paths.run_dir

    return run


def found(folder: Path) -> dict[str, Entry]:
    """Entries by path below a folder."""
    return {str(entry.path.relative_to(folder)): entry for entry in runs_below([folder])}


def names(entries: list[Entry]) -> list[str]:
    return [entry.path.name for entry in entries]


def test_runs_are_found_at_any_depth_and_not_inside_of_each_other(make: Make, tmp_path: Path) -> None:
    for name in ("a", "deep/er/b", "a/runs/c", ".hidden/d", "a/models/e", "walk"):
        make(name)
    for place in ("walk/fold_1/seed_0", "walk/fold_2"):
        shutil.copytree(tmp_path / "a" / "logs", tmp_path / place / "logs")
    record = read_record(RunPaths(tmp_path / "walk"))
    assert record is not None
    flags = {"folds": 2, "num_seeds": 1, "scheme": "anchored", "first_train_fraction": 0.5}
    dataclasses.replace(record, walk_forward=flags, state=STOPPED).write(RunPaths(tmp_path / "walk"))
    (tmp_path / "empty" / "logs" / "e2e_training").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "deep")
    sweep = tmp_path / "sweeps" / "ppo"
    sweep.mkdir(parents=True)
    (sweep / "study.db").write_bytes(b"it is not opened")
    entries = found(tmp_path)
    kinds = {name: entry.kind for name, entry in entries.items()}
    training = dict.fromkeys(("a", "deep/er/b", "a/runs/c"), "training")
    assert kinds == {**training, "walk": "walk-forward", "sweeps/ppo": "sweep"}
    assert entries["sweeps/ppo"].state == "stopped" and entries["walk"].state == "stopped"
    with claimed(RunPaths(sweep)):
        assert found(tmp_path)["sweeps/ppo"].state == "running"
    (sweep / "trials.parquet").touch()
    assert found(tmp_path)["sweeps/ppo"].state == "finished"
    assert len(runs_below([tmp_path, tmp_path / "a", tmp_path / "deep"])) == len(entries)  # each once
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        runs_below([tmp_path / "nowhere"])


def test_what_a_run_says_is_read(make: Make, tmp_path: Path) -> None:
    entry = entry_of(make("a", (1.5,), settings={"ppo.gamma": 0.9, "seed": 4}, seconds=12.0))
    assert (entry.state, entry.last_phase, entry.settings["ppo.gamma"]) == ("finished", 3, 0.9)
    assert entry.info is not None and (entry.info.seed, entry.info.seconds) == (4, 12.0)
    assert entry.validation is not None and (entry.validation.value, entry.validation.error) == (1.5, 0.5)
    assert entry.test is None
    first = entry_of(make("b", (3.0, None, 0.0), phases=(1,)))
    assert first.last_phase == 1 and first.validation is not None
    assert first.validation.value == pytest.approx(1.0)  # a flat specialist counts as 0
    assert first.validation.error == pytest.approx(math.hypot(0.5, 0.5) / 3)
    flat = figure([Validation(None, None, 0.0, 0.0)])
    assert (flat.value, flat.error) == (0.0, None)


def test_the_test_split_counts_only_of_this_training(make: Make) -> None:
    paths = RunPaths(make("a"))
    run_id = read_sealed(paths.phase_results(3), "")["run_id"]
    performance = {"sharpe": 0.7, "sharpe_standard_error": 0.2, "total_return": 0.1, "max_drawdown": 0.05}
    bars = {"split": "test", "first": "2018-06-13 15:00", "last": "2018-06-26 00:00"}
    metrics = {"verdict": "Better.", "bars": bars, "portfolio": "phase 3", "phases": {"phase 3": performance}}
    file = paths.run_dir / "evaluation" / "metrics.json"
    write_sealed(file, {**metrics, "run": {"run_id": run_id}})
    test = entry_of(paths.run_dir).test
    assert test is not None and (test.value, test.error) == (0.7, 0.2)
    write_sealed(file, {**metrics, "run": {"run_id": "another"}})
    assert entry_of(paths.run_dir).test is None
    write_sealed(file, {**metrics, "run": {"run_id": run_id}, "bars": {**bars, "split": "validation"}})
    assert entry_of(paths.run_dir).test is None


def test_a_walk_forward_shows_its_last_portfolio(walked: Any) -> None:
    entry = entry_of(walked.run_dir)
    (last,) = (name for name in walked.result["overall"] if name not in walked.result["ahead_of"])
    assert entry.kind == "walk-forward" and last == "after phase 3"
    assert entry.test is not None and entry.test.value == pytest.approx(walked.result["overall"][last]["sharpe"] or 0.0)
    assert entry.validation is None


@pytest.mark.parametrize("file", ["run_record", "resolved_config", "phase_results", "tags"])
def test_damaged_runs_are_listed_as_such(make: Make, tmp_path: Path, file: str) -> None:
    paths = RunPaths(make("a"))
    change_tags(paths, ["best"], remove=False)
    make("b")
    path = paths.phase_results(3) if file == "phase_results" else getattr(paths, file)
    path.write_bytes(path.read_bytes()[:-40])
    entries = found(tmp_path)
    assert entries["b"].problem is None
    assert entries["a"].state == DAMAGED and path.name in (entries["a"].problem or "")
    assert entries["a"].tags == (None if file == "tags" else ("best",))
    assert entries["a"].validation is None and entries["a"].settings == {}
    with claimed(paths):
        assert found(tmp_path)["a"].state == "running"  # and may be between two files


def test_a_run_of_an_earlier_version_and_one_without_permission(make: Make, tmp_path: Path) -> None:
    paths = RunPaths(make("a"))
    paths.run_record.unlink()
    assert "of an earlier version" in (found(tmp_path)["a"].problem or "")
    paths.run_record.mkdir()
    assert found(tmp_path)["a"].state == DAMAGED


def test_runs_that_are_not_finished(make: Make) -> None:
    paths = RunPaths(make("a", state="running"))
    assert entry_of(paths.run_dir).state == "killed"
    with claimed(paths):
        assert entry_of(paths.run_dir).state == "running"
    paths.phase_results(3).unlink()
    assert entry_of(paths.run_dir).last_phase == 2


def test_conditions_choose_by_value(make: Make, tmp_path: Path) -> None:
    make("a", settings={"ppo.gamma": 0.9, "seed": 1})
    make("b", settings={"ppo.gamma": 0.95, "specialists.forex.learning_rate": 1e-4}, state=STOPPED)
    make("c", phases=(1,), settings={f"specialists.{name}.learning_rate": 1e-4 for name in CLASSES})
    change_tags(RunPaths(tmp_path / "c"), ["best", "my.tag"], remove=False)
    entries = runs_below([tmp_path])
    for where, expected in (
        (["ppo.gamma=0.90"], ["a"]),
        (["gamma=0.9,0.95"], ["a", "b"]),
        (["state=stopped"], ["b"]),
        (["tag=best"], ["c"]),
        (["phases=1"], ["c"]),
        (["phases=1,2,3"], ["a", "b"]),
        (["seed=1", "state=finished"], ["a"]),
        (["seed=1", "state=stopped"], []),
        (["seed=true"], []),  # 1 is not true
        (["learning_rate=1e-4"], ["c"]),  # of all classes
        (["specialists.forex.learning_rate=0.0001"], ["b", "c"]),
        (["quick_test=true", "kind=training"], ["a", "b", "c"]),
        (["market=synthetic market"], ["a", "b", "c"]),
        ([f"market={entries[0].market}"], ["a", "b", "c"]),
        (["specialists.crypto.learning_rate=1"], []),
        ([], ["a", "b", "c"]),
    ):
        assert names(chosen(entries, where)) == expected, where


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("state", "write a setting and its value"),
        ("=3", "write a setting and its value"),
        ("ppo.gama=0.9", "`where` ppo.gama=0.9: there is no ppo.gama; did you mean ppo.gamma"),
        ("gama=0.9", "did you mean ppo.gamma"),
        ("batch_sise=0.9", "did you mean .*batch_size"),
        ("objective=log_growth", "objective is a setting of portfolio_reward, reward"),
        ("qqq=1", "give a setting, such as ppo.gamma, or one of state, kind, phases, tag, market"),
    ],
)
def test_bad_conditions_are_refused(where: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        chosen([], [where])


def test_settings_are_known_where_no_run_is() -> None:
    assert grouped([], ["learning_rate", "gamma"]) == ordered([], "learning_rate") == chosen([], ["gamma=1"]) == []


def test_only_settings_in_which_runs_differ_are_shown(make: Make, tmp_path: Path) -> None:
    make("a", settings={"seed": 1, "run_dir": "a"})
    assert differing(runs_below([tmp_path])) == []
    make("b", settings={f"specialists.{name}.learning_rate": 1e-4 for name in CLASSES} | {"ppo.gamma": 0.5})
    entries = runs_below([tmp_path])
    assert differing(entries) == ["specialists.*.learning_rate", "ppo.gamma"]
    assert [value_of(entry, "specialists.*.learning_rate") for entry in entries] == [1e-3, 1e-4]
    make("c", settings={"specialists.forex.learning_rate": 1e-4})
    rates = [f"specialists.{name}.learning_rate" for name in CLASSES]
    assert differing(runs_below([tmp_path])) == [*rates, "ppo.gamma"]


def test_order_begins_with_the_best_and_ends_with_the_unknown(make: Make, tmp_path: Path) -> None:
    make("a", (1.0,), settings={"ppo.gamma": 0.9}, started="2026-01-02T00:00:00")
    make("b", (3.0,), settings={"ppo.gamma": 0.5}, started="2026-01-03T00:00:00")
    make("c", (2.0,), settings={"ppo.gamma": 0.7}, started="2026-01-01T00:00:00")
    RunPaths(make("d", (9.0,))).run_record.write_text("damaged")
    entries = runs_below([tmp_path])
    for key, expected in (("validation", "bcad"), ("started", "cabd"), ("gamma", "bcad"), ("run", "abcd")):
        assert "".join(names(ordered(entries, key))) == expected
    assert "".join(names(ordered(entries, "validation", reverse=True))) == "acbd"
    with pytest.raises(UserError, match="`sort` valdation: there is no valdation; did you mean validation"):
        ordered(entries, "valdation")


def test_a_mean_over_seeds_is_worked_out_by_hand() -> None:
    sharpe = [figure([Validation(value, 0.5, 0.0, 0.0)]) for value in (1.0, 2.0, 6.0)]
    found = mean(zip((0, 1, 2), sharpe, strict=True))
    assert found is not None and (found.value, found.seeds) == (3.0, 3)
    assert found.error == pytest.approx(statistics.stdev([1.0, 2.0, 6.0]) / math.sqrt(3))
    twice = mean(zip((0, 0, 1), sharpe, strict=True))  # seed 0 is 1.5
    assert twice is not None and (twice.value, twice.seeds) == (3.75, 2)
    assert twice.error == pytest.approx(statistics.stdev([1.5, 6.0]) / math.sqrt(2))
    alone = mean([(0, sharpe[0]), (1, None)])
    assert alone is not None and (alone.value, alone.error) == (1.0, None)
    assert mean([(0, None)]) is None


def test_groups_have_their_mean_and_say_what_else_differs(make: Make, tmp_path: Path) -> None:
    for seed, (good, bad) in enumerate(((2.0, 1.0), (4.0, 2.0))):
        make(f"good{seed}", (good,), settings={"ppo.gamma": 0.9, "seed": seed}, market=f"market of {seed}")
        make(f"bad{seed}", (bad,), settings={"ppo.gamma": 0.5, "seed": seed}, market=f"market of {seed}")
    entries = runs_below([tmp_path])
    groups = grouped(entries, ["gamma"])
    assert [(group.values["gamma"], len(group.entries)) for group in groups] == [(0.9, 2), (0.5, 2)]
    best = groups[0].validation
    assert best is not None and (best.value, best.error, best.seeds) == (3.0, pytest.approx(1.0), 2)
    assert groups[0].also_differ == [] and groups[0].test is None
    (every,) = grouped(entries, ["quick_test"])
    assert every.also_differ == ["ppo.gamma"]
    make("one", (1.0,), phases=(1,), settings={"ppo.gamma": 0.9}, market="another")
    assert grouped(runs_below([tmp_path]), ["gamma"])[0].also_differ == ["last phase", "market"]
    with pytest.raises(UserError, match=r"`group_by` ppo\.gama: there is no ppo\.gama; did you mean ppo\.gamma"):
        grouped(entries, ["ppo.gama"])


def test_seeds_of_one_setting_are_one_group(make: Make, tmp_path: Path) -> None:
    for seed in (0, 1):
        make(f"a{seed}", settings={"seed": seed}, market=f"{seed}")
        make(f"b{seed}", settings={"seed": seed, "ppo.gamma": 0.5}, market=f"{seed}")
    make("c0", phases=(1,), market="0")
    groups = by_settings(runs_below([tmp_path]))
    assert [names(list(group.entries)) for group in groups] == [["a0", "a1"], ["b0", "b1"], ["c0"]]
    assert groups[1].values == {"ppo.gamma": 0.5, "phases": "1,2,3"}
    assert not differ_in_market(runs_below([tmp_path]))
    make("d0", settings={"data_dir": "bars"}, market="x")
    make("d1", settings={"data_dir": "bars", "seed": 1}, market="y")
    entries = runs_below([tmp_path])
    assert differ_in_market(entries) and len(by_settings(entries)) == 5


def test_tags_are_kept_sealed_and_checked(make: Make) -> None:
    paths = RunPaths(make("a"))
    assert read_tags(paths) == ()
    assert change_tags(paths, ["best", KEEP], remove=False) == ("best", KEEP)
    assert change_tags(paths, ["best"], remove=False) == ("best", KEEP)
    assert entry_of(paths.run_dir).tags == ("best", KEEP)
    with pytest.raises(UserError, match="has no tag other; its tags are best, keep"):
        change_tags(paths, ["other"], remove=True)
    for bad in ("", "a b", "-x", "a,b", "x" * 41, "../x"):
        with pytest.raises(UserError, match="a tag has at most 40 letters"):
            change_tags(paths, [bad], remove=False)
    assert change_tags(paths, ["best", KEEP], remove=True) == () and not paths.tags.exists()
    paths.tags.write_text('{"tags": ["keep"]}')
    with pytest.raises(UserError, match="has no checksum"):
        change_tags(paths, ["x"], remove=False)


def test_pruning_spares_what_runs_and_what_is_tagged(make: Make, tmp_path: Path) -> None:
    for name in "abcd":
        make(name, state="failed")
    change_tags(RunPaths(tmp_path / "b"), [KEEP], remove=False)
    change_tags(RunPaths(tmp_path / "c"), [KEEP], remove=False)
    RunPaths(tmp_path / "c").tags.write_text("damaged")
    mine = tmp_path / "a" / "mine.txt"
    mine.write_text("mine")
    pruning = plan(runs_below([tmp_path]), ["kind=training,run"], None, "validation")
    assert [one.entry.path.name for one in pruning.doomed] == ["a", "d"]
    assert {one.entry.path.name: one.why for one in pruning.spared} == {
        "b": "is tagged keep",
        "c": "has tags that cannot be read",
    }
    owned = [file for file in (tmp_path / "a").rglob("*") if file.is_file() and file != mine]
    assert pruning.doomed[0].size_in_bytes == sum(file.stat().st_size for file in owned) > 1000
    assert all((tmp_path / name).exists() for name in "abcd")  # nothing is deleted yet
    with claimed(RunPaths(tmp_path / "d")):  # it goes on since
        now = plan(runs_below([tmp_path]), ["state=failed"], None, "validation")
        assert [one.entry.path.name for one in now.doomed] == ["a"]
        remaining, problems = carry_out(pruning)
    assert remaining == [tmp_path / "a"] and list((tmp_path / "a").iterdir()) == [mine]
    assert len(problems) == 1 and "another training is running there" in problems[0]
    assert RunPaths(tmp_path / "d").run_record.exists()
    assert names(runs_below([tmp_path])) == ["b", "c", "d"]
    assert carry_out(plan(runs_below([tmp_path]), ["state=failed"], 0, "started")) == ([], [])
    assert not (tmp_path / "d").exists() and (tmp_path / "b").exists() and (tmp_path / "c").exists()


def test_pruning_spares_a_running_run(make: Make, tmp_path: Path) -> None:
    paths = RunPaths(make("a", state="running"))
    with claimed(paths):
        pruning = plan(runs_below([tmp_path]), ["kind=training"], None, "validation")
    assert not pruning.doomed and pruning.spared[0].why == "is running"
    assert plan(runs_below([tmp_path]), ["state=killed"], None, "validation").doomed


def test_the_best_are_kept(make: Make, tmp_path: Path) -> None:
    for name, sharpe in zip("abcd", (1.0, 4.0, 2.0, 3.0), strict=True):
        make(name, (sharpe,), started=f"2026-01-0{5 - len(name) + ord(name) % 4}T00:00:00")
    begun = RunPaths(make("e"))
    for phase in (1, 2, 3):
        begun.phase_results(phase).unlink()
    entries = runs_below([tmp_path])
    pruning = plan(entries, [], 2, "validation")
    assert [one.entry.path.name for one in pruning.doomed] == ["c", "a"]
    reasons = {one.entry.path.name: one.why for one in pruning.spared}
    assert reasons == {
        **dict.fromkeys("bd", "one of the best 2 by validation"),
        "e": "has no validation to be ranked by",
    }
    newest = plan(entries, [], 1, "started")
    latest = max(entries, key=lambda entry: entry.info.started if entry.info else "")
    assert newest.spared[0].entry is latest and len(newest.doomed) == 4
    assert not plan(entries, [], 2, "test").doomed
    for settings in ([], ["phases=1,2,3"]):
        make("f", phases=(1,))
        if settings:
            assert plan(runs_below([tmp_path]), settings, 2, "validation").doomed
        else:
            with pytest.raises(UserError, match="figures of phases 1 and 3 cannot be ranked together"):
                plan(runs_below([tmp_path]), settings, 2, "validation")
    make("g", market="another")
    with pytest.raises(UserError, match="runs on different markets cannot be ranked together"):
        plan(runs_below([tmp_path]), ["phases=1,2,3"], 2, "validation")
    for arguments, message in (((None,), "give `where` or `keep_best`"), ((-1,), "`keep_best` -1: at least 0")):
        with pytest.raises(UserError, match=message):
            plan(entries, [], *arguments, "validation")


def test_a_walk_forward_is_pruned_with_its_folds(walked: Any, tmp_path: Path) -> None:
    shutil.copytree(walked.run_dir, tmp_path / "walk")
    pruning = plan(runs_below([tmp_path]), ["kind=walk-forward"], None, "validation")
    sizes = sum(Path(folder, name).lstat().st_size for folder, _, files in os.walk(tmp_path / "walk") for name in files)
    assert pruning.size_in_bytes == sizes
    assert carry_out(pruning) == ([], []) and not (tmp_path / "walk").exists()


def test_sweeps_are_never_pruned(tmp_path: Path) -> None:
    sweep = tmp_path / "sweeps" / "ppo"
    sweep.mkdir(parents=True)
    (sweep / "study.db").touch()
    assert plan(runs_below([tmp_path]), ["kind=sweep,training"], None, "validation").doomed == ()


def test_many_runs_are_read_fast_and_without_jax(make: Make, tmp_path: Path) -> None:
    folder = make("runs/r0")
    for number in range(1, 100):
        shutil.copytree(folder, folder.with_name(f"r{number}"))
    code = (
        "import sys, time; from pathlib import Path; from mtquant_jax.runs.registry import runs_below; "
        "began = time.process_time(); count = len(runs_below([Path(sys.argv[1])])); "
        "assert not {'jax', 'optuna', 'pandas'} & set(sys.modules); print(count, time.process_time() - began)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    count, seconds = result.stdout.split()
    assert int(count) == 100 and float(seconds) < 2.0  # 1,000 take about 3 s
