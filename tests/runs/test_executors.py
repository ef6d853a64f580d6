"""Several workers on one study: it ends complete, no trial counts twice, and what dies on the way is replaced."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time

import jax
import optuna
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.runs.sweep.executors import Processes, parse_executor
from mtquant_jax.runs.sweep.study import Study, default_url, owner_named
from mtquant_jax.runs.sweep.sweep import SweepPlan
from mtquant_jax.runs.sweep.trials import TrialResult
from mtquant_jax.runs.sweep.worker import share
from mtquant_jax.runs.sweep.workers import run_workers
from mtquant_jax.settings.layers import load_config
from mtquant_jax.settings.search_space import SearchSpace
from mtquant_jax.training.observer import Stopped
from tests.runs.test_sweep import plan_of, quick, swept  # noqa: F401

GRID = {"learning_rate": [1e-3, 3e-3, 1e-2], "simulation.cost_multiplier": [1.0, 2.0]}
RANGE = {"learning_rate": {"low": 1e-4, "high": 1e-2}}


@pytest.fixture(scope="module")
def plain(quick):  # noqa: F811
    """The plan of a grid, its market, and what one process finds."""
    config, market = quick
    plan = plan_of(config, GRID, seeds=(0,), batch=1)
    return plan, market, swept(plan, market)


def url_of(storage: str, folder) -> str:
    return default_url(folder) if storage == "sqlite" else f"journal:{folder / 'journal.log'}"


def study_of(plan: SweepPlan, url: str, name: str = "main", market=None) -> Study:
    purpose = {} if market is None else plan.purpose(market)
    return Study(url, plan.name, plan.space, plan.method, 0, purpose, owner_named(name))


@pytest.fixture
def impatient(monkeypatch):
    """A study that waits for the lock of an SQLite file for a second."""

    def opened(plan: SweepPlan, url: str, market) -> Study:
        with monkeypatch.context() as patch:
            patch.setattr("mtquant_jax.runs.sweep.study._SECONDS_OF_LOCK", 1.0)
            return study_of(plan, url, market=market)

    return opened


def states_of(url: str, name: str) -> list[str]:
    return [trial.state.name for trial in optuna.load_study(study_name=name, storage=url).get_trials()]


def by_values(result) -> dict:
    return {tuple(one.trial.values.items()): one.result.scores for one in result.finished}


@contextlib.contextmanager
def killed_in_the_middle(study: Study, process_of):
    """Kill a worker in the middle of a trial; one must have been found when the block ends.

    `study` is one that does not wait long for the lock of its file: a process may be stopped while it holds it, and
    must go on for the file to be read.
    """
    killed: list[str] = []
    over = threading.Event()

    def owners() -> set[str]:
        try:
            return study.owners()
        except optuna.exceptions.StorageInternalError:
            return set()

    def watch() -> None:
        while not (killed or over.wait(0.05)):
            for owner in owners():
                if killed or (process := process_of(owner)) is None:
                    continue
                os.kill(process, signal.SIGSTOP)  # so that its trial does not end between the look and the kill
                if owner in owners():
                    os.kill(process, signal.SIGKILL)
                    killed.append(owner)
                else:
                    os.kill(process, signal.SIGCONT)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert killed


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_killed_process_is_replaced_and_no_trial_counts_twice(plain, tmp_path, storage, impatient):
    plan, market, result = plain
    url = url_of(storage, tmp_path)
    study, executor = study_of(plan, url, market=market), Processes(2)
    lines: list[int] = []
    notices: list[str] = []

    def process_of(owner: str) -> int | None:
        return executor.workers[owner].process.pid if owner in executor.workers else None

    def told(one) -> None:
        lines.append(one.trial.number)

    with killed_in_the_middle(impatient(plan, url, market), process_of):
        found = run_workers(plan, study, market, executor, url, told=told, notice=notices.append)
    assert by_values(found) == by_values(result) and len(found.finished) == 6
    assert notices == ["a worker ended by signal SIGKILL; what it trained is tried again"]
    assert len(lines) == len(set(lines)) == 6
    assert study.owners() == set() and not executor.workers


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning")  # the command connects before JAX computes
def test_a_killed_ray_worker_is_replaced_and_no_trial_counts_twice(plain, tmp_path, monkeypatch, impatient):
    ray = pytest.importorskip("ray")
    from mtquant_jax.runs.sweep.executors import RayCluster

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    plan, market, result = plain
    url = default_url(tmp_path)
    study, executor = study_of(plan, url, market=market), RayCluster(2)

    def process_of(owner: str) -> int | None:
        return ray.get(executor.workers[owner].actor.process.remote()) if owner in executor.workers else None

    with killed_in_the_middle(impatient(plan, url, market), process_of):
        found = run_workers(plan, study, market, executor, url)
    assert by_values(found) == by_values(result) and len(found.finished) == 6
    assert study.owners() == set() and not ray.is_initialized()


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called:RuntimeWarning")
def test_a_ray_machine_that_is_lost_is_done_without(plain, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    from mtquant_jax.runs.sweep.executors import RayCluster

    plan, market, result = plain
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        lost = [cluster.add_node(num_cpus=1)]
        cluster.wait_for_nodes()
        monkeypatch.setenv("RAY_ADDRESS", cluster.address)
        executor, url, notices = RayCluster(), url_of("journal", tmp_path), []
        assert executor.count == 2
        with pytest.raises(UserError, match="has 2 machines, and an SQLite file is for one"):
            executor.check(default_url(tmp_path))
        study = study_of(plan, url, market=market)

        def told(one) -> None:
            if lost and len(study.owners()) == 2:  # both machines are in the middle of a trial
                cluster.remove_node(lost.pop(), allow_graceful=False)

        found = run_workers(plan, study, market, executor, url, told=told, notice=notices.append)
        assert not lost and len(notices) <= 1  # the other one may be done with all before it is noticed
    finally:
        cluster.shutdown()
    assert by_values(found) == by_values(result) and len(found.finished) == 6


class Dying(Processes):
    """Its workers die before they have done anything."""

    def start(self, job, index):
        worker = super().start(job, index)
        worker.process.kill()
        return worker


class Mistaken(Processes):
    """Its workers train other seeds than the study holds."""

    def start(self, job, index):
        return super().start(dataclasses.replace(job, plan=dataclasses.replace(job.plan, seeds=(5,))), index)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (
            Dying,
            "3 workers in a row ended without a result, the last one by signal SIGKILL; 0 finished trials are kept",
        ),
        (Mistaken, r"a worker refuses: the study test in .* is of another seeds \(\[0\], and here \[5\]\)"),
    ],
)
def test_workers_that_get_nowhere_end_the_sweep_with_a_reason(quick, tmp_path, kind, says):  # noqa: F811
    config, market = quick
    plan, url = plan_of(config, GRID, seeds=(0,)), default_url(tmp_path)
    study, executor = study_of(plan, url, market=market), kind(1)
    with pytest.raises(UserError, match=says):
        run_workers(plan, study, market, executor, url)
    assert not executor.workers and study.taken() == 0
    assert len(study.ask(10, plan.total)) == 6


@pytest.mark.slow
def test_workers_that_are_stopped_leave_nothing_running(quick, tmp_path):  # noqa: F811
    config, market = quick
    plan, url = plan_of(config, GRID, seeds=(0,), batch=1), default_url(tmp_path)
    study = study_of(plan, url, market=market)
    stopped = threading.Event()

    def stops() -> bool:
        if study.owners():
            stopped.set()
        return stopped.is_set()

    with pytest.raises(Stopped):
        run_workers(plan, study, market, Processes(1), url, stops)
    assert study.owners() == set() and study.taken() < 6
    late = dataclasses.replace(plan, timeout=0.0)
    assert len(run_workers(late, study, market, Processes(1), url).finished) == study.taken()


COMMAND = "sweep --grid learning_rate=1e-3,3e-3,1e-2 cost_multiplier=1,2 --batch 1 --classes commodities --seeds 1"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_command_goes_on_after_a_signal(plain, tmp_path, number):
    flags = f"{COMMAND} --quick-test --name test --run-dir {tmp_path} --executor processes:2".split()
    command = [sys.executable, "-m", "mtquant_jax", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("trial "):
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    if number == signal.SIGINT:
        again = errors.partition("this goes on with it: mtquant-jax ")[2].split()
        assert process.returncode == 130 and again[again.index("--executor") + 1] == "processes:2"
        url = default_url(tmp_path / "sweeps" / "test")
        assert "RUNNING" not in states_of(url, "test")
    else:
        assert process.returncode == -signal.SIGKILL
        again = [*flags, "--resume"]
    resumed = subprocess.run([*command[:3], *again], capture_output=True, text=True, check=True)
    assert "6 trials: 6 complete" in resumed.stdout
    import pandas as pd

    trials = pd.read_parquet(tmp_path / "sweeps" / "test" / "trials.parquet")
    found = {(row["learning_rate"], row["cost_multiplier"]): (row["score_seed_0"],) for _, row in trials.iterrows()}
    assert found == {tuple(value for _, value in key): scores for key, scores in by_values(plain[2]).items()}


def test_a_worker_has_its_share_of_the_cores():
    assert [share([0, 1, 4, 5, 6], i, 2) for i in range(2)] == [[0, 1], [4, 5, 6]]
    assert [share([3, 7], i, 3) for i in range(3)] == [[3], [3], [7]]


def test_an_executor_is_named():
    assert parse_executor("processes:3")().count == 3
    for text in ("processes", "processes:0", "processes:x", "slurm", "ray:", "ray:-1"):
        with pytest.raises(UserError, match=f"`executor` {text}: processes:N, ray or ray:N"):
            parse_executor(text)


def test_processes_are_not_for_a_gpu(monkeypatch):
    Processes(2).check("sqlite:///x")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(UserError, match="processes:N shares the cores of a CPU"):
        Processes(2).check("sqlite:///x")


def test_a_study_in_memory_has_no_workers(quick):  # noqa: F811
    config, market = quick
    plan = plan_of(config, GRID)
    with pytest.raises(UserError, match="a study in memory has no other workers"):
        run_workers(plan, study_of(plan, ""), market, Processes(2), "")


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")  # Optuna leaves one where creating tables fails
@pytest.mark.parametrize("storage", ["sqlite", "journal"])
@pytest.mark.parametrize("mapping", [GRID, RANGE], ids=["grid", "range"])
def test_askers_at_the_same_time_take_as_many_as_there_are_and_tell_each_once(tmp_path, storage, mapping):
    config = load_config(["--quick-test", "--phases", "1"])[0]
    method, total = ("grid", 6) if mapping is GRID else ("random", 11)
    plan = plan_of(config, mapping, method=method, num_trials=total)
    url, together, told = url_of(storage, tmp_path), threading.Barrier(4), []

    def asks(name: str) -> None:
        together.wait()
        study = study_of(plan, url, name)  # tables are created, and a grid is enqueued, by several of them
        while trials := study.ask(3, total):
            for trial in trials:
                counts = study.tell(trial, TrialResult(state="complete", scores=(float(trial.number),)))
                told.append((trial.number, counts))

    threads = [threading.Thread(target=asks, args=(f"asker {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    study = study_of(plan, url)
    finished = study.finished()
    assert len(finished) == study.taken() == total and study.owners() == set()
    assert len({json.dumps(one.trial.values) for one in finished}) == total
    # SQLite may give one waiting trial to two who ask at once: one of them then counts.
    assert sorted(number for number, counts in told if counts) == sorted(one.trial.number for one in finished)
    if mapping is GRID:
        assert {tuple(one.trial.values.values()) for one in finished} == {
            tuple(values.values()) for values in SearchSpace.of(GRID, config, "test").grid()
        }


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
@pytest.mark.parametrize("state", ["complete", "failed"])
@pytest.mark.parametrize("mapping", [GRID, RANGE], ids=["grid", "range"])
def test_one_that_was_taken_for_dead_counts_once(tmp_path, storage, state, mapping, monkeypatch):
    config = load_config(["--quick-test", "--phases", "1"])[0]
    method = "grid" if mapping is GRID else "random"
    plan, url = plan_of(config, mapping, method=method, num_trials=2), url_of(storage, tmp_path)
    slow, parent = study_of(plan, url, "slow"), study_of(plan, url)
    first, second = slow.ask(2, 2)
    result = TrialResult(state=state, scores=(1.0,))
    assert parent.recover([owner_named("other")]) == 0
    assert parent.recover([owner_named("slow")]) == 2 and parent.recover([owner_named("slow")]) == 0
    assert not slow.tell(first, result) and slow.report(second.number, 100, 1.0)
    assert parent.finished() == [] and parent.taken() == 0

    again = parent.ask(2, 2)
    if mapping is RANGE:  # what is left of a grid is tried first
        assert [one.values for one in again] == [one.values for one in (first, second)]
    # this time it is taken for dead while it tells: the result is there, and the state is not
    tell = parent._study.tell

    def late(number, *arguments, **options):
        other = study_of(plan, url, "other")
        assert other.recover([owner_named("main")]) == 2
        return tell(number, *arguments, **options)

    monkeypatch.setattr(parent._study, "tell", late)
    assert not parent.tell(again[0], result)
    monkeypatch.undo()
    # a failure that was told is one; of a grid nobody else has tried these values
    assert slow.taken() == len(slow.finished()) == (mapping is GRID and state == "failed")
    third = study_of(plan, url, "third")
    for trial in third.ask(2, 2):
        assert third.tell(trial, result)
    assert len(third.finished()) == 2 and third.ask(1, 2) == []
    parent.give_back()  # its other one is another's now
    assert len(parent.finished()) == 2


def test_trials_of_another_machine_are_taken_over_where_that_is_asked_for(tmp_path):
    config = load_config(["--quick-test", "--phases", "1"])[0]
    plan, url = plan_of(config, RANGE, method="random", num_trials=2), default_url(tmp_path)
    elsewhere = Study(url, plan.name, plan.space, plan.method, 0, {}, owner="elsewhere:1:worker 0")
    lost, study = elsewhere.ask(2, 2), study_of(plan, url)
    assert study.recover() == 0 and study.ask(1, 2) == []
    assert study.recover(everyone=True) == 2
    assert [trial.values for trial in study.ask(2, 2)] == [trial.values for trial in lost]


def test_a_drawn_value_depends_on_the_trial_and_not_on_who_asks(tmp_path):
    config = load_config(["--quick-test", "--phases", "1"])[0]
    plan = plan_of(config, RANGE, method="random", num_trials=6)

    def drawn(url: str, turns: list[int]) -> list[float]:
        studies = [study_of(plan, url, f"worker {i}") for i in range(2)]
        trials = [trial for i in turns for trial in studies[i].ask(1)]
        return [trial.values["learning_rate"] for trial in sorted(trials, key=lambda trial: trial.number)]

    alone = drawn(f"journal:{tmp_path / 'alone'}", [0] * 6)
    assert len(set(alone)) == 6 and drawn(f"journal:{tmp_path / 'both'}", [0, 1, 1, 0, 1, 0]) == alone


def test_ray_is_asked_for_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    began = time.monotonic()
    with pytest.raises(UserError, match=r"`executor` ray needs the package ray, .*the extra ray"):
        parse_executor("ray:2")()
    assert time.monotonic() - began < 5
