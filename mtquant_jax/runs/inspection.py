"""Turns a path into what lies there: a training, a walk-forward, a checkpoint or a model, without importing JAX."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.runs.identity import Identity
from mtquant_jax.runs.inspected import KILLED, CheckpointInfo, Info, ModelInfo, Progress, RunInfo, Validation
from mtquant_jax.runs.manifest import ModelManifest
from mtquant_jax.runs.run_directory import held, is_claimed
from mtquant_jax.runs.run_record import FINISHED, RUNNING, RunRecord, how_to_evaluate, how_to_go_on, read_record
from mtquant_jax.runs.tags import read_tags
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.storage.bundles import read_manifest
from mtquant_jax.storage.checkpoints import DESCRIPTION, check, describe
from mtquant_jax.storage.files import read_sealed
from mtquant_jax.storage.paths import RunPaths, evaluation_dir, saved_timesteps
from mtquant_jax.storage.records import from_json

_PHASES = (1, 2, 3)
_TOGETHER = {2: "meta_controller", 3: "portfolio"}  # the agent of a phase's results


@dataclasses.dataclass(frozen=True)
class _Looked:
    """A validation in a logbook."""

    timesteps: int
    performance: Validation


@dataclasses.dataclass(frozen=True)
class _Logbook:
    """What is shown of a checkpoint's logbook."""

    timesteps: int
    total_timesteps: int
    best_timesteps: int | None
    history: tuple[_Looked, ...]

    @property
    def best(self) -> Validation | None:
        """The validation of the best policy so far."""
        return next((seen.performance for seen in self.history if seen.timesteps == self.best_timesteps), None)


@dataclasses.dataclass(frozen=True)
class _Description:
    """What is shown of ``checkpoint.json``."""

    run_id: str
    phase: int
    name: str
    seed: int
    identity: Identity
    versions: Mapping[str, str]
    device: str
    logbook: _Logbook
    files: Mapping[str, tuple[int, str]]  # size in bytes and SHA-256


@dataclasses.dataclass(frozen=True)
class _Report:
    """What is shown of an agent in the results of a phase."""

    timesteps: int
    best_timesteps: int
    validation: Validation


@dataclasses.dataclass(frozen=True)
class _Array:
    """An array of a model."""

    shape: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class _Arrays:
    """What a model's manifest says of its arrays."""

    arrays: Mapping[str, _Array]


@dataclasses.dataclass(frozen=True)
class _Trained:
    """Which training was evaluated."""

    run_id: str  # of its last phase


@dataclasses.dataclass(frozen=True)
class _Bars:
    """Which bars were evaluated."""

    split: str
    first: str
    last: str


@dataclasses.dataclass(frozen=True)
class _Evaluated:
    """What is shown of an evaluation."""

    verdict: str
    bars: _Bars
    run: _Trained | None = None
    portfolio: str | None = None  # name of the last phase's
    phases: Mapping[str, Validation] | None = None

    def on_test_split(self, run_id: str | None) -> Validation | None:
        """The figures of the last portfolio on the test split; None where it is of other bars or another training."""
        if self.bars.split != "test" or self.run is None or self.run.run_id != run_id:
            return None
        return (self.phases or {}).get(self.portfolio or "")


@dataclasses.dataclass(frozen=True)
class _Walked:
    """What is shown of the result of a walk-forward."""

    verdict: str | None = None
    market: str | None = None
    overall: Mapping[str, Validation] | None = None  # portfolio or baseline -> over all folds
    ahead_of: Mapping[str, Any] | None = None  # of all but the last portfolio

    @property
    def last(self) -> Validation | None:
        """The figures of the last portfolio, which is what all others are compared with."""
        return next((found for name, found in (self.overall or {}).items() if name not in (self.ahead_of or {})), None)


