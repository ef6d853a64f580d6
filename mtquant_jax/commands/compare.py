"""Puts evaluated runs side by side: one table, one figure, paired intervals, deflated by the number of trials."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from mtquant_jax.settings.flags import parsed


@dataclasses.dataclass(frozen=True)
class CompareCommand:
    """Compare runs that `mtquant-jax evaluate` has evaluated, on the days that all of them were traded."""

    runs: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="RUN RUN [RUN ...]", help_behavior_hint="(required)"),
    ]
    """Run directories, or directories that evaluate wrote with --output; two or more."""
    output: str = "comparison"
    """Directory of comparison.json and comparison.png."""
    draws: int = 1000
    """Draws of the bootstrap behind every interval."""
    other_markets: bool = False
    """Compare runs although they were evaluated on different markets; a warning says on which."""


def run(arguments: Sequence[str], prog: str) -> None:
    """Compare, print and write.

    Raises:
        UserError: fewer than two runs, one that is missing or not evaluated, nothing in common, or no extra eval.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(CompareCommand, arguments, prog)
    from mtquant_jax.evaluation.comparison import compare, open_evaluated
    from mtquant_jax.reports.comparison import lines, write
    from mtquant_jax.statistics.intervals import check_draws

    check_draws(command.draws)
    comparison = compare(open_evaluated([Path(path) for path in command.runs]), command.draws, command.other_markets)
    write(comparison, Path(command.output))
    for line in lines(comparison):
        print(line)
    for warning in comparison.metrics.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(f"table and figure in {command.output}/comparison.json and .png")
