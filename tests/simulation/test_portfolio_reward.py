"""The terms of the portfolio's reward, by hand and in the environment, and the objective of each agent."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.simulation.allocation_env import AllocationEnv
from mtquant_jax.simulation.portfolio_env import PortfolioEnv
from mtquant_jax.simulation.reward import REWARDS, RewardParams, TermInputs, TermWeights, portfolio_terms
from tests.conftest import f32, make_contracts, make_table
from tests.simulation.markets import (
    PORTFOLIO_ENV,
    START,
    STEP,
    join,
    make_portfolio,
    make_universe,
    random_portfolio,
    with_classes,
)

KEY = jax.random.key(0)
TERMS = ("var", "drawdown", "turnover", "diversification")
ENV = PORTFOLIO_ENV
DIFFERENTIABLE_ENV = ENV.with_transition_gradients()
compiled = functools.cache(lambda env: STEP if env is ENV else jax.jit(env.step_env))
paying = functools.cache(
    lambda portfolio, own: ENV if portfolio == own == "log_growth" else PortfolioEnv(REWARDS[portfolio], REWARDS[own])
)


def weights(var=0.0, drawdown=0.0, turnover=0.0, diversification=0.0):
    return TermWeights(
        var=f32(var), drawdown=f32(drawdown), turnover=f32(turnover), diversification=f32(diversification)
    )


def reward_params(scale, risk_aversion=1.0, sharpe_memory=100.0):
    """Reward parameters of one stream, or of several if the numbers are lists."""
    return RewardParams(*(f32(np.broadcast_to(v, np.shape(scale))) for v in (scale, risk_aversion, sharpe_memory)))


ALL = weights(0.3, 0.5, 0.2, 2.0)


def terms(scale=50.0, term_weights=ALL, **inputs):
    values = {"variance": 0.0, "undiversified": 0.0, "var_z": 2.0, "drawdown_growth": 0.0, "traded": 0.0, **inputs}
    made = portfolio_terms(TermInputs(**{k: f32(v) for k, v in values.items()}), term_weights, f32(scale))
    return {name: float(value) for name, value in made.items()}


def test_the_terms_by_hand():
    made = terms(variance=4e-4, undiversified=0.025, drawdown_growth=0.01, traded=0.5)
    # -0.3 x 50 x 2 x 0.02; -0.5 x 50 x 0.01; -0.2 x 50 x 0.5; 2 x (1 - 0.02 / 0.025).
    expected = {"var": -0.6, "drawdown": -0.25, "turnover": -5.0, "diversification": 0.4}
    assert made == pytest.approx(expected, rel=1e-5)


def test_a_flat_book_has_no_terms():
    assert list(terms().values()) == [0.0, 0.0, 0.0, 0.0]


def test_one_instrument_is_not_diversified_and_a_perfect_hedge_is_fully_diversified():
    assert terms(variance=4e-4, undiversified=0.02)["diversification"] == pytest.approx(0.0, abs=1e-5)
    assert terms(variance=0.0, undiversified=0.02)["diversification"] == pytest.approx(2.0, rel=1e-6)


def test_a_very_small_book_earns_a_very_small_diversification_bonus():
    # A tenth of the typical return 1 / 50 is 0.002: below it the bonus of 0.4 shrinks with the book.
    for size, bonus in ((0.02, 0.4), (0.002, 0.4), (0.001, 0.2), (1e-8, 2e-6)):
        made = terms(variance=(0.8 * size) ** 2, undiversified=size)
        assert made["diversification"] == pytest.approx(bonus, rel=1e-3)


def one_bar(term_weights):
    """Weights 0.4 and -0.2 of two classes, through a bar that loses 0.4 x 0.02 + 0.2 x 0.03 = 0.014."""
    universe = make_universe(1, 1)
    covariance = [[4e-4, 1e-4], [1e-4, 1e-4]]
    table = make_table([[1.0, 1.0], [1.0, 1.0]], [[1.0, 1.0], [0.98, 1.03]], covariance=covariance)
    params = make_portfolio(universe, table, leverage=2.0)
    params = params.replace(reward=reward_params(100.0), reward_terms=term_weights)
    # Capital 0.4, 0.4, cash 0.2 at half the risk appetite: budgets 0.2, with leverage 2 weights up to 0.4.
    action = join(universe, [[1.0], [-0.5]], [*np.log([0.4, 0.4, 0.2]), 0.0])
    return STEP(KEY, START(0, 0, params), action, params)


def test_a_bar_of_the_environment_by_hand():
    _, state, reward, _, info = one_bar(ALL)
    # w' Sigma w = 0.16 x 4e-4 + 0.04 x 1e-4 - 2 x 0.08 x 1e-4 = 5.2e-5; sum |w| sigma = 0.4 x 0.02 + 0.2 x 0.01.
    deviation, undiversified = np.sqrt(5.2e-5), 0.01
    expected = {
        "objective": 100 * np.log(0.986),
        "var": -0.3 * 100 * 1.645 * deviation,
        "drawdown": -0.5 * 100 * 0.014,
        "turnover": -0.2 * 100 * 0.6,
        "diversification": 2.0 * (1 - deviation / undiversified),
    }
    measured = {name: float(info["step"].metrics[f"reward/{name}"]) for name in expected}
    assert measured == pytest.approx(expected, rel=1e-3)
    assert float(reward) == pytest.approx(sum(expected.values()), rel=1e-4)
    assert float(info["step"].rewards[-1]) == float(reward)
    assert float(state.reward_memory.worst_drawdown) == pytest.approx(0.014, rel=1e-3)


def test_terms_apply_to_the_portfolio_only():
    without, with_terms = one_bar(weights())[4], one_bar(ALL)[4]
    np.testing.assert_array_equal(without["step"].rewards[:-1], with_terms["step"].rewards[:-1])
    assert float(without["step"].rewards[-1]) == float(without["step"].metrics["reward/objective"])
    assert float(with_terms["step"].rewards[-1]) < float(without["step"].rewards[-1])


def play(env, universe, params, bars, seed=0):
    """Rewards ``[bars, S + 1]``, equity, and the terms by name, of random actions."""
    generator, step = np.random.default_rng(seed), compiled(env)
    state, rewards, equity, measured = START(0, 0, params), [], [1.0], []
    for _ in range(bars):
        action = join(universe, generator.normal(size=params.mask.shape), generator.normal(size=len(params.mask) + 2))
        _, state, reward, _, info = step(KEY, state, action, params)
        assert float(reward) == pytest.approx(
            sum(float(v) for k, v in info["step"].metrics.items() if k.startswith("reward/")), abs=1e-5, rel=1e-5
        )
        rewards.append(info["step"].rewards)
        equity.append(float(info["step"].equity))
        measured.append({k: float(v) for k, v in info["step"].metrics.items()})
    return np.array(rewards), np.array(equity), measured


def test_the_terms_sum_to_the_reward_and_those_of_drawdown_to_the_maximum_drawdown():
    universe, params = random_portfolio(2, 1, 3, leverage=3.0)
    params = params.replace(reward=reward_params(100.0), reward_terms=ALL)
    _, equity, measured = play(ENV, universe, params, 50)
    paid = np.array([bar["reward/drawdown"] for bar in measured])
    drawdown = 1.0 - equity / np.maximum.accumulate(equity)
    assert paid.sum() == pytest.approx(-0.5 * 100.0 * drawdown.max(), rel=1e-3)
    assert np.all(paid <= 0.0)
    assert 3 < np.count_nonzero(paid) < np.count_nonzero(np.diff(equity) < 0.0)  # no loss is penalised twice
    for bar in measured:
        assert 0.0 <= bar["reward/diversification"] <= 2.0
        assert bar["reward/var"] < 0.0
        assert bar["reward/turnover"] == pytest.approx(-20.0 * bar["turnover"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("portfolio", "own"),
    [("log_growth", "mean_variance"), ("mean_variance", "differential_sharpe"), ("differential_sharpe", "log_growth")],
)
def test_classes_and_portfolio_are_rewarded_by_their_own_objectives(portfolio, own):
    universe, params = random_portfolio(2, 1)
    params = params.replace(
        reward=reward_params(100.0, 30.0, 20.0), class_reward=reward_params([50.0, 80.0], 20.0, [10.0, 5.0])
    )
    rewards, *_ = play(paying(portfolio, own), universe, params, 6)
    of_own, *_ = play(paying(own, own), universe, params, 6)
    of_portfolio, *_ = play(paying(portfolio, portfolio), universe, params, 6)
    np.testing.assert_allclose(rewards[:, :-1], of_own[:, :-1], rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(rewards[:, -1], of_portfolio[:, -1], rtol=1e-5, atol=2e-5)
    assert np.abs(of_own - of_portfolio).max(axis=0).min() > 1e-3  # the objectives differ


def test_each_class_is_rewarded_on_its_own_scale():
    universe, params = random_portfolio(2, 1)
    ones, *_ = play(ENV, universe, params, 3)
    scaled, *_ = play(ENV, universe, params.replace(class_reward=reward_params([50.0, 80.0])), 3)
    np.testing.assert_allclose(scaled, ones * [50.0, 80.0, 1.0], rtol=1e-5)


def test_the_allocation_environment_rewards_the_discounted_terms_of_its_bars():
    universe, params = random_portfolio(2, 1, meta_interval=4, discount=0.9, specialists=f32([[0.5, -0.3], [0.4, 0.0]]))
    params = params.replace(reward=reward_params(100.0, sharpe_memory=5.0), reward_terms=ALL)
    by_decision = AllocationEnv(
        REWARDS["differential_sharpe"], lambda trades, observation, table: trades * (1 + observation.bar % 3), 4
    )
    step, decide = compiled(paying("differential_sharpe", "log_growth")), jax.jit(by_decision.step_env)
    held = state = START(0, 0, params)
    for logits in ([0.1, 0.2, 0.3, 1.0], [0.5, -0.5, 0.0, 2.0]):
        _, held, reward, _, info = decide(KEY, held, f32(logits), params)
        bars = []
        for _ in range(4):
            action = join(universe, params.specialists * (1 + state.bar % 3), logits)
            _, state, paid, _, one = step(KEY, state, action, params)
            bars.append((float(paid), one["step"].metrics))
        assert float(reward) == pytest.approx(sum(0.9**i * paid for i, (paid, _) in enumerate(bars)), rel=1e-4)
        for name in ("objective", *TERMS):  # in the metrics per bar, like all other metrics
            mean = np.mean([float(metrics[f"reward/{name}"]) for _, metrics in bars])
            assert float(info["step"].metrics[f"reward/{name}"]) == pytest.approx(mean, rel=1e-3, abs=1e-5)
        for left, right in zip(jax.tree.leaves(held), jax.tree.leaves(state), strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


@functools.partial(jax.jit, static_argnums=0)
def total_with_gradient(env, actions, params):
    """The sum of the portfolio's rewards, and its gradient, for ``actions [bars, S + 1, K]``."""

    def total(actions):
        def body(state, action):
            _, state, reward, *_ = env.step_env(KEY, state, action, params)
            return state, reward

        return jnp.sum(jax.lax.scan(body, env.initial_state(0, 0, params), actions)[1])

    return jax.value_and_grad(total)(actions)


