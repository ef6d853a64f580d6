"""Trains and judges all phases fold by fold, so that every figure is of bars that came after the training."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mtquant_jax.commands.working import working
from mtquant_jax.jax_setup import device, prepare_jax
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.layers import WithSettings, load_command

if TYPE_CHECKING:  # JAX is imported when the command runs, and not for its help
    import numpy as np

    from mtquant_jax.evaluation.walk_forward import Fold
    from mtquant_jax.market.prepare import Market
    from mtquant_jax.runs.run_record import RunRecord
    from mtquant_jax.storage.paths import RunPaths
    from mtquant_jax.training.compiling import Compiler
    from mtquant_jax.types import Splits

_FEWEST_TEST_DAYS = 5  # of a fold: under a week there is nothing to judge


@dataclasses.dataclass(frozen=True)
class WalkForwardCommand(WithSettings):
    """Train all phases on several folds and seeds and trade the bars after each fold.

    All settings of `mtquant-jax train` apply to every fold. Models go to RUN_DIR/fold_N/seed_N, results to RUN_DIR.
    """

    folds: int = 4
    """Test ranges, one after the other up to the last bar."""
    num_seeds: int = 3
    """Trainings per fold, side by side; seeds count up from --seed."""
    scheme: Literal["anchored", "rolling"] = "anchored"
    """Anchored: training begins with the first bar in every fold; rolling: it moves on and keeps its length."""
    first_train_fraction: float = 0.5
    """Share of all bars before which the training of the first fold ends."""
    draws: int = 1000
    """Draws of the bootstrap behind every interval."""
    overwrite: bool = False
    """Replace the walk-forward or training that --run-dir holds."""
    resume: bool = False
    """Go on with the walk-forward that --run-dir holds, given its flags again, from its newest checkpoints."""

    @property
    def flags(self) -> dict[str, Any]:
        """Those that decide what is trained, besides the settings."""
        return {name: getattr(self, name) for name in ("folds", "num_seeds", "scheme", "first_train_fraction")}


def run(arguments: Sequence[str], prog: str) -> None:
    """Train, judge, print and write.

    Raises:
        UserError: bad settings or data, before anything is written, or the extra eval is missing.
        SystemExit: help was asked for (0) or a flag is wrong (2).
    """
    command, source = load_command(WalkForwardCommand, arguments, prog)
    with working("starting"):
        prepare_jax(command.settings.devices)
        from mtquant_jax.market.traded import with_symbols
        from mtquant_jax.runs.memory import memory_advice

    command = dataclasses.replace(command, settings=with_symbols(command.settings))
    with memory_advice(command.settings):
        _run(command, source)


def _run(command: WalkForwardCommand, source: str) -> None:
    """Train, judge, print and write, with settings that name all symbols."""
    from mtquant_jax.evaluation import walk_forward_result
    from mtquant_jax.reports import walk_forward as report
    from mtquant_jax.runs.run_directory import (
        check_free,
        check_not_running,
        check_paths,
        claimed,
        clear,
        clear_checkpoints,
        named,
    )
    from mtquant_jax.runs.run_record import FINISHED
    from mtquant_jax.storage.paths import RunPaths
    from mtquant_jax.training.compiling import Compiler

    began = time.perf_counter()
    run_dir = named(command.settings.run_dir, datetime.now())
    settings = dataclasses.replace(command.settings, run_dir=run_dir)
    command = dataclasses.replace(command, settings=settings)
    _check(command)
    paths = RunPaths(Path(run_dir))
    check_not_running(paths)
    check_paths(paths)
    before = _to_resume(command, paths)
    if before is None:
        check_free(paths, command.overwrite)
    elif before.state == FINISHED:
        print(f"the walk-forward in {paths.run_dir} is finished; nothing is left to resume")
        return
    config, compiler = command.settings, Compiler.of(command.settings)
    with working("reading the bars"):
        market, folds = _folds(command)
    notices = _same_training(before, config, market, paths)
    configs = [dataclasses.replace(config, seed=config.seed + number) for number in range(command.num_seeds)]
    folder = paths.run_dir
    with claimed(paths):
        if before is None:
            check_free(paths, command.overwrite)
            clear(paths, (1, 2, 3), all_of_it=command.overwrite)
        record, done = _trained(command, configs, market, folds, compiler, source, began, before, notices)
        stitched = walk_forward_result.stitch(done, command.draws)
        metrics = dataclasses.replace(
            walk_forward_result.result(done, stitched, [c.seed for c in configs]),
            seconds={"total": time.perf_counter() - began, "compile": compiler.seconds},
            market=market.description,
            scheme=command.scheme,
            configuration=dataclasses.asdict(config),
        )
        report.write(done, stitched, metrics, config.simulation.initial_capital, folder)
        record.ended(FINISHED, time.perf_counter() - began).write(paths)
        clear_checkpoints(folder)  # they are only for resuming
    print()
    for line in report.lines(metrics):
        print(line)
    print(f"done in {time.perf_counter() - began:.1f} s; results in {folder}/walk_forward.json and .png")


def _check(command: WalkForwardCommand) -> None:
    """Refuse what a walk-forward cannot do."""
    from mtquant_jax.errors import UserError
    from mtquant_jax.settings.checks import parse_phases
    from mtquant_jax.statistics.intervals import check_draws

    check_draws(command.draws)
    if command.num_seeds < 1:
        raise UserError(f"--num-seeds {command.num_seeds}: at least 1")
    if command.settings.curriculum:
        raise UserError("--curriculum: a walk-forward has no curriculum; its bars are a history")
    if tuple(parse_phases(command.settings.phases)) != (1, 2, 3):
        raise UserError(f"--phases {command.settings.phases}: a walk-forward trains all of 1,2,3 in every fold")


def _folds(command: WalkForwardCommand) -> tuple[Market, list[Splits]]:
    """The bars, and where every fold cuts them."""
    from mtquant_jax.market.features import LOOK_BACK_BARS
    from mtquant_jax.market.prepare import prepare_market
    from mtquant_jax.market.splits import walk_forward_folds

    config = command.settings
    folds: list[Splits] = []

    def cut(timestamps: np.ndarray) -> Splits:
        folds.extend(
            walk_forward_folds(
                len(timestamps),
                command.folds,
                command.first_train_fraction,
                command.scheme == "anchored",
                config.market.gap_bars,
                config.simulation.episode_length,
                LOOK_BACK_BARS,
            )
        )
        return folds[0]

    market = prepare_market(config, cut)
    _check_test_days(_test_days(market, folds))
    return market, folds


def _test_days(market: Market, folds: Sequence[Splits]) -> list[int]:
    """Trading days of every fold's test range; at its first bar nothing is earned yet."""
    import numpy as np

    return [len(np.unique(market.day[first + 1 : last])) for first, last in (splits.test for splits in folds)]


