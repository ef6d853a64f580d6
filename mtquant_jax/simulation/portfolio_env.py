"""The whole hierarchy on one account, bar by bar, as a gymnax environment (joint training, evaluation)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mtquant_jax.simulation.anchor import anchor_weights, drifted
from mtquant_jax.simulation.execution import BarResult, next_relative_weights
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
from mtquant_jax.simulation.parts import quadratic_form
from mtquant_jax.simulation.reward import (
    RewardFunction,
    RewardInputs,
    RewardMemory,
    RewardParams,
    TermInputs,
    TermWeights,
    log_growth,
    portfolio_terms,
    start_memory,
)

RETURN_HISTORY = 30  # bars of portfolio returns that the meta-controller sees
_TRACK_RECORD_DECAY = 1.0 / 250.0  # per bar; a specialist's Sharpe and win rate look back about two weeks
_LARGEST_CHANGE = 2.0  # of a relative weight, as in the action space of a specialist alone
LARGEST_LOGIT = 5.0  # bound of the action space: one of four shares can be 0.9999, the risk appetite 0.993
_SMALLEST_BUDGET = 1e-3  # share of equity; relative weights of a class with less are not meaningful

if TYPE_CHECKING:  # the spaces come with all of gymnax, which takes seconds
    from gymnax.environments import spaces


@struct.dataclass
class PortfolioParams(MarketParams):
    """`MarketParams` of all classes together, and what the hierarchy adds; ``reward`` is the portfolio's."""

    class_reward: RewardParams  # [S] of the classes' own rewards
    reward_terms: TermWeights  # of the portfolio's reward
    meta_interval: jax.Array  # [] bars between decisions of the meta-controller
    discount: jax.Array  # [] per bar, inside one step of AllocationEnv
    specialists: Any = None  # what the frozen specialists of AllocationEnv act with


@struct.dataclass
class Allocation:
    """What the meta-controller decides."""

    capital: jax.Array  # [S + 1] shares of equity given to the specialists, and cash last; they sum to 1
    risk_appetite: jax.Array  # [] in (0, 1)

    def budgets(self) -> jax.Array:
        """Share of equity ``[S]`` that each class may use."""
        return self.capital[:-1] * self.risk_appetite


@struct.dataclass
class TrackRecord:
    """How each specialist did recently, per unit of its budget."""

    equity: jax.Array  # [S] compounded returns on budget, starts at 1
    peak: jax.Array  # [S]
    mean: jax.Array  # [S] EWMA of per-bar returns on budget
    second_moment: jax.Array  # [S] EWMA of their squares
    win_rate: jax.Array  # [S] EWMA of bars with a gain, 0.5 at the start


@struct.dataclass
class PortfolioMemory:
    """What the rewards remember of the episode."""

    portfolio: RewardMemory  # []
    classes: RewardMemory  # [S]
    worst_drawdown: jax.Array  # [] largest drawdown so far, share of the peak


@struct.dataclass
class PortfolioState:
    """The episode of the whole hierarchy."""

    time: jax.Array  # [] int32, bars since the start
    path: jax.Array  # [] int32
    bar: jax.Array  # [] int32, the bar whose close is now
    book: Book  # over N = S x C instruments
    relative_weights: jax.Array  # [S, C] weight / (budget x leverage x share), about [-1, 1]
    anchor: jax.Array  # [S, C] the anchor's part of them
    allocation: Allocation
    returns: jax.Array  # [30] per-bar log returns of the portfolio, latest last
    track_record: TrackRecord
    reward_memory: PortfolioMemory


@struct.dataclass
class PortfolioObservation:
    """Where the market stands and how the portfolio does; `portfolio_inputs` looks the rest up."""

    path: jax.Array  # [] int32
    bar: jax.Array  # [] int32
    decides: jax.Array  # [] bool, whether the meta-controller's action counts now
    relative_weights: jax.Array  # [S, C]
    tilt: jax.Array  # [S, C] what they are beyond the anchor's part
    anchor: jax.Array  # [S, C] relative weights that the anchor wants now
    class_drawdown: jax.Array  # [S]
    class_sharpe: jax.Array  # [S] per bar
    class_volatility: jax.Array  # [S] per bar, of the return on budget; the meta-controller does not see it
    class_win_rate: jax.Array  # [S]
    returns: jax.Array  # [30] in units of the typical per-bar return
    drawdown: jax.Array  # []


