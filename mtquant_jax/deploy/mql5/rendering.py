"""Writes a `Program` as a function in the C-like subset that MQL5 and C++ share, over arrays of fixed size.

Arguments and results are structs of flat arrays. Every intermediate value is stored in an array of its own type, so
that rounding does not depend on what a compiler does inside of an expression.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np

from mtquant_jax.deploy.mql5.expressions import literal, value_of
from mtquant_jax.deploy.mql5.moves import element, moved, table
from mtquant_jax.deploy.mql5.structs import TYPES, Struct, by_argument, member_name, struct_of
from mtquant_jax.deploy.operations import (
    Array,
    Elementwise,
    Operation,
    Product,
    Program,
    PutAt,
    Reduction,
    Take,
    TakeAt,
)

_LARGEST_LOCAL = 4096  # elements; MetaEditor refuses functions with more than 512 KiB of local variables
_FOLDS = {"sum": "add", "prod": "mul", "max": "max", "min": "min", "and": "and", "or": "or"}


@dataclasses.dataclass(frozen=True)
class Function:
    """A program under the name of a function, with the structs of its arguments and results."""

    name: str
    program: Program
    structs: Mapping[str, str]
    """Argument or result -> name of its struct."""
    sentence: str
    """What it computes."""

    def types(self) -> list[Struct]:
        """The structs in the order of the arguments.

        Raises:
            ValueError: an argument or result has no struct.
        """
        both = by_argument(self.program.inputs) | by_argument(self.program.outputs)
        if missing := set(both) - set(self.structs):
            raise ValueError(f"{self.name}: {', '.join(sorted(missing))} has no struct")
        return [struct_of(self.structs[name], arrays) for name, arrays in both.items()]

    def text(self) -> str:
        """The function and the tables of its constants."""
        return _Writer(self).text()


def render(functions: Iterable[Function], known: Iterable[Struct] = ()) -> tuple[str, list[Struct]]:
    """Functions with the structs that they need.

    Args:
        functions: in order.
        known: structs that are defined elsewhere.

    Returns:
        The text, and all structs: the known ones and those that it defines.

    Raises:
        ValueError: two structs of one name differ.
    """
    structs = {struct.name: struct for struct in known}
    parts = []
    for function in functions:
        for struct in function.types():
            if struct.name not in structs:
                structs[struct.name] = struct
                parts.append(struct.text())
            elif structs[struct.name] != struct:
                raise ValueError(f"{function.name} takes another {struct.name} than the functions before it")
        parts.append(function.text())
    return "\n".join(parts), list(structs.values())


class _Writer:
    """Writes one function."""

    def __init__(self, function: Function) -> None:
        self._function = function
        self._names: dict[Array, str] = {}
        self._same: dict[Array, Array] = {}  # what a choice comes to that is known beforehand
        self._tables: list[str] = []
        self._lines: list[str] = []
        inputs, outputs = by_argument(function.program.inputs), by_argument(function.program.outputs)
        for argument, arrays in inputs.items():
            for path, array in arrays.items():
                self._names[array] = f"{argument}.{member_name(path)}"
        given = [f"const {function.structs[name]} &{name}" for name in inputs]
        made = [f"{function.structs[name]} &{name}" for name in outputs]
        self._signature = f"void {function.name}({', '.join([*given, *made])}) {{"
        self._outputs = outputs

    def text(self) -> str:
        function = self._function
        for operation in self._needed():
            result = operation.result
            self._names[result] = result.name
            kept = "static " if result.size > _LARGEST_LOCAL else ""
            self._lines.append(f"{kept}{TYPES[result.dtype]} {result.name}[{max(result.size, 1)}];")
            if result.size:
                self._lines += self._operation(operation)
        for argument, arrays in self._outputs.items():
            for path, array in arrays.items():
                target = f"{argument}.{member_name(path)}"
                self._lines += self._loop(array.size, f"{target}[i] = {self._at(array, 'i')};")
        body = [f"   {line}" for line in self._lines]
        return "\n".join([*self._tables, f"// {function.sentence}", self._signature, *body, "}", ""])

    def _needed(self) -> list[Operation]:
        """The operations without choices that are known beforehand, and without what only those read."""
        operations: list[Operation] = []
        for operation in self._function.program.operations:
            chosen = _chosen(operation)
            if chosen is None:
                operations.append(operation)
            else:
                self._same[operation.result] = self._same.get(chosen, chosen)
        needed = {self._same.get(a, a) for arrays in self._outputs.values() for a in arrays.values()}
        kept = []
        for operation in reversed(operations):
            if operation.result in needed:
                kept.append(operation)
                needed.update(self._same.get(array, array) for array in operation.operands)
        return kept[::-1]

    def _loop(self, size: int, statement: str) -> list[str]:
        if size == 1:
            return [statement.replace("[i]", "[0]")]
        return [f"for(int i = 0; i < {size}; i++)", f"   {statement}"] if size else []

    def _at(self, array: Array, index: str) -> str:
        """An element of an array; of constants that are the same everywhere, the number itself."""
        array = self._same.get(array, array)
        if array.value is not None:
            flat = array.value.reshape(-1)
            if flat.size and (flat == flat[0]).all():
                return literal(flat[0])
        if array.size == 1:
            index = "0"
        return f"{self._name(array)}[{index}]"

    def _name(self, array: Array) -> str:
        if array not in self._names:
            assert array.value is not None, array.name
            name = f"{self._function.name}_{array.name}"
            self._tables.append(table(name, TYPES[array.dtype], [literal(x) for x in array.value.reshape(-1)]))
            self._names[array] = name
        return self._names[array]

    def _operation(self, operation: Operation) -> list[str]:
        result = operation.result
        if isinstance(operation, Elementwise):
            operands = [self._at(array, "i") for array in operation.operands]
            value = value_of(operation.function, operands, operation.operands[-1].dtype, result.dtype)
            return self._loop(result.size, f"{result.name}[i] = {value};")
        if isinstance(operation, Reduction):
            return self._reduction(operation)
        if isinstance(operation, Product):
            return self._product(operation)
        if isinstance(operation, Take):
            return self._take(operation)
        return self._moved_at(operation)

    def _reduction(self, operation: Reduction) -> list[str]:
        """The operand with the reduced axes last, folded from its first element on."""
        shape, name = operation.operand.shape, operation.result.name
        kept = [axis for axis in range(len(shape)) if axis not in operation.axes]
        positions = np.arange(operation.operand.size).reshape(shape).transpose(*kept, *operation.axes)
        positions = positions.reshape(operation.result.size, -1)
        rows, columns = positions.shape
        prefix = f"{self._function.name}_{name}"
        self._tables += element(positions, prefix)[1]

        def source(column: str) -> str:
            return self._at(operation.operand, element(positions, prefix, column=column)[0])

        dtype = operation.result.dtype
        if operation.function in ("argmax", "argmin"):
            sign = ">" if operation.function == "argmax" else "<"
            start, step = "0", f"if({source('j')} {sign} {source(f'{name}[i]')}) {name}[i] = j;"
        else:
            start = source("0")
            step = f"{name}[i] = {value_of(_FOLDS[operation.function], [f'{name}[i]', source('j')], dtype, dtype)};"
        return [
            f"for(int i = 0; i < {rows}; i++) {{",
            f"   {name}[i] = {start};",
            f"   for(int j = 1; j < {columns}; j++)",
            f"      {step}",
            "}",
        ]

    def _product(self, operation: Product) -> list[str]:
        batch, rows, inner = operation.left.shape
        columns = operation.right.shape[2]
        left = self._at(operation.left, f"(b * {rows} + i) * {inner} + k")
        right = self._at(operation.right, f"(b * {inner} + k) * {columns} + j")
        return [
            f"for(int b = 0; b < {batch}; b++)",
            f"   for(int i = 0; i < {rows}; i++)",
            f"      for(int j = 0; j < {columns}; j++) {{",
            "         float sum = 0.0f;",
            f"         for(int k = 0; k < {inner}; k++)",
            f"            sum = sum + {left} * {right};",
            f"         {operation.result.name}[(b * {rows} + i) * {columns} + j] = sum;",
            "      }",
        ]

    def _take(self, operation: Take) -> list[str]:
        ends = np.cumsum([source.size for source in operation.sources])
        positions = operation.positions.reshape(-1)
        lines: list[str] = []
        for index, source in enumerate(operation.sources):
            begin = ends[index] - source.size
            here = np.flatnonzero((positions >= begin) & (positions < ends[index]))
            name = f"{self._function.name}_{operation.result.name}_{index}"
            text, tables = moved(here, positions[here] - begin, name)
            self._tables += tables
            for loop, target, origin in text:
                lines += [*loop, f"{'   ' * len(loop)}{operation.result.name}[{target}] = {self._at(source, origin)};"]
        return lines

    def _moved_at(self, operation: TakeAt | PutAt) -> list[str]:
        positions, name = operation.positions.reshape(1, -1), operation.result.name
        where, tables = element(positions, f"{self._function.name}_{name}", row="0", column="i")
        self._tables += tables
        at = f"{self._at(operation.offset, '0')} + {where}"
        if isinstance(operation, TakeAt):
            return self._loop(operation.result.size, f"{name}[i] = {self._at(operation.source, at)};")
        copied = self._loop(operation.result.size, f"{name}[i] = {self._at(operation.source, 'i')};")
        put = f"{name}[{at}] = {self._at(operation.update, 'i')};"
        count = operation.update.size
        return [*copied, f"for(int i = 0; i < {count}; i++)", f"   {put}"]


def _chosen(operation: Operation) -> Array | None:
    """What a choice comes to whose condition is known and everywhere the same."""
    if not isinstance(operation, Elementwise) or operation.function != "where":
        return None
    known, chosen = operation.operands[0].value, operation.operands[1:]
    if known is None or known.size == 0 or known.min() != known.max():
        return None
    kept = chosen[0 if known.all() else 1]
    return kept if kept.shape == operation.result.shape else None
