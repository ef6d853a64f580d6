"""Trains a batch of trials side by side through the one trainer, in groups that share their compiled programs."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.backtest.performance import Performance
from mtquant_jax.errors import UserError
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.runs.sweep.trials import State, Trial, TrialResult
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.dotted import setting_of, values_of, with_values
from mtquant_jax.settings.search_space import SearchSpace
from mtquant_jax.statistics.returns import daily_returns
from mtquant_jax.statistics.significance import SharpeSample, interquartile_mean
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.divergence import Diverged
from mtquant_jax.training.observer import Member, Progress, Stopped, TrainingObserver
from mtquant_jax.training.outcome import Outcome
from mtquant_jax.training.runner import kept
from mtquant_jax.training.saved import SavedTraining
from mtquant_jax.training.trainer import TrainedHierarchy, train_hierarchies
from mtquant_jax.types import Bars

_Key = tuple[int, int, int, str]  # number of a trial, seed, phase, name

Prune = Callable[[int, int, float], bool]  # number of the trial, timesteps, value -> whether it is given up


@dataclasses.dataclass
class Markets:
    """The markets of trials, prepared once for equal bars and settings of them."""

    given: Bars | None = None
    prepared: dict[str, Market] = dataclasses.field(default_factory=dict)

    def of(self, config: TrainConfig) -> Market:
        """The market of a trial; the last few that differ are kept."""
        key = _of_market(config)
        if key not in self.prepared:
            if len(self.prepared) >= 4:
                self.prepared.pop(next(iter(self.prepared)))
            self.prepared[key] = prepare_market(config, bars=self.given)
        return self.prepared[key]

    @classmethod
    def with_one(cls, market: Market, config: TrainConfig) -> Markets:
        """Those of trials of which settings that leave the market alone share one that is prepared."""
        return cls(market.given, {_of_market(config): market})


def _of_market(config: TrainConfig) -> str:
    """The settings that a market is prepared by; seeds of trials are not of the market."""
    return json.dumps({k: v for k, v in values_of(config).items() if setting_of(k).change.kind == "data"})


@dataclasses.dataclass(frozen=True)
class BatchTrainer:
    """What all trials of a sweep are trained with."""

    config: TrainConfig  # the settings that a trial does not change
    space: SearchSpace
    seeds: Sequence[int]
    phases: Sequence[int]
    classes: Sequence[str]  # whose specialists are trained, where phase 1 is all; empty: all
    objective: str
    score: Callable[[Performance], float]
    markets: Markets
    compiler: Compiler
    stops: Callable[[], bool] = lambda: False
    prune: Prune | None = None
    chunk: Callable[[Progress], None] = lambda progress: None  # is shown every chunk of every member

    def train(self, trials: Sequence[Trial]) -> Iterator[tuple[Trial, TrialResult]]:
        """The results of trials, as soon as their group is trained.

        Raises:
            Stopped: it was asked to; trials without a result are lost.
        """
        groups: dict[str, list[tuple[Trial, TrainConfig]]] = {}
        for trial in trials:
            try:
                config = with_values(self.config, self.space.settings(trial.values), f"trial {trial.number}")
            except UserError as error:
                yield trial, TrialResult(state="failed", reason=str(error))
                continue
            untraced = {k: v for k, v in values_of(config).items() if not setting_of(k).traced}
            groups.setdefault(json.dumps(untraced), []).append((trial, config))
        for group in groups.values():
            yield from self._group(group)

    def _group(self, group: Sequence[tuple[Trial, TrainConfig]]) -> Iterator[tuple[Trial, TrialResult]]:
        """Trials that differ in traced settings alone; those that diverge or are given up leave the others alone."""
        try:
            market = self.markets.of(group[0][1])
        except UserError as error:
            yield from ((trial, TrialResult(state="failed", reason=str(error))) for trial, _ in group)
            return
        watch = _Watch(self, [trial for trial, _ in group])
        # Class by class: as many are side by side as the batch says, which is enough for all cores.
        configs = {trial: dataclasses.replace(config, parallel=False) for trial, config in group}
        while configs:
            watch.trials = list(configs)
            try:
                trained = train_hierarchies(
                    [dataclasses.replace(config, seed=seed) for config in configs.values() for seed in self.seeds],
                    market,
                    phases=self.phases,
                    classes=self.classes,
                    observer=watch,
                    compiler=self.compiler,
                    evidence=False,  # a search by what is left of a tilt would see nothing but zeros
                )
            except Diverged as error:
                trial = watch.trial_of(error.member)
                configs.pop(trial)
                yield trial, watch.result(trial, "failed", reason=error.sentence)
            except Stopped:
                if self.stops():
                    raise
                for trial in watch.given_up:
                    configs.pop(trial)
                    yield trial, watch.result(trial, "pruned")
                watch.given_up.clear()
            else:
                for number, trial in enumerate(configs):
                    of_trial = trained[number * len(self.seeds) : (number + 1) * len(self.seeds)]
                    scores = self._scores(of_trial)
                    if any(math.isnan(score) for score in scores):
                        yield trial, watch.result(trial, "failed", reason=f"its {self.objective} is not a number")
                    else:
                        yield trial, watch.result(trial, "complete", scores)
                return

    def _scores(self, hierarchies: Sequence[TrainedHierarchy]) -> list[float]:
        """Of what the last phase hands on, seed by seed; the mean over classes where it trains several."""
        last = [hierarchy.outcomes[self.phases[-1]].values() for hierarchy in hierarchies]
        return [float(np.mean([self.score(outcome.validation) for outcome in outcomes])) for outcomes in last]


class _Watch(TrainingObserver):
    """Keeps in memory where every member stands, and how it did; gives trials up that promise too little."""

    def __init__(self, trainer: BatchTrainer, trials: Sequence[Trial]) -> None:
        self._trainer, self.trials, self._beside = trainer, list(trials), len(trials)
        self._began = time.perf_counter()
        self.given_up: list[Trial] = []
        self._names: list[str] = []  # of the members of the phase that is trained
        self._saved: dict[_Key, SavedTraining] = {}
        self._timesteps: dict[_Key, int] = {}
        self._scores: dict[int, dict[int, dict[int, list[float]]]] = {}  # trial -> timesteps -> seed -> of each member
        self._looks: dict[_Key, dict[int, np.ndarray]] = {}  # timesteps -> daily returns [D, P]
        self._handed_on: dict[_Key, np.ndarray] = {}  # of the policies that are, [D, P]

    def result(self, trial: Trial, state: State, scores: Sequence[float] = (), reason: str = "") -> TrialResult:
        """What is known of a trial now."""
        looks = self._scores.get(trial.number, {})
        curve = tuple(
            (timesteps, tuple(float(np.mean(of_seed)) for of_seed in by_seed.values()))
            for timesteps, by_seed in sorted(looks.items())
            if len(by_seed) == len(self._trainer.seeds)
        )
        returns = self._returns(trial) if state == "complete" else None
        return TrialResult(
            state=state,
            scores=tuple(scores),
            curve=curve,
            daily_returns=() if returns is None else tuple(np.mean(returns, axis=1).tolist()),
            sample=None if returns is None else _sample(returns),
            seconds=(time.perf_counter() - self._began) / self._beside,
            timesteps=sum(done for key, done in self._timesteps.items() if key[0] == trial.number),
            reason=reason,
        )

    def _returns(self, trial: Trial) -> np.ndarray | None:
        """Daily returns ``[D, seeds x P]``, of several members the mean; None where there are none."""
        by_seed: dict[int, list[np.ndarray]] = {}
        for (number, seed, _, _), returns in self._handed_on.items():
            if number == trial.number:
                by_seed.setdefault(seed, []).append(returns)
        return np.concatenate([np.mean(found, axis=0) for found in by_seed.values()], axis=1) if by_seed else None

    def trial_of(self, member: Member) -> Trial:
        """The trial that a member is of."""
        return self.trials[member.hierarchy // len(self._trainer.seeds)]

    def phase_begins(self, phase: int, members: Sequence[Member]) -> None:
        """Learn what is trained."""
        self._names = list(dict.fromkeys(member.name for member in members))

    def earlier(self, members: Sequence[Member], like: Sequence[TrainState]) -> list[SavedTraining] | None:
        """Where they were when another trial left the group."""
        found = [self._saved.get(self._key(member)) for member in members]
        return None if None in found else [_copied(saved) for saved in found if saved is not None]

    def checkpoint(self, member: Member, saved: SavedTraining) -> None:
        """Keep a copy, since the state is donated."""
        self._saved[self._key(member)] = _copied(saved)

    def trained(self, member: Member, outcome: Outcome) -> None:
        """Keep the returns of what is handed on; a starting point has no look, and the first after it stands for it."""
        if looks := self._looks.get(self._key(member)):
            self._handed_on[self._key(member)] = looks.get(outcome.best_timesteps, looks[min(looks)])

    def stops(self) -> bool:
        """Whether the sweep stops, or trials are given up."""
        return self._trainer.stops() or bool(self.given_up)

    def chunk(self, progress: Progress) -> None:
        """Note how a member does on the validation split."""
        member, key = progress.member, self._key(progress.member)
        self._timesteps[key] = progress.timesteps
        self._trainer.chunk(progress)
        if progress.validation is None or progress.picture is None or member.phase != self._trainer.phases[-1]:
            return
        equity, day = progress.picture.equity, progress.picture.day
        whole = np.concatenate([np.ones((1, equity.shape[1])), equity])
        returns = daily_returns(whole, np.concatenate([day[:1], day]))
        self._looks.setdefault(key, {})[progress.timesteps] = returns
        of_trial = self._scores.setdefault(self.trial_of(member).number, {})
        of_trial.setdefault(progress.timesteps, {}).setdefault(member.seed, []).append(
            self._trainer.score(progress.validation)
        )
        self._look(progress)

    def _look(self, progress: Progress) -> None:
        """Give the trial up where all of its members have been looked at and it promises too little."""
        trial, trainer = self.trial_of(progress.member), self._trainer
        by_seed = self._scores[trial.number][progress.timesteps]
        complete = sum(map(len, by_seed.values())) == len(trainer.seeds) * len(self._names)
        if trainer.prune is None or not complete or progress.timesteps >= progress.total_timesteps:
            return
        value = interquartile_mean(np.array([np.mean(scores) for scores in by_seed.values()]))
        if trainer.prune(trial.number, progress.timesteps, value):
            self.given_up.append(trial)

    def _key(self, member: Member) -> _Key:
        return self.trial_of(member).number, member.seed, member.phase, member.name


def _sample(returns: np.ndarray) -> SharpeSample | None:
    """Pooled moments of ``[D, n]`` returns; seeds and paths are not independent days. None where they have no risk."""
    try:
        return dataclasses.replace(SharpeSample.of(returns.ravel()), periods=len(returns))
    except ValueError:
        return None


def _copied(saved: SavedTraining) -> SavedTraining:
    """The state in buffers of its own."""
    return dataclasses.replace(saved, state=jax.tree.map(jnp.asarray, kept(saved.state)))
