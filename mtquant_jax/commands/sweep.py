"""Tries many settings over several seeds each, and says which of them did best on the validation split."""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from mtquant_jax.jax_setup import device, prepare_jax
from mtquant_jax.settings.layers import WithSettings, load_command

if TYPE_CHECKING:  # JAX is imported when the command runs, and not for its help
    from mtquant_jax.reports.sweep_display import SweepDisplay
    from mtquant_jax.runs.stopping import StopRequest
    from mtquant_jax.runs.sweep.result import SweepResult
    from mtquant_jax.runs.sweep.study import Study
    from mtquant_jax.runs.sweep.sweep import SweepPlan

_IN_FILE = ("space", "method", "num_trials", "seeds", "classes", "objective", "halving", "batch")
_DEFAULTS: dict[str, Any] = {"seeds": 3, "objective": "sharpe", "halving": False, "classes": ()}
_SIDE_BY_SIDE = {"cpu": 8, "gpu": 32}


@dataclasses.dataclass(frozen=True)
class SweepCommand(WithSettings):
    """Try many settings over several seeds each, and hand the best ones to `mtquant-jax train --config`.

    Every trial trains phase 1 unless --phases says more, and is judged on the validation split alone. Results go to
    RUN_DIR/sweeps/NAME; the test split stays untouched.
    """

    space: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(metavar="[SPACE.yaml]", help_behavior_hint="(or give --grid)")
    ] = ""
    """YAML file with the search space, and perhaps the options below; or a shipped one by its name: learning_rate, ppo,
    pathwise or reward (docs/sweeps.md)."""
    grid: tuple[str, ...] = ()
    """Settings and their values, as learning_rate=1e-4,3e-4 ppo.gamma=0.95,0.99; all combinations are tried."""
    num_trials: int | None = None
    """Trials, those of an earlier process included; all of a grid, and otherwise 32, where it is not given."""
    seeds: int | None = None
    """Trainings of every trial; seeds count up from --seed. (default: 3)"""
    method: Literal["tpe", "random", "grid"] | None = None
    """How values are chosen: by what earlier trials gave (tpe, the default), at random, or all combinations (grid)."""
    objective: Literal["sharpe", "growth", "calmar", "growth_less_drawdown"] | None = None
    """What is looked for on the validation split: interquartile mean over the seeds. (default: sharpe)"""
    halving: bool | None = None
    """Give up trials that are not in the best third at 1, 3, 9 ... times --save-freq timesteps. (default: no)"""
    classes: tuple[str, ...] = ()
    """Train the specialists of these classes only, where phase 1 is all that is trained; empty: all of them."""
    batch: int | None = None
    """Trials that are trained side by side. (default: 8, on a GPU 32)"""
    name: str = ""
    """Of the sweep, and of its folder; empty: that of the file, or grid."""
    storage: str = ""
    """Where the study is kept, so that several machines can work on it: a database URL that Optuna takes, or
    journal:FILE; empty: the file study.db in the folder of the sweep."""
    executor: str = ""
    """Train with several workers: processes:N shares the cores of this machine; ray, or ray:N, takes those of a Ray
    cluster (docs/clusters.md); empty: this process does it."""
    timeout: float | None = None
    """Seconds after which no trial is begun, and those that run are left."""
    resume: bool = False
    """Go on with the sweep of this name; its finished trials count."""
    take_over: bool = False
    """Try trials again that run on other machines, because nothing works on the study there any more."""


