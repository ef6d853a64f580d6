"""Base of the market environments: start and end of episodes, one bar of trading, and the inputs of rewards."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from mtquant_jax.simulation import account as accounts
from mtquant_jax.simulation.account import Account, Flows
from mtquant_jax.simulation.anchor import Anchor
from mtquant_jax.simulation.execution import AccountRules, BarResult, bar_of_trading, current_weights
from mtquant_jax.simulation.gymnax_contract import Environment
from mtquant_jax.simulation.parts import computed_once, quadratic_form
from mtquant_jax.simulation.reward import RewardFunction, RewardInputs, RewardParams
from mtquant_jax.simulation.risk import RULES, Permission, RiskRules, RiskState, next_risk, permit, start_risk
from mtquant_jax.types import Contracts, MarketTable, Span

IN_MARKET = 1e-3
"""Gross exposure above which an account counts as being in the market."""

_SMALLEST_EQUITY = 1e-6  # smallest divisor of returns, share of initial capital


@struct.dataclass
class MarketParams:
    """All traced parameters of a market environment; data are arguments, never closed over."""

    table: MarketTable  # instruments padded and ordered by class
    contracts: Contracts  # [N]
    mask: jax.Array  # [S, C] bool, True for an instrument and False for padding; N = S x C
    share: jax.Array  # [S, C] share of the class budget per instrument, zero for padding
    rules: AccountRules
    risk: RiskRules
    reward: RewardParams
    span: Span  # bars that episodes may use
    hole: Span  # bars among them that they leave out; none where it is empty
    max_steps_in_episode: jax.Array  # [] bars
    anchor: Anchor  # that actions tilt
    path_probability: jax.Array  # [P] probability that an episode starts on a path, up to a common factor


@struct.dataclass
class StepInfo:
    """What one bar of trading brought, and what no action of it changes; stands under ``step`` in gymnax's ``info``."""

    equity: jax.Array  # [] share of initial capital, at the close of the bar
    wanted: jax.Array  # relative weights before the risk layer: [C], or [S, C] of a portfolio
    weights: jax.Array  # [N] signed exposure / equity at the close
    unrounded_weights: jax.Array  # [N] the same of the positions that decisions add up to, before rounding to lots
    traded: jax.Array  # [N] value traded / equity
    flows: Flows  # [N] profit, costs and swap, shares of initial capital
    opened: Flows  # [N] the part of them after the fill of a flip; zero without one
    fill_offset: jax.Array  # [N] price of the last fill minus the bid at the bar's open, quote currency
    variance: jax.Array  # [] of the bar's return, as known before it, of what is held after the fills
    budgets: jax.Array  # [S] share of equity that each class may use; 1 for a specialist alone
    metrics: dict[str, jax.Array]  # [] by name, as in the metrics of a training
    exposure: jax.Array  # held before the action, relative weights by reward stream: [C], or [S + 1, N] of a portfolio
    driver: jax.Array  # what a unit of it earns over the bar: [C], or [1, N]


