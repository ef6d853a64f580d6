"""Trains all phases fold by fold on a market that moves on, several seeds side by side, and trades what comes next.

Every fold has the same shapes, so that all of them run through the same compiled programs; seeds (and in phase 1 the
classes too) are vmapped.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.hierarchy import stack
from mtquant_jax.backtest.performance import Performance, performance
from mtquant_jax.backtest.trading import BacktestRecord, Conditions, backtest, trade_variants
from mtquant_jax.evaluation.backtests import AFTER, EQUAL, apart, mean_turnover, trade_baselines
from mtquant_jax.evaluation.evaluation_bars import EvaluationBars
from mtquant_jax.market.prepare import Market, split_anew
from mtquant_jax.runs.run_files import RunFiles
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.market_params import evaluation_params, portfolio_params
from mtquant_jax.statistics.returns import daily_returns
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.training import phases
from mtquant_jax.training.loop import Host, Outcome, train
from mtquant_jax.training.phases import Plan
from mtquant_jax.types import Splits

PORTFOLIOS = (EQUAL, AFTER[2], AFTER[3])


class NoCheckpoints:
    """In the place of a `CheckpointWriter`: folds keep their models, not the way there."""

    def save(self, path: Path, tree: Any) -> None:
        """Write nothing."""

    def wait(self) -> None:
        """Nothing is under way."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """One fold, trained and judged."""

    splits: Splits
    times: dict[str, tuple[int, int]]  # part -> first and last bar, seconds since 1970 UTC
    returns: dict[str, np.ndarray]  # portfolio -> [D, seeds] daily returns on the test bars; baseline -> [D, 1]
    equity: dict[str, np.ndarray]  # the same bar by bar, [L + 1, seeds or 1]
    performance: dict[str, list[Performance]]  # of the same, seed by seed
    validation: list[float | None]  # Sharpe ratio of the last phase's checkpoint, seed by seed
    day: np.ndarray  # [L + 1] of the test bars
    timestamps: np.ndarray  # [L + 1]


def run_fold(
    configs: Sequence[TrainConfig],
    market: Market,
    splits: Splits,
    host: Host,
    folder: Path,
    tell: Callable[[str], None],
) -> Fold:
    """Train every seed on a fold, write the models, and trade its test bars.

    Args:
        configs: one per seed.
        market: all bars, under any splits.
        splits: the fold.
        host: recorder, checkpoints and compiled programs, shared by all folds.
        folder: of the fold; every seed's models go to ``seed_N`` in it.
        tell: a line of progress.
    """
    market = split_anew(market, configs[0], splits)
    trainer = _Trainer(configs, market, host, folder.name)
    specialists = trainer.specialists()
    tell("specialists trained")
    metas = trainer.metas(specialists)
    tell("meta-controller trained")
    joint = trainer.joint(specialists, metas)
    tell("joint fine-tuning done")
    for config, mine, meta, outcome in zip(configs, specialists, metas, joint, strict=True):
        _write_models(config, market, folder / f"seed_{config.seed}", mine, meta, outcome)
    return _judge(configs, market, specialists, metas, joint)


@dataclasses.dataclass
class _Trainer:
    """Trains the seeds of one fold, phase by phase."""

    configs: Sequence[TrainConfig]
    market: Market
    host: Host
    fold: str

    def specialists(self) -> list[list[Outcome]]:
        """Phase 1: seed by seed, class by class."""
        classes = self.market.universe.classes
        members = [(config, index) for config in self.configs for index in range(len(classes))]
        plans = [phases.plan_specialist(config, self.market, index) for config, index in members]
        outcomes = self._train(
            1,
            [f"seed{config.seed}/{classes[index].name}" for config, index in members],
            plans,
            lambda member, policy: self._validate_specialist(plans[member], policy),
        )
        return [outcomes[i : i + len(classes)] for i in range(0, len(outcomes), len(classes))]

    def metas(self, specialists: Sequence[Sequence[Outcome]]) -> list[Outcome]:
        """Phase 2, seed by seed."""
        frozen = [[outcome.policy for outcome in mine] for mine in specialists]
        plans = [phases.plan_meta(c, self.market, mine) for c, mine in zip(self.configs, frozen, strict=True)]
        stacked = [phases.stacked_specialists(mine) for mine in frozen]
        return self._train(
            2,
            [f"seed{config.seed}/meta_controller" for config in self.configs],
            plans,
            lambda member, policy: self._validate_portfolio(phases.hierarchy(stacked[member], policy)),
            keep_start=True,
        )

    def joint(self, specialists: Sequence[Sequence[Outcome]], metas: Sequence[Outcome]) -> list[Outcome]:
        """Phase 3, seed by seed."""
        plans = [
            phases.plan_joint(config, self.market, [outcome.policy for outcome in mine], meta.policy)
            for config, mine, meta in zip(self.configs, specialists, metas, strict=True)
        ]
        names = [f"seed{config.seed}/portfolio" for config in self.configs]
        return self._train(3, names, plans, lambda _, policy: self._validate_portfolio(policy), keep_start=True)

    def _train(
        self,
        phase: int,
        names: Sequence[str],
        plans: Sequence[Plan],
        validate: Callable[[int, Policy], Performance],
        keep_start: bool = False,
    ) -> list[Outcome]:
        labels = [f"{self.fold}/{name}" for name in names]
        frequency = self.configs[0].save_freq
        return train(self.host, phase, labels, plans, frequency, lambda *_: Path(), validate, keep_start)

    def _validate_specialist(self, plan: Plan, policy: Policy) -> Performance:
        return self._performance(plan.program.env, plan.program.agent, policy, evaluation_params(plan.env_params))

    def _validate_portfolio(self, policy: Policy) -> Performance:
        config = self.configs[0]
        env_params = evaluation_params(portfolio_params(config, self.market))
        agent = phases.hierarchy_agent(config, self.market)
        return self._performance(phases.hierarchy_env(config), agent, policy, env_params)

    def _performance(self, env: Any, agent: Any, policy: Policy, env_params: Any) -> Performance:
        first, last = self.market.splits.validation
        arguments = (policy.params, policy.normalizers, env_params, jnp.asarray(first, jnp.int32))
        compiled = self.host.compiler(backtest, (env, agent, last - first - 1), *arguments)
        return performance(compiled(*arguments), self.market.day[first:last])


def _judge(
    configs: Sequence[TrainConfig],
    market: Market,
    specialists: Sequence[Sequence[Outcome]],
    metas: Sequence[Outcome],
    joint: Sequence[Outcome],
) -> Fold:
    """Trade the test bars: every portfolio of every seed, and the rules."""
    first, last = market.splits.test
    judged = EvaluationBars(market, first, last, "test", "", {"train": 0, "validation": 0})
    variants = []
    for mine, meta, outcome in zip(specialists, metas, joint, strict=True):
        frozen = phases.stacked_specialists([one.policy for one in mine])
        equal = phases.hierarchy(frozen, phases.equal_allocation(meta.policy))
        variants += [equal, phases.hierarchy(frozen, meta.policy), outcome.policy]
    records = trade_variants(
        phases.hierarchy_env(configs[0]),
        phases.hierarchy_agent(configs[0], market),
        judged.num_steps,
        stack([policy.params for policy in variants]),
        stack([policy.normalizers for policy in variants]),
        evaluation_params(portfolio_params(configs[0], market)),
        jnp.asarray(first, jnp.int32),
        Conditions.usual(len(variants)),
    )
    by_variant = apart(records, len(variants))
    found = {name: by_variant[index :: len(PORTFOLIOS)] for index, name in enumerate(PORTFOLIOS)}
    turnover = float(np.mean([mean_turnover(record) for record in found[AFTER[3]]]))
    found |= {name: [record] for name, record in trade_baselines(configs[0], judged, turnover).items()}
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
        validation=[outcome.validation.sharpe for outcome in joint],
        day=judged.day,
        timestamps=judged.timestamps,
    )


def _equity(record: BacktestRecord) -> np.ndarray:
    """``[L + 1, 1]``: the mean over paths, which is the one path of a history."""
    return np.asarray(record.equity, np.float64).mean(axis=1, keepdims=True)


def _write_models(
    config: TrainConfig, market: Market, folder: Path, specialists: Sequence[Outcome], meta: Outcome, joint: Outcome
) -> None:
    """The models of one seed as a training leaves them, ready to be traded."""
    files = RunFiles(dataclasses.replace(config, run_dir=str(folder)), RunPaths(folder), market, folder.name)
    for index in range(len(specialists)):
        files.write_specialist(index, phases.specialist_of(joint.policy, index), 3, joint)
    files.write_meta(phases.meta_of(joint.policy), 3, joint)
