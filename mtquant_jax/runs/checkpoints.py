"""Training states on disk: the policy, and the rest that training needs, as two Orbax checkpoints side by side."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from mtquant_jax.agents.contract import Policy
from mtquant_jax.learning.contract import TrainState
from mtquant_jax.storage.checkpoints import CheckpointWriter, restore


def save_checkpoint(writer: CheckpointWriter, path: Path, state: TrainState) -> None:
    """Save a training state as two Orbax checkpoints, ``policy`` and ``training``.

    The policy can be restored under another number of environments, the training only under the same.
    """
    writer.save(path / "policy", {"params": state.params, "normalizers": state.normalizers})
    writer.save(path / "training", dataclasses.replace(state, params={}, normalizers={}))


def restore_policy(path: Path, like: Policy) -> Policy:
    """The policy of a checkpoint.

    Args:
        path: what `save_checkpoint` wrote.
        like: a policy of the same shapes, concrete or from ``jax.eval_shape``.

    Raises:
        UserError: there is no such checkpoint, or it has other shapes.
    """
    return Policy(**restore(path / "policy", {"params": like.params, "normalizers": like.normalizers}))


def restore_checkpoint(path: Path, like: TrainState) -> TrainState:
    """The whole training state of a checkpoint, from which training goes on bit for bit.

    Args:
        path: what `save_checkpoint` wrote.
        like: a state of the same shapes, as from ``jax.eval_shape`` of `start_training`.

    Raises:
        UserError: there is no such checkpoint, or it has other shapes (another number of environments, say).
    """
    policy = restore_policy(path, Policy(like.params, like.normalizers))
    training = restore(path / "training", dataclasses.replace(like, params={}, normalizers={}))
    return dataclasses.replace(training, params=policy.params, normalizers=policy.normalizers)
