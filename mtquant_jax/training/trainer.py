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
from mtquant_jax.learning.contract import Program
from mtquant_jax.market.prepare import Market
from mtquant_jax.settings.checks import parse_phases
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.dotted import differences, setting_of
from mtquant_jax.simulation.market_params import class_params
from mtquant_jax.training import phases as plans
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.curriculum import Curriculum
from mtquant_jax.training.divergence import Diverged
from mtquant_jax.training.folds import WINDOWS, decided, fold_starts, train_without, with_evidence
from mtquant_jax.training.loop import Schedule, train
from mtquant_jax.training.observer import Member, TrainingObserver
from mtquant_jax.training.outcome import Outcome
from mtquant_jax.training.placement import check_devices
from mtquant_jax.training.validation import Validated, Validator

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
    """Train phases on a market, one hierarchy per seed, side by side.

    Phase 1 trains the classes side by side by one compiled program, or one after the other where ``config.parallel``
    says so.

    Args:
        config: the settings.
        market: of `prepare_market`.
        seeds: of networks and exploration; empty: ``config.seed``. The market is the same for all.
        phases: some of 1, 2 and 3 in order; empty: ``config.phases``.
        start: what earlier phases hand on, where ``phases`` does not begin with 1; shared by all seeds.
        observer: what watches; None: nothing.
        compiler: keeps compiled programs between trainings; None: a new one.
        validate: whether checkpoints are validated and evidence for what is handed on is gathered; otherwise it is the
            whole of the last policy.

    Returns:
        One `TrainedHierarchy` per seed, in their order.

    Raises:
        Diverged: a training left the numbers; it is stopped after the chunk in which it did.
        ValueError: a phase lacks the policies of an earlier one, or a seed is given twice.
    """
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds {', '.join(map(str, seeds))}: each may be given once")
    configs = [dataclasses.replace(config, seed=seed) for seed in seeds or (config.seed,)]
    return train_hierarchies(
        configs, market, phases=phases, start=start, observer=observer, compiler=compiler, validate=validate
    )


def train_hierarchies(
    configs: Sequence[TrainConfig],
    market: Market,
    *,
    phases: Sequence[int] = (),
    classes: Sequence[str] = (),
    start: HierarchyPolicies | None = None,
    observer: TrainingObserver | None = None,
    compiler: Compiler | None = None,
    validate: bool = True,
    evidence: bool = True,
) -> tuple[TrainedHierarchy, ...]:
    """Train one hierarchy per configuration side by side; arguments as `train_phases`.

    Args:
        configs: they differ in traced settings and seeds alone.
        market: of all of them.
        phases: some of 1, 2 and 3 in order; empty: those of the configurations.
        classes: whose specialists are trained, where nothing is trained but phase 1; empty: all.
        start: what earlier phases hand on.
        observer: what watches.
        compiler: keeps compiled programs between trainings.
        validate: whether checkpoints are validated; otherwise the last policy is handed on.
        evidence: whether evidence for what is handed on is gathered; otherwise the whole of it is.

    Raises:
        Diverged: a training left the numbers.
        UserError: there are too few devices, or episodes cannot be divided among them equally.
        ValueError: configurations differ in other settings, or a phase lacks the policies of an earlier one.
    """
    phases = phases or parse_phases(configs[0].phases)
    names = [asset_class.name for asset_class in market.universe.classes]
    if classes and (tuple(phases) != (1,) or not set(classes) <= set(names)):
        raise ValueError(f"classes {', '.join(classes)}: give some of {', '.join(names)}, with phase 1 alone")
    if differing := sorted({key for config in configs[1:] for key in _untraced_differences(configs[0], config)}):
        raise ValueError(f"{', '.join(differing)} must be the same in trainings side by side")
    check_devices(configs[0], phases)
    trainer = _Trainer(
        configs=configs,
        market=market,
        classes=[index for index, name in enumerate(names) if name in (classes or names)],
        observer=observer or TrainingObserver(),
        compiler=compiler or Compiler.of(configs[0]),
        validate=validate,
        evidence=evidence and validate,
    )
    trainer.begin(start or HierarchyPolicies())
    for phase in phases:
        trainer.run(phase)
    return tuple(trainer.trained)


def _untraced_differences(one: TrainConfig, other: TrainConfig) -> list[str]:
    """Keys of settings besides traced ones and the seed in which two configurations differ."""
    return [key for key in differences(one, other) if key != "seed" and not setting_of(key).traced]


def _side_by_side(members: Sequence[Member]) -> list[list[Member]]:
    """Members that are trained together: those of one program, with something to learn and without it."""
    groups: dict[tuple[Program, int], list[Member]] = {}
    for member in members:
        groups.setdefault((member.plan.program, member.plan.total_updates), []).append(member)
    return list(groups.values())


