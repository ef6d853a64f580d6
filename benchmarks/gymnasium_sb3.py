"""One PPO update of stable-baselines3 in this package's market, through gymnasium, and the same steps in JAX.

    python benchmarks/gymnasium_sb3.py --sb3-python PATH

PATH is the interpreter of an environment of its own with torch, stable-baselines3 and this package's requirements
(docs/python.md describes how to create it); the package is taken from this checkout. The figure is not how well it
learns, but that another library's learner runs in the market, and what stepping from Python costs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import jax
import tyro
from recording import RESULTS, spread, store

import mtquant_jax as mt

RUNNER = Path(__file__).resolve().parent / "reference_runners" / "sb3_market.py"


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Train stable-baselines3 by one update in a market."""

    sb3_python: Path
    """Interpreter of an environment with torch, stable-baselines3 and this package's requirements."""
    env: str = "forex"
    """Asset class, or portfolio."""
    num_envs: int = 8
    """Environments side by side."""
    num_steps: int = 256
    """Steps of each in the rollout."""
    batch_size: int = 256
    """Samples per minibatch."""
    name: str = "gymnasium_sb3"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Run the update in the other interpreter, the same number of steps here, and store the figures."""
    config = {"quick_test": True}
    asked = {"config": config, "env": arguments.env, "num_envs": arguments.num_envs}
    asked |= {"num_steps": arguments.num_steps, "batch_size": arguments.batch_size}
    root = str(RUNNER.parents[2])
    theirs = subprocess.run(
        [str(arguments.sb3_python), str(RUNNER), json.dumps(asked)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": root, "JAX_PLATFORMS": "cpu"},
    )
    found = json.loads(theirs.stdout.splitlines()[-1])
    alone, market = found.pop("steps_per_second"), mt.prepare(mt.load_config(**config))
    figures = {
        "settings": asked,
        "stable_baselines3": found,
        "steps_per_second_of_one_gymnasium_environment": spread(alone),
        "steps_per_second_of_all_environments_in_jax": spread(_in_jax(market, arguments)),
    }
    store(arguments.name, figures, arguments.results)


def _in_jax(market: Any, arguments: Arguments) -> list[float]:
    """Steps per second of the same environments under sampled actions, compiled as one program, rollout by rollout."""
    env, params = mt.make_env(market, arguments.env)
    space = env.action_space(params)

    def step(carry: Any, key: jax.Array) -> Any:
        keys = jax.random.split(key, (2, arguments.num_envs))
        actions = jax.vmap(space.sample)(keys[0])
        observation, state, reward, *_ = jax.vmap(env.step, (0, 0, 0, None))(keys[1], carry, actions, params)
        return state, (observation.sum(), reward.sum())

    @jax.jit
    def rollout(key: jax.Array) -> Any:
        _, state = jax.vmap(env.reset, (0, None))(jax.random.split(key, arguments.num_envs), params)
        return jax.lax.scan(step, state, jax.random.split(key, arguments.num_steps))[1]

    jax.block_until_ready(rollout(jax.random.key(0)))
    rates = []
    for seed in range(1, 11):
        start = time.perf_counter()
        jax.block_until_ready(rollout(jax.random.key(seed)))
        rates.append(arguments.num_envs * arguments.num_steps / (time.perf_counter() - start))
    return rates


if __name__ == "__main__":
    main(tyro.cli(Arguments))
