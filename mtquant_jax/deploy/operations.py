"""A computation as a short list of operations on arrays of fixed shape, and its reference in NumPy.

It is made by `deploy.tracing.trace` and written out by renderings such as `deploy.onnx_model`. There are seven kinds of
operation, and every move of elements (reshape, slice, transpose, broadcast, concatenation, padding) is a `Take`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

FLOAT, INTEGER, BOOLEAN = np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.bool_)
DTYPES = (FLOAT, INTEGER, BOOLEAN)
"""All types of elements that an array may have."""


@dataclasses.dataclass(frozen=True, eq=False)
class Array:
    """An array that is given, known or computed; two are the same array where they are the same object."""

    name: str
    """Unique in its program: an input's path, or ``v12`` (computed) or ``c12`` (known)."""
    shape: tuple[int, ...]
    dtype: np.dtype
    """One of `DTYPES`."""
    value: np.ndarray | None = None
    """Of a constant; None where it is given or computed."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def known(self) -> np.ndarray:
        """The value of a constant."""
        assert self.value is not None, self
        return self.value


@dataclasses.dataclass(frozen=True, eq=False)
class Elementwise:
    """A function of each element: operands have the result's shape or none, ``()``, and are then the same for all."""

    function: str
    """A key of `ELEMENTWISE`."""
    operands: tuple[Array, ...]
    result: Array


@dataclasses.dataclass(frozen=True, eq=False)
class Reduction:
    """A function of all elements along some axes, which the result does not have; there is at least one axis."""

    function: str
    """A key of `REDUCTIONS`; ``argmax`` and ``argmin`` have one axis, and give the first of equal elements."""
    operand: Array
    axes: tuple[int, ...]
    """In rising order."""
    result: Array

    @property
    def operands(self) -> tuple[Array, ...]:
        """What it reads."""
        return (self.operand,)


@dataclasses.dataclass(frozen=True, eq=False)
class Product:
    """Matrix products ``[B, M, K] x [B, K, N] -> [B, M, N]`` of float32."""

    left: Array
    right: Array
    result: Array

    @property
    def operands(self) -> tuple[Array, ...]:
        """What it reads."""
        return self.left, self.right


@dataclasses.dataclass(frozen=True, eq=False)
class Take:
    """Elements of one or several sources, laid one after the other in row-major order, at constant positions."""

    sources: tuple[Array, ...]
    """Of the result's type; none is empty."""
    positions: np.ndarray
    """``result.shape`` int64: where each element stands among those of all sources."""
    result: Array

    @property
    def operands(self) -> tuple[Array, ...]:
        """What it reads."""
        return self.sources


@dataclasses.dataclass(frozen=True, eq=False)
class TakeAt:
    """Elements of a source in row-major order at ``offset + positions``; the offset is in range for every input."""

    source: Array
    offset: Array
    """``()`` int32."""
    positions: np.ndarray
    """``result.shape`` int64, for an offset of zero."""
    result: Array

    @property
    def operands(self) -> tuple[Array, ...]:
        """What it reads."""
        return self.source, self.offset


@dataclasses.dataclass(frozen=True, eq=False)
class PutAt:
    """The source with other elements at ``offset + positions``; the offset is in range for every input."""

    source: Array
    update: Array
    offset: Array
    """``()`` int32."""
    positions: np.ndarray
    """``update.shape`` int64, all different, for an offset of zero."""
    result: Array
    """Of the source's shape."""

    @property
    def operands(self) -> tuple[Array, ...]:
        """What it reads."""
        return self.source, self.update, self.offset


