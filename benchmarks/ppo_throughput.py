"""Timesteps per second of PPO on the forex specialist after compilation, for several numbers of environments.

    python benchmarks/ppo_throughput.py [--runs 5] [--num-envs 100 1000]

One timestep is one decision, learning included (all epochs).
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import tyro
from recording import RESULTS, spread, store

from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.learning.train import start_training, train_chunk
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.phases import plan_specialist


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure PPO's throughput."""

    runs: int = 5
    """Timed chunks per setting."""
    num_envs: tuple[int, ...] = (100, 1000)
    """Parallel environments; the minibatch grows with them."""
    timesteps: int = 200_000
    """Minimum of timesteps per timed chunk."""
    name: str = "ppo_throughput"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Measure and store."""
    prepare_jax()
    default = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    market = prepare_market(default)
    settings = [_measure(default, market, num_envs, arguments) for num_envs in arguments.num_envs]
    store(arguments.name, {"specialist": next(iter(default.specialists)), "settings": settings}, arguments.results)


def _measure(default: TrainConfig, market: Market, num_envs: int, arguments: Arguments) -> dict[str, Any]:
    """Throughput with one number of environments."""
    growth = num_envs / default.num_envs
    specialists = {
        name: dataclasses.replace(s, batch_size=max(1, round(s.batch_size * growth)))
        for name, s in default.specialists.items()
    }
    config = dataclasses.replace(default, num_envs=num_envs, specialists=specialists)
    plan, compiler = plan_specialist(config, market, 0), Compiler()
    updates = jnp.asarray(-(-arguments.timesteps // plan.program.timesteps_per_update), jnp.int32)
    state = start_training(plan.program, *plan.start_arguments)
    chunk = compiler(train_chunk, (plan.program,), state, plan.env_params, plan.hyper, updates)
    rates = []
    for run in range(arguments.runs + 1):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(chunk(state, plan.env_params, plan.hyper, updates))
        rate = int(updates) * plan.program.timesteps_per_update / (time.perf_counter() - start)
        if run:  # the first chunk warms up
            rates.append(rate)
    return {
        "num_envs": num_envs,
        "num_steps": config.num_steps,
        "num_minibatches": plan.program.learner.num_minibatches,
        "num_epochs": plan.program.learner.num_epochs,
        "hidden_size": config.ppo.hidden_size,
        "compile_seconds": compiler.seconds,
        "timesteps_per_second": spread(rates),
    }


if __name__ == "__main__":
    main(tyro.cli(Arguments))
