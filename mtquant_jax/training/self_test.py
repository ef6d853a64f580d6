"""A training of a few seconds that shows whether this machine trains at all, and how fast."""

from __future__ import annotations

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.learning.train import start_training, train_chunk
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.settings.layers import override_config
from mtquant_jax.training.compiling import Compiler
from mtquant_jax.training.phases import plan_specialist

_SETTINGS = {
    "quick_test": True,
    "specialists": {"forex": {"symbols": ["EURUSD"], "batch_size": 125}},
    "market": {"num_paths": 1, "num_bars": 2000},
    "ppo": {"num_epochs": 2, "hidden_size": 16},
}


@dataclasses.dataclass(frozen=True)
class SelfTest:
    """What came of it."""

    timesteps: int
    reward: float  # mean per decision
    timesteps_per_second: float  # once compiled
    setup_seconds: float  # market and compilation

    @property
    def passed(self) -> bool:
        """Whether the reward is a number."""
        return bool(np.isfinite(self.reward))


def self_test(num_updates: int = 8) -> SelfTest:
    """Train a tiny specialist on a tiny synthetic market; nothing is written."""
    start = time.perf_counter()
    config = override_config(None, _SETTINGS)
    plan = plan_specialist(config, prepare_market(config), 0)
    compiler = Compiler(quick=True)
    state = compiler(start_training, (plan.program,), *plan.start_arguments)(*plan.start_arguments)
    arguments = (state, plan.env_params, plan.hyper, jnp.int32(num_updates))
    chunk = compiler(train_chunk, (plan.program,), *arguments)
    setup, start = time.perf_counter() - start, time.perf_counter()
    _, metrics = jax.block_until_ready(chunk(*arguments))
    seconds = time.perf_counter() - start
    timesteps = num_updates * plan.program.timesteps_per_update
    return SelfTest(timesteps, float(np.mean(np.asarray(metrics["reward"]))), timesteps / seconds, setup)
