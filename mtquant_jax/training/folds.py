"""Trains again without a part of the bars each time, and asks how that does on the part that it has not seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.tilt import with_tilt
from mtquant_jax.backtest.evidence import Ahead, Evidence, Reading, tilt_of
from mtquant_jax.market.prepare import Market
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.market_params import bars_between
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.divergence import Diverged
from mtquant_jax.training.loop import Schedule, train
from mtquant_jax.training.observer import Member, Progress, TrainingObserver
from mtquant_jax.training.outcome import Outcome
from mtquant_jax.training.runner import side_by_side

WINDOWS = 4
"""Parts of the training split that are looked at where nothing is trained again without them."""


class _Unseen(TrainingObserver):
    """Leaves no trace but the share that is done, and stops when the training that it belongs to does."""

    def __init__(self, observer: TrainingObserver, total: int) -> None:
        """``total`` are the timesteps of all repetitions."""
        self._observer, self._total = observer, total
        self._done: dict[int, int] = {}  # repetition -> its timesteps so far

    def stops(self) -> bool:
        return self._observer.stops()

    def chunk(self, progress: Progress) -> None:
        self._done[id(progress.member)] = progress.timesteps
        self._observer.trained_without(sum(self._done.values()) / self._total)


def fold_starts(config: TrainConfig, market: Market, count: int) -> list[int]:
    """First bars of parts of the training split, spread over it, each as long as the validation split.

    There are fewer where they would overlap. One without which fewer episodes can begin than it has bars is left out:
    what little that would train on says nothing of the training.
    """
    (first, last), (begin, end) = market.splits.train, market.splits.validation
    length, whole = end - begin, last - first
    count = min(count, whole // length)
    if count < 1:
        return []
    spread = np.linspace(first, last - length, count) if count > 1 else [last - length]
    return [start for start in np.round(spread).astype(int).tolist() if _left(config, market, start) >= length]


def _hole(config: TrainConfig, market: Market, start: int) -> tuple[int, int]:
    """Bars that a training without the part that begins at ``start`` leaves out: also a gap to either side."""
    (begin, end), gap = market.splits.validation, config.market.gap_bars
    return max(start - gap, 0), start + end - begin + gap


def _left(config: TrainConfig, market: Market, start: int) -> int:
    """Bars at which episodes of a training without the part that begins at ``start`` may begin."""
    (first, last), (hole, end) = market.splits.train, _hole(config, market, start)
    length = config.simulation.episode_length
    return max(hole - length + 1 - first, 0) + max(last - length - max(end, first), 0)


def train_without(
    members: Sequence[Member],
    starts: Sequence[int],
    config: TrainConfig,
    market: Market,
    schedule: Schedule,
    compiler: Compiler,
    observer: TrainingObserver,
) -> list[list[Policy | None]]:
    """The last policies of each member's training without each of the parts that begin at ``starts``.

    The bars left out are the part and `market.gap_bars` to either side. A training that diverges has none.
    """
    holes = [bars_between(*_hole(config, market, start)) for start in starts]
    blind = dataclasses.replace(schedule, validate=False, save_freq=config.phase1_timesteps)

    first = members[0].plan
    timesteps = first.total_updates * first.program.timesteps_per_update
    unseen = _Unseen(observer, len(starts) * len(members) * timesteps)

    def again(member: Member, index: int) -> Member:
        plan = member.plan
        env_params = dataclasses.replace(plan.env_params, hole=holes[index])
        key = jax.random.fold_in(plan.key, index + 1)
        return dataclasses.replace(member, plan=dataclasses.replace(plan, env_params=env_params, key=key))

    def trained(batch: Sequence[Member]) -> list[Policy | None]:
        try:
            return [outcome.last_policy for outcome in train(batch, blind, unseen, compiler)]
        except Diverged:
            # Of several, the others may do better alone.
            return [None] if len(batch) == 1 else [found for one in batch for found in trained([one])]

    batches = [[again(member, index) for member in members] for index in range(len(starts))]
    if jax.default_backend() == "cpu":  # on which one program runs side by side in threads, however many there are
        batches = [[one for batch in batches for one in batch]]
    found = [policy for batch in batches for policy in trained(batch)]
    return [found[i :: len(members)] for i in range(len(members))]


def decided(
    member: Member,
    outcome: Outcome,
    starts: Sequence[int],
    without_them: Sequence[Policy | None],
    days_per_year: float,
    trials: int | None,
) -> Outcome:
    """An outcome with the evidence for what is handed on, and its tilt cut to what that carries.

    A last policy is handed on as the mean of it and of those that were trained without a part of the bars: all began
    with the same weights, and what they differ in is rather what each has learnt by heart. The evidence is of them one
    by one, and of their mean on the validation split. In phase 3, which goes on with policies that are good already,
    the mean is that of its last policy and of those that it began with.

    Args:
        member: whose training it is.
        outcome: of it.
        starts: first bars of the parts of the training split that are looked at.
        without_them: policies that were trained without each of them, None where that diverged, which is evidence of
            nothing; empty where nothing was.
        days_per_year: with bars.
        trials: settings that were tried; None hands the whole tilt on.
    """
    others: Sequence[Policy | None] = without_them
    if member.phase == 3:
        others = [member.plan.start] if outcome.timesteps else []
    policies = [outcome.policy, *(policy for policy in others if policy is not None)]
    averages = outcome.best_timesteps == outcome.timesteps and len(policies) > 1
    policy = mean_of(policies) if averages else outcome.policy

    def look(one: tuple[Policy, int | None]) -> tuple[np.ndarray, np.ndarray]:
        found = member.validate(one[0], first=one[1])
        return found.returns, found.ahead

    # A policy chosen by the validation split is not judged by it; the last one, which is not, stands for it.
    unchosen = policy if outcome.best_timesteps in (0, outcome.timesteps) else outcome.last_policy
    looks: list[tuple[Policy, int | None]] = [(policy, None), (unchosen, None), *((policy, start) for start in starts)]
    looks += [(blind, start) for blind, start in zip(without_them, starts, strict=False) if blind is not None]
    (validation, _), (_, ahead), *rest = side_by_side(look, looks)
    seen, unseen = rest[: len(starts)], rest[len(starts) :]
    found = Ahead.of([ahead, *(differences for _, differences in unseen)], days_per_year)
    tilt = 1.0 if trials is None else 0.0 if None in without_them else tilt_of(found.ratio, trials)
    evidence = Evidence(
        candidates=len(outcome.history),
        timesteps=outcome.best_timesteps,
        ahead=found,
        folds=len(unseen),
        tilt=tilt,
        train=Reading.of([returns for returns, _ in seen], days_per_year) if seen else None,
        out_of_fold=Reading.of([returns for returns, _ in unseen], days_per_year) if unseen else None,
        validation=Reading.of([validation], days_per_year),
        policies=len(policies) if averages else 1,
    )
    return with_evidence(member, outcome, evidence, policy)


def mean_of(policies: Sequence[Policy]) -> Policy:
    """The policy whose weights, and statistics of observations, are the means of those of others."""

    def mean(*leaves: jax.Array) -> jax.Array:
        return jax.device_put(np.mean([np.asarray(leaf) for leaf in leaves], axis=0, dtype=np.float32))

    found: Policy = jax.tree.map(mean, *policies)
    return found


def with_evidence(member: Member, outcome: Outcome, evidence: Evidence, policy: Policy) -> Outcome:
    """An outcome that hands on as much of a policy's tilt as the evidence for it carries."""
    averaged = policy if evidence.policies > 1 else None
    if evidence.tilt == 1.0 and averaged is None:
        return dataclasses.replace(outcome, evidence=evidence)
    policy = with_tilt(policy, evidence.tilt)
    performance = member.validate(policy).performance
    return dataclasses.replace(
        outcome, policy=policy, best_validation=performance, evidence=evidence, averaged=averaged
    )
