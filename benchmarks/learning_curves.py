"""Growth on the validation split over the seconds of a training, by each algorithm; one figure.

    python benchmarks/learning_curves.py [--seeds 5] [--timesteps 200000]

Phase 1 on the default synthetic market, each class by itself. Seconds are those that a class would take alone on this
machine at the speed that all seeds had together: without compiling and without validation.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import tyro
from recording import RESULTS, store

from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.runs.sweep.objectives import growth
from mtquant_jax.settings.layers import override_config
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.trainer import train_phases

matplotlib.use("agg")

_COLOURS = {"ppo": "#D55E00", "pathwise": "#0072B2", "pathwise_ppo": "#009E73"}  # of Okabe and Ito


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Measure and draw learning curves."""

    seeds: int = 5
    """Trainings of each class."""
    timesteps: int = 200_000
    """Of each training."""
    algorithms: tuple[str, ...] = ("ppo", "pathwise")
    """Algorithms to train with."""
    name: str = "learning_curves"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""
    output: Path = RESULTS.parents[1] / "docs" / "images" / "learning_curves.png"
    """Path of the figure."""


def main(arguments: Arguments) -> None:
    """Train, store and draw."""
    prepare_jax()
    found: dict[str, Any] = {}
    for algorithm in arguments.algorithms:
        settings = {"algorithm": algorithm, "phase1_timesteps": arguments.timesteps, "save_freq": 10_000}
        settings["parallel"] = False  # for rates of each class
        config = override_config(None, settings)
        trained = train_phases(
            config, prepare_market(config), seeds=range(arguments.seeds), phases=(1,), compiler=Compiler()
        )
        for name in trained[0].outcomes[1]:
            outcomes = [hierarchy.outcomes[1][name] for hierarchy in trained]
            rate = float(np.median(outcomes[0].chunk_rates))
            found.setdefault(name, {})[algorithm] = {
                "timesteps": [timesteps for timesteps, _ in outcomes[0].history],
                "timesteps_per_second": rate,
                "growth": [[growth(figures) for _, figures in outcome.history] for outcome in outcomes],
            }
            print(f"{name} {algorithm}: {rate:,.0f} timesteps a second", flush=True)
    store(arguments.name, {"seeds": arguments.seeds, "classes": found}, arguments.results)
    draw(found, arguments.output)


def draw(found: dict[str, Any], output: Path) -> None:
    """One panel per class: mean over seeds as a line, all seeds as a band."""
    figure, axes = plt.subplots(1, len(found), figsize=(3.7 * len(found), 3.6), layout="constrained", squeeze=False)
    for panel, (name, algorithms) in zip(axes[0], found.items(), strict=True):
        for algorithm, curve in algorithms.items():
            seconds = np.asarray(curve["timesteps"]) / curve["timesteps_per_second"]
            percent = 100.0 * np.expm1(np.asarray(curve["growth"]))
            colour = _COLOURS[algorithm]
            panel.fill_between(seconds, percent.min(0), percent.max(0), color=colour, alpha=0.2, linewidth=0)
            panel.plot(seconds, percent.mean(0), color=colour, marker=".", label=algorithm)
        panel.axhline(0.0, color="black", linewidth=0.8)
        panel.set_title(name, fontsize=11)
        panel.set_xlabel("seconds of training")
        panel.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("return on the validation split, %")
    axes[0, 0].legend(frameon=False)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=150)
    print(f"written to {output}")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
