"""The pure functions of one bar that an Expert Advisor computes itself, traced from those that train and evaluate.

The policies stand between them as ONNX: `policy_inputs` makes what they see, `account_step` takes what they decide.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.deploy.decision import Desk, joined
from mtquant_jax.deploy.mql5.rendering import Function
from mtquant_jax.deploy.tracing import trace
from mtquant_jax.market.bar_view import Bar
from mtquant_jax.market.calendar import CLOCK_NAMES, BarTimes
from mtquant_jax.market.features import FeatureState, join_rows, start, step
from mtquant_jax.market.universe import arrange_table
from mtquant_jax.simulation.execution import whole_lots
from mtquant_jax.simulation.market_env import permitted
from mtquant_jax.simulation.portfolio_env import PortfolioParams, PortfolioState
from mtquant_jax.types import Contracts, MarketTable

_PREVIOUS, _NOW = 1, 2  # rows of the window: the bar of the decision that is traded, and the bar that just finished


@dataclasses.dataclass(frozen=True)
class BarFunctions:
    """The functions of a desk under the parameters of its market, as `jax` traces them; rows are ``[1, 1, ...]``."""

    desk: Desk
    market: PortfolioParams
    """Of evaluation; its table is not used."""

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
        action = jnp.zeros(self.desk.env.action_space(market).shape, jnp.float32)
        return {"book": state, "action": action}

    def account_step(
        self, book: PortfolioState, action: jax.Array, before: MarketTable, previous: MarketTable, now: MarketTable
    ) -> dict[str, Any]:
        """The account after the bar ``now``, in which the action of the close before was traded."""
        market, state = self._at(book, _PREVIOUS, before, previous, now)
        _, after, _, ended, info = self.desk.env.step_env(None, state, action, market)
        return {"next": after, "outcome": {"ended": ended, "equity": info["step"].equity}}

    def policy_inputs(
        self, book: PortfolioState, before: MarketTable, previous: MarketTable, now: MarketTable
    ) -> dict[str, Any]:
        """What the policies see at the close of the bar ``now``."""
        market, state = self._at(book, _NOW, before, previous, now)
        observation = self.desk.env.observe(None, state, None, market)
        return {"inputs": self.desk.agent.inputs(observation, market)}

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

    def _at(self, book: PortfolioState, bar: int, *rows: MarketTable) -> tuple[PortfolioParams, PortfolioState]:
        """The market of three rows, and the account at the close of one of them."""
        before, previous, now = rows
        market = dataclasses.replace(self.market, table=joined(joined(before, previous), now))
        return market, book.replace(path=jnp.int32(0), bar=jnp.int32(bar))


def example_bar(num_symbols: int) -> Bar:
    """Shapes of a bar of n symbols."""

    def array(*shape: int, dtype: Any = np.float32) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype)

    prices = {name: array(1, num_symbols) for name in ("open", "high", "low", "close", "spread", "volume")}
    times: Any = {"clock": array(len(CLOCK_NAMES)), "day": array(dtype=np.int32), "swap_nights": array(num_symbols)}
    return Bar(**prices, tradable=array(1, num_symbols, dtype=np.bool_), times=BarTimes(**times))


@dataclasses.dataclass(frozen=True)
class Traced:
    """All functions, by the file that they are written to."""

    features: tuple[Function, ...]
    account_view: tuple[Function, ...]
    risk: tuple[Function, ...]
    order_size: tuple[Function, ...]


def traced(functions: BarFunctions) -> Traced:
    """Trace all functions of a desk.

    Raises:
        UnsupportedError: one of them computes what a `Program` cannot say.
    """
    num = functions.market.mask.size
    bar = example_bar(functions.desk.plan.roles.num_instruments)
    state = jax.eval_shape(functions.feature_start, bar)["state"]
    row = jax.eval_shape(functions.feature_step, state, bar)["row"]
    opened = jax.eval_shape(functions.account_start, row)
    book, action, rows = opened["book"], opened["action"], (row, row, row)
    target = jax.eval_shape(functions.targets, book, action, *rows)["target"]
    real = {name: jax.ShapeDtypeStruct((num,), np.float32) for name in _REAL}
    real["capital"] = jax.ShapeDtypeStruct((), np.float32)

    def made(name: str, function: Callable[..., Any], sentence: str, *examples: Any) -> Function:
        following = "FeatureState" if name == "FeatureStep" else "BookState"
        return Function(name, trace(function, *examples), {**_STRUCTS, "next": following}, sentence)

    starts = made("FeatureStart", functions.feature_start, "The state of the features before the first bar.", bar)
    steps = made("FeatureStep", functions.feature_step, "Features of one more bar, and its row.", state, bar)
    opens = made("AccountStart", functions.account_start, "The model's own account, flat at a close.", row)
    trades = made("AccountStep", functions.account_step, "The account after one more bar.", book, action, *rows)
    sees = made("PolicyInputs", functions.policy_inputs, "What the policies see at a close.", book, *rows)
    limits = made("PermitTargets", functions.targets, "Weights that the risk layer permits.", book, action, *rows)
    sizes = made("OrderLots", functions.order_lots, "Whole lots that an account should hold.", target, real)
    return Traced((starts, steps), (opens, trades, sees), (limits,), (sizes,))


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
