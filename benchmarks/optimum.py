"""Share of the known optimum that each algorithm reaches at the default settings.

    python benchmarks/optimum.py [--seeds 10] [--first-seed 0] [--cases A B C D E] [--short]
        [--algorithms ppo pathwise]

A to D: quadratic costs, where the optimum is a formula (Garleanu and Pedersen 2013). The score is the deterministic
policy's share of the optimum on unseen bars, 1 + (U - U*) / u*, where U* is the utility of the optimal policy on the
same bars and u* its exact expectation. E: a hidden drift and proportional costs; the score is net profit per bar in
volatilities. Seeds run side by side; all trainings use the defaults of configs/agents.yaml. Trainings of a million
timesteps and more are as is suitable for long trainings: those of PPO have 128 steps per rollout, minibatches of 2000
and half the learning rate, those of pathwise three quarters of it and hardly any clipping. With both algorithms a row
of one follows that of the other, so that their speeds can be compared.
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
from mtquant_jax.training.phases import plan_specialist, rollout_of
from mtquant_jax.training.trainer import train_phases

# Case, timesteps, and target score of each algorithm: share of the optimum, for E net profit per bar.
TRAININGS = (
    ("C", 100_000, {"ppo": 0.96, "pathwise": 0.97}),
    ("E", 100_000, {"ppo": 0.115, "pathwise": 0.138}),
    ("C", 1_000_000, {"ppo": 0.985, "pathwise": 0.99}),
    ("A", 1_000_000, {"ppo": 0.99, "pathwise": 0.995}),
    ("B", 1_000_000, {"ppo": 0.985, "pathwise": 0.993}),
    ("E", 1_000_000, {"ppo": 0.14, "pathwise": 0.147}),
    ("D", 500_000, {"pathwise": 0.95}),
    ("D", 2_000_000, {"ppo": 0.95, "pathwise": 0.975}),
)
# Settings from a million timesteps on.
_LONG_STEPS, _LONG_SETTINGS = 128, {"batch_size": 2000, "learning_rate": 5e-4}
_LONG_PATHWISE = {"learning_rate": 3e-3, "max_grad_norm": 10.0}
_VERDICTS = {True: "reached", False: "MISSED", None: ""}
_TRAINING_SEED, _JUDGING_SEED = 1, 2  # of the markets


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare algorithms with the known optimum."""

    seeds: int = 10
    """Trainings per case."""
    first_seed: int = 0
    """First seed, so that long cases can be divided between processes."""
    cases: tuple[str, ...] = ("A", "B", "C", "D", "E")
    """Markets to train on."""
    algorithms: tuple[str, ...] = ("ppo", "pathwise")
    """Algorithms to train with."""
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
    wanted = [
        (case, timesteps, algorithm, marks.get(algorithm))
        for case, timesteps, marks in TRAININGS
        for algorithm in arguments.algorithms
        if case in arguments.cases and not (arguments.short and timesteps > 100_000)
    ]
    for case, timesteps, algorithm, mark in wanted:
        began = time.perf_counter()
        base = dataclasses.replace(defaults, phase1_timesteps=timesteps, algorithm=algorithm)
        if timesteps >= 1_000_000:
            specialists = {name: dataclasses.replace(s, **_LONG_SETTINGS) for name, s in base.specialists.items()}
            pathwise = dataclasses.replace(base.pathwise, **_LONG_PATHWISE)
            base = dataclasses.replace(base, num_steps=_LONG_STEPS, specialists=specialists, pathwise=pathwise)
        paths = arguments.num_paths if case != "D" else arguments.num_paths // 2
        train, judge = (
            _market(base, case, seed, paths, arguments.num_bars) for seed in (_TRAINING_SEED, _JUDGING_SEED)
        )
        policies, seconds = trained(train, arguments.seeds, arguments.first_seed)
        num_envs, num_steps = rollout_of(base, 1)
        scores, yardstick = _scores(judge, policies)
        rows.append(
            {
                "case": case,
                "algorithm": algorithm,
                "timesteps": timesteps,
                "mark": mark,
                "reached": None if mark is None else shares(scores)["interquartile_mean"] >= mark,
                **shares(scores),
                **yardstick,
                "num_envs": num_envs,
                "num_steps": num_steps,
                "timesteps_per_second": arguments.seeds * timesteps / seconds,
                "seconds": time.perf_counter() - began,
            }
        )
        row = rows[-1]
        print(
            f"{case} {timesteps:>9,} {algorithm:<9} {row['interquartile_mean']:.4f}"
            f" ({row['lowest']:.4f} to {row['highest']:.4f})"
            f"  mark {mark}  {_VERDICTS[row['reached']]}  {row['timesteps_per_second']:,.0f}/s  {row['seconds']:.0f} s",
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
