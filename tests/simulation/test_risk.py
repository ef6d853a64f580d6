"""The risk layer: limits hold for any target, targets inside them are unchanged, breakers follow hand-worked days."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtquant_jax.simulation.risk import NO_LIMIT, RULES, RiskState, next_risk, permit, same_bets, value_at_risk
from tests.conftest import f32, make_contracts, make_risk

N = 6
CLASSES = jnp.array([0, 0, 1, 1, 2, 2])
CONTRACTS = make_contracts(N, margin_rate=[0.0333, 0.0333, 0.05, 0.1, 0.05, 0.05])
PERMIT = jax.jit(permit)
LIMITS = {
    "instrument_limit": 0.4,
    "class_limit": 0.5,
    "correlation_limit": 0.6,
    "gross_limit": 1.2,
    "margin_limit": 0.05,
    "var_limit": 0.02,
    "halving_loss": 0.05,
    "reduction_loss": 0.10,
    "flattening_loss": 0.15,
}
PROPERTY = settings(max_examples=150, deadline=None, derandomize=True)
TOLERANCE = 1e-5


def losing(loss: float) -> RiskState:
    return RiskState(day=jnp.int32(0), day_equity=f32(1.0), worst_loss=f32(loss))


def book(seed: int, size: float = 1.0):
    """Random target and held weights ``[N]``, and a covariance of per-bar returns with strong correlations."""
    generator = np.random.default_rng(seed)
    loads = generator.normal(size=(N, 2)) @ generator.normal(size=(2, N)) + 0.3 * generator.normal(size=(N, N))
    deviation = generator.uniform(1e-4, 1e-2, N)
    correlation = np.corrcoef(loads)
    covariance = deviation[:, None] * correlation * deviation
    target, current = size * generator.uniform(-1.0, 1.0, (2, N))
    return f32(target), f32(current), f32(covariance)


def allow(target, current, covariance, loss: float = 0.0, **limits):
    return PERMIT(f32(target), f32(current), f32(covariance), CLASSES, CONTRACTS, losing(loss), make_risk(**limits))


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.5, 2.0, 30.0]), st.sampled_from([0.0, 0.06, 0.12, 0.2]))
def test_no_limit_is_ever_broken_and_no_target_exceeded(seed, size, loss):
    target, current, covariance = book(seed, size)
    permission = allow(target, current, covariance, loss, **LIMITS)
    weights = np.asarray(permission.weights, float)
    gross = np.abs(weights)
    slack = 1.0 + TOLERANCE
    assert gross.max() <= LIMITS["instrument_limit"] * slack
    assert max(gross[np.asarray(CLASSES) == c].sum() for c in range(3)) <= LIMITS["class_limit"] * slack
    bets = np.asarray(same_bets(permission.weights, covariance, f32(0.7)), float)
    assert (bets @ gross)[gross > 0].max(initial=0.0) <= LIMITS["correlation_limit"] * slack
    assert gross.sum() <= LIMITS["gross_limit"] * slack
    assert (gross * np.asarray(CONTRACTS.margin_rate)).sum() <= LIMITS["margin_limit"] * slack
    var = 1.645 * np.sqrt(24.0 * weights @ np.asarray(covariance, float) @ weights)
    assert var <= LIMITS["var_limit"] * (1 + 1e-4) + TOLERANCE
    assert (weights * np.asarray(target) >= 0.0).all()
    assert (gross <= np.abs(np.asarray(target)) * slack).all()
    if loss >= 0.10:
        held = np.asarray(current, float)
        assert (weights * held >= 0.0).all() and (gross <= np.abs(held) * slack).all()
    if loss >= 0.15:
        assert (weights == 0.0).all()
    # The cuts are shares of the wanted gross exposure, and add up to the total cut.
    cuts = np.asarray(permission.cuts, float)
    wanted = float(jnp.sum(jnp.abs(target)))
    assert cuts.shape == (len(RULES),)
    assert (cuts >= -1e-6).all()
    assert cuts.sum() == pytest.approx(1.0 - gross.sum() / wanted, abs=1e-5)


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.001, 0.01, 0.03]))
def test_inside_all_limits_the_target_is_returned_bit_for_bit(seed, size):
    target, current, covariance = book(seed, size)
    permission = allow(target, current, covariance, 0.049, **LIMITS)
    # Gross exposure is at most 6 x 0.03 = 0.18, margin below 0.018; only the VaR can bind.
    if float(value_at_risk(target, covariance, make_risk())) <= LIMITS["var_limit"]:
        np.testing.assert_array_equal(permission.weights, target)
        assert (np.asarray(permission.cuts) == 0.0).all()


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.5, 30.0]), st.sampled_from(list(LIMITS)))
def test_each_rule_can_be_switched_off(seed, size, rule):
    target, current, covariance = book(seed, size)
    index = RULES.index(
        {"halving_loss": "daily_loss_halving", "reduction_loss": "daily_loss_reduction"}.get(
            rule, "daily_loss_flattening" if rule == "flattening_loss" else rule
        )
    )
    cuts = allow(target, current, covariance, 0.2, **{**LIMITS, rule: NO_LIMIT}).cuts
    assert float(cuts[index]) == 0.0
    assert (allow(target, current, covariance, 0.99).weights == target).all()  # all off: no limit


def test_every_rule_binds_alone():
    target, current = np.full(N, 0.5), np.full(N, 0.1)
    covariance = 1e-4 * (0.2 * np.eye(N) + 0.8)  # all correlated at 0.8
    for loss, rule, limits in [
        (0.0, "instrument_limit", {"instrument_limit": 0.4}),
        (0.0, "class_limit", {"class_limit": 0.4}),
        (0.0, "correlation_limit", {"correlation_limit": 0.6}),
        (0.0, "gross_limit", {"gross_limit": 1.2}),
        (0.0, "margin_limit", {"margin_limit": 0.05}),
        (0.0, "var_limit", {"var_limit": 0.02}),
        (0.05, "daily_loss_halving", {"halving_loss": 0.05}),
        (0.10, "daily_loss_reduction", {"reduction_loss": 0.10}),
        (0.15, "daily_loss_flattening", {"flattening_loss": 0.15}),
    ]:
        cuts = np.asarray(allow(target, current, covariance, loss, **limits).cuts)
        assert cuts[RULES.index(rule)] > 0.05, rule
        assert np.delete(cuts, RULES.index(rule)) == pytest.approx(0.0, abs=1e-7), rule


def test_a_hedge_reduces_the_value_at_risk_and_is_unchanged():
    # Two instruments of 1 % per bar at correlation 0.9, one bar a day, z = 1.645.
    # Long both at 0.5: sqrt(0.25 + 0.25 + 2 x 0.25 x 0.9) = 0.97468 % x 1.645 = 1.6033 %.
    # Long one, short the other: sqrt(0.25 + 0.25 - 0.45) = 0.22361 % x 1.645 = 0.36783 %.
    covariance = np.zeros((N, N))
    covariance[:2, :2] = 1e-4 * np.array([[1.0, 0.9], [0.9, 1.0]])
    rules = make_risk(bars_per_day=1.0, var_limit=0.008)
    both, hedged = (f32([0.5, sign * 0.5, 0, 0, 0, 0]) for sign in (1, -1))
    assert float(value_at_risk(both, f32(covariance), rules)) == pytest.approx(0.0160335, rel=1e-4)
    assert float(value_at_risk(hedged, f32(covariance), rules)) == pytest.approx(0.0036783, rel=1e-4)
    limits = {"bars_per_day": 1.0, "var_limit": 0.008}
    np.testing.assert_array_equal(allow(hedged, hedged, covariance, **limits).weights, hedged)
    # The other book is scaled as a whole by 0.8 / 1.60335 = 0.49896.
    cut = allow(both, both, covariance, **limits).weights
    np.testing.assert_allclose(cut, 0.49896 * np.asarray(both), rtol=1e-4)


def test_same_bets_depend_on_the_signs_of_the_positions():
    # At correlation 0.8 two longs are one bet of 0.6, cut to 0.4; a long and a short are not the same bet.
    covariance = 1e-4 * np.eye(N)
    covariance[0, 1] = covariance[1, 0] = 0.8e-4
    longs = allow([0.4, 0.2, 0.4, 0, 0, 0], np.zeros(N), covariance, correlation_limit=0.4).weights
    np.testing.assert_allclose(longs, [0.4 / 1.5, 0.2 / 1.5, 0.4, 0, 0, 0], rtol=1e-6)
    pair = f32([0.4, -0.2, 0.4, 0, 0, 0])
    np.testing.assert_array_equal(allow(pair, np.zeros(N), covariance, correlation_limit=0.4).weights, pair)
    # At correlation -0.8 it is the other way round.
    opposite = covariance.copy()
    opposite[0, 1] = opposite[1, 0] = -0.8e-4
    shorts = allow(pair, np.zeros(N), opposite, correlation_limit=0.4).weights
    np.testing.assert_allclose(shorts, [0.4 / 1.5, -0.2 / 1.5, 0.4, 0, 0, 0], rtol=1e-6)


def test_the_breakers_of_a_day_by_hand():
    # The day begins with 1.00. Equity 0.96 is -4 %, 0.949 is -5.1 %, 0.899 is -10.1 %, 0.849 is -15.1 %.
    breakers = {"halving_loss": 0.05, "reduction_loss": 0.10, "flattening_loss": 0.15}
    target, current = [0.4, -0.4, 0.2, 0, 0, 0], [0.3, 0.1, 0.3, 0, 0, 0]
    covariance = 1e-12 * np.eye(N)
    state, before = RiskState(day=jnp.int32(7), day_equity=f32(1.0), worst_loss=f32(0.0)), f32(1.0)
    expected = {
        0.96: target,
        0.949: [0.2, -0.2, 0.1, 0, 0, 0],  # sizes are halved
        0.97: [0.2, -0.2, 0.1, 0, 0, 0],  # and remain halved on the day, although equity recovered
        0.899: [0.2, 0.0, 0.1, 0, 0, 0],  # only reductions: at most the held weight, and no change of side
        0.849: [0.0] * N,
        0.99: [0.0] * N,  # flat until the next day
    }
    for equity, weights in expected.items():
        state = next_risk(state, jnp.int32(7), before, f32(equity))
        before = f32(equity)
        rules = make_risk(**breakers)
        allowed = PERMIT(f32(target), f32(current), f32(covariance), CLASSES, CONTRACTS, state, rules)
        np.testing.assert_allclose(allowed.weights, weights, atol=1e-7, err_msg=str(equity))
    # The next day starts from the equity at the previous close, 0.99: at 0.95 its loss is 0.04 / 0.99 = 4.04 %.
    state = next_risk(state, jnp.int32(8), before, f32(0.95))
    assert float(state.day_equity) == pytest.approx(0.99)
    assert float(state.worst_loss) == pytest.approx(0.0404, abs=1e-4)
    allowed = PERMIT(f32(target), f32(current), f32(covariance), CLASSES, CONTRACTS, state, make_risk(**breakers))
    np.testing.assert_array_equal(allowed.weights, f32(target))


def test_gradients_are_finite_everywhere():
    def total(target, current, covariance, loss, rules):
        permission = permit(target, current, covariance, CLASSES, CONTRACTS, losing(loss), rules)
        return jnp.sum(permission.weights * jnp.arange(1.0, N + 1)) + jnp.sum(permission.cuts)

    slope = jax.jit(jax.grad(total, argnums=(0, 1, 2)))
    for seed in range(5):
        target, current, covariance = book(seed)
        for here in (target, jnp.zeros(N), target.at[0].set(0.0), 100 * target):
            for sigma in (covariance, jnp.zeros((N, N))):
                for rules in (make_risk(**LIMITS), make_risk()):
                    for loss in (0.0, 0.12, 0.2):
                        for leaf in slope(here, current, sigma, f32(loss), rules):
                            assert np.isfinite(np.asarray(leaf)).all()


def test_vmapped_books_are_cut_like_single_books():
    many = [book(seed) for seed in range(8)]
    stacked = [jnp.stack(column) for column in zip(*many, strict=True)]
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[losing(0.02 * i) for i in range(8)])
    rules = make_risk(**LIMITS)
    together = jax.jit(jax.vmap(permit, in_axes=(0, 0, 0, None, None, 0, None)))(
        *stacked, CLASSES, CONTRACTS, states, rules
    )
    for i, one in enumerate(many):
        alone = allow(*one, 0.02 * i, **LIMITS)
        np.testing.assert_allclose(together.weights[i], alone.weights, rtol=1e-5, atol=1e-7)
