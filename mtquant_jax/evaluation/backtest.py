"""Run a deterministic policy over a span of bars, all market paths side by side, in the training simulation."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.ppo.contract import Agent
from mtquant_jax.simulation.market_env import IN_MARKET, MarketEnvironment

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


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def backtest(
    env: MarketEnvironment,
    agent: Agent,
    num_steps: int,
    params: Any,
    normalizers: Any,
    env_params: Any,
    first: jax.Array,
) -> BacktestRecord:
    """Trade every path once from a flat account, with the mode of the policy and frozen statistics.

    Args:
        env: `SpecialistEnv` or `PortfolioEnv` (static).
        agent: whose ``env_action`` fits the environment (static).
        num_steps: L, bars traded (static).
        params: ``{group: parameters}``.
        normalizers: ``{group: Normalizer}``.
        env_params: the market; its span and episode length are not used.
        first: ``[]`` bar at whose close the first decision is taken.
    """
    num_paths = env_params.table.open.shape[0]
    num_classes = env_params.mask.shape[0]
    paths = jnp.arange(num_paths)

    def step(carry: tuple[Any, ...], _: None) -> tuple[tuple[Any, ...], Any]:
        state, equity, terminated, wanted, allocation = carry
        observation = jax.vmap(lambda s: env.observe(None, s, None, env_params))(state)
        inputs = agent.inputs(observation, env_params)
        action = agent.env_action(agent.policy(params, normalizers, inputs, env_params).mode())
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
        relative = info["wanted"].reshape(num_paths, -1)
        wanted = _count(wanted, relative, running, exposure > IN_MARKET, lower=-AT_BOUND)
        if allocation is not None:
            decided = jnp.concatenate([info["allocation"].capital, info["allocation"].risk_appetite[:, None]], axis=-1)
            allocation = _count(allocation, decided, running, running, lower=1.0 - AT_BOUND)
        return (state, equity, terminated | ended, wanted, allocation), row

    start = jax.vmap(lambda path: env.initial_state(path, first, env_params))(paths)
    wanted = _start_tally(num_paths, env_params.mask.size)
    allocation = _start_tally(num_paths, num_classes + 2) if hasattr(start, "allocation") else None
    carry = (start, jnp.ones(num_paths), jnp.zeros(num_paths, bool), wanted, allocation)
    (_, _, terminated, wanted, allocation), rows = jax.lax.scan(step, carry, length=num_steps)
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
