"""Benefit of the curriculum: specialists trained on the neutral scenario, on all scenarios equally, or in stages.

    python benchmarks/curriculum.py [--seeds 5]

All three have the default budget of phase 1, the same market of all stages (`neutral` draws from more neutral paths
instead) and the checkpoint that phase 1 selects on the validation split of their own market. They are evaluated on
paths of another market seed, scenario by scenario: net log growth per bar in typical returns of the class under that
scenario, and the annualised Sharpe ratio, costs included. Seeds differ in networks and exploration. `rule` is the
profit of a simple trend rule in each scenario, which determines the order of the stages.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro
from recording import RESULTS, spread, store

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.scenarios import by_scenario
from mtquant_jax.backtest.trading import BacktestRecord, backtest
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.market.synthetic.scenarios import STAGES
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.simulation.market_params import class_params, evaluation_params
from mtquant_jax.training.observer import Progress, TrainingObserver
from mtquant_jax.training.phases import specialist_agent, specialist_env
from mtquant_jax.training.trainer import train_phases

WAYS = ("neutral", "uniform", "curriculum")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare three ways of drawing scenarios."""

    seeds: int = 5
    """Vmapped trainings of each kind and class."""
    timesteps: int = 100_000
    """Timesteps of each training."""
    num_paths: int = 16
    """Paths of the neutral market; half as many per scenario under a curriculum."""
    num_bars: int = 6000
    """Bars per path."""
    fresh_seed: int = 1_000_003
    """Seed of the market for evaluation."""
    name: str = "curriculum"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Train, evaluate on fresh paths, print a table and store the figures."""
    prepare_jax()
    default = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    sizes = dataclasses.replace(default.market, num_paths=arguments.num_paths, num_bars=arguments.num_bars)
    default = dataclasses.replace(default, phase1_timesteps=arguments.timesteps, market=sizes)
    staged = dataclasses.replace(default, curriculum=True)
    fresh = prepare_market(dataclasses.replace(staged, seed=arguments.fresh_seed))
    figures: dict[str, Any] = {"stages": STAGES, "rule": _rule(fresh), "ways": {}}
    for way in WAYS:
        start = time.perf_counter()
        config = default if way == "neutral" else staged
        market = prepare_market(config)
        classes = {}
        if way == "uniform":
            market = dataclasses.replace(market, stages=())  # all paths alike from the start
        observer = _Stages()
        trained = train_phases(config, market, seeds=range(arguments.seeds), phases=(1,), observer=observer)
        for index, asset_class in enumerate(market.universe.classes):
            opened = list(observer.open.get(asset_class.name, {}).values())
            policies = [hierarchy.policies.specialists[index] for hierarchy in trained]
            judged = [_judge(policy, config, fresh, index) for policy in policies]
            classes[asset_class.name] = {
                "scenarios": {
                    stage: {name: spread([one[stage][name] for one in judged]) for name in ("net_growth", "sharpe")}
                    for stage in STAGES
                },
                "mean_net_growth": spread([float(np.mean([s["net_growth"] for s in one.values()])) for one in judged]),
                "mean_sharpe": spread([float(np.mean([s["sharpe"] for s in one.values()])) for one in judged]),
                "stages_open_by_checkpoint": opened,
            }
            print(f"{way:<11} {asset_class.name:<12} {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
        figures["ways"][way] = {"seconds": time.perf_counter() - start, "classes": classes}
        del market
    _show(figures)
    store(arguments.name, {"seeds": arguments.seeds, "timesteps": arguments.timesteps, **figures}, arguments.results)


class _Stages(TrainingObserver):
    """Records the open stages at each checkpoint: class -> seed -> numbers."""

    def __init__(self) -> None:
        self.open: dict[str, dict[int, list[int]]] = {}

    def chunk(self, progress: Progress) -> None:
        """Record the number of open stages of a validated chunk."""
        if progress.curriculum is not None and progress.validation is not None:
            seeds = self.open.setdefault(progress.member.name, {})
            seeds.setdefault(progress.member.seed, []).append(progress.curriculum.num_open)


def _judge(policy: Policy, config: TrainConfig, fresh: Market, index: int) -> dict[str, dict[str, float]]:
    """Net growth per bar and Sharpe ratio of a policy in each scenario, over all bars of unseen paths."""
    first, last = fresh.splits.train[0], fresh.splits.test[1]
    env_params = evaluation_params(class_params(config, fresh, index))
    record = _trade(policy, config, fresh, env_params, first, last)
    equity = np.split(np.asarray(record.equity, np.float64), len(STAGES), axis=1)
    sharpe = by_scenario(record, fresh.day[first:last], STAGES)
    growth = [np.diff(np.log(np.maximum(paths, 1e-6)), axis=0).mean() for paths in equity]
    scales = _scales(fresh, config, index)
    return {
        stage: {"net_growth": float(growth[k] * scales[k]), "sharpe": sharpe[stage].sharpe or 0.0}
        for k, stage in enumerate(STAGES)
    }


def _trade(
    policy: Policy, config: TrainConfig, market: Market, env_params: Any, first: int, last: int
) -> BacktestRecord:
    record: BacktestRecord = backtest(
        specialist_env(config.reward.objective),
        specialist_agent(config, market),
        last - first - 1,
        policy.params,
        policy.normalizers,
        env_params,
        jnp.asarray(first, jnp.int32),
    )
    return record


def _scales(market: Market, config: TrainConfig, index: int) -> list[float]:
    """1 / typical per-bar return of a fully used class budget, by scenario."""
    share = market.universe.share[index] * config.simulation.leverage
    width = market.universe.width
    close = np.asarray(market.table.close[:, :, index * width : (index + 1) * width], np.float64)
    squares = np.square(np.diff(np.log(close), axis=1)).mean(axis=1)  # [P, C]
    return [1.0 / float(np.sqrt(np.sum(share**2 * part.mean(axis=0)))) for part in np.split(squares, len(STAGES))]


def _rule(market: Market) -> dict[str, float]:
    """Net profit per bar of a trend rule, in volatilities, mean over instruments.

    The rule holds the sign of the EWMA of span 50, updated beyond half a standard deviation; each unit traded costs
    half the spread.
    """
    slots = list(market.universe.slots)
    close, spreads = (np.asarray(x[:, :, slots], np.float64) for x in (market.table.close, market.table.spread))
    result = {}
    for stage, prices, spread_ in zip(STAGES, *(np.split(x, len(STAGES)) for x in (close, spreads)), strict=True):
        returns = np.diff(np.log(prices), axis=1)
        deviation = np.sqrt(np.mean(returns**2, axis=(0, 1)))
        returns, cost = returns / deviation, (0.5 * spread_ / prices)[:, 1:] / deviation
        trend, held, profit = np.zeros_like(returns[:, 0]), np.zeros_like(returns[:, 0]), 0.0
        typical = np.sqrt((2.0 / 51.0) / (2.0 - 2.0 / 51.0))  # standard deviation of the EWMA of independent returns
        for t in range(returns.shape[1] - 1):
            trend += (2.0 / 51.0) * (np.clip(returns[:, t], -4.0, 4.0) - trend)
            wanted = np.where(np.abs(trend) > 0.5 * typical, np.sign(trend), held)
            profit += float(np.mean(wanted * returns[:, t + 1] - np.abs(wanted - held) * cost[:, t]))
            held = wanted
        result[stage] = profit / (returns.shape[1] - 1)
    return result


def _show(figures: dict[str, Any]) -> None:
    """Print medians over seeds, mean over classes."""
    ways = figures["ways"]
    print(f"{'':<22} {'net growth per bar':^38} {'Sharpe':^32}  rule", file=sys.stderr)
    print(f"{'':<22} " + "".join(f"{way:>12}" for way in (*ways, *ways)), file=sys.stderr)

    def mean(way: str, *keys: str) -> float:
        values = []
        for found in ways[way]["classes"].values():
            for key in keys:
                found = found[key]
            values.append(found["median"])
        return float(np.mean(values))

    for stage in STAGES:
        cells = [mean(way, "scenarios", stage, name) for name in ("net_growth", "sharpe") for way in ways]
        text = "".join(f"{cell:>+12.4f}" for cell in cells)
        print(f"{stage:<22} {text}  {figures['rule'][stage]:+.4f}", file=sys.stderr)
    cells = [mean(way, name) for name in ("mean_net_growth", "mean_sharpe") for way in ways]
    print(f"{'mean':<22} " + "".join(f"{cell:>+12.4f}" for cell in cells), file=sys.stderr)


if __name__ == "__main__":
    main(tyro.cli(Arguments))
