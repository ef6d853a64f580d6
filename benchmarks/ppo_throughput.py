"""Timesteps per second of PPO, learning included: beside another trainer's, process by process, on the same settings.

    bash benchmarks/reference_runners/environment.sh rejax /tmp/rejax
    python benchmarks/ppo_throughput.py --rejax-python /tmp/rejax/bin/python

A pair is one process of each, one after the other; each compiles, trains once to warm up, and is timed the second time.
Ratios are of pairs, so that what else the machine does counts for both. Both have two networks of two tanh layers, 4
minibatches, 6 epochs and normalised observations. ``forex`` is the forex class of the default market with all features
as one vector; ``forex, own network`` is what a training of this package runs, and is measured alone.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import tyro
from ppo_reference import Setting, hyper_of
from recording import RESULTS, spread, store

from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.learning.contract import Objective, Program
from mtquant_jax.learning.ppo.learner import PPO
from mtquant_jax.learning.train import start_training, train_chunk
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.reference.gymnax_agent import control_agent, start_control, traced_params
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.simulation.flat_env import flat_specialist
from mtquant_jax.simulation.market_params import class_params
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.phases import plan_specialist, specialist_env

RUNNERS = Path(__file__).resolve().parent / "reference_runners"
OWN = "forex, own network"
_LACKS = {"rejax": (OWN,), "sb3": ("forex", OWN)}  # trainer -> environments that it cannot train on
ENVIRONMENTS = ("Pendulum-v1", "CartPole-v1", "forex", OWN)
Start = Callable[[int, int], tuple[Program, Any, Any, Any, Any]]  # sizes -> what `start_training` and a chunk take


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure PPO's throughput."""

    rejax_python: Path | None = None
    """Interpreter of an environment with rejax and gymnax below 1; compares with it."""
    sb3_python: Path | None = None
    """Interpreter of an environment with stable-baselines3, which has no forex; compares with it instead."""
    envs: tuple[str, ...] = ENVIRONMENTS
    """Which environments."""
    sizes: tuple[str, ...] = ("128x16", "512x16", "1024x32", "2048x32")
    """Environments x steps of a rollout."""
    pairs: int = 5
    """Processes of each package and environment."""
    timesteps: int = 400_000
    """Minimum of timesteps that are timed."""
    worker: str = ""
    """Settings of one process, JSON; how the benchmark calls itself."""
    name: str = "ppo_throughput"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Run pair after pair and store, or be one process."""
    if arguments.worker:
        print(json.dumps(_worker(json.loads(arguments.worker))))
        return
    if arguments.rejax_python and arguments.sb3_python:
        raise SystemExit("give --rejax-python or --sb3-python: pairs are of two")
    prepare_jax()
    other, python = ("sb3", arguments.sb3_python) if arguments.sb3_python else ("rejax", arguments.rejax_python)
    rows: list[dict[str, Any]] = []
    for env in arguments.envs:
        settings = _settings(env, arguments)
        theirs_too = python is not None and env not in _LACKS[other]
        found: list[tuple[list[Any], list[Any]]] = []
        for pair in range(arguments.pairs):
            task = [json.dumps(settings)]
            ours = _run([sys.executable, __file__, "--worker", *task])
            theirs = _run([str(python), str(RUNNERS / f"{other}_throughput.py"), *task]) if theirs_too else []
            found.append((ours, theirs))
            print(f"{env}, pair {pair + 1}: {_rates(ours)} and {_rates(theirs)}", file=sys.stderr, flush=True)
        rows += [_row(env, size, i, found, other) for i, size in enumerate(arguments.sizes)]
    store(arguments.name, {"rows": rows}, arguments.results)


def _settings(env: str, arguments: Arguments) -> dict[str, Any]:
    sizes = [[int(part) for part in size.split("x")] for size in arguments.sizes]
    return dataclasses.asdict(_setting(env)) | {"sizes": sizes, "timesteps": arguments.timesteps}


def _setting(env: str) -> Setting:
    """What all sizes have in common."""
    return Setting(env, 0.0, 0, 0, 0, num_minibatches=4, gamma=0.99, reward_scale=1.0, num_epochs=6)


def _run(command: list[str]) -> list[dict[str, float]]:
    finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    found: list[dict[str, float]] = json.loads(finished.stdout.splitlines()[-1])["rows"]
    return found


def _rates(rows: list[dict[str, float]]) -> str:
    return ", ".join(f"{row['rate']:,.0f}" for row in rows) or "none"


def _row(env: str, size: str, index: int, found: list[tuple[list[Any], list[Any]]], other: str) -> dict[str, Any]:
    """Figures of one size over pairs."""
    row: dict[str, Any] = {"env": env, "size": size}
    ours = [pair[0][index] for pair in found]
    row["ours"] = {key: spread([one[key] for one in ours]) for key in ("rate", "compile_seconds")}
    if found[0][1]:
        theirs = [pair[1][index] for pair in found]
        row[other] = {key: spread([one[key] for one in theirs]) for key in ("rate", "compile_seconds")}
        row["ratio"] = spread([one["rate"] / its["rate"] for one, its in zip(ours, theirs, strict=True)])
    return row


def _worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Rates of every size."""
    prepare_jax()
    start = _own(settings) if settings["env"] == OWN else _control(settings)
    rows = []
    for num_envs, num_steps in settings["sizes"]:
        program, arguments, env_params, hyper = _parts(start(num_envs, num_steps))
        state, compiler = start_training(program, *arguments), Compiler()
        updates = jnp.asarray(-(-settings["timesteps"] // program.timesteps_per_update), jnp.int32)
        chunk = compiler(train_chunk, (program,), state, env_params, hyper, updates)
        state, _ = jax.block_until_ready(chunk(state, env_params, hyper, updates))
        began = time.perf_counter()
        jax.block_until_ready(chunk(state, env_params, hyper, updates))
        rate = int(updates) * program.timesteps_per_update / (time.perf_counter() - began)
        rows.append({"rate": rate, "compile_seconds": compiler.seconds})
    return {"rows": rows}


def _parts(found: tuple[Program, Any, Any, Any, Any]) -> tuple[Program, tuple[Any, ...], Any, Any]:
    program, params, normalizers, env_params, hyper = found
    return program, (params, normalizers, {}, env_params, jax.random.key(0)), env_params, hyper


def _market() -> tuple[TrainConfig, Market]:
    config = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    return config, prepare_market(config)


def _control(settings: dict[str, Any]) -> Start:
    """Plain networks on an environment with a vector to observe."""
    setting = _setting(settings["env"])
    if setting.env == "forex":
        config, market = _market()
        env: Any = flat_specialist(specialist_env(config.reward.objective), 3)
        env_params = class_params(config, market, 0)
    else:
        import gymnax

        env, _ = gymnax.make(setting.env)
        env_params = traced_params(env)
    agent = control_agent(env, env_params, setting.hidden_size)
    params, normalizers = start_control(agent, env, env_params, 0)

    def start(num_envs: int, num_steps: int) -> tuple[Program, Any, Any, Any, Any]:
        objectives = (Objective(streams=(0,), policy=(1.0,), value=(1.0,)),)
        learner = PPO(setting.num_minibatches, setting.num_epochs)
        program = Program(env, agent, objectives, num_envs, num_steps, learner)
        return program, params, normalizers, env_params, hyper_of(setting)

    return start


def _own(settings: dict[str, Any]) -> Start:
    """The forex specialist as it is trained."""
    config, market = _market()

    def start(num_envs: int, num_steps: int) -> tuple[Program, Any, Any, Any, Any]:
        batch = num_envs * num_steps // settings["num_minibatches"]
        specialists = {name: dataclasses.replace(one, batch_size=batch) for name, one in config.specialists.items()}
        ppo = dataclasses.replace(config.ppo, num_epochs=settings["num_epochs"])
        own = dataclasses.replace(config, num_envs=num_envs, num_steps=num_steps, specialists=specialists, ppo=ppo)
        plan = plan_specialist(own, market, 0)
        return plan.program, plan.start.params, plan.start.normalizers, plan.env_params, plan.hyper

    return start


if __name__ == "__main__":
    main(tyro.cli(Arguments))
