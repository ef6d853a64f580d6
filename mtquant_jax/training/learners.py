"""The learners that the setting ``algorithm`` names, and how each is made of settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from mtquant_jax.learning.contract import Learner
from mtquant_jax.learning.optimizer import StepHyper
from mtquant_jax.learning.pathwise.learner import Pathwise
from mtquant_jax.learning.pathwise.then_ppo import PathwiseThenPPO, PathwiseThenPPOHyper
from mtquant_jax.learning.ppo.hyper import Hyper
from mtquant_jax.learning.ppo.learner import PPO
from mtquant_jax.settings.choices import register
from mtquant_jax.settings.config import AlgorithmName, PathwiseConfig, PhaseAlgorithmName, PPOConfig, TrainConfig
from mtquant_jax.simulation.market_params import scalar


@dataclasses.dataclass(frozen=True)
class Assignment:
    """What a phase asks a learner to train, and how much."""

    phase: int
    groups: tuple[str, ...]  # of parameters
    total_updates: float
    class_name: str = ""  # of the specialist, in phase 1
    interval: int = 1  # bars between two decisions
    update_interval: Mapping[str, int] = dataclasses.field(default_factory=dict)  # by group, where it is not 1

    def every(self) -> dict[str, float]:
        """Updates between two of each group's parameters."""
        return {name: float(self.update_interval.get(name, 1)) for name in self.groups}


def rollout_of_ppo(config: TrainConfig) -> tuple[int, int]:
    """Environments and steps of a rollout of PPO."""
    return config.num_envs, config.num_steps


@dataclasses.dataclass(frozen=True)
class LearnerKind:
    """How a learner is made of settings."""

    make: Callable[[TrainConfig, int], Learner]
    """Settings and timesteps per minibatch -> the learner."""
    hyper: Callable[[TrainConfig, Assignment], Any]
    """Settings and what is to be trained -> the learner's traced numbers, a pytree of float32."""
    rollout: Callable[[TrainConfig], tuple[int, int]] = rollout_of_ppo
    """Settings -> environments and steps of a rollout."""
    discounts: bool = True
    """Whether later rewards count less, by ``ppo.gamma``; also within a decision of phase 2."""


def make_ppo(config: TrainConfig, batch_size: int) -> PPO:
    """PPO with the sizes of the settings."""
    return PPO(num_minibatches=config.num_envs * config.num_steps // batch_size, num_epochs=config.ppo.num_epochs)


def _steps(config: TrainConfig, assignment: Assignment, learning_rate: float, own: PPOConfig | PathwiseConfig) -> Any:
    """The numbers of `StepHyper` by name, from the settings of a learner and those of joint training."""
    joint = config.joint_training
    return {
        "learning_rate": dict.fromkeys(assignment.groups, learning_rate),
        "update_interval": assignment.every(),
        "total_updates": assignment.total_updates,
        "anneal_learning_rate": float(own.anneal_learning_rate),
        "max_grad_norm": own.max_grad_norm,
        "weight_decay": own.weight_decay,
        "individual_weight": joint.individual_weight,
        "coordination_weight": joint.coordination_weight,
        "project_conflicts": float(joint.project_conflicts),
    }


def ppo_hyper(config: TrainConfig, assignment: Assignment) -> Hyper:
    """The traced numbers of PPO, from the settings; one learning rate per group of parameters."""
    ppo, joint = config.ppo, config.joint_training
    of_phase: tuple[Any, ...] = (config.specialists.get(assignment.class_name), config.meta_controller, joint)
    values: dict[str, Any] = _steps(config, assignment, of_phase[assignment.phase - 1].learning_rate, ppo) | {
        "gamma": ppo.gamma,
        "gae_lambda": ppo.gae_lambda,
        "clip_range": ppo.clip_range,
        "value_clip_range": ppo.value_clip_range,
        "value_weight": ppo.value_weight,
        "entropy_weight": ppo.entropy_weight,
        "target_kl": ppo.target_kl,
        "leash": joint.leash,
    }
    hyper = Hyper(**jax.tree.map(scalar, values))
    # One decision may span many bars: the discount between decisions is that of all of them.
    return dataclasses.replace(hyper, gamma=hyper.gamma**assignment.interval)


def pathwise_hyper(config: TrainConfig, assignment: Assignment) -> StepHyper:
    """The traced numbers of the pathwise learner, from the settings; one learning rate per group of parameters."""
    pathwise = config.pathwise
    rates = (pathwise.learning_rate, pathwise.meta_learning_rate, pathwise.joint_learning_rate)
    values = _steps(config, assignment, rates[assignment.phase - 1], pathwise)
    return StepHyper(**jax.tree.map(scalar, values))


def pathwise_ppo_hyper(config: TrainConfig, assignment: Assignment) -> PathwiseThenPPOHyper:
    """The traced numbers of both, and how they divide the updates."""
    of_ppo = config.pathwise.ppo_share * assignment.total_updates

    def part(updates: float) -> Assignment:
        return dataclasses.replace(assignment, total_updates=updates)

    return PathwiseThenPPOHyper(
        pathwise=pathwise_hyper(config, part(assignment.total_updates - of_ppo)), ppo=ppo_hyper(config, part(of_ppo))
    )


LEARNERS: dict[str, LearnerKind] = {
    PPO.name: LearnerKind(make_ppo, ppo_hyper),
    Pathwise.name: LearnerKind(
        make=lambda config, batch_size: Pathwise(),
        hyper=pathwise_hyper,
        rollout=lambda config: (config.pathwise.num_envs, config.pathwise.window),
        discounts=False,
    ),
    PathwiseThenPPO.name: LearnerKind(
        make=lambda config, batch_size: PathwiseThenPPO(make_ppo(config, batch_size)), hyper=pathwise_ppo_hyper
    ),
}


def register_learner(name: str, kind: LearnerKind) -> None:
    """Let the setting ``algorithm``, and those of single phases, name another learner.

    Raises:
        UserError: there is a learner of this name.
    """
    register(AlgorithmName, name, LEARNERS)
    register(PhaseAlgorithmName, name, LEARNERS)
    LEARNERS[name] = kind