@dataclasses.dataclass
class _Trainer:
    """Trains the hierarchies phase by phase."""

    configs: Sequence[TrainConfig]
    market: Market
    classes: Sequence[int]  # that are trained in phase 1
    observer: TrainingObserver
    compiler: Compiler
    validate: bool
    evidence: bool
    trained: list[TrainedHierarchy] = dataclasses.field(default_factory=list)

    def begin(self, start: HierarchyPolicies) -> None:
        """Every hierarchy starts from the same policies."""
        self.trained = [TrainedHierarchy(config, start, {}) for config in self.configs]
        self._validators = [Validator(config, self.market, self.compiler) for config in self.configs]

    def run(self, phase: int) -> None:
        """Plan a phase for all hierarchies, train it and keep what it hands on."""
        planned = {1: self._specialists, 2: self._metas, 3: self._portfolios}[phase]()
        groups = [group for members in planned for group in _side_by_side(members)]
        self.observer.phase_begins(phase, [member for group in groups for member in group])
        curriculum = self._curriculum(all_open=phase == 3)
        config = self.configs[0]
        schedule = Schedule(config.save_freq, phase > 1, self.validate, curriculum, config.ppo.max_rejected_updates)
        outcomes: list[dict[str, Outcome]] = [{} for _ in self.trained]
        for group in groups:
            found = self._train(group, schedule)
            if self.evidence:
                found = self._decided(group, found, schedule)
            for member, outcome in zip(group, found, strict=True):
                outcomes[member.hierarchy][member.name] = outcome
                self.observer.trained(member, outcome)
        names = list(dict.fromkeys(member.name for members in planned for member in members))  # not by groups
        for hierarchy, found_by_name in zip(self.trained, outcomes, strict=True):
            of_phase = hierarchy.outcomes[phase] = {name: found_by_name[name] for name in names}
            hierarchy.policies = self._handed_on(hierarchy.policies, phase, of_phase)
        self.observer.phase_ends(phase)

    def _train(self, group: Sequence[Member], schedule: Schedule) -> list[Outcome]:
        """Train members side by side; one that diverges is said to with the setting at fault."""
        try:
            return train(group, schedule, self.observer, self.compiler)
        except Diverged as error:
            raise error.blaming(self.configs[error.member.hierarchy]) from None

    def _decided(self, group: Sequence[Member], outcomes: Sequence[Outcome], schedule: Schedule) -> list[Outcome]:
        """The evidence for what members hand on; that of specialists is also gathered by training again without bars.

        What specialists are handed on with is decided by it; what comes after stands on them.
        """
        config, specialists = self.configs[0], group[0].phase == 1
        known = [found for found in map(self.observer.decided, group) if found is not None]
        if len(known) == len(group):
            pairs = zip(group, outcomes, known, strict=True)
            return [
                with_evidence(member, outcome, evidence, policy or outcome.policy)
                for member, outcome, (evidence, policy) in pairs
            ]
        starts = fold_starts(config, self.market, config.evidence_folds if specialists else 0)
        without: list[list[Policy | None]] = [[] for _ in group]
        if starts:
            self.observer.trains_without(group, len(starts))
            without = train_without(group, starts, config, self.market, schedule, self.compiler, self.observer)
        found = []
        for member, outcome, blind in zip(group, outcomes, without, strict=True):
            trials = self.configs[member.hierarchy].trials if specialists and config.tilt == "evidence" else None
            days_per_year = self._validators[member.hierarchy].days_per_year
            windows = starts or fold_starts(config, self.market, WINDOWS)
            found.append(decided(member, outcome, windows, blind, days_per_year, trials))
        return found

    def _handed_on(self, before: HierarchyPolicies, phase: int, outcomes: dict[str, Outcome]) -> HierarchyPolicies:
        """The policies after a phase; those of later phases rest on others, and are dropped."""
        if phase == 1:
            return HierarchyPolicies(tuple(outcome.policy for outcome in outcomes.values()))
        if phase == 2:
            return HierarchyPolicies(before.specialists, outcomes[META_CONTROLLER].policy)
        return dataclasses.replace(before, portfolio=outcomes[PORTFOLIO].policy)

    def _specialists(self) -> list[list[Member]]:
        """Phase 1: all hierarchies' specialists of all classes side by side, or class by class."""
        classes = self.market.universe.classes
        # Made once each: what is one array in all members is there once.
        markets = {index: class_params(self.configs[0], self.market, index) for index in self.classes}

        def member(number: int, index: int) -> Member:
            config = self.configs[number]
            env_params = class_params(config, self.market, index, like=markets[index])
            plan = plans.plan_specialist(config, self.market, index, env_params)
            validate = functools.partial(self._validators[number].specialist, plan, classes[index].symbols)
            return Member(1, number, config.seed, classes[index].name, plan, validate)

        numbers = range(len(self.configs))
        if self.configs[0].parallel:
            return [[member(number, index) for number in numbers for index in self.classes]]
        return [[member(number, index) for number in numbers] for index in self.classes]

    def _metas(self) -> list[list[Member]]:
        """Phase 2, over each hierarchy's frozen specialists."""
        members = []
        for number, hierarchy in enumerate(self.trained):
            specialists = hierarchy.policies.specialists
            if not specialists:
                raise ValueError("phase 2 needs the specialists of phase 1: give them as start")
            plan = plans.plan_meta(hierarchy.config, self.market, specialists)
            validate = functools.partial(self._validate_meta, number, plans.stacked_specialists(specialists))
            members.append(Member(2, number, hierarchy.seed, META_CONTROLLER, plan, validate))
        return [members]

    def _validate_meta(
        self, number: int, frozen: Policy, policy: Policy, whole_lots: bool = True, first: int | None = None
    ) -> Validated:
        return self._validators[number].portfolio(plans.hierarchy(frozen, policy), whole_lots, first)

    def _portfolios(self) -> list[list[Member]]:
        """Phase 3, of each whole hierarchy."""
        members = []
        for number, hierarchy in enumerate(self.trained):
            specialists, meta = hierarchy.policies.specialists, hierarchy.policies.meta
            if not specialists or meta is None:
                raise ValueError("phase 3 needs the policies of phases 1 and 2: give them as start")
            plan = plans.plan_joint(hierarchy.config, self.market, specialists, meta)
            members.append(Member(3, number, hierarchy.seed, PORTFOLIO, plan, self._validators[number].portfolio))
        return [members]

    def _curriculum(self, all_open: bool) -> Curriculum | None:
        """Where a training begins in the curriculum; phase 3 goes on with policies that have been through it."""
        if not self.market.stages:
            return None
        return (Curriculum.with_all_open if all_open else Curriculum.begin)(self.market.stages)
