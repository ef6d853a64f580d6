"""A `Program` as an ONNX model: opset 17, IR version 8, plain operators, float32, fixed shapes.

MetaTrader 5 documents onnxruntime 1.14, which runs these versions.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mtquant_jax.deploy.operations import (
    BOOLEAN,
    INTEGER,
    Array,
    Elementwise,
    Operation,
    Product,
    Program,
    PutAt,
    Reduction,
    Take,
    affine,
)
from mtquant_jax.errors import UserError
from mtquant_jax.version import __version__

OPSET, IR_VERSION = 17, 8


def require_onnx() -> Any:
    """The package onnx.

    Raises:
        UserError: it is not installed.
    """
    try:
        return importlib.import_module("onnx")
    except ImportError:
        raise UserError(
            "an ONNX model needs the package onnx, which is not installed; pip install onnx (in the extra onnx)"
        ) from None


def onnx_model(program: Program, name: str, metadata: Mapping[str, str] | None = None) -> bytes:
    """The model of a program, checked by onnx, as the bytes of its file.

    Args:
        program: its inputs and outputs keep their names, shapes and types.
        name: of the graph.
        metadata: what runtimes show of a model besides.

    Raises:
        UserError: onnx is not installed.
        ValueError: an input and an output have one name.
    """
    onnx = require_onnx()
    if both := set(program.inputs) & set(program.outputs):
        raise ValueError(f"{min(both)} is the name of an input and of an output")
    graph = _Graph(onnx.helper, onnx.numpy_helper)
    graph.add(program)
    helper = onnx.helper

    def declared(arrays: Mapping[str, Array]) -> list[Any]:
        return [helper.make_tensor_value_info(name, graph.type(a.dtype), a.shape) for name, a in arrays.items()]

    made = helper.make_model(
        helper.make_graph(
            graph.nodes, name, declared(program.inputs), declared(program.outputs), list(graph.known.values())
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="mtquant-jax",
        producer_version=__version__,
    )
    helper.set_model_props(made, dict(metadata or {}))
    onnx.checker.check_model(made, full_check=True)
    content: bytes = made.SerializeToString(deterministic=True)
    return content


class _Graph:
    """Nodes and known arrays, added operation by operation."""

    def __init__(self, helper: Any, arrays: Any) -> None:
        self._helper, self._arrays = helper, arrays
        self.nodes: list[Any] = []
        self.known: dict[Any, Any] = {}  # by content
        self._names: dict[Array, str] = {}
        self._same: dict[Any, str] = {}  # results by what makes them

    def type(self, dtype: np.dtype) -> int:
        """ONNX's number of a type."""
        number: int = self._helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return number

    def add(self, program: Program) -> None:
        """All of a program; what is an output is computed under its name."""
        self._names = {array: name for name, array in program.inputs.items()}
        for name, array in program.outputs.items():
            if array.value is None:
                self._names.setdefault(array, name)
        for operation in program.operations:
            self._operation(operation)
        for name, array in program.outputs.items():
            if self._name(array) != name:
                self.node("Identity", [self._name(array)], name)

    def node(self, kind: str, operands: Sequence[str], result: str = "", **attributes: Any) -> str:
        """The result of one more node, or of the same one that is there; a name makes it another."""
        key = (kind, tuple(operands), repr(attributes))
        if not result and key in self._same:
            return self._same[key]
        if not result:
            result = self._same[key] = f"n{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(kind, list(operands), [result], name=f"{kind}_{result}", **attributes))
        return result

    def constant(self, value: Any, dtype: Any = None) -> str:
        """The name of a known array; equal ones are there once."""
        value = np.asarray(value, dtype)
        key = (value.dtype, value.shape, value.tobytes())
        if key not in self.known:
            self.known[key] = self._arrays.from_array(
                np.ascontiguousarray(value).reshape(value.shape), f"k{len(self.known)}"
            )
        name: str = self.known[key].name
        return name

    def shaped(self, name: str, shape: Sequence[int], result: str = "") -> str:
        """The same elements in another shape."""
        return self.node("Reshape", [name, self.constant(list(shape), np.int64)], result)

    def converted(self, name: str, dtype: Any, result: str = "") -> str:
        """The same numbers in another type."""
        return self.node("Cast", [name], result, to=self.type(np.dtype(dtype)))

    def _name(self, array: Array) -> str:
        return self.constant(array.value) if array.value is not None else self._names.setdefault(array, array.name)

    def _operation(self, operation: Operation) -> None:
        result = self._name(operation.result)
        if isinstance(operation, Take):
            self._take(operation, result)
            return
        names = [self._name(array) for array in operation.operands]
        if isinstance(operation, Elementwise):
            self._elementwise(operation, names, result)
        elif isinstance(operation, Reduction):
            self._reduction(operation, names[0], result)
        elif isinstance(operation, Product):
            self.node("MatMul", names, result)
        else:
            *_, offset = names
            start = self.converted(offset, np.int64)
            where = self.node("Add", [self.constant(operation.positions.reshape(-1), np.int64), start])
            flat = self.shaped(names[0], [-1])
            if isinstance(operation, PutAt):
                flat = self.node("ScatterElements", [flat, where, self.shaped(names[1], [-1])], axis=0)
            else:
                flat = self.node("Gather", [flat, where], axis=0)
            self.shaped(flat, operation.result.shape, result)

    def _elementwise(self, operation: Elementwise, names: list[str], result: str) -> None:
        function, logical = operation.function, operation.operands[-1].dtype == BOOLEAN
        if function == "convert":
            self.converted(names[0], operation.result.dtype, result)
        elif function == "where" and logical:
            this = self.node("And", names[:2])
            other = self.node("And", [self.node("Not", names[:1]), names[2]])
            self.node("Or", [this, other], result)
        elif function in _COMPOSED:
            _COMPOSED[function](self, names, result)
        elif function == "rem":
            self.node("Mod", names, result, fmod=1)
        else:
            self.node(_NODES.get(function, function.capitalize()), names, result)

    def _reduction(self, operation: Reduction, name: str, result: str) -> None:
        function, axes = operation.function, list(operation.axes)
        if function == "sum":
            self.node("ReduceSum", [name, self.constant(axes, np.int64)], result, keepdims=0)
        elif function in ("argmax", "argmin"):
            kind = "ArgMax" if function == "argmax" else "ArgMin"
            self.converted(self.node(kind, [name], axis=axes[0], keepdims=0), INTEGER, result)
        elif operation.operand.dtype == BOOLEAN:
            kind = "ReduceMax" if function in ("or", "max") else "ReduceMin"
            number = self.node(kind, [self.converted(name, INTEGER)], axes=axes, keepdims=0)
            self.converted(number, BOOLEAN, result)
        else:
            kind = {"max": "ReduceMax", "min": "ReduceMin", "prod": "ReduceProd"}[function]
            self.node(kind, [name], result, axes=axes, keepdims=0)

    def _take(self, operation: Take, result: str) -> None:
        """As few nodes as the move allows: reshape, slice, transpose and expand where it is made of them."""
        flat = [self._flat(source) for source in operation.sources]
        total = sum(source.size for source in operation.sources)
        block = _block(operation.positions)
        if len(flat) == 1 and block is not None and block.size == total:
            joined = self._name(operation.sources[0])
        else:
            joined = flat[0]() if len(flat) == 1 else self.node("Concat", [one() for one in flat], axis=0)
        if block is None or operation.positions.size == 1 < total:
            self.node("Gather", [joined, self.constant(operation.positions, np.int64)], result, axis=0)
            return
        if block.size < total:
            ends = ([block.first], [block.first + block.size])
            joined = self.node("Slice", [joined, *(self.constant(end, np.int64) for end in ends)])
        ordered = sorted(block.order)
        if block.order != ordered:
            joined = self.shaped(joined, [operation.positions.shape[axis] for axis in block.order])
            joined = self.node("Transpose", [joined], perm=[block.order.index(axis) for axis in ordered])
        shape = operation.positions.shape
        inner = [size if axis in block.order else 1 for axis, size in enumerate(shape)]
        if inner == list(shape):
            self.shaped(joined, shape, result)
        else:
            self.node("Expand", [self.shaped(joined, inner), self.constant(shape, np.int64)], result)

    def _flat(self, array: Array) -> Callable[[], str]:
        """What gives the name of an array as a vector when it is needed."""
        name = self._name(array)
        return lambda: name if len(array.shape) == 1 else self.shaped(name, [-1])


