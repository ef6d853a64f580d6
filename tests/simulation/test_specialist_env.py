"""Hand-worked steps of the environment, and its contract under jit and vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.simulation.market_env import random_start
from mtquant_jax.simulation.specialist_env import specialist_inputs
from tests.conftest import f32, make_contracts, make_params, make_table, random_prices
from tests.simulation.markets import SPECIALIST_ENV, SPECIALIST_START, SPECIALIST_STEP

ENV = SPECIALIST_ENV
KEY = jax.random.key(0)


def step(state, action, params):
    return SPECIALIST_STEP(KEY, state, f32(action), params)


def test_orders_fill_at_the_next_open_and_are_marked_at_its_close():
    # Decided at the close 1.10 of bar 0, filled at the open 1.11 of bar 1 (ask 1.1101), marked at its close 1.12.
    table = make_table([[1.09], [1.11]], [[1.10], [1.12]], spread=0.0001)
    params = make_params(table, make_contracts(1, commission=5.5))
    _, state, reward, terminated, info = step(SPECIALIST_START(0, 0, params), [0.5], params)
    # Weight 0.5 of equity 1 at the last known price: 0.5 / 1.10 = 0.4545455 units.
    units = 0.5 / 1.10
    commission = units / 100_000 * 5.5
    equity = 1.0 + units * (1.12 - 1.1101) - commission
    assert float(state.book.account.units[0]) == pytest.approx(units, rel=1e-6)
    assert float(info["step"].equity) == pytest.approx(equity, rel=1e-6)
    assert float(reward) == pytest.approx(np.log(equity), rel=1e-4)
    assert float(state.relative_weights[0]) == pytest.approx(units * 1.12 / equity, rel=1e-5)
    assert not terminated


def test_the_gap_hits_the_old_position_before_the_new_order_fills():
    table = make_table([[1.0], [1.0], [0.9]], [[1.0], [1.0], [0.9]])
    params = make_params(table)
    _, state, *_ = step(SPECIALIST_START(0, 0, params), [1.0], params)
    # Long 1.0, then a target of 0; the market opens 10 % lower first.
    _, state, _, _, info = step(state, [-1.0], params)
    assert float(info["step"].equity) == pytest.approx(0.9, rel=1e-6)
    assert float(state.book.account.units[0]) == pytest.approx(0.0, abs=1e-6)


def test_an_instrument_that_is_not_tradable_keeps_its_position():
    opens, closes = random_prices(4, 2)
    tradable = np.ones((4, 2), bool)
    tradable[2, 0] = False
    params = make_params(make_table(opens, closes, tradable=tradable))
    _, state, *_ = step(SPECIALIST_START(0, 0, params), [0.6, 0.6], params)
    before = state.book.account.units
    _, state, *_ = step(state, [-1.0, -1.0], params)
    assert float(state.book.account.units[0]) == float(before[0])
    assert float(state.book.account.units[1]) < 0.0


def test_no_action_means_no_order():
    opens, closes = random_prices(60, 3, seed=2)
    params = make_params(make_table(opens, closes, spread=1e-3), make_contracts(3, commission=3.5))
    _, state, *_ = step(SPECIALIST_START(0, 0, params), [0.5, -0.4, 0.3], params)
    units = state.book.account.units
    for _ in range(20):
        state = step(state, [0.0, 0.0, 0.0], params)[1]
    np.testing.assert_allclose(state.book.account.units, units, rtol=1e-5)


def test_a_flat_policy_keeps_equity_exactly():
    opens, closes = random_prices(100, 3, seed=5)
    params = make_params(make_table(opens, closes, spread=1e-3), make_contracts(3, commission=3.5))
    state = SPECIALIST_START(0, 0, params)
    for _ in range(50):
        _, state, reward, _, info = step(state, [0.0] * 3, params)
        assert float(info["step"].equity) == 1.0
        assert float(reward) == 0.0


def test_actions_are_changes_clipped_at_the_limits_and_shared_among_instruments():
    table = make_table(np.ones((4, 2)), np.ones((4, 2)))
    params = make_params(table)
    _, state, *_ = step(SPECIALIST_START(0, 0, params), [0.1, -5.0], params)
    np.testing.assert_allclose(state.relative_weights, [0.1, -1.0], rtol=1e-5)
    np.testing.assert_allclose(state.book.account.units, [0.05, -0.5], rtol=1e-5)  # the share of each instrument is 1/2
    _, state, *_ = step(state, [0.1, 0.1], params)
    np.testing.assert_allclose(state.relative_weights, [0.2, -0.9], rtol=1e-5)


# The four ways a step can end, under jit and vmap.


def endings():
    """Four vmapped environments, one per ending; prices halve in bar 2 of path 1."""
    num_bars = 6
    closes = np.ones((2, num_bars, 1))
    closes[1, 2:] = 0.5
    opens = np.concatenate([np.ones((2, 1, 1)), closes[:, :-1]], axis=1)
    table = make_table(opens[0], closes[0])
    table = jax.tree.map(
        lambda leaf: jnp.concatenate([leaf, leaf]) if leaf.ndim and leaf.shape[0] == 1 else leaf, table
    ).replace(open=f32(opens), close=f32(closes))
    return make_params(table, episode_length=2, ruin_level=0.6, leverage=1.0)


@jax.jit
def end(paths, times, params):
    """Two bars from each path's start, the first long with everything."""

    def play(path, time):
        state = ENV.step_env(KEY, ENV.initial_state(path, 0, params), jnp.ones(1), params)[1]
        return ENV.step(KEY, state.replace(time=time), jnp.zeros(1), params)

    return jax.vmap(play)(paths, times)


