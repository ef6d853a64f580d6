"""Run a deterministic policy over a span of bars, all market paths side by side, in the training simulation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.ppo.contract import Agent
from mtquant_jax.simulation.account import Flows
from mtquant_jax.simulation.execution import AccountRules, next_relative_weights
from mtquant_jax.simulation.market_env import IN_MARKET, MarketEnvironment
from mtquant_jax.simulation.portfolio_env import Allocation

AT_BOUND = 0.99
"""Size of a relative weight, or capital share or risk appetite, from which it counts as sitting at its bound."""


@struct.dataclass
class Tally:
    """How often decisions sat at a bound and how they spread over the bars that a path ran; not the decisions
    themselves, which would be a number per bar, path and instrument.
    """

    bars: jax.Array  # [P] bars counted
    low: jax.Array  # [P, M] bars at the lower bound
    high: jax.Array  # [P, M] bars at the upper bound
    mean: jax.Array  # [P, M]
    squares: jax.Array  # [P, M] sum of squared distances from the mean


@struct.dataclass
class Detail:
    """What was held and what it brought, instrument by instrument; of step l at its end or over it."""

    units: jax.Array  # [L, P, N] signed base units per unit of initial capital
    weights: jax.Array  # [L, P, N] signed exposure / equity
    wanted: jax.Array  # [L, P, N] relative weights before the risk layer
    flows: Flows  # [L, P, N] share of initial capital
    variance: jax.Array  # [L, P] of the step's return as known before it, of what is held after the fills
    allocation: Allocation | None  # [L, P, ...] of a hierarchy


@struct.dataclass
class BacktestRecord:
    """What happened; step l goes from the close of bar first + l to the close of the next."""

    equity: jax.Array  # [L + 1, P] share of initial capital, 1.0 at the start; held after a termination
    reward: jax.Array  # [L, P] what the environment paid; 0 after a termination
    exposure: jax.Array  # [L, P] gross exposure / equity
    turnover: jax.Array  # [L, P] value traded / equity
    costs: jax.Array  # [L, P] spread, commission, slippage and impact, share of initial capital
    swap: jax.Array  # [L, P] swap received (positive) or paid, share of initial capital
    risk_cuts: dict[str, jax.Array]  # rule -> [L, P] share of the exposure wanted that it took away
    terminated: jax.Array  # [P] bool, ruined or stopped out
    budgets: jax.Array  # [L, P, S] share of equity each class may use; one column of ones for a specialist alone
    real: jax.Array  # [N] bool, instruments that are not padding
    wanted: Tally  # [P, N] relative weights before the risk layer; bounds are counted while in the market
    allocation: Tally | None  # [P, S + 2] capital shares, cash after the classes, and risk appetite; of a hierarchy
    detail: Detail | None = None  # where it was asked for


def trade_through(
    env: MarketEnvironment,
    agent: Agent,
    num_steps: int,
    params: Any,
    normalizers: Any,
    env_params: Any,
    first: jax.Array,
    late: jax.Array | bool = False,
    detailed: bool = False,
) -> BacktestRecord:
    """Trade every path once from a flat account, with the mode of the policy and frozen statistics; traceable.

    Args:
        env: `SpecialistEnv` or `PortfolioEnv` (static).
        agent: whose ``env_action`` fits the environment (static).
        num_steps: L, bars traded (static).
        params: ``{group: parameters}``.
        normalizers: ``{group: Normalizer}``.
        env_params: the market; its span and episode length are not used.
        first: ``[]`` bar at whose close the first decision is taken.
        late: ``[]`` bool, whether every decision comes into force one bar after the one it would have.
        detailed: whether to keep what happened to every instrument (static).
    """
    num_paths = env_params.table.open.shape[0]
    num_classes = env_params.mask.shape[0]
    paths = jnp.arange(num_paths)

    def step(carry: tuple[Any, ...], _: None) -> tuple[tuple[Any, ...], Any]:
        state, equity, terminated, wanted, allocation, pending = carry
        observation = jax.vmap(lambda s: env.observe(None, s, None, env_params))(state)
        inputs = agent.inputs(observation, env_params)
        decided = agent.env_action(agent.policy(params, normalizers, inputs, env_params).mode())
        action, pending = _in_force(decided, pending, state.relative_weights, env_params.rules, late)
        _, state, reward, ended, info = jax.vmap(lambda s, a: env.step_env(None, s, a, env_params))(state, action)
        running = ~terminated
        equity = jnp.where(running, info["equity"], equity)
        flows = info["flows"]
        exposure = jnp.where(running, jnp.sum(jnp.abs(info["weights"]), -1), 0.0)
        row = (
            equity,
            jnp.where(running, reward, 0.0),
            exposure,
            jnp.where(running, jnp.sum(info["traded"], -1), 0.0),
            jnp.where(running, jnp.sum(flows.costs(), -1), 0.0),
            jnp.where(running, jnp.sum(flows.swap, -1), 0.0),
            {n: jnp.where(running, v, 0.0) for n, v in info["metrics"].items() if n.startswith("risk/")},
            info.get("budgets", jnp.ones((num_paths, 1))),
        )
        kept = _detail(state, info, running) if detailed else None
        relative = info["wanted"].reshape(num_paths, -1)
        wanted = _count(wanted, relative, running, exposure > IN_MARKET, lower=-AT_BOUND)
        if allocation is not None:
            shares = jnp.concatenate([info["allocation"].capital, info["allocation"].risk_appetite[:, None]], axis=-1)
            allocation = _count(allocation, shares, running, running, lower=1.0 - AT_BOUND)
        return (state, equity, terminated | ended, wanted, allocation, pending), (row, kept)

    start = jax.vmap(lambda path: env.initial_state(path, first, env_params))(paths)
    wanted = _start_tally(num_paths, env_params.mask.size)
    allocation = _start_tally(num_paths, num_classes + 2) if hasattr(start, "allocation") else None
    nothing = _nothing_decided(agent, start, params, normalizers, env, env_params)
    carry = (start, jnp.ones(num_paths), jnp.zeros(num_paths, bool), wanted, allocation, nothing)
    (_, _, terminated, wanted, allocation, _), (rows, detail) = jax.lax.scan(step, carry, length=num_steps)
    equity, reward, exposure, turnover, costs, swap, risk_cuts, budgets = rows
    return BacktestRecord(
        equity=jnp.concatenate([jnp.ones((1, num_paths)), equity]),
        reward=reward,
        exposure=exposure,
        turnover=turnover,
        costs=costs,
        swap=swap,
        risk_cuts=risk_cuts,
        terminated=terminated,
        budgets=budgets,
        real=env_params.mask.reshape(-1),
        wanted=wanted,
        allocation=allocation,
        detail=detail,
    )


backtest = jax.jit(trade_through, static_argnums=(0, 1, 2), static_argnames=("detailed",))
"""`trade_through`, compiled."""


def _nothing_decided(
    agent: Agent, state: Any, params: Any, normalizers: Any, env: MarketEnvironment, env_params: Any
) -> jax.Array:
    """Decisions before the first one, in the shape of actions: hold nothing, divide capital equally."""

    def decide(state: Any) -> jax.Array:
        observation = jax.vmap(lambda s: env.observe(None, s, None, env_params))(state)
        return agent.env_action(
            agent.policy(params, normalizers, agent.inputs(observation, env_params), env_params).mode()
        )

    return jnp.zeros(jax.eval_shape(decide, state).shape)


def _in_force(
    decided: jax.Array, pending: jax.Array, relative: jax.Array, rules: AccountRules, late: jax.Array | bool
) -> tuple[jax.Array, jax.Array]:
    """The action that comes into force and what is pending after it.

    Changes of relative weight are kept as the relative weights that they lead to, so that a late one leads there too.

    Args:
        decided: ``[P, C]`` or ``[P, S + 1, K]`` actions of this bar.
        pending: those of the bar before, with the weights wanted in the place of their changes.
        relative: ``[P, C]`` or ``[P, S, C]`` held now.
        rules: how a change becomes a weight.
        late: whether the decisions of the bar before come into force.
    """
    where = tuple(slice(size) for size in relative.shape)
    wanted = decided.at[where].set(next_relative_weights(relative, decided[where], rules))
    change = pending.at[where].add(-(1.0 - rules.trade_decay) * relative)
    return jnp.where(late, change, decided), wanted


def _detail(state: Any, info: dict[str, Any], running: jax.Array) -> Detail:
    """What happened in a step to accounts that run ``[P]``; the others hold and earn nothing."""
    happened = Detail(
        units=state.book.account.units,
        weights=info["weights"],
        wanted=info["wanted"].reshape(info["weights"].shape),
        flows=info["flows"],
        variance=info["variance"],
        allocation=info.get("allocation"),
    )
    return jax.tree.map(
        lambda leaf: jnp.where(running.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, jnp.zeros_like(leaf)), happened
    )


def _start_tally(num_paths: int, size: int) -> Tally:
    zeros = jnp.zeros((num_paths, size))
    return Tally(bars=jnp.zeros(num_paths), low=zeros, high=zeros, mean=zeros, squares=zeros)


def _count(tally: Tally, values: jax.Array, running: jax.Array, counts: jax.Array, lower: float) -> Tally:
    """One more bar of ``values`` ``[P, M]`` on paths that run ``[P]``; bounds only where it counts ``[P]``.

    The running mean and sum of squares are Welford's (1962), which float32 holds over any number of bars.
    """
    bars = tally.bars + running
    distance = jnp.where(running[:, None], values - tally.mean, 0.0)
    mean = tally.mean + distance / jnp.maximum(bars, 1.0)[:, None]
    return Tally(
        bars=bars,
        low=tally.low + ((values <= lower) & counts[:, None]),
        high=tally.high + ((values >= AT_BOUND) & counts[:, None]),
        mean=mean,
        squares=tally.squares + distance * jnp.where(running[:, None], values - mean, 0.0),
    )
