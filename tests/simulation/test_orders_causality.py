"""Nothing up to bar t depends on a later bar, byte for byte: bars, features, policy, risk layer and orders."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mtquant_jax.market.bars.loading import load_bars
from mtquant_jax.market.contracts import contracts
from mtquant_jax.market.features import build_table
from mtquant_jax.market.universe import arrange_contracts, arrange_table, universe_of
from mtquant_jax.simulation import account as accounts
from mtquant_jax.simulation import execution
from mtquant_jax.simulation.anchor import Anchor
from mtquant_jax.simulation.execution import current_weights, next_relative_weights
from mtquant_jax.simulation.market_env import MarketParams, trade
from mtquant_jax.simulation.reward import REWARDS, RewardParams
from mtquant_jax.simulation.risk import permit
from mtquant_jax.simulation.specialist_env import SpecialistEnv, specialist_inputs
from mtquant_jax.types import Bars, Span
from tests.conftest import f32, make_risk, make_rules
from tests.simulation.proof_markets import CLASSES, COLUMNS, INSTRUMENTS, SYMBOLS, cut, stormy_bars

NUM_BARS = 700
UNIVERSE = universe_of(CLASSES)
NUM_SLOTS = UNIVERSE.num_classes * UNIVERSE.width
ENV = SpecialistEnv(REWARDS["log_growth"])
LIMITS = {  # tight, so that every rule binds
    "instrument_limit": 0.2,
    "class_limit": 0.35,
    "correlation_limit": 0.3,
    "gross_limit": 0.8,
    "margin_limit": 0.04,
    "var_limit": 0.005,
    "halving_loss": 0.002,
    "reduction_loss": 0.004,
    "flattening_loss": 0.008,
}


def noisy_after(bars: Bars, last: int, seed: int) -> Bars:
    """Bars that keep the first ``last`` bars and continue with those of another market."""
    other = stormy_bars(seed, len(bars.timestamps))
    columns = {
        name: np.concatenate([np.asarray(getattr(bars, name))[:, :last], np.asarray(getattr(other, name))[:, last:]], 1)
        for name in COLUMNS
    }
    return dataclasses.replace(bars, **columns)


def params_of(bars: Bars, currency: str) -> MarketParams:
    table = arrange_table(build_table(bars, CLASSES, INSTRUMENTS, currency), UNIVERSE)
    mask = jnp.asarray(UNIVERSE.mask.reshape(1, -1))
    return MarketParams(
        table=table,
        contracts=arrange_contracts(contracts(SYMBOLS, INSTRUMENTS), UNIVERSE),
        mask=mask,
        share=jnp.where(mask, 0.5, 0.0),
        rules=make_rules(round_lots=1.0, trade_decay=0.1, impact=2.0),
        risk=make_risk(**LIMITS),
        reward=RewardParams(scale=f32(1.0), risk_aversion=f32(1.0), sharpe_memory=f32(100.0)),
        span=Span(first=jnp.int32(0), last=jnp.int32(NUM_BARS)),
        max_steps_in_episode=jnp.int32(NUM_BARS),
        anchor=Anchor.named("flat", 0.5),
        hole=Span(first=jnp.int32(0), last=jnp.int32(0)),
        path_probability=jnp.ones(table.open.shape[0]),
    )


@jax.jit
def chain(params: MarketParams, policy: jax.Array) -> dict[str, Any]:
    """Record observations, targets, permitted weights and orders at each close, of a policy that uses all features."""
    table, rules = params.table, params.rules

    def step(state: Any, _: None) -> Any:
        inputs = specialist_inputs(ENV.observe(None, state, None, params), table)
        action = jnp.tanh(inputs.instruments @ policy[: inputs.instruments.shape[-1]] + jnp.sum(inputs.market) * 0.05)
        relative = next_relative_weights(state.relative_weights, action, rules)
        target = jnp.where(params.mask[0], relative * rules.leverage * params.share[0], 0.0)
        quote = accounts.quote_at_close(table, state.path, state.bar, rules.cost_multiplier)
        account, covariance = state.book.account, table.covariance[state.path, state.bar]
        classes = jnp.repeat(jnp.arange(UNIVERSE.num_classes), UNIVERSE.width)
        permission = permit(
            target, current_weights(account, quote), covariance, classes, params.contracts, state.book.risk, params.risk
        )
        limited = jnp.abs(permission.weights) < jnp.abs(target)
        seen = {
            "inputs": inputs,
            "action": action,
            "permitted": permission,
            "order": execution.order_for(
                account, permission.weights, accounts.equity(account, quote), quote, params.contracts, rules, limited
            )[0],
            "book": state.book,
        }
        after = ENV.step_env(None, state, action, params)[1]
        return after, seen

    return jax.lax.scan(step, ENV.initial_state(0, 0, params), length=NUM_BARS - 1)[1]


def assert_causal(bars: Bars, currency: str) -> None:
    policy = 0.4 * jax.random.normal(jax.random.key(1), (64,))
    whole = jax.tree.map(np.asarray, chain(params_of(bars, currency), policy))
    cuts = whole["permitted"].cuts
    assert (cuts > 0.0).any(axis=0).sum() >= 6  # the rules bind
    assert (whole["order"] != 0.0).any(axis=0).sum() == len(SYMBOLS)
    for t in (1, 150, 333, 600):
        other = jax.tree.map(np.asarray, chain(params_of(noisy_after(bars, t + 1, seed=90 + t), currency), policy))
        paths, _ = jax.tree_util.tree_flatten_with_path(whole)
        for (path, left), right in zip(paths, jax.tree.leaves(other), strict=True):
            # A late stop-out would be settled at the next open; no account in this test is close to one.
            assert left[: t + 1].tobytes() == right[: t + 1].tobytes(), f"{jax.tree_util.keystr(path)} up to bar {t}"
        assert whole["order"].tobytes() != other["order"].tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("currency", ["USD", "EUR"])
def test_orders_on_synthetic_bars_do_not_depend_on_the_future(currency):
    assert_causal(stormy_bars(4, NUM_BARS), currency)


def test_orders_on_real_bars_do_not_depend_on_the_future(real_data):
    bars, _ = load_bars(real_data, SYMBOLS, INSTRUMENTS)
    assert_causal(cut(bars, 5000, 5000 + NUM_BARS), "USD")


def test_the_chain_trades_the_same_as_the_environment():
    # The permitted weights and orders above are those of the environment itself: one step of `trade` by hand.
    params = params_of(stormy_bars(4, NUM_BARS), "USD")
    state = ENV.initial_state(0, 0, params)
    target = f32(0.3 * np.asarray(params.mask[0]))
    book, _, metrics = jax.jit(trade)(state.book, target, state.path, state.bar, params)
    assert float(metrics["risk/instrument_limit"]) == pytest.approx(1.0 / 3.0, rel=1e-5)  # 0.3 cut to 0.2 each
    assert float(book.equity) != 1.0
