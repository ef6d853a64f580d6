"""One PPO update of stable-baselines3 in a market of this package, through gymnasium's interface.

    python sb3_market.py SETTINGS

It needs a Python environment with torch, stable-baselines3 and this package. SETTINGS is JSON from
`benchmarks/gymnasium_sb3.py`; the last line printed is the result, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

import mtquant_jax as mt


class _Rewards(BaseCallback):
    """Collects the rewards of all steps and the time at which the rollout ends."""

    def __init__(self) -> None:
        super().__init__()
        self.rewards: list[np.ndarray] = []
        self.rollout_end = 0.0

    def _on_step(self) -> bool:
        self.rewards.append(self.locals["rewards"].copy())
        return True

    def _on_rollout_end(self) -> None:
        self.rollout_end = time.perf_counter()


def main(settings: dict[str, Any]) -> dict[str, Any]:
    """Train by one update; returns what it cost, what it changed and versions."""
    torch.set_num_threads(1)
    market = mt.prepare(mt.load_config(**settings["config"]))
    num_envs, num_steps = settings["num_envs"], settings["num_steps"]
    check_env(mt.make_gymnasium(market, settings["env"]), skip_render_check=True)
    envs = VecMonitor(DummyVecEnv([lambda: mt.make_gymnasium(market, settings["env"])] * num_envs))
    model = PPO("MlpPolicy", envs, n_steps=num_steps, batch_size=settings["batch_size"], seed=0, device="cpu")
    before = {name: value.clone() for name, value in model.policy.state_dict().items()}
    callback = _Rewards()
    start = time.perf_counter()
    model.learn(num_envs * num_steps, callback=callback)
    end = time.perf_counter()
    moved = max(float((value - before[name]).abs().max()) for name, value in model.policy.state_dict().items())
    rewards = np.stack(callback.rewards)
    logged = model.logger.name_to_value
    found = {
        "timesteps": int(model.num_timesteps),
        "rollout_seconds": callback.rollout_end - start,
        "update_seconds": end - callback.rollout_end,
        "rewards_finite": bool(np.isfinite(rewards).all()),
        "mean_reward": float(rewards.mean()),
        "largest_change_of_a_parameter": moved,
        "losses": {name.removeprefix("train/"): float(v) for name, v in logged.items() if name.startswith("train/")},
        "steps_per_second": [_speed(mt.make_gymnasium(market, settings["env"]), 2_000) for _ in range(5)],
        "versions": {name: metadata.version(name) for name in ("stable-baselines3", "gymnasium", "torch")},
    }
    print(f"one update of {found['timesteps']} timesteps", file=sys.stderr, flush=True)
    return found


def _speed(env: Any, steps: int) -> float:
    """Steps per second of one environment under sampled actions, once it is compiled."""
    env.reset(seed=0)
    actions = [env.action_space.sample() for _ in range(steps)]
    env.step(actions[0])
    start = time.perf_counter()
    for action in actions:
        _, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            env.reset()
    return steps / (time.perf_counter() - start)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
