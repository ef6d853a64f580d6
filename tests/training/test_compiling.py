"""Compiled programs are shared by threads, and the seconds that they wait for them are those of a clock."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import pytest

from mtquant_jax.training.compiling import Compiler


def test_threads_wait_for_one_program_whose_seconds_count_once():
    traced: list[int] = []

    @jax.jit
    def slow(x):
        traced.append(1)
        time.sleep(0.3)
        return x + 1.0

    compiler, began = Compiler(), time.perf_counter()
    with ThreadPoolExecutor(3) as pool:
        programs = list(pool.map(lambda _: compiler(slow, (), jnp.ones(2)), range(3)))
    assert 0.3 <= compiler.seconds <= time.perf_counter() - began
    assert len(traced) == 1 and all(program is programs[0] for program in programs)
    before = compiler.seconds
    compiler(slow, (), jnp.zeros(2))
    assert compiler.seconds == before  # what is there is not waited for


def test_a_program_that_cannot_be_compiled_stops_the_clock():
    @jax.jit
    def broken(x):
        raise ValueError("no such program")

    compiler = Compiler()
    with pytest.raises(ValueError, match="no such program"):
        compiler(broken, (), jnp.ones(2))
    seconds = compiler.seconds
    time.sleep(0.05)
    with pytest.raises(ValueError, match="no such program"):
        compiler(broken, (), jnp.ones(2))
    assert compiler.seconds - seconds < 0.05
