"""What both environments share: where an episode starts, where it ends, and how rewards see the account."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from gymnax.environments.environment import Environment

from mtquant_jax.simulation import account as accounts
from mtquant_jax.simulation.account import Account, Flows
from mtquant_jax.simulation.execution import AccountRules, BarResult, bar_of_trading, current_weights
from mtquant_jax.simulation.reward import RewardFunction, RewardInputs, RewardParams
from mtquant_jax.simulation.risk import RULES, RiskRules, RiskState, next_risk, permit, start_risk
from mtquant_jax.types import Contracts, MarketTable, Span

IN_MARKET = 1e-3
"""Gross exposure / equity from which an account counts as being in the market."""

_SMALLEST_EQUITY = 1e-6  # share of initial capital by which returns are divided at least


@struct.dataclass
class MarketParams:
    """Everything traced that a market environment needs; data are arguments, never closed over."""

    table: MarketTable  # instruments padded and ordered by class
    contracts: Contracts  # [N]
    mask: jax.Array  # [S, C] bool, real instruments of each class; N = S x C
    share: jax.Array  # [S, C] share of the class budget one instrument may use, zero where padded
    rules: AccountRules
    risk: RiskRules
    reward: RewardParams
    span: Span  # bars an episode may use
    max_steps_in_episode: jax.Array  # [] bars
    path_probability: jax.Array  # [P] that an episode starts on a path, up to a common factor


@struct.dataclass
class StepInfo:
    """What one bar of trading brought, and what no action of it changes; stands under ``step`` in gymnax's ``info``."""

    equity: jax.Array  # [] share of initial capital, at the close of the bar
    wanted: jax.Array  # relative weights before the risk layer: [C], or [S, C] of a portfolio
    weights: jax.Array  # [N] signed exposure / equity at the close
    traded: jax.Array  # [N] value traded / equity
    flows: Flows  # [N] profit, costs and swap, shares of initial capital
    variance: jax.Array  # [] of the bar's return, as known before it, of what is held after the fills
    budgets: jax.Array  # [S] share of equity that each class may use; 1 for a specialist alone
    metrics: dict[str, jax.Array]  # [] by name, as in the metrics of a training
    exposure: jax.Array  # held before the action, relative weights by reward stream: [C], or [S + 1, N] of a portfolio
    driver: jax.Array  # what a unit of it earns over the bar: [C], or [1, N]


