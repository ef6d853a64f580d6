"""Groups named arrays into the structs that generated functions take and give."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from mtquant_jax.deploy.operations import BOOLEAN, FLOAT, INTEGER, Array

TYPES = {FLOAT: "float", INTEGER: "int", BOOLEAN: "bool"}
"""Names of the types of elements in MQL5 and C++."""


@dataclasses.dataclass(frozen=True)
class Member:
    """An array in a struct."""

    name: str
    dtype: np.dtype
    size: int


@dataclasses.dataclass(frozen=True)
class Struct:
    """A type of arguments and results."""

    name: str
    members: tuple[Member, ...]

    def text(self) -> str:
        """Its definition."""
        lines = [f"   {TYPES[m.dtype]:<5} {m.name}[{m.size}];" for m in self.members]
        return "\n".join([f"struct {self.name} {{", *lines, "};", ""])

    def dtype(self) -> np.dtype:
        """The same in NumPy, as C++ lays it out."""
        formats = [(m.dtype.str, (m.size,)) for m in self.members]
        return np.dtype({"names": [m.name for m in self.members], "formats": formats}, align=True)


def struct_of(name: str, arrays: Mapping[str, Array]) -> Struct:
    """The struct of the arrays of one argument or result, by their paths in it."""
    return Struct(name, tuple(Member(member_name(path), a.dtype, max(a.size, 1)) for path, a in arrays.items()))


def member_name(path: str) -> str:
    """The member of a leaf, by its path without the argument's name: ``book.equity`` is ``book_equity``."""
    return path.replace(".", "_") or "values"


def by_argument(arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """Arrays by argument, and in it by path."""
    found: dict[str, dict[str, Array]] = {}
    for path, array in arrays.items():
        argument, _, rest = path.partition(".")
        found.setdefault(argument, {})[rest] = array
    return found
