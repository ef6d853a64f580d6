"""The host loop of one training: compiled chunks, and between them metrics, checkpoints and validation."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.hierarchy import stack, unstack
from mtquant_jax.backtest.performance import Performance, describe, score
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.learning.ppo.train import start_training, train_chunk, train_chunk_parallel
from mtquant_jax.storage.checkpoints import restore
from mtquant_jax.storage.recorder import RunRecorder
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.curriculum import Curriculum
from mtquant_jax.training.phases import Plan

Validate = Callable[[int, Policy], Performance]
"""``validate(member, policy)`` -> performance on the validation split."""

_CHUNKS_PER_TRAINING = 10  # at least so many rows of metrics, however rarely checkpoints are wanted


@dataclasses.dataclass
class Outcome:
    """What one training gave."""

    policy: Policy  # the best by validation
    best_timesteps: int
    validation: Performance  # of the best
    history: list[tuple[int, Performance]]  # timesteps and validation of every checkpoint
    timesteps: int
    seconds: dict[str, float]  # compile, run, validate, total; of all members trained together
    timesteps_per_second: float  # over the run seconds, of all members together
    chunk_rates: list[float]  # timesteps per second chunk by chunk
    training_metrics: dict[str, dict[str, float]]  # agent -> what the last chunk looked like


class Checkpoints(Protocol):
    """Where checkpoints go: a `CheckpointWriter`, or nowhere."""

    def save(self, path: Path, tree: Any) -> None:
        """Keep a pytree; its arrays may be donated as soon as this returns."""

    def wait(self) -> None:
        """Until everything is kept."""


@dataclasses.dataclass(frozen=True)
class Host:
    """What the host loop works with."""

    recorder: RunRecorder
    checkpoints: Checkpoints
    compiler: Compiler


def train(
    host: Host,
    phase: int,
    names: Sequence[str],
    plans: Sequence[Plan],
    save_freq: int,
    checkpoint_path: Callable[[str, int], Path],
    validate: Validate,
    keep_start: bool = False,
    curriculum: Curriculum | None = None,
) -> list[Outcome]:
    """Run one plan, or several equal ones as one vmapped program.

    Args:
        host: records, checkpoints, compilation.
        phase: 1, 2 or 3, for records.
        names: one per plan, for records.
        plans: of one program; more than one are trained side by side.
        save_freq: timesteps between checkpoints; each is validated.
        checkpoint_path: ``(name, timesteps) -> directory``.
        validate: performance of a member's policy on the validation split.
        keep_start: whether the starting policy is a candidate too.
        curriculum: where every plan begins in it; ``validate`` must then tell of ``scenarios``. None without one.

    Returns:
        One `Outcome` per plan; its policy is the best by the validation Sharpe ratio.
    """
    began = time.perf_counter()
    compile_before = host.compiler.seconds
    lessons = [curriculum] * len(plans) if curriculum else []
    runner = _Runner(host, plans, lessons)
    board = _Board(host, phase, names, plans[0].agents, checkpoint_path, validate)
    if keep_start:
        lessons = board.next_lessons(lessons, 0.0, board.checkpoint(0, runner.members()))
        runner.teach(lessons)
    per_update, done = plans[0].program.timesteps_per_update, 0
    rates: list[float] = []
    for updates, saves in chunks(plans[0].total_updates, per_update, save_freq):
        start = time.perf_counter()
        metrics = runner.run(updates)
        rates.append(updates * per_update * len(plans) / (time.perf_counter() - start))
        done += updates * per_update
        validation = board.checkpoint(done, runner.members()) if saves else None
        board.show(done, metrics, rates[-1], validation, plans[0].total_updates * per_update, lessons)
        if (fraction := done / (plans[0].total_updates * per_update)) < 1.0:
            lessons = board.next_lessons(lessons, fraction, validation)
            runner.teach(lessons)
    compiling = host.compiler.seconds - compile_before
    total = time.perf_counter() - began
    seconds = {"compile": compiling, "run": runner.seconds, "validate": board.seconds, "total": total}
    return board.outcomes(done, seconds, done * len(plans) / runner.seconds, rates)


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


class _Runner:
    """Holds the training state on the device and advances it chunk by chunk."""

    def __init__(self, host: Host, plans: Sequence[Plan], lessons: Sequence[Curriculum]) -> None:
        plans = [_taught(plan, lesson) for plan, lesson in zip(plans, lessons, strict=True)] if lessons else plans
        self._plans, self.seconds = plans, 0.0
        program = plans[0].program
        states = [host.compiler(start_training, (program,), *p.start_arguments)(*p.start_arguments) for p in plans]
        self._parallel = len(plans) > 1
        self._state = stack(states) if self._parallel else states[0]
        self._env_params = stack([p.env_params for p in plans]) if self._parallel else plans[0].env_params
        self._hyper = stack([p.hyper for p in plans]) if self._parallel else plans[0].hyper
        function = train_chunk_parallel if self._parallel else train_chunk
        arguments = (self._state, self._env_params, self._hyper, jnp.ones((), jnp.int32))
        self._chunk = host.compiler(function, (program,), *arguments)

    def teach(self, lessons: Sequence[Curriculum]) -> None:
        """Let new episodes start where each member's curriculum stands; nothing without one."""
        if lessons:
            params = [_taught(p, lesson).env_params for p, lesson in zip(self._plans, lessons, strict=True)]
            drawn = stack([p.path_probability for p in params]) if self._parallel else params[0].path_probability
            self._env_params = dataclasses.replace(self._env_params, path_probability=drawn)

    def run(self, updates: int) -> list[dict[str, np.ndarray]]:
        """Advance by so many updates; metrics of each member."""
        start = time.perf_counter()
        self._state, metrics = self._chunk(self._state, self._env_params, self._hyper, jnp.asarray(updates, jnp.int32))
        metrics = jax.device_get(metrics)
        self.seconds += time.perf_counter() - start
        return [unstack(metrics, i) for i in range(len(self._plans))] if self._parallel else [metrics]

    def members(self) -> list[TrainState]:
        """The state of each member."""
        count = len(self._plans)
        return [unstack(self._state, i) for i in range(count)] if self._parallel else [self._state]


