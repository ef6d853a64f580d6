"""The exported decision, fed with nothing but its own state, decides what the desk decides from raw bars."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

from mtquant_jax.deploy.desk import open_desk
from mtquant_jax.deploy.export import TracedRun, follow
from mtquant_jax.deploy.graph import decision_graph, unpacked
from mtquant_jax.evaluation.evaluation_bars import prepare_evaluation_bars

STEPS = 150


@pytest.fixture(scope="module")
def traced(run, new_bars) -> TracedRun:
    desk = open_desk(run.paths.run_dir, run.config, new_bars.symbols)
    judged = prepare_evaluation_bars(run, None, "test", new_bars)
    graph = decision_graph(desk.desk, desk.trading.policy, desk.market(new_bars.timestamps))
    return TracedRun(run, desk, judged, graph)


@pytest.fixture(scope="module")
def decided(traced):
    """By JAX, from rows of the table."""
    first = traced.judged.first
    return follow(traced.graph, traced.rows(first, STEPS), traced.first_state(first))


def test_rows_and_state_give_the_decisions_of_raw_bars(traced, decided, new_bars):
    first = traced.judged.first
    found = traced.desk.begin(new_bars, first).follow(new_bars).decisions
    rules, contracts = traced.desk.market(new_bars.timestamps).rules, traced.judged.market.contracts
    wanted = {
        "permitted": found.permitted,
        "relative": found.relative,
        "target": found.target,
        "capital": found.allocation.capital,
        "risk_appetite": found.allocation.risk_appetite[:, None],
        "cuts": found.cuts,
        "lots": found.order * float(rules.initial_capital) / np.asarray(contracts.contract_size),
    }
    assert set(wanted) == set(traced.graph.decided)
    for name, values in wanted.items():
        np.testing.assert_allclose(decided[name], values[first : first + STEPS], atol=2e-6, err_msg=name)
    assert (np.abs(decided["lots"]) > 0.0).sum() > 20  # it trades


def test_the_program_is_the_function(traced, decided):
    first, program, state = traced.judged.first, traced.graph.program, traced.first_state(traced.judged.first)
    rows = traced.rows(first, STEPS)
    for bar in range(40):
        found = program.run({"state": state, **{name: values[bar] for name, values in rows.items()}})
        for name, value in found.items():
            np.testing.assert_allclose(value, decided[name][bar], rtol=1e-5, atol=2e-6, err_msg=f"{name} {bar}")
        state = found["next"]


def test_inputs_are_plain_and_what_no_decision_needs_is_no_state(traced):
    program, universe = traced.graph.program, traced.desk.desk.universe
    assert all(a.dtype == np.float32 and a.shape for a in (*program.inputs.values(), *program.outputs.values()))
    assert program.inputs["market.features"].shape[:2] == (universe.num_classes, universe.width)
    assert program.inputs["market.covariance"].shape == (universe.mask.size,) * 2
    layout = traced.graph.layout
    assert {"portfolio.relative_weights", "portfolio.returns", "last.features", "day_before"} <= set(layout)
    assert not any("reward_memory" in name or name.endswith((".path", ".bar")) for name in layout)
    assert program.inputs["state"].shape == program.outputs["next"].shape
    assert len(program.inputs) + len(program.outputs) < 30  # MetaTrader's functions take 64 arguments at most


def test_the_state_is_its_parts_one_after_the_other(traced, decided):
    layout = traced.graph.layout
    parts = unpacked(decided["next"][7], layout)
    assert {name: part.shape for name, part in parts.items()} == dict(layout)
    np.testing.assert_array_equal(np.concatenate([part.reshape(-1) for part in parts.values()]), decided["next"][7])
    np.testing.assert_array_equal(parts["portfolio.allocation.capital"], decided["capital"][7])
    row = {name: values[7] for name, values in traced.rows(traced.judged.first, 8).items()}
    np.testing.assert_array_equal(parts["last.features"], row["market.features"])


def test_where_the_account_opens_only_the_last_day_is_looked_at(traced):
    first, decide = traced.judged.first, jax.jit(traced.graph.decide)
    row = {name: values[0] for name, values in traced.rows(first, 1).items()}
    state = traced.first_state(first)
    other = state + 1.0
    unpacked(other, traced.graph.layout)["last.day"][:] -= 1.0
    one, another = decide({**row, "state": state}), decide({**row, "state": other})
    for name in traced.graph.decided:
        np.testing.assert_array_equal(one[name], another[name], err_msg=name)


def test_a_policy_of_other_numbers_decides_otherwise(traced, decided):
    first, desk = traced.judged.first, traced.desk
    policy = desk.trading.policy
    changed = dataclasses.replace(policy, params=jax.tree.map(lambda leaf: leaf + 0.05, policy.params))
    graph = decision_graph(desk.desk, changed, desk.market(traced.judged.market.timestamps))
    found = follow(graph, traced.rows(first, 5), traced.first_state(first))
    assert np.abs(found["relative"] - decided["relative"][:5]).max() > 1e-3
