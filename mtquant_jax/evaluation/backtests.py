"""Everything that is traded for an evaluation: the run's policies, rules, other costs, a bar of delay, stress.

Variants of one program are vmapped, and the programs run side by side, since a scan over bars keeps one core busy only
in part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.agents.hierarchy import stack, unstack
from mtquant_jax.agents.tilt import untilted
from mtquant_jax.backtest.baselines import BASELINES, RulePortfolio
from mtquant_jax.backtest.trading import BacktestRecord, Conditions, trade_variants
from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.evaluation_bars import EvaluationBars
from mtquant_jax.market.features import LOOK_BACK_BARS
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.market.synthetic.scenarios import STAGES
from mtquant_jax.runs.trained_run import TrainedRun
from mtquant_jax.settings.config import MarketConfig, TrainConfig
from mtquant_jax.simulation.market_params import class_params, evaluation_params, portfolio_params
from mtquant_jax.simulation.portfolio_env import PortfolioParams
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.trainer import HierarchyPolicies
from mtquant_jax.types import Splits

ANCHOR = "anchor"
"""What policies tilt, where that is not a flat account."""
EQUAL = "equal allocation"
AFTER = {2: "after phase 2", 3: "after phase 3"}
COSTS = (0.0, 1.0, 2.0, 3.0)
"""Multiples of all costs and swaps that the last phase's policy is traded with."""

COMPILER = Compiler()
"""Keeps the programs of every evaluation of this process."""

_STRESS_PATHS, _STRESS_BARS, _STRESS_SEED = 4, 1500, 7919
_OTHER_COSTS = tuple(cost for cost in COSTS if cost != 1.0)
_WORKERS = 4


@dataclasses.dataclass(frozen=True)
class Traded:
    """Records of everything that was traded, as NumPy arrays; all but the stress over the same bars."""

    specialists: dict[str, BacktestRecord]  # class -> alone on its market, detailed
    portfolios: dict[str, BacktestRecord]  # anchor, equal allocation, after phase 2, after phase 3; detailed
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


def trade_all(run: TrainedRun, judged: EvaluationBars, policies: HierarchyPolicies) -> Traded:
    """Trade everything."""
    hierarchies = _hierarchies(run, judged.market, policies)
    with ThreadPoolExecutor(_WORKERS) as pool:
        stress = pool.submit(_trade_stress, run, hierarchies[list(hierarchies)[-1]])
        variants = _Variants.of(run.config, judged, hierarchies)
        front = pool.submit(variants.trade, slice(None, variants.half))
        back = pool.submit(variants.trade, slice(variants.half, None))
        like = len(hierarchies) - 1
        rules = pool.submit(trade_baselines, run.config, judged, lambda: mean_turnover(front.result()[like]))
        alone = pool.submit(_trade_specialists, run.config, judged, policies.specialists)
        single = front.result() + back.result()
        portfolios = dict(zip(hierarchies, single, strict=False))
        *costs, late, unrounded = single[len(hierarchies) :]
        slim = [dataclasses.replace(record, detail=None) for record in (*costs, single[len(hierarchies) - 1], late)]
        by_cost = dict(zip((*_OTHER_COSTS, 1.0), slim, strict=False))
        return Traded(
            specialists=alone.result(),
            portfolios=portfolios,
            baselines=rules.result(),
            costs={cost: by_cost[cost] for cost in COSTS},
            late=slim[-1],
            unrounded=unrounded,
            **stress.result(),
        )


def _hierarchies(run: TrainedRun, market: Market, policies: HierarchyPolicies) -> dict[str, Policy]:
    """All agents, phase by phase; a run without phase 2 ends with equal allocation."""
    specialists = phases.stacked_specialists(policies.specialists)
    meta = policies.meta if policies.meta is not None else phases.start_meta(run.config, market)
    found = anchor_of(run.config, market, phases.hierarchy(specialists, meta))
    found[EQUAL] = phases.hierarchy(specialists, phases.equal_allocation(meta))
    if policies.meta is not None:
        found[AFTER[2]] = phases.hierarchy(specialists, policies.meta)
    if policies.portfolio is not None:
        found[AFTER[3]] = policies.portfolio
    return found


def anchor_of(config: TrainConfig, market: Market, hierarchy: Policy) -> dict[str, Policy]:
    """The anchor by its name, as a hierarchy without tilts; nothing where it is a flat account."""
    if config.anchor == "flat":
        return {}
    return {ANCHOR: untilted(hierarchy, phases.neutral_capital(config, market))}


