"""Compiles the computing part of an Expert Advisor as C++ and calls it: what shows that it equals the training's.

MQL5 has no compiler outside of MetaEditor. Its computing files use only what C++ has too, and `shim.hpp` for the rest.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtquant_jax.deploy.mql5.rendering import Function
from mtquant_jax.deploy.mql5.structs import Struct, by_argument, member_name
from mtquant_jax.errors import UserError

# No contraction to fused multiply-adds, which would round less often than the text says; MetaEditor makes none for
# plain X64 either.
_FLAGS = (
    "-std=c++17",
    "-O2",
    "-ffp-contract=off",
    "-fPIC",
    "-shared",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unused-parameter",
)


def has_compiler() -> bool:
    """Whether there is a g++."""
    return shutil.which("g++") is not None


def template(name: str) -> str:
    """The text of one of the fixed files."""
    return resources.files("mtquant_jax.deploy.mql5").joinpath("templates", name).read_text(encoding="utf-8")


def build(folder: Path, name: str, text: str) -> ctypes.CDLL:
    """Compile C++ and load it.

    Args:
        folder: where the text and the library are written.
        name: of both.
        text: with its wrappers in C.

    Raises:
        UserError: there is no g++, or it refuses the text.
    """
    if not has_compiler():
        raise UserError("there is no g++, which the check of the Expert Advisor compiles with")
    source, library = folder / f"{name}.cpp", folder / f"{name}.so"
    source.write_text(text, encoding="utf-8")
    done = subprocess.run(["g++", *_FLAGS, str(source), "-o", str(library)], capture_output=True, text=True)
    if done.returncode != 0:
        raise UserError(f"g++ refuses {source}: {done.stderr[:2000]}")
    return ctypes.CDLL(str(library))


class Compiled:
    """Generated functions as callables of structs, which are NumPy records."""

    def __init__(self, folder: Path, text: str, functions: Sequence[Function], structs: Sequence[Struct]) -> None:
        """Compile ``text``, which defines the functions and the structs."""
        self.functions = {function.name: function for function in functions}
        self.structs = {struct.name: struct for struct in structs}
        wrappers = [_wrapper(function) for function in functions]
        whole = "\n".join([template("shim.hpp"), template("numbers.mqh"), text, *wrappers])
        self._library = build(folder, "computing", whole)

    def __call__(self, name: str, **arguments: np.ndarray) -> dict[str, np.ndarray]:
        """Results of a function by name, of its arguments by name."""
        function = self.functions[name]
        results = {made: self.empty(function.structs[made]) for made in by_argument(function.program.outputs)}
        given = [arguments[argument] for argument in by_argument(function.program.inputs)]
        call = getattr(self._library, f"call_{name}")
        call(*(ctypes.c_void_p(record.ctypes.data) for record in (*given, *results.values())))
        return results

    def empty(self, struct: str) -> np.ndarray:
        """A record of zeros."""
        return np.zeros((), self.structs[struct].dtype())

    def packed(self, struct: str, tree: Any) -> np.ndarray:
        """A pytree of arrays as a record."""
        record = self.empty(struct)
        for path, leaf in leaves(tree).items():
            value = np.asarray(leaf).reshape(-1)
            if value.size:
                record[member_name(path)] = value
        return record


def leaves(tree: Any) -> dict[str, Any]:
    """Leaves by path, as programs name them."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}


def difference(record: np.ndarray, tree: Any) -> dict[str, float]:
    """The largest difference of each leaf of a pytree from a record, relative to the larger of 1 and the value."""
    found = {}
    for path, leaf in leaves(tree).items():
        wanted = np.asarray(leaf, np.float64).reshape(-1)
        made = np.asarray(record[member_name(path)], np.float64)[: wanted.size]
        same = (made == wanted) | (np.isnan(made) & np.isnan(wanted))
        gap = np.where(same, 0.0, np.abs(made - wanted) / np.maximum(1.0, np.abs(wanted)))
        found[path] = float(gap.max(initial=0.0))
    return found


def worst(found: Mapping[str, float]) -> float:
    """The largest of several differences."""
    return max(found.values(), default=0.0)


def _wrapper(function: Function) -> str:
    inputs, outputs = by_argument(function.program.inputs), by_argument(function.program.outputs)
    given = [f"const {function.structs[name]} *{name}" for name in inputs]
    made = [f"{function.structs[name]} *{name}" for name in outputs]
    passed = ", ".join(f"*{name}" for name in (*inputs, *outputs))
    return f'extern "C" void call_{function.name}({", ".join([*given, *made])}) {{ {function.name}({passed}); }}'
