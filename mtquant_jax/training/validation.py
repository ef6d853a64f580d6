"""Trades policies on the validation split, in whole lots as they would be traded: what checkpoints are chosen by."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.tilt import untilted
from mtquant_jax.backtest.performance import Performance, performance
from mtquant_jax.backtest.picture import Picture, picture
from mtquant_jax.backtest.trading import BacktestRecord, backtest
from mtquant_jax.market.prepare import Market
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.market_params import evaluation_params, portfolio_params
from mtquant_jax.statistics.returns import daily_returns, trading_days_per_year
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler


@dataclasses.dataclass(frozen=True)
class Validated:
    """How a policy did on the validation split."""

    performance: Performance  # what is kept of it
    picture: Picture  # what is shown of it
    returns: np.ndarray  # [D, P] of each day and path
    ahead: np.ndarray  # [D, P] what they are beyond the anchor's


@dataclasses.dataclass(frozen=True)
class Validator:
    """The validation split of a market, and the compiled programs that trade it."""

    config: TrainConfig
    market: Market
    compiler: Compiler
    _anchors: dict[Any, np.ndarray] = dataclasses.field(default_factory=dict)  # daily returns of those traded before

    @property
    def days_per_year(self) -> float:
        """Days with bars per year."""
        first, last = self.market.splits.validation
        return trading_days_per_year(self.market.day[first:last])

    def specialist(
        self,
        plan: phases.Plan,
        symbols: Sequence[str],
        policy: Policy,
        whole_lots: bool = True,
        first: int | None = None,
    ) -> Validated:
        """Trade the ``symbols`` of one class by its specialist alone, under the market of its plan.

        Args:
            plan: of its training.
            symbols: of the class.
            policy: the specialist.
            whole_lots: whether orders are rounded to lots.
            first: bar of the first decision; None: the validation split's. As many bars are traded as that has.
        """
        env_params = evaluation_params(plan.env_params, whole_lots)
        agent = phases.specialist_agent(self.config, self.market)  # not the plan's, which may be of less precision
        anchor = functools.partial(untilted, policy)
        return self._traded(plan.program.env, agent, policy, env_params, symbols, anchor, first)

    def portfolio(self, policy: Policy, whole_lots: bool = True, first: int | None = None) -> Validated:
        """Trade all classes by a whole hierarchy; arguments as for `specialist`."""
        env = phases.hierarchy_env(self.config)
        agent = phases.hierarchy_agent(self.config, self.market)
        env_params = evaluation_params(portfolio_params(self.config, self.market), whole_lots)
        classes = self.market.universe.classes
        symbols = [symbol for asset_class in classes for symbol in asset_class.symbols]
        places = [*(asset_class.name for asset_class in classes), "cash"]
        anchor = functools.partial(untilted, policy, phases.neutral_capital(self.config, self.market))
        return self._traded(env, agent, policy, env_params, symbols, anchor, first, places)

    def _traded(
        self,
        env: Any,
        agent: Any,
        policy: Policy,
        env_params: Any,
        symbols: Sequence[str],
        anchor: Callable[[], Policy],
        begin: int | None,
        places: Sequence[str] = (),
    ) -> Validated:
        """Trade the split once, or as many bars from another one on; the last bar is the last that is traded."""
        first, last = self.market.splits.validation
        length = last - first
        first = first if begin is None else begin
        day = self.market.day[first : first + length]

        def traded(policy: Policy) -> BacktestRecord:
            arguments = (policy.params, policy.normalizers, env_params, jnp.asarray(first, jnp.int32))
            return self.compiler(backtest, (env, agent, length - 1), *arguments)(*arguments)

        record = traded(policy)
        returns = daily_returns(np.asarray(record.equity, np.float64), day)
        if self.config.anchor == "flat":
            anchored = np.zeros_like(returns)
        else:
            key = (env, first, tuple(symbols), bool(env_params.rules.round_lots))
            if key not in self._anchors:
                self._anchors[key] = daily_returns(np.asarray(traded(anchor()).equity, np.float64), day)
            anchored = self._anchors[key]
        found = performance(record, day, self.market.stages)
        return Validated(found, picture(record, day, symbols, places), returns, returns - anchored)
