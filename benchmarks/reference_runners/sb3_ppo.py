"""PPO of stable-baselines3 on one environment, one seed after another; it needs its own Python environment with torch.

    python sb3_ppo.py SETTINGS

SETTINGS is JSON from `benchmarks/ppo_reference.py`; the last line printed is the result, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize


def main(settings: dict[str, Any]) -> dict[str, Any]:
    """Train and evaluate; returns ``[seeds][evaluations]`` and seconds."""
    torch.set_num_threads(1)  # faster than several for networks of this size
    start = time.perf_counter()
    return {
        "returns": [_curve(settings, seed) for seed in range(settings["seeds"])],
        "seconds": time.perf_counter() - start,
        "compile_seconds": 0.0,
        "versions": {name: metadata.version(name) for name in ("stable-baselines3", "gymnasium", "torch")},
    }


def model_of(settings: dict[str, Any], envs: VecNormalize, seed: int) -> PPO:
    """A learner with two networks of two tanh layers."""
    size = settings["hidden_size"]
    return PPO(
        "MlpPolicy",
        envs,
        learning_rate=settings["learning_rate"],
        n_steps=settings["num_steps"],
        batch_size=settings["num_envs"] * settings["num_steps"] // settings["num_minibatches"],
        n_epochs=settings["num_epochs"],
        gamma=settings["gamma"],
        gae_lambda=settings["gae_lambda"],
        clip_range=settings["clip_range"],
        ent_coef=settings["entropy_weight"],
        vf_coef=0.5 * settings["value_weight"],  # the other learners weight half the squared error
        max_grad_norm=settings["max_grad_norm"],
        policy_kwargs={"net_arch": {"pi": [size, size], "vf": [size, size]}, "activation_fn": torch.nn.Tanh},
        seed=seed,
        device="cpu",
    )


def _curve(settings: dict[str, Any], seed: int) -> list[float]:
    """Mean returns at every evaluation of one training."""

    def make() -> gymnasium.Env:
        env, scale = gymnasium.make(settings["env"], disable_env_checker=True), settings["reward_scale"]
        return env if scale == 1.0 else gymnasium.wrappers.TransformReward(env, lambda reward: scale * reward)

    envs = VecNormalize(DummyVecEnv([make] * settings["num_envs"]), norm_obs=True, norm_reward=False, clip_obs=10.0)
    model = model_of(settings, envs, seed)
    returns = [_mean_return(model, envs, settings, seed)]
    for _ in range(settings["timesteps"] // settings["evaluation_interval"]):
        model.learn(settings["evaluation_interval"], reset_num_timesteps=False)
        returns.append(_mean_return(model, envs, settings, seed))
    print(f"seed {seed}: {returns[-1]:.1f}", file=sys.stderr, flush=True)
    return returns


def _mean_return(model: PPO, envs: VecNormalize, settings: dict[str, Any], seed: int) -> float:
    """Mean return of the policy's mode over new episodes, in the environment's own units of reward."""
    episodes = [gymnasium.make(settings["env"], disable_env_checker=True) for _ in range(settings["episodes"])]
    observation = np.stack([env.reset(seed=10_000 * (seed + 1) + i)[0] for i, env in enumerate(episodes)])
    running, total = np.ones(len(episodes), bool), np.zeros(len(episodes))
    while running.any():
        action, _ = model.predict(envs.normalize_obs(observation), deterministic=True)
        for i in np.flatnonzero(running):
            observation[i], reward, terminated, truncated, _ = episodes[i].step(action[i])
            total[i] += reward
            running[i] = not (terminated or truncated)
    return float(total.mean())


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
