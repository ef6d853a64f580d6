"""Tells a training that has left the numbers from one that learns, and names the setting most likely at fault."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.errors import UserError
from mtquant_jax.settings.config import (
    JointTrainingConfig,
    MetaControllerConfig,
    PathwiseConfig,
    PPOConfig,
    SpecialistConfig,
    TrainConfig,
)
from mtquant_jax.training.observer import Member

LARGEST_KL = 1000.0
"""Approximate KL divergence of an update, nats, from which a policy is lost: healthy ones stay under 0.1, and those
of a learning rate of 100 times the default under 200."""

LARGEST_PARAMETER = 1e6
"""Size of a network parameter from which a policy is lost; healthy ones are of order 1."""

_MUST_BE_FINITE = ("reward", "value", "value_loss", "policy_loss", "entropy", "approximate_kl", "action_std")
_SUSPICIOUS = 3.0  # multiple of its default from which a setting is suspected before the learning rate


@dataclasses.dataclass(frozen=True)
class Symptom:
    """What is wrong in the metrics or parameters of an update."""

    agent: str
    text: str
    of_market: bool = False  # whether good parameters earned rewards that are not finite: learning is not to blame


class Diverged(UserError):
    """A training diverged; the last good policy of the member that did is kept here."""

    def __init__(
        self, found: Symptom, member: Member, updates: str, timesteps: int, policy: Policy, advice: str = ""
    ) -> None:
        """What diverged, and from where it could go on.

        Args:
            found: what is wrong.
            member: whose training it is.
            updates: in which it happened, such as "update 7 of 50".
            timesteps: after which the policy was saved.
            policy: the last good one, from before the chunk that diverged.
            advice: which setting to change.
        """
        who = member.name if found.agent == member.name else f"{found.agent} ({member.name})"
        self.sentence = (
            f"phase {member.phase}: {who} of seed {member.seed} diverged in {updates}: {found.text}. {advice}"
        )
        super().__init__(f"{self.sentence}. The policy after {timesteps:,} timesteps was good; the exception holds it")
        self.found, self.member, self.updates, self.timesteps, self.policy = found, member, updates, timesteps, policy
        self.phase, self.name, self.seed = member.phase, member.name, member.seed

    def blaming(self, config: TrainConfig) -> Diverged:
        """The same with the setting that is most likely at fault."""
        advice = _advice(self.found, self.member, config)
        return Diverged(self.found, self.member, self.updates, self.timesteps, self.policy, advice)


def rejected_updates(metrics: Mapping[str, np.ndarray], updates: int) -> int:
    """How many of the updates that metrics are means of changed nothing, for their gradients were no numbers."""
    return round(float(np.sum(metrics.get("rejected_updates", 0.0))) * updates)


def too_many(rejected: int, allowed: int, updates: int, member: Member) -> Symptom | None:
    """Divergence by more rejected updates than are allowed, or than half of all ``updates`` of a training."""
    if rejected <= min(allowed, updates // 2):
        return None
    count = "an update was" if rejected == 1 else f"{rejected} updates were"
    limit = f"at most {min(allowed, updates // 2)} may be (`ppo.max_rejected_updates`, or half of all)"
    return Symptom(member.name, f"{count} rejected, for gradients were no numbers, and {limit}")


def refuse_without_slope(metrics: Mapping[str, np.ndarray], member: Member) -> None:
    """Stop a training whose first updates had no gradient at all; it would end as it began.

    Args:
        metrics: of the first updates.
        member: whose they are.

    Raises:
        UserError: every gradient of theirs was zero, and none was rejected.
    """
    norms = [value for name, value in metrics.items() if name.startswith("gradient_norm/")]
    if not norms or np.any(metrics.get("rejected_updates", 0.0)) or any(np.any(norm != 0.0) for norm in norms):
        return
    raise UserError(
        f"phase {member.phase}: {member.name} of seed {member.seed} learns nothing: its gradients are all zero. Either "
        "its reward has no slope in what is traded, and `algorithm` ppo, which needs none, learns from it, or "
        "nothing can be traded"
    )


def symptom(metrics: Mapping[str, np.ndarray], params: Any, member: Member) -> Symptom | None:
    """The first sign of divergence after some updates, or None for a training that may go on.

    Args:
        metrics: of the learner, by name, on the host; a learner may have only some of those that are looked at.
        params: ``{group: parameters}`` after the updates, on the host.
        member: whose they are.
    """
    for name, value in _watched(metrics):
        bad = ~np.isfinite(value)
        if bad.any():
            # A rollout comes before what is learnt from it: what is wrong with its reward is not learnt in this update.
            return Symptom(_agent(member, bad), f"{name} is not a number", of_market=name == "reward")
        if name == "approximate_kl" and (far := np.abs(value) > LARGEST_KL).any():
            distance = float(np.max(np.abs(value)))
            return Symptom(_agent(member, far), f"an update moved the policy by {distance:.2g} nats")
    sizes = (float(np.max(np.abs(leaf))) for leaf in jax.tree.leaves(params) if leaf.size)
    largest = max(sizes, key=_nan_first, default=0.0)
    if not largest <= LARGEST_PARAMETER:
        return Symptom(member.name, f"a parameter of the networks is {largest:.2g}")
    return None


def _nan_first(size: float) -> float:
    """Sorts not-a-number above all numbers."""
    return math.inf if math.isnan(size) else size


def _watched(metrics: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Those that a training cannot do without, in the order in which an update makes them."""
    norms = (name for name in metrics if name.startswith("gradient_norm/"))
    for name in (*_MUST_BE_FINITE, *norms):
        if name in metrics:
            yield name, np.ravel(metrics[name])


