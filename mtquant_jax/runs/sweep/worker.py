"""A worker of a sweep: a process that trains batches of trials until the study has enough, and writes to it alone.

``python -m mtquant_jax.runs.sweep.worker INDEX OF`` takes a `Job` from its standard input and stops when that ends, be
it that the sweep stops or that its process has died.
"""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtquant_jax.runs.sweep.sweep import SweepPlan

REFUSED = 2  # exit code: another attempt would end in the same way


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker is to do; it travels between the processes of one sweep, and is never read from a file."""

    plan: SweepPlan
    url: str  # of the study
    owner: str  # whose its trials are
    folder: str  # that paths of the settings start from


def take_share(index: int, of: int) -> None:
    """Keep to the cores of one of several workers of this machine; to be called before JAX is used."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share(sorted(os.sched_getaffinity(0)), index, of))


def share(cores: list[int], index: int, of: int) -> list[int]:
    """The cores of one of several workers; one that others have too where there are more workers than cores."""
    return cores[index * len(cores) // of : (index + 1) * len(cores) // of] or [cores[index % len(cores)]]


def work(job: Job, stops: Callable[[], bool]) -> None:
    """Train batches of trials until the study needs no more.

    Args:
        job: what is to be done.
        stops: whether the sweep stops; looked at after every chunk.

    Raises:
        UserError: the study or the market is another one than that of the sweep.
    """
    from mtquant_jax.jax_setup import prepare_jax

    if Path(job.folder).is_dir():  # on another machine it may not be there
        os.chdir(job.folder)
    prepare_jax()
    from mtquant_jax.runs.sweep.batch import Markets
    from mtquant_jax.runs.sweep.study import Study
    from mtquant_jax.runs.sweep.sweep import run_sweep
    from mtquant_jax.training.compiling import Compiler
    from mtquant_jax.training.observer import Stopped

    plan, markets = job.plan, Markets()
    purpose = plan.purpose(markets.of(plan.config))
    study = Study(job.url, plan.name, plan.space, plan.method, plan.config.seed, purpose, job.owner)
    try:
        run_sweep(plan, study, markets, Compiler.of(plan.config), stops)
    except Stopped:
        return


def main() -> int:
    """Work for the process at the other end of the standard input."""
    from mtquant_jax.errors import UserError

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal; the sweep says when to stop
    take_share(int(sys.argv[1]), int(sys.argv[2]))
    job = pickle.load(sys.stdin.buffer)
    stopped = threading.Event()

    def listen() -> None:
        while os.read(sys.stdin.fileno(), 1):  # a buffered read would hold a lock when the interpreter ends
            continue
        stopped.set()

    threading.Thread(target=listen, daemon=True).start()
    try:
        work(job, stopped.is_set)
    except UserError as error:
        print(error, file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
