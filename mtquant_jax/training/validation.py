"""Trades policies on the validation split, in whole lots as they would be traded: what checkpoints are chosen by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.performance import Performance, performance
from mtquant_jax.backtest.picture import Picture, picture
from mtquant_jax.backtest.trading import backtest
from mtquant_jax.market.prepare import Market
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.market_params import evaluation_params, portfolio_params
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler


@dataclasses.dataclass(frozen=True)
class Validated:
    """How a policy did on the validation split."""

    performance: Performance  # what is kept of it
    picture: Picture  # what is shown of it


@dataclasses.dataclass(frozen=True)
class Validator:
    """The validation split of a market, and the compiled programs that trade it."""

    config: TrainConfig
    market: Market
    compiler: Compiler

    def specialist(
        self, plan: phases.Plan, symbols: Sequence[str], policy: Policy, whole_lots: bool = True
    ) -> Validated:
        """Trade the ``symbols`` of one class by its specialist alone, under the market and the agent of its plan."""
        env_params = evaluation_params(plan.env_params, whole_lots)
        return self._traded(plan.program.env, plan.program.agent, policy, env_params, symbols)

    def portfolio(self, policy: Policy, whole_lots: bool = True) -> Validated:
        """Trade all classes by a whole hierarchy."""
        env = phases.hierarchy_env(self.config)
        agent = phases.hierarchy_agent(self.config, self.market)
        env_params = evaluation_params(portfolio_params(self.config, self.market), whole_lots)
        classes = self.market.universe.classes
        symbols = [symbol for asset_class in classes for symbol in asset_class.symbols]
        places = [*(asset_class.name for asset_class in classes), "cash"]
        return self._traded(env, agent, policy, env_params, symbols, places)

    def _traded(
        self,
        env: Any,
        agent: Any,
        policy: Policy,
        env_params: Any,
        symbols: Sequence[str],
        places: Sequence[str] = (),
    ) -> Validated:
        """Trade the split once; its last bar is the last that is traded."""
        first, last = self.market.splits.validation
        arguments = (policy.params, policy.normalizers, env_params, jnp.asarray(first, jnp.int32))
        compiled = self.compiler(backtest, (env, agent, last - first - 1), *arguments)
        record, day = compiled(*arguments), self.market.day[first:last]
        return Validated(performance(record, day, self.market.stages), picture(record, day, symbols, places))
