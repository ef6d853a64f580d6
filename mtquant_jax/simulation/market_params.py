"""Turns a market and its settings into the parameters of environments: pytrees whose numbers are all traced."""

from __future__ import annotations

import dataclasses
from statistics import NormalDist
from typing import Any

import jax
import numpy as np

from mtquant_jax.market.prepare import Market
from mtquant_jax.market.universe import class_contracts, class_table
from mtquant_jax.settings.config import RewardConfig, TrainConfig
from mtquant_jax.simulation.anchor import Anchor
from mtquant_jax.simulation.execution import AccountRules
from mtquant_jax.simulation.market_env import MarketParams
from mtquant_jax.simulation.portfolio_env import PortfolioParams
from mtquant_jax.simulation.reward import RewardParams, TermWeights
from mtquant_jax.simulation.risk import NO_LIMIT, RiskRules
from mtquant_jax.types import Span


def class_params(
    config: TrainConfig, market: Market, index: int, split: str = "train", like: MarketParams | None = None
) -> MarketParams:
    """Parameters of the market of one class over one split; ``like`` those of other settings, whose arrays it shares.

    Everything that settings do not change is then the same arrays.
    """
    universe = market.universe
    of_settings: dict[str, Any] = {
        "rules": _rules(config),
        # A specialist alone trades its whole class: limits on shares of the portfolio do not apply.
        "risk": _risk(config, market, alone=True),
        "reward": _reward(config.reward, market.class_scale[index]),
        "anchor": Anchor.named(config.anchor, config.anchor_size),
        "max_steps_in_episode": integer(config.simulation.episode_length),
    }
    if like is not None:
        return dataclasses.replace(like, **of_settings)
    return MarketParams(
        table=class_table(market.table, universe, index),
        contracts=class_contracts(market.contracts, universe, index),
        mask=jax.device_put(universe.mask[index : index + 1]),
        share=jax.device_put(universe.share[index : index + 1]),
        span=_span(market, split),
        hole=NO_BARS,
        path_probability=_equally(market),
        **of_settings,
    )


def portfolio_params(
    config: TrainConfig, market: Market, split: str = "train", specialists: Any = None
) -> PortfolioParams:
    """Parameters of the market of all classes over one split; ``specialists`` act inside `AllocationEnv`."""
    return PortfolioParams(
        table=market.table,
        contracts=market.contracts,
        mask=jax.device_put(market.universe.mask),
        share=jax.device_put(market.universe.share),
        rules=_rules(config),
        risk=_risk(config, market, alone=False),
        reward=_reward(config.portfolio_reward, market.portfolio_scale),
        span=_span(market, split),
        hole=NO_BARS,
        anchor=Anchor.named(config.anchor, config.anchor_size),
        max_steps_in_episode=integer(config.simulation.episode_length),
        path_probability=_equally(market),
        class_reward=_reward(config.reward, market.class_scale),
        reward_terms=TermWeights(
            var=scalar(config.portfolio_reward.var_weight),
            drawdown=scalar(config.portfolio_reward.drawdown_weight),
            turnover=scalar(config.portfolio_reward.turnover_weight),
            diversification=scalar(config.portfolio_reward.diversification_weight),
        ),
        meta_interval=integer(config.meta_controller.interval),
        discount=scalar(config.ppo.gamma),
        specialists=specialists,
    )


def bars_between(first: int, last: int) -> Span:
    """The bars from ``first`` to before ``last``."""
    return Span(first=integer(first), last=integer(last))


NO_BARS = Span(first=np.zeros((), np.int32), last=np.zeros((), np.int32))  # type: ignore[arg-type]
"""None; one object, so that vmapped trainings have it once, and on the host, so that no trace gets into it."""


def evaluation_params(env_params: Any, whole_lots: bool = True) -> Any:
    """The same parameters for evaluation and trading: orders in whole lot steps."""
    rules = dataclasses.replace(env_params.rules, round_lots=jax.device_put(np.asarray(whole_lots)))
    return dataclasses.replace(env_params, rules=rules)


def scalar(value: Any) -> jax.Array:
    """Strongly typed float32 array, so that a changed number never triggers another compilation.

    `jax.numpy.asarray` would compile a program for every new shape.
    """
    return jax.device_put(np.asarray(value, np.float32))


def integer(value: int) -> jax.Array:
    """Strongly typed int32 array, as `scalar`."""
    return jax.device_put(np.asarray(value, np.int32))


def _rules(config: TrainConfig) -> AccountRules:
    simulation = config.simulation
    return AccountRules(
        stop_out_level=scalar(simulation.stop_out_level),
        ruin_level=scalar(simulation.ruin_level),
        cost_multiplier=scalar(simulation.cost_multiplier),
        impact=scalar(simulation.impact),
        round_lots=jax.device_put(np.asarray(False)),
        initial_capital=scalar(simulation.initial_capital),
        leverage=scalar(simulation.leverage),
        trade_decay=scalar(simulation.trade_decay),
    )


def _risk(config: TrainConfig, market: Market, alone: bool) -> RiskRules:
    """Limits of the risk layer; those on shares of the portfolio are off for a specialist alone."""
    risk = config.risk

    def limit(value: float) -> jax.Array:
        return scalar(value if value > 0.0 else NO_LIMIT)

    def share(value: float) -> jax.Array:
        return scalar(NO_LIMIT) if alone else limit(value)

    return RiskRules(
        instrument_limit=share(risk.instrument_limit),
        class_limit=share(risk.class_limit),
        correlation_threshold=scalar(risk.correlation_threshold),
        correlation_limit=share(risk.correlation_limit),
        gross_limit=share(risk.gross_limit),
        margin_limit=limit(risk.margin_limit),
        var_limit=limit(risk.var_limit),
        var_z=scalar(NormalDist().inv_cdf(risk.var_confidence)),
        bars_per_day=scalar(market.bars_per_day),
        halving_loss=limit(risk.halving_loss),
        reduction_loss=limit(risk.reduction_loss),
        flattening_loss=limit(risk.flattening_loss),
    )


def _reward(config: RewardConfig, scale: float | np.ndarray) -> RewardParams:
    """Parameters of an objective, in the shape of its scale: one number or one per class."""
    return RewardParams(
        scale=scalar(scale),
        risk_aversion=scalar(np.broadcast_to(config.risk_aversion, np.shape(scale))),
        sharpe_memory=scalar(np.broadcast_to(config.sharpe_memory, np.shape(scale))),
    )


def _equally(market: Market) -> jax.Array:
    """Equal probability for all paths ``[P]``."""
    num_paths = market.table.open.shape[0]
    return scalar(np.full(num_paths, 1.0 / num_paths))


def _span(market: Market, split: str) -> Span:
    return bars_between(*getattr(market.splits, split))