@struct.dataclass
class PortfolioStepInfo(StepInfo):
    """What one bar of the whole hierarchy brought."""

    rewards: jax.Array  # [S + 1] each class's own, then the portfolio's
    allocation: Allocation  # under which the bar was traded


@struct.dataclass
class PortfolioPlan:
    """What the agents want at the close of a bar, before the risk layer."""

    allocation: Allocation
    anchor: jax.Array  # [S, C] relative weights that the anchor wants
    relative: jax.Array  # [S, C] relative weights wanted
    target: jax.Array  # [N] signed share of equity


class PortfolioEnv(MarketEnvironment):
    """All specialists and the meta-controller on one account, bar by bar."""

    def __init__(self, reward: RewardFunction, class_reward: RewardFunction = log_growth):
        """``reward`` is the portfolio's objective, ``class_reward`` what each class is paid on its own budget."""
        super().__init__(reward)
        self.class_reward = class_reward

    def initial_state(self, path: jax.Array, bar: jax.Array, params: PortfolioParams) -> PortfolioState:
        """A flat account at the close of ``bar`` with equal capital shares (cash included)."""
        num_classes, _ = params.mask.shape
        ones, zeros = jnp.ones(num_classes), jnp.zeros(num_classes)
        return PortfolioState(
            time=jnp.zeros((), jnp.int32),
            path=jnp.asarray(path, jnp.int32),
            bar=jnp.asarray(bar, jnp.int32),
            book=open_book(path, bar, params),
            relative_weights=jnp.zeros(params.mask.shape),
            anchor=jnp.zeros(params.mask.shape),
            allocation=decode_allocation(jnp.zeros(num_classes + 2)),
            returns=jnp.zeros(RETURN_HISTORY),
            track_record=TrackRecord(equity=ones, peak=ones, mean=zeros, second_moment=zeros, win_rate=0.5 * ones),
            reward_memory=PortfolioMemory(
                portfolio=start_memory(), classes=start_memory((num_classes,)), worst_drawdown=jnp.zeros(())
            ),
        )

    def step_env(
        self, key: jax.Array, state: PortfolioState, action: jax.Array, params: PortfolioParams
    ) -> tuple[PortfolioObservation, PortfolioState, jax.Array, jax.Array, dict[str, PortfolioStepInfo]]:
        """Trade one bar.

        Args:
            key: unused, the market is data.
            state: at the close of bar t.
            action: ``[S + 1, max(C, S + 2)]``; row s holds specialist s's changes of its tilt in its first C
                columns, the last row the meta-controller's S + 1 capital logits and its risk-appetite logit, which
                count every ``meta_interval`` bars only.
            params: the market of all classes.

        Returns:
            Observation, state at the close of t + 1, reward of the portfolio ``[]``, terminated ``[]``, and info whose
            ``step`` is a `PortfolioStepInfo`; its metrics ``reward/TERM`` sum to the portfolio's reward.
        """
        del key
        plan = self.plan(state, action, params)
        allocation, anchor, relative = plan.allocation, plan.anchor, plan.relative
        budgets = allocation.budgets()
        book, result, metrics = trade(state.book, plan.target, state.path, state.bar, params)
        inputs = reward_inputs(result, state.book.equity, params.table.covariance[state.path, state.bar])
        on_budget = self._class_inputs(result, state, budgets, params)
        memory, class_rewards, terms = self._pay(state, book, result, inputs, on_budget, params)
        reward = sum(terms.values(), start=jnp.zeros(()))
        exposure = _exposure_by_stream(state)
        full = (params.rules.leverage * params.share).reshape(-1)
        driver = price_returns(params.table, state.path, state.bar) * full
        measurable = jnp.maximum(budgets, _SMALLEST_BUDGET)[:, None] * params.rules.leverage * params.share
        relative_now = result.unrounded_weights.reshape(params.mask.shape) / jnp.where(params.mask, measurable, 1.0)
        relative_now = jnp.where(params.mask, jnp.clip(relative_now, -2.0, 2.0), 0.0)
        tradable = params.table.tradable[state.path, state.bar + 1].reshape(params.mask.shape)
        state = PortfolioState(
            time=state.time + 1,
            path=state.path,
            bar=state.bar + 1,
            book=book,
            relative_weights=relative_now,
            anchor=drifted(state.anchor, anchor, state.relative_weights, relative, relative_now, tradable),
            allocation=allocation,
            returns=jnp.append(state.returns[1:], jnp.log(jnp.maximum(1.0 + inputs.net_return, 1e-3))),
            track_record=_extend(state.track_record, on_budget.net_return),
            reward_memory=memory,
        )
        observation = self.observe(None, state, action, params)
        observation, state = self._apply_transition_gradient_policy(observation, state)
        step = PortfolioStepInfo(
            equity=result.equity,
            wanted=jnp.where(params.mask, relative, 0.0),
            weights=result.weights,
            unrounded_weights=result.unrounded_weights,
            traded=result.traded,
            flows=result.flows,
            opened=result.opened,
            fill_offset=result.fill_offset,
            variance=inputs.variance,
            budgets=budgets,
            metrics=metrics | {f"reward/{name}": term for name, term in terms.items()},
            exposure=exposure,
            driver=driver[None],
            rewards=jnp.append(class_rewards, reward),
            allocation=allocation,
        )
        return observation, state, reward, result.stopped_out | result.ruined, {"step": step}

    def plan(self, state: PortfolioState, action: jax.Array, params: PortfolioParams) -> PortfolioPlan:
        """What an action wants; arguments as in `step_env`."""
        num_classes, width = params.mask.shape
        allocation = self._allocation(state, action[num_classes, : num_classes + 2], params)
        anchor, tilt = self._anchor(state, params), state.relative_weights - state.anchor
        relative = next_relative_weights(tilt, action[:num_classes, :width], params.rules, anchor)
        per_weight = allocation.budgets()[:, None] * params.rules.leverage * params.share
        target = jnp.where(params.mask, relative * per_weight, 0.0).reshape(-1)
        return PortfolioPlan(allocation, anchor, relative, target)

    def observe(
        self, key: jax.Array | None, state: PortfolioState, action: jax.Array | None, params: PortfolioParams
    ) -> PortfolioObservation:
        """What is known at the close of the state's bar."""
        record = state.track_record
        deviation = jnp.sqrt(jnp.maximum(record.second_moment - record.mean**2, 1e-12))
        return PortfolioObservation(
            path=state.path,
            bar=state.bar,
            decides=_decides(state, params),
            relative_weights=state.relative_weights,
            tilt=state.relative_weights - state.anchor,
            anchor=self._anchor(state, params),
            class_drawdown=1.0 - record.equity / record.peak,
            class_sharpe=record.mean / deviation,
            class_volatility=deviation,
            class_win_rate=record.win_rate,
            returns=state.returns * params.reward.scale,
            drawdown=1.0 - state.book.equity / state.book.peak_equity,
        )

    def _anchor(self, state: PortfolioState, params: PortfolioParams) -> jax.Array:
        """Relative weights ``[S, C]`` that the anchor wants now."""
        covariance = params.table.covariance[state.path, state.bar]
        return anchor_weights(params.anchor, state.anchor, covariance, params.mask, params.table.day, state.bar)

    def decision_interval(self, params: PortfolioParams) -> jax.Array:
        """Bars ``[]`` between two decisions of the meta-controller."""
        return params.meta_interval

    def action_shape(self, params: PortfolioParams) -> tuple[int, ...]:
        """``(S + 1, max(C, S + 2))``."""
        num_classes, width = params.mask.shape
        return num_classes + 1, max(width, num_classes + 2)

    def action_space(self, params: PortfolioParams) -> spaces.Box:
        """Actions of all agents, padded to one width: changes of the tilt, then logits in the last row.

        A change beyond two full turns is clipped by the limits, and logits beyond their bounds hardly change anything.
        """
        from gymnax.environments import spaces

        shape = self.action_shape(params)
        high = np.full(shape, _LARGEST_CHANGE, np.float32)
        high[-1] = LARGEST_LOGIT
        return spaces.Box(-high, high, shape)

    def _pay(
        self,
        state: PortfolioState,
        book: Book,
        result: BarResult,
        inputs: RewardInputs,
        on_budget: RewardInputs,
        params: PortfolioParams,
    ) -> tuple[PortfolioMemory, jax.Array, dict[str, jax.Array]]:
        """The new memory, the classes' rewards ``[S]``, and the terms that sum to the portfolio's reward."""
        before = state.reward_memory
        classes, class_rewards = jax.vmap(self.class_reward)(before.classes, on_budget, params.class_reward)
        portfolio, objective = self.reward(before.portfolio, inputs, params.reward)
        worst_drawdown = jnp.maximum(before.worst_drawdown, 1.0 - book.equity / book.peak_equity)
        deviation = jnp.sqrt(jnp.maximum(jnp.diagonal(params.table.covariance[state.path, state.bar]), 0.0))
        held = TermInputs(
            variance=inputs.variance,
            undiversified=jnp.sum(jnp.abs(result.held_weights) * deviation),
            var_z=params.risk.var_z,
            drawdown_growth=worst_drawdown - before.worst_drawdown,
            traded=jnp.sum(result.traded),
        )
        terms = {"objective": objective} | portfolio_terms(held, params.reward_terms, params.reward.scale)
        memory = PortfolioMemory(portfolio=portfolio, classes=classes, worst_drawdown=worst_drawdown)
        return memory, class_rewards, terms

    def _allocation(self, state: PortfolioState, action: jax.Array, params: PortfolioParams) -> Allocation:
        decided = decode_allocation(action)
        decides = _decides(state, params)
        return jax.tree.map(lambda new, held: jnp.where(decides, new, held), decided, state.allocation)

    def _class_inputs(
        self,
        result: BarResult,
        state: PortfolioState,
        budgets: jax.Array,
        params: PortfolioParams,
    ) -> RewardInputs:
        """Each class's return and variance on its budget ``[S]``, as if it traded alone."""
        num_classes, width = params.mask.shape
        # A budget just cut still pays for closing what the larger one held.
        base = jnp.maximum(jnp.maximum(budgets, state.allocation.budgets()), _SMALLEST_BUDGET)
        net = result.flows.net().reshape(num_classes, width).sum(-1)
        weights = result.held_weights.reshape(num_classes, width) / base[:, None]
        blocks = params.table.covariance[state.path, state.bar].reshape(num_classes, width, num_classes, width)
        own = blocks[jnp.arange(num_classes), :, jnp.arange(num_classes), :]
        return RewardInputs(
            net_return=net / jnp.maximum(state.book.equity, 1e-6) / base,
            variance=quadratic_form(weights, own),
        )


