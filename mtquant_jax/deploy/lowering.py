"""How each JAX primitive becomes operations of a `Program`; what is not listed here, programs cannot say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from mtquant_jax.deploy.builder import Builder, UnsupportedError
from mtquant_jax.deploy.operations import BOOLEAN, FLOAT, Array

_Lowering = Callable[[Builder, Any, list[Array]], Sequence[Array]]

_LARGEST_MAP = 1 << 24  # elements of the matrix that shows where a scatter adds what


def _function(name: str) -> _Lowering:
    def lower(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
        return [builder.elementwise(name, *operands)]

    return lower


def _logical(name: str) -> _Lowering:
    def lower(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
        if any(array.dtype != BOOLEAN for array in operands):
            raise UnsupportedError(f"A program has no {name} of the bits of integers")
        return [builder.elementwise(name, *operands)]

    return lower


def _reduction(name: str) -> _Lowering:
    def lower(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
        if equation.outvars[0].aval.dtype not in (operands[0].dtype, np.int32):
            raise UnsupportedError(f"A program has no {name} of type {equation.outvars[0].aval.dtype}")
        return [builder.reduction(name, operands[0], equation.params["axes"])]

    return lower


def _same(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    return operands


def _move(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    """Whatever the primitive does with elements, it does with their positions."""
    name, params = equation.primitive.name, equation.params
    starts = np.cumsum([0, *(array.size for array in operands)])
    pairs = zip(operands, starts[:-1], strict=True)
    positions = [np.arange(start, start + array.size, dtype=np.int32).reshape(array.shape) for array, start in pairs]
    if name in _BY_NUMPY:
        return [builder.take(operands, _BY_NUMPY[name](positions, equation.outvars[0].aval.shape, params))]
    moved = equation.primitive.bind(*positions, **params)
    moved = moved if equation.primitive.multiple_results else [moved]
    return [builder.take(operands, np.asarray(where)) for where in moved]


def _reshaped(positions: list[np.ndarray], shape: tuple[int, ...], params: Any) -> np.ndarray:
    return positions[0].reshape(shape)


def _spread(positions: list[np.ndarray], shape: tuple[int, ...], params: Any) -> np.ndarray:
    inner = [1] * len(shape)
    for axis, size in zip(params["broadcast_dimensions"], positions[0].shape, strict=True):
        inner[axis] = size
    return np.broadcast_to(positions[0].reshape(inner), shape)


def _sliced(positions: list[np.ndarray], shape: tuple[int, ...], params: Any) -> np.ndarray:
    ends = zip(params["start_indices"], params["limit_indices"], params["strides"] or (1,) * len(shape), strict=True)
    return positions[0][tuple(slice(*end) for end in ends)]


_BY_NUMPY: dict[str, Callable[[list[np.ndarray], tuple[int, ...], Any], np.ndarray]] = {
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshaped),
    "broadcast_in_dim": _spread,
    "slice": _sliced,
    "transpose": lambda positions, shape, params: positions[0].transpose(params["permutation"]),
    "concatenate": lambda positions, shape, params: np.concatenate(positions, params["dimension"]),
}
"""The most frequent moves, for which JAX would compile a program each."""


def _gather(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    source, indices = operands
    if indices.value is None:
        raise UnsupportedError(f"A program has no gather at computed indices: {str(equation)[:300]}")
    positions = np.arange(source.size, dtype=np.int32).reshape(source.shape)
    outside = {"fill_value": -1} if "fill_value" in equation.params else {}
    where = np.asarray(equation.primitive.bind(positions, indices.value, **(equation.params | outside)))
    if np.any(where < 0):
        raise UnsupportedError(f"A gather reads outside its operand: {str(equation)[:300]}")
    return [builder.take([source], where)]


def _scatter(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    source, indices, update = operands
    if indices.value is None:
        raise UnsupportedError(f"A program has no scatter at computed indices: {str(equation)[:300]}")
    old = np.arange(source.size, dtype=np.int32).reshape(source.shape)
    new = np.arange(source.size, source.size + update.size, dtype=np.int32).reshape(update.shape)
    where = equation.primitive.bind(old, indices.value, new, **equation.params)
    return [builder.take([source, update], np.asarray(where))]


def _scatter_add(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    """Every element's summands side by side, zero where it has fewer than another, and their sum."""
    source, indices, update = operands
    if indices.value is None or source.size * update.size > _LARGEST_MAP:
        raise UnsupportedError(f"A program has no such scatter-add: {str(equation)[:300]}")
    ones = np.eye(update.size, dtype=np.float32).reshape(update.size, *update.shape)
    zeros = np.zeros(source.shape, np.float32)

    def add(one: Any) -> Any:
        return equation.primitive.bind(zeros, indices.value, one, **equation.params)

    adds = np.asarray(jax.vmap(add)(ones)).reshape(update.size, source.size) > 0.0
    most = max(1, int(adds.sum(0).max(initial=0)))
    where = np.full((source.size, most), update.size, np.int64)
    for element in range(source.size):
        added = np.flatnonzero(adds[:, element])
        where[element, : added.size] = added
    zero = builder.constant(np.zeros((), update.dtype))
    summands = builder.take([update, zero], where.reshape(*source.shape, most))
    total = builder.reduction("sum", summands, (len(source.shape),))
    if source.value is not None and not np.any(source.value):
        return [total]
    return [builder.elementwise("add", source, total)]


