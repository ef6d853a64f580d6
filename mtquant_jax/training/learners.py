"""The learners that the setting ``learner`` names, and how each is made of settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from mtquant_jax.learning.contract import Learner
from mtquant_jax.learning.ppo.hyper import Hyper
from mtquant_jax.learning.ppo.learner import PPO
from mtquant_jax.settings.choices import register
from mtquant_jax.settings.config import LearnerName, TrainConfig
from mtquant_jax.simulation.market_params import scalar


@dataclasses.dataclass(frozen=True)
class LearnerKind:
    """How a learner is made of settings."""

    make: Callable[[TrainConfig, int], Learner]
    """Settings and timesteps per minibatch -> the learner."""
    hyper: Callable[[TrainConfig, dict[str, float], int], Any]
    """Settings, learning rate by group and updates of the training -> its traced numbers, a pytree of float32.

    It has the fields ``gamma`` (discount per decision) and ``update_interval`` (by group: updates between two of the
    group's parameters), which phases replace.
    """


def make_ppo(config: TrainConfig, batch_size: int) -> PPO:
    """PPO with the sizes of the settings."""
    return PPO(num_minibatches=config.num_envs * config.num_steps // batch_size, num_epochs=config.ppo.num_epochs)


def ppo_hyper(config: TrainConfig, learning_rates: dict[str, float], total_updates: int) -> Hyper:
    """The traced numbers of PPO, from the settings; one learning rate per group of parameters."""
    ppo, joint = config.ppo, config.joint_training
    values: dict[str, Any] = {
        "learning_rate": learning_rates,
        "update_interval": dict.fromkeys(learning_rates, 1.0),
        "total_updates": total_updates,
        "anneal_learning_rate": float(ppo.anneal_learning_rate),
        "gamma": ppo.gamma,
        "gae_lambda": ppo.gae_lambda,
        "clip_range": ppo.clip_range,
        "value_clip_range": ppo.value_clip_range,
        "value_weight": ppo.value_weight,
        "entropy_weight": ppo.entropy_weight,
        "max_grad_norm": ppo.max_grad_norm,
        "weight_decay": ppo.weight_decay,
        "target_kl": ppo.target_kl,
        "leash": joint.leash,
        "individual_weight": joint.individual_weight,
        "coordination_weight": joint.coordination_weight,
        "project_conflicts": float(joint.project_conflicts),
    }
    return Hyper(**jax.tree.map(scalar, values))


LEARNERS: dict[str, LearnerKind] = {PPO.name: LearnerKind(make_ppo, ppo_hyper)}


def register_learner(name: str, kind: LearnerKind) -> None:
    """Let the setting ``learner`` name another learner.

    Raises:
        UserError: there is a learner of this name.
    """
    register(LearnerName, name, LEARNERS)
    LEARNERS[name] = kind
