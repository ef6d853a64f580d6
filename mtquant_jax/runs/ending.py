"""How a process that trains a run ends: what the record of the run says then, and which command goes on with it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from mtquant_jax.errors import UserError
from mtquant_jax.runs.run_record import FAILED, STOPPED, RunRecord, how_to_go_on
from mtquant_jax.runs.stopping import StopRequest
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.training.divergence import Diverged
from mtquant_jax.training.observer import Stopped


@contextlib.contextmanager
def recorded_end(
    record: RunRecord,
    began: float,
    paths: RunPaths,
    request: StopRequest,
    wait: Callable[[], None],
    last_good: Callable[[Diverged], str] | None = None,
) -> Iterator[None]:
    """Record how a block ends that ends early, and say how to go on.

    Args:
        record: of the run, while it runs.
        began: `time.perf_counter` when the process began with it.
        paths: of the run.
        request: why it may have stopped.
        wait: until everything that was saved is on disk.
        last_good: what is said of the last good state of a training that diverged; None: that its policy was good.

    Raises:
        Interrupted: it was asked to stop, and everything is saved.
        UserError: what the block raised, with what to do.
    """
    command = how_to_go_on(paths.run_dir, record.walk_forward)
    try:
        yield
    except Stopped:
        wait()
        record.ended(STOPPED, time.perf_counter() - began).write(paths)
        raise request.interrupted(f"stopped and saved; this goes on with it: {command}") from None
    except Exception as error:
        with contextlib.suppress(OSError):  # of a full disk
            record.ended(FAILED, time.perf_counter() - began).write(paths)
        if isinstance(error, Diverged):
            raise error if last_good is None else UserError(f"{error.sentence}. {last_good(error)}") from None
        if isinstance(error, UserError):
            raise UserError(f"{error}; once that is mended, this goes on with it: {command}") from None
        raise
