"""Evidence for the defaults of phase 1: variants on the synthetic market, evaluated on a fresh one of another seed.

    python benchmarks/default_settings.py [--seeds 3]

The score is the net growth per bar in typical per-bar returns of the class (the unit of the reward), of the policy
after the last update, costs included. Seeds are vmapped; all variants have the same seeds and evaluation bars. Only
synthetic markets are used, never real bars.
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

from mtquant_jax.backtest.trading import backtest
from mtquant_jax.jax_setup import prepare_jax
from mtquant_jax.market.features import LOOK_BACK_BARS
from mtquant_jax.market.prepare import Market, prepare_market
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import apply, shipped
from mtquant_jax.settings.yaml_text import read_yaml
from mtquant_jax.simulation.market_params import class_params
from mtquant_jax.training.phases import specialist_agent, specialist_env
from mtquant_jax.training.trainer import train_phases

VARIANTS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "exploration cost 0.01": {"exploration_cost": 0.01},
    "exploration cost 0.02": {"exploration_cost": 0.02},
    "exploration cost 0.08": {"exploration_cost": 0.08},
    "learning rate 5e-4": {"learning_rate": 5e-4},
    "learning rate 2e-3": {"learning_rate": 2e-3},
    "3 epochs": {"ppo": {"num_epochs": 3}},
    "10 epochs": {"ppo": {"num_epochs": 10}},
    "clip 0.2": {"ppo": {"clip_range": 0.2}},
    "gamma 0.95": {"ppo": {"gamma": 0.95}},
    "gamma 0.99": {"ppo": {"gamma": 0.99}},
    "lambda 0.8": {"ppo": {"gae_lambda": 0.8}},
    "lambda 0.95": {"ppo": {"gae_lambda": 0.95}},
    "noise e^-1": {"ppo": {"initial_log_std": -1.0}},
    "trade decay 0.05": {"simulation": {"trade_decay": 0.05}},
    "trade decay 0.2": {"simulation": {"trade_decay": 0.2}},
    "hidden size 32": {"ppo": {"hidden_size": 32}},
    "hidden size 128": {"ppo": {"hidden_size": 128}},
    "bfloat16": {"ppo": {"precision": "bfloat16"}},
    "minibatch 250": {"batch_size": 250},
    "minibatch 1000": {"batch_size": 1000},
    "gradient norm 0.5": {"ppo": {"max_grad_norm": 0.5}},
    "no weight decay": {"ppo": {"weight_decay": 0.0}},
    "weight decay 0.3": {"ppo": {"weight_decay": 0.3}},
    "weight decay 3": {"ppo": {"weight_decay": 3.0}},
    "differential Sharpe": {"reward": {"objective": "differential_sharpe"}},
    "mean-variance, risk aversion 0.05": {"reward": {"objective": "mean_variance", "risk_aversion": 0.05}},
    "mtquant's learning rate and batch (3e-4, 64)": {"learning_rate": 3e-4, "batch_size": 80},
}
_FRESH = 100_000  # added to the seed of the training market for the evaluation market


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare settings of phase 1."""

    seeds: int = 3
    """Vmapped trainings per variant."""
    timesteps: int = 100_000
    """Timesteps of each training."""
    only: tuple[str, ...] = ()
    """Names of variants; empty selects all."""
    name: str = "default_settings"
    """Name of the result file."""
    results: Path = RESULTS
    """Folder of the result file."""


def main(arguments: Arguments) -> None:
    """Train every variant, print and store the scores."""
    prepare_jax()
    default = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    default = dataclasses.replace(default, phase1_timesteps=arguments.timesteps)
    market = prepare_market(default)
    fresh = prepare_market(dataclasses.replace(default, seed=default.seed + _FRESH))
    rows = []
    for name, changes in VARIANTS.items():
        if arguments.only and name not in arguments.only:
            continue
        start = time.perf_counter()
        found = _scores(_changed(default, changes), market, fresh, arguments.seeds)
        scores = {name: spread(values) for name, values in found.items()}
        rows.append({"variant": name, "seconds": time.perf_counter() - start, "net_growth_per_bar": scores})
        medians = "  ".join(f"{k} {v['median']:+.4f}" for k, v in scores.items())
        print(f"{name:<50} {medians}  ({rows[-1]['seconds']:.0f} s)", file=sys.stderr, flush=True)
    store(arguments.name, {"seeds": arguments.seeds, "variants": rows}, arguments.results)


def _changed(config: TrainConfig, changes: dict[str, Any]) -> TrainConfig:
    """The settings of a variant."""
    groups = {key: value for key, value in changes.items() if isinstance(value, dict)}
    own = {key: value for key, value in changes.items() if key not in groups}
    specialists = {name: dataclasses.replace(s, **own) for name, s in config.specialists.items()}
    changed = {name: dataclasses.replace(getattr(config, name), **values) for name, values in groups.items()}
    return dataclasses.replace(config, specialists=specialists, **changed)


def _scores(config: TrainConfig, market: Market, fresh: Market, seeds: int) -> dict[str, list[float]]:
    """Net growth per bar of the last policies on the fresh market: class -> seed by seed."""
    trained = train_phases(config, market, seeds=range(seeds), phases=(1,), validate=False)
    num_steps = len(fresh.timestamps) - LOOK_BACK_BARS - 1
    scores = {}
    for index, asset_class in enumerate(market.universe.classes):
        env, agent = specialist_env(config.reward.objective), specialist_agent(config, market)
        judging = class_params(config, fresh, index)
        growth = []
        for hierarchy in trained:
            policy = hierarchy.policies.specialists[index]
            first = jnp.int32(LOOK_BACK_BARS)
            record = backtest(env, agent, num_steps, policy.params, policy.normalizers, judging, first)
            per_bar = np.diff(np.log(np.asarray(record.equity, np.float64)), axis=0).mean()
            growth.append(float(per_bar * market.class_scale[index]))
        scores[asset_class.name] = growth
    return scores


if __name__ == "__main__":
    main(tyro.cli(Arguments))
