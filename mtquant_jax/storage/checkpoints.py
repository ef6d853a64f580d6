"""Turns training states into Orbax checkpoints and back, bit for bit.

Arrays are written by name (see `arrays`), so a checkpoint from a GPU opens on a CPU and the state of an optimiser needs
no special treatment.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mtquant_jax.errors import UserError
from mtquant_jax.storage.arrays import empty_arrays, from_named_arrays, to_named_arrays

if TYPE_CHECKING:  # Orbax takes a third of a second to import, and is not needed before the first checkpoint
    import orbax.checkpoint as ocp


def _handler() -> ocp.PyTreeCheckpointHandler:
    import orbax.checkpoint as ocp

    # One OCDBT store of zarr v2 arrays: ten files instead of two per array, and the fastest of the four combinations.
    return ocp.PyTreeCheckpointHandler(use_ocdbt=True, use_zarr3=False)


class CheckpointWriter:
    """Writes checkpoints in the background; the end of the ``with`` block waits for the last one.

    A checkpoint appears under its name only when it is complete, and replaces an older one of that name.
    """

    def __enter__(self) -> CheckpointWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._has_saved:
            self._checkpointer.close()  # waits first

    def save(self, path: Path, tree: Any) -> None:
        """Copy a pytree to the host and start writing it to the directory `path`.

        The arrays may be donated or overwritten once this returns. An error of the previous save is raised here.

        Args:
            path: directory of the checkpoint.
            tree: any pytree of arrays, typed PRNG keys and numbers.
        """
        # Orbax refuses arrays without elements; `restore` creates them again.
        arrays = {name: array for name, array in to_named_arrays(tree).items() if array.size}
        import orbax.checkpoint as ocp

        self._checkpointer.save(path.absolute(), ocp.args.PyTreeSave(arrays), force=True)

    def wait(self) -> None:
        """Wait until everything is on disk, and raise errors of the background thread."""
        if self._has_saved:
            self._checkpointer.wait_until_finished()

    @cached_property
    def _checkpointer(self) -> ocp.AsyncCheckpointer:
        import orbax.checkpoint as ocp

        return ocp.AsyncCheckpointer(_handler())

    @property
    def _has_saved(self) -> bool:
        return "_checkpointer" in vars(self)


def restore(path: Path, like: Any) -> Any:
    """Read a checkpoint.

    Args:
        path: directory of the checkpoint.
        like: a pytree of the structure that was saved, concrete or from `jax.eval_shape`.

    Returns:
        a pytree like `like` with the arrays that were saved.

    Raises:
        UserError: the checkpoint is missing or incomplete, or its arrays do not match `like`.
    """
    path = path.absolute()
    if not path.is_dir():
        raise UserError(f"checkpoint {path} does not exist; was the run directory cleaned or copied incompletely?")
    import orbax.checkpoint as ocp

    try:
        with ocp.Checkpointer(_handler()) as checkpointer:
            arrays = checkpointer.restore(path, args=ocp.args.PyTreeRestore())
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"checkpoint {path} cannot be read: {reason}") from error
    return from_named_arrays({**empty_arrays(like), **arrays}, like, f"checkpoint {path}")
