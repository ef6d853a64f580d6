"""Specialists stacked into one hierarchy act as they do one by one; padding says and learns nothing."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.agents.hierarchy import (
    META,
    SPECIALIST,
    SPECIALISTS,
    FrozenSpecialists,
    HierarchyAgent,
    MetaAgent,
    SpecialistAgent,
    specialists_policy,
    stack,
    unstack,
)
from mtquant_jax.agents.networks import MetaNetwork, SpecialistNetwork, initialise
from mtquant_jax.agents.normalizer import start_normalizer
from mtquant_jax.simulation.portfolio_inputs import portfolio_inputs
from mtquant_jax.simulation.specialist_env import SpecialistInputs
from tests.conftest import f32
from tests.simulation.markets import PORTFOLIO_ENV, random_portfolio

SIZES = (2, 3, 1)
UNIVERSE, PARAMS = random_portfolio(*SIZES, num_bars=12, meta_interval=4)
NETWORK = SpecialistNetwork(UNIVERSE.width, 8, -0.5)
META_NETWORK = MetaNetwork(UNIVERSE.num_classes, 8, -0.5)
AGENT = HierarchyAgent(NETWORK, META_NETWORK, UNIVERSE.slots, UNIVERSE.num_classes)
BATCH = (4, 5)


def observations(seed=0):
    """Observations ``[4, 5]`` with something in every field."""
    state = PORTFOLIO_ENV.initial_state(0, 0, PARAMS)
    one = PORTFOLIO_ENV.observe(None, state, None, PARAMS)
    generator = np.random.default_rng(seed)

    def fill(leaf):
        if leaf.dtype == jnp.int32:
            return jnp.zeros(BATCH, jnp.int32)
        if leaf.dtype == bool:
            return jnp.asarray(generator.random(BATCH) < 0.5)
        return f32(generator.normal(size=(*BATCH, *leaf.shape)))

    filled = jax.tree.map(fill, one)
    weights, tilt = (jnp.where(PARAMS.mask, leaf, 0.0) for leaf in (filled.relative_weights, filled.tilt))
    bar = jnp.asarray(generator.integers(0, 12, BATCH), jnp.int32)
    return filled.replace(bar=bar, relative_weights=weights, tilt=tilt)


OBSERVATIONS = observations()
INPUTS = jax.jit(AGENT.inputs)(OBSERVATIONS, PARAMS)


def varied(tree, seed):
    """Like the tree, with random numbers."""
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: f32(0.3 * generator.normal(size=leaf.shape)), tree)


def class_of(inputs, index):
    """What one class sees of stacked inputs."""
    return SpecialistInputs(instruments=inputs.instruments[..., index, :, :], market=inputs.market[..., index, :])


EXAMPLE = jax.tree.map(lambda leaf: leaf[0, 0], class_of(INPUTS.specialists, 0))
EXTEND = jax.jit(lambda normalizer, inputs: normalizer.extend(inputs))
ALONE = [varied(initialise(NETWORK, EXAMPLE, 0), seed) for seed in range(3)]
NORMALIZERS = [EXTEND(start_normalizer(EXAMPLE), class_of(INPUTS.specialists, i)) for i in range(3)]
META_PARAMS = varied(initialise(META_NETWORK, jax.tree.map(lambda leaf: leaf[0, 0], INPUTS.portfolio), 0), 9)
META_NORMALIZER = start_normalizer(INPUTS.portfolio.flat()[0, 0]).extend(INPUTS.portfolio.flat())
TOGETHER = {SPECIALISTS: stack(ALONE), META: META_PARAMS}
STATISTICS = {SPECIALISTS: stack(NORMALIZERS), META: META_NORMALIZER}


@functools.cache
def policy():
    return jax.jit(AGENT.policy)(TOGETHER, STATISTICS, INPUTS, PARAMS)


@pytest.mark.parametrize("index", range(3))
def test_stacked_specialists_act_and_value_as_they_do_one_by_one(index):
    agent = SpecialistAgent(NETWORK)
    seen = class_of(INPUTS.specialists, index)
    class_params = PARAMS.replace(mask=PARAMS.mask[index : index + 1])
    alone = jax.jit(agent.policy)({SPECIALIST: ALONE[index]}, {SPECIALIST: NORMALIZERS[index]}, seen, class_params)
    together = policy()
    width = UNIVERSE.width
    np.testing.assert_allclose(together.mode()[..., index, :width], alone.mode()[..., 0, :], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(together.log_std[index, :width], alone.log_std, rtol=1e-6)
    np.testing.assert_allclose(together.entropy()[..., index], alone.entropy()[..., 0], rtol=1e-5)
    action = f32(np.random.default_rng(3).normal(size=(*BATCH, 4, 5)))
    own = alone.log_prob(action[..., index : index + 1, :width])
    np.testing.assert_allclose(together.log_prob(action)[..., index], own[..., 0], rtol=1e-4, atol=1e-5)
    value = jax.jit(agent.value)({SPECIALIST: ALONE[index]}, {SPECIALIST: NORMALIZERS[index]}, seen)
    np.testing.assert_allclose(
        jax.jit(AGENT.value)(TOGETHER, STATISTICS, INPUTS)[..., index], value[..., 0], rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_the_meta_controller_is_the_last_row():
    agent = MetaAgent(META_NETWORK, UNIVERSE.slots)
    seen = agent.inputs(OBSERVATIONS, PARAMS)
    shown = portfolio_inputs(OBSERVATIONS, PARAMS.table, UNIVERSE.slots)
    np.testing.assert_array_equal(seen.flat(), shown.flat())
    alone = agent.policy({META: META_PARAMS}, {META: META_NORMALIZER}, seen, PARAMS)
    np.testing.assert_allclose(policy().mode()[..., 3, :], alone.mode()[..., 0, :], rtol=1e-5, atol=1e-6)
    value = jax.jit(agent.value)({META: META_PARAMS}, {META: META_NORMALIZER}, seen)
    np.testing.assert_allclose(jax.jit(AGENT.value)(TOGETHER, STATISTICS, INPUTS)[..., 3], value[..., 0], rtol=1e-5)
    assert alone.mode().shape == (*BATCH, 1, 5)


def test_padding_is_masked_by_row():
    distribution = policy()
    expected = np.zeros((4, 5), bool)
    for row, columns in enumerate((*SIZES, 5)):
        expected[row, :columns] = True
    np.testing.assert_array_equal(distribution.mask, expected)
    sample = np.asarray(distribution.sample(distribution.noise(jax.random.key(0), 1)[0]))
    assert not np.any(sample[..., ~expected])
    assert np.all(sample[..., expected] != 0.0)


def test_entropy_counts_real_actions_only():
    # 1 / 2 log(2 pi e) + log_std + log_trade_scale, summed over 2, 3 and 1 instruments and 5 allocation logits.
    log_stds = [np.asarray(p["log_std"] + p["log_trade_scale"])[:size] for p, size in zip(ALONE, SIZES, strict=True)]
    log_stds.append(np.asarray(META_PARAMS["log_std"]))
    expected = [float(np.sum(0.5 * np.log(2 * np.pi * np.e) + one)) for one in log_stds]
    np.testing.assert_allclose(policy().entropy()[0, 0], expected, rtol=1e-5)


def test_frozen_specialists_do_what_the_hierarchy_would():
    act = FrozenSpecialists(NETWORK)
    one = jax.tree.map(lambda leaf: leaf[2, 3], OBSERVATIONS)
    trades = act((TOGETHER[SPECIALISTS], STATISTICS[SPECIALISTS]), one, PARAMS.table)
    assert trades.shape == (3, 3)
    expected = np.asarray(policy().mean)[2, 3, :3, :3]
    np.testing.assert_allclose(trades, expected, rtol=1e-4, atol=1e-6)
    assert hash(act) == hash(FrozenSpecialists(SpecialistNetwork(UNIVERSE.width, 8, -0.5)))
    assert act == FrozenSpecialists(SpecialistNetwork(UNIVERSE.width, 8, -0.5))


def test_means_and_deviations_come_with_the_class_axis_in_place():
    normalised = STATISTICS[SPECIALISTS].normalise(INPUTS.specialists)
    mean, log_std = specialists_policy(NETWORK, TOGETHER[SPECIALISTS], normalised)
    assert (mean.shape, log_std.shape) == ((*BATCH, 3, 3), (3, 3))


def test_stacked_statistics_are_extended_as_one_by_one():
    more = AGENT.inputs(observations(7), PARAMS)
    extended = AGENT.extend_normalizers(STATISTICS, more)
    for index in range(3):
        alone = SpecialistAgent(NETWORK).extend_normalizers(
            {SPECIALIST: NORMALIZERS[index]}, class_of(more.specialists, index)
        )[SPECIALIST]
        inside = unstack(extended[SPECIALISTS], index)
        for left, right in zip(jax.tree.leaves(inside), jax.tree.leaves(alone), strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-7)
    expected = META_NORMALIZER.extend(more.portfolio.flat())
    np.testing.assert_allclose(extended[META].mean, expected.mean, rtol=1e-5, atol=1e-7)


def test_stack_and_unstack_are_inverse():
    for index, alone in enumerate(ALONE):
        for left, right in zip(
            jax.tree.leaves(unstack(TOGETHER[SPECIALISTS], index)), jax.tree.leaves(alone), strict=True
        ):
            np.testing.assert_array_equal(left, right)


def test_specialists_decide_always_and_the_meta_controller_when_its_turn_is():
    decides = np.asarray(AGENT.decides(OBSERVATIONS))
    np.testing.assert_array_equal(decides[..., :3], np.ones((*BATCH, 3)))
    np.testing.assert_array_equal(decides[..., 3], np.asarray(OBSERVATIONS.decides))
    assert 0.0 < decides[..., 3].mean() < 1.0


def test_a_specialist_moves_only_with_its_own_inputs():
    inputs = INPUTS.specialists
    other = INPUTS.replace(specialists=inputs.replace(instruments=inputs.instruments.at[..., 1, :, :].add(1.0)))
    change = np.asarray(AGENT.policy(TOGETHER, STATISTICS, other, PARAMS).mode() - policy().mode())
    np.testing.assert_array_equal(change[..., [0, 2, 3], :], 0.0)
    assert np.max(np.abs(change[..., 1, :])) > 1e-3


def test_features_of_padded_slots_are_zero_after_normalising():
    normalised = STATISTICS[SPECIALISTS].normalise(INPUTS.specialists)
    padded = np.asarray(normalised.instruments)[..., ~np.asarray(PARAMS.mask), :]
    assert padded.shape[-2] == 3
    assert not np.any(padded)


def test_what_no_action_changes_has_a_row_per_reward_stream():
    info = {"step": SimpleNamespace(exposure=jnp.ones((4, 5, 4, 9)), driver=jnp.ones((4, 5, 1, 9)))}
    control = AGENT.control(info)
    assert (control.exposure.shape, control.driver.shape) == ((4, 5, 4, 9), (4, 5, 1, 9))
    alone = {"step": SimpleNamespace(exposure=jnp.ones((4, 5, 3)), driver=jnp.ones((4, 5, 3)))}
    for agent in (SpecialistAgent(NETWORK), MetaAgent(META_NETWORK, UNIVERSE.slots)):
        control = agent.control(alone)
        assert control.exposure.shape == control.driver.shape == (4, 5, 1, 3)
