"""Trainings that are killed at random instants and resumed: what they lose, and whether they end with the same models.

    python benchmarks/kills.py [--kills 50] [--checkout DIR]

Three-phase trainings, specialists one after the other and side by side, and walk-forwards get SIGKILL, SIGTERM or
SIGINT, at any instant or while a checkpoint is being written, and go on with ``--resume`` until they are done. Their
models are compared byte by byte with those of trainings that were left alone.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tyro
from recording import RESULTS, store

from mtquant_jax.storage.paths import RunPaths

_CHECKOUT = Path(__file__).resolve().parents[1]
_SAVE_FREQ = 500
_QUICK = ["--quick-test", "--save-freq", str(_SAVE_FREQ), "--phase1-timesteps", "2000", "--phase2-timesteps", "1000"]
_QUICK += ["--phase3-timesteps", "1000"]
_KINDS = {
    "sequential": ["train", *_QUICK, "--verbose", "--no-parallel"],  # a line per chunk, to know what is lost
    "parallel": ["train", *_QUICK, "--verbose"],
    "walk-forward": ["walk-forward", *_QUICK, "--folds", "2", "--num-seeds", "2", "--draws", "100"],
}
_SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_POSITION = re.compile(r"^  (\S+) +([\d,]+)/([\d,]+) +(trained before|goes on|[\d,]+/s)", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Kill trainings and resume them."""

    kills: int = 50
    """How many, in turn over the kinds of training."""
    kinds: tuple[str, ...] = ("sequential", "parallel", "walk-forward")
    """Kinds of training, as sequential, parallel or walk-forward."""
    seed: int = 0
    """Of the instants."""
    name: str = "kills"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""
    checkout: Path = _CHECKOUT
    """Checkout whose code is run."""


@dataclasses.dataclass(frozen=True)
class Kill:
    """One signal, and what came of it."""

    kind: str
    signal: str
    after_seconds: float
    while_writing: bool  # whether a checkpoint was being written
    exit_code: int
    resumable: bool  # whether the command's last line was the one that resumes, where it could say one
    traceback: bool
    lost_timesteps: int  # of the agent that lost most
    trained_again: bool  # whether an agent that was finished, and the next begun, was trained again


def main(arguments: Arguments) -> None:
    """Run, kill, resume, compare and store."""
    instants = random.Random(arguments.seed)
    kills: list[Kill] = []
    same: dict[str, list[bool]] = {kind: [] for kind in arguments.kinds}
    with tempfile.TemporaryDirectory() as folder:
        whole = {kind: _alone(arguments.checkout, kind, Path(folder)) for kind in arguments.kinds}
        number = 0
        while len(kills) < arguments.kills:
            kind = arguments.kinds[number % len(arguments.kinds)]
            run_dir, number = Path(folder) / f"{kind}_{number}", number + 1
            seconds, models = whole[kind]
            kills += _killed_until_done(arguments.checkout, kind, run_dir, seconds, instants)
            same[kind].append(_models(run_dir) == models)
            print(f"{len(kills):3d} kills, {kind}: {'same' if same[kind][-1] else 'OTHER'} models", flush=True)
    store(arguments.name, _figures(arguments, kills, same), arguments.results)
    for line in _table(kills):
        print(line)


def _alone(checkout: Path, kind: str, folder: Path) -> tuple[float, dict[str, str]]:
    """Seconds and models of a training that nobody disturbs, with everything compiled before."""
    for name in ("first", "whole"):
        began, run_dir = time.perf_counter(), folder / f"{kind}_{name}"
        process = _start(checkout, kind, run_dir, resume=False)
        text = process.communicate()[0]
        if process.returncode:
            raise RuntimeError(text)
    return time.perf_counter() - began, _models(run_dir)


def _killed_until_done(checkout: Path, kind: str, run_dir: Path, seconds: float, instants: random.Random) -> list[Kill]:
    """Kill a training three times, at instants that reach over all of it, and let it end."""
    kills, resume, positions = [], False, {}
    for _ in range(3):
        process = _start(checkout, kind, run_dir, resume)
        number, wait = instants.choice(_SIGNALS), instants.uniform(0.1, 0.9) * seconds
        writing = _wait(process, run_dir, wait, until_writing=instants.random() < 0.4)
        ended = process.poll() is not None  # by itself, before the signal came
        if not ended:
            process.send_signal(number)
        text = process.communicate()[0]
        lost, again = _losses(positions, text)
        if kills:
            kills[-1] = dataclasses.replace(kills[-1], lost_timesteps=lost, trained_again=again)
        if ended:
            if process.returncode:
                raise RuntimeError(text)
            return kills
        positions = _positions(text) or positions
        done = process.returncode == 0  # the signal came when all was done
        says = process.returncode == -signal.SIGKILL or "--resume --run-dir" in text or done or not _positions(text)
        kills.append(
            Kill(
                kind=kind,
                signal=number.name,
                after_seconds=wait,
                while_writing=writing,
                exit_code=process.returncode,
                resumable=says,
                traceback="Traceback" in text,
                lost_timesteps=0,
                trained_again=False,
            )
        )
        if done:
            return kills
        resume = RunPaths(run_dir).run_record.exists()  # otherwise nothing has begun that could go on
    process = _start(checkout, kind, run_dir, resume)
    text = process.communicate()[0]
    if process.returncode:
        raise RuntimeError(text)
    lost, again = _losses(positions, text)
    kills[-1] = dataclasses.replace(kills[-1], lost_timesteps=lost, trained_again=again)
    return kills


