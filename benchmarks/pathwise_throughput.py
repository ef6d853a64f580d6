"""Timesteps per second of both learners in every phase, learning included, in turn and by pairs.

    python benchmarks/pathwise_throughput.py [--pairs 5]

Each at its own default sizes on the default market, whose three classes all train in phase 3. A timestep is a decision:
in phase 2 that is eight bars. The specialists under phases 2 and 3 are untrained, which costs as much.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro
from recording import RESULTS, spread, store
from timing import Timed

from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.settings.layers import load_config
from mtquant_jax.training import phases
from mtquant_jax.training.phases import Plan

ALGORITHMS = ("ppo", "pathwise")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure the throughput of both learners."""

    pairs: int = 5
    """Timed chunks of each learner, in turn."""
    timesteps: int = 20_000
    """Minimum of timesteps of a chunk."""
    name: str = "pathwise_throughput"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Measure and store."""
    prepare_jax()
    config = load_config([])[0]
    market = prepare_market(config)
    specialists = [phases.start_specialist(config, market, i) for i in range(market.universe.num_classes)]
    meta = phases.start_meta(config, market)
    plans: dict[str, Callable[[Any], Plan]] = {
        "phase 1 (forex)": lambda config: phases.plan_specialist(config, market, 0),
        "phase 2": lambda config: phases.plan_meta(config, market, specialists),
        "phase 3": lambda config: phases.plan_joint(config, market, specialists, meta),
    }
    rows = []
    for phase, plan in plans.items():
        timed = {
            name: Timed([plan(dataclasses.replace(config, algorithm=name))], arguments.timesteps) for name in ALGORITHMS
        }
        rates: dict[str, list[float]] = {name: [] for name in ALGORITHMS}
        for _ in range(arguments.pairs):
            for name, one in timed.items():
                rates[name].append(one.rate())
        ratio = [theirs / ours for ours, theirs in zip(*rates.values(), strict=True)]
        row: dict[str, Any] = {"phase": phase, "pathwise_to_ppo": spread(ratio)}
        for name in ALGORITHMS:
            row[name] = {"rate": spread(rates[name]), "compile_seconds": timed[name].compile_seconds}
        rows.append(row)
        print(
            f"{phase}: {row['ppo']['rate']['median']:,.0f} and {row['pathwise']['rate']['median']:,.0f}",
            file=sys.stderr,
        )
    store(arguments.name, {"rows": rows}, arguments.results)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
