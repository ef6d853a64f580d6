"""Runs a sweep: asks the study for trials, trains them in batches, and tells it what came of them."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import Market
from mtquant_jax.runs.identity import settings_hash
from mtquant_jax.runs.sweep.batch import BatchTrainer, Markets
from mtquant_jax.runs.sweep.objectives import OBJECTIVES, Objective
from mtquant_jax.runs.sweep.result import SweepResult
from mtquant_jax.runs.sweep.study import Finished, Method, Study
from mtquant_jax.runs.sweep.trials import Trial
from mtquant_jax.settings.checks import parse_phases
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.search_space import SearchSpace
from mtquant_jax.settings.yaml_files import as_mapping
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.observer import Progress, Stopped

_HALVING_FACTOR = 3
_TRIALS = 32  # of a search that is told no number


@dataclasses.dataclass(frozen=True)
class SweepPlan:
    """What a sweep does."""

    name: str
    config: TrainConfig  # the settings that all trials share
    space: SearchSpace
    method: Method
    num_trials: int | None  # None: all of a grid
    seeds: tuple[int, ...]
    classes: tuple[str, ...]  # whose specialists are trained, where phase 1 is all; empty: all
    objective: Objective
    halving: bool = False  # whether trials that promise too little are given up
    batch: int = 8  # trials that are trained side by side
    timeout: float | None = None  # seconds after which no trial is begun, and those that run are left

    @classmethod
    def of(
        cls,
        name: str,
        config: TrainConfig,
        space: SearchSpace,
        *,
        seeds: int,
        method: Method | None = None,
        num_trials: int | None = None,
        **options: Any,
    ) -> SweepPlan:
        """A plan that can be carried out.

        Args:
            name: of the sweep.
            config: the settings that all trials share.
            space: what is searched.
            seeds: trainings per trial; they count up from ``config.seed``.
            method: None: a grid where all of the space are lists, otherwise tpe.
            num_trials: None: all of a grid, otherwise 32.
            options: the other fields.

        Raises:
            UserError: it cannot be carried out.
        """
        method = method or ("grid" if space.is_grid else "tpe")
        if num_trials is None and method != "grid":
            num_trials = _TRIALS
        numbers = tuple(range(config.seed, config.seed + seeds))
        plan = cls(name, config, space, method, num_trials, numbers, **options)
        plan.check()
        return plan

    @property
    def phases(self) -> tuple[int, ...]:
        """That every trial trains."""
        return tuple(parse_phases(self.config.phases))

    @property
    def trained(self) -> str:
        """What every trial trains, in words."""
        names = ", ".join(self.classes or self.config.specialists)
        what = f"phase 1 of {names}" if self.phases == (1,) else f"phases {', '.join(map(str, self.phases))}"
        return f"{what}, {len(self.seeds)} seed{'s' * (len(self.seeds) != 1)} each"

    @property
    def total(self) -> int | None:
        """Trials of the whole sweep; None: no end."""
        if self.method != "grid":
            return self.num_trials
        size = len(self.space.grid())
        return size if self.num_trials is None else min(self.num_trials, size)

    def check(self) -> None:
        """Refuse what a sweep cannot do, before anything is trained.

        Raises:
            UserError: it cannot be done.
        """
        counts = {"seeds": len(self.seeds), "num_trials": self.num_trials, "batch": self.batch}
        for name, value in counts.items():
            if value is not None and value < 1:
                raise UserError(f"`{name}` {value}: at least 1")
        if self.phases[0] != 1:
            raise UserError(f"`phases` {self.config.phases}: a trial begins with phase 1, from new policies")
        known = tuple(self.config.specialists)
        if unknown := [name for name in self.classes if name not in known]:
            raise UserError(f"`classes` {unknown[0]}: unknown class; choose from {', '.join(known)}")
        if self.classes and self.phases != (1,):
            raise UserError("`classes`: only phase 1 can be trained for some classes; leave it out, or train phase 1")
        if self.method == "grid":
            self.space.grid()  # refuses ranges
        self._check_algorithm()

    def _check_algorithm(self) -> None:
        """Refuse settings that no phase reads: all trials would be the same."""
        names = {name for d in self.space.dimensions if "algorithm" in d.name for name in d.choices}
        names |= {self.config.algorithm_of(phase) for phase in self.phases}
        for dimension in self.space.dimensions:
            unread = [key for key in dimension.keys if not any(_reads(str(name), key) for name in names)]
            if unread:
                used = " and ".join(sorted(map(str, names)))
                raise UserError(
                    f"{dimension.name}: nothing is changed by it, for what is trained learns by {used}; give another "
                    "`algorithm`, or leave it out"
                )

    def purpose(self, market: Market) -> dict[str, Any]:
        """What its trials have in common, by which they can be compared."""
        swept = {key: None for dimension in self.space.dimensions for key in dimension.keys}
        apart = dataclasses.replace(self.config, parallel=False)  # which learns the same
        return {
            "objective": self.objective,
            "seeds": list(self.seeds),
            "phases": list(self.phases),
            "classes": list(self.classes),
            "market": market.fingerprint,
            "settings": settings_hash(_without(as_mapping(apart), swept)),
            "halving": self.halving,
        }


def run_sweep(
    plan: SweepPlan,
    study: Study,
    markets: Markets,
    compiler: Compiler,
    stops: Callable[[], bool] = lambda: False,
    begins: Callable[[Sequence[Trial]], None] = lambda trials: None,
    told: Callable[[Finished], None] = lambda finished: None,
    chunk: Callable[[Progress], None] = lambda progress: None,
) -> SweepResult:
    """Try what the study asks for, until there are enough trials.

    Args:
        plan: what is done.
        study: opened for it; what it holds already counts.
        markets: prepared ones.
        compiler: keeps compiled programs.
        stops: whether someone wants it to stop; looked at after every chunk of the trainings.
        begins: is shown the trials of a batch.
        told: is shown every trial as soon as there is a result.
        chunk: is shown every chunk of every training.

    Raises:
        Stopped: ``stops`` wanted it; trials without a result will be tried again.
    """
    began, compiled = time.perf_counter(), compiler.seconds
    market = markets.of(plan.config)

    def over() -> bool:
        return plan.timeout is not None and time.perf_counter() - began > plan.timeout

    trainer = BatchTrainer(
        config=plan.config,
        space=plan.space,
        seeds=plan.seeds,
        phases=plan.phases,
        classes=plan.classes,
        objective=plan.objective,
        score=OBJECTIVES[plan.objective],
        markets=markets,
        compiler=compiler,
        stops=lambda: stops() or over(),
        prune=study.report if plan.halving else None,
        chunk=chunk,
    )
    if plan.halving:
        study.halve(plan.config.save_freq, _HALVING_FACTOR)
    try:
        while not (stops() or over()):
            trials = study.ask(plan.batch, plan.total)
            if not trials:
                break
            begins(trials)
            for trial, result in trainer.train(trials):
                if study.tell(trial, result):
                    told(Finished(trial, result))
    except Stopped:
        if stops():
            raise
    finally:
        study.give_back()
    if stops():
        raise Stopped
    return result_of(plan, study, market, time.perf_counter() - began, compiler.seconds - compiled)


def result_of(
    plan: SweepPlan, study: Study, market: Market, seconds: float, compile_seconds: float | None
) -> SweepResult:
    """What a study holds for its sweep.

    Args:
        plan: what was done.
        study: opened for it.
        market: of the plan.
        seconds: that this process took.
        compile_seconds: of which it compiled; None where workers did.
    """
    return SweepResult(
        name=plan.name,
        space=plan.space,
        objective=plan.objective,
        seeds=plan.seeds,
        trained=plan.trained,
        market=market.description,
        finished=tuple(study.finished()),
        importance=study.importance(),
        seconds=seconds,
        compile_seconds=compile_seconds,
    )


_OF_NETWORKS = ("ppo.network", "ppo.hidden_size", "ppo.initial_log_std", "ppo.max_rejected_updates")


def _reads(algorithm: str, key: str) -> bool:
    """Whether a training by an algorithm is another one with another value of a setting."""
    group, _, name = key.rpartition(".")
    if group == "pathwise":
        of_rollouts = name in ("num_envs", "window")
        return algorithm.startswith("pathwise") and not (of_rollouts and algorithm == "pathwise_ppo")
    of_ppo = group == "ppo" and key not in _OF_NETWORKS
    of_ppo |= key in ("num_envs", "num_steps") or name in ("learning_rate", "batch_size")
    return not (of_ppo and algorithm == "pathwise")


def _without(mapping: dict[str, Any], swept: dict[str, Any]) -> dict[str, Any]:
    """The settings without those that are swept."""

    def group(content: dict[str, Any], prefix: str) -> dict[str, Any]:
        return {
            key: group(value, f"{prefix}{key}.") if isinstance(value, dict) else value
            for key, value in content.items()
            if f"{prefix}{key}" not in swept
        }

    return group(mapping, "")