@pytest.mark.parametrize(
    ("path", "time", "terminated", "truncated"),
    [(0, 0, False, False), (0, 1, False, True), (1, 0, True, False), (1, 1, True, True)],
    ids=["goes on", "truncated", "terminated", "both"],
)
def test_the_four_endings(path, time, terminated, truncated):
    params = endings()

    observation, state, _, ended, cut, info = end(jnp.array([path, 0]), jnp.array([time, 0]), params)
    assert bool(ended[0]) is terminated
    assert bool(cut[0]) is truncated
    assert not ended[1]
    assert not cut[1]
    # The observation before the reset is returned separately from the one after it.
    assert int(info["final_observation"].bar[0]) == 2
    if terminated or truncated:
        assert float(state.book.equity[0]) == 1.0
        assert int(state.time[0]) == 0
        assert float(observation.relative_weights[0, 0]) == 0.0
    else:
        assert int(observation.bar[0]) == 2
    assert float(info["final_observation"].drawdown[0]) == pytest.approx(0.5 if path else 0.0, abs=1e-6)


def test_the_end_of_the_span_truncates():
    params = make_params(make_table(np.ones((10, 1)), np.ones((10, 1))), span=(0, 5))
    state = ENV.initial_state(0, 3, params)
    *_, terminated, truncated, _ = ENV.step(KEY, state, jnp.zeros(1), params)
    assert truncated
    assert not terminated


def test_a_gap_through_the_stop_out_level_closes_at_the_gap_price_and_terminates():
    # 30 times leverage on a margin rate of 3.33 %: margin about 1.0 at 1.0. The gap to 0.975 leaves equity
    # 1 - 30 x 0.025 = 0.25 against margin 30 x 0.975 x 0.0333 = 0.974: level 26 % < 50 %.
    table = make_table([[1.0], [1.0], [0.975], [0.5]], [[1.0], [1.0], [0.5], [0.5]])
    params = make_params(table, leverage=30.0)
    _, state, *_ = step(SPECIALIST_START(0, 0, params), [1.0], params)
    _, state, _, terminated, info = step(state, [0.0], params)
    assert terminated
    assert float(state.book.account.units[0]) == 0.0
    assert float(info["step"].equity) == pytest.approx(0.25, rel=1e-4)  # not the ruinous close


