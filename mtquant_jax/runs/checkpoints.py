"""Training states on disk: what a checkpoint holds and of which training it is, which are kept, and how one goes on."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from mtquant_jax.agents.contract import Policy
from mtquant_jax.errors import UserError
from mtquant_jax.jax_setup import device
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.runs.identity import Identity
from mtquant_jax.runs.versions import versions
from mtquant_jax.storage.checkpoints import CheckpointWriter, Damaged, check, restore
from mtquant_jax.storage.paths import RunPaths, saved_timesteps
from mtquant_jax.storage.records import JsonRecord
from mtquant_jax.training.observer import Member
from mtquant_jax.training.saved import Logbook, SavedTraining

_POLICY, _TRAINING, _BEST = "policy", "training", "best"  # folders of a checkpoint


@dataclasses.dataclass(frozen=True)
class CheckpointDescription(JsonRecord):
    """What a checkpoint says of itself."""

    run_id: str
    phase: int
    name: str  # of the asset class, meta_controller, or portfolio
    seed: int
    identity: Identity
    versions: Mapping[str, str]  # package -> version that wrote it
    device: str
    logbook: Logbook


def save_checkpoint(
    writer: CheckpointWriter,
    path: Path,
    saved: SavedTraining,
    description: CheckpointDescription,
    then: Callable[[], None] | None = None,
) -> None:
    """Save a training as Orbax checkpoints ``policy``, ``training`` and, where it is another policy, ``best``.

    The policy can be restored under another number of environments, the training only under the same. ``then`` is
    called once all of it is on disk.
    """
    state, logbook = saved.state, saved.logbook
    trees = {
        _POLICY: _policy(Policy(state.params, state.normalizers)),
        _TRAINING: dataclasses.replace(state, params={}, normalizers={}),
    }
    if saved.best is not None and logbook.best_timesteps != logbook.timesteps:
        trees[_BEST] = _policy(saved.best)
    writer.save(path, trees, description.to_json(), then)


@dataclasses.dataclass(frozen=True)
class Origin:
    """Which checkpoint is wanted."""

    run_id: str
    phase: int
    name: str  # of the asset class, meta_controller, or portfolio
    timesteps: int


def restore_policy(path: Path, origin: Origin, like: Policy) -> Policy:
    """The policy of a checkpoint.

    Args:
        path: what `save_checkpoint` wrote.
        origin: of which training, agent and step it must be.
        like: a policy of the same shapes, concrete or from ``jax.eval_shape``.

    Raises:
        Damaged: there is no such checkpoint, a byte of it is not as it was written, or it is another one.
        UserError: it has other shapes.
    """
    _checked(path, origin)
    return _restored_policy(path, _POLICY, like)


def restore_checkpoint(path: Path, origin: Origin, like: TrainState) -> SavedTraining:
    """The whole training of a checkpoint, from which it goes on bit for bit.

    Args:
        path: what `save_checkpoint` wrote.
        origin: of which training, agent and step it must be.
        like: a state of the same shapes, as from ``jax.eval_shape`` of `start_training`.

    Raises:
        Damaged: there is no such checkpoint, a byte of it is not as it was written, or it is another one.
        UserError: it has other shapes (another number of environments, say).
    """
    logbook = _checked(path, origin).logbook
    policy = _restored_policy(path, _POLICY, Policy(like.params, like.normalizers))
    training = restore(path, _TRAINING, dataclasses.replace(like, params={}, normalizers={}))
    state = dataclasses.replace(training, params=policy.params, normalizers=policy.normalizers)
    if logbook.best_timesteps is None:
        return SavedTraining(state, None, logbook)
    if logbook.best_timesteps != logbook.timesteps:
        return SavedTraining(state, _restored_policy(path, _BEST, policy), logbook)
    return SavedTraining(state, jax.tree.map(jnp.copy, policy), logbook)  # the state is donated


def _checked(path: Path, origin: Origin) -> CheckpointDescription:
    """What a checkpoint says of itself, once it is known to be the one that is wanted, as it was written."""
    content = check(path)
    try:
        found = CheckpointDescription.from_json(content, f"checkpoint {path}")
    except UserError as error:
        raise Damaged(str(error)) from None
    pairs = {
        "training": (found.run_id, origin.run_id),
        "phase": (found.phase, origin.phase),
        "agent": (found.name, origin.name),
        "timesteps": (found.logbook.timesteps, origin.timesteps),
    }
    for what, (there, wanted) in pairs.items():
        if there != wanted:
            raise Damaged(
                f"checkpoint {path} is of {what} {there}, and {what} {wanted} is expected there; copy a run directory "
                "as a whole, or train again"
            )
    return found


def _policy(policy: Policy) -> dict[str, Any]:
    return {"params": policy.params, "normalizers": policy.normalizers}


def _restored_policy(path: Path, name: str, like: Policy) -> Policy:
    return Policy(**restore(path, name, _policy(like)))


@dataclasses.dataclass
class Checkpoints:
    """The checkpoints of a run while it is trained: written in the background, pruned, and gone on from."""

    paths: RunPaths
    run_id: str
    identity: Identity
    writer: CheckpointWriter
    keep: int  # newest ones of each training, at least two; the best one stays besides
    resumes: bool  # whether trainings go on from those that are there
    place: Callable[[RunPaths, Member, int], Path]  # of a checkpoint after so many timesteps
    warn: Callable[[str], None]  # tells the user of a loss

    def save(self, member: Member, saved: SavedTraining) -> Path:
        """Write it in the background, and then remove those that are no longer needed."""
        path = self.place(self.paths, member, saved.logbook.timesteps)
        prune = functools.partial(self._prune, member, saved.logbook.best_timesteps)
        save_checkpoint(self.writer, path, saved, self._description(member, saved.logbook), prune)
        return path

    def save_mean(self, member: Member, policy: Policy, logbook: Logbook) -> Path:
        """Write a policy that is the mean of a finished training's last one and others, beside its last checkpoint."""
        last = self.place(self.paths, member, logbook.timesteps)
        path = last.with_name(f"{last.name}_mean")
        self.writer.save(path, {_POLICY: _policy(policy)}, self._description(member, logbook).to_json())
        return path

    def _description(self, member: Member, logbook: Logbook) -> CheckpointDescription:
        return CheckpointDescription(
            run_id=self.run_id,
            phase=member.phase,
            name=member.name,
            seed=member.seed,
            identity=self.identity,
            versions=versions(),
            device=device(),
            logbook=logbook,
        )

    def earlier(self, members: Sequence[Member], like: Sequence[TrainState]) -> list[SavedTraining] | None:
        """The newest training of all members after the same chunk that is intact; None: there is none.

        A checkpoint that is damaged is passed over, and the user is told what is trained again.
        """
        if not self.resumes:
            return None
        times = sorted(set.intersection(*(set(self._saved(member)) for member in members)), reverse=True)
        for timesteps in times:
            try:
                return [self._restored(member, timesteps, state) for member, state in zip(members, like, strict=True)]
            except Damaged as error:
                older = [time for time in times if time < timesteps]
                instead = f"the one after {older[0]:,} timesteps is used" if older else "the training begins anew"
                self.warn(f"{error}; {instead}, and what came after it is trained again")
        return None

    def remove(self) -> None:
        """Remove all of them."""
        for phase in (1, 2, 3):
            shutil.rmtree(self.paths.checkpoints(phase), ignore_errors=True)

    def _restored(self, member: Member, timesteps: int, like: TrainState) -> SavedTraining:
        origin = Origin(self.run_id, member.phase, member.name, timesteps)
        return restore_checkpoint(self.place(self.paths, member, timesteps), origin, like)

    def _saved(self, member: Member) -> list[int]:
        """Timesteps after which there are checkpoints of a member."""
        return [timesteps for timesteps in saved_timesteps(self.paths, member.phase) if self._at(member, timesteps)]

    def _at(self, member: Member, timesteps: int) -> bool:
        return self.place(self.paths, member, timesteps).is_dir()

    def _prune(self, member: Member, best: int | None) -> None:
        """Remove all checkpoints of a member but the newest and the best."""
        newest = sorted(self._saved(member), reverse=True)
        for timesteps in newest[self.keep :]:
            if timesteps not in (best, 0):  # a starting point may be handed on after all
                path = self.place(self.paths, member, timesteps)
                shutil.rmtree(path, ignore_errors=True)
                folder = self.paths.checkpoint(member.phase, timesteps)
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def checkpoint_path(paths: RunPaths, phase: int, name: str, timesteps: int) -> Path:
    """Where a run keeps the checkpoint of an agent: specialists of phase 1 lie side by side."""
    folder = paths.checkpoint(phase, timesteps)
    return folder / name if phase == 1 else folder


def of_run(paths: RunPaths, member: Member, timesteps: int) -> Path:
    """Where a run keeps a member's checkpoint."""
    return checkpoint_path(paths, member.phase, member.name, timesteps)


def of_fold(paths: RunPaths, member: Member, timesteps: int) -> Path:
    """Where a fold of a walk-forward keeps a member's checkpoint."""
    return paths.checkpoint(member.phase, timesteps) / f"seed_{member.seed}" / member.name
