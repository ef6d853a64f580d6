"""One bar of trading: target weights decided at the close of bar t -> the account at the close of bar t + 1.

The order of events: gap to the open of t + 1, margin check on the gap price, fills at that open, move to the close,
margin check. The risk layer will turn target into permitted weights before `bar_of_trading` is called; swap and the
circuit breakers belong between the gap and the fills.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.simulation import account as accounts
from mtquant_jax.simulation.account import Account, Flows
from mtquant_jax.types import Contracts, MarketTable


@struct.dataclass
class AccountRules:
    """Traced limits and scales of an account."""

    stop_out_level: jax.Array  # [] margin level under which the broker closes everything
    ruin_level: jax.Array  # [] equity, share of initial capital, at which trading ends
    cost_multiplier: jax.Array  # [] multiplies spread and commission
    leverage: jax.Array  # [] gross exposure of a class, multiple of its budget
    trade_scale: jax.Array  # [] change of relative weight that an action of 1 asks for
    trade_decay: jax.Array  # [] share of the relative weight given up before the action is added


@struct.dataclass
class BarResult:
    """What a bar of trading left behind."""

    account: Account
    equity: jax.Array  # [] at the close of t + 1 (after a late stop-out: at the open it was settled at)
    weights: jax.Array  # [N] signed exposure / equity at that moment
    held_weights: jax.Array  # [N] signed exposure after the fills / equity before the bar
    flows: Flows  # [N] share of initial capital
    traded: jax.Array  # [N] absolute value traded, share of the equity before
    stopped_out: jax.Array  # [] bool
    ruined: jax.Array  # [] bool


def next_relative_weights(relative: jax.Array, action: jax.Array, rules: AccountRules) -> jax.Array:
    """Turn an action into the relative weights wanted ``[..., C]``, in [-1, 1] of each instrument's share.

    The action is a change on the scale of real trades: (1 - decay) x weight + scale x action, clipped.
    """
    wanted = (1.0 - rules.trade_decay) * relative + rules.trade_scale * action
    return jnp.clip(wanted, -1.0, 1.0)


def bar_of_trading(
    account: Account,
    target_weights: jax.Array,
    table: MarketTable,
    path: jax.Array,
    bar: jax.Array,
    contracts: Contracts,
    rules: AccountRules,
) -> BarResult:
    """Hold, trade and mark an account from the close of ``bar`` to the close of ``bar + 1``.

    Args:
        account: positions at the close of ``bar``.
        target_weights: ``[N]`` signed share of equity wanted; sized with the prices of the close of ``bar``, which are
            the last ones known.
        table: the market; row ``bar + 1`` must exist (row ``bar + 2`` is used where it does).
        path: ``[]`` market path.
        bar: ``[]`` the bar whose close is now.
        contracts: ``[N]`` contract sizes, commissions, margin rates.
        rules: stop-out, ruin, cost multiplier.
    """
    cost = rules.cost_multiplier
    close_now = accounts.quote_at_close(table, path, bar, cost)
    open_next = accounts.quote_at_open(table, path, bar + 1, cost)
    close_next = accounts.quote_at_close(table, path, bar + 1, cost)
    equity_now = accounts.equity(account, close_now)

    order = _order(account, target_weights, equity_now, close_now)
    stopped_on_gap = accounts.is_stopped_out(account, open_next, contracts, rules.stop_out_level)
    trade = jnp.where(stopped_on_gap, -account.units, order)
    trade = jnp.where(table.tradable[path, bar + 1], trade, 0.0)

    flows = accounts.revalue(account, close_now, open_next)
    account, fill_flows = accounts.fill(account, trade, open_next, contracts, cost)
    flows = flows + fill_flows + accounts.revalue(account, open_next, close_next)
    held = accounts.exposure(account, open_next)

    stopped_on_close = ~stopped_on_gap & accounts.is_stopped_out(account, close_next, contracts, rules.stop_out_level)
    account, late_flows, late_trade, final = _settle_at_next_open(
        account, stopped_on_close, close_next, table, path, bar + 2, contracts, cost
    )
    equity = accounts.equity(account, final)
    value_per_unit = open_next.bid * open_next.conversion
    solvent_equity = jnp.maximum(equity, 1e-6)
    return BarResult(
        account=account,
        equity=equity,
        weights=accounts.exposure(account, final) / solvent_equity,
        flows=flows + late_flows,
        held_weights=held / jnp.maximum(equity_now, 1e-6),
        traded=(jnp.abs(trade) + jnp.abs(late_trade)) * value_per_unit / jnp.maximum(equity_now, 1e-6),
        stopped_out=stopped_on_gap | stopped_on_close,
        ruined=~(equity > rules.ruin_level),  # also where equity is not a number,
    )


def _order(account: Account, target_weights: jax.Array, equity: jax.Array, quote: accounts.Quote) -> jax.Array:
    """Units to trade ``[N]`` so that exposure / equity meets the target at the quote."""
    value_per_unit = quote.bid * quote.conversion
    return target_weights * equity / value_per_unit - account.units


def _settle_at_next_open(
    account: Account,
    stopped: jax.Array,
    quote: accounts.Quote,
    table: MarketTable,
    path: jax.Array,
    bar: jax.Array,
    contracts: Contracts,
    cost: jax.Array,
) -> tuple[Account, Flows, jax.Array, accounts.Quote]:
    """Close everything at the open of ``bar`` if ``stopped``; otherwise leave account and quote as they are.

    Where the data end before ``bar``, the last close is the last price there is.
    """
    exists = bar < table.open.shape[1]
    next_open = accounts.quote_at_open(table, path, jnp.where(exists, bar, bar - 1), cost)
    settled_at = jax.tree.map(lambda late, now: jnp.where(stopped & exists, late, now), next_open, quote)
    flows = accounts.revalue(account, quote, settled_at)
    tradable = table.tradable[path, jnp.where(exists, bar, bar - 1)]
    trade = jnp.where(stopped & tradable, -account.units, 0.0)
    account, fill_flows = accounts.fill(account, trade, settled_at, contracts, cost)
    return account, flows + fill_flows, trade, settled_at
