"""Run a deterministic policy over a span of bars, all market paths side by side, in the training simulation."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mtquant_jax.agents.contract import Agent
from mtquant_jax.simulation.account import Flows
from mtquant_jax.simulation.execution import AccountRules, change_to, next_relative_weights
from mtquant_jax.simulation.market_env import IN_MARKET, MarketEnvironment, StepInfo
from mtquant_jax.simulation.portfolio_env import Allocation, PortfolioStepInfo

AT_BOUND = 0.99
"""Size of a relative weight, or capital share or risk appetite, from which it counts as sitting at its bound."""

BINS = 20
"""Equal parts of the range of a decision in which bars are counted."""


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
    bins: jax.Array  # [P, M, BINS] bars in each part of the range, the lowest first


@struct.dataclass
class Detail:
    """What was held and what it brought, instrument by instrument; of step l at its end or over it."""

    units: jax.Array  # [L, P, N] signed base units per unit of initial capital
    weights: jax.Array  # [L, P, N] signed exposure / equity
    unrounded_weights: jax.Array  # [L, P, N] the same of the positions wanted, before rounding to lots
    wanted: jax.Array  # [L, P, N] relative weights before the risk layer
    flows: Flows  # [L, P, N] share of initial capital
    opened: Flows  # [L, P, N] the part of them after the fill of a flip; zero without one
    fill_offset: jax.Array  # [L, P, N] price of the step's last fill minus the bid at its open, quote currency
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


@struct.dataclass
class Conditions:
    """How trading departs from the market that it is given, policy by policy."""

    costs: np.ndarray | jax.Array  # [V] multiples of all costs and swaps
    late: np.ndarray | jax.Array  # [V] bool, whether every decision comes into force one bar late
    whole_lots: np.ndarray | jax.Array  # [V] bool, whether orders are rounded, where the market rounds them

    @staticmethod
    def usual(count: int) -> Conditions:
        """Conditions of ``count`` policies that trade the market as it is."""
        on_time = np.zeros(count, bool)
        return Conditions(costs=np.ones(count, np.float32), late=on_time, whole_lots=~on_time)

    def applied(self, env_params: Any) -> Any:
        """The market of one policy."""
        rules = dataclasses.replace(
            env_params.rules,
            cost_multiplier=env_params.rules.cost_multiplier * self.costs,
            round_lots=env_params.rules.round_lots & self.whole_lots,
        )
        return dataclasses.replace(env_params, rules=rules)


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
        late: ``[]`` bool, whether every decision comes into force one bar late.
        detailed: whether to keep what happened to every instrument (static).
    """
    trading = Trading(env, agent, detailed)

    def step(progress: Progress, _: None) -> tuple[Progress, dict[str, Any]]:
        return trading.step(progress, params, normalizers, env_params, late)

    progress, rows = jax.lax.scan(step, trading.start(env_params, first), length=num_steps)
    return recorded(env_params, progress, rows)


backtest = jax.jit(trade_through, static_argnums=(0, 1, 2), static_argnames=("detailed",))
"""`trade_through`, compiled."""


@functools.partial(jax.jit, static_argnums=(0, 1, 2), static_argnames=("detailed", "own_markets"))
def trade_variants(
    env: MarketEnvironment,
    agent: Agent,
    num_steps: int,
    params: Any,
    normalizers: Any,
    env_params: Any,
    first: jax.Array,
    conditions: Conditions,
    detailed: bool = False,
    own_markets: bool = False,
) -> BacktestRecord:
    """`trade_through` with several policies side by side, compiled; one scan, which is traced faster than one vmapped.

    Args:
        env: as for `trade_through`.
        agent: as for `trade_through`.
        num_steps: as for `trade_through`.
        params: ``{group: parameters}``, leaves ``[V, ...]``.
        normalizers: ``{group: Normalizer}``, leaves ``[V, ...]``.
        env_params: the market of all; with ``own_markets`` one for each, leaves ``[V, ...]``.
        first: as for `trade_through`.
        conditions: leaves ``[V]``, what each trades under.
        detailed: as for `trade_through`.
        own_markets: whether every policy has a market of its own (static).

    Returns:
        A record whose leaves have a leading axis V.
    """
    trading = Trading(env, agent, detailed)
    market = 0 if own_markets else None

    def begin(env_params: Any, under: Conditions) -> Progress:
        return trading.start(under.applied(env_params), first)

    def one(progress: Progress, params: Any, normalizers: Any, env_params: Any, under: Conditions) -> Any:
        return trading.step(progress, params, normalizers, under.applied(env_params), under.late)

    def step(progress: Progress, _: None) -> Any:
        every = jax.vmap(one, in_axes=(0, 0, 0, market, 0))
        return every(progress, params, normalizers, env_params, conditions)

    start = jax.vmap(begin, in_axes=(market, 0))(env_params, conditions)
    progress, rows = jax.lax.scan(step, start, length=num_steps)
    rows = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0), rows)
    return jax.vmap(recorded, in_axes=(market, 0, 0))(env_params, progress, rows)