class _Board:
    """Validates and saves checkpoints, keeps the best, and shows how it goes."""

    def __init__(
        self,
        host: Host,
        phase: int,
        names: Sequence[str],
        agents: Sequence[str],
        checkpoint_path: Callable[[str, int], Path],
        validate: Validate,
    ) -> None:
        self._host, self._phase, self._names, self._agents = host, phase, names, agents
        self._path, self._validate = checkpoint_path, validate
        self._history: list[list[tuple[int, Performance]]] = [[] for _ in names]
        self._best: list[tuple[float, int, Policy] | None] = [None for _ in names]
        self._first: Sequence[dict[str, np.ndarray]] = ()
        self._last: Sequence[dict[str, np.ndarray]] = ()
        self.seconds = 0.0

    def checkpoint(self, timesteps: int, states: Sequence[TrainState]) -> list[Performance]:
        """Save and validate each member; returns their performance."""
        results = []
        for i, (name, state) in enumerate(zip(self._names, states, strict=True)):
            policy = Policy(state.params, state.normalizers)
            save_checkpoint(self._host.checkpoints, self._path(name, timesteps), state)
            compiled, start = self._host.compiler.seconds, time.perf_counter()
            performance = self._validate(i, policy)
            self.seconds += time.perf_counter() - start - (self._host.compiler.seconds - compiled)
            self._history[i].append((timesteps, performance))
            best = self._best[i]
            if best is None or score(performance) > best[0]:
                # The state is donated to the next chunk, so the best policy is kept as a copy.
                self._best[i] = (score(performance), timesteps, jax.tree.map(jnp.copy, policy))
            results.append(performance)
        return results

    def show(
        self,
        timesteps: int,
        metrics: Sequence[dict[str, np.ndarray]],
        rate: float,
        validation: list[Performance] | None,
        total: int,
        lessons: Sequence[Curriculum] = (),
    ) -> None:
        """One row of metrics per member, and one line on the console; ``lessons`` are those of the chunk."""
        self._first, self._last = self._first or metrics, metrics
        for i, name in enumerate(self._names):
            row: dict[str, Any] = {**flat_metrics(metrics[i], self._agents), "timesteps_per_second": rate}
            shown = validation[i] if validation else None
            row |= {f"validation_{key}": getattr(shown, key, None) for key in _VALIDATION_COLUMNS}
            row |= lessons[i].columns(shown.scenarios if shown else None) if lessons else {}
            self._host.recorder.metrics(self._phase, name, timesteps, row)
            reward = float(np.ravel(metrics[i]["reward"])[-1])
            text = f"  {name:<16} {timesteps:>11,}/{total:,}  {rate:>9,.0f}/s  reward {reward:+.4f}"
            if shown:
                text += f"  validation {describe(shown)}"
            self._host.recorder.info(text)

    def next_lessons(
        self, lessons: Sequence[Curriculum], fraction: float, validation: list[Performance] | None
    ) -> list[Curriculum]:
        """Where each member's curriculum stands after a chunk; a line for what it opens. Empty without one."""
        result = []
        for i, lesson in enumerate(lessons):
            following = lesson.after(fraction, validation[i].scenarios if validation else None)
            opened = following.stages[lesson.num_open : following.num_open]
            if opened:
                reached = f"{following.num_open} of {len(following.stages)}"
                self._host.recorder.info(f"  {self._names[i]:<16} curriculum opens {', '.join(opened)} ({reached})")
            result.append(following)
        return result

    def outcomes(
        self, timesteps: int, seconds: dict[str, float], rate: float, chunk_rates: list[float]
    ) -> list[Outcome]:
        """The best of each member."""
        result = []
        for i, (history, best) in enumerate(zip(self._history, self._best, strict=True)):
            assert best is not None  # the last chunk is always saved
            validation = next(performance for at, performance in history if at == best[1])
            last = closing_metrics(self._first[i], self._last[i], self._names[i], self._agents)
            result.append(Outcome(best[2], best[1], validation, history, timesteps, seconds, rate, chunk_rates, last))
        return result


