"""Result files of a training -> their content, once every field that is relied on is known to be there and of its type.

Tables and reports show the rest of a file as it stands.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from mtquant_jax.backtest.evidence import Evidence
from mtquant_jax.backtest.performance import Performance
from mtquant_jax.errors import UserError
from mtquant_jax.runs.identity import Identity
from mtquant_jax.storage.files import read_sealed
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.storage.records import JsonRecord


@dataclasses.dataclass(frozen=True)
class HistoryPoint(JsonRecord):
    """What a plot shows of one checkpoint."""

    timesteps: int
    sharpe: float | None  # annualised, on the validation split
    sharpe_standard_error: float | None


@dataclasses.dataclass(frozen=True)
class HandedOn(JsonRecord):
    """What the results say of one training."""

    best_checkpoint: str  # path in the run directory
    best_timesteps: int
    validation: Performance
    history: tuple[HistoryPoint, ...]
    evidence: Evidence | None = None  # runs of earlier versions have none


@dataclasses.dataclass(frozen=True)
class PhaseResults(JsonRecord):
    """What is relied on of ``phaseN_results.json``; every phase has some of it."""

    phase: int
    run_id: str
    identity: Identity
    timesteps_requested: int | None = None
    specialists_from: str | None = None  # run_id, like the next
    meta_controller_from: str | None = None
    specialists: Mapping[str, HandedOn] | None = None
    meta_controller: HandedOn | None = None
    portfolio: HandedOn | None = None


@dataclasses.dataclass(frozen=True)
class Ends(JsonRecord):
    """The first and the last bar of a split."""

    first: str  # open time, "YYYY-MM-DD HH:MM" UTC
    last: str


@dataclasses.dataclass(frozen=True)
class MarketOfSummary(JsonRecord):
    """What is relied on of the market in ``training_summary.json``."""

    description: str
    splits: Mapping[str, Ends]
    interval_seconds: int
    symbols: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Summary(JsonRecord):
    """What is relied on of ``training_summary.json``."""

    run_id: str
    phases: tuple[int, ...]
    identity: Identity


def read_results(paths: RunPaths, phase: int, what: str) -> dict[str, Any]:
    """The content of a phase's results.

    Args:
        paths: of the run.
        phase: 1, 2 or 3.
        what: start of the error message, as for `read_json`.

    Raises:
        UserError: the file is missing or damaged, or lacks what is relied on.
    """
    path = paths.phase_results(phase)
    content = read_sealed(path, what)
    found = PhaseResults.from_json(content, str(path))
    if found.phase != phase:
        raise UserError(f"{path} is of phase {found.phase}; copy a run directory as a whole, or train again")
    return content


def read_summary(paths: RunPaths, what: str) -> dict[str, Any]:
    """The content of a run's summary; arguments and errors as those of `read_results`."""
    path = paths.training_summary
    content = read_sealed(path, what)
    Summary.from_json(content, str(path))
    market = content.get("market")
    for key in ("splits", "interval_seconds", "symbols"):
        if not isinstance(market, dict) or key not in market:
            raise UserError(f"{path} lacks {key} of its market; train again to evaluate")
    MarketOfSummary.from_json(market, f"{path}, market")
    return content


def handed_on(paths: RunPaths, phase: int, report: Any, name: str) -> HandedOn:
    """What the results of a phase say of the training of an agent.

    Raises:
        UserError: nothing, or not all that is needed.
    """
    if report is None:
        raise UserError(f"{paths.phase_results(phase)} has no {name}; train phase {phase} again")
    return HandedOn.from_json(report, f"{paths.phase_results(phase)}, {name}")
