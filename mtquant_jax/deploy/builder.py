"""Collects the operations of a `Program`: the same one is there once, and moves of moves become one move."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtquant_jax.deploy.operations import (
    BOOLEAN,
    DTYPES,
    FLOAT,
    INTEGER,
    Array,
    Elementwise,
    Operation,
    Product,
    Program,
    PutAt,
    Reduction,
    Take,
    TakeAt,
    computed,
)


class UnsupportedError(Exception):
    """A function computes something that a `Program` cannot say; the message names it."""


_LOGICAL = ("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "not", "is_finite")


class Builder:
    """Adds operations and returns the arrays that they make."""

    def __init__(self) -> None:
        """Nothing is there yet."""
        self._inputs: dict[str, Array] = {}
        self._operations: dict[Array, Operation] = {}  # by what they make
        self._made: dict[Any, Array] = {}  # by what they are, so that none is there twice

    def input(self, name: str, like: Any) -> Array:
        """An input of the shape and type of ``like``.

        Raises:
            ValueError: there is one of this name.
            UnsupportedError: programs do not have its type.
        """
        if name in self._inputs:
            raise ValueError(f"Two inputs are named {name}")
        self._inputs[name] = Array(name, tuple(like.shape), _dtype(like.dtype))
        return self._inputs[name]

    def constant(self, value: Any) -> Array:
        """A known array; an array with the same elements is the same one."""
        value = np.array(value, order="C")
        key = ("constant", value.shape, value.dtype, value.tobytes())
        if key not in self._made:
            self._made[key] = Array(self._name("c"), value.shape, _dtype(value.dtype), value)
        return self._made[key]

    def program(self, outputs: Mapping[str, Array]) -> Program:
        """The program with the operations that some output needs."""
        return Program(dict(self._inputs), dict(outputs), tuple(self._operations.values())).only(outputs)

    def elementwise(self, function: str, *operands: Array, dtype: np.dtype | None = None) -> Array:
        """A function of each element of operands whose shapes broadcast; ``dtype`` is that of a convert."""
        shape = np.broadcast_shapes(*(array.shape for array in operands))
        operands = tuple(self._broadcast(self._uniform(array), shape) for array in operands)
        if not any(array.shape for array in operands) and shape:
            return self.spread(self.elementwise(function, *operands, dtype=dtype), shape)
        if dtype is None:
            dtype = BOOLEAN if function in _LOGICAL else operands[-1].dtype
        elif operands[0].dtype == _dtype(dtype):
            return operands[0]
        if all(array.value is not None for array in operands):
            return self.constant(computed(function, [array.known for array in operands], shape, dtype))
        return self._add(Elementwise, shape, dtype, (function, operands))

    def where(self, which: Array, this: Array, other: Array) -> Array:
        """Elements of one array or another; the array itself where it is known which, or both are the same."""
        if this is other:
            return this
        if which.value is not None and which.value.all() == which.value.any():
            return this if which.value.all() else other
        return self.elementwise("where", which, this, other)

    def reduction(self, function: str, operand: Array, axes: Sequence[int]) -> Array:
        """A function of all elements along axes; the operand itself where there are none."""
        if not axes:
            return operand
        axes = tuple(sorted(axes))
        shape = tuple(size for axis, size in enumerate(operand.shape) if axis not in axes)
        dtype = INTEGER if function in ("argmax", "argmin") else operand.dtype
        return self._add(Reduction, shape, dtype, (function, operand, axes))

    def product(self, left: Array, right: Array) -> Array:
        """Matrix products of ``[B, M, K]`` and ``[B, K, N]``."""
        if left.dtype != FLOAT or right.dtype != FLOAT:
            raise UnsupportedError(f"A program has no matrix product of {left.dtype} and {right.dtype}")
        return self._add(Product, (*left.shape[:2], right.shape[2]), FLOAT, (left, right))

    def take(self, sources: Sequence[Array], positions: np.ndarray) -> Array:
        """Elements of sources laid one after the other; sources that are themselves taken are looked through."""
        found, where = self._looked_through(sources, np.asarray(positions, np.int64))
        if len(found) == 1 and found[0].shape == where.shape and np.array_equal(where.ravel(), np.arange(where.size)):
            return found[0]
        if all(array.value is not None for array in found):
            flat = [array.known.reshape(-1) for array in found]
            return self.constant(np.concatenate(flat)[where] if flat else np.zeros(where.shape, sources[0].dtype))
        return self._add(Take, where.shape, found[0].dtype, (tuple(found), where))

    def reshape(self, array: Array, shape: Sequence[int]) -> Array:
        """The same elements in another shape."""
        return self.take([array], np.arange(array.size).reshape(shape))

    def spread(self, array: Array, shape: Sequence[int]) -> Array:
        """The one element of an array everywhere."""
        return self.take([array], np.zeros(shape, np.int64))

    def take_at(self, source: Array, offset: Array, positions: np.ndarray) -> Array:
        """Elements of a source from an offset that is known only when the program runs."""
        return self._add(TakeAt, positions.shape, source.dtype, (source, offset, np.asarray(positions, np.int64)))

    def put_at(self, source: Array, update: Array, offset: Array, positions: np.ndarray) -> Array:
        """The source with other elements from an offset that is known only when the program runs."""
        made = (source, update, offset, np.asarray(positions, np.int64))
        return self._add(PutAt, source.shape, source.dtype, made)

    def _add(self, kind: Any, shape: tuple[int, ...], dtype: np.dtype, parts: tuple[Any, ...]) -> Array:
        key = (kind, shape, dtype, *(part.tobytes() if isinstance(part, np.ndarray) else part for part in parts))
        if key not in self._made:
            result = Array(self._name("v"), shape, dtype)
            self._made[key] = result
            self._operations[result] = kind(*parts, result)
        return self._made[key]

    def _name(self, letter: str) -> str:
        return f"{letter}{len(self._made)}"

    def _broadcast(self, array: Array, shape: tuple[int, ...]) -> Array:
        """An array in the shape of a result; one of shape ``()`` as it is."""
        if array.shape in ((), shape):
            return array
        return self.take([array], np.broadcast_to(np.arange(array.size).reshape(array.shape), shape))

    def _uniform(self, array: Array) -> Array:
        """An array whose elements are all one and the same, as one of shape ``()``; every other as it is."""
        if not array.shape or array.size == 0:
            return array
        if array.value is not None:
            raw = np.ascontiguousarray(array.value).reshape(-1)
            same = raw.tobytes() == raw[:1].tobytes() * raw.size
            return self.constant(raw[0]) if same else array
        made = self._operations.get(array)
        if isinstance(made, Take) and np.all(made.positions == made.positions.flat[0]):
            return self.take(made.sources, made.positions.reshape(-1)[0])
        return array

    def _looked_through(self, sources: Sequence[Array], positions: np.ndarray) -> tuple[list[Array], np.ndarray]:
        """The arrays that elements come from, without those that give none, and where they stand among them."""
        origins: list[Array] = []
        owner: list[np.ndarray] = []  # of each element of all sources: which origin, and which of its elements
        inside: list[np.ndarray] = []
        numbers: dict[Array, int] = {}

        def origin(array: Array) -> int:
            if array not in numbers:
                numbers[array] = len(origins)
                origins.append(array)
            return numbers[array]

        for source in sources:
            made = self._operations.get(source)
            if isinstance(made, Take):
                ends = np.cumsum([array.size for array in made.sources])
                which = np.searchsorted(ends, made.positions.reshape(-1), side="right")
                starts = np.concatenate([[0], ends[:-1]])
                owner.append(np.asarray([origin(array) for array in made.sources])[which])
                inside.append(made.positions.reshape(-1) - starts[which])
            else:
                owner.append(np.full(source.size, origin(source)))
                inside.append(np.arange(source.size))
        owners = np.concatenate(owner)[positions] if owner else np.zeros(positions.shape, np.int64)
        used = sorted(set(owners.reshape(-1).tolist()))
        starts = np.zeros(len(origins), np.int64)
        starts[used] = np.cumsum([0, *(origins[index].size for index in used)])[:-1]
        where = starts[owners] + np.concatenate(inside)[positions] if used else np.zeros(positions.shape, np.int64)
        return [origins[index] for index in used], where


def _dtype(dtype: Any) -> np.dtype:
    found = next((known for known in DTYPES if known.name == getattr(dtype, "name", dtype)), None)
    if found is None:
        raise UnsupportedError(f"A program has no arrays of {dtype}; only float32, int32 and bool")
    return found
