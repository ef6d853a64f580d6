"""A backtest is nothing but the environment stepped from a flat account by the mode of the policy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.agents.distributions import DiagonalGaussian
from mtquant_jax.agents.hierarchy import stack
from mtquant_jax.backtest.trading import BINS, Conditions, backtest, trade_variants
from mtquant_jax.simulation.portfolio_inputs import class_inputs
from mtquant_jax.simulation.specialist_env import specialist_inputs
from tests.conftest import f32, make_contracts, make_params, make_table, random_prices
from tests.simulation.markets import PORTFOLIO_ENV, SPECIALIST_ENV, START, STEP, action_columns, random_portfolio

ENV = SPECIALIST_ENV
KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True)
class FixedAgent:
    """Acts on features and holdings by a formula; noisy, so that only the mode is repeatable."""

    portfolio: bool = False

    def inputs(self, observation, env_params):
        if self.portfolio:
            return class_inputs(observation, env_params.table), observation.drawdown
        return specialist_inputs(observation, env_params.table), observation.drawdown

    def policy(self, params, normalizers, inputs, env_params):
        seen, drawdown = inputs
        mean = params * jnp.sin(3.0 * jnp.sum(seen.instruments, -1)) - drawdown[..., None]
        if self.portfolio:
            num_classes, width = env_params.mask.shape
            columns = max(width, num_classes + 2)
            meta = jnp.zeros((*mean.shape[:-2], 1, columns)).at[..., 0].set(jnp.sin(5.0 * seen.market[..., 0, :1]))
            mean = jnp.pad(mean, [(0, 0)] * (mean.ndim - 1) + [(0, columns - width)])
            mean = jnp.concatenate([mean, meta], axis=-2)
        else:
            mean = mean[..., None, :]
        return DiagonalGaussian(mean=mean, log_std=jnp.zeros(mean.shape[-1:]), mask=jnp.ones((1, 1), bool))

    def env_action(self, action):
        return action if self.portfolio else action[..., 0, :]


def two_paths(params, second):
    """The market of ``params`` and another one of the same shape as two paths."""
    joined = jax.tree.map(lambda a, b: jnp.concatenate([a, b]) if a.ndim > 1 else a, params.table, second.table)
    return params.replace(table=joined)


def class_market(seed):
    opens, closes = random_prices(30, 2, seed=seed, volatility=5e-3)
    features = np.random.default_rng(seed).normal(size=(30, 2, 3))
    return make_params(make_table(opens, closes, spread=1e-3, features=features), make_contracts(2, commission=3.5))


@functools.partial(jax.jit, static_argnums=(0, 1))
def decide(env, agent, state, params):
    """The mode of the policy."""
    batched = jax.tree.map(lambda leaf: leaf[None], env.observe(None, state, None, params))
    return agent.env_action(agent.policy(f32(0.5), {}, agent.inputs(batched, params), params).mode())[0]


@functools.partial(jax.jit, static_argnums=(0, 1))
def step_by_hand(env, agent, state, params):
    return env.step_env(KEY, state, decide(env, agent, state, params), params)


def by_hand(env, agent, params, path, first, num_steps):
    """Rows of equity, gross exposure, turnover and costs from single steps, and infos."""
    state, rows, infos = env.initial_state(path, first, params), [], []
    for _ in range(num_steps):
        _, state, _, _, info = step_by_hand(env, agent, state, params)
        costs = np.asarray(info["step"].flows.spread) + np.asarray(info["step"].flows.commission)
        gross, traded = np.sum(np.abs(np.asarray(info["step"].weights))), np.sum(np.asarray(info["step"].traded))
        rows.append((float(info["step"].equity), gross, traded, np.sum(costs)))
        infos.append(info)
    return np.array(rows), infos


def check_tally(tally, path, values, least):
    """A tally's numbers of one path are those of the values ``[L, M]``."""
    assert float(tally.bars[path]) == len(values)
    np.testing.assert_allclose(tally.mean[path], np.mean(values, axis=0), atol=1e-6)
    squares = np.sum((values - np.mean(values, axis=0)) ** 2, axis=0)
    np.testing.assert_allclose(tally.squares[path], squares, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(tally.low[path], np.sum(values <= least + 0.01, axis=0))
    np.testing.assert_array_equal(tally.high[path], np.sum(values >= 0.99, axis=0))
    edges = np.linspace(least, 1.0, BINS + 1)
    np.testing.assert_array_equal(tally.bins[path], [np.histogram(column, edges)[0] for column in values.T])


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 5])
def test_a_backtest_equals_stepping_by_hand(first):
    params, agent = two_paths(class_market(0), class_market(1)), FixedAgent()
    record = backtest(ENV, agent, 20, f32(0.5), {}, params, jnp.asarray(first, jnp.int32))
    assert record.equity.shape == (21, 2)
    np.testing.assert_array_equal(record.equity[0], [1.0, 1.0])
    for path in range(2):
        rows, infos = by_hand(ENV, agent, params, path, first, 20)
        check_tally(record.wanted, path, np.array([info["step"].wanted for info in infos]), -1.0)
        np.testing.assert_allclose(record.equity[1:, path], rows[:, 0], rtol=1e-6)
        for column, name in enumerate(("exposure", "turnover", "costs"), start=1):
            np.testing.assert_allclose(getattr(record, name)[:, path], rows[:, column], rtol=1e-4, atol=1e-6)
    assert record.allocation is None
    assert not np.any(record.terminated)
    assert np.min(record.turnover) > 0.0
    assert abs(float(record.equity[-1, 0] - record.equity[-1, 1])) > 1e-4


