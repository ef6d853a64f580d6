"""Markets with a known best result, as trainings of one specialist in the package's own simulation.

Benchmarks A to D are those of Garleanu and Pedersen (Journal of Finance 2013) in `reference.planted`: quadratic costs
and the mean-variance reward. Market E has a hidden drift and proportional costs. None has a risk layer or margin.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.backtest.baselines import Decision
from mtquant_jax.market.prepare import Market
from mtquant_jax.market.synthetic.parameters import clock
from mtquant_jax.market.universe import universe_of
from mtquant_jax.reference.planted import (
    DRIFT_COST,
    DRIFT_FEATURES,
    DRIFT_VOLATILITY,
    Case,
    PlantedProblem,
    drift_market,
    planted_market,
)
from mtquant_jax.settings.config import RewardConfig, RiskConfig, SpecialistConfig, TrainConfig
from mtquant_jax.simulation.execution import change_to
from mtquant_jax.simulation.specialist_env import SpecialistObservation
from mtquant_jax.types import AssetClass, Bars, Contracts, MarketTable, Splits

CLASS = "planted"
"""Name of the only asset class."""

_ROOM = 4.5  # size of a full position, in standard deviations of the optimal holdings
_BARS_PER_DAY = 24


@dataclasses.dataclass(frozen=True)
class GroundTruth:
    """A training with a known best result."""

    config: TrainConfig
    market: Market
    problem: PlantedProblem | None  # of A to D; None for E

    @property
    def utility_scale(self) -> float:
        """Divisor that converts rewards of a bar into the units of the table in docs/learning.md."""
        if self.problem is not None:
            return float(self.market.class_scale[0] * self.problem.scale)
        return float(self.market.class_scale[0] * DRIFT_VOLATILITY)


def quadratic_costs(base: TrainConfig, case: Case, seed: int, num_paths: int, num_bars: int) -> GroundTruth:
    """Build benchmark A, B, C or D, whose features are the factors themselves."""
    bars, factors, problem = planted_market(jax.random.key(seed), num_paths, num_bars, case)
    holdings = problem.best_holdings_covariance
    size = len(problem.loadings)
    scale = float(
        1.0 / np.sqrt(np.trace(problem.covariance @ holdings))
    )  # scaled returns of the optimal holdings are about 1 per bar
    features = jnp.broadcast_to(factors[:, :, None, :], (num_paths, num_bars, size, factors.shape[-1]))
    config = _config(
        base,
        bars.symbols,
        leverage=float(_ROOM * np.sqrt(np.diag(holdings)).max() * size),
        impact=problem.cost,
        reward=RewardConfig("mean_variance", risk_aversion=problem.risk_aversion / scale),
    )
    return GroundTruth(config, _market(bars, features, problem.covariance, scale), problem)


def hidden_drift(base: TrainConfig, seed: int, num_paths: int, num_bars: int) -> GroundTruth:
    """Build market E: three instruments, five trend features each, weights in [-1, 1], proportional costs."""
    bars, features = drift_market(jax.random.key(seed), num_paths, num_bars)
    size = len(bars.symbols)
    config = _config(base, bars.symbols, leverage=float(size), impact=0.0, reward=RewardConfig("log_growth"))
    covariance = DRIFT_VOLATILITY**2 * np.eye(size)
    scale = float(1.0 / (DRIFT_VOLATILITY * np.sqrt(size)))
    return GroundTruth(config, _market(bars, features, covariance, scale, slippage=DRIFT_COST), None)


@dataclasses.dataclass(frozen=True)
class BestTrading:
    """The optimal policy of a planted problem as an agent: a partial step towards the aim portfolio per bar."""

    trade_rate: float
    aim: tuple[tuple[float, ...], ...]  # [N, K] aim portfolio per unit of factor

    @classmethod
    def of(cls, problem: PlantedProblem) -> BestTrading:
        """Build the optimal policy of a problem."""
        return cls(problem.trade_rate, tuple(tuple(row) for row in problem.aim_loadings.tolist()))

    def inputs(self, observation: SpecialistObservation, env_params: Any) -> SpecialistObservation:
        """The observation; `policy` looks up the factors in the table."""
        return observation

    def policy(self, params: Any, normalizers: Any, inputs: SpecialistObservation, env_params: Any) -> Decision:
        """Changes of relative weight ``[..., 1, N]``."""
        factors = env_params.table.features[inputs.path, inputs.bar, 0]
        full = env_params.rules.leverage * env_params.share[0]
        # A sum of products keeps full float32 precision, also on GPUs.
        aim = jnp.sum(factors[..., None, :] * jnp.asarray(self.aim, jnp.float32), axis=-1) / full
        wanted = inputs.relative_weights + self.trade_rate * (aim - inputs.relative_weights)
        return Decision(change_to(wanted, inputs.tilt, env_params.rules, inputs.anchor)[..., None, :])

    def env_action(self, action: jax.Array) -> jax.Array:
        """``[..., 1, N] -> [..., N]``."""
        return action[..., 0, :]


@dataclasses.dataclass(frozen=True)
class TunedRule:
    """The best of a tuned family of rules on market E: the sign of one trend, updated only beyond a threshold."""

    span: int = 20
    threshold: float = 0.5

    def __call__(self, observation: SpecialistObservation, table: MarketTable) -> jax.Array:
        """Wanted relative weights ``[..., C]``."""
        trend = table.features[observation.path, observation.bar][..., DRIFT_FEATURES.index(self.span)]
        return jnp.where(jnp.abs(trend) > self.threshold, jnp.sign(trend), observation.relative_weights)


def _config(
    base: TrainConfig, symbols: tuple[str, ...], leverage: float, impact: float, reward: RewardConfig
) -> TrainConfig:
    """Replace symbols, account, reward and risk of the settings by those of the problem; PPO is unchanged."""
    settings = dataclasses.replace(next(iter(base.specialists.values())), symbols=symbols, domain="generic")
    limits = {field.name: 0.0 for field in dataclasses.fields(RiskConfig)}
    limits |= {"correlation_threshold": 0.7, "var_confidence": 0.95}
    return dataclasses.replace(
        base,
        specialists={CLASS: SpecialistConfig(**dataclasses.asdict(settings))},
        simulation=dataclasses.replace(base.simulation, leverage=leverage, impact=impact),
        reward=reward,
        risk=RiskConfig(**limits),
    )


def _market(bars: Bars, features: jax.Array, covariance: np.ndarray, scale: float, slippage: float = 0.0) -> Market:
    """Build the market of one class whose only costs are impact and slippage (share of the per-bar volatility)."""
    num_paths, num_bars, size = bars.close.shape
    ones, zeros, sides = jnp.ones(size), jnp.zeros(size), jnp.zeros((2, size))
    one = jnp.ones((num_paths, num_bars, size))
    universe = universe_of([AssetClass(CLASS, bars.symbols)])
    day = np.arange(num_bars) // _BARS_PER_DAY
    table = MarketTable(
        open=jnp.asarray(bars.open),
        close=jnp.asarray(bars.close),
        spread=jnp.zeros_like(one),
        tradable=one > 0.0,
        conversion_open=one,
        conversion_close=one,
        fee_conversion=one,
        swap_nights=jnp.zeros((num_bars, size)),
        features=features,
        domain=jnp.zeros((num_paths, num_bars, 1, 1)),
        macro=jnp.zeros((num_paths, num_bars, 1)),
        covariance=jnp.broadcast_to(jnp.asarray(covariance, jnp.float32), (num_paths, num_bars, size, size)),
        day=jnp.asarray(day, jnp.int32),
    )
    contracts = Contracts(
        contract_size=ones,
        commission=zeros,
        margin_rate=zeros,
        slippage=zeros,
        slippage_volatility=slippage * ones,
        swap_price=sides,
        swap_money=sides,
        swap_rate=sides,
        min_lot=1e-6 * ones,
        lot_step=1e-6 * ones,
        max_lot=1e9 * ones,
    )
    volatility = np.sqrt(np.diag(covariance))[None]
    whole = (0, num_bars)
    return Market(
        universe=universe,
        table=table,
        contracts=contracts,
        splits=Splits(whole, whole, whole),
        day=day,
        bars_per_day=float(_BARS_PER_DAY),
        timestamps=clock(num_bars),
        class_scale=np.array([scale]),
        portfolio_scale=scale,
        costs=slippage * volatility,
        volatility=volatility,
        description=f"planted market of {size} instruments on {num_paths} paths",
        notices=(),
    )
