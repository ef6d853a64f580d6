"""Phase 2's environment: from one decision of the meta-controller to the next, frozen specialists trade in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.simulation.market_env import MarketEnvironment
from mtquant_jax.simulation.portfolio_env import (
    LARGEST_LOGIT,
    PortfolioEnv,
    PortfolioObservation,
    PortfolioParams,
    PortfolioState,
    PortfolioStepInfo,
)
from mtquant_jax.simulation.reward import RewardFunction
from mtquant_jax.types import MarketTable

if TYPE_CHECKING:  # the spaces come with all of gymnax, which takes seconds
    from gymnax.environments import spaces


@struct.dataclass
class DecisionInfo:
    """What one decision of the meta-controller brought; stands under ``step`` in gymnax's ``info``."""

    equity: jax.Array  # [] share of initial capital, at the close of the last bar
    budgets: jax.Array  # [S] share of equity that each class might use
    metrics: dict[str, jax.Array]  # [] means over the bars, by name
    exposure: jax.Array  # [S] budgets before the decision
    driver: jax.Array  # [S] what a unit of budget earned over the bars, which hardly depends on the size of the budget


class AllocationEnv(MarketEnvironment):
    """One step is one decision of the meta-controller: frozen specialists trade ``interval`` bars under it."""

    def __init__(
        self, reward: RewardFunction, act: Callable[[Any, PortfolioObservation, MarketTable], jax.Array], interval: int
    ):
        """``act(specialists, observation, table) -> [S, C]`` is the frozen specialists' policy."""
        super().__init__(reward)
        # What happens within a step stays differentiable; this environment's own policy detaches at its end. What the
        # classes are paid is of no interest here: nobody learns from it.
        self.portfolio = PortfolioEnv(reward).with_transition_gradients()
        self.act = act
        self.interval = interval

    def initial_state(self, path: jax.Array, bar: jax.Array, params: PortfolioParams) -> PortfolioState:
        """As `PortfolioEnv.initial_state`."""
        return self.portfolio.initial_state(path, bar, params)

    def observe(
        self, key: jax.Array | None, state: PortfolioState, action: jax.Array | None, params: PortfolioParams
    ) -> PortfolioObservation:
        """As `PortfolioEnv.observe`."""
        return self.portfolio.observe(key, state, action, params)

    def step_env(
        self, key: jax.Array, state: PortfolioState, action: jax.Array, params: PortfolioParams
    ) -> tuple[PortfolioObservation, PortfolioState, jax.Array, jax.Array, dict[str, DecisionInfo]]:
        """Hold the allocation ``[S + 2]`` of one action until the next decision, or until the episode ends within.

        The reward is discounted per bar within the step, so that values mean the same as bar by bar. The ``step`` of
        info is a `DecisionInfo`.
        """
        num_classes, width = params.mask.shape
        columns = max(width, num_classes + 2)
        meta_row = jnp.pad(action, (0, columns - num_classes - 2))[None]

        def one_bar(carry: tuple[Any, ...], _: None) -> tuple[tuple[Any, ...], Any]:
            state, reward, weight, terminated = carry
            observation = self.portfolio.observe(None, state, None, params)
            trades = jnp.pad(self.act(params.specialists, observation, params.table), ((0, 0), (0, columns - width)))
            actions = jnp.concatenate([trades, meta_row])
            stepped = self.portfolio.step_env(key, state, actions, params)
            after, bar_reward, now_terminated, info = stepped[1:]
            step: PortfolioStepInfo = info["step"]
            earned = jnp.sum(step.exposure[:-1] * step.driver, axis=-1)  # [S] per unit of budget
            running = ~terminated & ~self.is_truncated(state, params)
            state = jax.tree.map(lambda new, old: jnp.where(running, new, old), after, state)
            reward = reward + jnp.where(running, weight * bar_reward, 0.0)
            carry = (state, reward, weight * params.discount, terminated | (running & now_terminated))
            return carry, (running.astype(reward.dtype), step.metrics, earned)

        start = (state, jnp.zeros(()), jnp.ones(()), jnp.zeros((), bool))
        budgets = state.allocation.budgets()
        (state, reward, _, terminated), (running, measured, earned) = jax.lax.scan(one_bar, start, length=self.interval)
        metrics = {name: jnp.sum(values * running) / jnp.sum(running) for name, values in measured.items()}
        observation = self.observe(None, state, action, params)
        observation, state = self._apply_transition_gradient_policy(observation, state)
        step = DecisionInfo(
            equity=state.book.equity,
            budgets=state.allocation.budgets(),
            metrics=metrics,
            exposure=budgets,
            driver=jnp.sum(earned * running[:, None], axis=0),
        )
        return observation, state, reward, terminated, {"step": step}

    def decision_interval(self, params: PortfolioParams) -> jax.Array:
        """Bars ``[]`` between two decisions of the meta-controller."""
        return params.meta_interval

    def action_space(self, params: PortfolioParams) -> spaces.Box:
        """Capital logits of the classes and cash, and the logit of the risk appetite ``[S + 2]``."""
        from gymnax.environments import spaces

        return spaces.Box(-LARGEST_LOGIT, LARGEST_LOGIT, (params.mask.shape[0] + 2,))
