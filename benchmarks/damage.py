"""What becomes of damaged models, checkpoints, settings and results: refused in a sentence, or the same result.

    python benchmarks/damage.py [--models 1000] [--checkpoints 1000] [--settings 1000] [--results-files 500]

Three quick trainings are made; then copies of their files are damaged and read as commands read them. What is done to
them is in `mtquant_jax/reference/damage.py`. A mutant that gives other numbers silently, or a traceback, fails the
benchmark.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from recording import RESULTS, store

from mtquant_jax.cli import main as command
from mtquant_jax.evaluation.comparison import open_evaluated
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.learning.train import start_training
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.market.synthetic.calibration_files import load_calibration
from mtquant_jax.reference import damage, damage_yaml, damage_zips
from mtquant_jax.reference.damage import FAILURES, OUTCOMES, Subject, intact, judge
from mtquant_jax.reports.training_plot import PHASES, _with_references, read_curves
from mtquant_jax.runs.checkpoints import Origin, checkpoint_path, restore_checkpoint
from mtquant_jax.runs.handover import earlier_results
from mtquant_jax.runs.run_record import check_resumable
from mtquant_jax.runs.trading_policy import load_policy
from mtquant_jax.runs.trained_run import TrainedRun, open_run, restore_all
from mtquant_jax.settings.layers import override_config
from mtquant_jax.settings.yaml_files import shipped
from mtquant_jax.storage.arrays import to_named_arrays
from mtquant_jax.storage.checkpoints import describe
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.training import phases
from mtquant_jax.training.trainer import META_CONTROLLER, PORTFOLIO

_TIMESTEPS = 500  # after which every phase of a quick training has a checkpoint


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Damage files, read them, and count what comes of it."""

    models: int = 1000
    """Mutants of model zips."""
    checkpoints: int = 1000
    """Mutants of checkpoints."""
    settings: int = 1000
    """Mutants of settings, contract specifications and calibrations."""
    results_files: int = 500
    """Mutants of result files."""
    seed: int = 0
    """First number of each mutant's seed; the others are its kind and its own number."""
    runs: Path | None = None
    """Folder of the trainings, kept between calls; None makes them in a temporary one."""
    name: str = "damage"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Train, damage, read and store; exit code 1 if anything is read wrongly."""
    prepare_jax()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        runs = _trainings(arguments.runs or folder)
        counts = {
            "models": _counted(_models(runs, folder), arguments.models, [arguments.seed, 0], folder),
            "checkpoints": _counted(_checkpoints(runs, folder), arguments.checkpoints, [arguments.seed, 1], folder),
            "settings": _counted(_settings(runs, folder), arguments.settings, [arguments.seed, 2], folder),
            "results": _counted(_results(runs, folder), arguments.results_files, [arguments.seed, 3], folder),
        }
    figures = {
        "seed": arguments.seed,
        "meaning": OUTCOMES,
        "counts": {kind: found["counts"] for kind, found in counts.items()},
        "by_mutation": {kind: found["by_mutation"] for kind, found in counts.items()},
        "failures": {kind: found["failures"] for kind, found in counts.items()},
        "seconds": round(time.perf_counter() - start, 1),
    }
    store(arguments.name, figures, arguments.results)
    for line in _table(figures["counts"]):
        print(line)
    if any(found["failures"] for found in counts.values()):
        sys.exit(1)


def _trainings(folder: Path) -> list[Path]:
    """Two trainings of other seeds, and one of other settings, all evaluated but the last."""
    flags = (["--seed", "0"], ["--seed", "1"], ["--seed", "0", "--ppo.entropy-weight", "0.02"])
    runs = []
    for number, given in enumerate(flags):
        run_dir = folder / "trainings" / f"run{number}"
        runs.append(run_dir)
        if RunPaths(run_dir).training_summary.is_file():
            continue
        assert command(["train", "--quick-test", "--run-dir", str(run_dir), *given]) == 0
        if number < 2:
            assert command(["evaluate", "--run-dir", str(run_dir), "--draws", "100"]) == 0
    return runs


def _counted(subjects: Sequence[Subject], mutants: int, seed: Sequence[int], folder: Path) -> dict[str, Any]:
    """Outcomes of mutants of the subjects, in turn."""
    counts: collections.Counter[str] = collections.Counter()
    by_mutation: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    failures, place = [], folder / "mutants" / "mine"
    expected = [intact(subject, place) for subject in subjects]
    for number in range(mutants):
        index = number % len(subjects)
        verdict = judge(subjects[index], np.random.default_rng([*seed, number]), expected[index], place)
        counts[verdict.outcome] += 1
        by_mutation[verdict.mutation][verdict.outcome] += 1
        if verdict.outcome in FAILURES:
            failures.append(f"{number}: {subjects[index].name}, {verdict.mutation}: {verdict.outcome} {verdict.detail}")
    return {
        "counts": {outcome: counts[outcome] for outcome in OUTCOMES},
        "by_mutation": {name: dict(sorted(found.items())) for name, found in sorted(by_mutation.items())},
        "failures": failures,
    }


def _table(counts: dict[str, dict[str, int]]) -> list[str]:
    lines = [f"{'':<16}" + "".join(f"{kind:>13}" for kind in counts)]
    return lines + [f"{name:<16}" + "".join(f"{found[name]:>13,}" for found in counts.values()) for name in OUTCOMES]


def _digest(tree: Any) -> Any:
    """Arrays as names, types and bytes, which compare exactly."""
    return {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in to_named_arrays(tree).items()}


def _models(runs: Sequence[Path], folder: Path) -> list[Subject]:
    """Every model of the first training, read as the hierarchy that it belongs to."""
    original = folder / "models"
    shutil.copytree(runs[0] / "models", original / "models", ignore=shutil.ignore_patterns("checkpoints"))
    zips = sorted(original.rglob("*.zip"))
    others = [*zips, *(path for run in runs[1:] for path in sorted(run.rglob("*.zip")))]

    def read(path: Path) -> Any:
        found = load_policy(path)
        return found.manifest, found.universe, _digest(found.policy)

    def harm(file: Path, random: np.random.Generator, copy: Path) -> str:
        foreign = [other for other in others if other != file]
        return damage_zips.damage_model(random, copy / file.relative_to(original), foreign)

    return [Subject(file.stem, original, functools.partial(harm, file), read) for file in zips]


def _checkpoints(runs: Sequence[Path], folder: Path) -> list[Subject]:
    """A checkpoint of every kind, read as a resumed training does."""
    run = open_run(runs[0])
    market = prepare_market(run.config)
    everywhere = [path.parent for run_dir in runs for path in sorted(run_dir.rglob("checkpoint.json"))]
    found = []
    for phase, name in ((1, "forex"), (2, META_CONTROLLER), (3, PORTFOLIO)):
        path = checkpoint_path(run.paths, phase, name, _TIMESTEPS)
        original = folder / "checkpoints" / name
        shutil.copytree(path, original / "checkpoint")
        like = _like(run, market, phase)

        def read(copy: Path, phase: int = phase, name: str = name, like: Any = like) -> Any:
            path = copy / "checkpoint"
            saved = restore_checkpoint(path, Origin(run.run_id, phase, name, _TIMESTEPS), like)
            best = None if saved.best is None else _digest(saved.best)
            return describe(path), _digest(saved.state), best, saved.logbook

        foreign = [other for other in everywhere if other != path]

        def harm(random: np.random.Generator, copy: Path, foreign: Sequence[Path] = foreign) -> str:
            return damage.damage_checkpoint(random, copy / "checkpoint", foreign)

        found.append(Subject(f"phase {phase}", original, harm, read))
    return found


def _like(run: TrainedRun, market: Market, phase: int) -> Any:
    """Shapes of a phase's training."""
    if phase == 1:
        plan = phases.plan_specialist(run.config, market, 0)
    else:
        policies = restore_all(run, market)
        assert policies.meta is not None
        plan = phases.plan_meta(run.config, market, policies.specialists)
        if phase == 3:
            plan = phases.plan_joint(run.config, market, policies.specialists, policies.meta)
    return jax.eval_shape(functools.partial(start_training, plan.program), *plan.start_arguments)


