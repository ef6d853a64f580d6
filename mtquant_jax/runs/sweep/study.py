"""The Optuna study of a sweep: which values are tried next, and what came of those that were; it is the only truth."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import random
import threading
import time
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.runs.sweep.trials import Trial, TrialResult
from mtquant_jax.settings.search_space import SearchSpace, Value

if TYPE_CHECKING:
    import optuna

Method = Literal["tpe", "random", "grid"]

_RESULT, _OWNER, _PURPOSE, _AGAIN = "result", "owner", "purpose", "again"
_VALUES = "values"  # of a grid, as JSON
_STATES: dict[Any, str] = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}  # ours -> Optuna's
_JOURNAL = "journal:"
_ATTEMPTS = 4  # to open a storage
_SECONDS_OF_LOCK = 60.0  # that a writer waits for another one of an SQLite file


@dataclasses.dataclass(frozen=True)
class Finished:
    """A trial that is told."""

    trial: Trial
    result: TrialResult


class Study:
    """Asks for trials in batches, and is told what came of them."""

    def __init__(
        self,
        url: str,
        name: str,
        space: SearchSpace,
        method: Method,
        seed: int,
        purpose: Mapping[str, Any],
        owner: str = "",
    ) -> None:
        """Open a study, or create it.

        Args:
            url: a database URL that Optuna takes, or ``journal:FILE``; empty: in memory.
            name: of the study in it.
            space: what is searched.
            method: how.
            seed: of the search; what is drawn for a trial depends on it, the trial's number and earlier results alone.
            purpose: what trials must have in common to be compared, by name, as JSON.
            owner: whose the trials are that are asked for (`owner_named`); empty: this thread's.

        Raises:
            UserError: Optuna is not installed, the storage cannot be opened, or its study has another purpose.
        """
        optuna = _optuna()
        self._space, self._method, self._optuna = space, method, optuna
        self._study = _opened(optuna, url, name)
        _check_purpose(self._study, {**purpose, "space": space.to_json(), "method": method}, url)
        self._study.sampler = _sampler_by_number(optuna, method, seed)
        self._owner = owner or owner_named(str(threading.get_ident()))
        self._asked: dict[int, Any] = {}
        if method == "grid":
            self._enqueue_missing()

    def ask(self, count: int, total: int | None = None) -> list[Trial]:
        """The next trials, fewer than ``count`` where a grid has no more.

        Args:
            count: how many.
            total: trials of the study that may be finished or running, whoever trains them; None: any number.
        """
        while True:
            left = count if total is None else min(count, total - self.taken())
            found = [trial for trial in (self._ask() for _ in range(left)) if trial is not None]
            # Others may have asked at the same time. Whoever looks last sees all of them, so that too many never stay.
            excess = 0 if total is None else self.taken() - total
            if excess <= 0 or not found:
                return found
            kept = found[: max(0, len(found) - excess)]
            self.give_back(found[len(kept) :])
            if kept:
                return kept
            time.sleep(random.uniform(0.05, 0.5))

    def _ask(self) -> Trial | None:
        """The next trial; None where a grid has no more."""
        while True:
            if self._method == "grid" and not (self._trials("WAITING") or self._enqueue_missing()):
                return None
            asked = self._study.ask()
            try:
                asked.set_user_attr(_OWNER, self._owner)
            except self._optuna.exceptions.UpdateFinishedTrialError:
                continue  # another process recovers the dead, and saw it without an owner
            self._asked[asked.number] = asked
            if self._method == "grid" and not self._is_new(asked.number):
                self.give_back([Trial(asked.number, {})])
                continue
            values: dict[str, Value] = {}
            for dimension in self._space.dimensions:
                if dimension.counts(values):
                    values[dimension.name] = _suggested(asked, dimension)
            return Trial(asked.number, values)

    def _is_new(self, number: int) -> bool:
        """Whether a trial has values of the grid that no other one has; two processes may have enqueued them."""
        taken = [*self._trials("RUNNING"), *self._counted()]
        values = {trial.number: trial.user_attrs.get(_VALUES) for trial in taken}
        mine = values.pop(number, None)
        return mine is not None and mine not in values.values()

    def _enqueue_missing(self) -> bool:
        """Enqueue the values of a grid that no trial has; whether there are any."""
        there = [*self._trials("WAITING", "RUNNING"), *self._counted()]
        known = {trial.user_attrs.get(_VALUES) for trial in there}
        missing = {text: values for values in self._space.grid() if (text := json.dumps(dict(values))) not in known}
        for text, values in missing.items():
            self._study.enqueue_trial(dict(values), user_attrs={_VALUES: text})
        return bool(missing)

    def taken(self) -> int:
        """Trials that are finished or running."""
        # In this order: one that ends in between is in both, and counts once.
        running = {trial.number for trial in self._trials("RUNNING")}
        return len(running | {trial.number for trial in self._counted()})

    def report(self, number: int, timesteps: int, value: float) -> bool:
        """Note a look at a running trial; whether it is given up, by successive halving or for it is another's now."""
        trial = self._asked[number]
        try:
            trial.report(value, timesteps)
        except self._optuna.exceptions.UpdateFinishedTrialError:
            return True
        return bool(trial.should_prune())

    def halve(self, first: int, factor: int) -> None:
        """Give up trials by asynchronous successive halving (Li et al., MLSys 2020).

        Args:
            first: timesteps of the first look.
            factor: one of so many goes on.
        """
        self._study.pruner = self._optuna.pruners.SuccessiveHalvingPruner(
            min_resource=first, reduction_factor=factor, min_early_stopping_rate=0
        )

    def tell(self, trial: Trial, result: TrialResult) -> bool:
        """Record what came of a trial; False where this process was taken for dead, and the trial is another's now."""
        states = self._optuna.trial.TrialState
        asked = self._asked.pop(trial.number)
        state = states[_STATES[result.state]]
        try:
            asked.set_user_attr(_RESULT, result.to_json())
            self._study.tell(asked.number, result.value if state == states.COMPLETE else None, state=state)
        except (self._optuna.exceptions.UpdateFinishedTrialError, ValueError):
            if self._study.get_trials(deepcopy=False)[asked.number].state == states.RUNNING:
                raise
            return False
        return True

    def give_back(self, trials: Sequence[Trial] | None = None) -> None:
        """Let trials that were asked for and not told be tried again; None: all of them."""
        for number in list(self._asked) if trials is None else [trial.number for trial in trials]:
            self._again(number, self._asked.pop(number).params)

    def recover(self, dead: Collection[str] = (), everyone: bool = False) -> int:
        """Let the trials of processes that have died be tried again; how many there are.

        Args:
            dead: owners that are known to have died; those whose process is not on this machine any more are besides.
            everyone: whether all of them have died, those of other machines too.
        """
        lost = [
            trial
            for trial in self._trials("RUNNING")
            if everyone or (owner := trial.user_attrs.get(_OWNER, "")) in dead or not _is_alive(owner)
        ]
        return sum(self._again(trial.number, trial.params) for trial in lost)

    def _again(self, number: int, params: Mapping[str, Any]) -> bool:
        """Let a trial be tried again; False where it has ended meanwhile."""
        try:
            self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)
        except (self._optuna.exceptions.UpdateFinishedTrialError, ValueError):
            return False
        if self._method != "grid":  # what a grid lacks is found when it is asked
            self._study.enqueue_trial(dict(params), user_attrs={_AGAIN: number})
        return True

    def _trials(self, *states: str) -> list[optuna.trial.FrozenTrial]:
        wanted = tuple(self._optuna.trial.TrialState[state] for state in states)
        return self._study.get_trials(deepcopy=False, states=wanted)

    def _counted(self) -> list[optuna.trial.FrozenTrial]:
        """The trials that were told, in their order, each value of a grid once.

        A result beside another state, or of a trial that is tried again, is that of a process that was taken for dead.
        """
        again = {trial.user_attrs.get(_AGAIN) for trial in self._study.get_trials(deepcopy=False)}
        found: dict[Any, optuna.trial.FrozenTrial] = {}
        for trial in self._trials(*_STATES.values()):
            if (content := trial.user_attrs.get(_RESULT)) is None or trial.number in again:
                continue
            state = content.get("state") if isinstance(content, dict) else None
            if _STATES.get(state, trial.state.name) == trial.state.name:  # an unknown one is refused where it is read
                found.setdefault(trial.user_attrs.get(_VALUES, trial.number), trial)
        return list(found.values())

    def finished(self, known: Collection[int] = ()) -> list[Finished]:
        """The trials that were told, in their order.

        Args:
            known: numbers of trials that are left out.

        Raises:
            UserError: one is damaged.
        """
        return [
            Finished(
                Trial(trial.number, dict(trial.params)),
                TrialResult.from_json(trial.user_attrs[_RESULT], f"trial {trial.number} of the study"),
            )
            for trial in self._counted()
            if trial.number not in known
        ]

    def running(self) -> int:
        """Trials that other processes are at."""
        return sum(trial.number not in self._asked for trial in self._trials("RUNNING"))

    def owners(self) -> set[str]:
        """Whose trials are running."""
        return {trial.user_attrs.get(_OWNER, "") for trial in self._trials("RUNNING")}

    def importance(self) -> dict[str, float]:
        """Name -> how much good trials' values of a setting stand out, as a share of 1, largest first (PED-ANOVA).

        Watanabe, Bansal and Hutter, IJCAI 2023.

        Empty for fewer than four complete trials or where they are all the same.
        """
        complete = self._study.get_trials(deepcopy=False, states=(self._optuna.trial.TrialState.COMPLETE,))
        if len(complete) < _FEWEST_FOR_IMPORTANCE or len({trial.value for trial in complete}) < 2:
            return {}
        with warnings.catch_warnings(), contextlib.suppress(ValueError, RuntimeError, ImportError):
            warnings.simplefilter("ignore")
            evaluator = self._optuna.importance.PedAnovaImportanceEvaluator(evaluate_on_local=False)
            return dict(self._optuna.importance.get_param_importances(self._study, evaluator=evaluator))
        return {}


