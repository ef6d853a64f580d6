"""The host loop of one training: compiled chunks, and between them validation, the curriculum and the observer."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.evidence import Ahead, tilt_of
from mtquant_jax.backtest.performance import Performance, score
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.statistics.significance import chance_bound
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.curriculum import Curriculum
from mtquant_jax.training.divergence import (
    Diverged,
    Symptom,
    refuse_without_slope,
    rejected_updates,
    symptom,
    too_many,
)
from mtquant_jax.training.observer import Member, Progress, Stopped, TrainingObserver
from mtquant_jax.training.outcome import Candidate, Outcome
from mtquant_jax.training.phases import tilting
from mtquant_jax.training.runner import kept, runner_of, side_by_side
from mtquant_jax.training.saved import Logbook, Looked, SavedTraining, plain_metrics, read_metrics
from mtquant_jax.training.validation import Validated

_CHUNKS_PER_TRAINING = 10  # at least so many rows of metrics, however rarely checkpoints are wanted


@dataclasses.dataclass(frozen=True)
class Schedule:
    """When checkpoints are due, which policies are candidates, and where the curriculum begins."""

    save_freq: int  # timesteps between checkpoints
    keep_start: bool = False  # whether the starting policy is a candidate, too
    validate: bool = True  # otherwise the last policy is handed on
    curriculum: Curriculum | None = None
    max_rejected: int = 0  # updates of a member that may be rejected before it counts as diverged


def train(
    members: Sequence[Member], schedule: Schedule, observer: TrainingObserver, compiler: Compiler
) -> list[Outcome]:
    """Train one member, or several of one program and of equally many updates side by side.

    Returns:
        One `Outcome` per member.
    """
    training = _Training(members, schedule, observer, compiler)
    return training.run()


def chunks(total_updates: int, timesteps_per_update: int, save_freq: int) -> list[tuple[int, bool]]:
    """Lengths of the chunks in updates, and whether a checkpoint follows.

    Checkpoints follow the first update at or past every multiple of ``save_freq`` and the last one.
    """
    due = range(save_freq, total_updates * timesteps_per_update, save_freq)
    saves = sorted({-(-timesteps // timesteps_per_update) for timesteps in due} | {total_updates})
    longest = max(1, total_updates // _CHUNKS_PER_TRAINING)
    result, done = [], 0
    for save in saves:
        while done < save:
            length = min(longest, save - done)
            done += length
            result.append((length, done == save))
    return result


class _Training:
    """The chunks of members side by side, with their candidates and curricula."""

    def __init__(
        self, members: Sequence[Member], schedule: Schedule, observer: TrainingObserver, compiler: Compiler
    ) -> None:
        self._began, self._compiled_before = time.perf_counter(), compiler.seconds
        self._members, self._schedule, self._observer, self._compiler = members, schedule, observer, compiler
        self._curricula = [schedule.curriculum] * len(members) if schedule.curriculum else []
        self._runner = runner_of(compiler, [member.plan for member in members], self._curricula)
        self._candidates: list[Candidate | None] = [None] * len(members)
        self._history: list[list[tuple[int, Performance]]] = [[] for _ in members]
        self._validating = 0.0
        self._rates: list[float] = []
        self._first: list[dict[str, np.ndarray]] = []
        self._last: list[dict[str, np.ndarray]] = []
        self._rejected = [0] * len(members)  # updates so far
        self._done = 0  # timesteps
        self._total = members[0].plan.total_updates * members[0].plan.program.timesteps_per_update

    def run(self) -> list[Outcome]:
        """Train to the end, from where an earlier process stopped if it did.

        Raises:
            Stopped: the observer wanted it.
        """
        plan, schedule = self._members[0].plan, self._schedule
        per_update = plan.program.timesteps_per_update
        if earlier := self._observer.earlier(self._members, self._runner.states()):
            self._go_on(earlier)
        elif schedule.keep_start and schedule.validate:
            self._move_on(0.0, self._validate())
            self._save()
        if self._done < self._total:
            self._runner.prepare()
        elif self._total == 0 and self._observer.stops():  # what has no chunk is asked once
            raise Stopped
        passed = 0
        for updates, saves in chunks(plan.total_updates, per_update, schedule.save_freq):
            passed += updates * per_update
            if passed <= self._done:
                continue
            before = kept(self._runner.states())
            start = time.perf_counter()
            metrics = self._runner.run(updates)
            rate = updates * per_update * len(self._members) / (time.perf_counter() - start)
            self._check(self._done // per_update, updates, before, metrics, rate)
            if self._done == 0 and self._members[0].phase == 1:  # later ones may stand on specialists that are flat
                for member, of_member in zip(self._members, metrics, strict=True):
                    refuse_without_slope(of_member, member)
            self._done, self._last = passed, metrics
            self._first = self._first or metrics
            self._rates.append(rate)
            validation = self._validate() if saves and schedule.validate else None
            self._report(passed, updates, rate, metrics, validation)
            if passed < self._total:
                self._move_on(passed / self._total, validation)
            stops = self._observer.stops()
            if saves or stops:
                self._save()
            if stops:
                raise Stopped
        return self._outcomes()

    def _go_on(self, earlier: Sequence[SavedTraining]) -> None:
        """Stand where an earlier process saved all members, after the same chunk."""
        logbook = earlier[0].logbook
        self._done, self._validating = logbook.timesteps, logbook.validate_seconds
        self._rates = list(logbook.chunk_rates)
        self._runner.stand_at([saved.state for saved in earlier])
        self._runner.seconds = logbook.run_seconds
        self._rejected = [saved.logbook.rejected_updates for saved in earlier]
        self._history = [[(look.timesteps, look.performance) for look in saved.logbook.history] for saved in earlier]
        self._candidates = [_best(saved) for saved in earlier]
        if logbook.chunk_rates:  # otherwise only the starting point was saved
            self._first = [read_metrics(saved.logbook.first_metrics) for saved in earlier]
            self._last = [read_metrics(saved.logbook.last_metrics) for saved in earlier]
        if self._curricula:
            self._curricula = [
                saved.logbook.curriculum or now for saved, now in zip(earlier, self._curricula, strict=True)
            ]
            self._runner.follow(self._curricula)

    def _check(
        self, before: int, updates: int, states: list[TrainState], metrics: list[dict[str, np.ndarray]], rate: float
    ) -> None:
        """Stop with `Diverged` where a member has left the numbers in the chunk after ``before`` updates.

        The chunk is then run again update by update from the states that it began with, to find the one.
        """
        rejected = list(self._rejected)
        symptoms = self._symptoms(metrics, updates)
        if not any(symptoms):
            return
        self._rejected = rejected
        plan = self._members[0].plan
        per_update, total = plan.program.timesteps_per_update, plan.total_updates
        self._report((before + updates) * per_update, updates, rate, metrics, None)
        self._runner.stand_at(states)
        which = f"updates {before + 1} to {before + updates}"  # where it happens in no single one of them again
        for update in range(before + 1, before + updates + 1):
            if any(now := self._symptoms(self._runner.run(1), 1)):
                symptoms, which = now, f"update {update}"
                break
        index, found = next((i, found) for i, found in enumerate(symptoms) if found is not None)
        member = self._members[index]
        good = Policy(states[index].params, states[index].normalizers)
        raise Diverged(found, member, f"{which} of {total}", before * per_update, good)

    def _symptoms(self, metrics: list[dict[str, np.ndarray]], updates: int) -> list[Symptom | None]:
        """What is wrong with each member, after the updates that the metrics are of."""
        found = []
        for i, (of_member, params) in enumerate(zip(metrics, self._runner.params(), strict=True)):
            self._rejected[i] += rejected_updates(of_member, updates)
            member = self._members[i]
            excess = too_many(self._rejected[i], self._schedule.max_rejected, member.plan.total_updates, member)
            found.append(symptom(of_member, params, self._members[i]) or excess)
        return found

    def _validate(self) -> list[Validated]:
        """How each member's policy does, which becomes a candidate."""
        policies = [Policy(state.params, state.normalizers) for state in self._runner.states()]
        compiled, start = self._compiler.seconds, time.perf_counter()
        found = side_by_side(lambda i: self._members[i].validate(policies[i]), range(len(policies)))
        self._validating += time.perf_counter() - start - (self._compiler.seconds - compiled)
        for i, (policy, validation) in enumerate(zip(policies, found, strict=True)):
            performance = validation.performance
            self._history[i].append((self._done, performance))
            best = self._candidates[i]
            if best is None or score(performance) > best.score:
                # The state is donated to the next chunk, so that a candidate is a copy.
                self._candidates[i] = Candidate(jax.tree.map(jnp.copy, policy), self._done, score(performance))
        return found

    def _save(self) -> None:
        """Show the observer where each member stands."""
        for i, (member, state) in enumerate(zip(self._members, self._runner.states(), strict=True)):
            best = self._candidates[i]
            logbook = Logbook(
                timesteps=self._done,
                total_timesteps=self._total,
                best_timesteps=best.timesteps if best else None,
                best_score=best.score if best else None,
                history=tuple(Looked(timesteps, found) for timesteps, found in self._history[i]),
                run_seconds=self._runner.seconds,
                validate_seconds=self._validating,
                chunk_rates=tuple(self._rates),
                first_metrics=plain_metrics(self._first[i]) if self._first else {},
                last_metrics=plain_metrics(self._last[i]) if self._last else {},
                rejected_updates=self._rejected[i],
                curriculum=self._curricula[i] if self._curricula else None,
            )
            self._observer.checkpoint(member, SavedTraining(state, best.policy if best else None, logbook))

    def _report(
        self,
        done: int,
        updates: int,
        rate: float,
        metrics: list[dict[str, np.ndarray]],
        validation: list[Validated] | None,
    ) -> None:
        for i, member in enumerate(self._members):
            self._observer.chunk(
                Progress(
                    member=member,
                    timesteps=done,
                    total_timesteps=self._total,
                    timesteps_per_second=rate,
                    metrics=metrics[i],
                    validation=validation[i].performance if validation else None,
                    picture=validation[i].picture if validation else None,
                    curriculum=self._curricula[i] if self._curricula else None,
                    rejected_updates=rejected_updates(metrics[i], updates),
                )
            )

    def _move_on(self, fraction: float, validation: list[Validated] | None) -> None:
        """Each member's curriculum after a share of the training."""
        for i, curriculum in enumerate(self._curricula):
            following = curriculum.after(fraction, validation[i].performance.scenarios if validation else None)
            if opened := following.stages[curriculum.num_open : following.num_open]:
                self._observer.curriculum_opens(self._members[i], following, opened)
            self._curricula[i] = following
        self._runner.follow(self._curricula)

    def _handed_on(self, index: int, last: Candidate) -> Candidate:
        """The last policy of a member, or the best where it is ahead on the validation split by more than chance.

        What is learnt last has seen most; the best of several by one short split is mostly the luckiest of them. Over
        specialists without a tilt it is the starting point: nothing has been found in such a market, and what moves
        without it has to show that it is worth moving.
        """
        best, member = self._candidates[index], self._members[index]
        if best is None:
            return last
        start = time.perf_counter()
        chosen = last
        if best.timesteps != last.timesteps and self._ahead(member, best, last) > chance_bound(
            len(self._history[index]) - 1
        ):
            chosen = best
        if member.phase > 1 and chosen.timesteps > 0 and not tilting(member.plan):
            begun = Candidate(member.plan.start, 0, score(self._history[index][0][1]))
            chosen = chosen if tilt_of(self._ahead(member, chosen, begun)) > 0.0 else begun
        self._validating += time.perf_counter() - start
        return chosen

    def _ahead(self, member: Member, one: Candidate, other: Candidate) -> float:
        """Standard errors by which one policy is ahead of another on the validation split."""
        returns, others = (member.validate(candidate.policy).returns for candidate in (one, other))
        return Ahead.of([returns - others], days_per_year=1.0).ratio

    def _outcomes(self) -> list[Outcome]:
        seconds = {
            "compile": self._compiler.seconds - self._compiled_before,
            "run": self._runner.seconds,
            "validate": self._validating,
            "total": time.perf_counter() - self._began,
        }
        outcomes = []
        for i, (member, state) in enumerate(zip(self._members, self._runner.states(), strict=True)):
            last_policy = Policy(state.params, state.normalizers)
            best = self._handed_on(i, Candidate(last_policy, self._done, 0.0))
            validation = next((found for timesteps, found in self._history[i] if timesteps == best.timesteps), None)
            outcomes.append(
                Outcome(
                    policy=best.policy,
                    last_policy=last_policy,
                    best_timesteps=best.timesteps,
                    best_validation=validation,
                    history=self._history[i],
                    timesteps=self._done,
                    seconds=seconds,
                    timesteps_per_second=self._done * len(self._members) / max(self._runner.seconds, 1e-9),
                    chunk_rates=self._rates,
                    training_metrics=closing_metrics(self._first[i], self._last[i], member) if self._last else {},
                )
            )
        return outcomes


