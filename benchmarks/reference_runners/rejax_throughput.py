"""Timesteps per second of rejax's PPO on one environment; it needs its own Python environment with gymnax below 1.

    python rejax_throughput.py SETTINGS

SETTINGS is JSON from `benchmarks/ppo_throughput.py`; the last line printed is the result, as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
from gymnax.environments.environment import Environment
from rejax.compat import create
from rejax_ppo import algorithm_of


class FiveValues(Environment):
    """An environment of this package, whose episodes end in one way only, as gymnax below 1 has it."""

    def __init__(self, env: Any, env_params: Any) -> None:
        super().__init__()
        self.env, self.market = env, env_params

    @property
    def default_params(self) -> Any:
        """The market."""
        return self.market

    def reset_env(self, key: Any, params: Any) -> Any:
        """A fresh episode."""
        return self.env.reset_env(key, params)

    def step_env(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        """One bar."""
        observation, state, reward, terminated, _ = self.env.step_env(key, state, action, params)
        return observation, state, reward, terminated | self.env.is_truncated(state, params), {}

    def action_space(self, params: Any = None) -> Any:
        """As that of the environment inside."""
        return self.env.action_space(self.market)

    def observation_space(self, params: Any = None) -> Any:
        """As that of the environment inside."""
        return self.env.observation_space(self.market)


def forex() -> tuple[Any, Any]:
    """The forex class of the default market with flat observations."""
    Environment._apply_transition_gradient_policy = lambda self, observation, state: (observation, state)
    from mtquant_jax.market.prepare import prepare_market
    from mtquant_jax.settings.config import TrainConfig
    from mtquant_jax.settings.yaml_files import apply, shipped
    from mtquant_jax.settings.yaml_text import read_yaml
    from mtquant_jax.simulation.flat_env import flat_specialist
    from mtquant_jax.simulation.market_params import class_params
    from mtquant_jax.simulation.reward import REWARDS
    from mtquant_jax.simulation.specialist_env import SpecialistEnv

    config = apply(TrainConfig(), read_yaml(shipped("agents.yaml")), "agents.yaml")
    market = prepare_market(config)
    env = flat_specialist(SpecialistEnv(REWARDS[config.reward.objective]), 3)
    env_params = class_params(config, market, 0)
    return FiveValues(env, env_params), env_params


def _no_evaluation(algorithm: Any, state: Any, key: Any) -> Any:
    return jnp.zeros(())


def main(settings: dict[str, Any]) -> dict[str, Any]:
    """Rates of every size."""
    env, env_params = forex() if settings["env"] == "forex" else create(settings["env"])
    rows = []
    for num_envs, num_steps in settings["sizes"]:
        total = -(-settings["timesteps"] // (num_envs * num_steps)) * num_envs * num_steps
        sizes = {"num_envs": num_envs, "num_steps": num_steps, "timesteps": total, "evaluation_interval": total}
        algorithm = algorithm_of(env, env_params, settings | sizes, _no_evaluation, skip_initial_evaluation=True)
        key = jax.random.PRNGKey(0)
        start = time.perf_counter()
        train = jax.jit(lambda algorithm, key: algorithm.train(key)).lower(algorithm, key).compile()
        compiled = time.perf_counter() - start
        jax.block_until_ready(train(algorithm, key))
        start = time.perf_counter()
        jax.block_until_ready(train(algorithm, key))
        rows.append({"rate": total / (time.perf_counter() - start), "compile_seconds": compiled})
    return {"rows": rows, "versions": {name: metadata.version(name) for name in ("rejax", "gymnax", "jax", "flax")}}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