def _offset(builder: Builder, shape: Sequence[int], size: Sequence[int], starts: Sequence[Array]) -> Array:
    """Where a window of ``size`` begins in an array of ``shape`` in row-major order; starts are kept in range."""
    fixed, total = 0, None
    for axis, start in enumerate(starts):
        last, stride = shape[axis] - size[axis], int(np.prod(shape[axis + 1 :]))
        if start.value is not None:
            fixed += int(np.clip(start.value, 0, last)) * stride
            continue
        least, most, step = (builder.constant(np.asarray(number, np.int32)) for number in (0, last, stride))
        kept = builder.elementwise("min", builder.elementwise("max", start, least), most)
        part = builder.elementwise("mul", kept, step)
        total = part if total is None else builder.elementwise("add", total, part)
    known = builder.constant(np.asarray(fixed, np.int32))
    return known if total is None else builder.elementwise("add", total, known)


def _window(shape: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Positions of the first window of ``size`` in an array of ``shape``."""
    return np.arange(int(np.prod(shape))).reshape(shape)[tuple(slice(length) for length in size)]


def _dynamic_slice(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    source, *starts = operands
    size = equation.params["slice_sizes"]
    offset = _offset(builder, source.shape, size, starts)
    where = _window(source.shape, size)
    if offset.value is not None:
        return [builder.take([source], where + int(offset.value))]
    return [builder.take_at(source, offset, where)]


def _dynamic_update_slice(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    source, update, *starts = operands
    offset = _offset(builder, source.shape, update.shape, starts)
    where = _window(source.shape, update.shape)
    if offset.value is None:
        return [builder.put_at(source, update, offset, where)]
    positions = np.arange(source.size)
    positions[where + int(offset.value)] = source.size + np.arange(update.size).reshape(update.shape)
    return [builder.take([source, update], positions.reshape(source.shape))]


def _dot_general(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    """Batch axes, free axes and summed axes are each brought together."""
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    left, right = operands
    left_free = [axis for axis in range(len(left.shape)) if axis not in (*left_sum, *left_batch)]
    right_free = [axis for axis in range(len(right.shape)) if axis not in (*right_sum, *right_batch)]

    def brought(array: Array, *groups: Sequence[int]) -> Array:
        order = [axis for group in groups for axis in group]
        sizes = [int(np.prod([array.shape[axis] for axis in group])) for group in groups]
        return builder.take([array], np.arange(array.size).reshape(array.shape).transpose(order).reshape(sizes))

    result = builder.product(
        brought(left, left_batch, left_free, left_sum), brought(right, right_batch, right_sum, right_free)
    )
    return [builder.reshape(result, equation.outvars[0].aval.shape)]


def _select(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    which, *cases = operands
    if which.dtype != BOOLEAN or len(cases) != 2:
        raise UnsupportedError(f"A program has no choice among {len(cases)} by {which.dtype}")
    return [builder.where(which, cases[1], cases[0])]


def _clamp(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    low, value, high = operands
    return [builder.elementwise("min", builder.elementwise("max", value, low), high)]


def _convert(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    return [builder.elementwise("convert", operands[0], dtype=np.dtype(equation.params["new_dtype"]))]


def _square(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    return [builder.elementwise("mul", operands[0], operands[0])]


def _integer_pow(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    """By repeated squaring, as XLA."""
    exponent, base, power = abs(equation.params["y"]), operands[0], None
    while exponent:
        if exponent & 1:
            power = base if power is None else builder.elementwise("mul", power, base)
        exponent >>= 1
        if exponent:
            base = builder.elementwise("mul", base, base)
    one = builder.constant(np.ones((), operands[0].dtype))
    if power is None:
        return [builder.spread(one, operands[0].shape)]
    return [builder.elementwise("div", one, power) if equation.params["y"] < 0 else power]


def _rsqrt(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    one = builder.constant(np.ones((), FLOAT))
    return [builder.elementwise("div", one, builder.elementwise("sqrt", operands[0]))]


def _round(builder: Builder, equation: Any, operands: list[Array]) -> list[Array]:
    if int(equation.params["rounding_method"]) != int(jax.lax.RoundingMethod.TO_NEAREST_EVEN):
        raise UnsupportedError("A program rounds halves to the even neighbour only")
    return [builder.elementwise("round", operands[0])]


_PLAIN = "add sub mul div rem max min pow neg abs sign exp expm1 log log1p tanh logistic sqrt floor ceil"
_PLAIN += " eq ne lt le gt ge is_finite"
_EXACT = "add sub mul div max min neg abs sign sqrt floor eq ne lt le gt ge"
_MOVES = "reshape squeeze expand_dims broadcast_in_dim slice transpose rev concatenate stack pad split"
_REDUCTIONS = {f"reduce_{name}": name for name in ("sum", "prod", "max", "min", "and", "or")}

LOWERINGS: dict[str, _Lowering] = {
    **{name: _function(name) for name in _PLAIN.split()},
    **{name: _logical(name) for name in ("and", "or", "xor", "not")},
    **{name: _move for name in _MOVES.split()},
    **{
        name: _reduction(function)
        for name, function in (_REDUCTIONS | {"argmax": "argmax", "argmin": "argmin"}).items()
    },
    **dict.fromkeys(("copy", "copy_p", "stop_gradient", "optimization_barrier"), _same),
    "gather": _gather,
    "scatter": _scatter,
    "scatter-add": _scatter_add,
    "dynamic_slice": _dynamic_slice,
    "dynamic_update_slice": _dynamic_update_slice,
    "dot_general": _dot_general,
    "select_n": _select,
    "clamp": _clamp,
    "convert_element_type": _convert,
    "square": _square,
    "integer_pow": _integer_pow,
    "rsqrt": _rsqrt,
    "round": _round,
}
"""By the primitive's name."""

FOLDING = {*_MOVES.split(), *_EXACT.split(), "select_n", "convert_element_type", "square", "clamp"}
"""Primitives whose lowering computes what is known, exactly as JAX does; JAX computes the others."""
