"""Sets JAX up for a process, before its first compilation."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import platform
from pathlib import Path


def prepare_jax(devices: int = 1) -> None:
    """Set up JAX before its first compilation: compiled programs are kept on disk between processes.

    With ``devices`` above 1 a CPU counts as so many devices, unless the session has said or computed something before.

    The folder is JAX_COMPILATION_CACHE_DIR, else mtquant-jax/xla in the user's cache folder; MTQUANT_JAX_NO_CACHE=1
    keeps nothing. A folder that cannot be written is done without, and so is any under a JAX whose entries cannot be
    checked for damage.
    """
    # On some Intel processors XLA takes tuning hints (+prefer-no-gather) for features that the machine lacks and logs
    # an error of a page for each cached CPU program (github.com/jax-ml/jax/issues/38445). Only this variable, read
    # when jaxlib is loaded, keeps it from the terminal; failures that matter are raised in Python all the same.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    if devices > 1 and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # it has computed something
            jax.config.update("jax_num_cpu_devices", devices)
    if not keeps_programs():
        jax.config.update("jax_enable_compilation_cache", False)
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logging.getLogger(__name__).debug("no compilation cache in %s: %s", folder, error)
        return
    if not _checked():
        jax.config.update("jax_enable_compilation_cache", False)
        logging.getLogger(__name__).warning(
            "warning: compiled programs are not kept on disk, for JAX %s has no place to check them for damage",
            jax.__version__,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def _checked() -> bool:
    """Whether JAX checks what it reads from its cache."""
    try:
        from mtquant_jax.program_cache import check_programs
    except (ImportError, AttributeError):  # another JAX keeps its cache elsewhere
        return False
    return check_programs(f"{_processor()}-{available_cores()}")


def _processor() -> str:
    """Eight digits that differ between processors of different instructions."""
    lines = {platform.machine()}
    with contextlib.suppress(OSError):
        described = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        lines |= {line for line in described if line.startswith(("model name", "flags", "Features", "CPU part"))}
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:8]


def keeps_programs() -> bool:
    """Whether compiled programs are to be kept on disk."""
    return os.environ.get("MTQUANT_JAX_NO_CACHE", "0") in ("", "0")


def cache_folder() -> Path:
    """Where compiled programs are kept."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or home / "mtquant-jax" / "xla").absolute()


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def device() -> str:
    """What this process computes on, as in ``cpu (cpu) x 1, x86_64``."""
    import jax

    first = jax.devices()[0]
    return f"{first.platform} ({first.device_kind}) x {jax.device_count()}, {platform.machine()}"