@pytest.mark.slow
def test_a_portfolio_backtest_equals_stepping_by_hand_and_shows_budgets():
    universe, params = random_portfolio(2, 1, num_bars=30, meta_interval=4)
    agent = FixedAgent(portfolio=True)
    assert action_columns(universe) == 4
    record = backtest(PORTFOLIO_ENV, agent, 12, f32(0.5), {}, params, jnp.asarray(0, jnp.int32))
    rows, infos = by_hand(PORTFOLIO_ENV, agent, params, 0, 0, 12)
    check_tally(record.wanted, 0, np.array([info["step"].wanted.reshape(-1) for info in infos]), -1.0)
    allocations = [info["step"].allocation for info in infos]
    check_tally(record.allocation, 0, np.array([[*a.capital, a.risk_appetite] for a in allocations]), 0.0)
    assert record.real.tolist() == params.mask.reshape(-1).tolist()
    np.testing.assert_allclose(record.equity[1:, 0], rows[:, 0], rtol=1e-6)
    assert record.budgets.shape == (12, 1, 2)
    # The meta-controller decides in bars 0, 4 and 8.
    changes = np.any(np.abs(np.diff(record.budgets[:, 0], axis=0)) > 1e-6, axis=-1)
    assert np.flatnonzero(changes).tolist() == [3, 7]


@dataclasses.dataclass(frozen=True)
class AllIn:
    """Buys all it can."""

    def inputs(self, observation, env_params):
        return observation.relative_weights

    def policy(self, params, normalizers, inputs, env_params):
        mean = jnp.ones_like(inputs)[..., None, :]
        return DiagonalGaussian(mean=mean, log_std=jnp.zeros(1), mask=jnp.ones((1, 1), bool))

    def env_action(self, action):
        return action[..., 0, :]