class _Block:
    """Positions that are all those of a run of elements, each once, or repeated along other axes."""

    def __init__(self, first: int, size: int, order: list[int]) -> None:
        self.first, self.size = first, size
        self.order = order  # axes of the positions that the run goes along, slowest first


def _block(positions: np.ndarray) -> _Block | None:
    """The block that positions are, or None where they are no block."""
    found = affine(positions)
    if found is None:
        return None
    first, strides = found
    moving = [axis for axis, stride in enumerate(strides) if stride]
    order = sorted(moving, key=lambda axis: -strides[axis])
    size = 1
    for axis in reversed(order):
        if strides[axis] != size:
            return None
        size *= positions.shape[axis]
    return _Block(first, size, order)


def _not_equal(graph: _Graph, names: list[str], result: str) -> None:
    graph.node("Not", [graph.node("Equal", names)], result)


def _is_finite(graph: _Graph, names: list[str], result: str) -> None:
    odd = graph.node("Or", [graph.node("IsNaN", names), graph.node("IsInf", names)])
    graph.node("Not", [odd], result)


def _log1p(graph: _Graph, names: list[str], result: str) -> None:
    """``log(1 + x) x / ((1 + x) - 1)``, which is exact where ``1 + x`` is rounded (Kahan)."""
    one = graph.constant(1.0, np.float32)
    sum_ = graph.node("Add", [names[0], one])
    rest = graph.node("Sub", [sum_, one])
    lost = graph.node("Equal", [rest, graph.constant(0.0, np.float32)])
    divisor = graph.node("Where", [lost, one, rest])
    scaled = graph.node("Mul", [graph.node("Log", [sum_]), graph.node("Div", [names[0], divisor])])
    graph.node("Where", [lost, names[0], scaled], result)


def _expm1(graph: _Graph, names: list[str], result: str) -> None:
    """``tanh(x / 2) (exp(x) + 1)``, which loses no digits near zero."""
    half = graph.node("Mul", [names[0], graph.constant(0.5, np.float32)])
    more = graph.node("Add", [graph.node("Exp", names), graph.constant(1.0, np.float32)])
    graph.node("Mul", [graph.node("Tanh", [half]), more], result)


_COMPOSED: dict[str, Callable[[_Graph, list[str], str], None]] = {
    "ne": _not_equal,
    "is_finite": _is_finite,
    "log1p": _log1p,
    "expm1": _expm1,
}

_NODES = {
    "logistic": "Sigmoid",
    "eq": "Equal",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
}
"""The nodes of functions whose names ONNX does not share; the others are called as here, with a capital letter."""
