"""The account: fills, costs, margin and mark-to-market as pure arithmetic on arrays.

Money is relative to initial capital (equity starts at 1.0); units are base units per unit of initial capital, so that
lots = units x initial capital / contract size. Each instrument has one net position with an average fill price, as in
MetaTrader: the profit of a position is units x (price - entry) x k, with k the *current* factor from the profit
currency to the account currency, and becomes balance when it is closed.

Thousands of small amounts are added to a balance of about 1, so the balance is a compensated sum (Kahan, CACM 1965),
and the rounding error of entry prices is booked to it.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.types import Contracts, MarketTable

_MARGIN_TOLERANCE = 1e-5  # relative; a level under the limit only by float32 rounding causes no stop-out
_DAYS_OF_INTEREST = 360.0  # days per year of swap interest, by the brokers' convention


@struct.dataclass
class Account:
    """Balance and positions of an account, relative to initial capital."""

    balance: jax.Array  # [] initial capital plus realised profit and swap minus commission and impact
    residue: jax.Array  # [] rounding error of the balance in float32; part of the balance
    units: jax.Array  # [N] signed base units per unit of initial capital; long > 0
    entry: jax.Array  # [N] average fill price of the open position, quote currency
    wanted: jax.Array  # [N] units that decisions add up to; equals `units` unless orders are whole lots


@struct.dataclass
class Quote:
    """Prices at one moment."""

    bid: jax.Array  # [N] quote currency
    spread: jax.Array  # [N] ask - bid, quote currency, cost multiplier applied
    conversion: jax.Array  # [N] account currency per unit of profit currency
    fee_conversion: jax.Array  # [N] account currency per unit of fee currency


@struct.dataclass
class Flows:
    """Change of equity by cause and instrument ``[N]``, shares of initial capital.

    Equity change = price_profit - spread - commission - slippage - impact + swap, exactly.
    """

    price_profit: jax.Array  # [N] change of value at the bid
    spread: jax.Array  # [N] cost of spreads paid, and of their changes while short
    commission: jax.Array  # [N] cost
    slippage: jax.Array  # [N] cost of fills worse than the quote
    impact: jax.Array  # [N] cost of moving the market
    swap: jax.Array  # [N] received (positive) or paid for holding overnight

    def net(self) -> jax.Array:
        """Equity change per instrument ``[N]``."""
        return self.price_profit - self.costs() + self.swap

    def costs(self) -> jax.Array:
        """Trading costs per instrument ``[N]``; swap is not a trading cost."""
        return self.spread + self.commission + self.slippage + self.impact

    def __add__(self, other: Flows) -> Flows:
        return jax.tree.map(jnp.add, self, other)


def open_account(num_instruments: int) -> Account:
    """An account with no positions and equity 1.0."""
    return Account(
        balance=jnp.ones(()),
        residue=jnp.zeros(()),
        units=jnp.zeros(num_instruments),
        # 1 and not 0: the entry of a flat position is never used, but must not divide by zero in a gradient.
        entry=jnp.ones(num_instruments),
        wanted=jnp.zeros(num_instruments),
    )


def no_flows(num_instruments: int) -> Flows:
    """Flows of zero ``[N]``."""
    zeros = jnp.zeros(num_instruments)
    return Flows(price_profit=zeros, spread=zeros, commission=zeros, slippage=zeros, impact=zeros, swap=zeros)


def quote_at_open(table: MarketTable, path: jax.Array, bar: jax.Array, cost_multiplier: jax.Array) -> Quote:
    """Prices ``[N]`` at the open of a bar."""
    return Quote(
        bid=table.open[path, bar],
        spread=table.spread[path, bar] * cost_multiplier,
        conversion=table.conversion_open[path, bar],
        fee_conversion=table.fee_conversion[path, bar],
    )


def quote_at_close(table: MarketTable, path: jax.Array, bar: jax.Array, cost_multiplier: jax.Array) -> Quote:
    """Prices ``[N]`` at the close of a bar."""
    return Quote(
        bid=table.close[path, bar],
        spread=table.spread[path, bar] * cost_multiplier,
        conversion=table.conversion_close[path, bar],
        fee_conversion=table.fee_conversion[path, bar],
    )


def equity(account: Account, quote: Quote) -> jax.Array:
    """Equity ``[]`` with longs marked at the bid and shorts at the ask, share of initial capital."""
    profit = account.units * (quote.bid - account.entry) * quote.conversion
    return account.balance + (account.residue + jnp.sum(profit - _short_spread(account.units, quote)))


def position_value(account: Account, quote: Quote) -> jax.Array:
    """Signed value of the positions at the bid ``[N]``, share of initial capital."""
    return account.units * quote.bid * quote.conversion


def wanted_value(account: Account, quote: Quote) -> jax.Array:
    """Signed value of the wanted positions at the bid ``[N]``, share of initial capital."""
    return account.wanted * quote.bid * quote.conversion


def margin(account: Account, quote: Quote, contracts: Contracts) -> jax.Array:
    """Margin held ``[]``, share of initial capital.

    Forex holds lots x contract x rate in the base currency, other CFDs lots x contract x price x rate in the profit
    currency; both are |units| x price x k x rate in account currency.
    """
    return jnp.sum(jnp.abs(position_value(account, quote)) * contracts.margin_rate)


def is_stopped_out(account: Account, quote: Quote, contracts: Contracts, stop_out_level: jax.Array) -> jax.Array:
    """True ``[]`` if equity / margin is under the stop-out level; False for a flat account."""
    required = margin(account, quote, contracts) * stop_out_level
    return (required > 0.0) & (equity(account, quote) < required * (1.0 - _MARGIN_TOLERANCE))


def fill_offset(trade: jax.Array, quote: Quote, slippage: jax.Array | float) -> jax.Array:
    """Price of a fill minus the bid ``[N]``, quote currency: the spread for purchases, and slippage against both."""
    return jnp.where(trade > 0.0, quote.spread, 0.0) + jnp.sign(trade) * slippage


def fill(
    account: Account,
    trade: jax.Array,
    quote: Quote,
    contracts: Contracts,
    cost_multiplier: jax.Array,
    slippage: jax.Array | float = 0.0,
) -> tuple[Account, Flows]:
    """Buy (``trade`` > 0) at the ask and sell at the bid, both worsened by slippage.

    Args:
        account: the account before the trade.
        trade: ``[N]`` signed base units per unit of initial capital.
        quote: prices of the fill.
        contracts: contract sizes and commissions, which are charged per lot and side.
        cost_multiplier: factor of the commission; the quote's spread and the slippage include it already.
        slippage: ``[N]`` price units.

    Returns:
        The account after the trade and its ``Flows`` (price_profit is zero, because prices do not move).
    """
    above = fill_offset(trade, quote, slippage)
    price = quote.bid + above
    units = account.units + trade
    # Signs, because products of tiny positions underflow; division only by positions that grow, because the gradient of
    # a masked division overflows.
    side = jnp.sign(account.units)
    reduces, adds, flips = side * jnp.sign(trade) < 0.0, side * jnp.sign(trade) > 0.0, side * jnp.sign(units) < 0.0
    closed = jnp.where(reduces, jnp.where(flips, account.units, -trade), 0.0)
    # Differences of prices are exact, sums are not: float32 has 7 digits, and a spread begins at the fifth.
    realised = closed * ((quote.bid - account.entry) + above)
    added_share = jnp.where(adds, trade, 0.0) / jnp.where(adds, units, 1.0)
    averaged = account.entry + added_share * (price - account.entry)
    entry = jnp.where(flips | (account.units == 0.0), price, jnp.where(reduces, account.entry, averaged))
    rounding = (account.units - closed) * (entry - account.entry) + (trade + closed) * ((entry - quote.bid) - above)
    lots_fee = jnp.abs(trade) / contracts.contract_size * contracts.commission
    commission = lots_fee * quote.fee_conversion * cost_multiplier
    after = charge(account, commission - (realised + rounding) * quote.conversion)
    after = dataclasses.replace(after, units=units, entry=entry)
    # A purchase pays the spread now. An opened short owes it until it is closed, when the purchase pays it.
    bought = jnp.maximum(trade, 0.0) * quote.spread * quote.conversion
    spread = bought + _short_spread(units, quote) - _short_spread(account.units, quote)
    flows = no_flows(trade.shape[-1])
    slipped = jnp.abs(trade) * slippage * quote.conversion
    return after, dataclasses.replace(flows, spread=spread, commission=commission, slippage=slipped)


def charge(account: Account, amount: jax.Array) -> Account:
    """Subtract amounts ``[N]`` from the balance."""
    paid = account.residue - jnp.sum(amount)
    balance = account.balance + paid
    kept = balance - account.balance
    # Exact whichever of the two summands is larger (Knuth's two-sum).
    residue = (account.balance - (balance - kept)) + (paid - kept)
    return dataclasses.replace(account, balance=balance, residue=residue)


def swap(
    account: Account, quote: Quote, nights: jax.Array, contracts: Contracts, cost_multiplier: jax.Array
) -> jax.Array:
    """Swap of the open positions over ``nights`` charged nights ``[N]``, share of initial capital; negative is paid.

    Points: units x price x k; money: lots x amount; interest: value x rate / 360; each per night.
    """
    long = (account.units > 0.0).astype(jnp.int32)
    price, money, rate = (
        jnp.where(long, both[0], both[1]) for both in (contracts.swap_price, contracts.swap_money, contracts.swap_rate)
    )
    per_unit = (price + quote.bid * rate / _DAYS_OF_INTEREST) * quote.conversion
    per_unit = per_unit + money / contracts.contract_size * quote.fee_conversion
    return jnp.abs(account.units) * per_unit * nights * cost_multiplier


def revalue(account: Account, before: Quote, after: Quote) -> Flows:
    """Flows of the open positions ``[N]`` when prices move from one quote to another."""

    def value(quote: Quote) -> jax.Array:
        return account.units * (quote.bid - account.entry) * quote.conversion

    return dataclasses.replace(
        no_flows(account.units.shape[-1]),
        price_profit=value(after) - value(before),
        spread=_short_spread(account.units, after) - _short_spread(account.units, before),
    )


def _short_spread(units: jax.Array, quote: Quote) -> jax.Array:
    """Spread that open shorts ``[N]`` owe, because they are closed at the ask; share of initial capital."""
    return jnp.maximum(-units, 0.0) * quote.spread * quote.conversion
