"""Turns target weights decided at the close of bar t into the account at the close of bar t + 1.

The order of events: gap to the open of t + 1, swap for the nights crossed, margin check on the gap price, fills at that
open, move to the close, margin check. Target weights have passed the risk layer (`risk`).

Where orders are whole lots, the account carries the wanted position in full, and an order is the wanted position in
whole lots minus the held one: what rounding leaves out of one decision adds to the next and is never lost.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.simulation import account as accounts
from mtquant_jax.simulation.account import Account, Flows, Quote
from mtquant_jax.simulation.parts import product
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
    unrounded_weights: jax.Array  # [N] the same of the wanted positions; equals `weights` unless orders are whole lots
    held_weights: jax.Array  # [N] signed value after the fills / equity before the bar
    flows: Flows  # [N] share of initial capital
    opened: Flows  # [N] the part of them after the fill of a flip; zero without one
    fill_offset: jax.Array  # [N] price of the last fill minus the bid at the open of t + 1, quote currency
    traded: jax.Array  # [N] absolute value filled at the open of t + 1, share of the equity before the bar
    stopped_out: jax.Array  # [] bool
    ruined: jax.Array  # [] bool


def next_relative_weights(
    tilt: jax.Array, action: jax.Array, rules: AccountRules, anchor: jax.Array | float = 0.0
) -> jax.Array:
    """Turn an action into the wanted relative weights ``[..., C]``, in [-1, 1] of each instrument's share.

    The action is a change of the tilt: anchor + (1 - decay) x tilt + action, clipped.
    """
    wanted = anchor + ((1.0 - rules.trade_decay) * tilt + action)
    return jnp.clip(wanted, -1.0, 1.0)


def change_to(wanted: jax.Array, tilt: jax.Array, rules: AccountRules, anchor: jax.Array | float = 0.0) -> jax.Array:
    """The action ``[..., C]`` that leads to relative weights ``[..., C]``: the inverse of `next_relative_weights`."""
    return wanted - (anchor + (1.0 - rules.trade_decay) * tilt)


def bar_of_trading(
    account: Account,
    target_weights: jax.Array,
    table: MarketTable,
    path: jax.Array,
    bar: jax.Array,
    contracts: Contracts,
    rules: AccountRules,
    limited: jax.Array | bool = False,
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
        limited: ``[N]`` bool, instruments whose target the risk layer cut: their reductions are never too small to be
            ordered.
    """
    cost = rules.cost_multiplier
    close_now = accounts.quote_at_close(table, path, bar, cost)
    open_next = accounts.quote_at_open(table, path, bar + 1, cost)
    close_next = accounts.quote_at_close(table, path, bar + 1, cost)
    covariance = table.covariance[path, bar]
    equity_now = accounts.equity(account, close_now)
    order, wanted = order_for(account, target_weights, equity_now, close_now, contracts, rules, limited)

    flows = accounts.revalue(account, close_now, open_next)
    swap = accounts.swap(account, open_next, table.swap_nights[bar + 1], contracts, cost)
    account = accounts.charge(account, -swap)
    stopped_on_gap = accounts.is_stopped_out(account, open_next, contracts, rules.stop_out_level)
    trade = jnp.where(stopped_on_gap, -account.units, order)
    tradable = table.tradable[path, bar + 1]
    trade = jnp.where(tradable, trade, 0.0)
    wanted = jnp.where(tradable, jnp.where(stopped_on_gap, 0.0, wanted), account.wanted)
    slippage = slippage_price(open_next, covariance, contracts) * cost
    before = account.units
    account, fill_flows = accounts.fill(account, trade, open_next, contracts, cost, slippage)
    account = dataclasses.replace(account, wanted=jnp.where(rules.round_lots, wanted, account.units))
    impact = _impact(trade, equity_now, open_next, covariance, rules)
    account = accounts.charge(account, impact)
    held_flows = accounts.revalue(account, open_next, close_next)
    fill_flows = dataclasses.replace(fill_flows, impact=impact)
    flows = dataclasses.replace(flows + fill_flows + held_flows, swap=swap)
    held = accounts.position_value(account, open_next)

    stopped_on_close = ~stopped_on_gap & accounts.is_stopped_out(account, close_next, contracts, rules.stop_out_level)
    after_fill = account.units
    account, late_flows, late_offset, final = _settle_at_next_open(
        account, stopped_on_close, close_next, table, path, bar + 2, contracts, cost
    )
    offset = accounts.fill_offset(trade, open_next, slippage)
    equity = accounts.equity(account, final)
    solvent = jnp.maximum(equity_now, _SMALLEST_EQUITY)
    worth = jnp.maximum(equity, _SMALLEST_EQUITY)
    return BarResult(
        account=account,
        equity=equity,
        weights=accounts.position_value(account, final) / worth,
        unrounded_weights=accounts.wanted_value(account, final) / worth,
        flows=flows + late_flows,
        opened=_of_flips(before, after_fill, trade, fill_flows, held_flows + late_flows),
        fill_offset=jnp.where(account.units == after_fill, offset, late_offset + (final.bid - open_next.bid)),
        held_weights=held / solvent,
        traded=jnp.abs(trade) * open_next.bid * open_next.conversion / solvent,
        stopped_out=stopped_on_gap | stopped_on_close,
        ruined=~(equity > rules.ruin_level),  # also True if equity is not a number
    )


