"""Bars for the proofs of the account: a synthetic market with every difficulty, and the real one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.market.features import build_table
from mtquant_jax.market.instruments import Instrument, load_instruments
from mtquant_jax.simulation import account as accounts
from mtquant_jax.simulation.execution import AccountRules, bar_of_trading
from mtquant_jax.types import AssetClass, Bars, Contracts, MarketTable

INSTRUMENTS = load_instruments()
CLASSES = (
    AssetClass("forex", ("EURUSD", "GBPUSD", "USDJPY"), "forex"),
    AssetClass("commodities", ("XAUUSD", "WTIUSD"), "commodities"),
    AssetClass("equity", ("SPX500", "NAS100", "US30"), "equity"),
)
SYMBOLS = tuple(symbol for asset_class in CLASSES for symbol in asset_class.symbols)
COLUMNS = ("open", "high", "low", "close", "spread", "volume", "tradable")
_STARTS = {
    "EURUSD": 1.1,
    "GBPUSD": 1.27,
    "USDJPY": 150.0,
    "XAUUSD": 2000.0,
    "WTIUSD": 75.0,
    "SPX500": 5000.0,
    "NAS100": 18_000.0,
    "US30": 39_000.0,
}


def trading_hours(num_bars: int, first: datetime = datetime(2024, 1, 1, tzinfo=UTC)) -> np.ndarray:
    """Hourly opens ``[T]`` of a market that is closed from Friday 22:00 to Sunday 22:00 UTC."""
    hours = int(first.timestamp()) + 3600 * np.arange(2 * num_bars)
    of_week = (hours // 3600 + 72) % 168  # hours since Monday 00:00
    return hours[(of_week < 4 * 24 + 22) | (of_week >= 6 * 24 + 22)][:num_bars]


def stormy_bars(seed: int, num_bars: int, symbols: tuple[str, ...] = SYMBOLS) -> Bars:
    """Bars with gaps after weekends, bars that do not trade and varying spreads; prices in whole points."""
    generator = np.random.default_rng(seed)
    shape = (num_bars, len(symbols))
    timestamps = trading_hours(num_bars)
    tradable = generator.random(shape) > 0.05
    weekend = np.diff(timestamps, prepend=timestamps[0]) > 3600
    body = 1.5e-3 * generator.standard_t(4, shape) * tradable
    gap = np.where(weekend[:, None], 0.02, 3e-4) * generator.normal(size=shape) * tradable
    point = np.array([INSTRUMENTS[s].point for s in symbols])
    level = np.cumsum(body + gap, axis=0)
    level -= np.linspace(0.0, 1.0, num_bars)[:, None] * level[-1]  # ends at its start, so that no price diverges
    close = np.array([_STARTS[s] for s in symbols]) * np.exp(level)
    opened = np.concatenate([close[:1], close[:-1]]) * np.exp(gap)
    close, opened = (np.rint(price / point) * point for price in (close, opened))
    for t in range(1, num_bars):  # a bar that does not trade carries the last close
        close[t] = np.where(tradable[t], close[t], close[t - 1])
        opened[t] = np.where(tradable[t], opened[t], close[t - 1])
    spread = np.array([INSTRUMENTS[s].spread for s in symbols]) * generator.uniform(0.3, 3.0, shape)
    return Bars(
        symbols=symbols,
        timestamps=timestamps,
        open=opened[None],
        high=np.maximum(opened, close)[None],
        low=np.minimum(opened, close)[None],
        close=close[None],
        spread=(np.rint(spread) * point)[None],
        volume=(generator.integers(1, 5000, shape) * tradable)[None],
        tradable=tradable[None],
    )


def cut(bars: Bars, first: int, last: int) -> Bars:
    """Bars first <= t < last."""
    columns = {name: np.asarray(getattr(bars, name))[:, first:last] for name in COLUMNS}
    return dataclasses.replace(bars, timestamps=bars.timestamps[first:last], **columns)


def tables(bars: Bars, instruments: dict[str, Instrument]) -> MarketTable:
    """One table of two paths: the bars in an account in USD and in one in EUR."""
    both = [build_table(bars, CLASSES, instruments, currency) for currency in ("USD", "EUR")]
    shared = {"swap_nights", "day"}
    return MarketTable(
        **{
            field.name: getattr(both[0], field.name)
            if field.name in shared
            else jnp.concatenate([getattr(table, field.name) for table in both])
            for field in dataclasses.fields(MarketTable)
        }
    )


def replay(targets: Any, path: Any, table: MarketTable, contracts: Contracts, rules: AccountRules) -> dict[str, Any]:
    """Trade target weights ``[T, N]`` from bar 0 on; a new account replaces one that ends."""
    num_steps, num_instruments = targets.shape
    fresh = accounts.open_account(num_instruments)

    def step(account: Any, row: Any) -> Any:
        bar, target = row
        result = bar_of_trading(account, target, table, path, bar, contracts, rules)
        ended = result.stopped_out | result.ruined
        after = jax.tree.map(lambda new, old: jnp.where(ended, new, old), fresh, result.account)
        outcome = {
            "equity": result.equity,
            "stopped": result.stopped_out,
            "ruined": result.ruined,
            "traded": result.traded,
            "units": result.account.units,
            "wanted": result.account.wanted,
            "balance": result.account.balance,
            "flows": result.flows,
            "opened": result.opened,
            "fill_offset": result.fill_offset,
        }
        return after, outcome

    return jax.lax.scan(step, fresh, (jnp.arange(num_steps), targets))[1]


one_account: Callable[..., dict[str, Any]] = jax.jit(replay)
many_accounts: Callable[..., dict[str, Any]] = jax.jit(jax.vmap(replay, in_axes=(0, 0, None, 0, 0)))
