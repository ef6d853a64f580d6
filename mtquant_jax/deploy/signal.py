"""What a training would do at the close of the last finished bar: weights, lots, orders and what they would cost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.deploy.account_file import account_from_json
from mtquant_jax.deploy.broker import SMALLEST_LOTS, AccountState, Position, net_lots
from mtquant_jax.deploy.decision import Decision, decide_order
from mtquant_jax.deploy.desk import Following, bound_rules
from mtquant_jax.deploy.freshness import Freshness, check_fresh
from mtquant_jax.deploy.history import desk_of, finished_of, opening_bar, read_history
from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import instruments_of
from mtquant_jax.runs.trained_run import TrainedRun
from mtquant_jax.simulation import account as accounts
from mtquant_jax.simulation.account import Account
from mtquant_jax.simulation.market_env import Book
from mtquant_jax.simulation.portfolio_env import PortfolioParams
from mtquant_jax.simulation.risk import start_risk
from mtquant_jax.storage.records import JsonRecord

SIMULATED = "simulated"
"""Whose account it is where none is given: the simulator's, which has traded every bar since the training's end."""


@dataclasses.dataclass(frozen=True)
class InstrumentSignal:
    """What is to be done in one instrument; weights are signed shares of equity, money is in account currency."""

    symbol: str
    asset_class: str
    wanted_weight: float
    permitted_weight: float
    """What the risk layer leaves of it."""
    lots: float
    """To hold after the order, signed."""
    held_lots: float
    order_lots: float
    """To trade at the next open, signed; buys are positive."""
    price: float
    """Bid at the close."""
    spread: float
    """Ask less bid at the close, price units."""
    cost: float
    """Expected of the order: spread, slippage and commission."""


@dataclasses.dataclass(frozen=True)
class Signal(JsonRecord):
    """The decision at the close of one bar."""

    bar: int
    """Open of the last finished bar, seconds since 1970 UTC."""
    bar_seconds: int
    age_seconds: int
    """Since its close."""
    run_id: str
    account: str
    """Whose positions and equity: simulated, paper, or the login of a broker's account."""
    currency: str
    equity: float
    capital_share: float
    capital: Mapping[str, float]
    """Share of equity that each class may use, and cash."""
    risk_appetite: float
    risk_rules: Mapping[str, float]
    """Rules that bound -> share of the wanted exposure that each took away."""
    instruments: tuple[InstrumentSignal, ...]
    notices: tuple[str, ...]

    @property
    def orders(self) -> tuple[InstrumentSignal, ...]:
        """Those with something to trade."""
        return tuple(found for found in self.instruments if abs(found.order_lots) > SMALLEST_LOTS)


@dataclasses.dataclass(frozen=True)
class Holding:
    """An account that orders are for."""

    name: str
    equity: float  # account currency
    lots: Mapping[str, float]  # signed, by symbol
    entries: Mapping[str, float]  # average price by symbol


def holding_of(
    account: AccountState, positions: tuple[Position, ...], currency: str, magic: int | None = None
) -> Holding:
    """A broker's account.

    Args:
        account: the account.
        positions: all of its positions.
        currency: of the training's account.
        magic: number of the positions that count; None for all.

    Raises:
        UserError: it is in another currency than the training's, or has no equity.
    """
    if account.currency != currency:
        raise UserError(
            f"the account {account.login} is in {account.currency}, but the training is in {currency}; "
            f"`account_currency` {account.currency} trades in it"
        )
    if account.equity <= 0.0:
        raise UserError(
            f"the account {account.login} has an equity of {account.equity:g} {currency}; nothing can trade"
        )
    weights: dict[str, float] = {}
    for position in positions:
        if magic is not None and position.magic != magic:
            continue
        weights[position.symbol] = weights.get(position.symbol, 0.0) + position.lots * position.entry_price
    lots = net_lots(positions, magic)
    entries = {symbol: weights[symbol] / held for symbol, held in lots.items() if abs(held) > SMALLEST_LOTS}
    return Holding(str(account.login), account.equity, lots, entries)


def signal_of_run(
    run: TrainedRun,
    data_dir: str | None,
    account: Path | None,
    capital_share: float,
    now: int,
    missing_bars: int,
    magic: int | None = None,
) -> Signal:
    """The signal of a finished training at the close of the last bar of a directory that is over.

    Args:
        run: the training.
        data_dir: bar files; None for those of the training.
        account: dump of a broker's account; None for the simulator's own.
        capital_share: of the account's equity that is traded.
        now: seconds since 1970 UTC.
        missing_bars: how many may be missing at the end.
        magic: number of the broker's positions that count; None for all.

    Raises:
        UserError: the run, the bars or the account do not fit, or the bars are stale.
    """
    desk = desk_of(run, data_dir)
    holding = None
    if account is not None:
        state, positions = account_from_json(account, instruments_of(desk.config))
        holding = holding_of(state, positions, desk.config.simulation.account_currency, magic)
    history = read_history(desk)
    bars, notes = finished_of(desk, history, now)
    notices = (*history.notices, *notes)
    fresh = check_fresh(bars, desk.bar_seconds, now, desk.config.simulation.broker_clock, missing_bars)
    following = desk.begin(bars, opening_bar(run, bars.timestamps))
    decision = following.follow(bars).decision()
    return signal(following, decision, fresh, run.run_id, holding, capital_share, notices)


