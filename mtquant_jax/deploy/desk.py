"""A finished training and its bars -> decisions, bar by bar, by one compiled program whatever the number of bars."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.hierarchy import HierarchyAgent
from mtquant_jax.backtest.trading import BacktestRecord, recorded
from mtquant_jax.deploy.decision import (
    Decision,
    Desk,
    DeskState,
    Outcome,
    decide,
    first_rows,
    next_bar,
    nothing,
    on_host,
)
from mtquant_jax.errors import UserError
from mtquant_jax.market.features import LOOK_BACK_BARS, Bar, feature_bars, start, table_plan
from mtquant_jax.market.prepare import bare_market, conversion_of, instruments_of
from mtquant_jax.runs.trading_policy import TradingPolicy, load_policy
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.market_params import evaluation_params, portfolio_params
from mtquant_jax.simulation.portfolio_env import PortfolioParams
from mtquant_jax.simulation.risk import RULES
from mtquant_jax.storage.arrays import from_named_arrays
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.types import Bars

CHUNK = 256
"""Most bars that one call of the compiled program takes; fewer are padded, so that there is one program."""


_CUT = 1e-6  # share of the exposure wanted under which a cut is float32 rounding


def bound_rules(cuts: np.ndarray | jax.Array) -> dict[str, float]:
    """Rules of the risk layer that bound -> share of the wanted exposure that each took away, of cuts ``[R]``."""
    return {name: float(cut) for name, cut in zip(RULES, cuts, strict=True) if cut > _CUT}


@dataclasses.dataclass(frozen=True)
class Followed:
    """Bars that were followed; leaves are NumPy arrays."""

    timestamps: np.ndarray  # [T] int64, opens of the bars
    opened: np.ndarray  # [T] bool, whether the account was open over the bar
    outcomes: Outcome  # leaves [T, ...]
    decisions: Decision  # leaves [T, ...]

    def outcome(self, index: int = -1) -> Outcome:
        """What one bar brought."""
        outcome: Outcome = jax.tree.map(lambda leaf: leaf[index], self.outcomes)
        return outcome

    def decision(self, index: int = -1) -> Decision:
        """What was decided at the close of one bar."""
        decision: Decision = jax.tree.map(lambda leaf: leaf[index], self.decisions)
        return decision


class TradingDesk:
    """The last portfolio of a training, ready to follow bars."""

    def __init__(self, trading: TradingPolicy, config: TrainConfig, symbols: Sequence[str]) -> None:
        """See `open_desk`; ``symbols`` are those of the bars, in order."""
        universe = trading.universe
        self.trading, self.config, self.symbols = trading, config, tuple(symbols)
        account = config.simulation
        plan = table_plan(
            symbols, universe.classes, instruments_of(config), account.account_currency, account.broker_clock
        )
        reward, own = config.portfolio_reward.objective, config.reward.objective
        self.desk = Desk(plan, universe, phases.portfolio_env(reward, own), trading.agent)

    def capital(self, decision: Decision) -> dict[str, float]:
        """Share of the equity that each class gets, and cash, by name."""
        names = (*(asset_class.name for asset_class in self.desk.universe.classes), "cash")
        return dict(zip(names, (float(share) for share in decision.allocation.capital), strict=True))

    def by_symbol(self, values: np.ndarray | jax.Array) -> dict[str, float]:
        """Numbers ``[N]`` of the universe's slots by the symbols that are traded."""
        universe = self.desk.universe
        return {symbol: float(values[slot]) for slot, symbol in zip(universe.slots, universe.symbols, strict=True)}

    @property
    def bar_seconds(self) -> int:
        """Seconds between the opens of two bars, as in training."""
        return self.trading.manifest.bar_seconds

    def begin(self, bars: Bars, first: int) -> Following:
        """Follow bars from the first on; a flat account opens at the close of bar ``first``.

        Raises:
            UserError: the bars do not fit the training, or there are too few before the account opens.
        """
        if first < LOOK_BACK_BARS:
            raise UserError(
                f"the account would open at bar {first + 1} of its history; features need {LOOK_BACK_BARS} before it"
            )
        return Following(self, self.market(bars.timestamps), None, None, int(bars.timestamps[first]))

    def resume(self, arrays: Mapping[str, np.ndarray], last: int) -> Following:
        """Go on after a bar.

        Args:
            arrays: of `to_named_arrays` of the state after it.
            last: its open, seconds since 1970 UTC.

        Raises:
            UserError: the arrays are of another training.
        """
        market = self.market(last + self.bar_seconds * np.arange(2))
        bar = jax.tree.map(lambda leaf: leaf[0], feature_bars(_any_bars(self.symbols), self.desk.plan))
        like = jax.eval_shape(functools.partial(_start, self.desk), bar, self.trading.policy, market)
        return Following(self, market, from_named_arrays(arrays, like, "the ledger"), last, last)

    def market(self, timestamps: np.ndarray) -> PortfolioParams:
        """Parameters of evaluation of a market with bars at such times, which fits the training; without a table.

        Raises:
            UserError: the bars or contracts are not those of the training, or it was of an earlier version.
        """
        if self.trading.manifest.scales.bars_per_day is None:
            raise UserError(
                f"{self.trading.source} is of an earlier version, which did not write all scales: train again"
            )
        market = bare_market(self.config, self.desk.universe, timestamps)
        params: PortfolioParams = evaluation_params(portfolio_params(self.config, self.trading.fitted(market)))
        return params


