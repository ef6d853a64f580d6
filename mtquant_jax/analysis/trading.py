"""Everything that is traded for an evaluation: the run's policies, rules, other costs, a bar of delay, stress.

Variants of one program are vmapped, and the programs run side by side, since a scan over bars keeps one core busy only
in part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from mtquant_jax.agents.hierarchy import stack, unstack
from mtquant_jax.analysis.trained_run import Judged, Policies, TrainedRun
from mtquant_jax.config import MarketConfig, TrainConfig
from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.backtest import BacktestRecord, Conditions, trade_variants
from mtquant_jax.evaluation.rules import BASELINES, RulePortfolio
from mtquant_jax.market.features import LOOK_BACK_BARS
from mtquant_jax.training import phases
from mtquant_jax.training.curriculum import STAGES
from mtquant_jax.training.market_params import class_params, evaluation_params, portfolio_params
from mtquant_jax.training.market_setup import Market, prepare_market
from mtquant_jax.training.phases import Policy
from mtquant_jax.types import Splits

EQUAL = "equal allocation"
AFTER = {2: "after phase 2", 3: "after phase 3"}
COSTS = (0.0, 1.0, 2.0, 3.0)
"""Multiples of all costs and swaps that the last phase's policy is traded with."""

_STRESS_PATHS, _STRESS_BARS, _STRESS_SEED = 4, 1500, 7919
_WORKERS = 3


@dataclasses.dataclass(frozen=True)
class Traded:
    """Records of everything that was traded, as NumPy arrays; all but the stress over the same bars."""

    specialists: dict[str, BacktestRecord]  # class -> alone on its market, detailed
    portfolios: dict[str, BacktestRecord]  # equal allocation, after phase 2, after phase 3; detailed
    baselines: dict[str, BacktestRecord]  # rule -> on all instruments under equal allocation
    costs: dict[float, BacktestRecord]  # multiple of the costs -> the last portfolio
    late: BacktestRecord  # the last portfolio, every decision a bar late
    unrounded: BacktestRecord  # the last portfolio, orders not rounded to lots; detailed
    stress: BacktestRecord | None  # the last portfolio on synthetic paths, scenario by scenario
    stress_day: np.ndarray | None  # [L + 1] days of its bars
    stress_notice: str  # why there is none

    @property
    def last(self) -> str:
        """Name of the last phase's portfolio: what would be traded."""
        return list(self.portfolios)[-1]


def trade_all(run: TrainedRun, judged: Judged, policies: Policies) -> Traded:
    """Trade everything."""
    hierarchies = _hierarchies(run, judged.market, policies)
    last = hierarchies[list(hierarchies)[-1]]
    with ThreadPoolExecutor(_WORKERS) as pool:
        portfolios = pool.submit(_trade_portfolios, run.config, judged, hierarchies)
        alone = pool.submit(_trade_specialists, run.config, judged, policies.specialists)
        stress = pool.submit(_trade_stress, run, last)
        records, costs, late, unrounded = portfolios.result()
        rules = pool.submit(trade_baselines, run.config, judged, mean_turnover(list(records.values())[-1]))
        return Traded(alone.result(), records, rules.result(), costs, late, unrounded, *stress.result())


def _hierarchies(run: TrainedRun, market: Market, policies: Policies) -> dict[str, Policy]:
    """All agents, phase by phase; a run without phase 2 ends with equal allocation."""
    specialists = phases.stacked_specialists(policies.specialists)
    meta = policies.meta if policies.meta is not None else phases.start_meta(run.config, market)
    found = {EQUAL: phases.hierarchy(specialists, phases.equal_allocation(meta))}
    if policies.meta is not None:
        found[AFTER[2]] = phases.hierarchy(specialists, policies.meta)
    if policies.portfolio is not None:
        found[AFTER[3]] = policies.portfolio
    return found


