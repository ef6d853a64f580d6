"""ONNX models compute what their programs do, by onnxruntime, and are of the versions that MetaTrader reads."""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest

from mtquant_jax.deploy.onnx_model import onnx_model
from mtquant_jax.deploy.operations import Program
from mtquant_jax.deploy.tracing import trace
from mtquant_jax.errors import UserError
from mtquant_jax.simulation import execution
from tests.agents import test_hierarchy as hierarchies
from tests.conftest import f32, make_contracts
from tests.deploy.programs import leaves
from tests.deploy.test_tracing import MATRIX, POSITIVE, VECTOR, WHOLE


def assert_onnx_agrees(program: Program, *arguments: Any) -> bytes:
    """onnxruntime gives what NumPy does; the model."""
    content = onnx_model(program.read(), "test")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    given = leaves(program, *arguments)
    found = session.run(list(program.outputs), {name: given[name] for name in program.read().inputs})
    for (name, wanted), mine in zip(program.run(given).items(), found, strict=True):
        mine = np.asarray(mine)
        assert (mine.shape, mine.dtype) == (wanted.shape, wanted.dtype), name
        if wanted.dtype == np.float32:
            np.testing.assert_allclose(mine, wanted, rtol=2e-6, atol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(mine, wanted, err_msg=name)
    return content


def test_every_function_of_numbers():
    def functions(value, other, positive, whole):
        plain = (jnp.abs, jnp.sign, jnp.exp, jnp.expm1, jnp.tanh, jnp.floor, jnp.ceil, jnp.round, jax.nn.sigmoid)
        return {
            **{function.__name__: function(value) for function in plain},
            **{function.__name__: function(positive) for function in (jnp.log, jnp.log1p, jnp.sqrt)},
            "rsqrt": jax.lax.rsqrt(positive),
            "powers": positive**0.3 + value**3,
            "pairs": jnp.maximum(value, other) * jnp.minimum(value, -other) / (1.0 - other),
            "remainder": value % (other + 0.5),
            "integers": jax.lax.div(whole, jnp.int32(2)) + whole % 3 - jnp.sign(whole) * jnp.maximum(whole, -1),
            "chosen": jnp.where(value > other, value, whole.astype(jnp.float32)),
            "converted": value.astype(jnp.int32) + (whole > 0),
        }

    program = trace(functions, VECTOR, VECTOR[::-1], POSITIVE, WHOLE)
    assert_onnx_agrees(program, VECTOR, VECTOR[::-1], POSITIVE, WHOLE)


def test_log1p_and_expm1_keep_their_digits_near_zero():
    small = f32([1e-9, -1e-9, 1e-5, -1e-4, 3e-3, 0.0])
    program = trace(lambda value: (jnp.log1p(value), jnp.expm1(value)), small)
    session = onnxruntime.InferenceSession(onnx_model(program, "test"), providers=["CPUExecutionProvider"])
    wide = np.asarray(small, np.float64)
    for found, wanted in zip(
        session.run(None, {"value": np.asarray(small)}), (np.log1p(wide), np.expm1(wide)), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_every_function_of_booleans_and_every_reduction():
    def functions(matrix, whole):
        up, odd = matrix > 0.0, whole % 2 == 1
        return {
            "logic": (up & ~odd) | (up ^ odd),
            "chosen": jnp.where(odd, up, ~up),
            "compared": (matrix >= 1.0) | (matrix <= -4.0) | (whole != 3) & (whole < 2),
            "finite": jnp.isfinite(1.0 / matrix),
            "sums": matrix.sum(0),
            "products": (matrix / 4.0).prod(1),
            "extremes": matrix.max(1) - matrix.min(1),
            "integers": whole.sum(0) + whole.max(0),
            "any": up.any(1),
            "all": up.all(0),
            "largest": jnp.argmax(matrix, 1),
            "smallest": jnp.argmin(matrix, 0),
        }

    whole = jnp.asarray(MATRIX, jnp.int32)
    assert_onnx_agrees(trace(functions, MATRIX, whole), MATRIX, whole)


def kinds(content: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(content).graph.node]


@pytest.mark.parametrize(
    ("move", "nodes"),
    [
        (lambda m: m.reshape(2, 6), ["Reshape"]),
        (lambda m: m.T, ["Reshape", "Transpose", "Reshape"]),
        (lambda m: m[1:], ["Reshape", "Slice", "Reshape"]),
        (lambda m: m[1, 2], ["Reshape", "Gather"]),
        (lambda m: m[::-1, ::2], ["Reshape", "Gather"]),
        (lambda m: jnp.broadcast_to(m[:, :, None], (3, 4, 2)), ["Reshape", "Expand"]),
        (lambda m: jnp.concatenate([m, m + 1.0]), ["Add", "Reshape", "Reshape", "Concat", "Reshape"]),
        (lambda m: jnp.pad(m, 1), None),
        (lambda m: m[:0], None),
    ],
)
def test_moves_are_as_few_nodes_as_they_can_be(move, nodes):
    content = assert_onnx_agrees(trace(lambda matrix: move(matrix), MATRIX), MATRIX)
    assert nodes is None or kinds(content) == nodes


@pytest.mark.parametrize("row", [-1, 1, 5])
def test_windows_at_computed_places(row):
    def function(matrix, row):
        window = jax.lax.dynamic_slice(matrix, (row, 1), (2, 2))
        return window, jax.lax.dynamic_update_slice(matrix, window + 100.0, (row, row))

    assert_onnx_agrees(trace(function, MATRIX, jnp.int32(row)), MATRIX, jnp.int32(row))


def test_outputs_may_be_inputs_constants_or_one_array_twice():
    def function(value):
        twice = value * 2.0
        return {"given": value, "known": jnp.arange(3.0), "one": twice, "other": twice}

    content = assert_onnx_agrees(trace(function, VECTOR), VECTOR)
    assert kinds(content) == ["Mul", "Identity", "Identity", "Identity"]


def test_the_policy_of_a_hierarchy():
    inputs = jax.tree.map(lambda leaf: leaf[0, 0], hierarchies.INPUTS)
    agent, params, statistics = hierarchies.AGENT, hierarchies.TOGETHER, hierarchies.STATISTICS
    program = trace(lambda seen: agent.policy(params, statistics, seen, hierarchies.PARAMS).mode(), inputs)
    assert "MatMul" in kinds(assert_onnx_agrees(program, inputs))


def test_whole_lots_are_rounded_alike():
    generator = np.random.default_rng(2)
    contracts = make_contracts(64, size=1000.0)
    held = f32(np.round(generator.normal(size=64), 2))
    wanted = held + f32(0.01 * generator.normal(size=64))
    arguments = wanted, held, jnp.asarray(generator.random(64) < 0.5)
    program = trace(lambda w, h, limited: execution.whole_lots(w, h, contracts, f32(1e5), limited), *arguments)
    assert_onnx_agrees(program, *arguments)


def test_the_versions_are_those_that_metatrader_reads_and_equal_programs_have_equal_bytes():
    contents = [onnx_model(trace(lambda v: jnp.tanh(v), VECTOR), "test", {"symbols": "EURUSD"}) for _ in range(2)]
    assert contents[0] == contents[1]
    model = onnx.load_from_string(contents[0])
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (8, [("", 17)])
    assert {entry.key: entry.value for entry in model.metadata_props} == {"symbols": "EURUSD"}


def test_names_of_inputs_and_outputs_differ():
    with pytest.raises(ValueError, match="value is the name of an input and of an output"):
        onnx_model(trace(lambda value: {"value": value}, VECTOR), "test")


def test_without_onnx_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="pip install onnx"):
        onnx_model(trace(lambda value: -value, VECTOR), "test")
