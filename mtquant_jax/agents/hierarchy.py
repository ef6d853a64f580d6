"""The agents PPO trains: one specialist, the meta-controller, and all of them together.

Specialists are stacked on a leading axis; in actions an agent is a row, padded to the widest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.contract import ControlVariate, Group
from mtquant_jax.agents.distributions import DiagonalGaussian
from mtquant_jax.agents.networks import MetaNetwork, SpecialistNetwork
from mtquant_jax.agents.normalizer import Normalizer
from mtquant_jax.simulation.allocation_env import DecisionInfo
from mtquant_jax.simulation.market_env import StepInfo
from mtquant_jax.simulation.portfolio_env import PortfolioObservation, PortfolioParams, PortfolioStepInfo
from mtquant_jax.simulation.portfolio_inputs import (
    HierarchyInputs,
    PortfolioInputs,
    class_inputs,
    hierarchy_inputs,
    portfolio_inputs,
)
from mtquant_jax.simulation.specialist_env import SpecialistInputs, SpecialistObservation, specialist_inputs
from mtquant_jax.types import MarketTable

SPECIALIST, SPECIALISTS, META = "specialist", "specialists", "meta"

_SMALL = 1 << 20  # bytes of an array that may go to the host and back

_CLASS_AXES: Any = SpecialistInputs(instruments=-3, market=-2)  # type: ignore[arg-type]  # where the S axis of stacked inputs stands


@dataclasses.dataclass(frozen=True)
class SpecialistAgent:
    """One specialist in its own environment; A = 1, K = C."""

    network: SpecialistNetwork

    num_agents = 1
    groups = (Group(SPECIALIST),)

    def inputs(self, observation: SpecialistObservation, env_params: Any) -> SpecialistInputs:
        """Features of the class and what is held."""
        return specialist_inputs(observation, env_params.table)

    def policy(self, params: Any, normalizers: Any, inputs: SpecialistInputs, env_params: Any) -> DiagonalGaussian:
        """Changes of relative weight ``[..., 1, C]``."""
        normalised = normalizers[SPECIALIST].normalise(inputs)
        mean, log_std = self.network.apply({"params": params[SPECIALIST]}, normalised, method="policy")
        return DiagonalGaussian(mean=mean[..., None, :], log_std=log_std, mask=env_params.mask)

    def value(self, params: Any, normalizers: Any, inputs: SpecialistInputs) -> jax.Array:
        """Value ``[..., 1]`` of the class's own reward."""
        normalised = normalizers[SPECIALIST].normalise(inputs)
        return self.network.apply({"params": params[SPECIALIST]}, normalised, method="value")[..., None]

    def env_action(self, action: jax.Array) -> jax.Array:
        """``[..., 1, C] -> [..., C]``."""
        return action[..., 0, :]

    def decides(self, observation: SpecialistObservation) -> jax.Array:
        """Always ``[..., 1]``."""
        return jnp.ones((*observation.bar.shape, 1))

    def rewards(self, reward: jax.Array, info: dict[Any, Any]) -> jax.Array:
        """``[..., 1]``."""
        return reward[..., None]

    def control(self, info: dict[Any, Any]) -> ControlVariate:
        """The class's positions and their prices ``[..., 1, C]``."""
        step: StepInfo = info["step"]
        return ControlVariate(exposure=step.exposure[..., None, :], driver=step.driver[..., None, :])

    def metrics(self, info: dict[Any, Any]) -> dict[str, jax.Array]:
        """What the environment measured ``[...]``."""
        return info["step"].metrics

    def extend_normalizers(self, normalizers: Any, inputs: SpecialistInputs) -> Any:
        """Statistics of the class's inputs."""
        return {SPECIALIST: normalizers[SPECIALIST].extend(inputs)}