def _agent(member: Member, bad: np.ndarray) -> str:
    """The agent that an entry of a metric belongs to; the member where there is one value for all."""
    index = int(np.argmax(bad))
    return member.plan.agents[index] if len(bad) > 1 and index < len(member.plan.agents) else member.name


def _advice(found: Symptom, member: Member, config: TrainConfig) -> str:
    """Which setting to change."""
    if found.of_market:
        return "Its parameters are numbers, so look for a price, spread or contract specification that is none"
    algorithm = config.algorithm_of(member.phase)
    suspects = [*_suspects_of_pathwise(member, config)] if algorithm.startswith("pathwise") else []
    suspects += _suspects(member, config) if algorithm != "pathwise" else []
    key, value, default, excess = max(suspects, key=lambda suspect: suspect[3])
    if excess > _SUSPICIOUS:
        return f"Most likely at fault is `{key}` {value:g} (default {default:g}): lower it"
    clip = f"{'pathwise' if key.startswith('pathwise') else 'ppo'}.max_grad_norm"
    return f"Most likely at fault is `{key}` {value:g}: lower it, and then `{clip}`"


def _suspects_of_pathwise(member: Member, config: TrainConfig) -> Sequence[tuple[str, float, float, float]]:
    """As `_suspects`, of a training by the gradient through the account."""
    rate = ("learning_rate", "meta_learning_rate", "joint_learning_rate")[member.phase - 1]
    found = []
    for name in (rate, "max_grad_norm", "weight_decay"):
        value, normal = (float(getattr(settings, name)) for settings in (config.pathwise, PathwiseConfig()))
        excess = value / normal if name != rate else max(value / normal, _SUSPICIOUS)
        found.append((f"pathwise.{name}", value, normal, excess))
    return found


def _suspects(member: Member, config: TrainConfig) -> Sequence[tuple[str, float, float, float]]:
    """Settings that can make a training diverge: key, value, default, and by what factor it exceeds what is usual."""
    ppo, usual = config.ppo, PPOConfig()
    if member.phase == 1:
        rate = (f"specialists.{member.name}.learning_rate", config.specialists[member.name].learning_rate)
        default = SpecialistConfig().learning_rate
    elif member.phase == 2:
        rate = ("meta_controller.learning_rate", config.meta_controller.learning_rate)
        default = MetaControllerConfig().learning_rate
    else:
        rate = ("joint_training.learning_rate", config.joint_training.learning_rate)
        default = JointTrainingConfig().learning_rate
    found = [(*rate, default, max(rate[1] / default, _SUSPICIOUS))]  # unless another is further from its default
    for name in ("max_grad_norm", "value_weight", "weight_decay", "num_epochs"):
        value, normal = float(getattr(ppo, name)), float(getattr(usual, name))
        found.append((f"ppo.{name}", value, normal, value / normal))
    found.append(("ppo.entropy_weight", ppo.entropy_weight, usual.entropy_weight, ppo.entropy_weight / 0.01))
    found.append(("ppo.initial_log_std", ppo.initial_log_std, usual.initial_log_std, math.exp(ppo.initial_log_std)))
    return found
