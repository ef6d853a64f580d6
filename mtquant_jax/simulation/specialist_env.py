"""One asset class as a gymnax environment: actions are changes of relative weights, the reward is the class's growth.

Observations are compact (where in the market, and the account); `specialist_inputs` looks the features up, so that a
rollout stores indices and not features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.simulation.anchor import anchor_weights, drifted
from mtquant_jax.simulation.execution import next_relative_weights
from mtquant_jax.simulation.market_env import (
    Book,
    MarketEnvironment,
    MarketParams,
    StepInfo,
    open_book,
    price_returns,
    reward_inputs,
    trade,
)
from mtquant_jax.simulation.reward import RewardMemory, start_memory
from mtquant_jax.types import MarketTable

if TYPE_CHECKING:  # the spaces come with all of gymnax, which takes seconds
    from gymnax.environments import spaces


@struct.dataclass
class SpecialistState:
    """The episode of one class."""

    time: jax.Array  # [] int32, bars since the start
    path: jax.Array  # [] int32
    bar: jax.Array  # [] int32, the bar whose close is now
    book: Book
    relative_weights: jax.Array  # [C] weight / (leverage x share), about [-1, 1]
    anchor: jax.Array  # [C] the anchor's part of them
    reward_memory: RewardMemory


@struct.dataclass
class SpecialistObservation:
    """Where the market stands and what is held; the features are looked up by `specialist_inputs`."""

    path: jax.Array  # [] int32
    bar: jax.Array  # [] int32
    relative_weights: jax.Array  # [C]
    tilt: jax.Array  # [C] what they are beyond the anchor's part
    anchor: jax.Array  # [C] relative weights that the anchor wants now
    drawdown: jax.Array  # [] 1 - equity / peak


@struct.dataclass
class SpecialistInputs:
    """What a specialist's network sees."""

    instruments: jax.Array  # [..., C, F + 1] features and the tilt held
    market: jax.Array  # [..., D + 1] domain features and the drawdown


class SpecialistEnv(MarketEnvironment):
    """A specialist alone with its class: its budget is the whole equity."""

    def initial_state(self, path: jax.Array, bar: jax.Array, params: MarketParams) -> SpecialistState:
        """A flat account at the close of ``bar``."""
        return SpecialistState(
            time=jnp.zeros((), jnp.int32),
            path=jnp.asarray(path, jnp.int32),
            bar=jnp.asarray(bar, jnp.int32),
            book=open_book(path, bar, params),
            relative_weights=jnp.zeros(params.mask.size),
            anchor=jnp.zeros(params.mask.size),
            reward_memory=start_memory(),
        )

    def step_env(
        self, key: jax.Array, state: SpecialistState, action: jax.Array, params: MarketParams
    ) -> tuple[SpecialistObservation, SpecialistState, jax.Array, jax.Array, dict[str, StepInfo]]:
        """Trade one bar.

        Args:
            key: unused, the market is data.
            state: at the close of bar t.
            action: ``[C]`` change of the tilt wanted.
            params: the class's market.

        Returns:
            Observation, state at the close of t + 1, reward ``[]``, terminated ``[]``, and info whose ``step`` is a
            `StepInfo`.
        """
        del key
        per_weight = params.rules.leverage * params.share[0]
        anchor = self._anchor(state, params)
        relative = next_relative_weights(state.relative_weights - state.anchor, action, params.rules, anchor)
        target = jnp.where(params.mask[0], relative * per_weight, 0.0)
        book, result, metrics = trade(state.book, target, state.path, state.bar, params)
        covariance = params.table.covariance[state.path, state.bar]
        inputs = reward_inputs(result, state.book.equity, covariance)
        memory, reward = self.reward(state.reward_memory, inputs, params.reward)
        tradable = params.table.tradable[state.path, state.bar + 1]
        exposure, driver = state.relative_weights, price_returns(params.table, state.path, state.bar) * per_weight
        relative_now = result.unrounded_weights / jnp.where(params.mask[0], per_weight, 1.0)
        relative_now = jnp.where(params.mask[0], relative_now, 0.0)
        state = SpecialistState(
            time=state.time + 1,
            path=state.path,
            bar=state.bar + 1,
            book=book,
            relative_weights=relative_now,
            anchor=drifted(state.anchor, anchor, state.relative_weights, relative, relative_now, tradable),
            reward_memory=memory,
        )
        observation = self.observe(None, state, action, params)
        observation, state = self._apply_transition_gradient_policy(observation, state)
        step = StepInfo(
            equity=result.equity,
            wanted=jnp.where(params.mask[0], relative, 0.0),
            weights=result.weights,
            unrounded_weights=result.unrounded_weights,
            traded=result.traded,
            flows=result.flows,
            opened=result.opened,
            fill_offset=result.fill_offset,
            variance=inputs.variance,
            budgets=jnp.ones(1),
            metrics=metrics,
            exposure=exposure,
            driver=driver,
        )
        return observation, state, reward, result.stopped_out | result.ruined, {"step": step}

    def observe(
        self, key: jax.Array | None, state: SpecialistState, action: jax.Array | None, params: MarketParams
    ) -> SpecialistObservation:
        """What is known at the close of the state's bar."""
        return SpecialistObservation(
            path=state.path,
            bar=state.bar,
            relative_weights=state.relative_weights,
            tilt=state.relative_weights - state.anchor,
            anchor=self._anchor(state, params),
            drawdown=1.0 - state.book.equity / state.book.peak_equity,
        )

    def _anchor(self, state: SpecialistState, params: MarketParams) -> jax.Array:
        """Relative weights ``[C]`` that the anchor wants now."""
        covariance = params.table.covariance[state.path, state.bar]
        held = state.anchor[None]
        return anchor_weights(params.anchor, held, covariance, params.mask, params.table.day, state.bar)[0]

    def action_shape(self, params: MarketParams) -> tuple[int, ...]:
        """``(C,)``."""
        return (params.mask.size,)

    def action_space(self, params: MarketParams) -> spaces.Box:
        """Changes of the tilt ``[C]``; anything beyond two full turns is clipped by the limits."""
        from gymnax.environments import spaces

        return spaces.Box(-2.0, 2.0, self.action_shape(params))

    def observation_space(self, params: MarketParams) -> spaces.Dict:
        """The compact observation's ranges."""
        from gymnax.environments import spaces

        paths, bars = params.table.open.shape[:2]
        return spaces.Dict(
            {
                "path": spaces.Box(0, paths - 1, (), jnp.int32),
                "bar": spaces.Box(0, bars - 1, (), jnp.int32),
                "relative_weights": spaces.Box(-jnp.inf, jnp.inf, (params.mask.size,)),
                "tilt": spaces.Box(-jnp.inf, jnp.inf, (params.mask.size,)),
                "anchor": spaces.Box(0.0, 1.0, (params.mask.size,)),
                "drawdown": spaces.Box(0.0, jnp.inf, ()),
            }
        )


def specialist_inputs(observation: SpecialistObservation, table: MarketTable) -> SpecialistInputs:
    """Look up the features of observations with any leading axes; ``table`` holds one class ``[P, T, C, F]``."""
    features = table.features[observation.path, observation.bar]
    domain = table.domain[observation.path, observation.bar, 0]
    return SpecialistInputs(
        instruments=jnp.concatenate([features, observation.tilt[..., None]], axis=-1),
        market=jnp.concatenate([domain, observation.drawdown[..., None]], axis=-1),
    )
