"""Timesteps per second of stable-baselines3's PPO on one environment; it needs its own Python environment with torch.

    python sb3_throughput.py SETTINGS

SETTINGS is JSON from `benchmarks/ppo_throughput.py`; the last line printed is the result, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from typing import Any

import gymnasium
import torch
from sb3_ppo import model_of
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize


def main(settings: dict[str, Any]) -> dict[str, Any]:
    """Rates of every size."""
    torch.set_num_threads(1)  # faster than several for networks of this size
    rows = []
    for num_envs, num_steps in settings["sizes"]:
        sizes = {"num_envs": num_envs, "num_steps": num_steps}

        def make() -> gymnasium.Env:
            return gymnasium.make(settings["env"], disable_env_checker=True)

        envs = VecNormalize(DummyVecEnv([make] * num_envs), norm_obs=True, norm_reward=False, clip_obs=10.0)
        model = model_of(settings | sizes, envs, seed=0)
        model.learn(num_envs * num_steps)  # warms up
        total = -(-settings["timesteps"] // (num_envs * num_steps)) * num_envs * num_steps
        start = time.perf_counter()
        model.learn(total, reset_num_timesteps=False)
        rows.append({"rate": total / (time.perf_counter() - start), "compile_seconds": 0.0})
    return {"rows": rows, "versions": {name: metadata.version(name) for name in ("stable-baselines3", "torch")}}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
