"""How much memory a process may use: of the machine, of its container, of its own limits, and of its devices."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


@dataclasses.dataclass(frozen=True)
class Memory:
    """Main memory in bytes; None where the system does not say."""

    total: int | None  # of the machine, or what a container or a limit leaves of it
    available: int | None  # of the machine, without what other processes need
    limited_by: str = ""  # cgroup or ulimit -v, where either is less than the machine has


def main_memory() -> Memory:
    """What this process may use."""
    known = {}
    if _MEMINFO.is_file():
        rows = (line.split() for line in _MEMINFO.read_text(encoding="ascii").splitlines())
        known = {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) > 1}
    total, available = known.get("MemTotal"), known.get("MemAvailable")
    if total is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name, limit in (("cgroup", _cgroup_limit()), ("ulimit -v", _address_limit())):
        if limit is not None and (total is None or limit < total):
            total, available = limit, min(limit, available or limit)
            return Memory(total, available, name)
    return Memory(total, available)


def device_memory(device: Any) -> tuple[int, int] | None:
    """Bytes in use and bytes that JAX may allocate on a device; None where it does not say, as on CPUs."""
    found = device.memory_stats() or {}
    if "bytes_limit" not in found:
        return None
    return int(found.get("bytes_in_use", 0)), int(found["bytes_limit"])


def in_words(size: float) -> str:
    """Bytes as text: ``1.5 GB``."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size:.0f} bytes"


def _cgroup_limit() -> int | None:
    """Bytes that a container leaves; None without a limit."""
    for file in (_CGROUP / "memory.max", _CGROUP / "memory" / "memory.limit_in_bytes"):
        if file.is_file() and (text := file.read_text(encoding="ascii").strip()).isdecimal():
            return int(text)
    return None


def _address_limit() -> int | None:
    """Bytes of addresses that the process may have; None without a limit."""
    try:
        import resource
    except ImportError:  # on Windows
        return None
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if soft == resource.RLIM_INFINITY else soft