def run(arguments: Sequence[str], prog: str) -> None:
    """Search, print and write.

    Raises:
        UserError: a bad space, settings or data, before anything is trained, or the extra sweep is missing.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command, source = load_command(SweepCommand, arguments, prog, phases="1", resumes_run=False)
    prepare_jax(command.settings.devices)
    if command.executor.startswith("ray"):  # a GPU of this machine is for a worker
        import jax

        jax.config.update("jax_platforms", "cpu")
    from mtquant_jax.market.traded import with_symbols
    from mtquant_jax.runs.memory import memory_advice

    command = dataclasses.replace(command, settings=with_symbols(command.settings))
    with memory_advice(command.settings):
        _run(command, source, shlex.join([*prog.split(), *arguments, *(() if command.resume else ["--resume"])]))


def _run(command: SweepCommand, source: str, again: str) -> None:
    from mtquant_jax.reports.html.sweep import write_sweep_report
    from mtquant_jax.runs.run_directory import claimed
    from mtquant_jax.runs.stopping import stop_requests
    from mtquant_jax.runs.sweep.batch import Markets
    from mtquant_jax.runs.sweep.executors import parse_executor
    from mtquant_jax.runs.sweep.files import write_tables
    from mtquant_jax.runs.sweep.study import Study, default_url
    from mtquant_jax.runs.sweep.sweep import run_sweep
    from mtquant_jax.runs.sweep.workers import run_workers
    from mtquant_jax.storage.paths import RunPaths
    from mtquant_jax.training.compiling import Compiler

    began = time.perf_counter()
    connect = parse_executor(command.executor) if command.executor else None
    plan, markets = _plan(command), Markets()
    folder = Path(command.settings.run_dir) / "sweeps" / plan.name
    paths = RunPaths(folder)
    _check_folder(command, folder)
    executor = None if connect is None else connect()  # before JAX computes: Ray forks, and then JAX has threads
    market = markets.of(plan.config)
    with claimed(paths), stop_requests() as request:
        url = command.storage or default_url(folder)
        study = Study(url, plan.name, plan.space, plan.method, plan.config.seed, plan.purpose(market))
        _announce(command, plan, study, source, market.description, folder)
        for notice in market.notices:
            print(f"notice: {notice}")

        def search(shown: SweepDisplay) -> SweepResult:
            if executor is None:
                hooks = shown.begins, shown.told, shown.chunk
                return run_sweep(plan, study, markets, Compiler.of(plan.config), request.is_made, *hooks)
            return run_workers(plan, study, market, executor, url, request.is_made, shown.told, shown.notice)

        result = _searched(plan, study, search, request, again)
        write_tables(result, plan.config, folder)
        write_sweep_report(result, folder / "report.html")
    _conclude(result, folder, time.perf_counter() - began)


def _plan(command: SweepCommand) -> SweepPlan:
    """What is to be done: flags over the file."""
    import jax

    from mtquant_jax.errors import UserError
    from mtquant_jax.runs.sweep.sweep import SweepPlan
    from mtquant_jax.settings.search_space import SearchSpace, parse_grid

    if bool(command.space) == bool(command.grid):
        raise UserError("give a YAML file with a search space, or `grid` with settings and their values")
    path = _file(command.space) if command.space else None
    content = _read(path) if path else {}
    source = str(path) if path else "`grid`"
    space = SearchSpace.of(content.get("space") or parse_grid(command.grid), command.settings, source)
    given = {name: getattr(command, name) for name in _IN_FILE[1:] if getattr(command, name) not in (None, ())}
    options = {**_DEFAULTS, **{k: v for k, v in content.items() if k != "space"}, **given}
    platform = "cpu" if command.executor.startswith("ray") or jax.default_backend() == "cpu" else "gpu"
    options = {"batch": _SIDE_BY_SIDE[platform], **options, "classes": tuple(options["classes"])}
    name = command.name or (path.stem if path else "grid")
    plan = SweepPlan.of(name, command.settings, space, timeout=command.timeout, **options)
    if Path(plan.name).name != plan.name or plan.name in (".", ".."):
        raise UserError(f"`name` {plan.name}: it names a folder, without a path")
    return plan


def _file(text: str) -> Path:
    """The file with a search space: one of the user's, or a shipped one by its name."""
    from mtquant_jax.errors import UserError
    from mtquant_jax.settings.yaml_files import shipped

    if Path(text).is_file():
        return Path(text)
    spaces = {path.stem: path for path in sorted((shipped("agents.yaml").parent / "sweeps").glob("*.yaml"))}
    if text in spaces:
        return spaces[text]
    raise UserError(f"{text}: no such file; shipped search spaces are {', '.join(spaces)}")


