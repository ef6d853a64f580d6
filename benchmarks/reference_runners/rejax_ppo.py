"""PPO of rejax on one environment, all seeds at once; it needs its own Python environment with gymnax below 1.

    python rejax_ppo.py SETTINGS

SETTINGS is JSON from `benchmarks/ppo_reference.py`; the last line printed is the result, as JSON.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
from rejax import PPO
from rejax.compat import create
from rejax.evaluate import evaluate


class ScaledReward:
    """A gymnax environment whose rewards are multiplied by a factor; everything else is unchanged."""

    def __init__(self, env: Any, factor: float) -> None:
        self.env, self.factor = env, factor

    def __getattr__(self, name: str) -> Any:
        if name in ("env", "factor", "__setstate__"):  # a copy has no attributes yet
            raise AttributeError(name)
        return getattr(self.env, name)

    @functools.partial(jax.jit, static_argnums=0)
    def step(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        """Step the environment and scale the reward."""
        observation, state, reward, done, info = self.env.step(key, state, action, params)
        return observation, state, self.factor * reward, done, info


def algorithm_of(env: Any, env_params: Any, settings: dict[str, Any], evaluates: Any, **more: Any) -> PPO:
    """The PPO of rejax with the settings of this package's; ``evaluates`` is called every ``evaluation_interval``."""
    return PPO.create(
        env=env,
        env_params=env_params,
        agent_kwargs={"hidden_layer_sizes": (settings["hidden_size"],) * 2, "activation": "tanh"},
        total_timesteps=settings["timesteps"],
        eval_freq=settings["evaluation_interval"],
        num_envs=settings["num_envs"],
        num_steps=settings["num_steps"],
        num_minibatches=settings["num_minibatches"],
        num_epochs=settings["num_epochs"],
        learning_rate=settings["learning_rate"],
        gamma=settings["gamma"],
        gae_lambda=settings["gae_lambda"],
        clip_eps=settings["clip_range"],
        vf_coef=settings["value_weight"],
        ent_coef=settings["entropy_weight"],
        max_grad_norm=settings["max_grad_norm"],
        normalize_observations=True,
        normalize_rewards=False,
        **more,
    ).replace(eval_callback=evaluates)


def main(settings: dict[str, Any]) -> dict[str, Any]:
    """Train and evaluate; returns ``[seeds][evaluations]`` and seconds."""
    env, env_params = create(settings["env"])

    def mode_returns(algorithm: PPO, state: Any, key: jax.Array) -> jax.Array:
        """Mean return of the policy's mode in the environment's own units; rejax itself evaluates samples."""

        def act(observation: jax.Array, key: jax.Array) -> jax.Array:
            observation = algorithm.normalize_obs(state.obs_rms_state, observation)[None]
            policy = algorithm.actor.apply(state.actor_ts.params, observation, method="_action_dist")
            action = policy.mode()
            if not algorithm.discrete:
                space = algorithm.action_space
                action = jnp.clip(action, space.low, space.high)
            return jnp.squeeze(action)

        limit = env_params.max_steps_in_episode
        return evaluate(act, key, env, env_params, settings["episodes"], limit)[1].mean()

    algorithm = algorithm_of(ScaledReward(env, settings["reward_scale"]), env_params, settings, mode_returns)
    keys = jax.vmap(jax.random.PRNGKey)(jnp.arange(settings["seeds"]))
    start = time.perf_counter()
    train = jax.jit(jax.vmap(lambda key: algorithm.train(key)[1])).lower(keys).compile()
    compiled = time.perf_counter()
    returns = jax.block_until_ready(train(keys))
    return {
        "returns": returns.tolist(),
        "seconds": time.perf_counter() - compiled,
        "compile_seconds": compiled - start,
        "versions": {name: metadata.version(name) for name in ("rejax", "gymnax", "jax", "flax", "optax")},
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
