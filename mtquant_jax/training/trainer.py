"""Trains the three phases in memory: specialists, the meta-controller over them, and all of them together.

Policies pass from phase to phase as arrays; nothing is read or written. Files, progress and resuming are wrapped around
it by a `TrainingObserver`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

from flax import struct

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.performance import Performance
from mtquant_jax.market.prepare import Market
from mtquant_jax.settings.checks import parse_phases
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.market_params import class_params, portfolio_params
from mtquant_jax.training import phases as plans
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.curriculum import Curriculum
from mtquant_jax.training.divergence import Diverged
from mtquant_jax.training.loop import Schedule, train
from mtquant_jax.training.observer import Member, TrainingObserver
from mtquant_jax.training.outcome import Outcome
from mtquant_jax.training.validation import Validator

META_CONTROLLER, PORTFOLIO = "meta_controller", "portfolio"
"""Names of what phases 2 and 3 train."""


@struct.dataclass
class HierarchyPolicies:
    """What the phases hand on."""

    specialists: tuple[Policy, ...] = ()  # phase 1, in the order of the classes; empty before it
    meta: Policy | None = None  # phase 2
    portfolio: Policy | None = None  # phase 3: all agents

    @property
    def agents(self) -> tuple[tuple[Policy, ...], Policy | None]:
        """The specialists and the meta-controller as the last phase leaves them."""
        if self.portfolio is None:
            return self.specialists, self.meta
        indices = range(len(self.specialists))
        return tuple(plans.specialist_of(self.portfolio, i) for i in indices), plans.meta_of(self.portfolio)


@dataclasses.dataclass
class TrainedHierarchy:
    """The training of one seed: its policies, and how each was trained."""

    config: TrainConfig
    policies: HierarchyPolicies
    outcomes: dict[int, dict[str, Outcome]]  # phase -> what it trained by name -> outcome

    @property
    def seed(self) -> int:
        """Of networks and exploration."""
        return self.config.seed


def train_phases(
    config: TrainConfig,
    market: Market,
    *,
    seeds: Sequence[int] = (),
    phases: Sequence[int] = (),
    start: HierarchyPolicies | None = None,
    observer: TrainingObserver | None = None,
    compiler: Compiler | None = None,
    validate: bool = True,
) -> tuple[TrainedHierarchy, ...]:
    """Train phases on a market, one hierarchy per seed; seeds are trained side by side on a vmapped axis.

    Phase 1 trains the classes one after the other by one compiled program, or all of them side by side where
    ``config.parallel`` says so.

    Args:
        config: the settings.
        market: of `prepare_market`.
        seeds: of networks and exploration; empty: ``config.seed``. The market is the same for all.
        phases: some of 1, 2 and 3 in order; empty: ``config.phases``.
        start: what earlier phases hand on, where ``phases`` does not begin with 1; shared by all seeds.
        observer: what watches; None: nothing.
        compiler: keeps compiled programs between trainings; None: a new one.
        validate: whether checkpoints are validated and the best is handed on; otherwise it is the last policy.

    Returns:
        One `TrainedHierarchy` per seed, in their order.

    Raises:
        Diverged: a training left the numbers; it is stopped after the chunk in which it did.
        ValueError: a phase lacks the policies of an earlier one, or a seed is given twice.
    """
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds {', '.join(map(str, seeds))}: each may be given once")
    trainer = _Trainer(
        configs=[dataclasses.replace(config, seed=seed) for seed in seeds or (config.seed,)],
        market=market,
        observer=observer or TrainingObserver(),
        compiler=compiler or Compiler(),
        validate=validate,
    )
    trainer.begin(start or HierarchyPolicies())
    for phase in phases or parse_phases(config.phases):
        trainer.run(phase)
    return tuple(trainer.trained)


@dataclasses.dataclass
class _Trainer:
    """Trains the seeds phase by phase."""

    configs: Sequence[TrainConfig]
    market: Market
    observer: TrainingObserver
    compiler: Compiler
    validate: bool
    trained: list[TrainedHierarchy] = dataclasses.field(default_factory=list)

    def begin(self, start: HierarchyPolicies) -> None:
        """Every seed starts from the same policies."""
        self.trained = [TrainedHierarchy(config, start, {}) for config in self.configs]
        self._validator = Validator(self.configs[0], self.market, self.compiler)

    def run(self, phase: int) -> None:
        """Plan a phase for all seeds, train it and keep what it hands on."""
        groups = {1: self._specialists, 2: self._metas, 3: self._portfolios}[phase]()
        self.observer.phase_begins(phase, [member for group in groups for member in group])
        curriculum = self._curriculum(all_open=phase == 3)
        config = self.configs[0]
        schedule = Schedule(config.save_freq, phase > 1, self.validate, curriculum, config.ppo.max_rejected_updates)
        found: dict[tuple[int, str], Outcome] = {}
        for group in groups:
            for member, outcome in zip(group, self._train(group, schedule), strict=True):
                found[member.seed, member.name] = outcome
                self.observer.trained(member, outcome)
        for hierarchy in self.trained:
            outcomes = {name: outcome for (seed, name), outcome in found.items() if seed == hierarchy.seed}
            hierarchy.outcomes[phase] = outcomes
            hierarchy.policies = self._handed_on(hierarchy.policies, phase, outcomes)
        self.observer.phase_ends(phase)

    def _train(self, group: Sequence[Member], schedule: Schedule) -> list[Outcome]:
        """Train members side by side; one that diverges is said to with the setting at fault."""
        try:
            return train(group, schedule, self.observer, self.compiler)
        except Diverged as error:
            raise error.blaming(self.configs[0]) from None

    def _handed_on(self, before: HierarchyPolicies, phase: int, outcomes: dict[str, Outcome]) -> HierarchyPolicies:
        """The policies after a phase; those of later phases rest on others, and are dropped."""
        if phase == 1:
            names = [asset_class.name for asset_class in self.market.universe.classes]
            return HierarchyPolicies(tuple(outcomes[name].policy for name in names))
        if phase == 2:
            return HierarchyPolicies(before.specialists, outcomes[META_CONTROLLER].policy)
        return dataclasses.replace(before, portfolio=outcomes[PORTFOLIO].policy)

    def _specialists(self) -> list[list[Member]]:
        """Phase 1: all seeds of a class side by side, or all seeds of all classes."""
        classes = self.market.universe.classes
        markets = [class_params(self.configs[0], self.market, index) for index in range(len(classes))]

        def member(config: TrainConfig, index: int) -> Member:
            plan = plans.plan_specialist(config, self.market, index, markets[index])
            validate = functools.partial(self._validator.specialist, plan)
            return Member(1, config.seed, classes[index].name, plan, validate)

        indices = range(len(classes))
        if self.configs[0].parallel:
            return [[member(config, index) for config in self.configs for index in indices]]
        return [[member(config, index) for config in self.configs] for index in indices]

    def _metas(self) -> list[list[Member]]:
        """Phase 2, over each seed's frozen specialists."""
        members = []
        for hierarchy in self.trained:
            specialists = hierarchy.policies.specialists
            if not specialists:
                raise ValueError("phase 2 needs the specialists of phase 1: give them as start")
            plan = plans.plan_meta(hierarchy.config, self.market, specialists)
            validate = functools.partial(self._validate_meta, plans.stacked_specialists(specialists))
            members.append(Member(2, hierarchy.seed, META_CONTROLLER, plan, validate))
        return [members]

    def _validate_meta(self, frozen: Policy, policy: Policy, whole_lots: bool = True) -> Performance:
        return self._validator.portfolio(plans.hierarchy(frozen, policy), whole_lots)

    def _portfolios(self) -> list[list[Member]]:
        """Phase 3, of each seed's whole hierarchy."""
        members, market = [], portfolio_params(self.configs[0], self.market)
        for hierarchy in self.trained:
            specialists, meta = hierarchy.policies.specialists, hierarchy.policies.meta
            if not specialists or meta is None:
                raise ValueError("phase 3 needs the policies of phases 1 and 2: give them as start")
            plan = plans.plan_joint(hierarchy.config, self.market, specialists, meta, market)
            members.append(Member(3, hierarchy.seed, PORTFOLIO, plan, self._validator.portfolio))
        return [members]

    def _curriculum(self, all_open: bool) -> Curriculum | None:
        """Where a training begins in the curriculum; phase 3 goes on with policies that have been through it."""
        if not self.market.stages:
            return None
        return (Curriculum.with_all_open if all_open else Curriculum.begin)(self.market.stages)
