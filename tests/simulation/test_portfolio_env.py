"""The hierarchy on one account: a bar worked by hand, decisions held, endings, and what each agent sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.simulation.allocation_env import AllocationEnv
from mtquant_jax.simulation.portfolio_env import decode_allocation
from mtquant_jax.simulation.portfolio_inputs import class_inputs, portfolio_inputs, portfolio_state
from mtquant_jax.simulation.reward import REWARDS
from mtquant_jax.simulation.specialist_env import SpecialistEnv, specialist_inputs
from mtquant_jax.simulation.universe import class_contracts, class_table
from tests.conftest import f32, make_contracts, make_params, make_table, random_prices
from tests.simulation.markets import (
    DEFAULT_CLASSES,
    PORTFOLIO_ENV,
    join,
    make_portfolio,
    make_universe,
    random_portfolio,
    universe_of,
    with_classes,
)

ENV = PORTFOLIO_ENV
KEY = jax.random.key(0)
STEP = jax.jit(ENV.step_env)
START = jax.jit(ENV.initial_state)
SHOWN = jax.jit(portfolio_state, static_argnums=2)
ALL_IN = 20.0  # a logit at which softmax and sigmoid are 1 in float32


def logs(*shares):
    return np.log(np.array(shares))


# One bar by hand.


def hand_worked():
    universe = make_universe(2, 1)
    table = make_table(
        [[1.0, 2.0, 4.0], [1.01, 2.0, 4.0]],
        [[1.0, 2.0, 4.0], [1.02, 1.98, 4.2]],
        spread=[[0.001, 0.002, 0.0]] * 2,
    )
    params = make_portfolio(universe, table, make_contracts(3, size=100.0, commission=5.0), leverage=2.0)
    # Capital 0.4, 0.4, cash 0.2; risk appetite sigmoid(0) = 0.5.
    action = join(universe, [[1.0, -0.5], [0.375, 9.0]], [*logs(0.4, 0.4, 0.2), 0.0])
    return params, *STEP(KEY, START(0, 0, params), action, params)


def test_one_bar_of_the_portfolio_by_hand():
    _, _, state, reward, terminated, info = hand_worked()
    # Budgets 0.4 x 0.5 = 0.2 each. With leverage 2, class 0 gives each of its two instruments 0.2 x 2 / 2 = 0.2 of
    # equity, class 1 gives its one 0.4. Weights 1.0 x 0.2, -0.5 x 0.2, 0.375 x 0.4 = 0.2, -0.1, 0.15.
    np.testing.assert_allclose(info["budgets"], [0.2, 0.2], rtol=1e-6)
    # Units at the closes 1, 2, 4: 0.2, -0.05, 0.0375; the padded slot holds none whatever was asked of it.
    np.testing.assert_allclose(state.book.account.units, [0.2, -0.05, 0.0375, 0.0], rtol=1e-6)
    # Bought at the ask 1.011, sold at the bid 2, bought at 4.
    np.testing.assert_allclose(state.book.account.entry[:3], [1.011, 2.0, 4.0], rtol=1e-6)
    # Commission units / 100 x 5: 0.01, 0.0025, 0.001875.
    # 0.2 x (1.02 - 1.011) - 0.01 = -0.0082
    # -0.05 x (1.982 - 2) - 0.0025 = -0.0016
    # 0.0375 x (4.2 - 4) - 0.001875 = 0.005625
    np.testing.assert_allclose(info["flows"].net(), [-0.0082, -0.0016, 0.005625, 0.0], atol=2e-7)
    assert float(info["equity"]) == pytest.approx(0.995825, rel=1e-6)
    assert float(reward) == pytest.approx(np.log(0.995825), rel=1e-4)
    assert not terminated
    # Traded at the opens 1.01, 2, 4: 0.202, 0.1, 0.15 of equity 1.
    np.testing.assert_allclose(info["traded"], [0.202, 0.1, 0.15, 0.0], rtol=1e-5)


def test_class_returns_are_on_the_class_budget_and_enter_its_track_record():
    params, observation, state, _, _, info = hand_worked()
    # Class 0: (-0.0082 - 0.0016) / 0.2 = -0.049; class 1: 0.005625 / 0.2 = 0.028125.
    returns = np.array([-0.049, 0.028125])
    np.testing.assert_allclose(info["rewards"], np.log([0.951, 1.028125, 0.995825]), rtol=2e-5)
    record = state.track_record
    np.testing.assert_allclose(record.equity, 1.0 + returns, rtol=1e-6)
    np.testing.assert_allclose(record.peak, [1.0, 1.028125], rtol=1e-6)
    np.testing.assert_allclose(record.mean, 0.004 * returns, rtol=2e-5)
    np.testing.assert_allclose(record.second_moment, 0.004 * returns**2, rtol=5e-5)
    np.testing.assert_allclose(record.win_rate, [0.498, 0.502], rtol=1e-6)  # 0.5 moved by 0.4 % towards 0 and 1
    np.testing.assert_allclose(observation.class_drawdown, [0.049, 0.0], atol=1e-6)
    # Sharpe: mean / sqrt(second moment - mean^2) = 0.004 r / (|r| sqrt(0.004 - 0.000016)) = +-0.0633724.
    np.testing.assert_allclose(observation.class_sharpe, [-0.0633724, 0.0633724], rtol=1e-3)
    assert float(state.returns[-1]) == pytest.approx(np.log(0.995825), rel=1e-4)
    assert not np.any(np.asarray(state.returns[:-1]))
    # Relative weights: exposure / equity / what the instrument may use; the padded one is zero.
    expected = np.array([[0.2 * 1.02 / 0.2, -0.05 * 1.98 / 0.2], [0.0375 * 4.2 / 0.4, 0.0]]) / 0.995825
    np.testing.assert_allclose(observation.relative_weights, expected, rtol=1e-5)
    assert float(observation.drawdown) == pytest.approx(1 - 0.995825, rel=1e-4)
    assert params.mask.tolist() == [[True, True], [True, False]]


def test_capital_shares_sum_to_one_with_cash_last():
    allocation = decode_allocation(f32([*logs(0.2, 0.3, 0.5), np.log(3.0)]))
    np.testing.assert_allclose(allocation.capital, [0.2, 0.3, 0.5], rtol=1e-6)
    assert float(allocation.risk_appetite) == pytest.approx(0.75, rel=1e-6)  # sigmoid(log 3) = 3 / 4
    np.testing.assert_allclose(allocation.budgets(), [0.15, 0.225], rtol=1e-6)


def test_a_class_that_gave_up_budget_is_judged_on_the_larger_one():
    universe = make_universe(1, 1)
    flat = np.ones((4, 2))
    table = make_table(flat, flat, spread=0.01)
    params = make_portfolio(universe, table, meta_interval=1)
    half = join(universe, [[1.0], [0.0]], [*logs(0.8, 0.1, 0.1), ALL_IN])
    _, state, *_ = STEP(KEY, START(0, 0, params), half, params)
    less = join(universe, [[0.0], [0.0]], [*logs(0.2, 0.7, 0.1), ALL_IN])
    # Long 0.8 units bought at 1.01: equity 1 - 0.008 = 0.992. The cut to 0.2 sells at the bid, which costs nothing
    # more; then hold. To show the base, the next cut is of a short: see the sum of flows over the larger budget.
    _, after, _, _, info = STEP(KEY, state, less, params)
    net = float(info["flows"].net()[0])
    assert float(info["rewards"][0]) == pytest.approx(np.log1p(net / 0.992 / 0.8), abs=1e-6)
    assert float(after.book.account.units[0]) == pytest.approx(0.2 * 0.992, rel=1e-3)


# Decisions.


def test_the_meta_controller_acts_every_meta_interval_bars_only():
    universe, params = random_portfolio(2, 1, meta_interval=3)
    generator = np.random.default_rng(0)
    state, observation = START(0, 0, params), None
    decided, budgets = [], []
    for _ in range(7):
        observation = ENV.observe(None, state, None, params)
        decided.append(bool(observation.decides))
        logits = generator.normal(size=4)
        _, state, _, _, info = STEP(KEY, state, join(universe, 0.1, logits), params)
        expected = decode_allocation(f32(logits)).budgets() if decided[-1] else budgets[-1]
        np.testing.assert_allclose(info["budgets"], expected, rtol=1e-6)
        budgets.append(info["budgets"])
    assert decided == [True, False, False, True, False, False, True]


def act(scale, observation, table):
    """Frozen specialists of some kind: they look at features, holdings and their own drawdown."""
    inputs = class_inputs(observation, table)
    return jnp.tanh(scale * (jnp.sum(inputs.instruments, -1) - inputs.market[..., -1:]))


FROZEN = jax.jit(lambda state, params: act(params.specialists, ENV.observe(None, state, None, params), params.table))


def play_bar_by_bar(universe, params, state, meta, bars):
    """Reward discounted, end flags and state after at most so many bars of the portfolio."""
    total, weight, terminated = 0.0, 1.0, False
    for _ in range(bars):
        if terminated or bool(ENV.is_truncated(state, params)):
            break
        trades = FROZEN(state, params)
        _, state, reward, terminated, _ = STEP(KEY, state, join(universe, trades, meta), params)
        total, weight = total + weight * float(reward), weight * float(params.discount)
    return total, bool(terminated), state


def assert_same_state(one, other):
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)


def test_allocation_steps_equal_portfolio_steps_with_the_same_actions():
    universe, params = random_portfolio(2, 1, 3, meta_interval=4, discount=0.9, specialists=f32(0.7))
    env = AllocationEnv(REWARDS["log_growth"], act, 4)
    by_decision = by_bar = env.initial_state(0, 2, params)
    generator = np.random.default_rng(1)
    step = jax.jit(env.step_env)
    for _ in range(3):
        meta = generator.normal(size=5)
        observation, by_decision, reward, terminated, info = step(KEY, by_decision, f32(meta), params)
        total, _, by_bar = play_bar_by_bar(universe, params, by_bar, meta, 4)
        assert float(reward) == pytest.approx(total, abs=2e-6)
        assert abs(total) > 1e-5
        assert not terminated
        assert_same_state(by_decision, by_bar)
        np.testing.assert_allclose(info["budgets"], decode_allocation(f32(meta)).budgets(), rtol=1e-6)
        assert bool(observation.decides)
    assert int(by_decision.bar) == 14


def test_an_episode_that_is_cut_inside_an_interval_stops_there():
    universe, params = random_portfolio(2, 1, meta_interval=4, episode_length=6, specialists=f32(0.7))
    env = AllocationEnv(REWARDS["log_growth"], act, 4)
    meta = f32([0.1, 0.2, 0.3, 1.0])
    _, state, *_ = env.step_env(KEY, env.initial_state(0, 0, params), meta, params)
    total, _, expected = play_bar_by_bar(universe, params, state, meta, 4)
    _, after, reward, terminated, truncated, info = env.step(KEY, state, meta, params)
    assert int(expected.time) == 6
    assert float(reward) == pytest.approx(total, abs=1e-6)
    assert truncated
    assert not terminated
    assert int(info["final_observation"].bar) == 6
    assert int(after.time) == 0


def test_ruin_inside_an_interval_stops_there():
    # All in on one instrument that halves in bar 2 and would recover afterwards.
    universe = make_universe(1, 1)
    closes = np.ones((9, 2))
    closes[2:3, 0], closes[3:, 0] = 0.5, 3.0
    opens = np.concatenate([np.ones((1, 2)), closes[:-1]])
    params = make_portfolio(
        universe, with_classes(make_table(opens, closes), 2), ruin_level=0.6, specialists=f32([[1.0], [0.0]])
    )
    env = AllocationEnv(REWARDS["log_growth"], lambda trades, observation, table: trades, 4)
    _, state, reward, terminated, _ = env.step_env(
        KEY, env.initial_state(0, 0, params), f32([ALL_IN, 0.0, 0.0, ALL_IN]), params
    )
    assert terminated
    assert int(state.bar) == 2
    assert float(state.book.equity) == pytest.approx(0.5, rel=1e-5)
    assert float(reward) == pytest.approx(0.9 * np.log(0.5), rel=1e-4)  # one bar later, discounted once


def test_the_reward_of_an_allocation_step_is_differentiable_in_the_action():
    _, params = random_portfolio(2, 3, specialists=f32([[0.5, 0.4, 0.0], [-0.5, 0.3, 0.2]]), spread=1e-3)
    env = AllocationEnv(REWARDS["log_growth"], lambda trades, observation, table: trades, 4)
    env = env.with_transition_gradients()

    def reward(action):
        return env.step_env(KEY, env.initial_state(0, 0, params), action, params)[2]

    total, eps = jax.jit(reward), 3e-2
    action = f32([0.3, -0.2, 0.1, 0.4])
    gradient = np.asarray(jax.grad(reward)(action))
    for i in range(4):
        finite = (float(total(action.at[i].add(eps))) - float(total(action.at[i].add(-eps)))) / (2 * eps)
        assert gradient[i] == pytest.approx(finite, abs=2e-5, rel=0.03)
    assert np.abs(gradient).max() > 1e-4


# The four ways a step can end, under jit and vmap.


@pytest.mark.parametrize(
    ("path", "time", "terminated", "truncated"),
    [(0, 0, False, False), (0, 1, False, True), (1, 0, True, False), (1, 1, True, True)],
    ids=["goes on", "truncated", "terminated", "both"],
)
@pytest.mark.parametrize("by_decision", [False, True], ids=["bar by bar", "by decision"])
def test_the_four_endings(by_decision, path, time, terminated, truncated):
    universe = make_universe(1, 1)
    closes = np.ones((2, 6, 2))
    closes[1, 2:] = 0.5
    opens = np.concatenate([np.ones((2, 1, 2)), closes[:, :-1]], axis=1)
    one = with_classes(make_table(opens[0], closes[0]), 2)
    table = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf]) if leaf.ndim > 1 else leaf, one)
    table = table.replace(open=f32(opens), close=f32(closes))
    params = make_portfolio(
        universe, table, episode_length=2, ruin_level=0.6, meta_interval=1, specialists=f32([[0.0], [0.0]])
    )
    meta = f32([ALL_IN, 0.0, 0.0, ALL_IN])
    env = AllocationEnv(REWARDS["log_growth"], lambda trades, observation, table: trades, 1) if by_decision else ENV
    held = meta if by_decision else join(universe, [[0.0], [0.0]], meta)

    def play(path, time):
        state = ENV.initial_state(path, 0, params)
        state = ENV.step_env(KEY, state, join(universe, [[1.0], [0.0]], meta), params)[1]
        return env.step(KEY, state.replace(time=time), held, params)

    observation, state, _, ended, cut, info = jax.jit(jax.vmap(play))(jnp.array([path, 0]), jnp.array([time, 0]))
    assert bool(ended[0]) is terminated
    assert bool(cut[0]) is truncated
    assert not ended[1]
    assert not cut[1]
    assert int(info["final_observation"].bar[0]) == 2
    assert float(info["final_observation"].drawdown[0]) == pytest.approx(0.5 if path else 0.0, abs=1e-6)
    if terminated or truncated:
        assert float(state.book.equity[0]) == 1.0
        assert int(state.time[0]) == 0
        assert not np.any(np.asarray(observation.relative_weights[0]))
        assert not np.any(np.asarray(state.book.account.units[0]))
        np.testing.assert_array_equal(state.track_record.equity[0], [1.0, 1.0])
    else:
        assert int(observation.bar[0]) == 2
        assert float(observation.relative_weights[0, 0, 0]) == pytest.approx(1.0, rel=1e-5)


# What the agents see.


@pytest.mark.parametrize(
    ("sizes", "numbers"),
    # 30 returns + volatility + drawdown + N (N - 1) / 2 correlations + 3 per class + 5 macro indicators.
    [((3, 2, 3), 74), ((1,), 40), ((1, 2, 1, 3), 70)],
)
def test_the_portfolio_state_has_one_number_for_each_thing_it_says(sizes, numbers):
    universe, params = random_portfolio(*sizes, num_bars=5)
    observation = ENV.observe(None, START(0, 0, params), None, params)
    assert SHOWN(observation, params.table, universe.slots).shape == (numbers,)
    action = join(universe, 0.5, np.zeros(len(sizes) + 2))
    observation, _, _, _, info = STEP(KEY, START(0, 0, params), action, params)
    assert np.all(np.isfinite(SHOWN(observation, params.table, universe.slots)))
    assert info["rewards"].shape == (len(sizes) + 1,)


def test_the_default_classes_give_seventy_four_numbers():
    assert universe_of(DEFAULT_CLASSES).slots == (0, 1, 2, 3, 4, 6, 7, 8)


def test_the_portfolio_state_shows_returns_volatility_drawdown_correlations_records_and_macro():
    universe = make_universe(2, 1)
    covariance = np.array([[4e-6, -1e-6, 2e-6], [-1e-6, 1e-6, 0.0], [2e-6, 0.0, 16e-6]])
    table = with_classes(make_table(np.ones((3, 3)), np.ones((3, 3))), 2)
    table = table.replace(covariance=jnp.broadcast_to(f32(covariance), (1, 3, 3, 3)))
    params = make_portfolio(universe, table)
    state = ENV.initial_state(0, 1, params)
    returns = np.random.default_rng(0).normal(size=30)
    state = state.replace(returns=f32(returns), book=state.book.replace(equity=f32(0.9), peak_equity=f32(1.2)))
    params = params.replace(reward=params.reward.replace(scale=f32(3.0)))
    shown = np.asarray(SHOWN(ENV.observe(None, state, None, params), params.table, universe.slots))
    np.testing.assert_allclose(shown[:30], 3 * returns, rtol=1e-5)
    assert shown[30] == pytest.approx(np.std(3 * returns), rel=1e-5)
    assert shown[31] == pytest.approx(0.25, rel=1e-5)
    # -1 / (2 x 1), 2 / (2 x 4), 0: the padded instrument has no correlation to show.
    np.testing.assert_allclose(shown[32:35], [-0.5, 0.25, 0.0], atol=1e-6)
    np.testing.assert_allclose(shown[35:41], [0, 0, 0.5, 0.5, 0, 0], atol=1e-7)  # Sharpe, win rate, drawdown
    np.testing.assert_array_equal(shown[41:], table.macro[0, 1])


def test_a_specialist_with_the_whole_budget_sees_and_does_what_it_would_alone():
    universe = make_universe(2, 3)
    opens, closes = random_prices(40, 5, seed=9, volatility=0.01)
    table = with_classes(make_table(opens, closes, spread=1e-3), 2)
    params = make_portfolio(universe, table, make_contracts(5, commission=3.5), meta_interval=1, trade_decay=0.1)
    alone = make_params(class_table(params.table, universe, 0), class_contracts(params.contracts, universe, 0))
    alone = alone.replace(mask=params.mask[:1], share=params.share[:1], rules=params.rules)
    env, generator = SpecialistEnv(REWARDS["log_growth"]), np.random.default_rng(2)
    state, own = START(0, 0, params), env.initial_state(0, 0, alone)
    step, look = jax.jit(env.step_env), jax.jit(portfolio_inputs, static_argnums=2)
    for _ in range(30):
        trades = generator.normal(size=3)
        action = join(universe, [trades, np.zeros(3)], [ALL_IN, 0.0, 0.0, ALL_IN])
        observation, state, _, _, info = STEP(KEY, state, action, params)
        own_observation, own, reward, _, _ = step(KEY, own, f32(trades), alone)
        inside = jax.tree.map(lambda leaf: leaf[0], look(observation, params.table, universe.slots))
        outside = specialist_inputs(own_observation, alone.table)
        np.testing.assert_allclose(inside.specialists.instruments, outside.instruments, atol=2e-6)
        np.testing.assert_allclose(inside.specialists.market, outside.market, atol=5e-6)
        assert float(info["rewards"][0]) == pytest.approx(float(reward), abs=2e-6)
        assert float(info["equity"]) == pytest.approx(float(own.book.equity), rel=2e-6)
    assert abs(float(own.book.equity) - 1.0) > 1e-3


# Numbers that must stay numbers.


@pytest.mark.parametrize("logits", [[0.0, 0.0, 0.0, -200.0], [200.0, 0.0, 0.0, 0.0]], ids=["no appetite", "one class"])
def test_a_class_without_any_budget_leaves_finite_numbers(logits):
    universe, params = random_portfolio(2, 3)
    state = START(0, 0, params)
    for _ in range(2):
        observation, state, reward, _, info = STEP(KEY, state, join(universe, 0.5, logits), params)
        assert np.all(np.isfinite(observation.relative_weights))
        assert np.isfinite(float(reward))
        assert np.all(np.isfinite(info["rewards"]))
        assert np.isfinite(float(state.book.equity))


def test_what_the_meta_controller_sees_has_a_finite_gradient_when_nothing_happened_yet():
    universe, params = random_portfolio(2, 3)
    state = START(0, 0, params)

    def shown(returns):
        observation = ENV.observe(None, state.replace(returns=returns), None, params)
        return jnp.sum(portfolio_state(observation, params.table, universe.slots))

    assert np.all(np.isfinite(jax.grad(shown)(state.returns)))


def test_positions_that_decay_to_nothing_have_a_finite_gradient():
    # 0.9^450 = 3e-21: a position that is closed bit by bit gets that small; its square is below float32.
    opens, closes = random_prices(460, 1)
    params = make_params(make_table(opens, closes, spread=1e-4), trade_decay=0.1)
    env = SpecialistEnv(REWARDS["log_growth"]).with_transition_gradients()

    def growth(first):
        def body(state, action):
            _, state, reward, *_ = env.step_env(KEY, state, action, params)
            return state, reward

        actions = jnp.zeros((450, 1)).at[0].set(first)
        return jnp.sum(jax.lax.scan(body, env.initial_state(0, 0, params), actions)[1])

    assert np.all(np.isfinite(jax.jit(jax.grad(growth))(f32([0.5]))))
