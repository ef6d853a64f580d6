"""The host's side of a run: phases in order, their validation, and what one hands to the next."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jax.numpy as jnp

import mtquant_jax
from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.performance import Performance, describe, performance, score
from mtquant_jax.backtest.trading import backtest
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.runs.handover import (
    META_CONTROLLER,
    earlier_results,
    restore_meta,
    restore_policies,
    restore_specialists,
)
from mtquant_jax.runs.run_files import RunFiles, device, listed, new_run_id
from mtquant_jax.settings.checks import parse_phases, validate
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.market_params import evaluation_params, portfolio_params
from mtquant_jax.storage.checkpoints import CheckpointWriter
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.storage.recorder import RunRecorder
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.curriculum import Curriculum
from mtquant_jax.training.diagnosis import Finding, diagnose, diagnose_training
from mtquant_jax.training.loop import Host, Outcome, train

_META = META_CONTROLLER


def run(config: TrainConfig, config_source: str) -> dict[str, Any]:
    """Train the phases a configuration asks for and write everything a run leaves on disk.

    Args:
        config: the resolved settings.
        config_source: where they come from, for the log.

    Returns:
        The content of ``training_summary.json``.

    Raises:
        UserError: bad settings or data, or a phase without the results it needs; raised before anything is written.
    """
    began = time.perf_counter()
    validate(config)
    paths = RunPaths(Path(config.run_dir))
    wanted = parse_phases(config.phases)
    earlier = earlier_results(config, paths, wanted)
    market = prepare_market(config)
    restored = restore_policies(config, paths, market, earlier)
    start = datetime.now()
    with RunRecorder(paths, start) as recorder, CheckpointWriter() as writer:
        host = Host(recorder, writer, Compiler())
        session = Session(config, paths, market, host, new_run_id(start), earlier, *restored)
        session.introduce(config_source, time.perf_counter() - began)
        for phase in wanted:
            session.run_phase(phase)
        writer.wait()
        summary = session.summarise(wanted, start, time.perf_counter() - began)
    return summary


@dataclasses.dataclass
class Session:
    """One run: its settings, market and host, and the results of the phases so far."""

    config: TrainConfig
    paths: RunPaths
    market: Market
    host: Host
    run_id: str
    results: dict[int, dict[str, Any]]  # by phase; of this run or found in the run directory
    specialists: list[Policy]  # phase 1's best, restored; empty before phase 1
    meta: Policy | None  # phase 2's best, restored
    portfolio: Policy | None = None  # phase 3's best: all agents
    _setup_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._files = RunFiles(self.config, self.paths, self.market, self.run_id)

    def introduce(self, config_source: str, setup_seconds: float) -> None:
        """Say what is about to happen and write the resolved settings."""
        self._setup_seconds = setup_seconds
        record = self.host.recorder
        self._files.write_settings()
        record.info(f"mtquant-jax {mtquant_jax.__version__} on {device()}, settings from {config_source}")
        record.info(f"{self.market.description}; ready in {setup_seconds:.1f} s")
        for notice in self.market.notices:
            record.warning(notice)
        for phase, result in self.results.items():
            if result.get("market") != self.market.description:
                record.warning(f"phase {phase} was trained on another market: {result.get('market')}")
        for phase in parse_phases(self.config.phases):
            timesteps = self._timesteps(phase)
            rounded = phases.updates_for(timesteps, self.config) * self.config.num_envs * self.config.num_steps
            if rounded != timesteps:
                record.info(
                    f"phase {phase}: {timesteps:,} timesteps are rounded up to {rounded:,}, whole updates of "
                    f"{self.config.num_envs} environments x {self.config.num_steps} steps"
                )

    def run_phase(self, phase: int) -> None:
        """Train a phase, choose its best checkpoint, write its results and models."""
        began = time.perf_counter()
        compile_before = self.host.compiler.seconds
        self.host.recorder.info(f"phase {phase}: {_TITLES[phase]}")
        self._files.clear(phase)
        result = {1: self._phase1, 2: self._phase2, 3: self._phase3}[phase]()
        self.host.checkpoints.wait()
        wall = time.perf_counter() - began
        compiling = self.host.compiler.seconds - compile_before
        seconds = {"total": wall, "compile": compiling, "run": wall - compiling}
        self.results[phase] = self._files.write_results(phase, self._timesteps(phase), seconds, result)
        self.host.recorder.info(f"phase {phase} took {wall:.1f} s, of which {compiling:.1f} s compiling")

    def summarise(self, wanted: Sequence[int], start: datetime, seconds: float) -> dict[str, Any]:
        """Write and return the summary of the run."""
        parts = {"total": seconds, "setup": self._setup_seconds, "compile": self.host.compiler.seconds}
        summary = self._files.write_summary(wanted, start, parts, self.results)
        findings = summary["diagnosis"]
        for finding in findings:
            self.host.recorder.warning(f"phase {finding['phase']}: {finding['sentence']}")
        if not findings:
            self.host.recorder.info("no policy is flat, pinned to a bound or worse than flat after costs")
        self.host.recorder.info(f"done in {seconds:.1f} s; summary in {self.paths.training_summary}")
        return summary

    # The three phases.

    def _phase1(self) -> dict[str, Any]:
        config, classes = self.config, self.market.universe.classes
        plans = [phases.plan_specialist(config, self.market, i) for i in range(len(classes))]
        groups = [list(range(len(classes)))] if config.parallel else [[i] for i in range(len(classes))]
        specialists, findings = {}, []
        for group in groups:
            outcomes = train(
                self.host,
                1,
                [classes[i].name for i in group],
                [plans[i] for i in group],
                config.save_freq,
                lambda name, timesteps: self.paths.checkpoint(1, timesteps) / name,
                functools.partial(self._validate_specialist, [plans[i] for i in group]),
                curriculum=self._curriculum(),
            )
            for i, outcome in zip(group, outcomes, strict=True):
                name = classes[i].name
                checkpoint = self.paths.checkpoint(1, outcome.best_timesteps) / name
                self._files.write_specialist(i, outcome.policy, 1, outcome)
                continuous = self._validate_specialist(plans, i, outcome.policy, whole_lots=False)
                specialists[name] = {
                    "symbols": list(classes[i].symbols),
                    **self._files.report(outcome, checkpoint, self.paths.specialist_bundle(name), continuous),
                }
                findings += diagnose(name, outcome.validation, {name: classes[i].symbols}, continuous)
                findings += self._diagnose_training(outcome)
        self.host.checkpoints.wait()
        self.specialists = restore_specialists(config, self.paths, self.market, specialists)
        return {"parallel": config.parallel, "specialists": specialists, "diagnosis": listed(findings)}

    def _phase2(self) -> dict[str, Any]:
        plan = phases.plan_meta(self.config, self.market, self.specialists)
        frozen = phases.stacked_specialists(self.specialists)
        equal = self._validate_portfolio(phases.hierarchy(frozen, phases.equal_allocation(plan.start)))
        self.host.recorder.info(f"  equal allocation             validation {describe(equal)}")
        (outcome,) = train(
            self.host,
            2,
            [_META],
            [plan],
            self.config.save_freq,
            lambda _, timesteps: self.paths.checkpoint(2, timesteps),
            lambda _, policy: self._validate_portfolio(phases.hierarchy(frozen, policy)),
            keep_start=True,
            curriculum=self._curriculum(),
        )
        self._tell_whether_start_was_beaten(outcome)
        self._files.write_meta(outcome.policy, 2, outcome)
        checkpoint = self.paths.checkpoint(2, outcome.best_timesteps)
        self.host.checkpoints.wait()
        self.meta = restore_meta(self.config, self.paths, self.market, self._files.relative(checkpoint))
        continuous = self._validate_portfolio(phases.hierarchy(frozen, outcome.policy), whole_lots=False)
        report = self._files.report(outcome, checkpoint, self.paths.meta_bundle, continuous)
        # The specialists are frozen: phase 1 has told what is to be told of their positions.
        findings = self._diagnose_portfolio(2, _META, {}, outcome, continuous)
        origin = {"specialists_from": self.results[1]["run_id"]}
        return {**origin, "equal_allocation": equal.to_json(), _META: report, "diagnosis": listed(findings)}

    def _phase3(self) -> dict[str, Any]:
        assert self.meta is not None  # checked before the run began
        plan = phases.plan_joint(self.config, self.market, self.specialists, self.meta)
        (outcome,) = train(
            self.host,
            3,
            ["portfolio"],
            [plan],
            self.config.save_freq,
            lambda _, timesteps: self.paths.checkpoint(3, timesteps),
            lambda _, policy: self._validate_portfolio(policy),
            keep_start=True,
            curriculum=self._curriculum(all_open=True),
        )
        self.portfolio = outcome.policy
        self._tell_whether_start_was_beaten(outcome)
        for i in range(self.market.universe.num_classes):
            specialist = phases.specialist_of(outcome.policy, i)
            self._files.write_specialist(i, specialist, 3, outcome)
        self._files.write_meta(phases.meta_of(outcome.policy), 3, outcome)
        checkpoint = self.paths.checkpoint(3, outcome.best_timesteps)
        continuous = self._validate_portfolio(outcome.policy, whole_lots=False)
        report = self._files.report(outcome, checkpoint, self.paths.meta_bundle, continuous)
        origin = {"specialists_from": self.results[1]["run_id"], "meta_controller_from": self.results[2]["run_id"]}
        classes = {c.name: c.symbols for c in self.market.universe.classes}
        findings = self._diagnose_portfolio(3, "portfolio", classes, outcome, continuous)
        return {**origin, "portfolio": report, "diagnosis": listed(findings)}

    # What has collapsed.

    def _diagnose_portfolio(
        self,
        phase: int,
        agent: str,
        classes: dict[str, tuple[str, ...]],
        outcome: Outcome,
        continuous: Performance,
    ) -> list[Finding]:
        """Of what a phase hands on, be it its starting point; ``classes`` are those that learnt in it."""
        places = (*(c.name for c in self.market.universe.classes), "cash")
        note = f"the starting point of phase {phase}, handed on" if outcome.best_timesteps == 0 else ""
        found = diagnose(agent, outcome.validation, classes, continuous, _META, places, note)
        return found + self._diagnose_training(outcome)

    def _diagnose_training(self, outcome: Outcome) -> list[Finding]:
        updates = outcome.timesteps // (self.config.num_envs * self.config.num_steps)
        metrics = outcome.training_metrics
        return [finding for agent in metrics for finding in diagnose_training(agent, metrics[agent], updates)]

    def _tell_whether_start_was_beaten(self, outcome: Outcome) -> None:
        if outcome.best_timesteps == 0:
            self.host.recorder.info("  no checkpoint beat the starting point on the validation split; it is handed on")
            return
        # The first of the history is the start: with it as a candidate, it is validated before anything is learnt.
        ahead = score(outcome.validation) - score(outcome.history[0][1])
        error = outcome.validation.sharpe_standard_error
        if error is not None and ahead < error:
            told = f"by {ahead:.2f}, within one standard error ({error:.2f})"
            self.host.recorder.info(f"  the best checkpoint is ahead of the starting point {told}")

    def _curriculum(self, all_open: bool = False) -> Curriculum | None:
        """Where a training begins in the curriculum; phase 3 goes on with policies that have been through it."""
        if not self.market.stages:
            return None
        return (Curriculum.with_all_open if all_open else Curriculum.begin)(self.market.stages)

    # Validation: in whole lots, as the policy would be traded.

    def _validate_specialist(
        self, plans: Sequence[phases.Plan], member: int, policy: Policy, whole_lots: bool = True
    ) -> Performance:
        plan = plans[member]
        env_params = evaluation_params(plan.env_params, whole_lots)
        return self._performance(plan.program.env, plan.program.agent, policy, env_params)

    def _validate_portfolio(self, policy: Policy, whole_lots: bool = True) -> Performance:
        env = phases.hierarchy_env(self.config)
        agent = phases.hierarchy_agent(self.config, self.market)
        env_params = evaluation_params(portfolio_params(self.config, self.market), whole_lots)
        return self._performance(env, agent, policy, env_params)

    def _performance(self, env: Any, agent: Any, policy: Policy, env_params: Any) -> Performance:
        """Trade the validation split once; its last bar is the last that is traded."""
        first, last = self.market.splits.validation
        arguments = (policy.params, policy.normalizers, env_params, jnp.asarray(first, jnp.int32))
        compiled = self.host.compiler(backtest, (env, agent, last - first - 1), *arguments)
        return performance(compiled(*arguments), self.market.day[first:last], self.market.stages)

    def _timesteps(self, phase: int) -> int:
        return (self.config.phase1_timesteps, self.config.phase2_timesteps, self.config.phase3_timesteps)[phase - 1]


_TITLES = {
    1: "specialists learn their asset classes",
    2: "the meta-controller learns to give them capital",
    3: "joint fine-tuning of all agents",
}
