"""Comparison of rewards of the meta-controller: phase 2 under several portfolio rewards, on fresh markets.

    python benchmarks/portfolio_rewards.py [--seeds 3]

Phase 1 is trained once per seed; every reward then trains phase 2 on the same specialists. The table shows the lead
over equal allocation of the same specialists, seed by seed: annual Sharpe ratio and net growth per bar.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import tyro
from edge import FRESH, MARKETS, Judge, check_seeds, interval_of
from recording import RESULTS, store

from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.settings.config import MarketConfig, PortfolioRewardConfig, TrainConfig
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.training import phases
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.trainer import train_phases

_SHARPE = {"objective": "differential_sharpe", "sharpe_memory": 400}
REWARDS: dict[str, dict[str, Any]] = {
    "log growth": {"objective": "log_growth"},
    "mean-variance, risk aversion 1": {"objective": "mean_variance", "risk_aversion": 1.0},
    "differential Sharpe, 100 bars": {"objective": "differential_sharpe", "sharpe_memory": 100},
    "differential Sharpe, 400 bars": _SHARPE,
    "the last + VaR 0.1": _SHARPE | {"var_weight": 0.1},
    "the last + drawdown 0.5": _SHARPE | {"drawdown_weight": 0.5},
    "the last + turnover 1e-4": _SHARPE | {"turnover_weight": 1e-4},
    "the last + diversification 0.1": _SHARPE | {"diversification_weight": 0.1},
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare rewards of phase 2."""

    seeds: int = 3
    """Trainings per market: 2 to 6, 8 or 10."""
    markets: tuple[str, ...] = ("planted", "regimes")
    """Markets of edge.py to use."""
    name: str = "portfolio_rewards"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Train, evaluate, print and store."""
    check_seeds(arguments.seeds)
    prepare_jax()
    default = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    compiler, figures = Compiler(), {}
    for name in arguments.markets:
        setting = dataclasses.replace(default, market=dataclasses.replace(MarketConfig(), **MARKETS[name]))
        ahead: dict[str, list[dict[str, float]]] = {reward: [] for reward in REWARDS}
        for seed in range(arguments.seeds):
            began = time.perf_counter()
            for reward, figure in _one_seed(dataclasses.replace(setting, seed=seed), compiler).items():
                ahead[reward].append(figure)
            print(f"{name} seed {seed}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
        figures[name] = {
            reward: {key: interval_of([row[key] for row in rows]) for key in rows[0]} for reward, rows in ahead.items()
        }
        for reward, row in figures[name].items():
            cells = "  ".join(f"{key} {value['mean']:+.4f} ± {value['half_width']:.4f}" for key, value in row.items())
            print(f"  {reward:<34} {cells}", file=sys.stderr, flush=True)
    store(arguments.name, {"seeds": arguments.seeds, "ahead_of_equal_allocation": figures}, arguments.results)


def _one_seed(config: TrainConfig, compiler: Compiler) -> dict[str, dict[str, float]]:
    """Lead of phase 2 over equal allocation, by reward."""
    market = prepare_market(config)
    fresh = prepare_market(dataclasses.replace(config, seed=config.seed + FRESH))
    (first,) = train_phases(config, market, phases=(1,), compiler=compiler)
    before = first.policies
    frozen = phases.stacked_specialists(before.specialists)
    found = {}
    for name, settings in REWARDS.items():
        changed = dataclasses.replace(config, portfolio_reward=PortfolioRewardConfig(**settings))
        (second,) = train_phases(changed, market, phases=(2,), start=before, compiler=compiler)
        meta = second.policies.meta
        assert meta is not None
        judge = Judge(changed, market, fresh)
        policies = (meta, phases.equal_allocation(meta))
        ours, equal = (judge.figures(judge.portfolio(phases.hierarchy(frozen, policy))) for policy in policies)
        found[name] = {key: (ours[key] or 0.0) - (equal[key] or 0.0) for key in ("sharpe", "growth")}
    return found


if __name__ == "__main__":
    main(tyro.cli(Arguments))