def inspect(path: Path) -> Info:
    """What lies at a path.

    Args:
        path: a run directory of a training or a walk-forward, a folder of a checkpoint, or a model zip.

    Raises:
        UserError: there is nothing, something else, or something damaged.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or directory")
    if path.is_file():
        return _model(path)
    if (path / DESCRIPTION).is_file():
        return _checkpoint(path)
    paths = RunPaths(path)
    record = read_record(paths)
    if record is not None:
        return _training(paths, record) if record.walk_forward is None else _walk_forward(paths, record)
    if what := held(paths):
        raise UserError(f"{path} holds {what} of an earlier version, which kept no record (run.json)")
    inside = next((folder.parent for folder in sorted(path.glob(f"*/{DESCRIPTION}"))), None)
    hint = f"; {inside} is a checkpoint" if inside else ""
    raise UserError(f"{path} holds no training, walk-forward, checkpoint or model{hint}")


def _model(path: Path) -> ModelInfo:
    content = read_manifest(path)
    manifest = ModelManifest.from_json(content, str(path))
    shapes = from_json(_Arrays, content, str(path)).arrays.values()
    return ModelInfo(
        kind="model",
        path=str(path),
        agent=f"{manifest.kind} {manifest.name}" if manifest.name else manifest.kind,
        symbols=manifest.symbols,
        bar_seconds=manifest.bar_seconds,
        phase=manifest.phase,
        timesteps=manifest.timesteps,
        seed=manifest.seed,
        validation=from_json(Validation, manifest.validation, f"{path}, validation"),
        num_parameters=sum(math.prod(array.shape) for array in shapes),
        hidden_size=manifest.network.hidden_size,
        versions=manifest.versions,
        interval=manifest.interval,
        identity=manifest.identity,
    )


def _checkpoint(path: Path) -> CheckpointInfo:
    found = from_json(_Description, check(path), str(path / DESCRIPTION))
    return CheckpointInfo(
        kind="checkpoint",
        path=str(path),
        run_id=found.run_id,
        phase=found.phase,
        agent=found.name,
        seed=found.seed,
        timesteps=found.logbook.timesteps,
        total_timesteps=found.logbook.total_timesteps,
        best_timesteps=found.logbook.best_timesteps,
        validation=found.logbook.best,
        identity=found.identity,
        device=found.device,
        versions=found.versions,
        files=len(found.files),
        size_in_bytes=sum(size for size, _ in found.files.values()),
    )


def _training(paths: RunPaths, record: RunRecord) -> RunInfo:
    results = {
        phase: read_sealed(paths.phase_results(phase), f"phase {phase}")
        for phase in _PHASES
        if paths.phase_results(phase).is_file()
    }
    settings = _settings(paths)
    progress: list[Progress] = []
    for phase in sorted({*record.phases, *results}):
        if phase in results:
            progress += _of_results(phase, results[phase], str(paths.phase_results(phase)))
        else:
            progress += _of_checkpoints(paths, phase, settings)
    metrics = evaluation_dir(paths) / "metrics.json"
    evaluated = None
    if metrics.is_file():
        evaluated = from_json(_Evaluated, read_sealed(metrics, "the evaluation"), str(metrics))
    complete = paths.training_summary.is_file()
    return RunInfo(
        **_head(paths, record, "training", settings),
        market=next((result.get("market") for result in reversed(results.values())), None),
        progress=tuple(progress),
        resume=None if record.state == FINISHED else how_to_go_on(_shown(paths)),
        evaluate=how_to_evaluate(_shown(paths)) if complete and evaluated is None else None,
        verdict=evaluated.verdict if evaluated else None,
        evaluated_on=f"{evaluated.bars.split} split, {evaluated.bars.first} to {evaluated.bars.last}"
        if evaluated
        else None,
        test=evaluated.on_test_split(results[max(results)].get("run_id")) if evaluated and results else None,
    )


def _walk_forward(paths: RunPaths, record: RunRecord) -> RunInfo:
    flags, settings, finished = record.walk_forward or {}, _settings(paths), record.state == FINISHED
    result = _Walked()
    if finished:
        file = paths.run_dir / "walk_forward.json"
        result = from_json(_Walked, read_sealed(file, "the walk-forward"), str(file))
    folds, first = range(1, int(flags.get("folds", 0)) + 1), int(settings.get("seed", 0))
    seeds = range(first, first + int(flags.get("num_seeds", 1)))
    done = [fold for fold in folds if all(_seed_done(paths, fold, seed) for seed in seeds)]
    return RunInfo(
        **_head(paths, record, "walk-forward", settings),
        market=result.market,
        progress=tuple(found for fold in folds if fold not in done for found in _of_fold(paths, fold)),
        resume=None if finished else how_to_go_on(_shown(paths), flags),
        verdict=result.verdict,
        test=result.last,
        flags=flags,
        folds_done=tuple(done),
    )


def _settings(paths: RunPaths) -> dict[str, Any]:
    """The settings of a run by name; empty where it has not written them yet."""
    return read_yaml(paths.resolved_config) if paths.resolved_config.is_file() else {}


def _head(paths: RunPaths, record: RunRecord, kind: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the record says, in both kinds of runs."""
    killed = record.state == RUNNING and is_claimed(paths) is False
    return {
        "kind": kind,
        "path": str(paths.run_dir),
        "state": KILLED if killed else record.state,
        "run_id": record.run_id,
        "started": record.started,
        "sessions": record.sessions,
        "phases": record.phases,
        "seed": settings.get("seed"),
        "identity": record.identity,
        "device": record.device,
        "versions": record.versions,
        "code": record.code,
        "seconds": record.seconds,
        "tags": read_tags(paths) or None,
        "settings": settings or None,
    }