def _taught(plan: Plan, lesson: Curriculum) -> Plan:
    """The plan with episodes that start as often on each path as the curriculum wants."""
    drawn = jnp.asarray(lesson.path_probability(plan.env_params.table.open.shape[0]))
    return dataclasses.replace(plan, env_params=dataclasses.replace(plan.env_params, path_probability=drawn))


_VALIDATION_COLUMNS = (
    "sharpe",
    "sharpe_standard_error",
    "total_return",
    "gross_return",
    "max_drawdown",
    "turnover_per_day",
    "mean_exposure",
    "time_in_market",
    "action_standard_deviation",
    "pinned",
    "cost_share",
)

_CLOSING_METRICS = (
    "exposure",
    "time_in_market",
    "turnover",
    "action_std",
    "explained_variance",
    "approximate_kl",
    "clip_fraction",
    "entropy",
)
_JOINT_METRICS = ("gradient_cosine", "gradient_conflict", "own_gradient_norm", "shared_gradient_norm", "reference_kl")


def save_checkpoint(writer: Checkpoints, path: Path, state: TrainState) -> None:
    """Save what acts and what training needs besides as two Orbax checkpoints, ``policy`` and ``training``.

    The policy can be restored under another number of environments, the training only under the same.
    """
    writer.save(path / "policy", {"params": state.params, "normalizers": state.normalizers})
    writer.save(path / "training", dataclasses.replace(state, params={}, normalizers={}))


def restore_checkpoint(path: Path, like: TrainState) -> TrainState:
    """The whole training state of a checkpoint, from which training goes on bit for bit.

    Args:
        path: what `save_checkpoint` wrote.
        like: a state of the same shapes, as from ``jax.eval_shape`` of `start_training`.

    Raises:
        UserError: there is no such checkpoint, or it has other shapes (another number of environments, say).
    """
    policy = restore(path / "policy", {"params": like.params, "normalizers": like.normalizers})
    training = restore(path / "training", dataclasses.replace(like, params={}, normalizers={}))
    return dataclasses.replace(training, **policy)


def flat_metrics(metrics: dict[str, np.ndarray], agents: Sequence[str]) -> dict[str, float]:
    """Metrics as named numbers; the values of several agents carry the agent's name."""
    flat: dict[str, float] = {}
    for name, value in metrics.items():
        values = np.ravel(value)
        labels = [name] if len(values) == 1 else [f"{name}/{agent}" for agent in agents[: len(values)]]
        flat |= {label: float(v) for label, v in zip(labels, values, strict=True)}
    return flat


def closing_metrics(
    first: dict[str, np.ndarray], last: dict[str, np.ndarray], name: str, agents: Sequence[str]
) -> dict[str, dict[str, float]]:
    """What tells of a collapse in the last chunk of a training, and of conflicts in joint training, by agent.

    Args:
        first: metrics of the first chunk, of which ``action_std_at_start`` is taken.
        last: metrics of the last chunk.
        name: of the training, under which the numbers stand that it has once.
        agents: names of the A agents, for the numbers that each has.
    """
    chosen = {key: last[key] for key in _CLOSING_METRICS} | {"action_std_at_start": first["action_std"]}
    chosen |= {key: last[key] for key in _JOINT_METRICS if key in last}
    result: dict[str, dict[str, float]] = {name: {}}
    for key, value in chosen.items():
        values = np.ravel(value)
        owners = [name] if len(values) == 1 else agents[: len(values)]  # the meta-controller has no second gradient
        for owner, number in zip(owners, values, strict=True):
            result.setdefault(owner, {})[key] = float(number)
    return result
