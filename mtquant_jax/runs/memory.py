"""How much memory a process may use, what settings need, and what to lower where it was not enough."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.settings.config import TrainConfig

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


@contextlib.contextmanager
def memory_advice(config: TrainConfig, lower: Sequence[str] = ()) -> Iterator[None]:
    """Turn a lack of memory in the block into a sentence with numbers and the settings to lower.

    Args:
        config: settings of the training.
        lower: what to lower; empty: what a training is made smaller by.

    Raises:
        UserError: in place of MemoryError and of XLA's RESOURCE_EXHAUSTED; other errors stay as they are.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or _EXHAUSTED.search(str(error))):
            raise
        raise UserError(_advice(str(error), config, lower)) from error


_EXHAUSTED = re.compile(r"RESOURCE_EXHAUSTED|[Oo]ut of memory|bad_alloc")
_WANTED = re.compile(r"alloc\w*\s+([\d.]+)\s*([KMGT]?i?B\b|bytes)")
_SIZES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def _advice(error: str, config: TrainConfig, lower: Sequence[str]) -> str:
    """What was tried, what there is, what these settings need, and what to lower."""
    from mtquant_jax.training.compiling import Compiler

    wanted, needs, market = _WANTED.search(error), list[str](), config.market
    size = in_words(float(wanted[1]) * _SIZES[re.sub(r"i?B|bytes", "", wanted[2])]) if wanted else "memory"
    if not config.data_dir:
        paths = f"{market.num_paths:,} paths x {market.num_bars:,} bars"
        needs.append(f"a market of {paths} takes {in_words(market_bytes(config))}, and several times that to make")
    if Compiler.largest_bytes:
        needs.append(f"the largest program so far takes {in_words(Compiler.largest_bytes)}")
    needed = f"; {', and '.join(needs)}" if needs else ""
    advice = " or ".join(lower or _what_grows(config))
    return (
        f"out of memory: {size} could not be allocated, and {_there_is()}{needed}. Lower {advice}; see "
        "docs/configuration.md#less-memory"
    )


def _what_grows(config: TrainConfig) -> list[str]:
    """The settings that most memory is taken by, with their values; a program holds the market besides its own."""
    from mtquant_jax.training.compiling import Compiler

    algorithms = {config.algorithm_of(phase) for phase in (1, 2, 3)}
    programs = [f"`num_envs` {config.num_envs}"] if algorithms != {"pathwise"} else []
    if "pathwise" in algorithms:
        pathwise = config.pathwise
        programs += [f"`pathwise.num_envs` {pathwise.num_envs}", f"`pathwise.window` {pathwise.window}"]
    if config.data_dir:
        market, of_market = ["the number of bars (`market.start`)"], 0
    else:
        market = [f"`market.num_paths` {config.market.num_paths}", f"`market.num_bars` {config.market.num_bars}"]
        of_market = market_bytes(config)
    for group, specialist in ((f"specialists.{name}", one) for name, one in config.specialists.items()):
        if algorithms == {"pathwise"}:
            break
        programs.append(f"`{group}.batch_size` {specialist.batch_size}")
    return [*programs, *market] if Compiler.largest_bytes > 2 * of_market else [*market, *programs]


def _there_is() -> str:
    """How much memory the device that JAX computes on has."""
    import jax

    device = jax.local_devices()[0]
    if memory := device_memory(device):
        used, limit = memory
        return f"{in_words(limit - used)} are free of {in_words(limit)} on {device.device_kind}"
    found = main_memory()
    if found.total is None or found.available is None:
        return "the system does not say how much there is"
    limited = f" (limited by {found.limited_by})" if found.limited_by else ""
    return f"{in_words(found.available)} are free of {in_words(found.total)}{limited}"


def market_bytes(config: TrainConfig) -> int:
    """Bytes of the table of a synthetic market with these settings (`mtquant_jax.types.MarketTable`)."""
    from mtquant_jax.market.feature_set import FEATURES

    classes = len(config.specialists)
    slots = classes * max((len(one.symbols) for one in config.specialists.values()), default=0)
    numbers = slots * (6 + len(FEATURES.instrument) + slots) + classes * FEATURES.domain_size + len(FEATURES.macro)
    per_path = config.market.num_bars * (4 * numbers + slots)
    return config.market.num_paths * per_path + config.market.num_bars * 4 * (slots + 1)


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