def _best(saved: SavedTraining) -> Candidate | None:
    """The candidate that an earlier process had."""
    timesteps, score_then = saved.logbook.best_timesteps, saved.logbook.best_score
    if saved.best is None or timesteps is None:
        return None
    return Candidate(saved.best, timesteps, math.nan if score_then is None else score_then)


def flat_metrics(metrics: dict[str, np.ndarray], agents: Sequence[str]) -> dict[str, float]:
    """Metrics as named numbers; the values of several agents carry the agent's name."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        values = np.ravel(value)
        labels = [name] if len(values) == 1 else [f"{name}/{agent}" for agent in agents[: len(values)]]
        flat |= {label: float(v) for label, v in zip(labels, values, strict=True)}
    return flat


def closing_metrics(
    first: dict[str, np.ndarray], last: dict[str, np.ndarray], member: Member
) -> dict[str, dict[str, float]]:
    """Metrics of the last chunk that show a collapse, and conflicts in joint training, by agent.

    Args:
        first: metrics of the first chunk, whose ``action_std`` becomes ``action_std_at_start``.
        last: metrics of the last chunk.
        member: whose learner says which metrics are kept; numbers that a training has once stand under its name, those
            that it has per agent under the agents' names.
    """
    kept = member.plan.program.learner.closing_metrics
    chosen = {key: last[key] for key in kept if key in last}
    if "action_std" in chosen:
        chosen["action_std_at_start"] = first["action_std"]
    result: dict[str, dict[str, float]] = {member.name: {}}
    for key, value in chosen.items():
        values = np.ravel(value)
        # The meta-controller has no second gradient: there may be fewer values than agents.
        owners = [member.name] if len(values) == 1 else member.plan.agents[: len(values)]
        for owner, number in zip(owners, values, strict=True):
            result.setdefault(owner, {})[key] = float(number)
    return result
