"""Looks at what a training would run on: Python, packages, devices, memory, the cache of programs, the terminal."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from mtquant_jax.jax_setup import available_cores, cache_folder, device, keeps_programs, prepare_jax
from mtquant_jax.runs.memory import device_memory, in_words, main_memory

_NAME = "mtquant-jax"
_NEEDED_BYTES = 2e9  # of memory by a default training, see docs/quickstart.md
_EXTRAS = {
    "eval": "evaluate, walk-forward and compare need it",
    "sweep": "sweep needs it",
    "gymnasium": "environments for trainers that step them from Python need it",
    "cuda": "training on an NVIDIA GPU needs it",
}
_PRINTED = "±"  # in every line of progress
_DRAWN = "╭─╮│╰╯•"  # around help and error messages


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    state: Literal["ok", "warning", "problem"]
    what: str
    text: str
    advice: str = ""  # what to do about it; empty where it is ok


def findings() -> Iterator[Finding]:
    """Everything there is to look at, one after the other; the self-test comes last and takes seconds."""
    for look in (_python, _packages, _extras, _devices, _cores, _memory, _device_memory, _cache, _terminal, _self_test):
        yield from _caught(look)


def _caught(look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a look finds; what it raises is a problem of its own."""
    try:
        yield from look()
    except Exception as error:  # an installation can be broken in any way
        text = " ".join(f"{type(error).__name__}: {error}".split())
        advice = "install the tested versions again: pip install -c constraints.txt ."
        yield Finding("problem", look.__name__.strip("_").replace("_", " "), text, advice)


def _python() -> Iterator[Finding]:
    wanted = metadata.metadata(_NAME)["Requires-Python"]
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()} ({sys.executable})"
    if platform.python_version() in SpecifierSet(wanted):
        yield Finding("ok", "Python", text)
    else:
        advice = f"{_NAME} supports Python {wanted}; make a new environment with one of these"
        yield Finding("problem", "Python", text, advice)


def _packages() -> Iterator[Finding]:
    fine = [f"{_NAME} {metadata.version(_NAME)}"]
    for requirement in _requirements():
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _version(requirement.name)
        if found is not None and requirement.specifier.contains(found, prereleases=True):
            fine.append(f"{requirement.name} {found}")
        else:
            text = f"{requirement.name} {found or 'is not installed'}, {_range(requirement)} is supported"
            yield Finding("problem", "package", text, "install the tested versions: pip install -c constraints.txt .")
    yield Finding("ok", "packages", ", ".join(fine))


def _extras() -> Iterator[Finding]:
    for extra, use in _EXTRAS.items():
        wanted = [r for r in _requirements() if r.marker and r.marker.evaluate({"extra": extra})]
        wanted = [r for r in wanted if not r.marker or not r.marker.evaluate({"extra": ""})]
        if extra == "cuda":
            if _has_gpu() and not _uses_gpu():
                advice = "pip install '.[cuda]', and see docs/troubleshooting.md#the-gpu-is-not-used"
                yield Finding("warning", "extra cuda", "an NVIDIA GPU is there, and JAX does not use it", advice)
            continue
        missing = [r.name for r in wanted if _version(r.name) is None]
        wrong = [r for r in wanted if (v := _version(r.name)) and not r.specifier.contains(v, prereleases=True)]
        advice = f"pip install -c constraints.txt '.[{extra}]'"
        if missing:
            text = f"not installed ({', '.join(missing)}); {use}"
            yield Finding("warning", f"extra {extra}", text, advice)
        elif wrong:
            text = ", ".join(f"{r.name} {_version(r.name)}, {_range(r)} is supported" for r in wrong)
            yield Finding("problem", f"extra {extra}", text, advice)
        else:
            yield Finding("ok", f"extra {extra}", ", ".join(f"{r.name} {_version(r.name)}" for r in wanted))


def _devices() -> Iterator[Finding]:
    prepare_jax()
    yield Finding("ok", "device", device())


def _cores() -> Iterator[Finding]:
    yield Finding("ok", "cores", f"{available_cores()} of {os.cpu_count()} may be used")


def _memory() -> Iterator[Finding]:
    memory = main_memory()
    if memory.total is None or memory.available is None:
        yield Finding("ok", "memory", "the system does not say how much there is")
        return
    limit = f", limited by {memory.limited_by}" if memory.limited_by else ""
    text = f"{in_words(memory.available)} free of {in_words(memory.total)}{limit}"
    if memory.available < _NEEDED_BYTES:
        advice = f"a default training takes up to {in_words(_NEEDED_BYTES)}; close other programs, or lower `num_envs`"
        yield Finding("warning", "memory", text, advice)
    else:
        yield Finding("ok", "memory", text)


def _device_memory() -> Iterator[Finding]:
    import jax

    for found in jax.local_devices():
        if memory := device_memory(found):
            used, limit = memory
            text = f"{in_words(limit - used)} free of {in_words(limit)} on {found.device_kind}"
            yield Finding("ok", "device memory", text)


def _cache() -> Iterator[Finding]:
    if not keeps_programs():
        yield Finding(
            "warning", "cache", "switched off by MTQUANT_JAX_NO_CACHE", "unset it: every start compiles again"
        )
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        advice = "set JAX_COMPILATION_CACHE_DIR to a folder that can be; until then every start compiles again"
        yield Finding("warning", "cache", f"{folder} cannot be written ({error.strerror})", advice)
        return
    sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
    programs = len(list(folder.glob("*-cache")))
    yield Finding("ok", "cache", f"{folder}: {programs} programs, {in_words(sum(sizes))}; writable")


def _terminal() -> Iterator[Finding]:
    encoding, columns = sys.stdout.encoding or "ascii", shutil.get_terminal_size().columns
    text = f"{encoding}, {columns} columns"
    advice = "set PYTHONUTF8=1, or a UTF-8 locale such as LANG=C.UTF-8"
    if not _shows(_PRINTED, encoding):
        yield Finding("problem", "terminal", f"{text}; lines of progress cannot be shown", advice)
    elif not _shows(_DRAWN, encoding):
        yield Finding("warning", "terminal", f"{text}; the frames around help cannot be shown", advice)
    elif columns < 80:
        yield Finding("warning", "terminal", text, "make the window 80 columns wide: tables and help are made for it")
    else:
        yield Finding("ok", "terminal", text)


def _self_test() -> Iterator[Finding]:
    from mtquant_jax.training.self_test import self_test

    found = self_test()
    text = (
        f"trained {found.timesteps:,} timesteps at {found.timesteps_per_second:,.0f}/s (a tiny specialist), "
        f"reward {found.reward:+.4f}; prepared and compiled in {found.setup_seconds:.1f} s"
    )
    if found.passed:
        yield Finding("ok", "self-test", text)
    else:
        advice = "these versions compute wrongly here; install the tested ones: pip install -c constraints.txt ."
        yield Finding("problem", "self-test", text, advice)


def _requirements() -> list[Requirement]:
    return [Requirement(text) for text in metadata.requires(_NAME) or []]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _range(requirement: Requirement) -> str:
    parts = sorted(str(requirement.specifier).split(","), key=lambda part: part.startswith("<"))
    return ",".join(parts)


def _has_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _uses_gpu() -> bool:
    prepare_jax()
    import jax

    return any(found.platform == "gpu" for found in jax.devices())


def _shows(characters: str, encoding: str) -> bool:
    try:
        characters.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