_START_UP = 10  # trials that are drawn at random before TPE learns from them
_FEWEST_FOR_IMPORTANCE = 4


def default_url(folder: Path) -> str:
    """The storage of a sweep that is given none: an SQLite file in its folder."""
    return f"sqlite:///{folder.absolute() / 'study.db'}"


def _suggested(asked: optuna.trial.Trial, dimension: Any) -> Value:
    if dimension.choices:
        chosen: Value = asked.suggest_categorical(dimension.name, dimension.choices)
        return chosen
    if dimension.integer:
        return asked.suggest_int(dimension.name, int(dimension.low), int(dimension.high), log=dimension.log)
    return asked.suggest_float(dimension.name, dimension.low, dimension.high, log=dimension.log)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError(
            "a sweep needs the package optuna, which is not installed; pip install optuna (the extra sweep)"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _opened(optuna: Any, url: str, name: str) -> optuna.Study:
    for attempt in range(_ATTEMPTS):
        try:
            storage = _storage(optuna, url)
            return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        except Exception as error:  # of any database driver
            if attempt < _ATTEMPTS - 1:  # processes that begin together get in each other's way creating the tables
                time.sleep(random.uniform(0.1, 0.5))
                continue
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UserError(f"`storage` {url} cannot be opened: {reason:.300}") from None
    raise AssertionError("the last attempt returns or raises")


def _storage(optuna: Any, url: str) -> Any:
    if not url:
        return optuna.storages.InMemoryStorage()
    if url.startswith(_JOURNAL):
        backend = optuna.storages.journal.JournalFileBackend(url.removeprefix(_JOURNAL))
        return optuna.storages.JournalStorage(backend)
    waits = {"connect_args": {"timeout": _SECONDS_OF_LOCK}} if url.startswith("sqlite") else {}
    return optuna.storages.RDBStorage(url, engine_kwargs=waits)


def _check_purpose(study: optuna.Study, purpose: Mapping[str, Any], url: str) -> None:
    """Refuse a study whose trials cannot be compared with those that are to come."""
    wanted = json.loads(json.dumps(dict(purpose)))
    there = study.user_attrs.get(_PURPOSE)
    if there is None:
        study.set_user_attr(_PURPOSE, wanted)
        return
    for name, value in wanted.items():
        if there.get(name) != value:
            was, now = (json.dumps(content)[:120] for content in (there.get(name), value))
            raise UserError(
                f"the study {study.study_name} in {url} is of another {name} ({was}, and here {now}): their trials "
                "cannot be compared; give the sweep another `name`"
            )


def _sampler_by_number(optuna: Any, method: Method, seed: int) -> Any:
    """A sampler that draws anew for every trial, so that no two processes draw the same, in whatever order they ask."""
    samplers = optuna.samplers

    def sampler_of(number: int) -> Any:
        drawn = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
        if method != "tpe":
            return samplers.RandomSampler(seed=drawn)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # these options are called experimental
            return samplers.TPESampler(
                seed=drawn, multivariate=True, group=True, constant_liar=True, n_startup_trials=_START_UP
            )

    class ByNumber(samplers.BaseSampler):  # type: ignore[misc, name-defined]
        """Hands everything to the sampler of the trial's number."""

        def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            self._inner = sampler_of(trial.number)
            self._inner.before_trial(study, trial)

        def infer_relative_search_space(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> Any:
            return self._inner.infer_relative_search_space(study, trial)

        def sample_relative(self, study: optuna.Study, trial: optuna.trial.FrozenTrial, search_space: Any) -> Any:
            return self._inner.sample_relative(study, trial, search_space)

        def sample_independent(self, *arguments: Any) -> Any:
            return self._inner.sample_independent(*arguments)

    return ByNumber()


def owner_named(name: str) -> str:
    """The owner of trials that live no longer than this process; ``name`` is that of a thread or worker of it."""
    return f"{platform.node()}:{os.getpid()}:{name}"


def _is_alive(owner: str) -> bool:
    """Whether the process of a trial may still be at it; one of another machine may."""
    host, _, rest = owner.partition(":")
    process = rest.partition(":")[0]
    if host != platform.node() or not process.isdigit():
        return bool(owner)
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
