"""One bar of trading: the market's next row, what the account did in it, and what is decided at its close.

Whatever trades outside of a backtest (signal, paper trading, exported models) goes through `next_bar`, which takes the
feature step and the environment step that training and evaluation take.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mtquant_jax.agents.contract import Agent, Policy
from mtquant_jax.backtest.trading import Progress, Trading
from mtquant_jax.market.features import Bar, FeatureState, TablePlan, join_rows, step
from mtquant_jax.market.universe import Universe, arrange_table
from mtquant_jax.simulation import account as accounts
from mtquant_jax.simulation.account import Quote
from mtquant_jax.simulation.execution import order_for, slippage_price
from mtquant_jax.simulation.market_env import Book, permitted
from mtquant_jax.simulation.portfolio_env import Allocation, PortfolioEnv, PortfolioParams
from mtquant_jax.types import MarketTable

WINDOW = 3
"""Rows that a step looks at: the bar before the decision, the decision's, and the one that is traded."""


@dataclasses.dataclass(frozen=True)
class Desk:
    """What is the same for all bars; hashable, so that it can be a static argument."""

    plan: TablePlan
    universe: Universe
    env: PortfolioEnv
    agent: Agent

    @property
    def trading(self) -> Trading:
        """The trading of a detailed backtest."""
        return Trading(self.env, self.agent, detailed=True)


@struct.dataclass
class DeskState:
    """All that the bars so far leave for the next one."""

    features: FeatureState
    rows: MarketTable  # the last two, arranged [1, 2, ...]
    progress: Progress  # of the simulator's own account, at the close of the last bar; its bar is 1, in the rows


@struct.dataclass
class Outcome:
    """What a bar brought to the simulator's own account; zeros where the account opened at its close."""

    row: dict[str, Any]  # by the names of `BacktestRecord`
    open: jax.Array  # [N] bids that orders were filled at
    terminated: jax.Array  # [] bool, ruined or stopped out, in this bar or before


@struct.dataclass
class Decision:
    """What is decided at the close of a bar, for the simulator's own account."""

    relative: jax.Array  # [S, C] relative weights wanted
    target: jax.Array  # [N] wanted before the risk layer, signed share of equity
    permitted: jax.Array  # [N] what the risk layer leaves of them
    cuts: jax.Array  # [len(RULES)] share of the wanted exposure that each rule takes away
    order: jax.Array  # [N] units to trade at the next open, per unit of initial capital; in whole lots
    allocation: Allocation
    quote: Quote  # [N] at the close
    slippage: jax.Array  # [N] expected of a fill, price units
    features: jax.Array  # [N, F] of the bar


@functools.partial(jax.jit, static_argnums=0)
def next_bar(
    desk: Desk, state: DeskState, bar: Bar, opens: jax.Array, policy: Policy, market: PortfolioParams
) -> tuple[DeskState, Outcome, Decision]:
    """Trade what was decided at the last close over a bar, and decide at its close.

    Args:
        desk: static.
        state: after the bar before.
        bar: the finished bar ``[1, n]``, in the order of the plan's symbols.
        opens: ``[]`` bool, whether a flat account opens at the close of this bar, whatever was traded before.
        policy: of the desk's agent.
        market: parameters of evaluation; their table is not used.

    Returns:
        The state after the bar, what happened to the account over it, and the decision.
    """
    features, newest = step(state.features, bar, desk.plan)
    row = _arranged(newest, desk.universe)
    rows, progress, outcome, decision = next_row(desk, state.rows, state.progress, row, opens, policy, market)
    return DeskState(features, rows, progress), outcome, decision