def test_equity_is_held_after_ruin_and_nothing_is_traded_any_more():
    # Path 0 loses 90 % in bar 3 and wins it back threefold; path 1 rises by 1 % a bar.
    fall = np.array([1.0, 1.0, 1.0, 0.1, 0.3, 0.9, 0.9])[:, None]
    rise = 1.01 ** np.arange(7)[:, None]
    params = two_paths(make_params(make_table(fall, fall, spread=1e-3)), make_params(make_table(rise, rise)))
    record = backtest(ENV, AllIn(), 6, {}, {}, params, jnp.asarray(0, jnp.int32))
    # Bought at the ask 1.001 with weight 1 at 1.0: 1 - 0.001, then 0.1 - 0.001 (a little bought in between).
    np.testing.assert_allclose(record.equity[1:3, 0], [0.999, 0.999], atol=1e-4)
    assert float(record.equity[3, 0]) == pytest.approx(0.099, abs=1e-3)
    np.testing.assert_array_equal(record.equity[4:, 0], np.full(3, record.equity[3, 0]))
    for name in ("exposure", "turnover", "costs"):
        assert not np.any(np.asarray(getattr(record, name))[3:, 0])
    assert np.asarray(record.terminated).tolist() == [True, False]
    # Path 0 runs for three bars: what is wanted after its end is not counted.
    assert np.asarray(record.wanted.bars).tolist() == [3.0, 6.0]
    assert np.asarray(record.wanted.high)[:, 0].tolist() == [3.0, 6.0]
    # Path 1 buys 1 unit of 1.0 at 1.01 in its first bar and goes on: it knows nothing of path 0.
    assert float(record.equity[-1, 1]) == pytest.approx(1.01**5, rel=2e-3)
    assert np.all(np.diff(record.equity[1:, 1]) > 0.0)


def test_a_backtest_is_the_same_every_time():
    params, agent = class_market(2), FixedAgent()
    arguments = (ENV, agent, 20, f32(0.5), {}, params, jnp.asarray(0, jnp.int32))
    one, other = backtest(*arguments), backtest(*arguments)
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()