def _check_test_days(days: Sequence[int]) -> None:
    """Refuse test ranges that say nothing, before anything is trained for them."""
    from mtquant_jax.errors import UserError

    if min(days) < _FEWEST_TEST_DAYS:
        raise UserError(
            f"--folds {len(days)}: the test range of fold {days.index(min(days)) + 1} has {min(days)} trading days, "
            f"but {_FEWEST_TEST_DAYS} are needed; use fewer folds, more bars or a smaller --first-train-fraction"
        )


def _plan(command: WalkForwardCommand, folds: Sequence[Splits], days: Sequence[int]) -> str:
    """How much is about to be trained, and on how much each training is judged."""
    first, last = folds[0].test  # all are equally long
    seeds = command.num_seeds
    return (
        f"{len(folds)} folds ({command.scheme}) x {seeds} seed{'s' * (seeds != 1)} = {len(folds) * seeds} trainings "
        f"of all phases; each judged on {last - first - 1:,} bars, about {round(sum(days) / len(days))} trading days"
    )


def _notices(days: Sequence[int]) -> list[str]:
    """What the lengths of the test ranges leave to be believed."""
    from mtquant_jax.evaluation.verdict import FEWEST_DAYS_TO_JUDGE

    if min(days) >= FEWEST_DAYS_TO_JUDGE:
        return []
    return [
        f"the test range of a fold has only {min(days)} trading days; under {FEWEST_DAYS_TO_JUDGE}, the figures of a "
        "single fold say little: read those of all folds, or use fewer folds or more bars"
    ]