class MarketEnvironment(Environment):
    """Base of the market environments: stateless, so one instance per reward function serves every training."""

    _supports_transition_gradients = True

    def __init__(self, reward: RewardFunction):
        super().__init__()
        self.reward = reward

    @property
    def default_params(self) -> MarketParams:
        """There are none: a market must be given."""
        raise ValueError(f"{self.name} has no default market: pass params")

    def reset_env(self, key: jax.Array, params: MarketParams) -> tuple[Any, Any]:
        """Start at a random path and bar of the span; the account is flat."""
        path, bar = random_start(key, params)
        state = self.initial_state(path, bar, params)
        return self.observe(key, state, None, params), state

    def initial_state(self, path: jax.Array, bar: jax.Array, params: Any) -> Any:
        """A flat account at the close of ``bar`` of market path ``path``."""
        raise NotImplementedError

    def begin_within(self, state: Any, elapsed: jax.Array, params: MarketParams) -> Any:
        """States ``[E]`` of fresh episodes as if ``elapsed`` ``[E]`` bars of each were over."""
        interval = self.decision_interval(params)
        return state.replace(time=elapsed // interval * interval)

    def decision_interval(self, params: Any) -> jax.Array:
        """Bars ``[]`` between two decisions that an episode must not begin between."""
        return jnp.ones((), jnp.int32)

    def is_truncated(self, state: Any, params: MarketParams) -> jax.Array:
        """Whether the episode has its full length or the span has no further bar ``[]``."""
        return (state.time >= params.max_steps_in_episode) | (state.bar + 1 >= params.span.last)


@struct.dataclass
class Book:
    """What both environments carry: the account and what is measured on it."""

    account: Account
    equity: jax.Array  # [] share of initial capital
    peak_equity: jax.Array  # []
    risk: RiskState


def open_book(path: jax.Array, bar: jax.Array, params: MarketParams) -> Book:
    """A flat account of equity 1 at the close of ``bar``."""
    one = jnp.ones(())
    account = accounts.open_account(params.mask.size)
    return Book(account=account, equity=one, peak_equity=one, risk=start_risk(params.table.day[bar], one))


def trade(
    book: Book, target: jax.Array, path: jax.Array, bar: jax.Array, params: MarketParams
) -> tuple[Book, BarResult, dict[str, jax.Array]]:
    """Pass target weights ``[N]`` through the risk layer, trade one bar, and measure.

    Returns:
        The book at the close of ``bar + 1``, the bar's result, and metrics ``[]``: gross exposure, turnover, costs and
        swap as shares of equity, whether it is in the market (1 or 0), and what each risk rule cut (``risk/RULE``,
        share of the exposure wanted).
    """
    table = params.table
    num_classes, width = params.mask.shape
    close = accounts.quote_at_close(table, path, bar, params.rules.cost_multiplier)
    permission = permit(
        target,
        current_weights(book.account, close),
        table.covariance[path, bar],
        jnp.repeat(jnp.arange(num_classes), width),
        params.contracts,
        book.risk,
        params.risk,
    )
    result = bar_of_trading(book.account, permission.weights, table, path, bar, params.contracts, params.rules)
    after = Book(
        account=result.account,
        equity=result.equity,
        peak_equity=jnp.maximum(book.peak_equity, result.equity),
        risk=next_risk(book.risk, table.day[bar + 1], book.equity, result.equity),
    )
    base = jnp.maximum(book.equity, _SMALLEST_EQUITY)
    exposure = jnp.sum(jnp.abs(result.weights))
    metrics = {
        "exposure": exposure,
        "time_in_market": (exposure > IN_MARKET).astype(exposure.dtype),
        "turnover": jnp.sum(result.traded),
        "costs": jnp.sum(result.flows.costs()) / base,
        "swap": jnp.sum(result.flows.swap) / base,
    }
    metrics |= {f"risk/{name}": permission.cuts[i] for i, name in enumerate(RULES)}
    return after, result, metrics


def price_returns(table: MarketTable, path: jax.Array, bar: jax.Array) -> jax.Array:
    """What the next bar earns per unit of exposure held ``[N]``: close to close, before costs and swap.

    An account earns the move of the price at the conversion of the moment, not the move of the exposure: that of a pair
    like USDJPY in dollars never moves.
    """
    close, conversion = table.close[path], table.conversion_close[path]
    earned = (close[bar + 1] - close[bar]) * conversion[bar + 1]
    return earned / (close[bar] * conversion[bar])


def random_start(key: jax.Array, params: MarketParams) -> tuple[jax.Array, jax.Array]:
    """A path, by its probability, and a bar, uniformly, that leaves room for a whole episode where the span has it.

    The path is where the cumulative probability passes a uniform number: O(log P) per episode.
    """
    path_key, bar_key = jax.random.split(key)
    cumulative = jnp.cumsum(params.path_probability)
    passed = cumulative[-1] * jax.random.uniform(path_key)  # below the last, so that no path of probability 0 is met
    path = jnp.searchsorted(cumulative, passed, side="right", method="scan_unrolled")
    first = jnp.asarray(params.span.first, jnp.int32)
    latest = jnp.asarray(params.span.last - params.max_steps_in_episode, jnp.int32)
    bar = jax.random.randint(bar_key, (), first, jnp.maximum(latest, first + 1))
    return path, bar


def quadratic_form(weights: jax.Array, matrix: jax.Array) -> jax.Array:
    """``w' M w`` for ``[..., N]`` and ``[..., N, N]``; not a matrix product, which GPUs round to a few digits."""
    return jnp.sum(weights * jnp.sum(matrix * weights[..., None, :], axis=-1), axis=-1)


def reward_inputs(result: BarResult, equity: jax.Array, covariance: jax.Array) -> RewardInputs:
    """What the bar brought, as rewards want it; ``equity`` is that before the bar, ``covariance`` ``[N, N]``."""
    return RewardInputs(
        net_return=(result.equity - equity) / jnp.maximum(equity, _SMALLEST_EQUITY),
        variance=quadratic_form(result.held_weights, covariance),
    )
