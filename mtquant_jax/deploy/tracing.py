"""A JAX function -> its `Program`: calls are inlined, what is known is computed, moves of moves become one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxprs_in_params

from mtquant_jax.deploy.builder import Builder, UnsupportedError
from mtquant_jax.deploy.lowering import FOLDING, LOWERINGS
from mtquant_jax.deploy.operations import Array, Program

__all__ = ["UnsupportedError", "trace"]

_INLINED = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def trace(function: Callable[..., Any], *examples: Any) -> Program:
    """The program of a function, for arguments of the shapes and types of the examples.

    Args:
        function: pure and traceable; arrays that it closes over become constants.
        examples: pytrees of arrays or `jax.ShapeDtypeStruct` for its positional arguments.

    Returns:
        A program whose inputs are named by argument and path (``state.book.equity``) and whose outputs by path in the
        result (of a dictionary ``{"weights": ...}``, ``weights``); a result that is one array is ``output``.

    Raises:
        UnsupportedError: the function uses a primitive or a type that programs do not have; it is named.
        ValueError: two inputs or outputs have one name.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*examples)
    arguments = zip(inspect.signature(function).parameters, examples, strict=False)
    names = [name for parameter, example in arguments for name in _names({parameter: example})]
    builder = Builder()
    given = [builder.input(name, var.aval) for name, var in zip(names, closed.jaxpr.invars, strict=True)]
    constants = [builder.constant(np.asarray(value)) for value in closed.consts]
    with jax.default_device(jax.local_devices(backend="cpu")[0]):  # constants are the same wherever it is traced
        results = _run(builder, closed.jaxpr, constants, given)
    outputs = dict(zip(_names(shape), results, strict=True))
    if len(outputs) < len(results):
        raise ValueError("Two outputs have one name")
    return builder.program(outputs)


def _names(tree: Any) -> list[str]:
    """Paths of a pytree's leaves."""
    paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
    return [jax.tree_util.keystr(path, simple=True, separator=".") or "output" for path in paths]


def _run(builder: Builder, jaxpr: Any, constants: Sequence[Array], given: Sequence[Array]) -> list[Array]:
    """The results of a jaxpr, its equations added to the builder one after the other."""
    known: dict[Any, Array] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*constants, *given), strict=True))

    def read(atom: Any) -> Array:
        return builder.constant(np.asarray(atom.val, atom.aval.dtype)) if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        operands = [read(atom) for atom in equation.invars]
        for var, result in zip(equation.outvars, _results(builder, equation, operands), strict=True):
            if (result.shape, result.dtype) != (var.aval.shape, var.aval.dtype):
                raise UnsupportedError(f"A program gives {result.dtype} {list(result.shape)} for {str(equation)[:300]}")
            known[var] = result
    return [read(atom) for atom in jaxpr.outvars]


def _results(builder: Builder, equation: Any, operands: list[Array]) -> Sequence[Array]:
    """The results of one equation."""
    name = equation.primitive.name
    known = all(array.value is not None for array in operands)
    if known and name not in FOLDING and not list(jaxprs_in_params(equation.params)):
        values = equation.primitive.bind(*(array.value for array in operands), **equation.params)
        values = values if equation.primitive.multiple_results else [values]
        return [builder.constant(np.asarray(value)) for value in values]
    if name in LOWERINGS:
        return LOWERINGS[name](builder, equation, operands)
    if name == "cond":
        return _chosen(builder, equation.params["branches"], operands[0], operands[1:])
    inner = next((equation.params[key] for key in _INLINED if key in equation.params), None)
    if inner is None or name in ("scan", "while"):
        raise UnsupportedError(f"A program has no {name}: {str(equation)[:300]}")
    return _inlined(builder, inner, operands)


def _inlined(builder: Builder, inner: Any, operands: Sequence[Array]) -> list[Array]:
    """The results of a jaxpr, closed or not, for the last of the operands."""
    jaxpr = getattr(inner, "jaxpr", inner)
    constants = [builder.constant(np.asarray(value)) for value in getattr(inner, "consts", ())]
    return _run(builder, jaxpr, constants, operands[len(operands) - len(jaxpr.invars) :])


def _chosen(builder: Builder, branches: Sequence[Any], index: Array, operands: Sequence[Array]) -> Sequence[Array]:
    """The results of one of several branches: all are computed, unless the index is known, and then one is taken."""
    if index.value is not None:  # such as the choice of a platform's own formula
        return _inlined(builder, branches[int(np.clip(index.value, 0, len(branches) - 1))], operands)
    results = _inlined(builder, branches[0], operands)
    for number, branch in enumerate(branches[1:], 1):
        taken = builder.elementwise("ge", index, builder.constant(np.asarray(number, np.int32)))
        others = _inlined(builder, branch, operands)
        results = [builder.where(taken, new, old) for new, old in zip(others, results, strict=True)]
    return results