def next_row(
    desk: Desk,
    rows: MarketTable,
    progress: Progress,
    row: MarketTable,
    opens: jax.Array,
    policy: Policy,
    market: PortfolioParams,
) -> tuple[MarketTable, Progress, Outcome, Decision]:
    """`next_bar` from the bar's row on; traceable.

    Args:
        desk: static.
        rows: the last two, arranged ``[1, 2, ...]``.
        progress: at the close of the last bar; its bar is 1, in the rows.
        row: the bar's ``[1, 1, ...]``, arranged.
        opens: as for `next_bar`.
        policy: as for `next_bar`.
        market: as for `next_bar`.

    Returns:
        Rows and progress after the bar, and what `next_bar` returns besides.
    """
    window = joined(rows, row)
    market = dataclasses.replace(market, table=window)

    @jax.jit  # so that it is traced once
    def trade() -> tuple[Progress, dict[str, Any]]:
        return desk.trading.step(progress, policy.params, policy.normalizers, market, False)

    def open_account() -> tuple[Progress, dict[str, Any]]:
        return desk.trading.start(market, jnp.asarray(WINDOW - 1, jnp.int32)), nothing(jax.eval_shape(trade)[1])

    after, happened = jax.lax.cond(opens, open_account, trade)
    outcome = Outcome(happened, window.open[0, WINDOW - 1], after.terminated[0])
    decision = decide(desk, after, policy, market)
    after = dataclasses.replace(after, state=after.state.replace(bar=after.state.bar - 1))
    return joined(window, None), after, outcome, decision


def joined(rows: MarketTable, row: MarketTable | None) -> MarketTable:
    """Rows ``[1, T, ...]`` with one more at their end, or without their first."""

    def leaf(name: str) -> jax.Array:
        axis, before = (0 if name in ("day", "swap_nights") else 1), getattr(rows, name)
        if row is None:
            return jax.lax.slice_in_dim(before, 1, None, axis=axis)
        return jnp.concatenate([before, getattr(row, name)], axis=axis)

    return MarketTable(**{field.name: leaf(field.name) for field in dataclasses.fields(MarketTable)})


def decide(desk: Desk, progress: Progress, policy: Policy, market: PortfolioParams) -> Decision:
    """What the agents want where a backtest stands in the market, what is permitted of it, and the order; traceable."""
    observation = jax.vmap(lambda state: desk.env.observe(None, state, None, market))(progress.state)
    inputs = desk.agent.inputs(observation, market)
    action = desk.agent.env_action(desk.agent.policy(policy.params, policy.normalizers, inputs, market).mode())
    state = jax.tree.map(lambda leaf: leaf[0], progress.state)
    plan = desk.env.plan(state, action[0], market)
    ended = progress.terminated[0]  # an account that was stopped out or ruined trades no more
    plan = dataclasses.replace(plan, target=jnp.where(ended, 0.0, plan.target))
    quote = accounts.quote_at_close(market.table, state.path, state.bar, market.rules.cost_multiplier)
    permission, order = decide_order(state.book, plan.target, quote, state.path, state.bar, market)
    return Decision(
        relative=plan.relative,
        target=plan.target,
        permitted=permission.weights,
        cuts=permission.cuts,
        order=jnp.where(ended, 0.0, order),
        allocation=plan.allocation,
        quote=quote,
        slippage=slippage_price(quote, market.table.covariance[state.path, state.bar], market.contracts),
        features=market.table.features[state.path, state.bar],
    )


def decide_order(
    book: Book,
    target: jax.Array,
    quote: Quote,
    path: jax.Array,
    bar: jax.Array,
    market: PortfolioParams,
    share: jax.Array | float = 1.0,
) -> tuple[Any, jax.Array]:
    """What the risk layer permits an account, and its order in units ``[N]``.

    Args:
        book: the account.
        target: ``[N]`` signed share of equity.
        quote: at the close.
        path: ``[]``.
        bar: ``[]`` in the market's table.
        market: the parameters.
        share: of what is permitted that is traded.
    """
    permission = permitted(book, target, path, bar, market)
    limited = jnp.abs(permission.weights) < jnp.abs(target)
    equity = accounts.equity(book.account, quote)
    order, _ = order_for(
        book.account, permission.weights * share, equity, quote, market.contracts, market.rules, limited
    )
    return permission, order


def first_rows(desk: Desk, features: FeatureState, bar: Bar) -> MarketTable:
    """Two rows that are both the first bar's; traceable."""
    one = _arranged(step(features, bar, desk.plan)[1], desk.universe)
    return joined(one, one)


def _arranged(row: MarketTable, universe: Universe) -> MarketTable:
    """A row of the feature step as a table of one bar in the universe's slots."""
    table: MarketTable = arrange_table(join_rows(jax.tree.map(lambda leaf: leaf[None], row)), universe)
    return table


def nothing(shape: Any) -> Any:
    """Zeros of a shape."""
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shape)


def on_host(tree: Any) -> Any:
    """The same as NumPy arrays."""
    return jax.tree.map(np.asarray, jax.device_get(tree))
