"""Presets: how long a training takes with each, and what it is worth on the validation split and on a fresh market.

    python benchmarks/presets.py [--seeds 3]

The fresh market is a synthetic one of another seed, of which no policy has seen a bar. Seeds are trained one after the
other; seconds are without those of compiling.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import tyro
from recording import RESULTS, shares, spread, store

from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.settings.layers import load_config
from mtquant_jax.settings.yaml_files import shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.trainer import PORTFOLIO, train_phases
from mtquant_jax.training.validation import Validator

_FRESH_SEED = 1000


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure presets."""

    seeds: int = 3
    """Trainings of each."""
    presets: tuple[str, ...] = tuple(read_yaml(shipped("presets.yaml")))
    """Their names."""
    name: str = "presets"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Train, judge and store."""
    prepare_jax()
    found: dict[str, Any] = {}
    for preset in arguments.presets:
        config = load_config(["--preset", preset])[0]
        market, compiler = prepare_market(config), Compiler()
        fresh = Validator(config, prepare_market(dataclasses.replace(config, seed=_FRESH_SEED)), compiler)
        rows = []
        for seed in range(arguments.seeds):
            began, compiled = time.perf_counter(), compiler.seconds
            (trained,) = train_phases(config, market, seeds=(seed,), compiler=compiler)
            seconds = time.perf_counter() - began - (compiler.seconds - compiled)
            portfolio = trained.outcomes[3][PORTFOLIO]
            rows.append((seconds, portfolio.validation, fresh.portfolio(portfolio.policy).performance))
            print(f"{preset} seed {seed}: {seconds:.0f} s", flush=True)
        found[preset] = {
            "seconds": spread([seconds for seconds, _, _ in rows]),
            "validation_sharpe": shares([known.sharpe or 0.0 for _, known, _ in rows]),
            "fresh_sharpe": shares([new.sharpe or 0.0 for _, _, new in rows]),
            "fresh_max_drawdown": shares([new.max_drawdown for _, _, new in rows]),
            "fresh_total_return": shares([new.total_return for _, _, new in rows]),
        }
    store(arguments.name, found, arguments.results)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