@dataclasses.dataclass(frozen=True)
class _Variants:
    """All that a hierarchy trades: phase by phase; then the last at other costs, a bar late and without lot rounding.

    They are traded in two parts, each on a core, by one program for `half` of them.
    """

    policies: Sequence[Policy]
    conditions: Conditions  # [V]
    market: PortfolioParams
    first: np.int32
    program: Any

    @property
    def half(self) -> int:
        """Of an odd number the larger one."""
        return (len(self.policies) + 1) // 2

    @classmethod
    def of(cls, config: TrainConfig, judged: EvaluationBars, hierarchies: Mapping[str, Policy]) -> _Variants:
        """Compile their program."""
        phase_by_phase = list(hierarchies.values())
        count = len(phase_by_phase) + len(_OTHER_COSTS) + 2
        conditions = Conditions(
            costs=np.asarray([1.0] * len(phase_by_phase) + [*_OTHER_COSTS, 1.0, 1.0], np.float32),
            late=np.arange(count) == count - 2,
            whole_lots=np.arange(count) != count - 1,
        )
        policies = phase_by_phase + phase_by_phase[-1:] * (count - len(phase_by_phase))
        market = evaluation_params(portfolio_params(config, judged.market))
        variants = cls(policies, conditions, market, np.int32(judged.first), None)
        static = phases.hierarchy_env(config), phases.hierarchy_agent(config, judged.market), judged.num_steps
        arguments = variants._arguments(slice(None, variants.half))
        return dataclasses.replace(variants, program=COMPILER(trade_variants, static, *arguments, detailed=True))

    def trade(self, part: slice) -> list[BacktestRecord]:
        """Trade one half, the first or the rest."""
        wanted = range(len(self.policies))[part]
        whole = slice(min(wanted.start, len(self.policies) - self.half), wanted.stop)
        return apart(self.program(*self._arguments(whole)), self.half)[wanted.start - whole.start :]

    def _arguments(self, part: slice) -> tuple[Any, ...]:
        return (
            stack([policy.params for policy in self.policies[part]]),
            stack([policy.normalizers for policy in self.policies[part]]),
            self.market,
            self.first,
            jax.tree.map(lambda leaf: leaf[part], self.conditions),
        )


def mean_turnover(record: BacktestRecord) -> float:
    """Value traded / equity per bar, mean over bars and paths."""
    return float(np.asarray(record.turnover, np.float64).mean())


def trade_baselines(
    config: TrainConfig, judged: EvaluationBars, turnover: Callable[[], float]
) -> dict[str, BacktestRecord]:
    """The rules on all instruments, under equal allocation and the portfolio's costs and limits.

    Args:
        config: the settings.
        judged: the bars.
        turnover: asked once their program is compiled; value traded / equity per bar that the random rule is to have,
            before limits and lot rounding.
    """
    static, arguments = _of_baselines(config, judged, 0.0)
    program = COMPILER(trade_variants, static, *arguments)
    _, arguments = _of_baselines(config, judged, turnover())
    return dict(zip(BASELINES, apart(program(*arguments), len(BASELINES)), strict=True))


def _of_baselines(
    config: TrainConfig, judged: EvaluationBars, turnover: float
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Static and other arguments of `trade_variants`."""
    num_classes = judged.market.universe.num_classes
    # Equal allocation gives each class 1 / (S + 1) at half the risk appetite, and a class's shares sum to one.
    used = config.simulation.leverage * 0.5 * num_classes / (num_classes + 1)
    return (phases.hierarchy_env(config), RulePortfolio(), judged.num_steps), (
        stack([RulePortfolio.params(name, turnover / used) for name in BASELINES]),
        {},
        evaluation_params(portfolio_params(config, judged.market)),
        np.int32(judged.first),
        Conditions.usual(len(BASELINES)),
    )


def _trade_specialists(
    config: TrainConfig, judged: EvaluationBars, policies: Sequence[Policy]
) -> dict[str, BacktestRecord]:
    market = judged.market
    num_classes = market.universe.num_classes
    static = phases.specialist_env(config.reward.objective), phases.specialist_agent(config, market), judged.num_steps
    arguments = (
        stack([policy.params for policy in policies]),
        stack([policy.normalizers for policy in policies]),
        stack([evaluation_params(class_params(config, market, index)) for index in range(num_classes)]),
        np.int32(judged.first),
        Conditions.usual(num_classes),
    )
    records = COMPILER(trade_variants, static, *arguments, detailed=True, own_markets=True)(*arguments)
    names = [asset_class.name for asset_class in market.universe.classes]
    return dict(zip(names, apart(records, len(names)), strict=True))


def _trade_stress(run: TrainedRun, policy: Policy) -> dict[str, Any]:
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
        return {"stress": None, "stress_day": None, "stress_notice": f"no stress scenarios: {error}"}
    stressed = dataclasses.replace(stressed, portfolio_scale=float(run.results[1]["scales"]["portfolio"]))
    static = phases.hierarchy_env(config), phases.hierarchy_agent(config, stressed), _STRESS_BARS - 1
    arguments = (
        stack([policy.params]),
        stack([policy.normalizers]),
        evaluation_params(portfolio_params(config, stressed)),
        np.int32(span[0]),
        Conditions.usual(1),
    )
    record = COMPILER(trade_variants, static, *arguments)(*arguments)
    assert stressed.stages == STAGES
    return {"stress": apart(record, 1)[0], "stress_day": stressed.day[span[0] : span[1]], "stress_notice": ""}


def apart(records: BacktestRecord, count: int) -> list[BacktestRecord]:
    """Vmapped records as NumPy arrays, one by one."""
    host = jax.device_get(records)
    return [unstack(host, index) for index in range(count)]
