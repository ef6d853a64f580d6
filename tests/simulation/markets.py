"""Markets of several classes for tests, padded and arranged as in training, from prices or from bars."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.market.universe import Universe, arrange_contracts, arrange_table, universe_of
from mtquant_jax.simulation.anchor import Anchor
from mtquant_jax.simulation.portfolio_env import PortfolioEnv, PortfolioParams
from mtquant_jax.simulation.reward import REWARDS, RewardParams, TermWeights
from mtquant_jax.simulation.specialist_env import SpecialistEnv
from mtquant_jax.types import AssetClass, Contracts, MarketTable, Span
from tests.conftest import f32, make_contracts, make_risk, make_rules, make_table, random_prices

PORTFOLIO_ENV = PortfolioEnv(REWARDS["log_growth"])
STEP = jax.jit(PORTFOLIO_ENV.step_env)
START = jax.jit(PORTFOLIO_ENV.initial_state)
SPECIALIST_ENV = SpecialistEnv(REWARDS["log_growth"])
SPECIALIST_STEP = jax.jit(SPECIALIST_ENV.step_env)
SPECIALIST_START = jax.jit(SPECIALIST_ENV.initial_state)
ALL_IN = 20.0  # a logit at which softmax and sigmoid are 1 in float32
DEFAULT_CLASSES = (
    AssetClass("forex", ("EURUSD", "GBPUSD", "USDJPY"), "forex"),
    AssetClass("commodities", ("XAUUSD", "WTIUSD"), "commodities"),
    AssetClass("equity", ("SPX500", "NAS100", "US30"), "equity"),
)


def make_universe(*sizes: int) -> Universe:
    """Classes ``c0, c1, ...`` of the given sizes, with instruments ``a0, a1, ...``, ``b0, ...``."""
    classes = [
        AssetClass(f"c{index}", tuple(f"{'abcdefgh'[index]}{i}" for i in range(size)))
        for index, size in enumerate(sizes)
    ]
    return universe_of(classes)


def with_classes(table: MarketTable, num_classes: int, seed: int = 0) -> MarketTable:
    """The table with random domain features ``[1, T, S, 2]``, macro indicators and features."""
    generator = np.random.default_rng(seed)
    num_bars = table.close.shape[1]
    return table.replace(
        domain=f32(generator.normal(size=(1, num_bars, num_classes, 2))),
        macro=f32(generator.normal(size=(1, num_bars, 5))),
        features=f32(generator.normal(size=(*table.close.shape, 3))),
    )


def make_portfolio(
    universe: Universe,
    table: MarketTable,
    contracts: Contracts | None = None,
    span=None,
    episode_length: int = 1000,
    meta_interval: int = 4,
    discount: float = 0.9,
    specialists=None,
    **rules,
) -> PortfolioParams:
    """The portfolio of a table in the order of ``universe.symbols``."""
    num_bars, num_instruments = table.close.shape[1:]
    first, last = span or (0, num_bars)
    return PortfolioParams(
        table=arrange_table(table, universe),
        contracts=arrange_contracts(contracts or make_contracts(num_instruments), universe),
        mask=jnp.asarray(universe.mask),
        share=jnp.asarray(universe.share),
        rules=make_rules(**rules),
        risk=make_risk(),
        reward=RewardParams(scale=f32(1.0), risk_aversion=f32(1.0), sharpe_memory=f32(100.0)),
        span=Span(first=jnp.asarray(first, jnp.int32), last=jnp.asarray(last, jnp.int32)),
        max_steps_in_episode=jnp.asarray(episode_length, jnp.int32),
        anchor=Anchor.named("flat", 0.5),
        hole=Span(first=jnp.int32(0), last=jnp.int32(0)),
        path_probability=jnp.full(table.open.shape[0], 1.0 / table.open.shape[0]),
        class_reward=RewardParams(
            scale=jnp.ones(universe.num_classes),
            risk_aversion=jnp.ones(universe.num_classes),
            sharpe_memory=jnp.full(universe.num_classes, 100.0),
        ),
        reward_terms=TermWeights(var=f32(0.0), drawdown=f32(0.0), turnover=f32(0.0), diversification=f32(0.0)),
        meta_interval=jnp.asarray(meta_interval, jnp.int32),
        discount=f32(discount),
        specialists=specialists,
    )


def random_portfolio(*sizes: int, num_bars: int = 60, seed: int = 0, spread=1e-4, commission=3.5, **settings):
    """A universe with classes of the given sizes, and its portfolio on a random walk."""
    universe = make_universe(*sizes)
    opens, closes = random_prices(num_bars, sum(sizes), seed=seed, volatility=5e-3)
    table = with_classes(make_table(opens, closes, spread=spread), len(sizes), seed)
    contracts = make_contracts(sum(sizes), commission=commission)
    return universe, make_portfolio(universe, table, contracts, **settings)


def action_columns(universe: Universe) -> int:
    """Number of columns of the portfolio's actions."""
    return max(universe.width, universe.num_classes + 2)


def join(universe: Universe, trades, meta) -> jnp.ndarray:
    """Actions of all agents from the specialists' ``[S, C]`` and the meta-controller's ``[S + 2]``."""
    action = np.zeros((universe.num_classes + 1, action_columns(universe)), np.float32)
    action[:-1, : universe.width] = trades
    action[-1, : universe.num_classes + 2] = meta
    return f32(action)
