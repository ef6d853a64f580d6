"""Trains all phases fold by fold on a market that moves on, several seeds side by side, and trades what comes next.

Every fold has the same shapes, so that all of them run through the same compiled programs; seeds (and in phase 1 the
classes too) are trained side by side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.hierarchy import stack
from mtquant_jax.backtest.performance import Performance, performance
from mtquant_jax.backtest.trading import BacktestRecord, Conditions, trade_variants
from mtquant_jax.evaluation.backtests import AFTER, COMPILER, EQUAL, anchor_of, apart, mean_turnover, trade_baselines
from mtquant_jax.evaluation.evaluation_bars import EvaluationBars
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.market.prepare import Market, resplit
from mtquant_jax.runs.checkpoints import Checkpoints, of_fold
from mtquant_jax.runs.identity import Identity
from mtquant_jax.runs.progress import record_chunk
from mtquant_jax.runs.run_files import RunFiles
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.market_params import evaluation_params, portfolio_params
from mtquant_jax.statistics.returns import daily_returns
from mtquant_jax.storage.checkpoints import CheckpointWriter
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.storage.recorder import RunRecorder
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.observer import Member, Progress, TrainingObserver
from mtquant_jax.training.outcome import Outcome
from mtquant_jax.training.saved import SavedTraining
from mtquant_jax.training.trainer import PORTFOLIO, TrainedHierarchy, train_phases
from mtquant_jax.types import Splits

PORTFOLIOS = (EQUAL, AFTER[2], AFTER[3])


@dataclasses.dataclass(frozen=True)
class WalkForwardRun:
    """What all folds of a walk-forward are written with."""

    run_id: str
    recorder: RunRecorder
    writer: CheckpointWriter
    resumes: bool  # whether folds go on from the checkpoints that are there
    stops: Callable[[], bool]  # whether to stop after this chunk


@dataclasses.dataclass(frozen=True)
class Fold:
    """One fold, trained and judged."""

    splits: Splits
    times: dict[str, tuple[int, int]]  # part -> first and last bar, seconds since 1970 UTC
    returns: dict[str, np.ndarray]  # portfolio -> [D, seeds] daily returns on the test bars; baseline -> [D, 1]
    equity: dict[str, np.ndarray]  # the same bar by bar, [L + 1, seeds or 1]
    performance: dict[str, list[Performance]]  # of the same, seed by seed
    validation: list[float | None]  # Sharpe ratio of the last phase's checkpoint, seed by seed
    tilts: dict[str, list[float]]  # class -> share of its specialist's tilt that the evidence carried, seed by seed
    day: np.ndarray  # [L + 1] of the test bars
    timestamps: np.ndarray  # [L + 1]


class FoldObserver(TrainingObserver):
    """Writes checkpoints and rows of metrics of a fold's trainings, and a line of progress after each phase."""

    def __init__(
        self,
        recorder: RunRecorder,
        fold: str,
        report: Callable[[str], None],
        checkpoints: Checkpoints,
        stops: Callable[[], bool],
    ) -> None:
        """What to write to.

        Args:
            recorder: of the walk-forward.
            fold: names it in the metrics.
            report: shows a line of progress.
            checkpoints: of the fold.
            stops: whether to stop after this chunk.
        """
        self._recorder, self._fold, self._report = recorder, fold, report
        self._checkpoints, self._stops = checkpoints, stops

    def earlier(self, members: Sequence[Member], like: Sequence[TrainState]) -> list[SavedTraining] | None:
        """Read it from the newest checkpoints, where the walk-forward is resumed."""
        found = self._checkpoints.earlier(members, like)
        if self._checkpoints.resumes:
            done = found[0].logbook.timesteps if found else 0
            for member in members:
                self._recorder.keep_metrics(member.phase, self._label(member), done)
        return found

    def checkpoint(self, member: Member, saved: SavedTraining) -> None:
        """Save it in the background."""
        self._checkpoints.save(member, saved)

    def stops(self) -> bool:
        """Whether someone wants the walk-forward to stop."""
        return self._stops()

    def chunk(self, progress: Progress) -> None:
        """Write a row, once the checkpoint before the chunk is on disk."""
        self._checkpoints.writer.wait()
        record_chunk(self._recorder, progress, self._label(progress.member))

    def phase_ends(self, phase: int) -> None:
        """Show what is done."""
        self._report(_DONE[phase])

    def _label(self, member: Member) -> str:
        return f"{self._fold}/seed{member.seed}/{member.name}"


_DONE = {1: "specialists trained", 2: "meta-controller trained", 3: "joint fine-tuning done"}


