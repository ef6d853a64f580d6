"""The pure functions of one bar that an Expert Advisor computes itself, traced from those that train and evaluate.

The policies stand between them as ONNX: `policy_inputs` makes what they see, `account_step` takes what they decide.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.deploy.decision import Desk, joined
from mtquant_jax.deploy.mql5.rendering import Function
from mtquant_jax.deploy.operations import Program
from mtquant_jax.deploy.tracing import trace
from mtquant_jax.market.bar_view import Bar
from mtquant_jax.market.calendar import CLOCK_NAMES, BarTimes
from mtquant_jax.market.features import FeatureState, join_rows, start, step
from mtquant_jax.market.universe import arrange_table
from mtquant_jax.simulation.execution import whole_lots
from mtquant_jax.simulation.market_env import permitted
from mtquant_jax.simulation.portfolio_env import PortfolioParams, PortfolioState
from mtquant_jax.simulation.portfolio_inputs import HierarchyInputs
from mtquant_jax.types import Contracts, MarketTable

_PREVIOUS, _NOW = 1, 2  # rows of the window: the bar of the decision that is traded, and the bar that just finished


@dataclasses.dataclass(frozen=True)
class BarFunctions:
    """The functions of a desk under the parameters of its market, as `jax` traces them; rows are ``[1, 1, ...]``."""

    desk: Desk
    market: PortfolioParams
    """Of evaluation; its table is not used."""

    @property
    def action_shape(self) -> tuple[int, ...]:
        """``(S + 1, A)``, as the environment takes actions."""
        return tuple(self.desk.env.action_space(self.market).shape)

    def feature_start(self, bar: Bar) -> dict[str, Any]:
        """The feature state before the first bar ``[1, n]``."""
        return {"state": start(bar, self.desk.plan)}

    def feature_step(self, state: FeatureState, bar: Bar) -> dict[str, Any]:
        """The feature state after a bar, and the market's row."""
        following, row = step(state, bar, self.desk.plan)
        row = arrange_table(join_rows(jax.tree.map(lambda leaf: leaf[None], row)), self.desk.universe)
        return {"next": following, "row": row}

    def account_start(self, now: MarketTable) -> dict[str, Any]:
        """A flat account at the close of a bar, and the action that holds it."""
        market = dataclasses.replace(self.market, table=now)
        state = self.desk.env.initial_state(jnp.int32(0), jnp.int32(0), market)
        action = jnp.zeros(self.action_shape, jnp.float32)
        return {"book": state, "action": action}

    def account_step(
        self, book: PortfolioState, action: jax.Array, before: MarketTable, previous: MarketTable, now: MarketTable
    ) -> dict[str, Any]:
        """The account after the bar ``now``, in which the action of the close before was traded."""
        market, state = self._at(book, _PREVIOUS, before, previous, now)
        unused: Any = None  # the market is data
        _, after, _, ended, info = self.desk.env.step_env(unused, state, action, market)
        return {"next": after, "outcome": {"ended": ended, "equity": info["step"].equity}}

    def policy_inputs(
        self, book: PortfolioState, before: MarketTable, previous: MarketTable, now: MarketTable
    ) -> dict[str, Any]:
        """What the policies see at the close of the bar ``now``, as one vector ``[K]``."""
        inputs = self.seen(book, before, previous, now)
        return {"inputs": jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(inputs)])}

    def decide(self, policy: Policy, example: Any, inputs: jax.Array) -> dict[str, Any]:
        """The most likely action ``[1, (S + 1) A]``, as the environment takes it, of one vector ``[1, K]``.

        Args:
            policy: of the desk's agent.
            example: shapes of what it sees.
            inputs: of `policy_inputs`.
        """
        leaves, tree = jax.tree.flatten(example)
        ends = np.cumsum([leaf.size for leaf in leaves])[:-1]
        parts = jnp.split(inputs[0], [int(end) for end in ends])
        seen = jax.tree.unflatten(tree, [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])
        agent = self.desk.agent
        action = agent.env_action(agent.policy(policy.params, policy.normalizers, seen, self.market).mode())
        return {"action": action.reshape(1, -1)}

    def targets(
        self, book: PortfolioState, action: jax.Array, before: MarketTable, previous: MarketTable, now: MarketTable
    ) -> dict[str, Any]:
        """Weights ``[N]`` wanted at the close of the bar ``now`` and permitted, signed shares of equity."""
        market, state = self._at(book, _NOW, before, previous, now)
        plan = self.desk.env.plan(state, action, market)
        permission = permitted(state.book, plan.target, state.path, state.bar, market)
        limited = jnp.abs(permission.weights) < jnp.abs(plan.target)
        return {"target": {"weights": permission.weights, "wanted": plan.target, "limited": limited}}

    def order_lots(self, target: Mapping[str, jax.Array], real: Mapping[str, jax.Array]) -> dict[str, Any]:
        """Lots ``[N]`` that an account should hold.

        Args:
            target: of `targets`.
            real: ``capital`` ``[]`` in account currency, ``held`` ``[N]`` signed lots, ``price`` ``[N]`` bid and
                ``conversion`` ``[N]`` to account currency, and of the broker's contracts ``[N]`` ``contract_size``,
                ``min_lot``, ``lot_step`` and ``max_lot``.
        """
        nothing = jnp.zeros_like(real["held"])
        sizes = {name: real[name] for name in ("contract_size", "min_lot", "lot_step", "max_lot")}
        others = {field.name: nothing for field in dataclasses.fields(Contracts) if field.name not in sizes}
        contracts = Contracts(**sizes, **others)
        wanted = target["weights"] * real["capital"] / (real["price"] * real["conversion"])
        held, largest = real["held"] * real["contract_size"], real["max_lot"] * real["contract_size"]
        reachable = jnp.clip(wanted, held - largest, held + largest)
        units = whole_lots(reachable, held, contracts, jnp.ones(()), target["limited"])
        return {"lots": units / real["contract_size"]}

    def seen(
        self, book: PortfolioState, before: MarketTable, previous: MarketTable, now: MarketTable
    ) -> HierarchyInputs:
        """What the policies see, network by network."""
        market, state = self._at(book, _NOW, before, previous, now)
        inputs: HierarchyInputs = self.desk.agent.inputs(self.desk.env.observe(None, state, None, market), market)
        return inputs

    def _at(self, book: PortfolioState, bar: int, *rows: MarketTable) -> tuple[PortfolioParams, PortfolioState]:
        """The market of three rows, and the account at the close of one of them."""
        before, previous, now = rows
        market = dataclasses.replace(self.market, table=joined(joined(before, previous), now))
        return market, dataclasses.replace(book, path=jnp.int32(0), bar=jnp.int32(bar))


