"""Draws the metrics of a run directory as one PNG."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from mtquant_jax.settings.flags import parsed


@dataclasses.dataclass(frozen=True)
class PlotCommand:
    """Draw the metrics of a training as one PNG, also while it runs: validation above, reward below, or chosen ones."""

    run_dir: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN_DIR")] = "."
    """Directory of the training."""
    output: str = "training.png"
    """PNG to write."""
    metrics: tuple[str, ...] = ()
    """Columns of the metrics files to draw instead, such as approximate_kl clip_fraction."""


def run(arguments: Sequence[str], prog: str) -> None:
    """Draw and write.

    Raises:
        UserError: the run has no such metrics, one of its files is damaged, or the figure cannot be written.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(PlotCommand, arguments, prog)
    run_dir, output = Path(command.run_dir), Path(command.output)
    if command.metrics:
        from mtquant_jax.reports.metrics_plot import plot_metrics

        plot_metrics(run_dir, output, command.metrics)
    else:
        from mtquant_jax.reports.training_plot import plot_training

        plot_training(run_dir, output)
    print(f"Wrote {command.output}")
