"""Ahead-of-time compilation that is remembered and timed, so that a run can report compile time apart from run time."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import jax

from mtquant_jax import whole_programs
from mtquant_jax.settings.config import TrainConfig

_FEW_TIMESTEPS = 5000  # of a phase, which take under a second even so


class Compiler:
    """Compiles jitted functions once per static arguments and shapes; threads may share it.

    It counts the seconds for which somebody waited for a program, once however many waited.
    """

    largest_bytes: ClassVar[int] = 0  # arguments, results and scratch of the largest program of this process

    def __init__(self, quick: bool = False) -> None:
        """``quick`` compiles in half of the time what then runs at a sixth of the speed: for a few updates."""
        self._quick = quick
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self.seconds = 0.0
        self._waiting, self._since = 0, 0.0  # threads, and since when there is one
        self._changing = threading.Lock()
        self._one_at_a_time: defaultdict[Any, threading.Lock] = defaultdict(threading.Lock)  # of each program

    @classmethod
    def of(cls, config: TrainConfig) -> Compiler:
        """One that suits a training: quick for a quick test, unless it was given more timesteps."""
        return cls(quick=config.quick_test and max(map(config.timesteps, (1, 2, 3))) <= _FEW_TIMESTEPS)

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
        if key in self._compiled:
            return self._compiled[key]
        with self._counted(), self._one_at_a_time[key]:
            if key not in self._compiled:
                options = compiler_options(self._quick)
                compiled = whole_programs.compiled(function, static, arguments, options, **static_keywords)
                Compiler.largest_bytes = max(Compiler.largest_bytes, _bytes_of(compiled))
                self._compiled[key] = compiled
        return self._compiled[key]

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """The seconds of the block count, unless another thread is in it already."""
        with self._changing:
            if self._waiting == 0:
                self._since = time.perf_counter()
            self._waiting += 1
        try:
            yield
        finally:
            with self._changing:
                self._waiting -= 1
                if self._waiting == 0:
                    self.seconds += time.perf_counter() - self._since


def compiler_options(quick: bool) -> dict[str, Any]:
    """For XLA: on a CPU, LLVM's first level instead of its third, which compiles a sixth sooner and runs as fast.

    ``quick`` takes its lowest level, and leaves out the emitters of fused loops, where this JAX can: they are made by a
    compiler of their own.
    """
    if "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", "") or jax.default_backend() != "cpu":
        return {}
    if not quick:
        return {"xla_backend_optimization_level": 1}
    without_emitters = {"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 11, 2) else {}
    return {"xla_backend_optimization_level": 0, **without_emitters}


def _bytes_of(compiled: Any) -> int:
    """Memory that a program takes while it runs; 0 where its device does not say."""
    found = compiled.memory_analysis()
    if found is None:
        return 0
    sizes = (found.argument_size_in_bytes, found.output_size_in_bytes, found.temp_size_in_bytes)
    return int(sum(sizes) - found.alias_size_in_bytes)