@pytest.mark.slow
@pytest.mark.parametrize("name", TERMS)
def test_gradients_in_the_actions_agree_with_finite_differences(name):
    universe, params = random_portfolio(2, 1, num_bars=8, meta_interval=1, leverage=2.0, commission=0.0)
    covariance = np.array([[3.0, 1.0, -0.5], [1.0, 2.0, 0.3], [-0.5, 0.3, 4.0]]) * 1e-5
    real = np.ix_(universe.slots, universe.slots)
    placed = np.zeros((4, 4))
    placed[real] = covariance
    table = params.table.replace(covariance=jnp.broadcast_to(f32(placed), params.table.covariance.shape))
    factor = {"var": 1.0, "drawdown": 1.0, "turnover": 0.01, "diversification": 1.0}[name]
    params = params.replace(table=table, reward=reward_params(100.0), reward_terms=weights(**{name: factor}))
    generator = np.random.default_rng(2)
    actions = jnp.stack([join(universe, 0.3 * generator.normal(size=(2, 2)), generator.normal(size=4)) for _ in "abc"])
    without = params.replace(reward_terms=weights())

    def term(actions):
        (total, gradient), (others, of_others) = (
            total_with_gradient(DIFFERENTIABLE_ENV, actions, one) for one in (params, without)
        )
        return float(total - others), np.asarray(gradient - of_others)

    gradient, eps = term(actions)[1], 1e-2
    for index in np.ndindex(actions.shape):
        ahead, back = term(actions.at[index].add(eps))[0], term(actions.at[index].add(-eps))[0]
        assert gradient[index] == pytest.approx((ahead - back) / (2 * eps), abs=3e-3, rel=0.03)
    assert np.abs(gradient).max() > 0.03


@pytest.mark.slow
def test_gradients_are_finite_for_an_empty_book_and_while_positions_decay_to_zero():
    universe = make_universe(1, 1)
    flat = np.ones((460, 2))
    params = make_portfolio(
        universe, with_classes(make_table(flat, flat), 2), make_contracts(2), meta_interval=1, trade_decay=0.1
    )
    params = params.replace(reward=reward_params(1000.0), reward_terms=ALL)
    nothing = jnp.zeros((450, *join(universe, 0.0, 0.0).shape))
    for actions in (nothing, nothing.at[0, 0, 0].set(0.5).at[0, 1, 0].set(-0.5)):
        assert np.all(np.isfinite(total_with_gradient(DIFFERENTIABLE_ENV, actions, params)[1]))
