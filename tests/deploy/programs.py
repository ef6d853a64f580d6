"""Comparing programs with the functions that they were traced from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mtquant_jax.deploy.operations import Program
from mtquant_jax.deploy.tracing import trace


def leaves(program: Program, *arguments: Any) -> dict[str, np.ndarray]:
    """The arguments' leaves by the names of the program's inputs."""
    return dict(zip(program.inputs, map(np.asarray, jax.tree.leaves(arguments)), strict=True))


def assert_same(
    program: Program, function: Callable[..., Any], *arguments: Any, rtol: float = 1e-6, atol: float = 1e-6
) -> None:
    """The program's outputs are the function's: numbers within a tolerance, everything else exactly."""
    found = program.run(leaves(program, *arguments))
    wanted = jax.tree.leaves(jax.jit(function)(*arguments))
    for (name, mine), theirs in zip(found.items(), wanted, strict=True):
        theirs = np.asarray(theirs)
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype), name
        if mine.dtype == np.float32:
            np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=atol, err_msg=name)
        else:
            np.testing.assert_array_equal(mine, theirs, err_msg=name)


def traced_and_same(function: Callable[..., Any], *arguments: Any) -> Program:
    """The program of a function that it agrees with."""
    program = trace(function, *arguments)
    assert_same(program, function, *arguments)
    return program
