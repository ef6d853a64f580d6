"""The Optuna study of a sweep: which values are tried next, and what came of those that were; it is the only truth."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import platform
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mtquant_jax.errors import UserError
from mtquant_jax.runs.sweep.trials import Trial, TrialResult
from mtquant_jax.settings.search_space import SearchSpace, Value

if TYPE_CHECKING:
    import optuna

Method = Literal["tpe", "random", "grid"]

_RESULT, _OWNER, _PURPOSE, _AGAIN = "result", "owner", "purpose", "again"
_JOURNAL = "journal:"
_SECONDS_OF_LOCK = 60.0  # that a writer waits for another one of an SQLite file


@dataclasses.dataclass(frozen=True)
class Finished:
    """A trial that is told."""

    trial: Trial
    result: TrialResult


class Study:
    """Asks for trials in batches, and is told what came of them."""

    def __init__(
        self, url: str, name: str, space: SearchSpace, method: Method, seed: int, purpose: Mapping[str, Any]
    ) -> None:
        """Open a study, or create it.

        Args:
            url: a database URL that Optuna takes, or ``journal:FILE``; empty: in memory.
            name: of the study in it.
            space: what is searched.
            method: how.
            seed: of the search.
            purpose: what trials must have in common to be compared, by name, as JSON.

        Raises:
            UserError: Optuna is not installed, the storage cannot be opened, or its study has another purpose.
        """
        optuna = _optuna()
        self._space, self._method, self._optuna = space, method, optuna
        self._study = _opened(optuna, url, name)
        _check_purpose(self._study, {**purpose, "space": space.to_json(), "method": method}, url)
        self._sampler_of(seed + len(self._study.trials))
        if method == "grid" and not self._study.trials:
            for values in space.grid():
                self._study.enqueue_trial(dict(values))
        self._asked: dict[int, Any] = {}

    def _sampler_of(self, seed: int) -> None:
        """The sampler; one that goes on draws anew, not what it has drawn before."""
        samplers = self._optuna.samplers
        if self._method == "tpe":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # these options are called experimental
                self._study.sampler = samplers.TPESampler(
                    seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=_START_UP
                )
        else:
            self._study.sampler = samplers.RandomSampler(seed=seed)

    @property
    def size(self) -> int | None:
        """Trials of a grid; None where the space is drawn from."""
        return len(self._space.grid()) if self._method == "grid" else None

    def ask(self, count: int) -> list[Trial]:
        """The next trials, fewer than ``count`` where a grid has no more."""
        found = []
        waiting = self._optuna.trial.TrialState.WAITING
        for _ in range(count):
            if self._method == "grid" and not self._study.get_trials(deepcopy=False, states=(waiting,)):
                break
            asked = self._study.ask()
            asked.set_user_attr(_OWNER, _owner())
            values: dict[str, Value] = {}
            for dimension in self._space.dimensions:
                if dimension.counts(values):
                    values[dimension.name] = _suggested(asked, dimension)
            self._asked[asked.number] = asked
            found.append(Trial(asked.number, values))
        return found

    def report(self, number: int, timesteps: int, value: float) -> bool:
        """Note a look at a running trial; whether successive halving gives it up."""
        trial = self._asked[number]
        trial.report(value, timesteps)
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

    def tell(self, trial: Trial, result: TrialResult) -> None:
        """Record what came of a trial."""
        states = self._optuna.trial.TrialState
        asked = self._asked.pop(trial.number)
        asked.set_user_attr(_RESULT, result.to_json())
        state = {"complete": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[result.state]
        self._study.tell(asked.number, result.value if state == states.COMPLETE else None, state=state)

    def give_back(self) -> None:
        """Let trials that were asked for and not told be tried again."""
        for asked in self._asked.values():
            self._again(asked.number, asked.params)
        self._asked.clear()

    def recover(self) -> int:
        """Let the trials of processes of this machine that have died be tried again; how many there are."""
        running = self._optuna.trial.TrialState.RUNNING
        dead = [
            trial
            for trial in self._study.get_trials(deepcopy=False, states=(running,))
            if not _is_alive(trial.user_attrs.get(_OWNER, ""))
        ]
        for trial in dead:
            self._again(trial.number, trial.params)
        return len(dead)

    def _again(self, number: int, params: Mapping[str, Any]) -> None:
        self._study.enqueue_trial(dict(params), user_attrs={_AGAIN: number})
        self._study.tell(number, state=self._optuna.trial.TrialState.FAIL)

    def finished(self) -> list[Finished]:
        """The trials that were told, in their order.

        Raises:
            UserError: one is damaged.
        """
        found = []
        for frozen in self._study.get_trials(deepcopy=False):
            if (content := frozen.user_attrs.get(_RESULT)) is not None and frozen.state.is_finished():
                result = TrialResult.from_json(content, f"trial {frozen.number} of the study")
                found.append(Finished(Trial(frozen.number, dict(frozen.params)), result))
        return found

    def running(self) -> int:
        """Trials that other processes are at."""
        states = self._optuna.trial.TrialState
        running = self._study.get_trials(deepcopy=False, states=(states.RUNNING,))
        return sum(trial.number not in self._asked for trial in running)

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
    try:
        if not url:
            storage: Any = optuna.storages.InMemoryStorage()
        elif url.startswith(_JOURNAL):
            backend = optuna.storages.journal.JournalFileBackend(url.removeprefix(_JOURNAL))
            storage = optuna.storages.JournalStorage(backend)
        else:
            waits = {"connect_args": {"timeout": _SECONDS_OF_LOCK}} if url.startswith("sqlite") else {}
            storage = optuna.storages.RDBStorage(url, engine_kwargs=waits)
        return optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
    except Exception as error:  # of any database driver
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"`storage` {url} cannot be opened: {reason:.300}") from None


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


def _owner() -> str:
    return f"{platform.node()}:{os.getpid()}:{threading.get_ident()}"


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