class MarketEnvironment(Environment):
    """Base of the market environments: stateless, so that one instance per reward function serves every training."""

    _supports_transition_gradients = True

    def __init__(self, reward: RewardFunction):
        super().__init__()
        self.reward = reward

    @property
    def default_params(self) -> MarketParams:
        """Not available, because an environment needs a market; raises ValueError."""
        raise ValueError(f"{self.name} has no default market: pass params")

    def reset_env(self, key: jax.Array, params: MarketParams) -> tuple[Any, Any]:
        """Start at a random path and bar of the span with a flat account."""
        path, bar = random_start(key, params)
        state = self.initial_state(path, bar, params)
        return self.observe(key, state, None, params), state

    def initial_state(self, path: jax.Array, bar: jax.Array, params: Any) -> Any:
        """State with a flat account at the close of ``bar`` of market path ``path``."""
        raise NotImplementedError

    def action_shape(self, params: Any) -> tuple[int, ...]:
        """Shape of an action, which its space has too; the spaces come with all of gymnax, which takes seconds."""
        raise NotImplementedError

    def begin_within(self, state: Any, elapsed: jax.Array, params: MarketParams) -> Any:
        """States ``[E]`` of fresh episodes as if ``elapsed`` ``[E]`` bars of each were over."""
        interval = self.decision_interval(params)
        return state.replace(time=elapsed // interval * interval)

    def decision_interval(self, params: Any) -> jax.Array:
        """Bars ``[]`` between two decisions that an episode must not begin between."""
        return jnp.ones((), jnp.int32)

    def is_truncated(self, state: Any, params: MarketParams) -> jax.Array:
        """True ``[]`` if the episode has its full length or the span has no further bar."""
        return (state.time >= params.max_steps_in_episode) | (state.bar + 1 >= params.span.last)


@struct.dataclass
class Book:
    """Account and its measurements, part of the state of both environments."""

    account: Account
    equity: jax.Array  # [] share of initial capital
    peak_equity: jax.Array  # [] largest equity of the episode so far
    risk: RiskState


def open_book(path: jax.Array, bar: jax.Array, params: MarketParams) -> Book:
    """Book of a flat account with equity 1 at the close of ``bar``."""
    one = jnp.ones(())
    account = accounts.open_account(params.mask.size)
    return Book(account=account, equity=one, peak_equity=one, risk=start_risk(params.table.day[bar], one))


def permitted(book: Book, target: jax.Array, path: jax.Array, bar: jax.Array, params: MarketParams) -> Permission:
    """What the risk layer leaves of target weights ``[N]`` at the close of ``bar``."""
    num_classes, width = params.mask.shape
    return permit(
        target,
        current_weights(book.account, accounts.quote_at_close(params.table, path, bar, params.rules.cost_multiplier)),
        params.table.covariance[path, bar],
        jnp.repeat(jnp.arange(num_classes), width),
        params.contracts,
        book.risk,
        params.risk,
    )


def trade(
    book: Book, target: jax.Array, path: jax.Array, bar: jax.Array, params: MarketParams
) -> tuple[Book, BarResult, dict[str, jax.Array]]:
    """Pass target weights ``[N]`` through the risk layer, trade one bar, and measure the result.

    Returns:
        The book at the close of ``bar + 1``, the bar's result, and metrics ``[]``: gross exposure (``exposure``),
        turnover, costs and swap as shares of equity, whether the account is in the market (1 or 0), and the cut of each
        risk rule (``risk/RULE``, share of the wanted gross exposure).
    """
    table, always = params.table, params.rules.leverage >= 0.0

    def allowed(book: Book, target: jax.Array) -> Permission:
        return permitted(book, target, path, bar, params)

    def traded(account: Account, weights: jax.Array, limited: jax.Array) -> BarResult:
        return bar_of_trading(account, weights, table, path, bar, params.contracts, params.rules, limited)

    permission = computed_once(allowed, always, book, target)
    limited = jnp.abs(permission.weights) < jnp.abs(target)
    result = computed_once(traded, always, book.account, permission.weights, limited)
    after = Book(
        account=result.account,
        equity=result.equity,
        peak_equity=jnp.maximum(book.peak_equity, result.equity),
        risk=next_risk(book.risk, table.day[bar + 1], book.equity, result.equity),
    )
    base = jnp.maximum(book.equity, _SMALLEST_EQUITY)
    gross_exposure = jnp.sum(jnp.abs(result.weights))
    metrics = {
        "exposure": gross_exposure,
        "time_in_market": (gross_exposure > IN_MARKET).astype(gross_exposure.dtype),
        "turnover": jnp.sum(result.traded),
        "costs": jnp.sum(result.flows.costs()) / base,
        "swap": jnp.sum(result.flows.swap) / base,
    }
    metrics |= {f"risk/{name}": permission.cuts[i] for i, name in enumerate(RULES)}
    return after, result, metrics


def price_returns(table: MarketTable, path: jax.Array, bar: jax.Array) -> jax.Array:
    """Return of the next bar per unit of exposure ``[N]``: close to close, before costs and swap.

    An account earns the move of the price, converted at the current rate, and not the move of the position's value: the
    value in dollars of a pair such as USDJPY never moves.
    """
    close, close_next = table.close[path, bar], table.close[path, bar + 1]
    earned = (close_next - close) * table.conversion_close[path, bar + 1]
    return earned / (close * table.conversion_close[path, bar])


def random_start(key: jax.Array, params: MarketParams) -> tuple[jax.Array, jax.Array]:
    """Draw a path by its probability, and a bar uniformly among those that leave a whole episode if the span has one.

    Episodes that would touch the hole are not drawn. In a span that has no whole episode there must not be one.
    The path is found by binary search of a uniform number in the cumulative probability: O(log P) per episode.
    """
    path_key, bar_key = jax.random.split(key)
    cumulative = jnp.cumsum(params.path_probability)
    passed = cumulative[-1] * jax.random.uniform(path_key)  # below the last, which excludes paths of probability 0
    path = jnp.searchsorted(cumulative, passed, side="right", method="scan_unrolled")
    first = jnp.asarray(params.span.first, jnp.int32)
    latest = jnp.asarray(params.span.last - params.max_steps_in_episode, jnp.int32)
    end = jnp.maximum(latest, first + 1)
    # Starts that would touch the hole, one after the other; none where it is empty.
    touching = jnp.maximum(params.hole.first - params.max_steps_in_episode + 1, first)
    touched = jnp.maximum(jnp.minimum(params.hole.last, end) - touching, 0) * (params.hole.last > params.hole.first)
    bar = jax.random.randint(bar_key, (), first, jnp.maximum(end - touched, first + 1))
    return path, jnp.where(bar >= touching, bar + touched, bar)


def reward_inputs(result: BarResult, equity: jax.Array, covariance: jax.Array) -> RewardInputs:
    """Inputs of the objective from the bar's result, the equity before the bar and the covariance ``[N, N]``."""
    return RewardInputs(
        net_return=(result.equity - equity) / jnp.maximum(equity, _SMALLEST_EQUITY),
        variance=quadratic_form(result.held_weights, covariance),
    )
