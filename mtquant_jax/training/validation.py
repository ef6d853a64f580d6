"""Trades policies on the validation split, in whole lots as they would be traded: what checkpoints are chosen by."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.performance import Performance, performance
from mtquant_jax.backtest.trading import backtest
from mtquant_jax.market.prepare import Market
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.market_params import evaluation_params, portfolio_params
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler


@dataclasses.dataclass(frozen=True)
class Validator:
    """The validation split of a market, and the compiled programs that trade it."""

    config: TrainConfig
    market: Market
    compiler: Compiler

    def specialist(self, plan: phases.Plan, policy: Policy, whole_lots: bool = True) -> Performance:
        """Performance of one class's specialist alone, under the market and the agent of its plan."""
        env_params = evaluation_params(plan.env_params, whole_lots)
        return self._performance(plan.program.env, plan.program.agent, policy, env_params)

    def portfolio(self, policy: Policy, whole_lots: bool = True) -> Performance:
        """Performance of a whole hierarchy."""
        env = phases.hierarchy_env(self.config)
        agent = phases.hierarchy_agent(self.config, self.market)
        env_params = evaluation_params(portfolio_params(self.config, self.market), whole_lots)
        return self._performance(env, agent, policy, env_params)

    def _performance(self, env: Any, agent: Any, policy: Policy, env_params: Any) -> Performance:
        """Trade the split once; its last bar is the last that is traded."""
        first, last = self.market.splits.validation
        arguments = (policy.params, policy.normalizers, env_params, jnp.asarray(first, jnp.int32))
        compiled = self.compiler(backtest, (env, agent, last - first - 1), *arguments)
        return performance(compiled(*arguments), self.market.day[first:last], self.market.stages)