@struct.dataclass
class Progress:
    """Where a backtest stands."""

    state: Any  # [P] of the environment
    equity: jax.Array  # [P]
    terminated: jax.Array  # [P] bool
    wanted: Tally
    allocation: Tally | None
    pending: jax.Array  # [P, ...] decided on the bar before


@dataclasses.dataclass(frozen=True)
class Trading:
    """How one bar follows another."""

    env: MarketEnvironment
    agent: Agent
    detailed: bool

    def start(self, env_params: Any, first: jax.Array) -> Progress:
        """Flat accounts at the close of bar `first`; nothing was decided before: hold, divide capital equally."""
        num_paths = env_params.table.open.shape[0]
        paths = jnp.arange(num_paths)
        state = jax.vmap(lambda path: self.env.initial_state(path, first, env_params))(paths)
        allocates = hasattr(state, "allocation")
        return Progress(
            state=state,
            equity=jnp.ones(num_paths),
            terminated=jnp.zeros(num_paths, bool),
            wanted=_start_tally(num_paths, env_params.mask.size),
            allocation=_start_tally(num_paths, env_params.mask.shape[0] + 2) if allocates else None,
            pending=jnp.zeros((num_paths, *self.env.action_shape(env_params))),
        )

    def step(
        self, progress: Progress, params: Any, normalizers: Any, env_params: Any, late: np.ndarray | jax.Array | bool
    ) -> tuple[Progress, dict[str, Any]]:
        """Decide, trade a bar, and return what happened by the names of `BacktestRecord`."""
        state, agent = progress.state, self.agent
        observation = jax.vmap(lambda s: self.env.observe(None, s, None, env_params))(state)
        inputs = agent.inputs(observation, env_params)
        decided = agent.env_action(agent.policy(params, normalizers, inputs, env_params).mode())
        action, pending = _in_force(decided, progress.pending, observation, env_params.rules, late)
        _, state, reward, ended, info = jax.vmap(lambda s, a: self.env.step_env(None, s, a, env_params))(state, action)
        step: StepInfo = info["step"]
        running = ~progress.terminated
        exposure = jnp.where(running, jnp.sum(jnp.abs(step.weights), -1), 0.0)
        row: dict[str, Any] = {
            "equity": jnp.where(running, step.equity, progress.equity),
            "reward": jnp.where(running, reward, 0.0),
            "exposure": exposure,
            "turnover": jnp.where(running, jnp.sum(step.traded, -1), 0.0),
            "costs": jnp.where(running, jnp.sum(step.flows.costs(), -1), 0.0),
            "swap": jnp.where(running, jnp.sum(step.flows.swap, -1), 0.0),
            "risk_cuts": {n: jnp.where(running, v, 0.0) for n, v in step.metrics.items() if n.startswith("risk/")},
            "budgets": step.budgets,
            "detail": _detail(state, step, running) if self.detailed else None,
        }
        relative = step.wanted.reshape(len(running), -1)
        allocation = progress.allocation
        if allocation is not None and isinstance(step, PortfolioStepInfo):
            shares = jnp.concatenate([step.allocation.capital, step.allocation.risk_appetite[:, None]], axis=-1)
            allocation = _count(allocation, shares, running, running, least=0.0)
        progress = Progress(
            state=state,
            equity=row["equity"],
            terminated=progress.terminated | ended,
            wanted=_count(progress.wanted, relative, running, exposure > IN_MARKET, least=-1.0),
            allocation=allocation,
            pending=pending,
        )
        return progress, row


