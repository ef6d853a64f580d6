"""A training in a run directory: the trainer, watched by what writes logs, metrics, checkpoints, models and results."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax import processes
from mtquant_jax.errors import UserError
from mtquant_jax.jax_setup import device
from mtquant_jax.market.prepare import GIVEN, Market, prepare_market
from mtquant_jax.runs.checkpoints import Checkpoints, of_run
from mtquant_jax.runs.display import Display, LiveDisplay, shows_live
from mtquant_jax.runs.ending import recorded_end
from mtquant_jax.runs.following import check_same_in_all, follow
from mtquant_jax.runs.handover import check_same_market, check_same_training, earlier_results, restore_policies
from mtquant_jax.runs.phase_results import read_summary
from mtquant_jax.runs.run_directory import check_free, check_not_running, check_paths, claimed, clear, named
from mtquant_jax.runs.run_files import RunFiles, new_run_id
from mtquant_jax.runs.run_observer import RunObserver
from mtquant_jax.runs.run_record import FINISHED, RunRecord, begun, check_resumable, how_to_evaluate
from mtquant_jax.runs.stopping import stop_requests
from mtquant_jax.settings.checks import parse_phases, validate
from mtquant_jax.settings.config import READING, TrainConfig
from mtquant_jax.settings.dotted import values_of
from mtquant_jax.storage.checkpoints import CheckpointWriter, remove_unfinished
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.storage.recorder import Output, RunRecorder
from mtquant_jax.storage.trackers import open_tracker
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.diagnosis import grouped
from mtquant_jax.training.observer import Progress
from mtquant_jax.training.placement import check_devices
from mtquant_jax.training.trainer import META_CONTROLLER, PORTFOLIO, HierarchyPolicies, train_phases
from mtquant_jax.types import Bars
from mtquant_jax.version import __version__


def run(
    config: TrainConfig,
    config_source: str,
    market: Market | None = None,
    on_chunk: Callable[[Progress], None] | None = None,
    output: Output | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> dict[str, Any]:
    """Train the phases a configuration asks for and write everything a run leaves on disk.

    Args:
        config: the resolved settings; the same in all processes that train together.
        config_source: where they come from, for the log.
        market: prepared with these settings; None prepares it. Bars that it was given are written to the run.
        on_chunk: called after every chunk of every training.
        output: what is printed; the log has all of it. None: a line per checkpoint.
        overwrite: replace the training that the run directory holds, and its evaluation.
        resume: go on with the training that the run directory holds, from its newest checkpoints.

    Returns:
        The content of ``training_summary.json``, also in processes that only follow the first.

    Raises:
        UserError: bad settings or data, a directory that holds another training or cannot be written, or a phase
            without the results it needs; raised before anything is written. Later where a training diverges.
        Interrupted: SIGINT or SIGTERM came; the training is saved, and can be resumed.
    """
    began, output = time.perf_counter(), output or Output()
    start, is_first = datetime.fromisoformat(processes.from_first(datetime.now().isoformat())), processes.is_first()
    config = dataclasses.replace(config, run_dir=named(config.run_dir, start))
    validate(config)
    paths, wanted = RunPaths(Path(config.run_dir)), parse_phases(config.phases)
    with processes.agreed():  # none writes before all of them have read what is there
        check_devices(config, wanted)
        if is_first:
            check_not_running(paths)
        before = _to_resume(paths, overwrite) if resume else None
        if before is None:
            _check_directory(paths, wanted, overwrite)
        elif before.state == FINISHED and paths.training_summary.is_file():
            return _nothing_to_do(paths, output)
        config, market, results, notices = _prepared(config, paths, wanted, market)
        bars = market.given
        if bars is not None:
            config, market = _with_bars_of_run(config, market, paths)
        if before is not None:
            notices += check_same_training(before, config, market, paths)
        policies = restore_policies(config, paths, market, results)
    run_id = before.run_id if before else processes.from_first(new_run_id(start))
    check_same_in_all(config, market, run_id)
    if not is_first:
        return follow(config, market, run_id, policies)
    session = _Session(RunFiles(config, paths, market, run_id), wanted, before, output, start, began)
    with _owned(paths, wanted, before is not None, overwrite, bars):
        return session.train(policies, results, notices, config_source, on_chunk)


@contextlib.contextmanager
def _owned(paths: RunPaths, wanted: Sequence[int], goes_on: bool, overwrite: bool, bars: Bars | None) -> Iterator[None]:
    """A block in which the directory is this training's, with the bars that it was given and nothing stale in it."""
    with claimed(paths):
        if not goes_on:
            _check_directory(paths, wanted, overwrite)  # another training may have come and gone since
            clear(paths, wanted, all_of_it=overwrite)
        if bars is not None:
            _keep_bars(bars, paths)
        yield


