"""Settings and a market -> trained agents, in memory or in a run directory."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import overload

from mtquant_jax.api.finished_run import Run, load_run
from mtquant_jax.api.markets import prepare
from mtquant_jax.api.session import keep_compiled_programs, log
from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import Market, asset_classes, market_settings
from mtquant_jax.runs.run_directory import named
from mtquant_jax.runs.train import run
from mtquant_jax.settings.checks import validate
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.storage.recorder import Output
from mtquant_jax.training.observer import Progress, TrainingObserver
from mtquant_jax.training.trainer import HierarchyPolicies, TrainedHierarchy, train_phases
from mtquant_jax.types import AssetClass

_SILENT = logging.CRITICAL + 1


@overload
def train(
    config: TrainConfig,
    market: Market | None = None,
    *,
    phases: Sequence[int] = (),
    start: HierarchyPolicies | TrainedHierarchy | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
) -> TrainedHierarchy: ...
@overload
def train(
    config: TrainConfig,
    market: Market | None = None,
    *,
    seeds: Sequence[int],
    phases: Sequence[int] = (),
    start: HierarchyPolicies | TrainedHierarchy | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
) -> tuple[TrainedHierarchy, ...]: ...
@overload
def train(
    config: TrainConfig,
    market: Market | None = None,
    *,
    run_dir: str | Path,
    phases: Sequence[int] = (),
    on_chunk: Callable[[Progress], None] | None = None,
    quiet: bool = True,
    overwrite: bool = False,
    resume: bool = False,
) -> Run: ...
def train(
    config: TrainConfig,
    market: Market | None = None,
    *,
    seeds: Sequence[int] | None = None,
    phases: Sequence[int] = (),
    start: HierarchyPolicies | TrainedHierarchy | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
    run_dir: str | Path | None = None,
    quiet: bool = True,
    overwrite: bool = False,
    resume: bool = False,
) -> TrainedHierarchy | tuple[TrainedHierarchy, ...] | Run:
    """Train a hierarchy of agents: specialists, the meta-controller over them, and all of them together.

    Args:
        config: the settings.
        market: of `prepare`; None prepares the one that the settings describe.
        seeds: of networks and exploration, trained side by side as one program; None: ``config.seed`` alone.
        phases: some of 1, 2 and 3 in order; empty: ``config.phases``.
        start: what earlier phases hand on, where the phases do not begin with 1.
        on_chunk: called after every compiled chunk with how far a training is; its metrics are means over the chunk.
        run_dir: directory that receives logs, models, checkpoints and metrics, as from ``mtquant-jax train``. Earlier
            phases are then read from it. None trains in memory alone.
        quiet: with a run directory, print nothing; what the command prints as a warning is logged.
        overwrite: replace the training that the run directory holds, and its evaluation.
        resume: go on with the training that the run directory holds, from its newest checkpoints.

    Returns:
        What was trained: one hierarchy, one per seed where ``seeds`` are given, or the finished run on disk.

    Raises:
        UserError: a setting is wrong, the market is not that of the settings, a training diverges, or the directory
            holds another training.
        ValueError: a phase lacks the policies of an earlier one.
    """
    config = dataclasses.replace(config, phases=",".join(map(str, phases)) or config.phases)
    validate(config)
    if market is not None and asset_classes(config) != market.universe.classes:
        mine, theirs = (_listed(classes) for classes in (asset_classes(config), market.universe.classes))
        raise UserError(f"The market has the classes {theirs}, but `specialists` has {mine}")
    if run_dir is not None:
        if seeds is not None or start is not None:
            raise UserError("A run directory holds one training and what it starts from; leave out seeds and start")
        if market is not None:
            _check_same_market(config, market)
        keep_compiled_programs()
        config = dataclasses.replace(config, run_dir=named(str(run_dir), datetime.now()))
        summary = run(config, "Python", market, on_chunk, Output(_SILENT) if quiet else Output(), overwrite, resume)
        if quiet:
            log(summary["market"]["notices"] if market is None else ())
            log(f"phase {finding['phase']}: {finding['sentence']}" for finding in summary["diagnosis"])
        return load_run(config.run_dir)
    market = prepare(config) if market is None else market
    keep_compiled_programs()
    trained = train_phases(
        config,
        market,
        seeds=seeds or (),
        start=start.policies if isinstance(start, TrainedHierarchy) else start,
        observer=_OnChunk(on_chunk),
    )
    return trained[0] if seeds is None else trained


class _OnChunk(TrainingObserver):
    """Hands the progress of a training to a function."""

    def __init__(self, on_chunk: Callable[[Progress], None] | None) -> None:
        self._on_chunk = on_chunk

    def chunk(self, progress: Progress) -> None:
        """Call it."""
        if self._on_chunk is not None:
            self._on_chunk(progress)


def _check_same_market(config: TrainConfig, market: Market) -> None:
    """Refuse a market of other settings: a run is evaluated on the market that its own settings describe."""
    if market.settings is None:
        raise UserError("A run directory needs a market of mtquant_jax.prepare; this one was made otherwise")
    given = market.given is not None
    theirs = market_settings(market.settings, given)
    for key, value in market_settings(config, given).items():
        if theirs.get(key) != value:
            raise UserError(
                f"The market was prepared with another `{key}` than the training has. A run on disk is evaluated by "
                "its settings; prepare the market with the same ones, or leave it out"
            )


def _listed(classes: Iterable[AssetClass]) -> str:
    return "; ".join(f"{c.name}: {', '.join(c.symbols)}" for c in classes)
