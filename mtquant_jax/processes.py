"""The processes that train one run together: how they find each other, and what they agree on between chunks.

All of them run the same program over the devices of all. The first one alone writes files and prints; a process that is
alone is the first.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mtquant_jax.errors import Interrupted, UserError

_NEEDED = ("`coordinator`", "`num_processes`", "`process_id`")


@contextlib.contextmanager
def joined(
    coordinator: str, num_processes: int, process_id: int, devices: int, environment: Mapping[str, str] = os.environ
) -> Iterator[None]:
    """Train with other processes inside the block, which begins before JAX computes anything.

    Nothing happens where this process is alone. Under SLURM the tasks of one step find each other without being told;
    ``num_processes`` 1 keeps them apart.

    Args:
        coordinator: host and port of the first process, ``node1:1234``; empty where SLURM says it.
        num_processes: that train together; 0 where SLURM says it.
        process_id: of this one, from 0 on; -1 where SLURM says it.
        devices: of this process that train.
        environment: variables of SLURM.

    Raises:
        UserError: some are missing, the others cannot be reached, or one of them is lost in the block.
    """
    found = _how_to_join(coordinator, num_processes, process_id, devices, environment)
    if found is None:
        yield
        return
    import jax

    # On a CPU programs would overlap, and what they exchange would arrive in another order in each process.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        jax.distributed.initialize(**found, shutdown_timeout_seconds=_FAREWELL_SECONDS)
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"the processes of this training do not find each other: {_first_line(error)}") from None
    try:
        yield
    except (Interrupted, _Agreed):
        raise  # as in all of them
    except BaseException as error:
        is_users = isinstance(error, UserError)
        lost = not is_users and _LOST.search(str(error))
        _leave_without_farewell(2 if is_users or lost else 1)
        if lost:
            raise UserError(
                f"another process of this training has ended ({_first_line(error)}); start all of them again with "
                "`resume`"
            ) from None
        raise


_FAREWELL_SECONDS = 30  # that a process waits for the others at its end
_LOST = re.compile(r"gloo|nccl|coordination|connection (reset|closed|refused)", re.IGNORECASE)


def _how_to_join(
    coordinator: str, num_processes: int, process_id: int, devices: int, environment: Mapping[str, str]
) -> dict[str, Any] | None:
    """Arguments of `jax.distributed.initialize`; None where this process is alone."""
    given = (bool(coordinator), num_processes > 0, process_id >= 0)
    if num_processes == 1 and not (coordinator or process_id > 0):
        return None
    if not any(given):
        if not _in_slurm(environment):
            return None
        # JAX gives a task one device, its own by number; here it may have several.
        local = int(environment.get("SLURM_LOCALID", "0"))
        own = list(range(local * devices, (local + 1) * devices))
        return {"cluster_detection_method": "slurm", "local_device_ids": own}
    if not all(given):
        missing = " and ".join(name for name, there in zip(_NEEDED, given, strict=True) if not there)
        raise UserError(f"{missing} missing: processes that train together need {', '.join(_NEEDED)}")
    if process_id >= num_processes:
        raise UserError(f"`process_id` {process_id}: must be below `num_processes` {num_processes}; it counts from 0")
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdecimal()):
        raise UserError(f"`coordinator` {coordinator}: must be host and port of process 0, such as node1:1234")
    return {"coordinator_address": coordinator, "num_processes": num_processes, "process_id": process_id}


def _in_slurm(environment: Mapping[str, str]) -> bool:
    """Whether this is one of several tasks of a SLURM step."""
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "") if "SLURM_PROCID" in environment else ""
    return tasks.isdecimal() and int(tasks) > 1


def _leave_without_farewell(code: int) -> None:
    """Let this process end at once: the others may be waiting for it in the middle of a program, and not at their end.

    They notice that it has gone.
    """

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)  # before what JAX has registered


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def count() -> int:
    """Processes that train together."""
    import jax

    return jax.process_count()


def is_first() -> bool:
    """Whether this process writes files and prints."""
    import jax

    return jax.process_index() == 0


def from_first(text: str) -> str:
    """A text of the first process, in all of them; each calls it at the same point."""
    if count() == 1:
        return text
    import numpy as np
    from jax.experimental import multihost_utils

    content = np.frombuffer(text.encode(), np.uint8)
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    padded = np.zeros(length, np.uint8)
    padded[: len(content)] = content[:length]
    return bytes(multihost_utils.broadcast_one_to_all(padded)).decode()


def in_any(flag: bool) -> bool:
    """Whether a flag is set in any process; each calls it at the same point."""
    if count() == 1:
        return flag
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(np.any(multihost_utils.process_allgather(np.int32(flag))))


class _Agreed(UserError):
    """An error that all processes raise together."""


@contextlib.contextmanager
def agreed() -> Iterator[None]:
    """A block in which an error of one process is an error in all; each passes it at the same point."""
    if count() == 1:
        yield
        return
    error: UserError | None = None
    try:
        yield
    except UserError as found:
        error = found
    if in_any(error is not None):
        raise _Agreed(str(error or "another process of this training was refused; it says why")) from None