@dataclasses.dataclass(frozen=True)
class _Session:
    """One process that trains a run."""

    files: RunFiles
    wanted: Sequence[int]
    before: RunRecord | None  # of the processes before; None where it begins the run
    output: Output
    start: datetime
    began: float  # of `time.perf_counter`

    def train(
        self,
        policies: HierarchyPolicies,
        results: dict[int, dict[str, Any]],
        notices: Sequence[str],
        config_source: str,
        on_chunk: Callable[[Progress], None] | None,
    ) -> dict[str, Any]:
        """Train, write everything, and return the summary."""
        files = self.files
        paths, config, compiler = files.paths, files.config, Compiler.of(files.config)
        display, show = _display(self.output, config, self.wanted)
        recording = RunRecorder(paths, self.start, self.output.level, self.output.as_json, show)
        with recording as recorder, CheckpointWriter() as writer, stop_requests() as request, display:
            setup = time.perf_counter() - self.began
            _introduce(recorder, files, notices, config_source, setup)
            record = begun(self.before, files.run_id, self.start, self.wanted, files.identity)
            record.write(paths)
            if config.tracker != "none":
                recorder.report_to(open_tracker(config.tracker, paths.run_dir, files.run_id, values_of(config)))
            remove_unfinished(paths.run_dir)
            resumes = self.before is not None
            checkpoints = Checkpoints(
                paths, files.run_id, files.identity, writer, config.keep, resumes, of_run, recorder.warning
            )
            observer = RunObserver(recorder, checkpoints, compiler, files, results, on_chunk, request.is_made, display)
            with recorded_end(record, self.began, paths, request, observer.wait, observer.last_good):
                train_phases(
                    config, files.market, phases=self.wanted, start=policies, observer=observer, compiler=compiler
                )
            total = time.perf_counter() - self.began
            seconds = {"total": total, "setup": setup, "compile": compiler.seconds}
            summary = files.write_summary(self.wanted, record, seconds, results)
            record.ended(FINISHED, total).write(paths)
            recorder.results(_validations(results) | {"seconds": total})
            _conclude(recorder, files, summary, results, total)
        processes.from_first("written")
        return summary


