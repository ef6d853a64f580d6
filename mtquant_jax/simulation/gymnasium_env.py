"""A market environment with the gymnasium interface: one compiled step on the CPU per call.

For trainers that step one environment at a time from Python. Those that run in JAX are faster with `FlatEnv` itself.
"""

from __future__ import annotations

import functools
from typing import Any

import gymnasium
import jax
import numpy as np

from mtquant_jax.simulation.flat_env import FlatEnv
from mtquant_jax.simulation.market_env import MarketParams


class GymnasiumEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """Episodes of a `FlatEnv`; an action ``[K]`` in [-1, 1] spans its whole action space.

    Observations are ``[D]`` float32. ``info`` holds ``equity``, the share of the initial capital. ``truncated`` marks
    the end of the episode's length or of the data, ``terminated`` ruin or a stop-out.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's class attribute)

    def __init__(self, env: FlatEnv, params: MarketParams) -> None:
        """``params`` are copied to the CPU unless they are there."""
        self._env = env
        self._params = jax.device_put(params, jax.devices("cpu")[0])
        seen, acts = env.observation_space(params), env.action_space(params)
        self._half_range = np.asarray(acts.high, np.float32)  # the space is symmetric
        self.observation_space = gymnasium.spaces.Box(seen.low, seen.high, seen.shape, np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, acts.shape, np.float32)
        self._state: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode at a random path and bar of the split.

        Args:
            seed: of this and later episodes; None goes on with the numbers of the one before.
            options: none are known.
        """
        super().reset(seed=seed)
        number = np.uint32(self.np_random.integers(2**32, dtype=np.uint64))
        observation, self._state = _reset(self._env, self._params, number)
        return np.asarray(observation), {"equity": 1.0}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Trade one bar; ``action`` is ``[K]`` in [-1, 1]."""
        scaled = np.asarray(action, np.float32) * self._half_range
        observation, self._state, outcome = _step(self._env, self._params, self._state, scaled)
        reward, terminated, truncated, equity = (value.item() for value in jax.device_get(outcome))
        return np.asarray(observation), reward, terminated, truncated, {"equity": equity}


@functools.partial(jax.jit, static_argnums=0)
def _reset(env: FlatEnv, params: MarketParams, seed: Any) -> tuple[jax.Array, Any]:
    return env.reset_env(jax.random.key(seed), params)


@functools.partial(jax.jit, static_argnums=0)
def _step(env: FlatEnv, params: MarketParams, state: Any, action: Any) -> tuple[jax.Array, Any, Any]:
    """Observation, state, and reward, terminated, truncated and equity ``[]``."""
    key = jax.random.key(0)  # unused: the market is data
    observation, state, reward, terminated, info = env.step_env(key, state, action, params)
    return observation, state, (reward, terminated, env.is_truncated(state, params), info["step"].equity)