@dataclasses.dataclass(frozen=True)
class MetaAgent:
    """The meta-controller over frozen specialists; A = 1, K = S + 2."""

    network: MetaNetwork
    slots: tuple[int, ...]

    num_agents = 1
    groups = (Group(META),)

    def inputs(self, observation: PortfolioObservation, env_params: PortfolioParams) -> PortfolioInputs:
        """The portfolio, its classes and the market as a whole."""
        return portfolio_inputs(observation, env_params.table, self.slots)

    def policy(self, params: Any, normalizers: Any, inputs: PortfolioInputs, env_params: Any) -> DiagonalGaussian:
        """Logits of capital shares and risk appetite ``[..., 1, S + 2]``."""
        normalised = _normalise_portfolio(normalizers, inputs)
        mean, log_std = self.network.apply({"params": params[META]}, normalised, method="policy")
        return DiagonalGaussian(mean=mean[..., None, :], log_std=log_std, mask=jnp.ones((1, 1), bool))

    def value(self, params: Any, normalizers: Any, inputs: PortfolioInputs) -> jax.Array:
        """Value ``[..., 1]`` of the portfolio's reward."""
        normalised = _normalise_portfolio(normalizers, inputs)
        return self.network.apply({"params": params[META]}, normalised, method="value")[..., None]

    def env_action(self, action: jax.Array) -> jax.Array:
        """``[..., 1, S + 2] -> [..., S + 2]``."""
        return action[..., 0, :]

    def decides(self, observation: PortfolioObservation) -> jax.Array:
        """Always ``[..., 1]``: its environment steps from decision to decision."""
        return jnp.ones((*observation.bar.shape, 1))

    def rewards(self, reward: jax.Array, info: dict[Any, Any]) -> jax.Array:
        """``[..., 1]``."""
        return reward[..., None]

    def control(self, info: dict[Any, Any]) -> ControlVariate:
        """The classes' budgets and what they earn on them ``[..., 1, S]``."""
        step: DecisionInfo = info["step"]
        return ControlVariate(exposure=step.exposure[..., None, :], driver=step.driver[..., None, :])

    def metrics(self, info: dict[Any, Any]) -> dict[str, jax.Array]:
        """What the environment measured ``[...]``."""
        return info["step"].metrics

    def extend_normalizers(self, normalizers: Any, inputs: PortfolioInputs) -> Any:
        """Statistics of the portfolio's inputs."""
        return {META: normalizers[META].extend(inputs.flat())}


@dataclasses.dataclass(frozen=True)
class HierarchyAgent:
    """All specialists and the meta-controller, bar by bar; A = S + 1, K = max(C, S + 2)."""

    specialist: SpecialistNetwork
    meta: MetaNetwork
    slots: tuple[int, ...]
    num_classes: int

    @property
    def groups(self) -> tuple[Group, ...]:
        """The specialists, each a row of actions, and the meta-controller in the last one."""
        specialists = tuple(range(self.num_classes))
        return Group(SPECIALISTS, specialists, stacked=True), Group(META, (self.num_classes,))

    @property
    def num_agents(self) -> int:
        """S + 1."""
        return self.num_classes + 1

    def inputs(self, observation: PortfolioObservation, env_params: PortfolioParams) -> HierarchyInputs:
        """What every network sees."""
        return hierarchy_inputs(observation, env_params.table, self.slots)

    def policy(
        self, params: Any, normalizers: Any, inputs: HierarchyInputs, env_params: PortfolioParams
    ) -> DiagonalGaussian:
        """Actions of all agents ``[..., S + 1, K]``; the meta-controller's in the last row."""
        num_classes, width = env_params.mask.shape
        num_meta = num_classes + 2
        columns = max(width, num_meta)
        normalised = normalizers[SPECIALISTS].normalise(inputs.specialists)
        mean, log_std = specialists_policy(self.specialist, params[SPECIALISTS], normalised)
        meta_mean, meta_log_std = self.meta.apply(
            {"params": params[META]}, _normalise_portfolio(normalizers, inputs.portfolio), method="policy"
        )
        mask = jnp.concatenate(
            [_pad(env_params.mask, columns, False), _pad(jnp.ones((1, num_meta), bool), columns, False)]
        )
        return DiagonalGaussian(
            mean=jnp.concatenate([_pad(mean, columns), _pad(meta_mean[..., None, :], columns)], axis=-2),
            log_std=jnp.concatenate([_pad(log_std, columns), _pad(meta_log_std[None], columns)]),
            mask=mask,
        )

    def value(self, params: Any, normalizers: Any, inputs: HierarchyInputs) -> jax.Array:
        """Values ``[..., S + 1]`` of the classes' own rewards and of the portfolio's."""
        normalised = normalizers[SPECIALISTS].normalise(inputs.specialists)

        def class_value(params: Any, class_inputs: SpecialistInputs) -> jax.Array:
            return self.specialist.apply({"params": params}, class_inputs, method="value")

        own = jax.vmap(class_value, in_axes=(0, _CLASS_AXES), out_axes=-1)(params[SPECIALISTS], normalised)
        portfolio = self.meta.apply(
            {"params": params[META]}, _normalise_portfolio(normalizers, inputs.portfolio), method="value"
        )
        return jnp.concatenate([own, portfolio[..., None]], axis=-1)

    def env_action(self, action: jax.Array) -> jax.Array:
        """The environment takes actions of all agents."""
        return action

    def decides(self, observation: PortfolioObservation) -> jax.Array:
        """``[..., S + 1]``: specialists on every bar, the meta-controller on its own."""
        specialists = jnp.ones((*observation.bar.shape, self.num_classes))
        return jnp.concatenate([specialists, observation.decides[..., None].astype(jnp.float32)], axis=-1)

    def rewards(self, reward: jax.Array, info: dict[Any, Any]) -> jax.Array:
        """``[..., S + 1]``: each class's own, then the portfolio's."""
        step: PortfolioStepInfo = info["step"]
        return step.rewards

    def control(self, info: dict[Any, Any]) -> ControlVariate:
        """Positions by reward stream ``[..., S + 1, N]`` and their prices ``[..., 1, N]``."""
        step: PortfolioStepInfo = info["step"]
        return ControlVariate(exposure=step.exposure, driver=step.driver)

    def metrics(self, info: dict[Any, Any]) -> dict[str, jax.Array]:
        """What the environment measured ``[...]``."""
        return info["step"].metrics

    def extend_normalizers(self, normalizers: Any, inputs: HierarchyInputs) -> Any:
        """Statistics of both kinds of inputs."""
        return {
            SPECIALISTS: jax.vmap(Normalizer.extend, in_axes=(0, _CLASS_AXES))(
                normalizers[SPECIALISTS], inputs.specialists
            ),
            META: normalizers[META].extend(inputs.portfolio.flat()),
        }