def _trained(
    command: WalkForwardCommand,
    configs: Sequence[TrainConfig],
    market: Market,
    folds: Sequence[Splits],
    compiler: Compiler,
    source: str,
    began: float,
    before: RunRecord | None,
    notices: Sequence[str],
) -> tuple[RunRecord, list[Fold]]:
    """Every fold trained and judged, with a line of progress after each phase, and the record of the run.

    Raises:
        Interrupted: SIGINT or SIGTERM came; every training is saved.
    """
    from mtquant_jax.evaluation.walk_forward import WalkForwardRun, run_fold
    from mtquant_jax.runs.ending import recorded_end
    from mtquant_jax.runs.identity import Identity
    from mtquant_jax.runs.run_files import new_run_id
    from mtquant_jax.runs.run_record import begun
    from mtquant_jax.runs.stopping import stop_requests
    from mtquant_jax.settings.yaml_files import write_settings
    from mtquant_jax.storage.checkpoints import CheckpointWriter, remove_unfinished
    from mtquant_jax.storage.paths import RunPaths
    from mtquant_jax.storage.recorder import RunRecorder

    paths, done, start = RunPaths(Path(command.settings.run_dir)), [], datetime.now()
    run_id = before.run_id if before else new_run_id(start)
    record = begun(before, run_id, start, (1, 2, 3), Identity.of(command.settings, market), command.flags)
    with (
        RunRecorder(paths, start, logging.WARNING) as recorder,
        CheckpointWriter() as writer,
        stop_requests() as request,
    ):
        write_settings(paths.resolved_config, command.settings)
        record.write(paths)
        remove_unfinished(paths.run_dir)
        run = WalkForwardRun(run_id, recorder, writer, before is not None, request.is_made)
        print(f"mtquant-jax walk-forward on {device()}, settings from {source}")
        print(market.description)
        days = _test_days(market, folds)
        print(_plan(command, folds, days), flush=True)
        for notice in (*market.notices, *notices, *_notices(days)):
            recorder.warning(notice)
        for number, splits in enumerate(folds, start=1):

            def tell(text: str, number: int = number) -> None:
                print(f"  fold {number}: {text} after {time.perf_counter() - began:.0f} s", flush=True)

            with recorded_end(record, began, paths, request, writer.wait):
                done.append(run_fold(configs, market, splits, run, compiler, paths.run_dir / f"fold_{number}", tell))
    return record, done


def _to_resume(command: WalkForwardCommand, paths: RunPaths) -> RunRecord | None:
    """The record of the walk-forward that is to go on; None where there is none, or none is wanted."""
    from mtquant_jax.errors import UserError
    from mtquant_jax.runs.run_record import check_resumable

    if not command.resume:
        return None
    if command.overwrite:
        raise UserError("--resume goes on with a walk-forward, and --overwrite would remove it; give one of them")
    return check_resumable(paths, command.flags)


def _same_training(before: RunRecord | None, config: TrainConfig, market: Market, paths: RunPaths) -> list[str]:
    """Notices on what differs from the walk-forward that goes on; refused where it may not differ."""
    from mtquant_jax.runs.handover import check_same_training

    return [] if before is None else check_same_training(before, config, market, paths)