@dataclasses.dataclass
class Following:
    """How far bars have been followed."""

    desk: TradingDesk
    market: PortfolioParams  # without a table
    state: DeskState | None
    last: int | None  # open of the last bar, seconds since 1970 UTC
    opens: int  # open of the bar at whose close the account opens

    def follow(self, bars: Bars) -> Followed:
        """Trade and decide over more bars.

        Args:
            bars: one or more that come after the last, of the desk's symbols.

        Raises:
            ValueError: they do not come after the last.
        """
        if self.last is not None and bars.timestamps[0] <= self.last:
            raise ValueError("bars must come after those followed so far")
        seen = feature_bars(bars, self.desk.desk.plan, self.last)
        if self.state is None:
            self.state = _called(_start, self.desk.desk, _at(seen, 0), self.desk.trading.policy, self.market)
        fresh = np.asarray(bars.timestamps) <= self.opens
        parts = []
        for begin in range(0, len(fresh), CHUNK):
            part = slice(begin, begin + CHUNK)
            parts.append(self._follow(jax.tree.map(lambda leaf, part=part: leaf[part], seen), fresh[part]))
        self.last = int(bars.timestamps[-1])
        outcomes, decisions = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
        return Followed(np.asarray(bars.timestamps), ~fresh, outcomes, decisions)

    def _follow(self, bars: Bar, opens: np.ndarray) -> tuple[Any, Any]:
        count = len(opens)
        padded = jax.tree.map(lambda leaf: np.resize(leaf, (CHUNK, *leaf.shape[1:])), (bars, opens))
        policy = self.desk.trading.policy
        following = (self.desk.desk, self.state, *padded, np.int32(count), policy, self.market)
        self.state, found = _called(_follow_chunk, *following)
        rows: tuple[Any, Any] = jax.tree.map(lambda leaf: leaf[:count], on_host(found))
        return rows

    def decision(self) -> Decision:
        """What is decided at the close of the last bar."""
        assert self.state is not None
        market = dataclasses.replace(self.market, table=self.state.rows)
        found = _called(_decide, self.desk.desk, self.state.progress, self.desk.trading.policy, market)
        decision: Decision = on_host(found)
        return decision

    def record(self, followed: Followed) -> BacktestRecord:
        """The record of the bars over which the account was open, as a backtest gives it; leaves are NumPy arrays."""
        assert self.state is not None
        rows = jax.tree.map(lambda leaf: leaf[followed.opened], followed.outcomes.row)
        record: BacktestRecord = on_host(recorded(self.market, self.state.progress, rows))
        return record


_COMPILER = Compiler()


def _called(function: Any, desk: Desk, *arguments: Any) -> Any:
    """A compiled function of a desk, loaded where an earlier command left it."""
    return _COMPILER(function, (desk,), *arguments)(*arguments)


@functools.partial(jax.jit, static_argnums=0)
def _follow_chunk(
    desk: Desk,
    state: DeskState,
    bars: Bar,
    opens: jax.Array,
    count: jax.Array,
    policy: Policy,
    market: PortfolioParams,
) -> tuple[DeskState, Any]:
    """Follow the first ``count`` of a chunk of bars, ``opens [CHUNK]`` bool; rows after them are zeros."""

    def one(state: DeskState, index: jax.Array) -> tuple[DeskState, Any]:
        bar, fresh = jax.tree.map(lambda leaf: leaf[index], (bars, opens))
        state, *found = next_bar(desk, state, bar, fresh, policy, market)
        return state, tuple(found)

    shapes = jax.eval_shape(one, state, jnp.zeros((), jnp.int32))[1]
    rows = nothing(jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((CHUNK, *leaf.shape), leaf.dtype), shapes))

    def body(index: jax.Array, carry: tuple[DeskState, Any]) -> tuple[DeskState, Any]:
        state, rows = carry
        state, found = one(state, index)
        return state, jax.tree.map(lambda all_rows, row: all_rows.at[index].set(row), rows, found)

    return jax.lax.fori_loop(0, count, body, (state, rows))


@functools.partial(jax.jit, static_argnums=0)
def _start(desk: Desk, bar: Bar, policy: Policy, market: PortfolioParams) -> DeskState:
    """The state before the first bar."""
    features = start(bar, desk.plan)
    rows = first_rows(desk, features, bar)
    market = dataclasses.replace(market, table=rows)
    return DeskState(features, rows, desk.trading.start(market, jnp.ones((), jnp.int32)))


_decide = jax.jit(decide, static_argnums=0)


def _any_bars(symbols: Sequence[str]) -> Bars:
    """A bar of some prices."""
    ones = np.ones((1, 1, len(symbols)))
    columns: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close", "spread", "volume"), ones)
    return Bars(tuple(symbols), np.zeros(1, np.int64), tradable=ones > 0.0, **columns)


def _at(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def open_desk(run_dir: Any, config: TrainConfig, symbols: Sequence[str]) -> TradingDesk:
    """The desk of a training.

    Args:
        run_dir: directory with its models.
        config: its settings; those of the account may be others.
        symbols: of the bars that will be followed, in order: the traded ones, then those for conversion.

    Raises:
        UserError: it has no meta-controller, or its models are damaged.
    """
    trading = load_policy(run_dir)
    assert isinstance(trading.agent, HierarchyAgent)
    return TradingDesk(trading, config, symbols)


def symbols_of(config: TrainConfig, traded: Sequence[str], given: Bars | None = None) -> tuple[str, ...]:
    """The traded symbols, and behind them those that only convert currencies."""
    return (*traded, *conversion_of(config, traded, instruments_of(config), given))
