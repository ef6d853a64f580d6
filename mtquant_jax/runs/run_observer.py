"""Turns the events of a training into a run's log, metrics, checkpoints, models and phase results."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mtquant_jax import processes
from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.evidence import Evidence
from mtquant_jax.backtest.performance import Performance, describe
from mtquant_jax.backtest.verdict import describe_evidence, evidence_numbers
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.runs.checkpoints import Checkpoints, checkpoint_path
from mtquant_jax.runs.display import Display
from mtquant_jax.runs.following import decided_before
from mtquant_jax.runs.progress import record_chunk, record_curriculum
from mtquant_jax.runs.run_files import RunFiles, listed
from mtquant_jax.storage.recorder import RunRecorder
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.curriculum import Curriculum
from mtquant_jax.training.diagnosis import Finding, diagnose, diagnose_training
from mtquant_jax.training.divergence import Diverged
from mtquant_jax.training.observer import Member, Progress, TrainingObserver
from mtquant_jax.training.outcome import Outcome
from mtquant_jax.training.saved import Logbook, SavedTraining
from mtquant_jax.training.trainer import META_CONTROLLER

_TITLES = {
    1: "specialists learn their asset classes",
    2: "the meta-controller learns to give them capital",
    3: "joint fine-tuning of all agents",
}


_RESUMED = {True: "trained before", False: "goes on from its checkpoint"}


class RunObserver(TrainingObserver):
    """Writes what a run leaves on disk while it is trained."""

    def __init__(
        self,
        recorder: RunRecorder,
        checkpoints: Checkpoints,
        compiler: Compiler,
        files: RunFiles,
        results: dict[int, dict[str, Any]],
        on_chunk: Callable[[Progress], None] | None = None,
        stops: Callable[[], bool] = lambda: False,
        display: Display | None = None,
    ) -> None:
        """What to write to.

        Args:
            recorder: of the run.
            checkpoints: of the run.
            compiler: whose seconds count.
            files: of the run.
            results: of earlier phases; those of this run are added to them phase by phase.
            on_chunk: called after every chunk.
            stops: whether to stop after this chunk.
            display: shows the training besides the recorder's lines.
        """
        self._display = display or Display()
        self._on_chunk, self._stops = on_chunk, stops
        self._recorder, self._checkpoints, self._compiler, self._files = recorder, checkpoints, compiler, files
        self._results = results
        self._reports: dict[str, dict[str, Any]] = {}
        self._findings: list[Finding] = []
        self._equal_allocation: Performance | None = None
        self._saved: dict[tuple[int, str], tuple[Path, Logbook]] = {}  # phase, member -> its last checkpoint
        self._began = (0.0, 0.0)

    def phase_begins(self, phase: int, members: Sequence[Member]) -> None:
        """Validate what phase 2 is compared with."""
        self._began = time.perf_counter(), self._compiler.seconds
        self._reports, self._findings = {}, []
        self._recorder.info(f"phase {phase}: {_TITLES[phase]}", {"event": "phase", "phase": phase})
        self._display.phase_begins(phase, members)
        if all(member.plan.total_updates == 0 for member in members):
            self._recorder.info("  nothing to learn: no specialist has evidence, and the anchor is a flat account")
        if phase == 2:
            (member,) = members
            self._equal_allocation = member.validate(phases.equal_allocation(member.plan.start)).performance
            self._recorder.info(f"  equal allocation             validation {describe(self._equal_allocation)}")

    def earlier(self, members: Sequence[Member], like: Sequence[TrainState]) -> list[SavedTraining] | None:
        """Read it from the newest checkpoint, where the run is resumed, and forget the metrics of what came after."""
        found = self._checkpoints.earlier(members, like)
        processes.from_first(str(found[0].logbook.timesteps) if found else "")  # for each `Follower`
        if self._checkpoints.resumes:
            for index, member in enumerate(members):
                self._recorder.keep_metrics(member.phase, member.name, found[index].logbook.timesteps if found else 0)
        for member, saved in zip(members, found or (), strict=False):
            logbook = saved.logbook
            if logbook.total_timesteps:
                done = f"{logbook.timesteps:>11,}/{logbook.total_timesteps:,}"
                self._recorder.info(f"  {member.name:<16} {done}  {_RESUMED[logbook.finished]}")
            self._display.resumed(member, logbook.timesteps, logbook.total_timesteps)
            self._saved[member.phase, member.name] = self._checkpoint_path(member, logbook.timesteps), logbook
        return found

    def checkpoint(self, member: Member, saved: SavedTraining) -> None:
        """Save it in the background."""
        self._saved[member.phase, member.name] = self._checkpoints.save(member, saved), saved.logbook
        if saved.logbook.timesteps == 0:
            found = saved.logbook.history[-1].performance
            self._recorder.info(f"  {'starting point':<28} validation {describe(found)}")

    def stops(self) -> bool:
        """Whether someone wants the run to stop, in any of its processes."""
        return processes.in_any(self._stops())

    def wait(self) -> None:
        """Until every checkpoint is on disk."""
        self._checkpoints.writer.wait()

    def last_good(self, error: Diverged) -> str:
        """Where the last good state of a training that diverged lies, in words."""
        saved = self._saved.get((error.phase, error.name))
        if saved is None:
            return "No checkpoint of it had been saved"
        return f"Its last good checkpoint is {saved[0]} (after {saved[1].timesteps:,} timesteps)"

    def chunk(self, progress: Progress) -> None:
        """Write a row of metrics and a line, once the checkpoint before the chunk is on disk.

        What is shown as done is then never further from a checkpoint than `save_freq`, whenever the process is killed.
        """
        self.wait()
        record_chunk(self._recorder, progress, progress.member.name)
        self._display.chunk(progress)
        if self._on_chunk is not None:
            self._on_chunk(progress)

    def curriculum_opens(self, member: Member, curriculum: Curriculum, opened: Sequence[str]) -> None:
        """Write a line."""
        record_curriculum(self._recorder, member.name, curriculum, opened)

    def decided(self, member: Member) -> tuple[Evidence, Policy | None] | None:
        """What the results of phase 1 say, where the run is resumed and had them."""
        files = self._files
        found = decided_before(files.paths, files.run_id, member) if self._checkpoints.resumes else None
        processes.from_first("known" if found else "")
        return found

    def trains_without(self, members: Sequence[Member], folds: int) -> None:
        """Write a line: it takes as long as so many trainings."""
        names = list(dict.fromkeys(member.name for member in members))
        who, verb = f"{', '.join(names):<16}", "are" if len(names) > 1 else "is"
        self._recorder.info(f"  {who} {verb} trained {folds} times more, each time without a part of the bars")
        self._display.trains_without(members, folds)

    def trained_without(self, share: float) -> None:
        """Show it."""
        self._display.trained_without(share)

    def trained(self, member: Member, outcome: Outcome) -> None:
        """Write the models that a member's training hands on, and keep its report.

        Its last checkpoint is on disk before the next training begins: what is finished is never trained again.
        """
        self.wait()
        if outcome.evidence is not None:
            anchor = self._files.config.anchor
            for line in describe_evidence(outcome.evidence, member.phase, anchor, outcome.timesteps):
                self._recorder.info(f"  {member.name:<16} {line}")
            numbers = evidence_numbers(outcome.evidence)
            self._recorder.closing(member.phase, member.name, outcome.timesteps, numbers)
        self._write_models(member, outcome)
        continuous = member.validate(outcome.policy, whole_lots=False).performance
        checkpoint = self._checkpoint_path(member, outcome.best_timesteps)
        if outcome.averaged is not None:
            checkpoint = self._checkpoints.save_mean(
                member, outcome.averaged, self._saved[member.phase, member.name][1]
            )
        report = self._files.report(outcome, checkpoint, self._model_path(member), continuous)
        self._reports[member.name] = {**self._symbols(member), **report}
        self._findings += self._diagnose(member, outcome, continuous)

    def phase_ends(self, phase: int) -> None:
        """Write the results once every checkpoint that they name is on disk."""
        self.wait()
        wall, compiling = (now - then for now, then in zip(self._now(), self._began, strict=True))
        seconds = {"total": wall, "compile": compiling, "run": wall - compiling}
        timesteps = self._files.config.timesteps(phase)
        self._results[phase] = self._files.write_results(phase, timesteps, seconds, self._result(phase))
        self._recorder.info(f"phase {phase} took {wall:.1f} s, of which {compiling:.1f} s compiling")

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), self._compiler.seconds

    def _result(self, phase: int) -> dict[str, Any]:
        """What the results of a phase hold of their own."""
        diagnosis = {"diagnosis": listed(self._findings)}
        if phase == 1:
            return {"parallel": self._files.config.parallel, "specialists": self._reports, **diagnosis}
        origin = {"specialists_from": self._results[1]["run_id"]}
        if phase == 2 and (equal := self._equal_allocation) is not None:
            return {**origin, "equal_allocation": equal.to_json(), **self._reports, **diagnosis}
        return {**origin, "meta_controller_from": self._results[2]["run_id"], **self._reports, **diagnosis}

    def _symbols(self, member: Member) -> dict[str, list[str]]:
        """The instruments of a specialist."""
        if member.phase > 1:
            return {}
        (asset_class,) = (c for c in self._files.market.universe.classes if c.name == member.name)
        return {"symbols": list(asset_class.symbols)}

    def _checkpoint_path(self, member: Member, timesteps: int) -> Path:
        return checkpoint_path(self._files.paths, member.phase, member.name, timesteps)

    def _model_path(self, member: Member) -> Path:
        paths = self._files.paths
        return paths.specialist_bundle(member.name) if member.phase == 1 else paths.meta_bundle

    def _write_models(self, member: Member, outcome: Outcome) -> None:
        names = [asset_class.name for asset_class in self._files.market.universe.classes]
        if member.phase == 1:
            self._files.write_specialist(names.index(member.name), outcome.policy, 1, outcome)
        elif member.phase == 2:
            self._files.write_meta(outcome.policy, 2, outcome, phases.specialists_under(member.plan))
        else:
            self._files.write_hierarchy(outcome)

    def _diagnose(self, member: Member, outcome: Outcome, continuous: Performance) -> list[Finding]:
        """What has collapsed in what a member hands on, be it its starting point."""
        classes = {c.name: c.symbols for c in self._files.market.universe.classes}
        looks = 1 if outcome.best_timesteps == outcome.timesteps else len(outcome.history)  # that it was chosen from
        if _is_anchor(member, outcome):
            return []  # which is what is said of it
        if member.phase == 1:
            own = {member.name: classes[member.name]}
            found = diagnose(member.name, outcome.validation, own, continuous, looks=looks)
        else:
            # Phase 2 leaves the specialists as they are: the findings of phase 1 cover their positions.
            trained = classes if member.phase == 3 else {}
            handed_on = f"the starting point of phase {member.phase}, handed on"
            note = handed_on if outcome.best_timesteps == 0 else ""
            places = (*classes, "cash")
            found = diagnose(member.name, outcome.validation, trained, continuous, META_CONTROLLER, places, note, looks)
        updates = outcome.timesteps // member.plan.program.timesteps_per_update
        metrics = outcome.training_metrics
        return found + [finding for agent in metrics for finding in diagnose_training(agent, metrics[agent], updates)]


def _is_anchor(member: Member, outcome: Outcome) -> bool:
    """Whether a training hands the anchor on, for want of evidence."""
    if member.phase == 1:
        return outcome.evidence is not None and outcome.evidence.tilt == 0.0
    return outcome.best_timesteps == 0 and not phases.tilting(member.plan)
