"""What a reader must know before believing any number of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mtquant_jax.evaluation.backtests import Traded
from mtquant_jax.evaluation.book import slots_of, smallest_order, weights
from mtquant_jax.evaluation.evaluation_bars import EvaluationBars
from mtquant_jax.evaluation.verdict import FEW_DAYS
from mtquant_jax.market.prepare import EXAMPLE_CONTRACTS
from mtquant_jax.runs.trained_run import TrainedRun

IN_SAMPLE = "IN SAMPLE"
"""How a warning begins that takes all meaning from the numbers."""

SYNTHETIC_TRAINING = "TRAINED ON SYNTHETIC BARS, TRADED ON REAL ONES"
"""How the warning and the verdict begin where a policy is judged in another world than it learnt in."""


def warnings_of(run: TrainedRun, judged: EvaluationBars, traded: Traded, days: int) -> list[str]:
    """Warnings in the order of their weight; ``days`` is the number of daily returns."""
    found = [*_in_sample(judged), *_other_market(run, judged)]
    if days < FEW_DAYS:
        found.append(
            f"only {days} trading days: intervals of so few are too narrow, and any Sharpe ratio may be luck; "
            "judge on more bars"
        )
    for phase, use in ((2, "the meta-controller"), (3, "joint fine-tuning")):
        if phase not in run.results:
            found.append(f"phase {phase} has not been trained: nothing is known of {use}")
    found += _never_held(judged, traded, run.config.simulation.initial_capital)
    terminated = int(np.sum(traded.portfolios[traded.last].terminated))
    if terminated:
        paths = judged.market.table.open.shape[0]
        found.append(f"the account was ruined or stopped out on {terminated} of {paths} paths")
    if EXAMPLE_CONTRACTS in judged.market.notices:
        found.append(EXAMPLE_CONTRACTS)
    if traded.stress_notice:
        found.append(traded.stress_notice)
    return found


def _in_sample(judged: EvaluationBars) -> Iterator[str]:
    for split, use in (("train", "the policies were trained on"), ("validation", "checkpoints were chosen on")):
        if judged.overlap[split]:
            yield (
                f"{IN_SAMPLE}: {judged.overlap[split]:,} of {judged.num_steps:,} bars are of the {split} split that "
                f"{use}; these figures say nothing about new bars"
            )


def _other_market(run: TrainedRun, judged: EvaluationBars) -> Iterator[str]:
    if run.is_synthetic and not judged.is_synthetic:
        yield (
            f"{SYNTHETIC_TRAINING}: the policies learnt on a {run.market['description']}, and never saw a real bar; "
            "their scales, costs and habits are that market's. Train on real bars before you draw any conclusion"
        )


def _never_held(judged: EvaluationBars, traded: Traded, capital: float) -> Iterator[str]:
    """Instruments that lot rounding alone keeps out."""
    held, wanted = (
        np.abs(weights(record, judged)).max(axis=(0, 1))
        for record in (traded.portfolios[traded.last], traded.unrounded)
    )
    symbols = slots_of(judged).symbols
    for column, symbol in enumerate(symbols):
        if held[column] > 0.0 or wanted[column] == 0.0:
            continue
        smallest = float(judged.market.contracts.min_lot[slots_of(judged).positions[column]])
        order = smallest_order(symbol, capital, judged)
        yield (
            f"{symbol} was never held: no position reached half the smallest order, {smallest:g} lots or "
            f"{100.0 * order:.1f} % of the capital; without lot rounding up to {100.0 * wanted[column]:.1f} % would "
            "have been held"
        )
