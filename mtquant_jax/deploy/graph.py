"""One decision as a program of plain float32 arrays: the market's row and a state in, weights and the next state out.

It is `decision.next_row`, traced: the steps that training, evaluation and signals take.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from mtquant_jax.agents.contract import Policy
from mtquant_jax.backtest.trading import Progress
from mtquant_jax.deploy.decision import WINDOW, Desk, joined, next_row
from mtquant_jax.deploy.operations import FLOAT, Array, Program, Take
from mtquant_jax.deploy.tracing import trace
from mtquant_jax.simulation.portfolio_env import PortfolioParams, PortfolioState
from mtquant_jax.types import MarketTable

STATE, NEXT = "state", "next"
"""The input that one decision takes and the output that it leaves for the next one."""

_LAST = WINDOW - 2  # the bar of a state, in its rows


@struct.dataclass
class Memory:
    """What the bars so far leave for the next decision."""

    portfolio: PortfolioState  # of the simulator's own account, at the close of the last bar
    last: dict[str, jax.Array]  # the market's row of that bar
    day_before: jax.Array  # [] int32, the day of the bar before it


@dataclasses.dataclass(frozen=True)
class Graph:
    """A decision as a function of named arrays, each float32 with at least one axis."""

    program: Program
    decide: Callable[[Mapping[str, Any]], dict[str, Any]]
    """The same by JAX, traceable: inputs by name -> outputs by name."""
    layout: Mapping[str, tuple[int, ...]]
    """Shapes of the parts of the state, in their order in its vector."""

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the inputs that every bar brings."""
        return tuple(name for name in self.program.inputs if name != STATE)

    @property
    def decided(self) -> tuple[str, ...]:
        """Names of the outputs that are no state."""
        return tuple(name for name in self.program.outputs if name != NEXT)


def decision_graph(desk: Desk, policy: Policy, market: PortfolioParams) -> Graph:
    """The decision of a hierarchy at the close of one bar, with all that was learnt inside.

    Inputs are ``market.NAME``, the finished bar's row of the market table (instruments in N = S x C slots), ``opens``
    (1 where a flat account opens at this close, otherwise 0), and ``state [K]``. Outputs are the fields of `Decision`
    that others need, and ``next [K]``, the state for the next bar. On the bar where the account opens nothing of the
    state is looked at but its part ``last.day``.

    Args:
        desk: of a `deploy.desk.TradingDesk`.
        policy: of the desk's agent; it becomes constants.
        market: parameters of evaluation, which become constants; their table is not used.
    """
    row = {name: jax.ShapeDtypeStruct(shape, _TYPES.get(name, np.float32)) for name, shape in row_shapes(desk).items()}
    day = jax.ShapeDtypeStruct((), np.int32)

    def start(row: dict[str, jax.Array], day: jax.Array) -> Memory:
        rows = _two_rows(row, day)
        return _memory(desk.trading.start(dataclasses.replace(market, table=rows), jnp.int32(_LAST)), row, day)

    examples = row, jax.eval_shape(start, row, day), jax.ShapeDtypeStruct((), np.bool_)

    def decide(market_row: dict[str, jax.Array], state: Memory, opens: jax.Array) -> dict[str, Any]:
        return _decide(desk, policy, market, market_row, state, opens)

    def plain(market: Any, state: Any, opens: Any) -> dict[str, Any]:
        typed = jax.tree.map(_typed, (market, state, opens), examples)
        return jax.tree.map(_plain, decide(*typed))

    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape or (1,), np.float32), examples)
    whole = trace(plain, *shapes)
    needed = _needed(whole)
    names = [name for name in needed.inputs if name.startswith(f"{STATE}.")]
    layout = {name.removeprefix(f"{STATE}."): needed.inputs[name].shape for name in names}

    def by_name(arrays: Mapping[str, Any]) -> dict[str, Any]:
        parts = unpacked(arrays[STATE], layout)
        given = {**arrays, **{f"{STATE}.{name}": part for name, part in parts.items()}}
        leaves = [given.get(name, jnp.zeros(array.shape)) for name, array in whole.inputs.items()]
        results = jax.tree.leaves(plain(*jax.tree.unflatten(jax.tree.structure(examples), leaves)))
        found = dict(zip(whole.outputs, results, strict=True))
        left = jnp.concatenate([found[f"{NEXT}.{name}"].reshape(-1) for name in layout])
        return {**{name: found[name] for name in needed.outputs if not name.startswith(f"{NEXT}.")}, NEXT: left}

    return Graph(_with_one_state(needed, layout), by_name, layout)


