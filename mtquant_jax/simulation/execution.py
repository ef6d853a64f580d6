"""Turns target weights decided at the close of bar t into the account at the close of bar t + 1.

The order of events: gap to the open of t + 1, swap for the nights crossed, margin check on the gap price, fills at that
open, move to the close, margin check. Target weights have passed the risk layer (`risk`).
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.simulation import account as accounts
from mtquant_jax.simulation.account import Account, Flows, Quote
from mtquant_jax.types import Contracts, MarketTable

_STEP_TOLERANCE = 1e-3  # share of a lot step; float32 may be slightly below a whole number of steps
_SMALLEST_EQUITY = 1e-6  # smallest divisor of weights, share of initial capital


@struct.dataclass
class AccountRules:
    """Traced limits and scales of an account."""

    stop_out_level: jax.Array  # [] margin level under which the broker closes everything
    ruin_level: jax.Array  # [] equity, share of initial capital, at which trading ends
    cost_multiplier: jax.Array  # [] multiplies spread, commission, slippage, impact and swap
    impact: jax.Array  # [] lambda of the quadratic impact, 1/2 lambda dw' Sigma dw of equity; 0 is none
    round_lots: jax.Array  # [] bool, orders in whole lot steps (evaluation and trading; training is continuous)
    initial_capital: jax.Array  # [] account currency; lots = units x capital / contract size
    leverage: jax.Array  # [] largest gross exposure of a class, multiple of its budget
    trade_decay: jax.Array  # [] share by which the relative weight decays before the action is added


@struct.dataclass
class BarResult:
    """Result of a bar of trading."""

    account: Account
    equity: jax.Array  # [] at the close of t + 1 (after a late stop-out: at the open at which it is settled)
    weights: jax.Array  # [N] exposure at that moment: signed value / equity
    held_weights: jax.Array  # [N] signed value after the fills / equity before the bar
    flows: Flows  # [N] share of initial capital
    traded: jax.Array  # [N] absolute value filled at the open of t + 1, share of the equity before the bar
    stopped_out: jax.Array  # [] bool
    ruined: jax.Array  # [] bool


def next_relative_weights(relative: jax.Array, action: jax.Array, rules: AccountRules) -> jax.Array:
    """Turn an action into the wanted relative weights ``[..., C]``, in [-1, 1] of each instrument's share.

    The action is a change: (1 - decay) x weight + action, clipped.
    """
    wanted = (1.0 - rules.trade_decay) * relative + action
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
        target_weights: ``[N]`` wanted exposure, signed share of equity; orders are sized with the prices at the close
            of ``bar``, the last known ones.
        table: the market; row ``bar + 1`` must exist (row ``bar + 2`` is used if it exists).
        path: ``[]`` market path.
        bar: ``[]`` the bar at whose close the order is decided.
        contracts: ``[N]`` contract sizes, costs, margin rates, lot steps.
        rules: stop-out, ruin, cost multiplier, impact, lot rounding.
    """
    cost = rules.cost_multiplier
    close_now = accounts.quote_at_close(table, path, bar, cost)
    open_next = accounts.quote_at_open(table, path, bar + 1, cost)
    close_next = accounts.quote_at_close(table, path, bar + 1, cost)
    covariance = table.covariance[path, bar]
    equity_now = accounts.equity(account, close_now)
    order = _order(account, target_weights, equity_now, close_now, contracts, rules)

    flows = accounts.revalue(account, close_now, open_next)
    swap = accounts.swap(account, open_next, table.swap_nights[bar + 1], contracts, cost)
    account = accounts.charge(account, -swap)
    stopped_on_gap = accounts.is_stopped_out(account, open_next, contracts, rules.stop_out_level)
    trade = jnp.where(stopped_on_gap, -account.units, order)
    trade = jnp.where(table.tradable[path, bar + 1], trade, 0.0)
    slippage = slippage_price(open_next, covariance, contracts) * cost
    account, fill_flows = accounts.fill(account, trade, open_next, contracts, cost, slippage)
    impact = _impact(trade, equity_now, open_next, covariance, rules)
    account = accounts.charge(account, impact)
    flows = flows + fill_flows + accounts.revalue(account, open_next, close_next)
    flows = dataclasses.replace(flows, swap=swap, impact=impact)
    held = accounts.position_value(account, open_next)

    stopped_on_close = ~stopped_on_gap & accounts.is_stopped_out(account, close_next, contracts, rules.stop_out_level)
    account, late_flows, final = _settle_at_next_open(
        account, stopped_on_close, close_next, table, path, bar + 2, contracts, cost
    )
    equity = accounts.equity(account, final)
    solvent = jnp.maximum(equity_now, _SMALLEST_EQUITY)
    return BarResult(
        account=account,
        equity=equity,
        weights=accounts.position_value(account, final) / jnp.maximum(equity, _SMALLEST_EQUITY),
        flows=flows + late_flows,
        held_weights=held / solvent,
        traded=jnp.abs(trade) * open_next.bid * open_next.conversion / solvent,
        stopped_out=stopped_on_gap | stopped_on_close,
        ruined=~(equity > rules.ruin_level),  # also True if equity is not a number
    )