def run_fold(
    configs: Sequence[TrainConfig],
    market: Market,
    splits: Splits,
    run: WalkForwardRun,
    compiler: Compiler,
    folder: Path,
    report: Callable[[str], None],
) -> Fold:
    """Train every seed on a fold, from its checkpoints where it is resumed, write the models, and trade its test bars.

    Args:
        configs: one per seed.
        market: all bars, under any splits.
        splits: the fold.
        run: the walk-forward that the fold is of.
        compiler: compiled programs, shared by all folds.
        folder: of the fold; every seed's models go to ``seed_N`` in it.
        report: shows a line of progress.

    Raises:
        Stopped: someone wanted it to stop; every training is saved.
    """
    market = resplit(market, configs[0], splits)
    identity = Identity.of(configs[0], market)
    checkpoints = Checkpoints(
        RunPaths(folder), run.run_id, identity, run.writer, configs[0].keep, run.resumes, of_fold, run.recorder.warning
    )
    trained = train_phases(
        dataclasses.replace(configs[0], parallel=True),
        market,
        seeds=[config.seed for config in configs],
        phases=(1, 2, 3),
        observer=FoldObserver(run.recorder, folder.name, report, checkpoints, run.stops),
        compiler=compiler,
    )
    for config, hierarchy in zip(configs, trained, strict=True):
        seed_folder = folder / f"seed_{config.seed}"
        files = RunFiles(
            dataclasses.replace(config, run_dir=str(seed_folder)), RunPaths(seed_folder), market, seed_folder.name
        )
        files.write_settings()
        files.write_hierarchy(hierarchy.outcomes[3][PORTFOLIO])
    return _judge(configs[0], market, trained)


def _judge(config: TrainConfig, market: Market, trained: Sequence[TrainedHierarchy]) -> Fold:
    """Trade the test bars: every portfolio of every seed, and the rules."""
    first, last = market.splits.test
    judged = EvaluationBars(market, first, last, "test", "", {"train": 0, "validation": 0})
    variants: list[Policy] = []
    for hierarchy in trained:
        policies = hierarchy.policies
        assert policies.meta is not None and policies.portfolio is not None
        frozen = phases.stacked_specialists(policies.specialists)
        equal = phases.hierarchy(frozen, phases.equal_allocation(policies.meta))
        variants += [equal, phases.hierarchy(frozen, policies.meta), policies.portfolio]
    anchor = anchor_of(config, market, variants[0])
    variants += anchor.values()
    static = phases.hierarchy_env(config), phases.hierarchy_agent(config, market), judged.num_steps
    arguments = (
        stack([policy.params for policy in variants]),
        stack([policy.normalizers for policy in variants]),
        evaluation_params(portfolio_params(config, market)),
        jnp.asarray(first, jnp.int32),
        Conditions.usual(len(variants)),
    )
    records = COMPILER(trade_variants, static, *arguments)(*arguments)
    by_variant = apart(records, len(variants))
    found = {
        name: by_variant[index : len(PORTFOLIOS) * len(trained) : len(PORTFOLIOS)]
        for index, name in enumerate(PORTFOLIOS)
    }
    found |= {name: by_variant[-1:] for name in anchor}

    def turnover() -> float:
        return float(np.mean([mean_turnover(record) for record in found[AFTER[3]]]))

    found |= {name: [record] for name, record in trade_baselines(config, judged, turnover).items()}
    equities = {name: np.concatenate([_equity(record) for record in rs], axis=1) for name, rs in found.items()}
    return Fold(
        splits=market.splits,
        times={
            part: (int(market.timestamps[span[0]]), int(market.timestamps[span[1] - 1]))
            for part, span in dataclasses.asdict(market.splits).items()
        },
        returns={name: daily_returns(equity, judged.day) for name, equity in equities.items()},
        equity=equities,
        performance={name: [performance(record, judged.day) for record in rs] for name, rs in found.items()},
        tilts={
            name: [0.0 if outcome.evidence is None else outcome.evidence.tilt for outcome in outcomes]
            for name, outcomes in _by_class(trained).items()
        },
        validation=[hierarchy.outcomes[3][PORTFOLIO].validation.sharpe for hierarchy in trained],
        day=judged.day,
        timestamps=judged.timestamps,
    )


def _by_class(trained: Sequence[TrainedHierarchy]) -> dict[str, list[Outcome]]:
    """The specialists' trainings, seed by seed."""
    return {name: [hierarchy.outcomes[1][name] for hierarchy in trained] for name in trained[0].outcomes[1]}


def _equity(record: BacktestRecord) -> np.ndarray:
    """``[L + 1, 1]``: the mean over paths, which is the one path of a history."""
    return np.asarray(record.equity, np.float64).mean(axis=1, keepdims=True)