def unpacked(state: Any, layout: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """The parts of a state's vector, by name."""
    parts, first = {}, 0
    for name, shape in layout.items():
        size = math.prod(shape)
        parts[name] = state[first : first + size].reshape(shape)
        first += size
    return parts


def row_shapes(desk: Desk) -> dict[str, tuple[int, ...]]:
    """Shapes of a market's row by the names of `MarketTable`, instruments in N = S x C slots."""
    classes, width, features = desk.universe.num_classes, desk.universe.width, desk.plan.features
    slots = classes * width
    shapes: dict[str, tuple[int, ...]] = {field.name: (slots,) for field in dataclasses.fields(MarketTable)}
    return shapes | {
        "features": (classes, width, len(features.instrument)),
        "domain": (classes, features.domain_size),
        "macro": (len(features.macro),),
        "covariance": (slots, slots),
        "day": (),
    }


def row_of(table: MarketTable, path: int, bar: int, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """The inputs ``market.NAME`` of one bar of an arranged table of NumPy arrays."""
    row = {}
    for name, shape in shapes.items():
        leaf = getattr(table, name)
        value = leaf[bar] if name in _WITHOUT_PATH else leaf[path, bar]
        row[f"market.{name}"] = np.asarray(value, np.float32).reshape(shape or (1,))
    return row


_TYPES: Mapping[str, Any] = {"tradable": np.bool_, "day": np.int32}
_WITHOUT_PATH = ("swap_nights", "day")


def _decide(
    desk: Desk, policy: Policy, market: PortfolioParams, row: dict[str, jax.Array], state: Memory, opens: jax.Array
) -> dict[str, Any]:
    """What is decided, by the names of outputs, and what it leaves."""
    rows = _two_rows(state.last, state.day_before)
    fresh = desk.trading.start(dataclasses.replace(market, table=rows), jnp.int32(_LAST))
    account = dataclasses.replace(state.portfolio, path=jnp.int32(0), bar=jnp.int32(_LAST))
    progress = dataclasses.replace(fresh, state=jax.tree.map(lambda leaf: leaf[None], account))
    _, progress, _, decision = next_row(desk, rows, progress, _table(row), opens, policy, market)
    return {
        "permitted": decision.permitted,
        "relative": decision.relative,
        "target": decision.target,
        "lots": decision.order * market.rules.initial_capital / market.contracts.contract_size,
        "capital": decision.allocation.capital,
        "risk_appetite": decision.allocation.risk_appetite,
        "cuts": decision.cuts,
        "next": _memory(progress, row, state.last["day"]),
    }


def _memory(progress: Progress, row: dict[str, jax.Array], day_before: jax.Array) -> Memory:
    return Memory(jax.tree.map(lambda leaf: leaf[0], progress.state), row, day_before)


def _table(row: dict[str, jax.Array]) -> MarketTable:
    """A row as a table of one path and one bar."""

    def leaf(name: str, value: jax.Array) -> jax.Array:
        if name == "features":
            value = value.reshape(-1, value.shape[-1])
        return value[None] if name in _WITHOUT_PATH else value[None, None]

    return MarketTable(**{name: leaf(name, value) for name, value in row.items()})


def _two_rows(last: dict[str, jax.Array], day_before: jax.Array) -> MarketTable:
    """The last row behind one of the day before it, of which nothing else is looked at."""
    table = _table(last)
    return joined(dataclasses.replace(table, day=day_before[None]), table)


def _typed(value: jax.Array, like: jax.ShapeDtypeStruct) -> jax.Array:
    value = value.reshape(like.shape)
    return value > 0.5 if like.dtype == np.bool_ else value.astype(like.dtype)


def _plain(value: jax.Array) -> jax.Array:
    return value.astype(jnp.float32).reshape(value.shape or (1,))


def _needed(program: Program) -> Program:
    """The program without the parts of the state that no decision, however late, depends on."""
    kept = [name for name in program.outputs if not name.startswith(f"{NEXT}.")]
    while True:
        found = program.only(kept).read()
        read = {name.replace(STATE, NEXT, 1) for name in found.inputs if name.startswith(f"{STATE}.")}
        if not (more := [name for name in program.outputs if name in read and name not in kept]):
            return found
        kept += more


def _with_one_state(program: Program, layout: Mapping[str, tuple[int, ...]]) -> Program:
    """The program with all parts of the state in one vector: MetaTrader's functions take at most 64 arguments."""
    size = sum(math.prod(shape) for shape in layout.values())
    state, left = Array(STATE, (size,), FLOAT), Array(NEXT, (size,), FLOAT)
    places = unpacked(np.arange(size), layout)
    parts = [Take((state,), place, program.inputs[f"{STATE}.{name}"]) for name, place in places.items()]
    joined_parts = Take(tuple(program.outputs[f"{NEXT}.{name}"] for name in layout), np.arange(size), left)
    inputs = {name: array for name, array in program.inputs.items() if not name.startswith(f"{STATE}.")}
    outputs = {name: array for name, array in program.outputs.items() if not name.startswith(f"{NEXT}.")}
    operations = (*parts, *program.operations, joined_parts)
    return Program({**inputs, STATE: state}, {**outputs, NEXT: left}, operations)
