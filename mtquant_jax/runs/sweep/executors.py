"""Where the workers of a sweep run: as processes of this machine, or as actors of a Ray cluster."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import importlib
import math
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any

import jax

from mtquant_jax.errors import UserError
from mtquant_jax.runs.sweep.worker import REFUSED, Job, take_share, work


@dataclasses.dataclass(frozen=True)
class End:
    """How a worker ended."""

    failure: str = ""  # empty: there was nothing left to do, or it was asked to stop
    refused: bool = False  # whether another attempt would end in the same way


class Worker(abc.ABC):
    """One that is at work."""

    @abc.abstractmethod
    def end(self) -> End | None:
        """How it ended; None while it works."""

    @abc.abstractmethod
    def stop(self) -> None:
        """Let it end after its chunk."""

    @abc.abstractmethod
    def kill(self) -> None:
        """End it now."""


class Executor(abc.ABC):
    """Starts workers."""

    count: int  # of workers at a time
    workers: dict[str, Worker]  # by the owner of their trials

    def __init__(self) -> None:
        self.workers = {}

    @abc.abstractmethod
    def start(self, job: Job, index: int) -> Worker:
        """Start a worker in the place of one of ``count``."""

    def close(self) -> None:
        """Give back what it holds besides workers."""
        return None

    def check(self, url: str) -> None:
        """Refuse a storage that workers cannot reach.

        Raises:
            UserError: they cannot.
        """
        if not url:
            raise UserError("`storage`: a study in memory has no other workers")


class Processes(Executor):
    """Workers are processes of this machine, each with its share of the cores."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def check(self, url: str) -> None:
        """Refuse also a GPU, whose memory the first process would take."""
        super().check(url)
        if jax.default_backend() != "cpu":
            raise UserError(
                "`executor` processes:N shares the cores of a CPU; on a GPU a batch is one program: give a larger "
                "`batch`, or start one sweep per GPU on one `storage`"
            )

    def start(self, job: Job, index: int) -> Worker:
        """Start a process."""
        return _Process(job, index, self.count)


class _Process(Worker):
    def __init__(self, job: Job, index: int, of: int) -> None:
        self._end: End | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # is read when the process has ended
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mtquant_jax.runs.sweep.worker", str(index), str(of)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            start_new_session=True,  # Ctrl-C in a terminal is for the process that shows the sweep
        )
        assert self.process.stdin is not None
        self._stdin = self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # it has died, which `end` says
            self._stdin.write(pickle.dumps(job))
            self._stdin.flush()

    def end(self) -> End | None:
        if self._end is None and (code := self.process.poll()) is not None:
            self.stop()
            with self._errors as file:
                file.seek(0)
                lines = file.read().decode(errors="replace").strip().splitlines()
            self._end = _end_of(code, lines[-1] if lines else "")
        return self._end

    def stop(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.end()


def _end_of(code: int, last: str) -> End:
    """How a process ended, by its code and its last line on the standard error."""
    if code == 0:
        return End()
    if code == REFUSED:
        return End(last, refused=True)
    how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return End(f"{how}{': ' * bool(last)}{last}")


class RayCluster(Executor):
    """Workers are actors of the Ray cluster of RAY_ADDRESS, else of one on this machine that ends with the sweep."""

    def __init__(self, count: int = 0) -> None:
        """Connect.

        Args:
            count: of workers; 0: one for each GPU of the cluster or, where it has none, for each machine that
                has cores for work.

        Raises:
            UserError: Ray is not installed, or the cluster cannot be reached.
        """
        super().__init__()
        self._ray, self._is_ours = _connected()
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        self._machines, self._with_cores = len(nodes), max(1, sum(node.get("CPU", 0) > 0 for node in nodes))
        resources = self._ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        self.count = count or gpus or self._with_cores
        self._needs = {  # no more than all can have at the same time, since one without a place waits for ever
            "num_cpus": min(1.0, resources.get("CPU", 0.0) / self.count),
            "num_gpus": min(1.0, gpus / self.count),
        }

    def check(self, url: str) -> None:
        """Refuse also an SQLite file for several machines."""
        super().check(url)
        if self._machines > 1 and url.startswith("sqlite"):
            raise UserError(
                f"`storage`: the Ray cluster has {self._machines} machines, and an SQLite file is for one; give a "
                "database, or journal:FILE on a file system that all of them share"
            )

    def close(self) -> None:
        """End a cluster that began here."""
        if self._is_ours:
            self._ray.shutdown()

    def start(self, job: Job, index: int) -> Worker:
        """Start an actor."""
        on_each = math.ceil(self.count / self._with_cores)  # Ray spreads them, one machine after the other
        return _Actor(self._ray, job, index // self._with_cores, on_each, self._needs)


class _Actor(Worker):
    def __init__(self, ray: Any, job: Job, index: int, on_each: int, needs: dict[str, float]) -> None:
        self._ray = ray
        options = {**needs, "max_concurrency": 2, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        self.actor = ray.remote(**options)(_RayWorker).remote()
        self._work = self.actor.work.remote(pickle.dumps(job), index, on_each)

    def end(self) -> End | None:
        if not self._ray.wait([self._work], timeout=0)[0]:
            return None
        try:
            refusal = self._ray.get(self._work)
        except self._ray.exceptions.RayError as error:
            cause = getattr(error, "cause", None)
            text = f"{type(cause).__name__}: {cause}" if cause else str(error).strip().splitlines()[0]
            return End(text)
        return End(refusal, refused=bool(refusal))

    def stop(self) -> None:
        self.actor.stop.remote()

    def kill(self) -> None:
        self._ray.kill(self.actor)


class _RayWorker:
    """What runs in a process of the cluster."""

    def __init__(self) -> None:
        self._stopped = threading.Event()

    def work(self, job: bytes, index: int, of: int) -> str:
        """Work; what was refused, in words."""
        take_share(index, of)
        try:
            work(pickle.loads(job), self._stopped.is_set)
        except UserError as error:
            return str(error)
        return ""

    def stop(self) -> None:
        """Stop after this chunk."""
        self._stopped.set()

    def process(self) -> int:
        """Its number."""
        return os.getpid()


def _connected() -> tuple[Any, bool]:
    """Ray, connected, and whether it was not before; it takes SIGTERM for itself, which is given back."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise UserError(
            "`executor` ray needs the package ray, which is not installed; pip install 'ray>=2.40' (the extra ray)"
        ) from None
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    began = not ray.is_initialized()
    try:
        if began:
            address = "auto" if os.environ.get("RAY_ADDRESS") else "local"
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except Exception as error:  # of any kind that Ray raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"the Ray cluster cannot be reached: {reason:.300}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return ray, began


def parse_executor(text: str) -> Callable[[], Executor]:
    """What makes an executor of ``processes:N``, ``ray`` or ``ray:N``.

    Raises:
        UserError: it is none of these.
    """
    kind, _, number = text.partition(":")
    if number.isdecimal() and int(number) > 0:
        count = int(number)
        if kind == "processes":
            return lambda: Processes(count)
        if kind == "ray":
            return lambda: RayCluster(count)
    if text == "ray":
        return RayCluster
    raise UserError(f"`executor` {text}: processes:N, ray or ray:N, where N is the number of workers")
