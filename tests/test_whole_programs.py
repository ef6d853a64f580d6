"""Programs that are loaded without being traced: the same numbers, found only by what they are made of."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax._src import compilation_cache

import mtquant_jax as mt
from mtquant_jax import whole_programs
from mtquant_jax.agents.networks import SpecialistNetwork
from mtquant_jax.learning.train import start_training, train_chunk
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.program_cache import check_programs
from mtquant_jax.simulation.reward import REWARDS
from mtquant_jax.simulation.specialist_env import SpecialistEnv
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.phases import plan_specialist
from mtquant_jax.whole_programs import compiled
from tests.conftest import same_bits

_unchecked = getattr(compilation_cache.get_file_cache, "inner", compilation_cache.get_file_cache)
traced: list[float] = []


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def grown(rate: float, money: jax.Array, bars: jax.Array) -> tuple[jax.Array, jax.Array]:
    traced.append(rate)
    return jax.lax.scan(lambda m, bar: (m * (1.0 + rate) + bar, jnp.sum(m)), money, bars)


MONEY, BARS = jnp.arange(4.0), jnp.ones((5, 4))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Of a cache, in a process that is a command, to which the functions above belong."""
    names = {
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_enable_compilation_cache": True,
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: jax.config.values[name] for name in names}
    for name, value in names.items():
        jax.config.update(name, value)
    monkeypatch.setattr(compilation_cache, "get_file_cache", _unchecked)
    assert check_programs("01234567-2")
    monkeypatch.setattr(whole_programs, "_is_command", True)
    monkeypatch.setattr(whole_programs, "_KNOWN", (*whole_programs._KNOWN, "tests"))
    traced.clear()
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("whole_*-cache"))


def grow(rate: float = 0.5) -> Any:
    money = jnp.copy(MONEY)
    found = compiled(grown, (rate,), (money, BARS))(money, BARS)
    assert money.is_deleted()  # what is donated is so with either program
    jax.clear_caches()  # another process has traced nothing
    return found


def test_a_second_process_traces_nothing_and_computes_the_same(folder: Path) -> None:
    first = grow()
    assert traced == [0.5] and len(kept(folder)) == 1
    assert same_bits(grow(), first) and traced == [0.5]
    assert not same_bits(grow(0.25), first) and traced == [0.5, 0.25]
    assert len(kept(folder)) == 2


def test_what_jax_had_in_its_cache_is_kept_as_well_as_what_was_compiled(folder: Path) -> None:
    """XLA's CPU writes a program that it has read in a form that it cannot run."""
    first = grow()
    kept(folder)[0].unlink()
    assert same_bits(grow(), first) and traced == [0.5, 0.5]  # traced, and then found in JAX's cache
    assert same_bits(grow(), first) and traced == [0.5, 0.5]


def test_what_jax_has_in_memory_is_not_kept(folder: Path) -> None:
    """It may have been read from a cache, in a form that cannot be written again."""
    grown.lower(0.5, MONEY, BARS).compile()
    compiled(grown, (0.5,), (MONEY, BARS))
    assert not kept(folder)


def test_a_training_goes_on_as_if_it_had_been_traced(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = mt.load_config(quick_test=True)
    plan = plan_specialist(config, prepare_market(config), 0)

    def trained() -> Any:
        compiler, one = Compiler(), jnp.ones((), jnp.int32)
        compiler._compiled = {}  # not those of the session
        state = compiler(start_training, (plan.program,), *plan.start_arguments)(*plan.start_arguments)
        arguments = (state, plan.env_params, plan.hyper, one)
        return compiler(train_chunk, (plan.program,), *arguments)(*arguments)

    jax.clear_caches()  # which may have come from another cache
    first = trained()
    assert len(kept(folder)) == 2
    jax.clear_caches()
    with caplog.at_level(logging.DEBUG, "jax._src"), jax.log_compiles():
        assert same_bits(trained(), first)
    told = [record.getMessage() for record in caplog.records]
    assert not [line for line in told if "_chunk" in line and "tracing" in line.lower()]


def test_a_damaged_program_is_compiled_again(folder: Path) -> None:
    first = grow()
    kept(folder)[0].write_bytes(b"no program")
    assert same_bits(grow(), first) and traced == [0.5, 0.5]
    assert same_bits(grow(), first) and traced == [0.5, 0.5]


@pytest.mark.parametrize("reason", ["no command", "no cache", "two devices"])
def test_nothing_is_kept_where_the_package_may_not_be_what_its_files_say(
    reason: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "no command":
        monkeypatch.setattr(whole_programs, "_is_command", False)
    elif reason == "no cache":
        jax.config.update("jax_enable_compilation_cache", False)
    else:
        monkeypatch.setattr(jax, "device_count", lambda: 2)
    grow()
    grow()
    assert traced == [0.5, 0.5] and not kept(folder)


def test_a_function_of_somebody_else_is_traced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_programs, "_KNOWN", ("mtquant_jax", "jax"))
    grow()
    grow()
    assert traced == [0.5, 0.5] and not kept(folder)


def test_other_code_and_settings_are_other_programs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grow()
    with monkeypatch.context() as patch:
        patch.setattr(whole_programs, "_surroundings", lambda: ("edited",))
        grow()
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
        whole_programs._surroundings.cache_clear()
        grow()
    whole_programs._surroundings.cache_clear()
    assert traced == [0.5] * 3 and len(kept(folder)) == 3


@dataclasses.dataclass(frozen=True)
class Sized:
    size: float
    seed: int = dataclasses.field(default=0, compare=False)


class Layer(nn.Module):
    width: int


NETWORK = SpecialistNetwork(3, 64, 0.0)
DIFFERENT = [
    *(None, False, 0, 0.0, -0.0, "0", b"0", (), (0,), ((0,),), {}, {"a": 0}, {"a": 1}, frozenset({1}), float, int),
    *(Sized(0.1), Sized(0.2), Layer(1), Layer(2), grown, jnp.sin, SpecialistNetwork),
    *(NETWORK, SpecialistNetwork(3, 32, 0.0), SpecialistNetwork(4, 64, 0.0)),
    *(SpecialistEnv(REWARDS["log_growth"]), SpecialistEnv(REWARDS["mean_variance"])),
]


def test_what_differs_is_described_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_programs, "_KNOWN", (*whole_programs._KNOWN, "tests"))
    texts = [whole_programs._described(value) for value in DIFFERENT]
    assert len(set(texts)) == len(texts)
    again = [whole_programs._described(value) for value in DIFFERENT]
    assert again == texts and not any(" at 0x" in text for text in texts)
    # What a program does not depend on is not a part of it, as for JAX.
    same = whole_programs._described
    assert same(Sized(0.1, seed=1)) == same(Sized(0.1)) and same(SpecialistNetwork(3, 64, -1.0)) == same(NETWORK)
    assert same(SpecialistEnv(REWARDS["log_growth"])) == same(SpecialistEnv(REWARDS["log_growth"]))


@pytest.mark.parametrize("value", [lambda: None, functools.partial(lambda: None), object(), jnp.ones(2), [object()]])
def test_what_may_hold_more_than_it_says_is_not_described(value: Any) -> None:
    with pytest.raises(whole_programs._Unknown):
        whole_programs._described(value)
