"""Run a deterministic policy over a span of bars, all market paths side by side, in the training simulation."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.ppo.contract import Agent
from mtquant_jax.simulation.market_env import MarketEnvironment


@struct.dataclass
class BacktestRecord:
    """What happened; step l goes from the close of bar first + l to the close of the next."""

    equity: jax.Array  # [L + 1, P] share of initial capital, 1.0 at the start; held after a termination
    exposure: jax.Array  # [L, P] gross exposure / equity
    turnover: jax.Array  # [L, P] value traded / equity
    costs: jax.Array  # [L, P] spread, commission, slippage and impact, share of initial capital
    swap: jax.Array  # [L, P] swap received (positive) or paid, share of initial capital
    risk_cuts: dict[str, jax.Array]  # rule -> [L, P] share of the exposure wanted that it took away
    terminated: jax.Array  # [P] bool, ruined or stopped out
    budgets: jax.Array  # [L, P, S] share of equity each class may use; one column of ones for a specialist alone


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
    paths = jnp.arange(num_paths)

    def step(carry: tuple[Any, jax.Array, jax.Array], _: None) -> tuple[tuple[Any, jax.Array, jax.Array], Any]:
        state, equity, terminated = carry
        observation = jax.vmap(lambda s: env.observe(None, s, None, env_params))(state)
        inputs = agent.inputs(observation, env_params)
        action = agent.env_action(agent.policy(params, normalizers, inputs, env_params).mode())
        _, state, _, ended, info = jax.vmap(lambda s, a: env.step_env(None, s, a, env_params))(state, action)
        running = ~terminated
        equity = jnp.where(running, info["equity"], equity)
        flows = info["flows"]
        row = (
            equity,
            jnp.where(running, jnp.sum(jnp.abs(info["weights"]), -1), 0.0),
            jnp.where(running, jnp.sum(info["traded"], -1), 0.0),
            jnp.where(running, jnp.sum(flows.costs(), -1), 0.0),
            jnp.where(running, jnp.sum(flows.swap, -1), 0.0),
            {n: jnp.where(running, v, 0.0) for n, v in info["metrics"].items() if n.startswith("risk/")},
            info.get("budgets", jnp.ones((num_paths, 1))),
        )
        return (state, equity, terminated | ended), row

    start = jax.vmap(lambda path: env.initial_state(path, first, env_params))(paths)
    carry = (start, jnp.ones(num_paths), jnp.zeros(num_paths, bool))
    (_, _, terminated), rows = jax.lax.scan(step, carry, length=num_steps)
    equity, exposure, turnover, costs, swap, risk_cuts, budgets = rows
    return BacktestRecord(
        equity=jnp.concatenate([jnp.ones((1, num_paths)), equity]),
        exposure=exposure,
        turnover=turnover,
        costs=costs,
        swap=swap,
        risk_cuts=risk_cuts,
        terminated=terminated,
        budgets=budgets,
    )
