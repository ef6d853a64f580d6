"""Sweeps: seconds per training against processes one after the other, memory, compilations, and TPE against random.

    python benchmarks/sweep.py [--trials 64] [--processes 5] [--studies 5]

The sweep is `mtquant-jax sweep configs/sweeps/ppo.yaml --classes forex` as a process of its own, with compiled programs
in the cache; between its parts the same training is run by `mtquant-jax train` of one class. TPE and random search get
the same number of trials; the best of each is trained with fresh seeds, since the value that it was chosen by flatters.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from recording import RESULTS, store

from mtquant_jax.backtest.performance import score
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.runs.sweep.batch import Markets
from mtquant_jax.runs.sweep.study import Method, Study
from mtquant_jax.runs.sweep.sweep import SweepPlan, run_sweep
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.dotted import with_values
from mtquant_jax.settings.layers import load_config
from mtquant_jax.settings.search_space import SearchSpace
from mtquant_jax.settings.yaml_files import shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.statistics.significance import interquartile_mean
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.trainer import train_hierarchies

_SPACE = shipped("agents.yaml").parent / "sweeps" / "ppo.yaml"
_SEEDS = 3
_FRESH = tuple(range(1000, 1008))


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure sweeps."""

    trials: int = 64
    """Of the sweep that is timed; 0 leaves that part out."""
    processes: int = 5
    """Trainings that are run as processes, half of them before and half of them after the sweep."""
    studies: int = 5
    """Pairs of studies, TPE and random; 0 leaves that part out."""
    study_trials: int = 40
    """Trials of each of them."""
    study_timesteps: int = 30_000
    """Timesteps of each of their trainings."""
    name: str = "sweep"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Measure, print and store."""
    found: dict[str, Any] = {}
    if arguments.trials:
        found |= _timed(arguments)
        print({key: value for key, value in found.items() if key != "process_seconds"})
    if arguments.studies:
        found |= _methods(arguments)
    store(arguments.name, found, arguments.results)


def _timed(arguments: Arguments) -> dict[str, Any]:
    """The sweep, and trainings as processes before and after it."""
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        for name in ("sweep", "train"):  # fills the cache of compiled programs
            _run(_sweep(folder / f"first_{name}", 1) if name == "sweep" else _train(folder / "first"))
        before = [_run(_train(folder / f"before_{i}"))[0] for i in range((arguments.processes + 1) // 2)]
        few, few_bytes = _run(_sweep(folder / "few", 8))
        seconds, peak = _run(_sweep(folder / "all", arguments.trials))
        after = [_run(_train(folder / f"after_{i}"))[0] for i in range(arguments.processes // 2)]
    trainings, processes = arguments.trials * _SEEDS, [*before, *after]
    alone = float(np.median(processes))
    return {
        "trials": arguments.trials,
        "seeds": _SEEDS,
        "sweep_seconds": seconds,
        "seconds_of_8_trials": few,
        "process_seconds": processes,
        "seconds_per_training": seconds / trainings,
        "times_faster_than_processes": alone * trainings / seconds,
        "peak_megabytes": peak,
        "peak_megabytes_of_8_trials": few_bytes,
    }


def _sweep(run_dir: Path, trials: int) -> list[str]:
    return ["sweep", str(_SPACE), "--classes", "forex", "--num-trials", str(trials), "--run-dir", str(run_dir)]


def _train(run_dir: Path) -> list[str]:
    forex = load_config([])[0].specialists["forex"].symbols
    return ["train", "--phases", "1", "--symbols", *forex, "--run-dir", str(run_dir), "--quiet"]


def _run(flags: list[str]) -> tuple[float, float]:
    """Seconds of a command, and its largest memory in megabytes."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "mtquant_jax", *flags], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise RuntimeError(" ".join(flags))
    return time.perf_counter() - began, _megabytes(usage)


def _megabytes(usage: resource.struct_rusage) -> float:
    return usage.ru_maxrss / 1024 if sys.platform.startswith("linux") else usage.ru_maxrss / 2**20


def _methods(arguments: Arguments) -> dict[str, Any]:
    """TPE and random search at equal budget, and whether a second sweep compiles."""
    prepare_jax()
    config = dataclasses.replace(load_config([])[0], phases="1", phase1_timesteps=arguments.study_timesteps)
    market, compiler = prepare_market(config), Compiler()
    fresh: dict[str, list[float]] = {"tpe": [], "random": []}
    chosen: dict[str, list[float]] = {"tpe": [], "random": []}
    compiled = []
    methods: tuple[Method, ...] = ("tpe", "random")
    for study in range(arguments.studies):
        for method in methods:
            value, again, seconds = _searched(arguments, config, market, compiler, method, study)
            chosen[method].append(value)
            fresh[method].append(again)
            compiled.append(seconds)
            print(f"study {study} {method}: chosen by {value:.3f}, with fresh seeds {again:.3f}", flush=True)
    differences = np.array(fresh["tpe"]) - np.array(fresh["random"])
    error = float(np.std(differences, ddof=1) / np.sqrt(len(differences))) if len(differences) > 1 else None
    print(f"tpe less random, with fresh seeds: {differences.mean():+.3f} ± {error}")
    return {
        "study_trials": arguments.study_trials,
        "study_timesteps": arguments.study_timesteps,
        "chosen_by": chosen,
        "with_fresh_seeds": fresh,
        "tpe_less_random": float(differences.mean()),
        "standard_error": error,
        "compile_seconds_by_study": compiled,
    }


def _searched(
    arguments: Arguments, config: TrainConfig, market: Market, compiler: Compiler, method: Method, number: int
) -> tuple[float, float, float]:
    """The best value of a study, that of its settings with fresh seeds, and seconds of compiling."""
    space = SearchSpace.of(read_yaml(_SPACE)["space"], config, str(_SPACE))
    plan = SweepPlan(
        name=f"{method}_{number}",
        config=config,
        space=space,
        method=method,
        num_trials=arguments.study_trials,
        seeds=(0, 1),
        classes=("forex",),
        objective="sharpe",
    )
    study = Study("", plan.name, space, method, number, plan.purpose(market))
    result = run_sweep(plan, study, Markets.with_one(market, config), compiler)
    assert result.best is not None and result.best.result.value is not None
    settings = with_values(config, space.settings(result.best.trial.values), "the best trial")
    again = train_hierarchies(
        [dataclasses.replace(settings, seed=seed) for seed in _FRESH],
        market,
        phases=(1,),
        classes=("forex",),
        compiler=compiler,
    )
    scores = [score(hierarchy.outcomes[1]["forex"].validation) for hierarchy in again]
    return result.best.result.value, interquartile_mean(np.array(scores)), result.compile_seconds


if __name__ == "__main__":
    main(tyro.cli(Arguments))
