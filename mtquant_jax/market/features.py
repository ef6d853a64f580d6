"""Turns bars into rows of the MarketTable, one at a time: causal features, covariance, conversion factors, calendar.

`step` makes row t from the state after bar t - 1 and from bar t, so nothing can look ahead; the state holds averages
and a ring buffer of recent bars. The table of a history is the scan of `step`. Each step has the same shape however
long the market is: the table of a prefix of the bars is the prefix of the table, byte for byte.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mtquant_jax.market.averages import AveragesState, initial_state, update
from mtquant_jax.market.bar_view import Bar, BarView, Feature, RecentBars, repeat_bar
from mtquant_jax.market.calendar import NEW_YORK_CLOSE, bar_times
from mtquant_jax.market.conversion import ConversionPlan, conversion, conversion_plan
from mtquant_jax.market.domain import MACRO_NAMES, InstrumentRoles, correlations, instrument_roles
from mtquant_jax.market.feature_set import FEATURE_NAMES, FEATURES, LOOK_BACK_BARS, FeatureSet
from mtquant_jax.market.instruments import Instrument
from mtquant_jax.types import AssetClass, Bars, MarketTable

__all__ = [
    "FEATURES",
    "FEATURE_NAMES",
    "LOOK_BACK_BARS",
    "MACRO_NAMES",
    "Bar",
    "Feature",
    "FeatureSet",
    "FeatureState",
    "TablePlan",
    "build_table",
    "correlations",
    "feature_bars",
    "join_rows",
    "replay",
    "start",
    "step",
    "table_plan",
]


@dataclasses.dataclass(frozen=True)
class TablePlan:
    """What is the same for all bars of a market; hashable, so that it can be a static argument."""

    roles: InstrumentRoles
    profit: ConversionPlan
    fees: ConversionPlan
    triple_days: tuple[str, ...]  # N weekdays whose night counts three times
    broker_timezone: str
    features: FeatureSet


@struct.dataclass
class FeatureState:
    """All that the rows of later bars need of the bars so far."""

    averages: AveragesState
    recent: RecentBars


def table_plan(
    symbols: Sequence[str],
    classes: Sequence[AssetClass],
    instruments: Mapping[str, Instrument],
    account_currency: str,
    broker_timezone: str = NEW_YORK_CLOSE,
    features: FeatureSet = FEATURES,
) -> TablePlan:
    """The plan for bars of N symbols, in their order; those in no class only supply prices for conversion.

    Raises UserError where a class has a symbol without bars or an unknown domain, or where no instrument converts a
    profit currency into the account currency.
    """
    traded = {symbol for asset_class in classes for symbol in asset_class.symbols}
    return TablePlan(
        profit=conversion_plan(symbols, instruments, account_currency, traded=traded),
        fees=conversion_plan(symbols, instruments, account_currency, "fee_currency", traded),
        roles=instrument_roles(symbols, classes, instruments, features.domains),
        triple_days=tuple(instruments[symbol].triple_swap_day for symbol in symbols),
        broker_timezone=broker_timezone,
        features=features,
    )


def feature_bars(bars: Bars, plan: TablePlan, before: int | None = None) -> Bar:
    """Bars as `step` takes them, with a leading axis T on every leaf and with the calendar; NumPy arrays stay such.

    Args:
        bars: one or more bars of the plan's symbols.
        plan: from `table_plan`.
        before: the open of the bar before the first, seconds since 1970 UTC; None where there is none.
    """
    names = ("open", "high", "low", "close", "spread", "volume")
    columns: dict[str, Any] = {name: getattr(bars, name).astype(np.float32).swapaxes(0, 1) for name in names}
    columns["tradable"] = bars.tradable.astype(bool).swapaxes(0, 1)
    return Bar(**columns, times=bar_times(bars.timestamps, plan.triple_days, plan.broker_timezone, before))


@functools.partial(jax.jit, static_argnames="plan")
def start(first: Bar, plan: TablePlan) -> FeatureState:
    """The state before the first bar, which older bars are taken to equal; `step` takes that bar next."""
    return FeatureState(
        averages=initial_state(jnp.log(first.high / first.low), jnp.log1p(first.volume)),
        recent=repeat_bar(first, plan.features.look_back + 1),
    )


@functools.partial(jax.jit, static_argnames="plan")
def step(state: FeatureState, bar: Bar, plan: TablePlan) -> tuple[FeatureState, MarketTable]:
    """The state and the table's row after one more bar.

    Args:
        state: from `start` or from the step before.
        bar: the next bar [P, N].
        plan: from `table_plan`, static.

    Returns:
        The new state, and the row: a `MarketTable` whose leaves have no axis T.
    """
    return _advance(state, bar, plan)


def _advance(state: FeatureState, bar: Bar, plan: TablePlan) -> tuple[FeatureState, MarketTable]:
    """`step` without its jit, through which a scan would not forward the columns that a row only passes on."""
    recent = state.recent.push(bar)
    moves = jnp.logical_and(bar.tradable, state.averages.bars > 0.0)  # the first bar has no return
    previous = recent.ago("close", 1)
    true_range = jnp.log(jnp.maximum(bar.high, previous) / jnp.minimum(bar.low, previous))
    log_return = jnp.log(bar.close / previous)
    state_of_averages, averages = update(state.averages, log_return, true_range, jnp.log1p(bar.volume), moves)
    features, domain, macro = plan.features.row(BarView(bar, moves, recent, averages), plan.roles)
    row = MarketTable(
        open=bar.open,
        close=bar.close,
        spread=bar.spread,
        tradable=bar.tradable,
        conversion_open=conversion(bar.open, plan.profit),
        conversion_close=conversion(bar.close, plan.profit),
        fee_conversion=conversion(bar.open, plan.fees),
        swap_nights=bar.times.swap_nights,
        features=features,
        domain=domain,
        macro=macro,
        covariance=averages.covariance,
        day=bar.times.day,
    )
    return FeatureState(state_of_averages, recent), row


@functools.partial(jax.jit, static_argnames="plan")
def replay(state: FeatureState, bars: Bar, plan: TablePlan) -> tuple[FeatureState, MarketTable]:
    """The state after several bars with a leading axis T, and the table of them: the scan of `step`."""
    state, rows = jax.lax.scan(functools.partial(_advance, plan=plan), state, bars)
    return state, join_rows(rows)


def join_rows(rows: MarketTable) -> MarketTable:
    """Rows stacked on a leading axis T -> their table."""
    without_path = ("swap_nights", "day")
    names = [field.name for field in dataclasses.fields(MarketTable) if field.name not in without_path]
    return dataclasses.replace(rows, **{name: getattr(rows, name).swapaxes(0, 1) for name in names})


@functools.partial(jax.jit, static_argnames="plan")
def _table(bars: Bar, plan: TablePlan) -> MarketTable:
    first = jax.tree.map(lambda leaf: leaf[0], bars)
    return replay(start(first, plan), bars, plan)[1]


def build_table(
    bars: Bars,
    classes: Sequence[AssetClass],
    instruments: Mapping[str, Instrument],
    account_currency: str,
    broker_timezone: str = NEW_YORK_CLOSE,
    features: FeatureSet = FEATURES,
) -> MarketTable:
    """All that a simulation looks up, for instruments in the order of bars.symbols, as float32 arrays on the device.

    Raises UserError as `table_plan`.
    """
    plan = table_plan(bars.symbols, classes, instruments, account_currency, broker_timezone, features)
    table: MarketTable = _table(feature_bars(bars, plan), plan)
    return table