def current_weights(account: Account, quote: Quote) -> jax.Array:
    """Exposure ``[N]``: signed value / equity."""
    equity = accounts.equity(account, quote)
    return accounts.position_value(account, quote) / jnp.maximum(equity, _SMALLEST_EQUITY)


def slippage_price(quote: Quote, covariance: jax.Array, contracts: Contracts) -> jax.Array:
    """Slippage of a fill ``[N]``, price units: a fixed part plus a share of the last known per-bar volatility."""
    volatility = jnp.sqrt(jnp.maximum(jnp.diagonal(covariance), 0.0))
    return contracts.slippage + contracts.slippage_volatility * volatility * quote.bid


def whole_lots(order: jax.Array, contracts: Contracts, initial_capital: jax.Array) -> jax.Array:
    """Round units ``[N]`` toward zero to the lot step: zero below the smallest order, clipped at the largest."""
    lots = jnp.abs(order) * initial_capital / contracts.contract_size
    rounded = jnp.floor(lots / contracts.lot_step + _STEP_TOLERANCE) * contracts.lot_step
    allowed = jnp.where(rounded < contracts.min_lot * (1.0 - _STEP_TOLERANCE), 0.0, rounded)
    allowed = jnp.minimum(allowed, contracts.max_lot)
    return jnp.sign(order) * allowed * contracts.contract_size / initial_capital


def _order(
    account: Account,
    target_weights: jax.Array,
    equity: jax.Array,
    quote: Quote,
    contracts: Contracts,
    rules: AccountRules,
) -> jax.Array:
    """Units to trade ``[N]`` so that exposure meets the target at the quote; whole lots if the rules round them."""
    value_per_unit = quote.bid * quote.conversion
    order = target_weights * equity / value_per_unit - account.units
    whole = whole_lots(order, contracts, rules.initial_capital)
    # A position is a whole number of steps too: float32 must not accumulate residuals, and a close must leave nothing.
    step = contracts.lot_step * contracts.contract_size / rules.initial_capital
    position = jnp.round((account.units + whole) / step) * step
    whole = jnp.where(whole == 0.0, 0.0, position - account.units)
    return jnp.where(rules.round_lots, whole, order)


def _impact(trade: jax.Array, equity: jax.Array, quote: Quote, covariance: jax.Array, rules: AccountRules) -> jax.Array:
    """Impact cost ``[N]``, 1/2 lambda dw' Sigma dw of equity, split by instrument.

    The model is that of Garleanu and Pedersen (Journal of Finance 2013) with Lambda = lambda Sigma.
    """
    solvent = jnp.maximum(equity, _SMALLEST_EQUITY)
    change = trade * quote.bid * quote.conversion / solvent
    return 0.5 * rules.impact * rules.cost_multiplier * change * jnp.sum(covariance * change, axis=-1) * solvent


def _settle_at_next_open(
    account: Account,
    stopped: jax.Array,
    quote: Quote,
    table: MarketTable,
    path: jax.Array,
    bar: jax.Array,
    contracts: Contracts,
    cost: jax.Array,
) -> tuple[Account, Flows, Quote]:
    """Close everything at the open of ``bar`` if ``stopped``; otherwise leave account and quote unchanged.

    If the data end before ``bar``, positions are closed at the last close.
    """
    exists = bar < table.open.shape[1]
    row = jnp.where(exists, bar, bar - 1)
    late = stopped & exists
    next_open = accounts.quote_at_open(table, path, row, cost)
    settled_at = jax.tree.map(lambda after, now: jnp.where(late, after, now), next_open, quote)
    flows = accounts.revalue(account, quote, settled_at)
    nights = jnp.where(late, table.swap_nights[row], 0.0)
    swap = accounts.swap(account, settled_at, nights, contracts, cost)
    account = accounts.charge(account, -swap)
    slippage = slippage_price(settled_at, table.covariance[path, bar - 1], contracts) * cost
    trade = jnp.where(stopped & table.tradable[path, row], -account.units, 0.0)
    account, fill_flows = accounts.fill(account, trade, settled_at, contracts, cost, slippage)
    return account, dataclasses.replace(flows + fill_flows, swap=swap), settled_at
