"""The whole chain from bars to orders is independent of later bars, and of padded instruments."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.agents.hierarchy import META, SPECIALISTS, HierarchyAgent
from mtquant_jax.agents.networks import MetaNetwork, SpecialistNetwork
from mtquant_jax.agents.normalizer import start_normalizer
from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.contracts import contracts
from mtquant_jax.market.features import build_table
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.synthetic.generator import generate
from mtquant_jax.market.universe import universe_of
from mtquant_jax.types import AssetClass
from tests.conftest import f32
from tests.simulation.markets import DEFAULT_CLASSES, PORTFOLIO_ENV, START, STEP, make_portfolio, random_portfolio

INSTRUMENTS = load_instruments()
UNIVERSE = universe_of(DEFAULT_CLASSES)
COLUMNS = ("open", "high", "low", "close", "spread", "volume", "tradable")
NUM_BARS, FIRST = 330, 260
KEY = jax.random.key(0)


def with_another_future(bars, after: int, seed: int = 0):
    """The same bars up to and including ``after``, then noise in prices, spreads, volumes and missing bars."""
    generator = np.random.default_rng(seed)
    columns = {name: np.array(getattr(bars, name)) for name in COLUMNS}
    later = columns["close"][:, after + 1 :].shape
    factor = np.exp(0.05 * generator.normal(size=later))
    for name in ("open", "high", "low", "close"):
        columns[name][:, after + 1 :] *= factor * np.exp(0.02 * generator.normal(size=later))
    columns["high"] = np.maximum.reduce([columns[n] for n in ("open", "high", "low", "close")])
    columns["low"] = np.minimum.reduce([columns[n] for n in ("open", "low", "close")])
    for name in ("spread", "volume"):
        columns[name][:, after + 1 :] *= generator.uniform(0.1, 10.0, size=later)
    columns["tradable"][:, after + 1 :] = generator.random(later) > 0.3
    return dataclasses.replace(bars, **{n: c.astype(np.asarray(getattr(bars, n)).dtype) for n, c in columns.items()})


def agent_of(universe, params):
    """A hierarchy whose random networks depend on all their inputs, and its parameters."""
    agent = HierarchyAgent(
        SpecialistNetwork(universe.width, 8, 0.0),
        MetaNetwork(universe.num_classes, 8, 0.0),
        universe.slots,
        universe.num_classes,
    )
    observation = PORTFOLIO_ENV.observe(None, PORTFOLIO_ENV.initial_state(0, 0, params), None, params)
    inputs = agent.inputs(observation, params)
    one = jax.tree.map(lambda leaf: leaf[0], inputs.specialists)
    generator = np.random.default_rng(4)

    def weights(network, example, *lead):
        shapes = jax.eval_shape(network.init, jax.random.key(0), example)["params"]
        return jax.tree.map(lambda leaf: f32(0.5 * generator.normal(size=(*lead, *leaf.shape))), shapes)

    networks = {
        SPECIALISTS: weights(agent.specialist, one, universe.num_classes),
        META: weights(agent.meta, inputs.portfolio),
    }
    normalizers = {SPECIALISTS: start_normalizer(inputs.specialists), META: start_normalizer(inputs.portfolio.flat())}
    return agent, networks, normalizers


@functools.partial(jax.jit, static_argnums=(0, 4))
def play(agent, networks, normalizers, params, num_steps, first):
    """Record of each step: observation, inputs, action, and the account and equity before it."""

    def step(state, _):
        observation = PORTFOLIO_ENV.observe(None, state, None, params)
        inputs = agent.inputs(observation, params)
        action = agent.policy(networks, normalizers, inputs, params).mode()
        _, after, reward, _, _ = PORTFOLIO_ENV.step_env(None, state, action, params)
        return after, (observation, inputs, action, state.book.account, state.book.equity, reward)

    return jax.lax.scan(step, PORTFOLIO_ENV.initial_state(0, first, params), length=num_steps)[1]


def played(bars, num_steps=60, first=FIRST):
    table = build_table(bars, DEFAULT_CLASSES, INSTRUMENTS, "USD")
    params = make_portfolio(UNIVERSE, table, contracts(UNIVERSE.symbols, INSTRUMENTS), meta_interval=4, trade_decay=0.1)
    return play(*agent_of(UNIVERSE, params), params, num_steps, first)


def assert_same_until(one, other, step):
    """Compare the bytes of observations, inputs and actions of the steps up to and including ``step``."""
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.asarray(left)[: step + 1].tobytes() == np.asarray(right)[: step + 1].tobytes()


def check_causality(bars):
    honest = played(bars)
    *_, rewards = honest
    assert np.all(np.isfinite(rewards))
    assert np.ptp(honest[4]) > 1e-4  # it trades
    for step in (0, 17, 40):
        changed = played(with_another_future(bars, FIRST + step, seed=step))
        # Observations, decisions and positions at the close of the last common bar.
        assert_same_until(honest[:5], changed[:5], step)
        assert_same_until(honest[5], changed[5], step - 1)
        assert np.any(np.asarray(honest[2][step + 2 :]) != np.asarray(changed[2][step + 2 :]))


@pytest.fixture(scope="module")
def synthetic():
    return generate(jax.random.key(3), 1, NUM_BARS, 0.12, None, UNIVERSE.symbols, INSTRUMENTS)


@pytest.mark.slow
def test_observations_and_decisions_on_synthetic_bars_do_not_depend_on_later_ones(synthetic):
    check_causality(synthetic)


def test_observations_and_decisions_on_real_bars_do_not_depend_on_later_ones(real_data):
    bars, _ = load_bars(real_data, UNIVERSE.symbols, INSTRUMENTS, "2024-02-01", "2024-04-01")
    cut = {name: getattr(bars, name)[:, :NUM_BARS] for name in COLUMNS}
    check_causality(dataclasses.replace(bars, timestamps=bars.timestamps[:NUM_BARS], **cut))


def test_the_size_of_an_order_is_known_before_the_bar_it_fills_in(synthetic):
    # Two futures after bar t in which everything is tradable: equal units after the fill, at different prices.
    one = dataclasses.replace(synthetic, tradable=np.ones_like(np.asarray(synthetic.tradable)))
    other = with_another_future(one, FIRST + 20)
    other = dataclasses.replace(other, tradable=np.ones_like(np.asarray(synthetic.tradable)))
    (*_, account, equity, _), (*_, changed, changed_equity, _) = played(one), played(other)
    np.testing.assert_array_equal(account.units[21], changed.units[21])
    assert np.any(np.asarray(account.units[20]) != np.asarray(account.units[21]))
    assert float(equity[21]) != float(changed_equity[21])
    assert np.any(np.asarray(account.entry[21]) != np.asarray(changed.entry[21]))


# Padding.


def padded_play(change):
    """A hierarchy of classes of 2, 3 and 1 instruments over a market whose padded slots ``change`` modifies."""
    universe, params = random_portfolio(2, 3, 1, num_bars=40, meta_interval=4)
    arguments = agent_of(universe, params)
    padded = ~np.asarray(params.mask).reshape(-1)
    return padded, play(*arguments, change(params, jnp.asarray(padded)), 30, 0)


@pytest.mark.slow
def test_padded_instruments_never_trade():
    padded, (_, _, action, account, equity, _) = padded_play(lambda params, padded: params)
    assert padded.sum() == 3
    assert not np.any(np.asarray(account.units)[:, padded])
    assert np.all(np.any(np.asarray(account.units) != 0, axis=0) == ~padded)
    assert not np.any(np.asarray(action[:, :3, :3]).reshape(30, -1)[:, padded])
    assert np.ptp(equity) > 1e-4


def test_prices_of_padded_instruments_change_nothing():
    def rubbish(params, padded):
        table = params.table
        noise = f32(np.random.default_rng(0).uniform(0.5, 2.0, size=table.close.shape))
        fields = ("open", "close", "spread", "conversion_open", "conversion_close")
        dirty = {name: jnp.where(padded, noise * (1 + i), getattr(table, name)) for i, name in enumerate(fields)}
        contracts = jax.tree.map(lambda leaf: jnp.where(padded, 7.0, leaf), params.contracts)
        # They are even tradable: only the mask excludes them.
        return params.replace(table=table.replace(**dirty, tradable=table.tradable | padded), contracts=contracts)

    def seen(padded, steps):
        # Only the entry price of the positions that do not exist may differ.
        *rest, account, equity, reward = steps
        return *rest, account.replace(entry=account.entry[:, ~padded]), equity, reward

    assert_same_until(seen(*padded_play(lambda params, padded: params)), seen(*padded_play(rubbish)), 30)


def test_actions_of_padded_instruments_change_nothing():
    universe, params = random_portfolio(2, 3, 1, num_bars=40, meta_interval=4)
    action = np.random.default_rng(1).normal(size=(20, 4, 5)).astype(np.float32)
    dirty = action.copy()
    for row, size in enumerate((2, 3, 1)):
        dirty[:, row, size:] = 1e6

    @jax.jit
    def trade(actions):
        def step(state, action):
            observation, state, reward, _, info = PORTFOLIO_ENV.step_env(None, state, action, params)
            return state, (observation, reward, info)

        return jax.lax.scan(step, PORTFOLIO_ENV.initial_state(0, 0, params), actions)[1]

    clean = trade(f32(action))
    assert_same_until(clean, trade(f32(dirty)), 20)
    assert np.any(np.asarray(clean[1]) != 0.0)
    assert universe.width == 3


@pytest.mark.slow
def test_a_wider_neighbour_changes_nothing_for_a_class():
    # The class of two instruments, next to one of two (no padding) and next to one of four (two padded slots).
    def trade(sizes):
        classes = [AssetClass("a", ("a0", "a1")), AssetClass("b", tuple(f"b{i}" for i in range(sizes)))]
        table = random_portfolio(2, 4, num_bars=40)[1].table
        narrow = universe_of(classes)
        slots = [0, 1, *(4 + i for i in range(sizes))]
        cut = {
            name: getattr(table, name)[:, :, np.array(slots)]
            for name in ("open", "close", "spread", "tradable", "conversion_open", "conversion_close", "features")
        }
        table = table.replace(**cut, covariance=table.covariance[:, :, np.array(slots)][..., np.array(slots)])
        params = make_portfolio(narrow, table)
        action = np.zeros((20, 3, 4), np.float32)
        action[:, 0, :2] = np.random.default_rng(5).normal(size=(20, 2))
        state, result = START(0, 0, params), []
        for row in action:
            observation, state, reward, _, info = STEP(KEY, state, f32(row), params)
            result.append(
                (float(reward), float(info["step"].rewards[0]), np.asarray(observation.relative_weights[0, :2]))
            )
        return [np.array([row[i] for row in result]) for i in range(3)]

    for left, right in zip(trade(2), trade(4), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)
        assert np.any(left != 0.0)
