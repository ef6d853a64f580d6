"""Out of memory: a sentence with numbers and the flags to lower, where XLA or NumPy could not allocate."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from mtquant_jax.cli import main
from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.runs import memory
from mtquant_jax.runs.memory import Memory, market_bytes, memory_advice
from mtquant_jax.settings.layers import override_config
from mtquant_jax.training.compiling import Compiler


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    monkeypatch.setattr(memory, "main_memory", lambda: Memory(8_000_000_000, 3_000_000_000, "cgroup"))
    monkeypatch.setattr(Compiler, "largest_bytes", 700_000_000)


XLA = jax.errors.JaxRuntimeError
ERRORS = [
    (XLA("RESOURCE_EXHAUSTED: Out of memory allocating 40000000000 bytes."), "40.0 GB"),
    (XLA("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 37.25GiB."), "40.0 GB"),
    (XLA("RESOURCE_EXHAUSTED: : failed"), "memory"),
    (MemoryError("Unable to allocate 7.28 TiB for an array with shape (1, 2) and data type float64"), "8,004.4 GB"),
    (MemoryError("std::bad_alloc"), "memory"),
]


@pytest.mark.parametrize(("error", "size"), ERRORS)
def test_a_lack_of_memory_becomes_advice_with_numbers(error, size):
    config = override_config(None, {"market.num_paths": 100, "num_envs": 500})
    with pytest.raises(UserError) as raised, memory_advice(config):
        raise error
    text = str(raised.value)
    assert text.startswith(f"out of memory: {size} could not be allocated, and 3.0 GB are free of 8.0 GB (limited by ")
    assert f"a market of 100 paths x 6,000 bars takes {memory.in_words(market_bytes(config))}, and" in text
    assert "the largest program so far takes 700.0 MB" in text
    assert "Lower `market.num_paths` 100 or `market.num_bars` 6000 or `num_envs` 500 or `specialists.forex" in text
    assert raised.value.__cause__ is error


def test_what_takes_most_comes_first(monkeypatch):
    monkeypatch.setattr(Compiler, "largest_bytes", 170_000_000_000)
    with (
        pytest.raises(UserError, match=r"takes 170\.0 GB\. Lower `num_envs` 125 or"),
        memory_advice(override_config(None, {})),
    ):
        raise MemoryError


def test_bars_of_files_are_not_called_paths():
    config = override_config(None, {"data_dir": "bars"})
    with pytest.raises(UserError) as raised, memory_advice(config):
        raise MemoryError
    assert "num_paths" not in str(raised.value) and "`market.start`" in str(raised.value)


def test_other_errors_stay_what_they_are():
    config = override_config(None, {})
    for error in (XLA("INTERNAL: a defect"), RuntimeError("no"), UserError("bad")):
        with pytest.raises(type(error), match=str(error)), memory_advice(config):
            raise error


@pytest.mark.parametrize("command", ["train", "walk-forward"])
def test_the_commands_end_with_one_line_and_exit_code_2(command, monkeypatch, tmp_path, capsys):
    def exhausted(*_, **__):
        raise XLA("RESOURCE_EXHAUSTED: Out of memory allocating 40000000000 bytes.")

    monkeypatch.setattr("mtquant_jax.runs.train.prepare_market", exhausted)
    monkeypatch.setattr("mtquant_jax.market.prepare.prepare_market", exhausted)
    assert main([command, "--run-dir", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: out of memory: 40.0 GB could not be allocated") and error.count("\n") == 1
    assert "--market.num-paths 16" in error and "--specialists.equity.batch-size 500" in error


@pytest.mark.parametrize("specialists", [None, {"forex": {"symbols": ["EURUSD"], "batch_size": 125}}])
def test_the_estimate_is_the_size_of_the_table(specialists):
    overrides = {"quick_test": True, "market": {"num_paths": 2, "num_bars": 2000}}
    config = override_config(None, overrides | ({"specialists": specialists} if specialists else {}))
    table = prepare_market(config).table
    assert market_bytes(config) == sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(table))


def test_the_compiler_knows_its_largest_program(monkeypatch):
    monkeypatch.setattr(Compiler, "largest_bytes", 0)
    Compiler()(jax.jit(lambda x: x @ x), (), np.ones((512, 512), np.float32))
    assert Compiler.largest_bytes >= 2 * 4 * 512 * 512