def test_what_instruments_bring_adds_up_to_the_account():
    _, params = random_portfolio(2, 1, num_bars=30, meta_interval=4)
    arguments = (PORTFOLIO_ENV, FixedAgent(portfolio=True), 12, f32(0.5), {}, params, jnp.asarray(0, jnp.int32))
    record = backtest(*arguments, detailed=True)
    detail = record.detail
    net = np.asarray(detail.flows.net(), np.float64).sum(axis=-1)
    np.testing.assert_allclose(net, np.diff(record.equity, axis=0), atol=2e-7)
    np.testing.assert_allclose(np.asarray(detail.flows.costs()).sum(axis=-1), record.costs, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(np.abs(detail.weights).sum(axis=-1), record.exposure, rtol=1e-5)
    np.testing.assert_array_equal(np.sign(detail.units), np.sign(detail.weights))
    assert np.all(detail.variance > 0.0)
    np.testing.assert_allclose(detail.allocation.capital.sum(axis=-1), 1.0, rtol=1e-6)
    assert backtest(*arguments).detail is None


def test_what_a_ruined_account_holds_is_nothing():
    fall = np.array([1.0, 1.0, 1.0, 0.1, 0.3, 0.9, 0.9])[:, None]
    params = make_params(make_table(fall, fall, spread=1e-3))
    detail = backtest(ENV, AllIn(), 6, {}, {}, params, jnp.asarray(0, jnp.int32), detailed=True).detail
    assert np.all(np.asarray(detail.units)[:3] > 0.0)
    for leaf in jax.tree.leaves(detail):
        assert not np.any(np.asarray(leaf)[3:])


@dataclasses.dataclass(frozen=True)
class Alternating:
    """Wants to be fully long on even bars and flat on odd ones."""

    inputs = AllIn.inputs
    env_action = AllIn.env_action

    def policy(self, params, normalizers, inputs, env_params):
        held, bar = inputs
        mean = ((bar % 2 == 0)[..., None] - held)[..., None, :]
        return DiagonalGaussian(mean=mean, log_std=jnp.zeros(1), mask=jnp.ones((1, 1), bool))


@dataclasses.dataclass(frozen=True)
class OnEvenBars(Alternating):
    """`Alternating`, which must see the bar."""

    def inputs(self, observation, env_params):
        return observation.relative_weights, observation.bar


def test_a_late_decision_leads_where_it_would_have_led_a_bar_before():
    closes = 1.01 ** np.arange(8)[:, None]
    params = make_params(make_table(closes, closes))
    arguments = (ENV, OnEvenBars(), 6, {}, {}, params, jnp.asarray(0, jnp.int32))
    prompt, late = (
        np.asarray(backtest(*arguments, late, detailed=True).detail.wanted)[:, 0, 0] for late in (False, True)
    )
    np.testing.assert_allclose(prompt, [1, 0, 1, 0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(late, [0, 1, 0, 1, 0, 1], atol=1e-6)


@pytest.mark.slow
def test_a_late_portfolio_holds_what_it_wanted_a_bar_before():
    _, params = random_portfolio(2, 1, num_bars=30, meta_interval=1)
    agent = FixedAgent(portfolio=True)
    arguments = (PORTFOLIO_ENV, agent, 12, f32(0.5), {}, params, jnp.asarray(0, jnp.int32))
    detail = backtest(*arguments, True, detailed=True).detail
    # In its first bar nothing has been decided yet: no position, and capital in equal parts.
    np.testing.assert_allclose(detail.wanted[0], 0.0, atol=1e-7)
    np.testing.assert_allclose(detail.allocation.capital[0, 0], 1.0 / 3.0, rtol=1e-6)
    # Later ones hold what the agent, seeing the late account, wanted a bar before.
    state, wanted = START(0, 0, params), jnp.zeros(params.mask.shape)
    allocation = jnp.zeros(4)
    for bar in range(3):
        decided = decide(PORTFOLIO_ENV, agent, state, params)
        decay = params.rules.trade_decay
        action = decided.at[:2, :2].set(wanted - (1.0 - decay) * state.relative_weights).at[2, :4].set(allocation)
        np.testing.assert_allclose(detail.wanted[bar, 0], np.where(params.mask, wanted, 0.0).reshape(-1), atol=1e-5)
        wanted = jnp.clip((1.0 - decay) * state.relative_weights + decided[:2, :2], -1.0, 1.0)
        allocation = decided[2, :4]
        _, state, *_ = STEP(KEY, state, action, params)


@pytest.mark.slow
def test_variants_side_by_side_trade_as_each_alone():
    _, params = random_portfolio(2, 1, num_bars=30, meta_interval=1)
    params = dataclasses.replace(params, rules=dataclasses.replace(params.rules, round_lots=jnp.asarray(True)))
    agent, start, count = FixedAgent(portfolio=True), jnp.asarray(0, jnp.int32), 4
    scale = jnp.asarray([0.5, -0.5, 0.5, 0.5])
    usual = Conditions.usual(count)
    conditions = dataclasses.replace(
        usual, costs=usual.costs * [1, 3, 1, 1], late=np.arange(count) == 2, whole_lots=np.arange(count) != 3
    )
    together = trade_variants(PORTFOLIO_ENV, agent, 12, scale, {}, params, start, conditions, detailed=True)
    for index in range(count):
        rules = dataclasses.replace(
            params.rules,
            cost_multiplier=params.rules.cost_multiplier * conditions.costs[index],
            round_lots=jnp.asarray(bool(conditions.whole_lots[index])),
        )
        market = dataclasses.replace(params, rules=rules)
        alone = backtest(PORTFOLIO_ENV, agent, 12, scale[index], {}, market, start, index == 2, detailed=True)
        mine = jax.tree.map(lambda leaf, index=index: leaf[index], together)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7), mine, alone)
    equity = np.asarray(together.equity[:, -1])
    assert len(np.unique(equity)) == equity.size  # every condition matters


@pytest.mark.slow
def test_variants_on_markets_of_their_own_trade_as_each_alone():
    closes = [1.01 ** np.arange(8)[:, None], 0.99 ** np.arange(8)[:, None]]
    markets = [make_params(make_table(close, close)) for close in closes]
    start = jnp.asarray(0, jnp.int32)
    together = trade_variants(
        ENV, AllIn(), 6, {}, {}, stack(markets), start, Conditions.usual(2), detailed=True, own_markets=True
    )
    for index, market in enumerate(markets):
        alone = backtest(ENV, AllIn(), 6, {}, {}, market, start, detailed=True)
        mine = jax.tree.map(lambda leaf, index=index: leaf[index], together)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-7), mine, alone)
    assert together.equity[0, -1, 0] > 1.0 > together.equity[1, -1, 0]
