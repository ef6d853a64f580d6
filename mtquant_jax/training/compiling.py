"""Ahead-of-time compilation that is remembered and timed, so that a run can report compile time apart from run time."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, ClassVar

import jax

from mtquant_jax import whole_programs


class Compiler:
    """Compiles jitted functions once per static arguments and shapes, and counts the seconds; threads may share it."""

    largest_bytes: ClassVar[int] = 0  # arguments, results and scratch of the largest program of this process

    def __init__(self) -> None:
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self.seconds = 0.0
        self._changing = threading.Lock()
        self._one_at_a_time: defaultdict[Any, threading.Lock] = defaultdict(threading.Lock)  # of each program

    def __call__(
        self, function: Any, static: tuple[Any, ...], *arguments: Any, **static_keywords: Any
    ) -> Callable[..., Any]:
        """The executable of ``function(*static, *arguments)``; call it with arguments of the same shapes.

        Args:
            function: from `jax.jit`, with its static arguments first.
            static: those, hashable.
            arguments: arrays or `jax.ShapeDtypeStruct` pytrees.
            static_keywords: static arguments by name.
        """
        leaves, structure = jax.tree.flatten(arguments)
        named = tuple(sorted(static_keywords.items()))
        key = (function, static, named, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
        with self._changing:
            compiling = self._one_at_a_time[key]
        with compiling:
            if key not in self._compiled:
                start = time.perf_counter()
                compiled = whole_programs.compiled(function, static, arguments, _options(), **static_keywords)
                with self._changing:
                    self.seconds += time.perf_counter() - start
                    Compiler.largest_bytes = max(Compiler.largest_bytes, _bytes_of(compiled))
                self._compiled[key] = compiled
            return self._compiled[key]


def _options() -> dict[str, Any]:
    """For XLA: on a CPU, LLVM's first level instead of its third, which compiles a sixth sooner and runs as fast."""
    asked = "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", "")
    return {} if asked or jax.default_backend() != "cpu" else {"xla_backend_optimization_level": 1}


def _bytes_of(compiled: Any) -> int:
    """Memory that a program takes while it runs; 0 where its device does not say."""
    found = compiled.memory_analysis()
    if found is None:
        return 0
    sizes = (found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes)
    return int(sum(sizes) - found.alias_size_in_bytes)
