"""Pathwise first, then PPO from there, in one training."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.learning.contract import Metrics, Program, TrainState
from mtquant_jax.learning.optimizer import StepHyper, select, start_optimizer
from mtquant_jax.learning.pathwise.learner import pathwise_update
from mtquant_jax.learning.ppo.hyper import Hyper
from mtquant_jax.learning.ppo.learner import CLOSING_METRICS, PPO, ppo_update
from mtquant_jax.learning.updates import StartsFresh, repeat


@struct.dataclass
class PathwiseThenPPOHyper:
    """The numbers of both; each anneals its own learning rate over its own updates."""

    pathwise: StepHyper  # its total_updates, rounded, are those before PPO
    ppo: Hyper  # its total_updates are those after

    def rates_after(self, update: float) -> dict[str, float]:
        """The learning rate of each group after some updates, of whichever learner is at work then."""
        before = round(float(self.pathwise.total_updates))
        return self.pathwise.rates_after(update) if update < before else self.ppo.rates_after(update - before)


@dataclasses.dataclass(frozen=True)
class PathwiseThenPPO(StartsFresh):
    """The learner ``pathwise_ppo``: rollouts of PPO's size, first as one window each, later as PPO's batches."""

    ppo: PPO

    name = "pathwise_ppo"
    closing_metrics = tuple(name for name in CLOSING_METRICS if name != "action_std")  # the start explores nothing

    def chunk(
        self, program: Program, state: TrainState, env_params: Any, hyper: PathwiseThenPPOHyper, num_updates: jax.Array
    ) -> tuple[TrainState, Metrics]:
        """``num_updates`` updates; the mean of the metrics that both have, and of the rest over the updates of PPO."""
        switch = jnp.round(hyper.pathwise.total_updates).astype(jnp.int32)
        before = jnp.clip(switch - state.update, 0, num_updates)
        state, first = repeat(functools.partial(pathwise_update, program, env_params, hyper.pathwise), state, before)
        # Gradients of PPO have other sizes than those that Adam has seen so far.
        fresh = start_optimizer(state.params, program.agent.groups)
        here = {name: state.params[name] for name in state.reference}  # and the leash is on what has been learnt so far
        state = dataclasses.replace(
            state,
            optimizer=select(state.update == switch, fresh, state.optimizer),
            reference=select(state.update == switch, here, state.reference),
        )
        by_ppo = functools.partial(ppo_update, self.ppo, program, env_params, hyper.ppo)

        def after(state: TrainState) -> tuple[TrainState, Metrics]:
            moved, metrics = by_ppo(dataclasses.replace(state, update=state.update - switch))
            return dataclasses.replace(moved, update=state.update + 1), metrics

        state, second = repeat(after, state, num_updates - before)
        share = before / jnp.maximum(num_updates, 1)
        both = {name: share * first[name] + (1.0 - share) * second[name] for name in first if name in second}
        return state, second | both
