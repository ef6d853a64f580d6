"""What trades bar by bar decides exactly what the evaluator decides, however the bars come."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from mtquant_jax.backtest.trading import backtest
from mtquant_jax.deploy.desk import TradingDesk, open_desk
from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.evaluation_bars import prepare_evaluation_bars
from mtquant_jax.market.bars.selection import between
from mtquant_jax.runs.trading_policy import load_policy
from mtquant_jax.simulation.market_params import evaluation_params, portfolio_params
from mtquant_jax.storage.arrays import to_named_arrays
from mtquant_jax.training import phases


@pytest.fixture(scope="module")
def desk(run, new_bars) -> TradingDesk:
    return open_desk(run.paths.run_dir, run.config, new_bars.symbols)


@pytest.fixture(scope="module")
def judged(run, new_bars):
    return prepare_evaluation_bars(run, None, "test", new_bars)


@pytest.fixture(scope="module")
def evaluator(run, judged):
    """What the evaluator does with the same policy on the same bars."""
    policy = load_policy(run.paths.run_dir).policy
    env_params = evaluation_params(portfolio_params(run.config, judged.market))
    agent = phases.hierarchy_agent(run.config, judged.market)
    return jax.device_get(
        backtest(
            phases.hierarchy_env(run.config),
            agent,
            judged.num_steps,
            policy.params,
            policy.normalizers,
            env_params,
            np.int32(judged.first),
            detailed=True,
        )
    )


@pytest.fixture(scope="module")
def followed(desk, judged, new_bars):
    following = desk.begin(new_bars, judged.first)
    return following, following.follow(new_bars)


def test_every_position_is_the_evaluators(evaluator, followed, judged):
    following, found = followed
    record = following.record(found)
    assert len(record.equity) == judged.num_steps + 1 > 300
    np.testing.assert_array_equal(record.detail.units, evaluator.detail.units)
    np.testing.assert_allclose(record.equity, evaluator.equity, rtol=1e-6)
    assert (np.abs(np.diff(record.detail.units, axis=0)) > 0).sum() > 50  # it trades


def test_orders_are_what_is_traded_over_the_next_bar(evaluator, followed, judged):
    _, found = followed
    orders = found.decisions.order[judged.first : -1]
    held = np.concatenate([np.zeros_like(evaluator.detail.units[:1, 0]), evaluator.detail.units[:, 0]])
    np.testing.assert_allclose(orders, np.diff(held, axis=0), atol=1e-7)


@pytest.mark.parametrize("sizes", [(1, 2, 3), (300, 1, 256, 7)])
def test_bars_may_come_in_any_parts(desk, judged, new_bars, followed, sizes):
    whole, found = followed
    following = desk.begin(new_bars, judged.first)
    edges = [0, *np.cumsum(sizes), len(new_bars.timestamps)]
    parts = [following.follow(between(new_bars, a, b)) for a, b in itertools.pairwise(edges)]
    last = parts[-1].decision()
    for one, other in zip(jax.tree.leaves(last), jax.tree.leaves(found.decision()), strict=True):
        np.testing.assert_array_equal(one, other)
    mine, theirs = to_named_arrays(following.state), to_named_arrays(whole.state)
    assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)


def test_bars_must_go_on(desk, judged, new_bars):
    following = desk.begin(new_bars, judged.first)
    following.follow(between(new_bars, 0, 5))
    with pytest.raises(ValueError, match="after those followed"):
        following.follow(between(new_bars, 4, 6))


def test_an_account_needs_the_look_back(desk, new_bars):
    with pytest.raises(UserError, match="features need 240 before it"):
        desk.begin(new_bars, 239)


def test_other_contracts_are_refused(run, new_bars):
    changed = dataclasses.replace(
        run.config.simulation, margin_leverage=dataclasses.replace(run.config.simulation.margin_leverage, metals=7.0)
    )
    desk = open_desk(run.paths.run_dir, dataclasses.replace(run.config, simulation=changed), new_bars.symbols)
    with pytest.raises(UserError, match="other contract specifications"):
        desk.begin(new_bars, 300)