def _validations(results: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """Sharpe ratio, return and drawdown on the validation split of what each phase handed on, by name."""
    agents: dict[str, Mapping[str, Any]] = {}
    for phase, content in results.items():
        found = content["specialists"] if phase == 1 else {name: content[name] for name in _HANDED_ON[phase]}
        agents |= {f"phase{phase}/{name}": handed["validation"] for name, handed in found.items()}
    kept = ("sharpe", "total_return", "max_drawdown")
    return {f"{agent}/validation_{key}": figures[key] for agent, figures in agents.items() for key in kept}


_HANDED_ON = {2: (META_CONTROLLER,), 3: (PORTFOLIO,)}


def _display(
    output: Output, config: TrainConfig, wanted: Sequence[int]
) -> tuple[Display, Callable[[str], None] | None]:
    """What shows the training besides lines, and what prints lines where that must be known to it."""
    if not (output.live and not output.as_json and output.level <= logging.INFO and shows_live(sys.stdout)):
        return Display(), None
    live = LiveDisplay(sys.stdout, wanted, {phase: config.timesteps(phase) for phase in wanted}, config.parallel)
    return live, live.show


def _to_resume(paths: RunPaths, overwrite: bool) -> RunRecord:
    """The record of the training that is to go on."""
    if overwrite:
        raise UserError("`resume` goes on with a training, and `overwrite` would remove it; give one of them")
    check_paths(paths)
    return check_resumable(paths)


def _nothing_to_do(paths: RunPaths, output: Output) -> dict[str, Any]:
    """The summary of a training that is finished."""
    if output.level <= logging.INFO and not output.as_json and processes.is_first():
        print(f"the training in {paths.run_dir} is finished; nothing is left to resume")
    return read_summary(paths, "resuming a training")


def _prepared(
    config: TrainConfig, paths: RunPaths, wanted: Sequence[int], market: Market | None
) -> tuple[TrainConfig, Market, dict[int, dict[str, Any]], list[str]]:
    """Settings, market, results of earlier phases that fit both, and notices for the user."""
    config, results, notices = earlier_results(config, paths, wanted)
    market = prepare_market(config) if market is None else market
    notices += check_same_market(config, market, paths, results)
    if market.given is not None and (num_paths := np.shape(market.given.close)[0]) != 1:
        raise UserError(f"`run_dir` {paths.run_dir}: a run on disk needs bars of one path, not {num_paths}")
    return config, market, results, [*market.notices, *notices]


def _check_directory(paths: RunPaths, wanted: Sequence[int], overwrite: bool) -> None:
    """Whether a training of these phases may write into the directory, and can."""
    check_paths(paths)
    if wanted[0] == 1:
        check_free(paths, overwrite)
    elif overwrite:
        raise UserError(
            f"`overwrite` would replace the earlier phases that `phases` {','.join(map(str, wanted))} continue; leave "
            "it out, for a phase that is trained again replaces itself and those after it"
        )


def _with_bars_of_run(config: TrainConfig, market: Market, paths: RunPaths) -> tuple[TrainConfig, Market]:
    """The settings that name the bars given in Python as the run directory holds them: a run can be repeated."""
    whole = dataclasses.replace(config.market, start="", end="")
    usual = TrainConfig()
    read = {name: getattr(usual, name) for name in READING if name != "broker_timezone"} | {"zero_spread": "keep"}
    config = dataclasses.replace(config, data_dir=str(paths.bars), timeframe="files", market=whole, **read)
    return config, dataclasses.replace(market, description=market.description.replace(GIVEN, f"bars of {paths.bars}"))


def _keep_bars(bars: Bars, paths: RunPaths) -> None:
    """Write bars given in Python into the run directory."""
    from mtquant_jax.market.bars.parquet import write_bars  # brings pyarrow

    try:
        write_bars(bars, paths.bars)
    except OSError as error:
        raise UserError(f"{paths.bars} cannot be written: {error.strerror}") from None


def _introduce(record: RunRecorder, files: RunFiles, notices: Sequence[str], config_source: str, setup: float) -> None:
    """Write the resolved settings, and lines on what is about to happen."""
    config, market = files.config, files.market
    record.settings(files.write_settings())
    record.note(f"mtquant-jax {__version__} on {device()}, settings from {config_source}")
    record.info(f"{market.description}; ready in {setup:.1f} s")
    for notice in notices:
        record.warning(notice)
    for phase in parse_phases(config.phases):
        timesteps = config.timesteps(phase)
        num_envs, num_steps = phases.rollout_of(config, phase)
        rounded = phases.updates_for(config, phase) * num_envs * num_steps
        if rounded != timesteps:
            record.info(
                f"phase {phase}: {timesteps:,} timesteps are rounded up to {rounded:,}, whole updates of "
                f"{num_envs} environments x {num_steps} steps"
            )


def _conclude(
    record: RunRecorder, files: RunFiles, summary: dict[str, Any], results: Mapping[int, Any], seconds: float
) -> None:
    """Lines on what went wrong, if anything, on what was not handed on, and where the summary lies."""
    findings = summary["diagnosis"]
    for finding in findings:
        record.note(f"phase {finding['phase']}: {finding['sentence']}", logging.WARNING)
    for group in grouped(findings):
        event = {"event": "diagnosis", "kind": group.kind, "findings": list(group.findings)}
        record.warning(group.what, group.to_do, event, shown_only=True)
    specialists = results[1]["specialists"]
    without = [name for name, report in specialists.items() if (report.get("evidence") or {}).get("tilt") == 0.0]
    if without:
        who = "any specialist" if len(without) == len(specialists) else " or ".join(without)
        record.info(
            f"no evidence for {who} on bars that were not trained on: the {files.config.anchor.replace('_', ' ')} "
            "anchor is handed on instead; `tilt` whole hands on what was learnt all the same"
        )
    elif not findings:
        record.info("no policy is flat, pinned to a bound or worse than flat after costs")
    record.info(f"done in {seconds:.1f} s; summary in {files.paths.training_summary}")
    record.info(f"next: {how_to_evaluate(files.paths.run_dir)}")