def test_a_breach_at_the_close_is_settled_at_the_next_open():
    table = make_table([[1.0], [1.0], [1.0], [0.98]], [[1.0], [1.0], [0.975], [0.98]])
    params = make_params(table, leverage=30.0)
    _, state, *_ = step(SPECIALIST_START(0, 0, params), [1.0], params)
    _, state, _, terminated, info = step(state, [0.0], params)
    assert terminated
    assert float(info["step"].equity) == pytest.approx(1.0 - 30 * 0.02, rel=1e-4)  # the open after, 0.98
    # If the data end there is no next open, and the last close is used.
    _, state, *_ = step(SPECIALIST_START(0, 0, params), [1.0], params)
    short = jax.tree.map(lambda leaf: leaf[:, :3] if leaf.ndim > 1 else leaf[:3], table)
    _, _, _, terminated, info = step(state, [0.0], params.replace(table=short))
    assert terminated
    assert float(info["step"].equity) == pytest.approx(1.0 - 30 * 0.025, rel=1e-4)


@pytest.mark.slow
def test_reward_gradient_agrees_with_finite_differences():
    opens, closes = random_prices(10, 3, seed=7, volatility=0.01)
    table = make_table(opens, closes, spread=0.002)
    params = make_params(table, make_contracts(3, size=100.0, commission=0.02))
    env = ENV.with_transition_gradients()

    @jax.jit
    @jax.value_and_grad
    def growth(actions):
        def body(state, action):
            _, state, reward, *_ = env.step_env(KEY, state, action, params)
            return state, reward

        return jnp.sum(jax.lax.scan(body, env.initial_state(0, 0, params), actions)[1])

    actions = f32(np.random.default_rng(1).normal(size=(5, 3)) * 0.2)
    gradient, eps = np.asarray(growth(actions)[1]), 1e-2
    for i in range(5):
        for j in range(3):
            bump = np.zeros((5, 3), np.float32)
            bump[i, j] = eps
            finite = (float(growth(actions + bump)[0]) - float(growth(actions - bump)[0])) / (2 * eps)
            assert gradient[i, j] == pytest.approx(finite, abs=4e-5, rel=0.03)
    assert np.abs(gradient).max() > 1e-3
    assert ENV.supports_transition_gradients


def test_inputs_look_up_the_features_of_the_observed_bar():
    features = np.arange(5 * 2 * 3).reshape(5, 2, 3)
    params = make_params(make_table(np.ones((5, 2)), np.ones((5, 2)), features=features))
    observation = ENV.observe(None, ENV.initial_state(0, 3, params), None, params)
    inputs = specialist_inputs(observation, params.table)
    np.testing.assert_array_equal(inputs.instruments[:, :3], features[3])
    assert inputs.market.shape == (3,)  # two domain features and the drawdown


def test_starts_leave_room_for_a_whole_episode():
    params = make_params(make_table(np.ones((100, 1)), np.ones((100, 1))), span=(20, 60), episode_length=30)
    bars = jax.vmap(lambda k: ENV.reset(k, params)[1].bar)(jax.random.split(KEY, 200))
    assert int(bars.min()) == 20
    assert int(bars.max()) == 29


def test_episodes_start_on_paths_with_their_probabilities():
    opens, closes = random_prices(40, 1)
    one = make_table(opens, closes)
    table = jax.tree.map(lambda leaf: jnp.repeat(leaf, 5, axis=0) if leaf.shape[0] == 1 else leaf, one)
    keys = jax.random.split(jax.random.key(3), 20_000)
    for weights in ([1.0] * 5, [0.0, 3.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1e-6], [7.0, 0.0, 0.0, 0.0, 0.0]):
        params = make_params(table, episode_length=10).replace(path_probability=f32(weights))
        paths, bars = jax.jit(jax.vmap(random_start, in_axes=(0, None)))(keys, params)
        assert paths.dtype == jnp.int32
        found = np.bincount(np.asarray(paths), minlength=5) / len(keys)
        expected = np.asarray(weights) / np.sum(weights)
        np.testing.assert_allclose(found, expected, atol=4.0 * 0.5 / np.sqrt(len(keys)))
        assert np.all(found[expected == 0.0] == 0.0)
        assert set(np.asarray(bars).tolist()) == set(range(30))  # whatever the path, all bars with room for an episode
