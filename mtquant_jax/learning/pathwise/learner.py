"""The pathwise learner: no action moves the market, so the profit of a window of bars has a gradient in the policy.

The rewards of L steps are a differentiable function of the actions, through fills, costs, risk layer and account, and
of the observations of what is held, through the policy. Its gradient is exact up to the places listed in
docs/learning.md, and has none of the noise of a score-function estimate (compare Xu et al., Accelerated Policy Learning
with Parallel Differentiable Simulation, 2022).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from mtquant_jax.agents.contract import Group
from mtquant_jax.learning.contract import Metrics, Objective, Program, TrainState, Trajectory
from mtquant_jax.learning.coordination import coordinate
from mtquant_jax.learning.optimizer import StepHyper, apply_gradients, select
from mtquant_jax.learning.rollout import collect, rollout_metrics
from mtquant_jax.learning.updates import StartsFresh, repeat

CLOSING_METRICS = (
    "exposure",
    "time_in_market",
    "turnover",
    # of coordinated objectives:
    "gradient_cosine",
    "gradient_conflict",
    "own_gradient_norm",
    "shared_gradient_norm",
)

Streams = tuple[float, ...]
"""Weight of each reward stream in a sum of rewards."""

# gymnax compiles per instance: one differentiable copy of each environment.
_differentiable = functools.cache(lambda env: env.with_transition_gradients())


@dataclasses.dataclass(frozen=True)
class Pathwise(StartsFresh):
    """The learner ``pathwise``; windows are the rollouts of its program."""

    name = "pathwise"
    closing_metrics = CLOSING_METRICS

    def chunk(
        self, program: Program, state: TrainState, env_params: Any, hyper: StepHyper, num_updates: jax.Array
    ) -> tuple[TrainState, Metrics]:
        """``num_updates`` updates and the mean of their metrics."""
        return repeat(functools.partial(pathwise_update, program, env_params, hyper), state, num_updates)


def pathwise_update(
    program: Program, env_params: Any, hyper: StepHyper, state: TrainState
) -> tuple[TrainState, Metrics]:
    """One update: the gradient of a window's mean rewards, a step along it, and then the observation statistics.

    Episodes go on where the window before left them, but no gradient passes between windows or through a reset.
    Policies act without exploration. Where a gradient is not a number, parameters stay as they are.
    """
    groups = program.agent.groups
    streams = _streams(program.objectives, groups)
    jacobian, after, trajectory = window_gradients(program, state, env_params, _distinct(streams))
    gradients, coordination = _gradients(program, jacobian, streams, hyper)
    params, optimizer, norms = apply_gradients(state.params, state.optimizer, gradients, groups, hyper, state.update)
    # What has no part in the actions, such as a critic, does not decay either: a later PPO finds it as it was.
    params = jax.tree.map(lambda new, old, g: jnp.where(jnp.any(g != 0.0), new, old), params, state.params, gradients)
    rejected = ~jnp.all(jnp.stack([jnp.all(jnp.isfinite(norm)) for norm in norms.values()]))
    params, optimizer = select(rejected, (state.params, state.optimizer), (params, optimizer))
    learned = {f"gradient_norm/{name}": norm for name, norm in norms.items()} | coordination
    learned = {name: jnp.where(rejected, 0.0, value) for name, value in learned.items()}
    normalizers = state.normalizers
    if program.learn_normalizers:
        inputs = program.agent.inputs(trajectory.observation, env_params)
        normalizers = program.agent.extend_normalizers(normalizers, inputs)
    state = dataclasses.replace(
        after, params=params, optimizer=optimizer, normalizers=normalizers, update=state.update + 1
    )
    metrics = rollout_metrics(trajectory)
    del metrics["action_std"]  # nothing was explored
    return state, metrics | learned | {"rejected_updates": rejected.astype(jnp.float32)}


def window_gradients(
    program: Program, state: TrainState, env_params: Any, streams: Sequence[Streams]
) -> tuple[list[Any], TrainState, Trajectory]:
    """The gradients of minus the mean reward per step of a window, one for each weighting of the reward streams.

    Args:
        program: its ``num_steps`` are the window's.
        state: at the beginning of the window.
        env_params: the market.
        streams: weights ``[A]`` of each sum of rewards.

    Returns:
        Gradients as the parameters, the state at the end of the window, and the window's trajectory.
    """
    program = dataclasses.replace(program, env=_differentiable(program.env))

    def losses(params: Any) -> tuple[jax.Array, tuple[TrainState, Trajectory]]:
        after, trajectory = collect(program, dataclasses.replace(state, params=params), env_params, explores=False)
        earned = jnp.mean(trajectory.reward, axis=(0, 1))
        return jnp.stack([-jnp.sum(jnp.asarray(weights) * earned) for weights in streams]), (after, trajectory)

    _, pullback, (after, trajectory) = jax.vjp(losses, state.params, has_aux=True)
    if len(streams) == 1:
        return [pullback(jnp.ones(1))[0]], after, trajectory
    jacobian = jax.vmap(pullback)(jnp.eye(len(streams)))[0]
    return [jax.tree.map(lambda leaf, i=i: leaf[i], jacobian) for i in range(len(streams))], after, trajectory


def _streams(objectives: Sequence[Objective], groups: Sequence[Group]) -> dict[str, list[Streams]]:
    """The reward streams that each group follows, objective by objective, where its agents have a part in it."""
    found: dict[str, list[Streams]] = {group.name: [] for group in groups}
    for group in groups:
        for objective in objectives:
            weights = [0.0] * len(objective.streams)
            for agent in group.agents:
                stream = objective.streams[agent]
                weights[stream] = max(weights[stream], objective.policy[agent])
            if any(weights):
                found[group.name].append(tuple(weights))
    return found


def _distinct(streams: dict[str, list[Streams]]) -> list[Streams]:
    """Every weighting once."""
    return list(dict.fromkeys(weights for of_group in streams.values() for weights in of_group))


def _gradients(
    program: Program, jacobian: list[Any], streams: dict[str, list[Streams]], hyper: StepHyper
) -> tuple[Any, Metrics]:
    """The gradient to step along: each group's sum over its objectives, with the first two of one group coordinated."""
    by_streams = dict(zip(_distinct(streams), jacobian, strict=True))
    gradients: dict[str, Any] = {}
    metrics: Metrics = {}
    for name, of_group in streams.items():
        parts = [by_streams[weights][name] for weights in of_group]
        if name == program.coordinated_group:
            own, shared, *rest = parts
            combined, metrics = coordinate(
                own, shared, hyper.individual_weight, hyper.coordination_weight, hyper.project_conflicts
            )
            parts = [combined, *rest]
        gradients[name] = jax.tree.map(lambda *leaves: sum(leaves), *parts)
    return gradients, metrics
