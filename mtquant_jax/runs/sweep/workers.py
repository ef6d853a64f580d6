"""Runs a sweep with several workers: starts them, shows what they tell the study, and replaces those that die."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Collection, Iterator

from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import Market
from mtquant_jax.runs.sweep.executors import End, Executor, Worker
from mtquant_jax.runs.sweep.result import SweepResult
from mtquant_jax.runs.sweep.study import Finished, Study, owner_named
from mtquant_jax.runs.sweep.sweep import SweepPlan, result_of
from mtquant_jax.runs.sweep.worker import Job
from mtquant_jax.training.observer import Stopped

_FAILURES = 3  # of workers, in a row and without a new result, that end a sweep
_SECONDS_OF_POLL = 0.5
_SECONDS_OF_PATIENCE = 10.0  # with workers that are to stop, before they are killed


def run_workers(
    plan: SweepPlan,
    study: Study,
    market: Market,
    executor: Executor,
    url: str,
    stops: Callable[[], bool] = lambda: False,
    told: Callable[[Finished], None] = lambda finished: None,
    notice: Callable[[str], None] = lambda text: None,
) -> SweepResult:
    """Have workers try what the study asks for, until there are enough trials.

    Args:
        plan: what is done.
        study: opened for it; what it holds already counts.
        market: of the plan.
        executor: starts the workers.
        url: of the study.
        stops: whether someone wants it to stop.
        told: is shown every trial as soon as there is a result.
        notice: is shown the reason why a worker is replaced.

    Raises:
        Stopped: ``stops`` wanted it; trials without a result will be tried again.
        UserError: workers refuse the study, or die again and again; what they have told is kept.
    """
    began = time.monotonic()
    executor.check(url)
    left = math.inf if plan.total is None else plan.total - study.taken()
    batch = plan.batch if math.isinf(left) else max(1, min(plan.batch, math.ceil(left / executor.count)))
    of_worker = dataclasses.replace(plan, batch=batch, timeout=None)
    seen = {one.trial.number for one in study.finished()}
    started, failures, stopping = 0, 0, False
    with _ended(executor, study) as workers:
        places: dict[str, int] = {}
        while True:
            ends = {owner: end for owner, worker in workers.items() if (end := worker.end()) is not None}
            for owner in ends:  # before results are read: what it has told is in the study
                del workers[owner], places[owner]
            for one in study.finished(seen):
                seen.add(one.trial.number)
                failures = 0
                told(one)
            if ends:
                study.recover(ends)
            for end in ends.values():
                failures += bool(end.failure)
                if end.refused or failures >= _FAILURES:
                    raise UserError(_failed(end, failures, len(seen)))
                if end.failure:
                    notice(f"a worker ended by {end.failure}; what it trained is tried again")
            if len(seen) == plan.total:
                break
            over = plan.timeout is not None and time.monotonic() - began > plan.timeout
            if (stops() or over) and not stopping:
                stopping = True
                for worker in workers.values():
                    worker.stop()
            while not stopping and len(workers) < min(executor.count, _needed(of_worker, study, workers)):
                place = min(set(range(executor.count)) - set(places.values()))
                owner = owner_named(f"worker {started}")
                workers[owner] = executor.start(Job(of_worker, url, owner, os.getcwd()), place)
                places[owner], started = place, started + 1
            if not workers:
                break
            time.sleep(_SECONDS_OF_POLL)
    if stops():
        raise Stopped
    return result_of(plan, study, market, time.monotonic() - began, None)


def _needed(plan: SweepPlan, study: Study, workers: Collection[str]) -> float:
    """Workers that have trials, or would take some."""
    if plan.total is None:
        return math.inf
    busy = len(study.owners() & set(workers))
    return busy + math.ceil(max(0, plan.total - study.taken()) / plan.batch)


def _failed(end: End, failures: int, finished: int) -> str:
    """Why the sweep ends without all of its trials."""
    kept = f"{finished} finished trials are kept, and `resume` goes on with them"
    if end.refused:
        return f"a worker refuses: {end.failure}"
    return f"{failures} workers in a row ended without a result, the last one by {end.failure}; {kept}"


@contextlib.contextmanager
def _ended(executor: Executor, study: Study) -> Iterator[dict[str, Worker]]:
    """The workers of an executor; none is left when the block ends, and none of their trials runs."""
    workers = executor.workers
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.stop()
        patience = time.monotonic() + _SECONDS_OF_PATIENCE
        while time.monotonic() < patience and not all(worker.end() for worker in workers.values()):
            time.sleep(0.05)
        for worker in workers.values():
            worker.kill()
        study.recover(list(workers))
        workers.clear()
        executor.close()
