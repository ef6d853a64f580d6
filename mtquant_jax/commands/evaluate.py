"""Trades a finished training on bars that it has not seen, and writes what came of it."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from mtquant_jax.commands.working import working
from mtquant_jax.errors import with_flags
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.settings.flags import parsed


@dataclasses.dataclass(frozen=True)
class EvaluateCommand:
    """Trade a finished training on held-out bars and write metrics, tables and a report.

    Nothing is trained and no model is changed. Orders are in whole lots, as they would be traded.
    """

    run_dir: str
    """Directory of the training."""
    data_dir: str | None = None
    """Bar files; those of the training when left out."""
    split: Literal["test", "validation", "train", "all"] = "test"
    """Which bars: a split of the training by its times (test reaches to the last bar there is), or all."""
    output: str | None = None
    """Directory of the results; RUN_DIR/evaluation when left out."""
    initial_capital: float | None = None
    """Of the account that trades, in its currency; that of the training when left out."""
    account_currency: str | None = None
    """Of the account that trades; that of the training when left out."""
    draws: int = 1000
    """Draws of the bootstrap behind every interval."""


def run(arguments: Sequence[str], prog: str) -> None:
    """Evaluate and write.

    Raises:
        UserError: whatever is wrong with the run, the bars or the output's folder, or the extra eval is missing.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command = parsed(EvaluateCommand, arguments, prog)
    began = time.perf_counter()
    with working("reading the bars and the models"):  # and importing JAX, which takes as long
        prepare_jax()
        from mtquant_jax.evaluation.evaluation_bars import prepare_evaluation_bars
        from mtquant_jax.evaluation.trials import evaluate_as_trial
        from mtquant_jax.reports.csv_files import check_writable, other_period, write_files
        from mtquant_jax.reports.html.evaluation import write_report
        from mtquant_jax.reports.html.page import require_plotly
        from mtquant_jax.reports.terminal import summary_lines
        from mtquant_jax.runs.memory import memory_advice
        from mtquant_jax.runs.trained_run import open_run, restore_all
        from mtquant_jax.statistics.intervals import check_draws
        from mtquant_jax.storage.paths import evaluation_dir

        trained = open_run(Path(command.run_dir)).on_account(command.initial_capital, command.account_currency)
        check_draws(command.draws)
        require_plotly()
        with memory_advice(trained.config, ("the number of bars",)):
            judged = prepare_evaluation_bars(trained, command.data_dir, command.split)
            policies = restore_all(trained, judged.market)
    folder = Path(command.output) if command.output else evaluation_dir(trained.paths)
    check_writable(folder)
    print(f"{judged.market.description}; trading {judged.num_steps:,} bars of the {judged.part} split", flush=True)
    with (
        working("trading every portfolio, its baselines and its stress scenarios"),
        memory_advice(trained.config, (f"`draws` {command.draws}", "the number of bars")),
    ):
        evaluation = evaluate_as_trial(trained, judged, policies, command.draws)
    replaced = other_period(folder, evaluation.metrics.bars)
    with working("writing the report"):
        write_files(evaluation, folder)
        write_report(evaluation, folder / "report.html")
    for line in summary_lines(evaluation.metrics):
        print(line)
    for warning in (*evaluation.metrics.warnings, *evaluation.metrics.bars.notices):
        print(f"warning: {with_flags(warning)}", file=sys.stderr)
    if replaced:
        print(f"this replaces the evaluation of {replaced} in {folder}; --output keeps both")
    print(f"evaluated in {time.perf_counter() - began:.1f} s; report in {folder / 'report.html'}")
