"""Problems with a known optimum: in the package's own simulation, the optimal policy earns the formula's utility."""

from __future__ import annotations

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.backtest.baselines import Rule
from mtquant_jax.backtest.trading import BacktestRecord, backtest
from mtquant_jax.reference.ground_truths import (
    CLASS,
    BestTrading,
    GroundTruth,
    TunedRule,
    hidden_drift,
    quadratic_costs,
)
from mtquant_jax.reference.planted import DRIFT_COST, DRIFT_FEATURES, DRIFT_VOLATILITY
from mtquant_jax.settings.config import RewardConfig, TrainConfig
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.simulation.market_params import class_params
from mtquant_jax.training.phases import specialist_env, trade_scale

PATHS, BARS = 64, 3000
SETTLED = 300  # bars after which the flat start of the account has no more effect
BASE = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")


@functools.cache
def problem_of(case: str) -> GroundTruth:
    if case == "E":
        return hidden_drift(BASE, 3, PATHS, BARS)
    return quadratic_costs(BASE, case, 3, PATHS, BARS)  # type: ignore[arg-type]


def traded(truth: GroundTruth, agent) -> BacktestRecord:
    env, env_params = specialist_env(truth.config.reward.objective), class_params(truth.config, truth.market, 0)
    return backtest(env, agent, BARS - 2, {}, {}, env_params, jnp.int32(0))


def utilities(truth: GroundTruth, record: BacktestRecord) -> np.ndarray:
    """Rewards ``[L, P]`` in the units of the table in docs/learning.md."""
    return np.asarray(record.reward, np.float64) / truth.utility_scale


def closes(truth: GroundTruth) -> np.ndarray:
    return np.swapaxes(np.asarray(truth.market.table.close, np.float64), 0, 1)  # [T, P, N]


def features(truth: GroundTruth) -> np.ndarray:
    return np.swapaxes(np.asarray(truth.market.table.features, np.float64), 0, 1)  # [T, P, N, F]


@pytest.mark.slow
@pytest.mark.parametrize("case", ["A", "C"])
def test_best_trading_earns_the_optimum_in_the_simulation(case):
    truth = problem_of(case)
    record = traded(truth, BestTrading.of(truth.problem))
    utility = utilities(truth, record)
    optimum = truth.problem.optimum / truth.problem.scale
    per_path = utility[SETTLED:].mean(axis=0)
    error = per_path.std() / np.sqrt(PATHS)
    assert abs(per_path.mean() - optimum) < 4.0 * error
    assert error < 0.05 * optimum
    assert not np.any(record.terminated)
    assert not np.any(record.swap)
    # On the same bars, in float64 and without an account: a partial step towards the aim, by the paper's formula.
    market, problem = closes(truth)[..., 0], truth.problem
    aim = features(truth)[:, :, 0] @ problem.aim_loadings[0]
    sigma, held, expected = problem.covariance[0, 0], np.zeros(PATHS), []
    for t in range(BARS - 2):
        wanted = held + problem.trade_rate * (aim[t] - held)
        gain = wanted * (market[t + 1] / market[t] - 1.0)
        risk = 0.5 * problem.risk_aversion * sigma * wanted**2
        expected.append(gain - risk - 0.5 * problem.cost * sigma * (wanted - held) ** 2)
        held = wanted
    # The only difference: the account's weights drift with prices, by a thousandth per bar.
    reference = np.mean(expected) / problem.scale
    assert utility.mean() == pytest.approx(reference, abs=5e-3 * optimum)


@pytest.mark.slow
def test_the_tuned_rule_in_the_simulation_equals_a_float64_replay():
    truth = problem_of("E")
    utility = utilities(truth, traded(truth, Rule("tuned", TunedRule())))
    market, trend = closes(truth), features(truth)[..., DRIFT_FEATURES.index(20)]
    equity, units, growth = np.ones((PATHS, 1)), np.zeros((PATHS, 3)), []
    for t in range(BARS - 2):
        held = units * market[t] / equity
        weights = np.clip(np.where(np.abs(trend[t]) > 0.5, np.sign(trend[t]), held), -1.0, 1.0)
        wanted = weights * equity / market[t]
        # Every bar opens at the previous close; a fill is worse by the cost.
        cost = np.abs(wanted - units) * market[t] * DRIFT_COST * DRIFT_VOLATILITY
        after = equity + (wanted * (market[t + 1] - market[t]) - cost).sum(axis=-1, keepdims=True)
        growth.append(np.log(after / equity)[:, 0])
        equity, units = after, wanted
    replayed = np.asarray(growth) / DRIFT_VOLATILITY
    assert utility.mean() == pytest.approx(replayed.mean(), rel=2e-4)
    assert utility.mean() == pytest.approx(0.155, abs=0.02)
    np.testing.assert_allclose(utility.mean(axis=0), replayed.mean(axis=0), atol=1e-3)


@pytest.mark.parametrize("case", ["C", "E"])
def test_the_settings_of_ppo_are_unchanged(case):
    forex = dataclasses.replace(next(iter(BASE.specialists.values())), learning_rate=7e-4, exploration_cost=0.05)
    base = dataclasses.replace(
        BASE, specialists={**BASE.specialists, "forex": forex}, num_envs=50, num_steps=20, seed=11, phase1_timesteps=777
    )
    build = functools.partial(quadratic_costs, case="C") if case == "C" else hidden_drift
    config = build(base, seed=0, num_paths=2, num_bars=50).config
    changed = {"specialists", "simulation", "reward", "risk"}
    for field in dataclasses.fields(TrainConfig):
        if field.name not in changed:
            assert getattr(config, field.name) == getattr(base, field.name), field.name
    assert list(config.specialists) == [CLASS]
    specialist = config.specialists[CLASS]
    assert (specialist.learning_rate, specialist.exploration_cost) == (7e-4, 0.05)
    assert specialist.batch_size == forex.batch_size
    assert dataclasses.replace(config.simulation, leverage=base.simulation.leverage, impact=base.simulation.impact) == (
        base.simulation
    )


def test_the_reward_and_the_costs_match_the_problem():
    quadratic, drift = problem_of("C"), problem_of("E")
    assert quadratic.config.reward.objective == "mean_variance"
    assert quadratic.config.simulation.impact == quadratic.problem.cost
    assert drift.config.reward == RewardConfig("log_growth")
    assert drift.config.simulation.impact == 0.0
    assert drift.config.simulation.leverage == 3.0  # weights of three instruments within one each
    np.testing.assert_allclose(drift.market.costs, DRIFT_COST * DRIFT_VOLATILITY)
    # 2 x sqrt(2 / pi) x 0.065 s = 2 x exploration cost, with weights of one.
    assert drift.market.universe.share.tolist() == [pytest.approx([1 / 3] * 3)]
    expected = 0.04 / (np.sqrt(2.0 / np.pi) * DRIFT_COST)
    np.testing.assert_allclose(trade_scale(drift.config, drift.market, 0), expected, rtol=1e-5)
