"""Bars per second of the environments alone, with random actions and automatic resets, without learning.

    python benchmarks/environment.py [--runs 5] [--num-envs 64 1024 4096]

One bar is one step of one episode: risk layer, fills, costs, mark-to-market, observation, and a reset at its end.
gymnax's Pendulum is measured for comparison.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from pathlib import Path
from typing import Any

import gymnax
import jax
import jax.numpy as jnp
import tyro
from recording import RESULTS, spread, store

from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.reference.gymnax_agent import traced_params
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.simulation.market_params import class_params, portfolio_params
from mtquant_jax.training.phases import hierarchy_env, specialist_env


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure the throughput of the environments."""

    runs: int = 5
    """Timed runs per setting."""
    num_envs: tuple[int, ...] = (64, 1024, 4096)
    """Parallel environments."""
    num_bars: int = 200_000
    """Minimum of bars per timed run."""
    name: str = "environment"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def play(env: Any, key: jax.Array, params: Any, num_envs: int, num_steps: int) -> jax.Array:
    """Mean reward of ``num_steps`` bars in ``num_envs`` episodes of random actions."""
    shape = env.action_space(params).shape

    def step(carry: tuple[Any, jax.Array], _: None) -> tuple[tuple[Any, jax.Array], jax.Array]:
        state, key = carry
        key, action_key, step_key = jax.random.split(key, 3)
        actions = 0.3 * jax.random.normal(action_key, (num_envs, *shape))
        keys = jax.random.split(step_key, num_envs)
        _, state, reward, *_ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(keys, state, actions, params)
        return (state, key), jnp.mean(reward)

    _, state = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(key, num_envs), params)
    return jnp.mean(jax.lax.scan(step, (state, key), length=num_steps)[1])


def main(arguments: Arguments) -> None:
    """Measure and store."""
    prepare_jax()
    config = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    market = prepare_market(config)
    pendulum, _ = gymnax.make("Pendulum-v1")
    cases: dict[str, tuple[Any, Any]] = {
        "specialist (forex)": (specialist_env(config.reward.objective), class_params(config, market, 0)),
        "portfolio (all classes)": (hierarchy_env(config), portfolio_params(config, market)),
        "gymnax's Pendulum-v1": (pendulum, traced_params(pendulum)),
    }
    rows = []
    for name, (env, params) in cases.items():
        for num_envs in arguments.num_envs:
            num_steps = -(-arguments.num_bars // num_envs)
            rates = []
            for run in range(arguments.runs + 1):
                start = time.perf_counter()
                play(env, jax.random.key(run), params, num_envs, num_steps).block_until_ready()
                if run:  # the first compiles
                    rates.append(num_envs * num_steps / (time.perf_counter() - start))
            rows.append({"environment": name, "num_envs": num_envs, "bars_per_second": spread(rates)})
    store(arguments.name, {"settings": rows}, arguments.results)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
