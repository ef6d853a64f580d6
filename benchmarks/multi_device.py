"""Training on several devices: how far it ends from one device, how fast it is, and what the devices exchange.

    python benchmarks/multi_device.py [--devices 1 2 4 8] [--num-envs 512]

The forex specialist at the default network's size, with equal environments in all. On a CPU the devices are parts of
one processor: agreement and what is exchanged are those of any devices, speed is not.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import re
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from recording import RESULTS, spread, store

from mtquant_jax.agents.contract import Policy
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.layers import load_config
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.phases import plan_specialist
from mtquant_jax.training.placement import check_devices
from mtquant_jax.training.runner import Runner, runner_of

_COLLECTIVE = re.compile(r"= (\(.*?\)|\S+) (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\(")
_ARRAY = re.compile(r"(f32|s32|u32|pred)\[([\d,]*)\]")
_BYTES = {"f32": 4, "s32": 4, "u32": 4, "pred": 1}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure training on several devices."""

    devices: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of devices, the first of which the others are compared with."""
    num_envs: int = 512
    """Parallel environments of all devices together."""
    updates: int = 3
    """Updates per timed chunk, and before the comparison."""
    runs: int = 3
    """Timed chunks."""
    name: str = "multi_device"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Measure and store."""
    prepare_jax(max(arguments.devices))
    config = _config(arguments)
    market = prepare_market(config)
    found: dict[str, Any] = {}
    compared: Policy | None = None
    for devices in arguments.devices:
        row, policy = _measured(dataclasses.replace(config, devices=devices), market, arguments)
        compared = compared or policy
        found[str(devices)] = {**row, "largest_difference": _apart(policy, compared)}
        print(f"{devices} devices: {row['seconds_per_update']['median']:.2f} s per update", flush=True)
    sizes = {"num_envs": config.num_envs, "num_steps": config.num_steps, "num_epochs": config.ppo.num_epochs}
    store(arguments.name, {**sizes, "num_minibatches": 4, "devices": found}, arguments.results)


def _config(arguments: Arguments) -> TrainConfig:
    """The default settings with so many environments, in four minibatches."""
    default = load_config([])[0]
    size = arguments.num_envs * default.num_steps // 4
    specialists = {name: dataclasses.replace(one, batch_size=size) for name, one in default.specialists.items()}
    return dataclasses.replace(default, num_envs=arguments.num_envs, specialists=specialists)


def _measured(config: TrainConfig, market: Market, arguments: Arguments) -> tuple[dict[str, Any], Policy]:
    """Speed and exchange with one number of devices, and the policy after the first chunk."""
    check_devices(config, (1,))
    compiler = Compiler()
    plan = plan_specialist(config, market, 0)
    runner = runner_of(compiler, [plan], ())
    runner.prepare()
    chunk = runner._chunks[0]
    runner.run(arguments.updates)
    policy = _policy(runner)
    seconds = []
    for _ in range(arguments.runs):
        start = time.perf_counter()
        runner.run(arguments.updates)
        seconds.append((time.perf_counter() - start) / arguments.updates)
    row = {
        "compile_seconds": compiler.seconds,
        "seconds_per_update": spread(seconds),
        "parameter_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(plan.start.params)),
        "exchanges": _exchanges(chunk.as_text()),
    }
    return row, policy


def _policy(runner: Runner) -> Policy:
    (state,) = runner.states()
    policy: Policy = jax.tree.map(np.array, Policy(state.params, state.normalizers))
    return policy


def _exchanges(text: str) -> dict[str, dict[str, int]]:
    """What one pass of each loop of a compiled program exchanges, by how often it is passed: operations and bytes."""
    passes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for line in text.splitlines():
        if (match := _COLLECTIVE.search(line)) is None:
            continue
        depth = re.search(r'op_name="([^"]*)"', line)
        loop = "per minibatch" if depth and depth[1].count("while/body") > 1 else "per update"
        found = passes[loop]
        found[f"{match[2]} operations"] += 1
        found[f"{match[2]} bytes"] += sum(
            _BYTES[kind] * math.prod(int(size) for size in sizes.split(",") if size)
            for kind, sizes in _ARRAY.findall(match[1])
        )
    return {loop: dict(found) for loop, found in passes.items()}


def _apart(one: Policy, other: Policy) -> float:
    """The largest difference of two policies' numbers, as a share of the largest number of its array."""
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return max(float(np.max(np.abs(a - b)) / max(float(np.max(np.abs(b))), 1e-8)) for a, b in pairs if a.size)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