def _of_results(phase: int, results: Mapping[str, Any], where: str) -> Iterator[Progress]:
    """Every agent of a phase that is complete."""
    key = "specialists" if phase == 1 else _TOGETHER[phase]
    if not isinstance(results.get(key), dict):
        raise UserError(f"{where} has no {key}")
    for name, content in (results[key] if phase == 1 else {key: results[key]}).items():
        report = from_json(_Report, content, f"{where}, {name}")
        yield Progress(phase, name, report.timesteps, report.timesteps, report.best_timesteps, report.validation)


def _of_checkpoints(paths: RunPaths, phase: int, settings: Mapping[str, Any]) -> Iterator[Progress]:
    """Every agent of a phase that is not complete."""
    names = list(settings.get("specialists") or {}) if phase == 1 else [_TOGETHER[phase]]
    for name in names:
        folders = [folder / name if phase == 1 else folder for folder in _newest_first(paths, phase)]
        yield _newest(phase, name, folders)


def _of_fold(paths: RunPaths, fold: int) -> list[Progress]:
    """Every agent of the phase that a fold has come to, seed by seed."""
    inside = RunPaths(paths.run_dir / f"fold_{fold}")
    for phase in reversed(_PHASES):
        folders = _newest_first(inside, phase)
        members = {member.relative_to(folder).parts for folder in folders for member in folder.glob("seed_*/*")}
        if members:
            return [
                dataclasses.replace(
                    _newest(phase, name, [folder / seed / name for folder in folders]), fold=fold, seed=int(seed[5:])
                )
                for seed, name in sorted(members)
            ]
    return []


def _newest(phase: int, name: str, newest_first: Sequence[Path]) -> Progress:
    """An agent by the newest of its checkpoints that is intact, as a training would be resumed."""
    damaged: list[str] = []
    for path in newest_first:
        if path.is_dir():
            try:
                book = from_json(_Description, describe(path), str(path / DESCRIPTION)).logbook
            except UserError as error:
                damaged.append(str(error))
                continue
            done = (book.timesteps, book.total_timesteps, book.best_timesteps)
            return Progress(phase, name, *done, book.best, tuple(damaged))
    return Progress(phase, name, 0, None, damaged=tuple(damaged))


def _newest_first(paths: RunPaths, phase: int) -> list[Path]:
    """Folders of a phase's checkpoints."""
    return [paths.checkpoint(phase, timesteps) for timesteps in reversed(saved_timesteps(paths, phase))]


def _seed_done(paths: RunPaths, fold: int, seed: int) -> bool:
    return RunPaths(paths.run_dir / f"fold_{fold}" / f"seed_{seed}").meta_bundle.is_file()


def _shown(paths: RunPaths) -> Path:
    """The run directory as a command would name it."""
    here = Path.cwd()
    return paths.run_dir.relative_to(here) if paths.run_dir.is_relative_to(here) else paths.run_dir