def recorded(env_params: Any, progress: Progress, rows: dict[str, Any]) -> BacktestRecord:
    """What happened, of its steps' rows ``[L, ...]`` and where it ended."""
    start = jnp.ones((1, rows["equity"].shape[1]))
    return BacktestRecord(
        **rows | {"equity": jnp.concatenate([start, rows["equity"]])},
        terminated=progress.terminated,
        real=env_params.mask.reshape(-1),
        wanted=progress.wanted,
        allocation=progress.allocation,
    )


def _in_force(
    decided: jax.Array,
    pending: jax.Array,
    observation: Any,
    rules: AccountRules,
    late: np.ndarray | jax.Array | bool,
) -> tuple[jax.Array, jax.Array]:
    """The action that comes into force and what is pending after it.

    Changes of the tilt are kept as the tilts that they lead to, so that a late one leads there too. The anchor, which
    decides nothing, is on time.

    Args:
        decided: ``[P, C]`` or ``[P, S + 1, K]`` actions of this bar.
        pending: those of the bar before, with the tilts wanted in the place of their changes.
        observation: its ``tilt`` and ``anchor`` are ``[P, C]`` or ``[P, S, C]``.
        rules: how a change becomes a weight.
        late: whether the decisions of the bar before come into force.
    """
    tilt, anchor = observation.tilt, observation.anchor
    where = tuple(slice(size) for size in tilt.shape)
    wanted = decided.at[where].set(next_relative_weights(tilt, decided[where], rules, anchor) - anchor)
    change = pending.at[where].set(change_to(pending[where], tilt, rules))
    return jnp.where(late, change, decided), wanted


def _detail(state: Any, step: StepInfo, running: jax.Array) -> Detail:
    """What happened in a step to accounts that run ``[P]``; the others hold and earn nothing."""
    happened = Detail(
        units=state.book.account.units,
        weights=step.weights,
        unrounded_weights=step.unrounded_weights,
        wanted=step.wanted.reshape(step.weights.shape),
        flows=step.flows,
        opened=step.opened,
        fill_offset=step.fill_offset,
        variance=step.variance,
        allocation=step.allocation if isinstance(step, PortfolioStepInfo) else None,
    )
    return jax.tree.map(
        lambda leaf: jnp.where(running.reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, jnp.zeros_like(leaf)), happened
    )


def _start_tally(num_paths: int, size: int) -> Tally:
    zeros = jnp.zeros((num_paths, size))
    bins = jnp.zeros((num_paths, size, BINS))
    return Tally(bars=jnp.zeros(num_paths), low=zeros, high=zeros, mean=zeros, squares=zeros, bins=bins)


def _count(tally: Tally, values: jax.Array, running: jax.Array, counts: jax.Array, least: float) -> Tally:
    """One more bar of ``values`` ``[P, M]``, from ``least`` to 1, on paths that run; bounds where it counts ``[P]``.

    The running mean and sum of squares are Welford's (1962), which float32 holds over any number of bars.
    """
    bars = tally.bars + running
    distance = jnp.where(running[:, None], values - tally.mean, 0.0)
    mean = tally.mean + distance / jnp.maximum(bars, 1.0)[:, None]
    part = jnp.clip(jnp.floor((values - least) * (BINS / (1.0 - least))), 0.0, BINS - 1.0)
    in_part = part[:, :, None] == jnp.arange(BINS, dtype=values.dtype)
    return Tally(
        bars=bars,
        low=tally.low + ((values <= least + 1.0 - AT_BOUND) & counts[:, None]),
        high=tally.high + ((values >= AT_BOUND) & counts[:, None]),
        mean=mean,
        squares=tally.squares + distance * jnp.where(running[:, None], values - mean, 0.0),
        bins=tally.bins + (in_part & running[:, None, None]),
    )
