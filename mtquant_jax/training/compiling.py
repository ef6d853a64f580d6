"""Ahead-of-time compilation that is remembered and timed, so that a run can report compile time apart from run time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax


class Compiler:
    """Compiles jitted functions once per static arguments and shapes, and counts the seconds."""

    def __init__(self) -> None:
        self._compiled: dict[Any, Callable[..., Any]] = {}
        self.seconds = 0.0

    def __call__(self, function: Any, static: tuple[Any, ...], *arguments: Any) -> Callable[..., Any]:
        """The executable of ``function(*static, *arguments)``; call it with arguments of the same shapes.

        Args:
            function: from `jax.jit`, with its static arguments first.
            static: those, hashable.
            arguments: arrays or `jax.ShapeDtypeStruct` pytrees.
        """
        leaves, structure = jax.tree.flatten(arguments)
        key = (function, static, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves))
        if key not in self._compiled:
            start = time.perf_counter()
            self._compiled[key] = function.lower(*static, *arguments).compile()
            self.seconds += time.perf_counter() - start
        return self._compiled[key]