def _settings(runs: Sequence[Path], folder: Path) -> list[Subject]:
    """The settings of a training, and the three files that a user writes."""
    of_run = folder / "settings" / "run"
    shutil.copytree(runs[0] / "logs" / "e2e_training", of_run / "logs" / "e2e_training")

    def harm_run(random: np.random.Generator, copy: Path) -> str:
        return damage_yaml.damage_settings(random, RunPaths(copy).resolved_config)

    def read_run(copy: Path) -> Any:
        run = open_run(copy)
        return run.config, run.results, run.summary

    readers = {
        "agents.yaml": lambda path: override_config(path, {}),
        "instruments.yaml": load_instruments,
        "synthetic.yaml": load_calibration,
    }
    found = [Subject("resolved_config.yaml", of_run, harm_run, read_run)]
    for name, reader in readers.items():
        original = folder / "settings" / name
        original.mkdir()
        shutil.copyfile(shipped(name), original / name)

        def harm(random: np.random.Generator, copy: Path, name: str = name) -> str:
            return damage_yaml.damage_settings(random, copy / name)

        def read(copy: Path, name: str = name, reader: Any = reader) -> Any:
            return reader(copy / name)

        found += [Subject(name, original, harm, read, is_sealed=False), found[0]]
    return found


def _results(runs: Sequence[Path], folder: Path) -> list[Subject]:
    """Every result file of an evaluated training, read as evaluate, compare, the plot and later phases do."""
    original = folder / "results"
    shutil.copytree(runs[0], original, ignore=shutil.ignore_patterns("tensorboard", "*.log", "*.csv", "report.html"))
    kinds = ("phase*_results.json", "training_summary.json", "run.json", "metrics.json")
    files = [file for kind in kinds for file in sorted(original.rglob(kind))]
    others = [file for run in runs for kind in kinds for file in sorted(run.rglob(kind))]
    market = prepare_market(open_run(runs[0]).config)

    def read(copy: Path) -> Any:
        paths = RunPaths(copy)
        run = open_run(copy)
        policies = restore_all(run, market)
        _, results, notices = earlier_results(dataclasses.replace(run.config, phases="3"), paths, (3,))
        curves = {phase: read_curves(runs[0] / paths.metrics_csv(phase).relative_to(paths.run_dir)) for phase in PHASES}
        metrics = open_evaluated([copy, runs[1]])[0].metrics
        times = {name: (run.split_times(name), run.learnt_times(name)) for name in ("train", "validation", "test")}
        arrays = [_digest(policy) for policy in (*policies.specialists, policies.meta, policies.portfolio)]
        drawn = _with_references(paths, curves)
        return (
            run.config,
            run.summary,
            results,
            notices,
            metrics.to_json(),
            times,
            arrays,
            drawn,
            check_resumable(paths),
        )

    def harm(file: Path, random: np.random.Generator, copy: Path) -> str:
        foreign = [other for other in others if other != file]
        return damage.damage_results(random, copy / file.relative_to(original), foreign)

    return [Subject(file.name, original, functools.partial(harm, file), read) for file in files]


if __name__ == "__main__":
    main(tyro.cli(Arguments))