def example_bar(num_symbols: int) -> Bar:
    """Shapes of a bar of n symbols."""

    def array(*shape: int, dtype: Any = np.float32) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    prices = {name: array(1, num_symbols) for name in ("open", "high", "low", "close", "spread", "volume")}
    times: Any = {"clock": array(len(CLOCK_NAMES)), "day": array(dtype=np.int32), "swap_nights": array(num_symbols)}
    return Bar(**prices, tradable=array(1, num_symbols, dtype=np.bool_), times=BarTimes(**times))


@dataclasses.dataclass(frozen=True)
class Shapes:
    """Shapes of what the functions take, for the symbols of a desk."""

    bar: Bar
    state: FeatureState
    row: MarketTable
    book: PortfolioState
    action: Any
    inputs: HierarchyInputs
    target: Any

    @property
    def num_inputs(self) -> int:
        """K, numbers that the policies see."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.inputs))


def shapes_of(functions: BarFunctions) -> Shapes:
    """The shapes of a desk."""
    bar = example_bar(functions.desk.plan.roles.num_instruments)
    state = jax.eval_shape(functions.feature_start, bar)["state"]
    row = jax.eval_shape(functions.feature_step, state, bar)["row"]
    opened = jax.eval_shape(functions.account_start, row)
    book, action, rows = opened["book"], opened["action"], (row, row, row)
    inputs = jax.eval_shape(functions.seen, book, *rows)
    target = jax.eval_shape(functions.targets, book, action, *rows)["target"]
    return Shapes(bar, state, row, book, action, inputs, target)


@dataclasses.dataclass(frozen=True)
class Traced:
    """All functions, by the file that they are written to, and what is written as ONNX."""

    features: tuple[Function, ...]
    account_view: tuple[Function, ...]
    risk: tuple[Function, ...]
    order_size: tuple[Function, ...]
    decision: Program
    shapes: Shapes

    @property
    def functions(self) -> tuple[Function, ...]:
        """All that are written as MQL5."""
        return (*self.features, *self.account_view, *self.risk, *self.order_size)


def traced(functions: BarFunctions, policy: Policy) -> Traced:
    """Trace all functions of a desk, and its policies.

    Raises:
        UnsupportedError: one of them computes what a `Program` cannot say.
    """
    shapes = shapes_of(functions)
    num, rows, book = functions.market.mask.size, (shapes.row,) * 3, shapes.book
    real = {name: jax.ShapeDtypeStruct((num,), np.float32) for name in _REAL}
    real["capital"] = jax.ShapeDtypeStruct((), np.float32)

    def made(name: str, function: Callable[..., Any], sentence: str, *examples: Any) -> Function:
        following = "FeatureState" if name == "FeatureStep" else "BookState"
        return Function(name, trace(function, *examples), {**_STRUCTS, "next": following}, sentence)

    starts = made(
        "FeatureStart", functions.feature_start, "The state of the features before the first bar.", shapes.bar
    )
    steps = made("FeatureStep", functions.feature_step, "Features of one more bar.", shapes.state, shapes.bar)
    opens = made("AccountStart", functions.account_start, "The model's own account, flat at a close.", shapes.row)
    trades = made("AccountStep", functions.account_step, "It after one more bar.", book, shapes.action, *rows)
    sees = made("PolicyInputs", functions.policy_inputs, "What the policies see at a close.", book, *rows)
    limits = made("PermitTargets", functions.targets, "What the risk layer permits.", book, shapes.action, *rows)
    sizes = made("OrderLots", functions.order_lots, "Lots that an account should hold.", shapes.target, real)
    decide = functools.partial(functions.decide, policy, shapes.inputs)
    decision = trace(decide, jax.ShapeDtypeStruct((1, shapes.num_inputs), np.float32))
    return Traced((starts, steps), (opens, trades, sees), (limits,), (sizes,), decision, shapes)


_REAL = ("held", "price", "conversion", "contract_size", "min_lot", "lot_step", "max_lot")

_STRUCTS = {
    "bar": "FeatureBar",
    "state": "FeatureState",
    "row": "MarketRow",
    "before": "MarketRow",
    "previous": "MarketRow",
    "now": "MarketRow",
    "book": "BookState",
    "action": "ActionValues",
    "outcome": "BarOutcome",
    "inputs": "DecisionInputs",
    "target": "TargetValues",
    "real": "RealAccount",
    "lots": "LotValues",
}
"""Argument or result -> its struct."""
