"""A process that trains a run with others, and leaves files and printing to the first of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mtquant_jax import processes
from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.evidence import Evidence
from mtquant_jax.errors import UserError
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.market.prepare import Market
from mtquant_jax.runs.checkpoints import Origin, checkpoint_path, restore_checkpoint
from mtquant_jax.runs.handover import restore_handed_on
from mtquant_jax.runs.identity import Identity
from mtquant_jax.runs.phase_results import handed_on, read_results, read_summary
from mtquant_jax.runs.stopping import stop_requests
from mtquant_jax.runs.versions import versions
from mtquant_jax.settings.checks import parse_phases
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.storage.checkpoints import Damaged
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.training.observer import Member, Stopped, TrainingObserver
from mtquant_jax.training.saved import SavedTraining
from mtquant_jax.training.trainer import HierarchyPolicies, train_phases


def decided_before(paths: RunPaths, run_id: str, member: Member) -> tuple[Evidence, Policy | None] | None:
    """What the results of phase 1 say of a member, where the run had them before, and its policy before the cut.

    A policy that is a checkpoint's is not read: the training, which goes on from it, has it. A mean of policies that is
    damaged is made again, with its evidence.
    """
    if member.phase != 1 or not paths.phase_results(1).is_file():
        return None
    results = read_results(paths, 1, "the training goes on")
    if results["run_id"] != run_id:
        return None
    report = results["specialists"].get(member.name)
    evidence = handed_on(paths, 1, report, member.name).evidence
    if evidence is None:
        return None
    if evidence.policies == 1:
        return evidence, None
    try:
        return evidence, restore_handed_on(paths, 1, member.name, results, report, member.plan.start)
    except Damaged:
        return None


class Follower(TrainingObserver):
    """Reads what the first process says is there; the methods wait for those of its `RunObserver`."""

    def __init__(self, run_dir: Path, run_id: str, stops: Callable[[], bool]) -> None:
        """``stops`` says whether someone wants this process to stop."""
        self._paths, self._run_id, self._stops = RunPaths(run_dir), run_id, stops

    def earlier(self, members: Sequence[Member], like: Sequence[TrainState]) -> list[SavedTraining] | None:
        """The checkpoints that the first process goes on from."""
        timesteps = processes.from_first("")
        if not timesteps:
            return None
        return [self._restored(member, int(timesteps), state) for member, state in zip(members, like, strict=True)]

    def stops(self) -> bool:
        """Whether someone wants any process to stop."""
        return processes.in_any(self._stops())

    def decided(self, member: Member) -> tuple[Evidence, Policy | None] | None:
        """What the first process has read."""
        return decided_before(self._paths, self._run_id, member) if processes.from_first("") else None

    def _restored(self, member: Member, timesteps: int, like: TrainState) -> SavedTraining:
        path = checkpoint_path(self._paths, member.phase, member.name, timesteps)
        return restore_checkpoint(path, Origin(self._run_id, member.phase, member.name, timesteps), like)


def check_same_in_all(config: TrainConfig, market: Market, run_id: str) -> None:
    """Refuse processes that would train something else than the first one.

    Raises:
        UserError: settings, bars, versions or run directories differ; in all processes.
    """
    if processes.count() == 1:
        return
    mine = json.dumps([run_id, Identity.of(config, market).to_json(), versions(), config.devices], sort_keys=True)
    with processes.agreed():
        if processes.from_first(mine) != mine:
            raise UserError(
                "this process would train something else than process 0: give all of them the same settings, bars and "
                f"versions, and a `run_dir` on a file system that they share, unlike {config.run_dir}"
            )


def follow(config: TrainConfig, market: Market, run_id: str, policies: HierarchyPolicies) -> dict[str, Any]:
    """Train with the first process, which writes, and return the summary that it has written.

    Args:
        config: of the training.
        market: prepared with these settings.
        run_id: of the training.
        policies: of earlier phases.

    Raises:
        Interrupted: a process was asked to stop; the first one has saved the training.
    """
    paths = RunPaths(Path(config.run_dir))
    with stop_requests() as request:
        observer = Follower(paths.run_dir, run_id, request.is_made)
        try:
            train_phases(config, market, phases=parse_phases(config.phases), start=policies, observer=observer)
        except Stopped:
            raise request.interrupted("stopped; process 0 saves the training") from None
    processes.from_first("written")
    return read_summary(paths, "the training has ended")
