"""Compiled programs on disk, each with a checksum: a damaged one is compiled again instead of being run.

JAX compresses an entry and trusts it: with zstd a changed byte may give another program, and a damaged entry is never
replaced. Here every entry begins with the SHA-256 of its key and content, in a file of its own name, so that other
programs of JAX may share the folder.

JAX's key names neither the processor nor the cores that a program was compiled for. XLA divides sums by cores, so a
program of a process with half of them rounds otherwise, and a run would not repeat itself to the bit; a program of
another processor may not run at all where machines share a home folder. The names of the files carry both.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import threading
from pathlib import Path

from jax._src import compilation_cache
from jax._src.compilation_cache_interface import CacheInterface

taken = threading.local()
"""``asked``: whether this thread has asked the cache; ``entry``: what it has last read, as JAX wrote it."""

_MARK = b"mtquant-jax program 1\n"


class CheckedCache(CacheInterface):
    """JAX's own cache of a folder, with a checksum in front of every entry."""

    def __init__(self, inner: CacheInterface, machine: str) -> None:
        """``inner`` keeps the files; ``machine`` says what their programs were compiled for."""
        self._inner = inner
        self._path = inner._path
        self._suffix = f"-checked-{machine}"

    def get(self, key: str) -> bytes | None:
        """An entry as it was written; None where there is none, or it is damaged."""
        taken.asked = True
        entry = self._inner.get(key + self._suffix)
        if entry is None:
            return None
        head = len(_MARK) + hashlib.sha256().digest_size
        if entry[:head] == _MARK + _checksum(key, memoryview(entry)[head:]):
            taken.entry = bytes(entry[head:])
            return taken.entry
        name = key.rpartition("-")[0] or key
        logging.getLogger(__name__).warning(
            "warning: the compiled program %s in %s is damaged; it is compiled again", name, self._path
        )
        for file in Path(str(self._path)).glob(f"{key}{self._suffix}-*"):
            with contextlib.suppress(OSError):
                file.unlink()
        return None

    def put(self, key: str, value: bytes) -> None:
        """Write an entry."""
        self._inner.put(key + self._suffix, _MARK + _checksum(key, value) + value)


def _checksum(key: str, value: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(f"{key}\n".encode())
    digest.update(value)
    return digest.digest()


def check_programs(machine: str) -> bool:
    """Let JAX read and write its cache through `CheckedCache` from now on; False where this JAX has no place for it."""
    inner = getattr(compilation_cache, "get_file_cache", None)
    if inner is None:
        return False
    if hasattr(inner, "inner"):
        return True

    def get_file_cache(path: str) -> tuple[CacheInterface, str] | None:
        found = inner(path)
        return None if found is None else (CheckedCache(found[0], machine), found[1])

    get_file_cache.inner = inner  # type: ignore[attr-defined]
    compilation_cache.get_file_cache = get_file_cache
    compilation_cache.reset_cache()  # what was opened before is not checked
    return True