Operation = Elementwise | Reduction | Product | Take | TakeAt | PutAt


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """A pure function of named arrays."""

    inputs: Mapping[str, Array]
    """By the path of their leaf in the arguments, in order; also those that nothing reads."""
    outputs: Mapping[str, Array]
    """By the path of their leaf in the result, in order; an output may be an input or a constant."""
    operations: tuple[Operation, ...]
    """In an order in which each reads only what is there before it; all of them serve some output."""

    def only(self, names: Iterable[str]) -> Program:
        """The same with some of the outputs, and the operations that they need."""
        outputs = {name: self.outputs[name] for name in names}
        needed, kept = set(outputs.values()), []
        for operation in reversed(self.operations):
            if operation.result in needed:
                kept.append(operation)
                needed.update(operation.operands)
        return Program(self.inputs, outputs, tuple(reversed(kept)))

    def read(self) -> Program:
        """The same without the inputs that neither an operation nor an output reads."""
        used = {array for operation in self.operations for array in operation.operands} | set(self.outputs.values())
        return dataclasses.replace(self, inputs={name: a for name, a in self.inputs.items() if a in used})

    def constants(self) -> tuple[Array, ...]:
        """All known arrays, each once, in the order of their first use."""
        arrays = [array for operation in self.operations for array in operation.operands]
        return tuple(dict.fromkeys(array for array in (*arrays, *self.outputs.values()) if array.value is not None))

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name, computed by NumPy.

        Raises:
            ValueError: an input is missing, or has another shape or type.
        """
        values: dict[Array, np.ndarray] = {array: array.known for array in self.constants()}
        for name, array in self.inputs.items():
            value = np.asarray(inputs[name]) if name in inputs else None
            if value is None or value.shape != array.shape or value.dtype != array.dtype:
                found = "is missing" if value is None else f"is {value.dtype.name} {list(value.shape)}"
                raise ValueError(f"The input {name} {found}; it must be {array.dtype.name} {list(array.shape)}")
            values[array] = value
        with np.errstate(all="ignore"):
            for operation in self.operations:
                operands = [values[array] for array in operation.operands]
                values[operation.result] = _result(operation, operands)
        return {name: values[array] for name, array in self.outputs.items()}


def affine(positions: np.ndarray) -> tuple[int, tuple[int, ...]] | None:
    """First position and stride along each axis where positions are ``first + sum(stride x index)``; otherwise None.

    The stride along an axis of length one is zero.
    """
    if positions.size == 0:
        return None
    first = int(positions.flat[0])
    steps = [int(positions[_unit(positions, axis)]) - first for axis in range(positions.ndim)]
    expected = np.full(positions.shape, first, np.int64)
    for axis, step in enumerate(steps):
        along = [1] * positions.ndim
        along[axis] = -1
        expected += step * np.arange(positions.shape[axis]).reshape(along)
    return (first, tuple(steps)) if np.array_equal(expected, positions) else None


def _unit(positions: np.ndarray, axis: int) -> tuple[int, ...]:
    """The index of the second element along an axis, or of the first where there is no second."""
    return tuple(min(1, positions.shape[axis] - 1) if other == axis else 0 for other in range(positions.ndim))


def computed(function: str, operands: Sequence[np.ndarray], shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """What an elementwise function makes of its operands."""
    with np.errstate(all="ignore"):
        value = ELEMENTWISE[function](*operands)
        if function == "convert" and dtype == INTEGER:
            value = np.trunc(value)
        value = np.asarray(value).astype(dtype)
    assert value.shape == shape, (function, value.shape)
    return value


def _result(operation: Operation, operands: list[np.ndarray]) -> np.ndarray:
    """What an operation makes of its operands."""
    result = operation.result
    if isinstance(operation, Elementwise):
        return computed(operation.function, operands, result.shape, result.dtype)
    if isinstance(operation, Reduction):
        value = REDUCTIONS[operation.function](operands[0], operation.axes)
    elif isinstance(operation, Product):
        value = operands[0] @ operands[1]
    elif isinstance(operation, Take):
        value = np.concatenate([operand.reshape(-1) for operand in operands])[operation.positions]
    elif isinstance(operation, TakeAt):
        value = operands[0].reshape(-1)[operation.positions + int(operands[1])]
    else:
        value = operands[0].reshape(-1).copy()
        value[operation.positions + int(operands[2])] = operands[1]
        value = value.reshape(result.shape)
    value = np.asarray(value).astype(result.dtype)
    assert value.shape == result.shape, (operation, value.shape)
    return value


def _divide(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    if np.issubdtype(left.dtype, np.floating):
        return np.divide(left, right)
    return (np.sign(left) * np.sign(right)) * (np.abs(left) // np.abs(right))


def _logistic(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


ELEMENTWISE: Mapping[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": _divide,  # of integers: towards zero
    "rem": np.fmod,  # with the sign of the dividend
    "max": np.maximum,
    "min": np.minimum,
    "pow": np.power,
    "neg": np.negative,
    "abs": np.abs,
    "sign": np.sign,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "logistic": _logistic,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,  # halves to the even neighbour
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "and": np.logical_and,  # of booleans, as or, xor and not
    "or": np.logical_or,
    "xor": np.logical_xor,
    "not": np.logical_not,
    "is_finite": np.isfinite,
    "where": np.where,  # condition, value where it is true, value where it is not
    "convert": np.asarray,  # to the result's type; to int32 towards zero
}
"""Reference of every elementwise function; maximum and minimum of a NaN and a number are NaN."""

REDUCTIONS: Mapping[str, Callable[[np.ndarray, tuple[int, ...]], np.ndarray]] = {
    "sum": lambda value, axes: value.sum(axes, dtype=value.dtype),
    "prod": lambda value, axes: value.prod(axes, dtype=value.dtype),
    "max": lambda value, axes: value.max(axes),
    "min": lambda value, axes: value.min(axes),
    "and": lambda value, axes: np.asarray(value.all(axes)),
    "or": lambda value, axes: np.asarray(value.any(axes)),
    "argmax": lambda value, axes: value.argmax(axes[0]),
    "argmin": lambda value, axes: value.argmin(axes[0]),
}
"""Reference of every reduction."""
