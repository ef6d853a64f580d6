"""Proximal policy optimisation (Schulman et al. 2017) as a learner: rollout, advantages, epochs of minibatches."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax

from mtquant_jax.learning.contract import Metrics, Program, TrainState
from mtquant_jax.learning.ppo.hyper import Hyper
from mtquant_jax.learning.ppo.update import learn, make_batch
from mtquant_jax.learning.rollout import collect, rollout_metrics
from mtquant_jax.learning.updates import StartsFresh, repeat

CLOSING_METRICS = (
    "exposure",
    "time_in_market",
    "turnover",
    "action_std",
    "explained_variance",
    "approximate_kl",
    "clip_fraction",
    "entropy",
    # of coordinated objectives:
    "gradient_cosine",
    "gradient_conflict",
    "own_gradient_norm",
    "shared_gradient_norm",
    "reference_kl",
)


@dataclasses.dataclass(frozen=True)
class PPO(StartsFresh):
    """The learner ``ppo``: its static sizes; all other numbers are in `Hyper`."""

    num_minibatches: int  # per epoch; they divide the timesteps of a rollout
    num_epochs: int  # passes over each rollout

    name = "ppo"
    closing_metrics = CLOSING_METRICS

    def chunk(
        self, program: Program, state: TrainState, env_params: Any, hyper: Hyper, num_updates: jax.Array
    ) -> tuple[TrainState, Metrics]:
        """``num_updates`` updates and the mean of their metrics."""
        update = functools.partial(ppo_update, self, program, env_params, hyper)
        return repeat(update, state, num_updates)


def ppo_update(
    learner: PPO, program: Program, env_params: Any, hyper: Hyper, state: TrainState
) -> tuple[TrainState, Metrics]:
    """One update: collect a rollout, compute advantages, learn, and only then update the observation statistics."""
    state, trajectory = collect(program, state, env_params)
    batch, quality = make_batch(program, state, trajectory, env_params, hyper)
    sizes = learner.num_minibatches, learner.num_epochs
    state, learned = learn(program, sizes, state, batch, env_params, hyper)
    normalizers = state.normalizers
    if program.learn_normalizers:
        inputs = program.agent.inputs(trajectory.observation, env_params)
        normalizers = program.agent.extend_normalizers(normalizers, inputs)
    state = dataclasses.replace(state, normalizers=normalizers, update=state.update + 1)
    return state, rollout_metrics(trajectory) | quality | learned