def _read(path: Path) -> dict[str, Any]:
    """The content of a file with a search space."""
    from mtquant_jax.errors import UserError
    from mtquant_jax.runs.sweep.objectives import OBJECTIVES
    from mtquant_jax.settings.yaml_text import read_yaml, shown

    content = read_yaml(path)
    for key in content:
        if key not in _IN_FILE:
            raise UserError(f"{path}: unknown key {key}; valid ones are {', '.join(_IN_FILE)}")
    if not isinstance(content.get("space"), Mapping):
        raise UserError(f"{path}: space must be a group of settings and their values")
    choices = {"method": ("tpe", "random", "grid"), "objective": tuple(OBJECTIVES), "halving": (True, False)}
    for key, allowed in choices.items():
        if key in content and content[key] not in allowed:
            raise UserError(f"{path}: {key} must be one of {', '.join(map(str, allowed))}, not {shown(content[key])}")
    for key in ("num_trials", "seeds", "batch"):
        if key in content and (type(content[key]) is not int or content[key] < 1):
            raise UserError(f"{path}: {key} must be a whole number of at least 1, not {shown(content[key])}")
    if not isinstance(content.get("classes", []), list):
        raise UserError(f"{path}: classes must be a list such as [forex], not {shown(content['classes'])}")
    return content


def _check_folder(command: SweepCommand, folder: Path) -> None:
    """Refuse to begin where a sweep is, and to go on where none is; a storage elsewhere says so itself."""
    from mtquant_jax.errors import UserError

    there = (folder / "study.db").exists()
    if command.storage:
        return
    if there and not command.resume:
        raise UserError(f"{folder} holds a sweep; go on with it with `resume`, or give another `name`")
    if command.resume and not there:
        raise UserError(f"{folder} holds no sweep that could go on; begin it without `resume`, or correct `name`")


def _announce(command: SweepCommand, plan: SweepPlan, study: Study, source: str, market: str, folder: Path) -> None:
    """Say what is about to be done."""
    print(f"mtquant-jax sweep {plan.name} on {device()}, settings from {source}")
    print(market)
    for dimension in plan.space.dimensions:
        print(f"  {dimension.name}: {dimension.in_words()}{'' if dimension.traced else ' (compiles for each)'}")
    print(f"{plan.total} trials of {plan.trained}; by {plan.objective} on the validation split; results in {folder}")
    if dead := study.recover(everyone=command.take_over):
        print(f"{dead} trial{'s' * (dead != 1)} of a process that ended without a result will be tried again")
    if before := len(study.finished()):
        print(f"{before} trial{'s are' if before != 1 else ' is'} finished already")


def _searched(
    plan: SweepPlan, study: Study, search: Callable[[SweepDisplay], SweepResult], request: StopRequest, again: str
) -> SweepResult:
    """Run the sweep; stopped, it says the command that goes on."""
    from mtquant_jax.reports.sweep_display import shown_sweep
    from mtquant_jax.training.observer import Stopped

    try:
        with shown_sweep(plan, plan.total or 0, study.finished()) as shown:
            return search(shown)
    except Stopped:
        raise request.interrupted(
            f"stopped; {len(study.finished())} trials are finished, and this goes on with it: {again}"
        ) from None


def _conclude(result: SweepResult, folder: Path, seconds: float) -> None:
    """Print what was found."""
    from mtquant_jax.reports.sweep import lines

    print()
    for line in lines(result):
        print(line)
    if result.best is not None:
        print(f"next: mtquant-jax train --config {folder / 'best.yaml'} --run-dir runs/{result.name}")
    print(f"done in {seconds:.1f} s; report in {folder / 'report.html'}")
