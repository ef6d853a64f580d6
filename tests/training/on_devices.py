"""Trains toys on 1, 2, 4 and 8 devices of this process, and prints how far they end apart, as JSON.

A process of its own, as `test_devices` starts it: how many devices a CPU is cannot be changed once JAX has computed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.normalizer import start_normalizer
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.learning.layout import ENVIRONMENTS, Layout
from mtquant_jax.learning.pathwise.learner import Pathwise
from mtquant_jax.learning.ppo.learner import PPO
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.phases import Plan
from mtquant_jax.training.runner import Runner, runner_of
from tests.conftest import f32
from tests.learning.toys import ToyParams, hyper, program

PPO_LEARNER = PPO(num_minibatches=2, num_epochs=2)
COMPILER = Compiler()


def layout(devices: int) -> Layout:
    return Layout(Mesh(np.array(jax.devices()[:devices]), (ENVIRONMENTS,))) if devices > 1 else Layout()


def plan(learner: Any, devices: int, seed: int = 0) -> Plan:
    static = dataclasses.replace(program(), learner=learner, layout=layout(devices))
    weights = static.agent.network.init(jax.random.key(seed), jnp.zeros(1))["params"]
    return Plan(
        program=static,
        env_params=jax.tree.map(f32, ToyParams(action_reward=1.0)),
        hyper=hyper(6),
        start=Policy({"toy": weights}, {"toy": start_normalizer(jax.ShapeDtypeStruct((1,), jnp.float32))}),
        reference={},
        total_updates=6,
        key=jax.random.key(seed + 1),
        agents=("toy",),
    )


def runner(learner: Any, devices: int, seeds: Sequence[int] = (0,), vmapped: bool = False) -> Runner:
    found = runner_of(COMPILER, [plan(learner, devices, seed) for seed in seeds], (), vmapped)
    found.prepare()
    return found


def trained(found: Runner, chunks: int) -> tuple[list[TrainState], list[dict[str, np.ndarray]]]:
    metrics = [found.run(2) for _ in range(chunks)][-1]
    return found.states(), metrics


def apart(one: Any, other: Any) -> float:
    """The largest difference of two pytrees' numbers."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    plain = ((np.asarray(jax.random.key_data(a) if is_key(a) else a, np.float64), b) for a, b in pairs)
    return max(float(np.max(np.abs(a - np.asarray(jax.random.key_data(b) if is_key(b) else b)))) for a, b in plain)


def is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def moved(learner: Any) -> float:
    """A training of 8 devices that goes on on 2, against one that stays."""
    stays, moves = runner(learner, 8), runner(learner, 2)
    moves.stand_at(jax.tree.map(kept_on_host, trained(stays, 1)[0]))
    return apart(trained(stays, 2), trained(moves, 2))


def kept_on_host(leaf: jax.Array) -> Any:
    return leaf if is_key(leaf) else np.array(leaf)


def main() -> None:
    found: dict[str, float] = {}
    for name, learner, several in (("ppo", PPO_LEARNER, (2, 4, 8)), ("pathwise", Pathwise(), (4,))):
        alone = trained(runner(learner, 1), 3)
        for devices in several:
            found[f"{name}, {devices} devices"] = apart(alone, trained(runner(learner, devices), 3))
    found["moved from 8 to 2"] = moved(PPO_LEARNER)
    uneven = PPO(num_minibatches=64, num_epochs=1)  # 4 samples for 8 devices
    found["uneven minibatches"] = apart(trained(runner(uneven, 1), 1), trained(runner(uneven, 8), 1))
    seeds = (0, 1)
    two = trained(runner(PPO_LEARNER, 1, seeds), 2)
    found["two members, vmapped"] = apart(two, trained(runner(PPO_LEARNER, 2, seeds, vmapped=True), 2))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
