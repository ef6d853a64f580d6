"""The settings of a quick test, and what a setting usually is: in a quick test, and otherwise."""

from __future__ import annotations

import functools
from typing import Any

from mtquant_jax.settings.config import TrainConfig

QUICK_TEST: dict[str, Any] = {
    "quick_test": True,
    "phase1_timesteps": 1000,
    "phase2_timesteps": 500,
    "phase3_timesteps": 500,
    "save_freq": 500,
    "evidence_folds": 0,
    "tilt": "whole",
    "num_envs": 10,
    "num_steps": 25,
    "pathwise": {"num_envs": 10, "window": 25},
    "meta_controller": {"batch_size": 125},
    "joint_training": {"batch_size": 125},
    "market": {"num_paths": 4, "num_bars": 3000},
}

QUICK_TEST_SPECIALIST: dict[str, Any] = {"batch_size": 125}


def usual(key: str, quick_test: bool) -> Any:
    """What a setting is where nobody gives it, by its dotted key."""
    names = key.split(".")
    if quick_test:
        found = functools.reduce(lambda group, name: group.get(name, {}), names, QUICK_TEST)
        if not isinstance(found, dict):
            return found
    return functools.reduce(getattr, names, TrainConfig())
