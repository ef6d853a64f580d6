"""Share of the known optimum that PPO reaches at the default settings.

    python benchmarks/optimum.py [--seeds 10] [--first-seed 0] [--cases A B C D E] [--short]

A to D: quadratic costs, where the optimum is a formula (Garleanu and Pedersen 2013). The score is the deterministic
policy's share of the optimum on unseen bars, 1 + (U - U*) / u*, where U* is the utility of the optimal policy on the
same bars and u* its exact expectation. E: a hidden drift and proportional costs; the score is net profit per bar in
volatilities. Seeds are vmapped; all trainings use the defaults of configs/agents.yaml. Trainings of a million timesteps
and more have larger batches and smaller steps, as is suitable for long trainings: 128 steps per rollout, minibatches of
2000 and half the learning rate.
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
from recording import RESULTS, shares, store

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.baselines import Rule
from mtquant_jax.backtest.trading import backtest
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.reference.ground_truths import (
    CLASS,
    BestTrading,
    GroundTruth,
    TunedRule,
    hidden_drift,
    quadratic_costs,
)
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.simulation.market_params import class_params
from mtquant_jax.training.phases import plan_specialist
from mtquant_jax.training.trainer import train_phases

# Case, timesteps, and target score: share of the optimum, for E net profit per bar.
TRAININGS = (
    ("C", 100_000, 0.96),
    ("E", 100_000, 0.115),
    ("C", 1_000_000, 0.985),
    ("A", 1_000_000, 0.99),
    ("B", 1_000_000, 0.985),
    ("E", 1_000_000, 0.14),
    ("D", 2_000_000, 0.95),
)
# Settings from a million timesteps on.
_LONG_STEPS, _LONG_SETTINGS = 128, {"batch_size": 2000, "learning_rate": 5e-4}
_TRAINING_SEED, _JUDGING_SEED = 1, 2  # of the markets


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare PPO with the known optimum."""

    seeds: int = 10
    """Vmapped trainings per case."""
    first_seed: int = 0
    """First seed, so that long cases can be divided between processes."""
    cases: tuple[str, ...] = ("A", "B", "C", "D", "E")
    """Markets to train on."""
    short: bool = False
    """Run only the trainings of 100,000 timesteps, the default budget."""
    num_paths: int = 64
    """Paths of each market."""
    num_bars: int = 8000
    """Bars of each path."""
    name: str = "optimum"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Train, evaluate, print and store."""
    prepare_jax()
    defaults = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    rows = []
    for case, timesteps, mark in TRAININGS:
        if case not in arguments.cases or (arguments.short and timesteps > 100_000):
            continue
        began = time.perf_counter()
        base = dataclasses.replace(defaults, phase1_timesteps=timesteps)
        if timesteps >= 1_000_000:
            specialists = {name: dataclasses.replace(s, **_LONG_SETTINGS) for name, s in base.specialists.items()}
            base = dataclasses.replace(base, num_steps=_LONG_STEPS, specialists=specialists)
        paths = arguments.num_paths if case != "D" else arguments.num_paths // 2
        train, judge = (
            _market(base, case, seed, paths, arguments.num_bars) for seed in (_TRAINING_SEED, _JUDGING_SEED)
        )
        policies, seconds = trained(train, arguments.seeds, arguments.first_seed)
        scores, yardstick = _scores(judge, policies)
        rows.append(
            {
                "case": case,
                "timesteps": timesteps,
                "mark": mark,
                "reached": shares(scores)["interquartile_mean"] >= mark,
                **shares(scores),
                **yardstick,
                "num_steps": base.num_steps,
                "batch_size": next(iter(base.specialists.values())).batch_size,
                "timesteps_per_second": arguments.seeds * timesteps / seconds,
                "seconds": time.perf_counter() - began,
            }
        )
        row = rows[-1]
        print(
            f"{case} {timesteps:>9,}  {row['interquartile_mean']:.4f} ({row['lowest']:.4f} to {row['highest']:.4f})"
            f"  mark {mark}  {'reached' if row['reached'] else 'MISSED'}  {yardstick}  {row['seconds']:.0f} s",
            file=sys.stderr,
            flush=True,
        )
        seeds = {"seeds": arguments.seeds, "first_seed": arguments.first_seed}
        store(arguments.name, {**seeds, "trainings": rows}, arguments.results)


def _market(base: TrainConfig, case: str, seed: int, num_paths: int, num_bars: int) -> GroundTruth:
    if case == "E":
        return hidden_drift(base, seed, num_paths, num_bars)
    return quadratic_costs(base, case, seed, num_paths, num_bars)  # type: ignore[arg-type]


def trained(truth: GroundTruth, seeds: int, first_seed: int = 0) -> tuple[list[Policy], float]:
    """Train policies; returns them after the last update, by seed, and the seconds of training without compilation."""
    numbers = range(first_seed, first_seed + seeds)
    hierarchies = train_phases(truth.config, truth.market, seeds=numbers, phases=(1,), validate=False)
    seconds = hierarchies[0].outcomes[1][CLASS].seconds["run"]
    return [hierarchy.policies.specialists[0] for hierarchy in hierarchies], seconds


def _scores(truth: GroundTruth, policies: list[Policy]) -> tuple[list[float], dict[str, float]]:
    """Scores by seed, and the profit of the optimal policy or the tuned rule on the same bars."""
    plan = plan_specialist(truth.config, truth.market, 0)
    env, agent, env_params = plan.program.env, plan.program.agent, class_params(truth.config, truth.market, 0)
    num_steps = truth.market.table.open.shape[1] - 2

    def earned(agent: Any, policy: Policy) -> float:
        record = backtest(env, agent, num_steps, policy.params, policy.normalizers, env_params, jnp.int32(0))
        return float(np.asarray(record.reward, np.float64).mean() / truth.utility_scale)

    profits = [earned(agent, policy) for policy in policies]
    if truth.problem is None:
        return profits, {"tuned_rule": earned(Rule("tuned", TunedRule()), Policy({}, {}))}
    optimum = truth.problem.optimum / truth.problem.scale
    best = earned(BestTrading.of(truth.problem), Policy({}, {}))
    scores = [1.0 + (profit - best) / optimum for profit in profits]
    return scores, {"optimum": optimum, "optimum_on_these_bars": best}


if __name__ == "__main__":
    main(tyro.cli(Arguments))
