"""Draws the metrics of a run directory as one PNG."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import tyro

from mtquant_jax.cli import guarded
from mtquant_jax.reports.training_plot import plot_training


@dataclasses.dataclass(frozen=True)
class PlotTraining:
    """Draw the metrics of a run directory as one PNG."""

    run_dir: Path = Path(".")
    """Directory of the run."""
    output: Path = Path("training.png")
    """PNG to write."""


def main() -> None:
    command = tyro.cli(PlotTraining)
    plot_training(command.run_dir, command.output)
    print(f"Wrote {command.output}")


if __name__ == "__main__":
    sys.exit(guarded(main))