def _trade_portfolios(
    config: TrainConfig, judged: Judged, hierarchies: Mapping[str, Policy]
) -> tuple[dict[str, BacktestRecord], dict[float, BacktestRecord], BacktestRecord, BacktestRecord]:
    """Phase by phase; then the last one at other costs, a bar late and without lot rounding."""
    names, other_costs = list(hierarchies), [cost for cost in COSTS if cost != 1.0]
    count = len(names) + len(other_costs) + 2
    variants = [hierarchies[name] for name in names] + [hierarchies[names[-1]]] * (count - len(names))
    conditions = Conditions(
        costs=np.asarray([1.0] * len(names) + other_costs + [1.0, 1.0], np.float32),
        late=np.arange(count) == count - 2,
        whole_lots=np.arange(count) != count - 1,
    )
    static = phases.hierarchy_env(config), phases.hierarchy_agent(config, judged.market), judged.num_steps
    market = evaluation_params(portfolio_params(config, judged.market))

    def arguments(half: slice) -> tuple[Any, ...]:
        return (
            stack([policy.params for policy in variants[half]]),
            stack([policy.normalizers for policy in variants[half]]),
            market,
            np.int32(judged.first),
            jax.tree.map(lambda leaf: leaf[half], conditions),
        )

    # Two halves of one size, so that one program serves both, each on a core; of an odd number they share one.
    size = (count + 1) // 2
    first, second = arguments(slice(0, size)), arguments(slice(count - size, None))
    compiled = trade_variants.lower(*static, *first, detailed=True).compile()
    with ThreadPoolExecutor(2) as pool:
        halves = pool.map(lambda half: apart(compiled(*half), size), (first, second))
        front, back = halves
    *single, late, unrounded = front + back[2 * size - count :]
    portfolios, last = dict(zip(names, single, strict=False)), single[len(names) - 1]
    slim = [dataclasses.replace(record, detail=None) for record in (*single[len(names) :], last, late)]
    by_cost = dict(zip((*other_costs, 1.0), slim, strict=False))
    return portfolios, {cost: by_cost[cost] for cost in COSTS}, slim[-1], unrounded


def mean_turnover(record: BacktestRecord) -> float:
    """Value traded / equity per bar, mean over bars and paths."""
    return float(np.asarray(record.turnover, np.float64).mean())


def trade_baselines(config: TrainConfig, judged: Judged, turnover: float) -> dict[str, BacktestRecord]:
    """The rules on all instruments, under equal allocation and the portfolio's costs and limits.

    Args:
        config: the settings.
        judged: the bars.
        turnover: value traded / equity per bar that the random rule is to have, before limits and lot rounding.
    """
    num_classes = judged.market.universe.num_classes
    # Equal allocation gives each class 1 / (S + 1) at half the risk appetite, and a class's shares sum to one.
    used = config.simulation.leverage * 0.5 * num_classes / (num_classes + 1)
    records = trade_variants(
        phases.hierarchy_env(config),
        RulePortfolio(),
        judged.num_steps,
        stack([RulePortfolio.params(name, turnover / used) for name in BASELINES]),
        {},
        evaluation_params(portfolio_params(config, judged.market)),
        np.int32(judged.first),
        Conditions.usual(len(BASELINES)),
    )
    return dict(zip(BASELINES, apart(records, len(BASELINES)), strict=True))


def _trade_specialists(config: TrainConfig, judged: Judged, policies: Sequence[Policy]) -> dict[str, BacktestRecord]:
    market = judged.market
    num_classes = market.universe.num_classes
    records = trade_variants(
        phases.specialist_env(config.reward.objective),
        phases.specialist_agent(config, market),
        judged.num_steps,
        stack([policy.params for policy in policies]),
        stack([policy.normalizers for policy in policies]),
        stack([evaluation_params(class_params(config, market, index)) for index in range(num_classes)]),
        np.int32(judged.first),
        Conditions.usual(num_classes),
        detailed=True,
        own_markets=True,
    )
    names = [asset_class.name for asset_class in market.universe.classes]
    return dict(zip(names, apart(records, len(names)), strict=True))


def _trade_stress(run: TrainedRun, policy: Policy) -> tuple[BacktestRecord | None, np.ndarray | None, str]:
    """The portfolio on fresh synthetic paths of every scenario, with the edge that its training market had, if any."""
    trained = run.config
    market = MarketConfig(
        num_paths=2 * _STRESS_PATHS,
        num_bars=LOOK_BACK_BARS + _STRESS_BARS,
        edge=0.0 if trained.data_dir else trained.market.edge,
        calibration=trained.market.calibration,
    )
    config = dataclasses.replace(
        trained, data_dir="", curriculum=True, market=market, seed=_STRESS_SEED, timeframe=TrainConfig().timeframe
    )
    span = (LOOK_BACK_BARS, market.num_bars)
    try:
        stressed = prepare_market(config, lambda timestamps: Splits(span, span, span))
    except UserError as error:
        return None, None, f"no stress scenarios: {error}"
    stressed = dataclasses.replace(stressed, portfolio_scale=float(run.results[1]["scales"]["portfolio"]))
    record = trade_variants(
        phases.hierarchy_env(config),
        phases.hierarchy_agent(config, stressed),
        _STRESS_BARS - 1,
        stack([policy.params]),
        stack([policy.normalizers]),
        evaluation_params(portfolio_params(config, stressed)),
        np.int32(span[0]),
        Conditions.usual(1),
    )
    assert stressed.stages == STAGES
    return apart(record, 1)[0], stressed.day[span[0] : span[1]], ""


def apart(records: BacktestRecord, count: int) -> list[BacktestRecord]:
    """Vmapped records as NumPy arrays, one by one."""
    host = jax.device_get(records)
    return [unstack(host, index) for index in range(count)]