def signal(
    following: Following,
    decision: Decision,
    fresh: Freshness,
    run_id: str,
    holding: Holding | None = None,
    capital_share: float = 1.0,
    notices: tuple[str, ...] = (),
) -> Signal:
    """The signal of a decision.

    Args:
        following: after the bar of the decision.
        decision: of the simulator's own account.
        fresh: how the bar stands to now.
        run_id: of the training.
        holding: the account that orders are for; None for the simulator's own.
        capital_share: of its equity that is traded.
        notices: about the bars.
    """
    assert following.state is not None and following.last is not None
    if bool(np.asarray(following.state.progress.terminated)[0]):
        notices = (*notices, "the simulated account was stopped out or ruined: nothing is wanted any more")
    desk = following.desk
    market = dataclasses.replace(following.market, table=following.state.rows)
    state = jax.tree.map(lambda leaf: leaf[0], following.state.progress.state)
    book: Book = state.book
    if holding is not None:
        book, unknown = _book_of(holding, following, market)
        notices = (*notices, *unknown)
    found = _orders(book, decision, state.path, state.bar, market, np.float32(capital_share))
    permitted, cuts, order, cost, equity = (np.asarray(value, np.float64) for value in found)
    units = np.asarray(book.account.units, np.float64)
    return Signal(
        bar=following.last,
        bar_seconds=desk.bar_seconds,
        age_seconds=fresh.age,
        run_id=run_id,
        account=SIMULATED if holding is None else holding.name,
        currency=desk.config.simulation.account_currency,
        equity=float(equity * desk.config.simulation.initial_capital),
        capital_share=capital_share,
        capital=desk.capital(decision),
        risk_appetite=float(decision.allocation.risk_appetite),
        risk_rules=bound_rules(cuts),
        instruments=_rows(following, decision, capital_share, permitted, units, order, cost),
        notices=notices,
    )


def _rows(
    following: Following,
    decision: Decision,
    capital_share: float,
    permitted: np.ndarray,
    units: np.ndarray,
    order: np.ndarray,
    cost: np.ndarray,
) -> tuple[InstrumentSignal, ...]:
    """What is to be done in every instrument; weights, units held, units to trade and costs are ``[N]``."""
    desk = following.desk
    universe, capital = desk.desk.universe, desk.config.simulation.initial_capital
    lot = np.asarray(following.market.contracts.contract_size, np.float64) / capital
    names = [(c.name, symbol) for c in universe.classes for symbol in c.symbols]
    return tuple(
        InstrumentSignal(
            symbol=symbol,
            asset_class=class_name,
            wanted_weight=float(decision.target[slot]) * capital_share,
            permitted_weight=float(permitted[slot]),
            lots=_lots((units[slot] + order[slot]) / lot[slot]),
            held_lots=_lots(units[slot] / lot[slot]),
            order_lots=_lots(order[slot] / lot[slot]),
            price=float(decision.quote.bid[slot]),
            spread=float(decision.quote.spread[slot]),
            cost=float(cost[slot] * capital),
        )
        for slot, (class_name, symbol) in zip(universe.slots, names, strict=True)
    )


@jax.jit
def _orders(
    book: Book, decision: Decision, path: jax.Array, bar: jax.Array, market: PortfolioParams, share: jax.Array
) -> Any:
    """Permitted weights ``[N]``, cuts of the rules ``[R]``, order and its cost ``[N]``, and equity ``[]``."""
    permission, order = decide_order(book, decision.target, decision.quote, path, bar, market, share)
    _, flows = accounts.fill(
        book.account, order, decision.quote, market.contracts, market.rules.cost_multiplier, decision.slippage
    )
    equity = accounts.equity(book.account, decision.quote)
    return permission.weights * share, permission.cuts, order, flows.costs(), equity


def _book_of(holding: Holding, following: Following, market: PortfolioParams) -> tuple[Book, tuple[str, ...]]:
    """A broker's account as the simulator's, and what is not known of it."""
    desk = following.desk
    universe, capital = desk.desk.universe, desk.config.simulation.initial_capital
    size = np.asarray(market.contracts.contract_size, np.float64)
    units, entry = np.zeros(len(size)), np.ones(len(size))
    for slot, symbol in zip(universe.slots, universe.symbols, strict=True):
        units[slot] = holding.lots.get(symbol, 0.0) * size[slot] / capital
        entry[slot] = holding.entries.get(symbol, 1.0)
    held, equity = jnp.asarray(units, jnp.float32), jnp.asarray(holding.equity / capital, jnp.float32)
    zero = jnp.zeros(())
    account = Account(balance=zero, residue=zero, units=held, entry=jnp.asarray(entry, jnp.float32), wanted=held)
    quote = accounts.quote_at_close(market.table, jnp.zeros((), jnp.int32), jnp.ones((), jnp.int32), jnp.ones(()))
    account = dataclasses.replace(account, balance=equity - accounts.equity(account, quote))
    others = sorted(symbol for symbol, lots in holding.lots.items() if symbol not in universe.symbols and lots)
    unknown = ["the account's loss of the day is not known, so that the breakers of the day do not bind"]
    if others:
        unknown.append(f"the account also holds {', '.join(others)}, which this training does not trade")
    day = jnp.asarray(market.table.day[-1])
    return Book(account=account, equity=equity, peak_equity=equity, risk=start_risk(day, equity)), tuple(unknown)


def _lots(value: float) -> float:
    """Lots without the rounding of float32."""
    rounded = round(float(value), 4)
    return rounded if rounded else 0.0