@dataclasses.dataclass(frozen=True)
class FrozenSpecialists:
    """The deterministic specialists inside `AllocationEnv`; hashable, so that equal ones share one program."""

    network: SpecialistNetwork

    def __call__(self, specialists: Any, observation: PortfolioObservation, table: MarketTable) -> jax.Array:
        """Mean changes of relative weight ``[S, C]``; ``specialists`` is ``(params, normalizer)``, both stacked."""
        params, normalizer = specialists
        return specialists_policy(self.network, params, normalizer.normalise(class_inputs(observation, table)))[0]


def specialists_policy(
    network: SpecialistNetwork, params: Any, inputs: SpecialistInputs
) -> tuple[jax.Array, jax.Array]:
    """Means ``[..., S, C]`` and log standard deviations ``[S, C]`` of stacked specialists on normalised inputs."""

    def policy(params: Any, inputs: SpecialistInputs) -> tuple[jax.Array, jax.Array]:
        return network.apply({"params": params}, inputs, method="policy")

    return jax.vmap(policy, in_axes=(0, _CLASS_AXES), out_axes=(-2, 0))(params, inputs)


def _normalise_portfolio(normalizers: Any, inputs: PortfolioInputs) -> PortfolioInputs:
    """Inputs normalised by the meta-controller's statistics, which are of the flat vector."""
    return inputs.with_values(normalizers[META].normalise(inputs.flat()))


def stack(trees: Sequence[Any]) -> Any:
    """Pytrees of equal shape -> one with a leading axis.

    Small arrays, and on a CPU all, are stacked by NumPy, since JAX would compile a program for each of their shapes.
    """
    return jax.tree.map(lambda *leaves: _stacked(leaves), *trees)


def _stacked(leaves: Sequence[Any]) -> jax.Array:
    def on_host(leaf: Any) -> bool:
        if not isinstance(leaf, jax.Array):
            return True
        plain = not isinstance(leaf, jax.core.Tracer) and not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return plain and (jax.default_backend() == "cpu" or leaf.nbytes <= _SMALL)

    if all(map(on_host, leaves)):
        return jax.device_put(np.stack([np.asarray(leaf) for leaf in leaves]))
    return jnp.stack(leaves)


def unstack(tree: Any, index: int) -> Any:
    """One member of a stacked pytree."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _pad(values: jax.Array, columns: int, padding: Any = 0.0) -> jax.Array:
    """Pad the last axis to ``columns``."""
    widths = [(0, 0)] * (values.ndim - 1) + [(0, columns - values.shape[-1])]
    return jnp.pad(values, widths, constant_values=padding)
