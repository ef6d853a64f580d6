"""Several processes train one run together: the first writes, a lost one ends all, and any topology goes on."""

from __future__ import annotations

import dataclasses
import io
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from mtquant_jax import processes
from mtquant_jax.errors import UserError
from mtquant_jax.processes import joined
from mtquant_jax.runs.run_record import FINISHED, read_record
from mtquant_jax.storage.paths import RunPaths

SETTINGS = "--quick-test --phases 1 --symbols EURUSD,XAUUSD --market.num-paths 2 --market.num-bars 2000 --num-envs 8"
SETTINGS += " --meta-controller.batch-size 100 --joint-training.batch-size 100"
SETTINGS += "".join(f" --specialists.{name}.batch-size 100" for name in ("forex", "commodities", "equity"))
SETTINGS += " --phase1-timesteps 3000 --save-freq 200"


@dataclasses.dataclass(frozen=True)
class Started:
    """A training process, and the files that it prints to."""

    process: subprocess.Popen[bytes]
    out: Path
    error: Path

    def ended(self) -> tuple[int, str, str]:
        """Exit code, output and errors, once it has ended."""
        code = self.process.wait(timeout=600)
        return code, self.out.read_text(), self.error.read_text()


@pytest.fixture
def started() -> Iterator[Callable[..., Started]]:
    """``started(run directory, name, *flags)``: a training process, which does not outlive the test."""
    running: list[subprocess.Popen[bytes]] = []

    def start(run_dir: Path, name: str, *flags: str) -> Started:
        command = [sys.executable, "-m", "mtquant_jax", "train", "--run-dir", str(run_dir), *flags]
        out, error = (run_dir.with_name(f"{name}.{kind}") for kind in ("out", "err"))
        with out.open("wb") as stdout, error.open("wb") as stderr:
            running.append(subprocess.Popen(command, stdout=stdout, stderr=stderr))
        return Started(running[-1], out, error)

    yield start
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def together(started) -> Callable[..., list[Started]]:
    """``together(run directory, name, *flags)``: two processes on the loopback device."""

    def start(run_dir: Path, name: str, *flags: str) -> list[Started]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        common = ("--coordinator", address, "--num-processes", "2")
        return [started(run_dir, f"{name}{i}", *flags, *common, "--process-id", str(i)) for i in (0, 1)]

    return start


def arrays(run_dir: Path) -> dict[str, np.ndarray]:
    """Those of the specialist's model."""
    with zipfile.ZipFile(RunPaths(run_dir).specialist_bundle("forex")) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        return {name: np.load(io.BytesIO(archive.read(name))) for name in names}


@pytest.mark.slow
def test_a_lost_process_ends_the_other_and_any_topology_goes_on(started, together, tmp_path):
    run_dir, copy = tmp_path / "run", tmp_path / "copy"
    first, second = together(run_dir, "killed", *SETTINGS.split())
    checkpoint, deadline = RunPaths(run_dir).checkpoint(1, 400), time.monotonic() + 600
    while not checkpoint.is_dir() and first.process.poll() is second.process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second.process.send_signal(signal.SIGKILL)
    assert second.ended()[0] == -signal.SIGKILL, second.ended()
    code, out, error = first.ended()
    assert code == 2, error
    assert "another process of this training has ended" in error
    assert "start all of them again with --resume" in error
    assert "phase 1: specialists learn" in out
    shutil.copytree(run_dir, copy)

    (code, out, error), (other, silent, errors) = (one.ended() for one in together(run_dir, "again", "--resume"))
    assert (code, other) == (0, 0), error + errors
    assert "goes on from its checkpoint" in out
    assert "forex" not in silent  # the first one prints
    assert read_record(RunPaths(run_dir)).state == FINISHED

    code, out, error = started(copy, "alone", "--resume").ended()
    assert code == 0, error
    assert "goes on from its checkpoint" in out
    alone = arrays(copy)
    for name, there in arrays(run_dir).items():
        np.testing.assert_allclose(there, alone[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_flags_of_several_processes_are_checked():
    def refusal(*arguments) -> str:
        with pytest.raises(UserError) as error, joined(*arguments, devices=1, environment={}):
            pass
        return str(error.value)

    assert "`process_id` missing: processes that train together need" in refusal("node1:1234", 2, -1)
    assert "`coordinator` and `process_id` missing" in refusal("", 2, -1)
    assert "`coordinator` node1: must be host and port of process 0" in refusal("node1", 2, 0)
    assert "`process_id` 2: must be below `num_processes` 2; it counts from 0" in refusal("node1:1234", 2, 2)


@pytest.mark.parametrize(
    "environment",
    [{}, {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, {"SLURM_STEP_NUM_TASKS": "4"}],
)
def test_a_process_alone_joins_nobody(environment):
    with joined("", 0, -1, 1, environment), joined("", 1, -1, 1, {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}):
        assert processes.count() == 1 and processes.is_first()