def _start(checkout: Path, kind: str, run_dir: Path, resume: bool) -> subprocess.Popen[str]:
    flags = [*_KINDS[kind], "--run-dir", str(run_dir), *(["--resume"] if resume else [])]
    return subprocess.Popen(
        [sys.executable, "-m", "mtquant_jax", *flags],
        env={**os.environ, "PYTHONPATH": str(checkout), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _wait(process: subprocess.Popen[str], run_dir: Path, seconds: float, until_writing: bool) -> bool:
    """Wait so long, and then until a checkpoint is being written where that is wanted; whether one is."""
    end = time.perf_counter() + seconds
    while process.poll() is None and time.perf_counter() < end:
        time.sleep(0.02)
    while process.poll() is None and until_writing and not _writing(run_dir):
        time.sleep(0.001)
    return _writing(run_dir)


def _writing(run_dir: Path) -> bool:
    return any(name.startswith(".unfinished.") for _, folders, _ in os.walk(run_dir) for name in folders)


def _positions(text: str) -> dict[str, tuple[int, int]]:
    """Agent -> timesteps done and in all, as last printed."""
    found = {}
    for agent, done, total, _ in _POSITION.findall(text):
        found[agent] = int(done.replace(",", "")), int(total.replace(",", ""))
    return found


def _losses(before: dict[str, tuple[int, int]], text: str) -> tuple[int, bool]:
    """Timesteps that the resumed training does again, and whether one that was finished is among them.

    All but the last agent of a sequence had seen the next one begin.
    """
    lost, again = 0, False
    for index, (agent, (done, total)) in enumerate(before.items()):
        match = next((m for m in _POSITION.findall(text) if m[0] == agent), None)
        if match is None:  # killed again before it came to this agent
            continue
        resumed = int(match[1].replace(",", "")) if match[3] in ("trained before", "goes on") else 0
        lost = max(lost, done - resumed)
        again |= done == total and resumed < total and index < len(before) - 1
    return lost, again


def _models(run_dir: Path) -> dict[str, str]:
    """Name -> SHA-256 of every model."""
    files = sorted(run_dir.glob("**/*.zip"))
    return {str(file.relative_to(run_dir)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _figures(arguments: Arguments, kills: list[Kill], same: dict[str, list[bool]]) -> dict[str, Any]:
    return {
        "kills": len(kills),
        "save_freq": _SAVE_FREQ,
        "trainings": {kind: len(found) for kind, found in same.items()},
        "trainings_with_other_models": {kind: found.count(False) for kind, found in same.items()},
        "most_timesteps_lost": max(kill.lost_timesteps for kill in kills),
        "finished_agents_trained_again": sum(kill.trained_again for kill in kills),
        "tracebacks": sum(kill.traceback for kill in kills),
        "without_the_command_that_resumes": sum(not kill.resumable for kill in kills),
        "each": [dataclasses.asdict(kill) for kill in kills],
    }


def _table(kills: list[Kill]) -> list[str]:
    """One line per kind and signal."""
    lines = [f"{'training':<14}{'signal':<9}{'kills':>6}{'writing':>9}{'most lost':>11}{'again':>7}{'tracebacks':>12}"]
    for kind, name in sorted({(kill.kind, kill.signal) for kill in kills}):
        of = [kill for kill in kills if (kill.kind, kill.signal) == (kind, name)]
        lost, again = max(kill.lost_timesteps for kill in of), sum(kill.trained_again for kill in of)
        writing, broken = sum(kill.while_writing for kill in of), sum(kill.traceback for kill in of)
        lines.append(f"{kind:<14}{name:<9}{len(of):>6}{writing:>9}{lost:>11,}{again:>7}{broken:>12}")
    return lines


if __name__ == "__main__":
    main(tyro.cli(Arguments))
