"""Programs compute what the functions do that they were traced from, and say what they cannot."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.deploy.operations import Elementwise, Product, PutAt, Take, TakeAt, affine
from mtquant_jax.deploy.tracing import UnsupportedError, trace
from mtquant_jax.market.features import feature_bars, start, step, table_plan
from mtquant_jax.simulation import execution, risk
from tests.agents import test_hierarchy as hierarchies
from tests.conftest import f32, make_contracts, make_risk
from tests.deploy.programs import assert_same, leaves, traced_and_same
from tests.market.random_bars import CLASSES, INSTRUMENTS, random_bars
from tests.simulation.markets import PORTFOLIO_ENV, START, random_portfolio

VECTOR = f32([-2.5, -1.0, -0.25, 0.0, 0.5, 1.5])
POSITIVE = f32([1e-9, 0.25, 0.5, 1.0, 2.0, 40.0])
MATRIX = f32(np.arange(12).reshape(3, 4) - 5.0)
WHOLE = jnp.asarray([-7, -3, 0, 2, 5, 9], jnp.int32)


@pytest.mark.parametrize(
    "function",
    [jnp.abs, jnp.sign, jnp.exp, jnp.expm1, jnp.tanh, jnp.floor, jnp.ceil, jnp.round, jax.nn.sigmoid, jnp.negative],
)
def test_functions_of_one_element(function):
    traced_and_same(lambda value: function(value), VECTOR)


@pytest.mark.parametrize("function", [jnp.log, jnp.log1p, jnp.sqrt, jax.lax.rsqrt, lambda x: x**-3, lambda x: x**2.5])
def test_functions_of_a_positive_element(function):
    traced_and_same(lambda value: function(value), POSITIVE)


@pytest.mark.parametrize(
    "function",
    [
        jnp.maximum,
        jnp.minimum,
        jax.lax.div,
        jax.lax.rem,
        jnp.remainder,
        jnp.less,
        lambda a, b: (a <= b) ^ ~(a != b) | (a >= b) & (a > b),
        lambda a, b: jnp.where(a == b, a, b - a),
    ],
)
def test_functions_of_two_elements(function):
    traced_and_same(lambda left, right: function(left, right), WHOLE, WHOLE[::-1] + 1)
    traced_and_same(lambda left, right: function(left, right), VECTOR, VECTOR[::-1] + 1.0)


@pytest.mark.parametrize(
    "function",
    [
        lambda m: m.sum(0) + m.prod(),
        lambda m: m.max(1) - m.min(1),
        lambda m: (m > 2.0).any(1) & (m < 9.0).all(1),
        lambda m: jnp.argmax(jnp.abs(m), 1),
        lambda m: jax.nn.softmax(m, axis=-1),
        lambda m: m.astype(jnp.int32) // 2 + (m > 0.0),
        lambda m: (m[:, 1:3].T @ m[::-1, ::2]).reshape(-1),
        lambda m: jnp.einsum("ij,kj->ik", m, m * 2.0),
        lambda m: jnp.pad(m, ((1, 0), (0, 2)), constant_values=7.0),
        lambda m: jnp.concatenate([m[0], m[:, 1], jnp.ones(2)]),
        lambda m: jnp.split(m, [1, 3], axis=1),
        lambda m: m.at[1, 2:].set(m[0, :2]),
        lambda m: m[jnp.array([2, 0])][:, jnp.array([-1, 1])],
        lambda m: jnp.diagonal(m[:, :3]) + jnp.eye(3),
        lambda m: jax.ops.segment_sum(m.reshape(-1), np.repeat(np.arange(4), 3), num_segments=12),
        lambda m: jnp.clip(m, -1.0, 2.0) ** 3,
        lambda m: jnp.broadcast_to(m[1, 1] * 2.0, (2, 3)),
    ],
)
def test_functions_of_a_matrix(function):
    traced_and_same(lambda matrix: function(matrix), MATRIX)


@pytest.mark.parametrize("row", [-1, 0, 1, 2, 5])
def test_windows_at_computed_places_stay_inside(row):
    def function(matrix, row):
        window = jax.lax.dynamic_slice(matrix, (row, 1), (2, 2))
        return window, jax.lax.dynamic_update_slice(matrix, window + 100.0, (row, row))

    program = traced_and_same(function, MATRIX, jnp.int32(row))
    assert {TakeAt, PutAt} <= {type(operation) for operation in program.operations}


def test_what_is_known_is_computed_and_what_serves_nothing_is_left_out():
    table = f32(np.arange(24).reshape(4, 6))

    def function(value, unread):
        jnp.tanh(value + unread)
        return value * (jnp.exp(table)[1].sum() + 1.0)

    program = trace(function, VECTOR, VECTOR)
    assert [type(operation) for operation in program.operations] == [Elementwise]
    assert list(program.inputs) == ["value", "unread"]
    assert list(program.read().inputs) == ["value"]


def test_moves_of_moves_are_one_move():
    program = trace(lambda m: jnp.stack([m.T[1, :, None], m[:, :1] * 1.0 + 1.0])[0, ::-1, 0], MATRIX)
    assert [type(operation) for operation in program.operations] == [Take]
    assert program.operations[0].positions.tolist() == [9, 5, 1]
    assert affine(program.operations[0].positions) == (9, (-4,))


def test_the_same_computation_is_there_once():
    program = trace(lambda v: jnp.exp(v) / jnp.sum(jnp.exp(v)), VECTOR)
    assert [getattr(operation, "function", "take") for operation in program.operations] == ["exp", "sum", "div"]


@pytest.mark.parametrize("number", [-3, 0, 1, 2, 7])
def test_branches_are_computed_and_one_is_taken(number):
    branches = [lambda v: (v, v[0]), lambda v: (-v, v[1]), lambda v: (v * 3.0, v[0])]
    program = traced_and_same(lambda i, v: jax.lax.switch(i, branches, v), jnp.int32(number), VECTOR)
    assert "where" in [getattr(operation, "function", "") for operation in program.operations]


def test_names_of_inputs_and_outputs_are_paths():
    state = START(0, 1, hierarchies.PARAMS)
    program = trace(lambda state, weights: {"next": state, "twice": weights * 2.0}, state, VECTOR)
    assert "state.book.account.units" in program.inputs and "weights" in program.inputs
    assert list(program.outputs)[-1] == "twice" and "next.track_record.mean" in program.outputs
    assert list(trace(lambda value: -value, VECTOR).outputs) == ["output"]


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda v: jnp.sin(v), "sin"),
        (lambda v: jnp.sort(v), "sort"),
        (lambda v: MATRIX[jnp.argsort(v)[:2]], "sort"),
        (lambda v: v[jnp.stack([jnp.argmax(v), jnp.argmin(v)])], "gather"),
        (lambda v: jax.lax.fori_loop(0, 3, lambda _, x: x * 2.0, v), "scan|while"),
        (lambda v: v.astype(jnp.bfloat16), "bfloat16"),
    ],
)
def test_what_a_program_cannot_say_is_named(function, named):
    with pytest.raises(UnsupportedError, match=named):
        trace(lambda value: function(value), VECTOR)


def test_inputs_of_another_form_are_refused():
    program = trace(lambda value: -value, VECTOR)
    with pytest.raises(ValueError, match=r"input value is float64 \[6\]; it must be float32 \[6\]"):
        program.run({"value": np.zeros(6)})
    with pytest.raises(ValueError, match="input value is missing"):
        program.run({})


@pytest.mark.slow
def test_a_step_of_the_features():
    bars = random_bars(11, 12)
    plan = table_plan(bars.symbols, CLASSES, INSTRUMENTS, "USD")
    columns = feature_bars(bars, plan)

    def at(index):
        return jax.tree.map(lambda leaf: leaf[index], columns)

    def function(state, bar):
        return step(state, bar, plan)

    state = start(at(0), plan)
    program = trace(function, state, at(0))
    for index in range(12):
        assert_same(program, function, state, at(index), rtol=2e-5, atol=2e-5)
        state, _ = function(state, at(index))


def test_the_policy_of_a_hierarchy():
    inputs = jax.tree.map(lambda leaf: leaf[0, 0], hierarchies.INPUTS)
    agent, params, statistics = hierarchies.AGENT, hierarchies.TOGETHER, hierarchies.STATISTICS
    program = traced_and_same(lambda seen: agent.policy(params, statistics, seen, hierarchies.PARAMS).mode(), inputs)
    assert any(isinstance(operation, Product) for operation in program.operations)


def test_the_risk_layer():
    generator = np.random.default_rng(1)
    rules = make_risk(
        class_limit=0.5,
        correlation_limit=0.6,
        gross_limit=1.0,
        var_limit=0.02,
        halving_loss=0.02,
        reduction_loss=0.04,
        flattening_loss=0.05,
    )
    contracts, classes = make_contracts(5), np.array([0, 0, 1, 1, 2])

    def function(target, current, covariance, state):
        return risk.permit(target, current, covariance, classes, contracts, state, rules)

    def case():
        factors = 0.01 * generator.normal(size=(5, 5))
        state = risk.RiskState(day=jnp.int32(3), day_equity=f32(1.0), worst_loss=f32(generator.uniform(0.0, 0.06)))
        return f32(generator.normal(size=5)), f32(generator.normal(size=5)), f32(factors @ factors.T), state

    program = trace(function, *case())
    for _ in range(12):
        assert_same(program, function, *case())


def test_whole_lots():
    generator = np.random.default_rng(2)
    contracts = make_contracts(64, size=1000.0)

    def function(wanted, held, limited):
        return execution.whole_lots(wanted, held, contracts, f32(1e5), limited)

    held = f32(np.round(generator.normal(size=64), 2))
    wanted = held + f32(0.01 * generator.normal(size=64))
    traced_and_same(function, wanted, held, jnp.asarray(generator.random(64) < 0.5))


@pytest.mark.slow
def test_a_bar_of_the_whole_portfolio():
    _, params = random_portfolio(2, 3, 1, num_bars=3)

    def step_of(state, action):
        fixed = dataclasses.replace(state, path=jnp.int32(0), bar=jnp.int32(1))
        return PORTFOLIO_ENV.step_env(None, fixed, action, params)

    state = START(0, 1, params)
    action = f32(np.random.default_rng(0).normal(size=PORTFOLIO_ENV.action_space(params).shape))
    program = traced_and_same(step_of, state, action)
    assert set(leaves(program, state, action)) == set(program.inputs)