def _of_flips(before: jax.Array, after: jax.Array, trade: jax.Array, fill: Flows, later: Flows) -> Flows:
    """What flipped positions ``[N]`` brought after their fill, with their share of its costs; zero without a flip.

    The spread belongs to the position that a flip opens: what the closed short owed was booked while it was held.
    """
    flipped = jnp.sign(before) * jnp.sign(after) < 0.0
    share = jnp.abs(after) / jnp.where(flipped, jnp.abs(trade), 1.0)
    paid = jax.tree.map(lambda flow: flow * share, dataclasses.replace(fill, spread=jnp.zeros_like(fill.spread)))
    opened = dataclasses.replace(paid, spread=fill.spread) + later
    return jax.tree.map(lambda flow: jnp.where(flipped, flow, 0.0), opened)


def current_weights(account: Account, quote: Quote) -> jax.Array:
    """Wanted exposure ``[N]``: signed value of the wanted positions / equity."""
    equity = accounts.equity(account, quote)
    return accounts.wanted_value(account, quote) / jnp.maximum(equity, _SMALLEST_EQUITY)


def slippage_price(quote: Quote, covariance: jax.Array, contracts: Contracts) -> jax.Array:
    """Slippage of a fill ``[N]``, price units: a fixed part plus a share of the last known per-bar volatility."""
    volatility = jnp.sqrt(jnp.maximum(jnp.diagonal(covariance), 0.0))
    return contracts.slippage + contracts.slippage_volatility * volatility * quote.bid


def whole_lots(
    wanted: jax.Array,
    held: jax.Array,
    contracts: Contracts,
    initial_capital: jax.Array,
    limited: jax.Array | bool = False,
) -> jax.Array:
    """The position in whole lots ``[N]`` that follows the wanted one: rounded to the nearest lot step.

    A change below the smallest order waits until it has grown to one, unless it closes the position, for which every
    broker takes an order of its size. A reduction demanded by the risk layer does not wait: the smallest order is
    placed, or what is left is closed. No order is larger than the largest.

    Args:
        wanted: ``[N]`` units per unit of initial capital.
        held: ``[N]`` units before the order.
        contracts: ``[N]`` lot steps, smallest and largest orders.
        initial_capital: ``[]`` account currency.
        limited: ``[N]`` bool, whether the risk layer demands a reduction.
    """
    unit = contracts.contract_size / initial_capital  # units of a lot
    smallest, largest = contracts.min_lot * unit, contracts.max_lot * unit
    rounded = jnp.round(wanted / (contracts.lot_step * unit)) * (contracts.lot_step * unit)
    change = rounded - held
    side = jnp.sign(held)
    below = jnp.abs(change) < smallest * (1.0 - _STEP_TOLERANCE)
    closes = jnp.sign(rounded) != side
    reduced = side * jnp.maximum(jnp.abs(held) - smallest, 0.0)
    waiting = jnp.where(limited & (side * change < 0.0), reduced, held)
    waiting = jnp.where(closes, 0.0, waiting)
    position = jnp.where(below, waiting, rounded)
    return jnp.where(jnp.abs(position - held) > largest, held + jnp.sign(position - held) * largest, position)


def order_for(
    account: Account,
    target_weights: jax.Array,
    equity: jax.Array,
    quote: Quote,
    contracts: Contracts,
    rules: AccountRules,
    limited: jax.Array | bool,
) -> tuple[jax.Array, jax.Array]:
    """Units to trade ``[N]`` so that exposure meets the target at the quote, and the wanted position after the order.

    What exceeds the largest order is not wanted any more: the policy sees it and may ask for it again. Arguments as in
    `bar_of_trading`; the quote is the last known one.
    """
    value_per_unit = quote.bid * quote.conversion
    wanted = target_weights * equity / value_per_unit
    largest = contracts.max_lot * contracts.contract_size / rules.initial_capital
    reachable = jnp.clip(wanted, account.units - largest, account.units + largest)
    whole = whole_lots(reachable, account.units, contracts, rules.initial_capital, limited) - account.units
    return jnp.where(rules.round_lots, whole, wanted - account.units), reachable


def _impact(trade: jax.Array, equity: jax.Array, quote: Quote, covariance: jax.Array, rules: AccountRules) -> jax.Array:
    """Impact cost ``[N]``, 1/2 lambda dw' Sigma dw of equity, split by instrument.

    The model is that of Garleanu and Pedersen (Journal of Finance 2013) with Lambda = lambda Sigma.
    """
    solvent = jnp.maximum(equity, _SMALLEST_EQUITY)
    change = trade * quote.bid * quote.conversion / solvent
    return 0.5 * rules.impact * rules.cost_multiplier * change * product(covariance, change) * solvent


def _settle_at_next_open(
    account: Account,
    stopped: jax.Array,
    quote: Quote,
    table: MarketTable,
    path: jax.Array,
    bar: jax.Array,
    contracts: Contracts,
    cost: jax.Array,
) -> tuple[Account, Flows, jax.Array, Quote]:
    """Close everything at the open of ``bar`` if ``stopped``; otherwise leave account and quote unchanged.

    If the data end before ``bar``, positions are closed at the last close.

    Returns:
        The account, its flows, the offsets of the fills ``[N]`` and the quote that it is marked at.
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
    offset = accounts.fill_offset(trade, settled_at, slippage)
    return account, dataclasses.replace(flows + fill_flows, swap=swap), offset, settled_at