def decode_allocation(action: jax.Array) -> Allocation:
    """``[..., S + 2]`` logits -> capital shares (softmax over classes and cash) and risk appetite (sigmoid)."""
    return Allocation(capital=jax.nn.softmax(action[..., :-1]), risk_appetite=jax.nn.sigmoid(action[..., -1]))


def _exposure_by_stream(state: PortfolioState) -> jax.Array:
    """Relative weights by reward stream ``[S + 1, N]``: each class's own, then all of them by their budgets."""
    num_classes, width = state.relative_weights.shape
    own = jnp.eye(num_classes)[:, :, None] * state.relative_weights[None]
    together = state.allocation.budgets()[:, None] * state.relative_weights
    return jnp.concatenate([own, together[None]]).reshape(num_classes + 1, num_classes * width)


def _decides(state: PortfolioState, params: PortfolioParams) -> jax.Array:
    return state.time % params.meta_interval == 0


def _extend(record: TrackRecord, returns: jax.Array) -> TrackRecord:
    """The track record after one more bar of returns on budget ``[S]``."""

    def ewma(old: jax.Array, new: jax.Array) -> jax.Array:
        return old + _TRACK_RECORD_DECAY * (new - old)

    equity = record.equity * jnp.maximum(1.0 + returns, 1e-3)
    return TrackRecord(
        equity=equity,
        peak=jnp.maximum(record.peak, equity),
        mean=ewma(record.mean, returns),
        second_moment=ewma(record.second_moment, returns**2),
        win_rate=ewma(record.win_rate, (returns > 0.0).astype(returns.dtype)),
    )
