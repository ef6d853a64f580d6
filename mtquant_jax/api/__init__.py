"""The Python API, `import mtquant_jax as mt`: bars in, settings, training, finished runs and environments out.

What a user should know of bars and markets is logged as warnings of the logger ``mtquant_jax`` and stands in their
``notices``. Everything that is wrong with an input is a `UserError`.
"""

from __future__ import annotations

from mtquant_jax.api.bars import load_bars
from mtquant_jax.api.environments import make_env, make_gymnasium
from mtquant_jax.api.finished_run import Run, load_run
from mtquant_jax.api.markets import load_config, prepare
from mtquant_jax.api.sweep import sweep
from mtquant_jax.api.training import train
from mtquant_jax.errors import UserError
from mtquant_jax.market.frames import bars_frame
from mtquant_jax.runs.trading_policy import load_policy

__all__ = [
    "Run",
    "UserError",
    "bars_frame",
    "load_bars",
    "load_config",
    "load_policy",
    "load_run",
    "make_env",
    "make_gymnasium",
    "prepare",
    "sweep",
    "train",
]
