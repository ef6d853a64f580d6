"""The networks: how they start, and who sees what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.agents.networks import MetaNetwork, SpecialistNetwork, initialise
from mtquant_jax.simulation.portfolio_inputs import PortfolioInputs
from mtquant_jax.simulation.specialist_env import SpecialistInputs
from tests.conftest import f32

SPECIALIST = SpecialistNetwork(num_instruments=3, hidden_size=16, initial_log_std=-0.7)
META = MetaNetwork(num_classes=3, hidden_size=16, initial_log_std=-0.7)


def inputs(seed=0, batch=()):
    """Three instruments of five numbers, four of the market."""
    generator = np.random.default_rng(seed)
    return SpecialistInputs(
        instruments=f32(generator.normal(size=(*batch, 3, 5))), market=f32(generator.normal(size=(*batch, 4)))
    )


def portfolio(seed=0, batch=()):
    """Three classes; three returns and one correlation are enough."""
    generator = np.random.default_rng(seed)
    sizes = {"returns": 3, "volatility": 1, "drawdown": 1, "correlations": 1, "class_sharpe": 3, "class_win_rate": 3}
    sizes |= {"class_drawdown": 3, "macro": 5}
    return PortfolioInputs(**{name: f32(generator.normal(size=(*batch, size))) for name, size in sizes.items()})


PARAMS = initialise(SPECIALIST, inputs(), 1)
META_PARAMS = initialise(META, portfolio(), 1)


def means(params, seen):
    return SPECIALIST.apply({"params": params}, seen, method="policy")[0]


def varied(params, seed=0):
    """Parameters with life in every head."""
    leaves, tree = jax.tree.flatten(params)
    generator = np.random.default_rng(seed)
    return jax.tree.unflatten(tree, [f32(generator.normal(size=leaf.shape)) for leaf in leaves])


@pytest.mark.parametrize("params", [PARAMS, META_PARAMS], ids=["specialist", "meta"])
def test_kernels_are_orthogonal_with_the_gains_of_the_house(params):
    layers = {name: layer for name, layer in params.items() if name not in ("log_std", "log_trade_scale", "class_bias")}
    assert len(layers) >= 6
    for name, layer in layers.items():
        gain = {"policy_head": 0.01, "class_head": 0.01, "value_head": 1.0}.get(name, np.sqrt(2.0))
        kernel = np.asarray(layer["kernel"], np.float64) / gain
        short = kernel if kernel.shape[0] <= kernel.shape[1] else kernel.T
        np.testing.assert_allclose(short @ short.T, np.eye(len(short)), atol=1e-5, err_msg=name)
        assert not np.any(np.asarray(layer["bias"]))
    np.testing.assert_allclose(params["log_std"], -0.7, rtol=1e-6)


def test_initialisation_is_deterministic_and_depends_on_the_seed():
    for left, right in zip(jax.tree.leaves(PARAMS), jax.tree.leaves(initialise(SPECIALIST, inputs(9), 1)), strict=True):
        assert np.asarray(left).tobytes() == np.asarray(right).tobytes()
    other = initialise(SPECIALIST, inputs(), 2)
    assert np.max(np.abs(other["trunk"]["kernel"] - PARAMS["trunk"]["kernel"])) > 0.1


def test_no_two_layers_start_alike():
    encoder, trunk = PARAMS["critic_trunk"]["kernel"], PARAMS["trunk"]["kernel"]
    assert np.max(np.abs(encoder - trunk)) > 0.1


def test_shapes_alone_are_enough_to_initialise():
    shapes = jax.eval_shape(inputs)
    for left, right in zip(jax.tree.leaves(PARAMS), jax.tree.leaves(initialise(SPECIALIST, shapes, 1)), strict=True):
        np.testing.assert_array_equal(left, right)


def test_untrained_policies_hardly_act():
    assert np.max(np.abs(means(PARAMS, inputs(0, (50,))))) < 0.06
    assert np.max(np.abs(META.apply({"params": META_PARAMS}, portfolio(0, (50,)), method="policy")[0])) < 0.06


def test_an_instrument_reaches_the_others_only_through_the_context():
    params = varied(PARAMS)
    seen = inputs()
    moved = seen.replace(instruments=seen.instruments.at[1].add(1.0))
    change = np.asarray(means(params, moved) - means(params, seen))
    assert np.all(np.abs(change) > 1e-6)
    # Without the context only the instrument's own head moves.
    kernel = jnp.zeros_like(params["domain_encoder"]["kernel"])
    alone = {**params, "domain_encoder": {**params["domain_encoder"], "kernel": kernel}}
    change = np.asarray(means(alone, moved) - means(alone, seen))
    np.testing.assert_array_equal(change[[0, 2]], [0.0, 0.0])
    assert abs(change[1]) > 1e-6


def test_the_meta_controller_judges_all_classes_alike_by_their_own_records():
    params = varied(META_PARAMS) | {"class_bias": jnp.zeros(3)}
    # Without the context, which sees all classes in their order, only the records differ.
    params["encoder"] = jax.tree.map(jnp.zeros_like, params["encoder"])
    seen = portfolio()
    turned = seen.replace(
        **{n: jnp.roll(getattr(seen, n), 1) for n in ("class_sharpe", "class_win_rate", "class_drawdown")}
    )
    logits, other = (META.apply({"params": params}, one, method="policy")[0] for one in (seen, turned))
    np.testing.assert_allclose(other[:3], jnp.roll(logits[:3], 1), rtol=1e-5)
    np.testing.assert_allclose(other[3:], logits[3:], rtol=1e-4, atol=1e-6)
    assert np.ptp(np.asarray(logits[:3])) > 0.1


def test_every_instrument_has_a_head_of_its_own():
    params = varied(PARAMS)
    before = means(params, inputs())
    head = params["policy_head"]
    other = {**params, "policy_head": {**head, "kernel": head["kernel"].at[:, 2].add(1.0)}}
    change = np.asarray(means(other, inputs()) - before)
    np.testing.assert_array_equal(change[:2], [0.0, 0.0])
    assert abs(change[2]) > 1e-3


def test_the_trade_scale_stretches_actions_and_noise_and_is_not_learnt():
    params = varied(PARAMS) | {"log_trade_scale": jnp.zeros(3)}
    wide = params | {"log_trade_scale": jnp.log(f32([1.0, 2.0, 0.5]))}
    plain, log_std, _ = SPECIALIST.apply({"params": params}, inputs())
    scaled, wide_log_std, _ = SPECIALIST.apply({"params": wide}, inputs())
    np.testing.assert_allclose(scaled, plain * f32([1.0, 2.0, 0.5]), rtol=1e-5)
    np.testing.assert_allclose(jnp.exp(wide_log_std - log_std), [1.0, 2.0, 0.5], rtol=1e-5)
    gradient = jax.grad(lambda p: jnp.sum(SPECIALIST.apply({"params": p}, inputs())[0] ** 2))(wide)
    assert not np.any(np.asarray(gradient["log_trade_scale"]))
    assert np.any(np.asarray(gradient["policy_head"]["kernel"]))


def test_policy_and_critic_share_no_parameters():
    params = varied(PARAMS)
    value = jax.jit(jax.grad(lambda p: SPECIALIST.apply({"params": p}, inputs(), method="value")))(params)
    policy = jax.jit(jax.grad(lambda p: jnp.sum(means(p, inputs()))))(params)
    critic = {"critic_encoder", "critic_trunk", "value_head"}
    moved = {name: any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(value[name])) for name in params}
    assert {name for name, moves in moved.items() if moves} == critic
    for name in critic:
        assert not any(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(policy[name]))


def test_a_batch_gives_what_its_members_give():
    params, batch = varied(PARAMS), inputs(3, (4, 2))
    mean, log_std, value = SPECIALIST.apply({"params": params}, batch)
    assert (mean.shape, log_std.shape, value.shape) == ((4, 2, 3), (3,), (4, 2))
    one = SPECIALIST.apply({"params": params}, jax.tree.map(lambda leaf: leaf[3, 1], batch))
    np.testing.assert_allclose(mean[3, 1], one[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(value[3, 1], one[2], rtol=1e-4, atol=1e-5)
