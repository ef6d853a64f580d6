"""Bars and what the training's functions make of them: what an Expert Advisor replays before it trades.

The bars are a seeded random walk, so that an export needs no data; what they are does not matter to arithmetic.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mtquant_jax.agents.contract import Policy
from mtquant_jax.deploy.mql5.compiled import leaves
from mtquant_jax.deploy.mql5.expressions import literal
from mtquant_jax.deploy.mql5.functions import BarFunctions, Traced
from mtquant_jax.deploy.mql5.moves import table
from mtquant_jax.deploy.operations import Program
from mtquant_jax.market.bar_view import Bar
from mtquant_jax.market.features import feature_bars
from mtquant_jax.market.instruments import Instrument
from mtquant_jax.types import Bars

NUM_BARS = 36
FIRST_DECISION = 28
"""Golden bar at whose close the account opens."""

_START = 1_704_182_400  # Tuesday 2024-01-02 08:00 UTC
_LEVELS = {
    "JPY": 150.0,
    "HUF": 370.0,
}  # typical prices in other currencies; the rest is near 1, or 1,000 without a pair
_VOLATILITY = 2e-3


def golden_bars(instruments: Sequence[Instrument], bar_seconds: int, count: int = NUM_BARS, seed: int = 0) -> Bars:
    """A random walk of all symbols; each has no bar at some time.

    Args:
        instruments: of the n symbols, in order.
        bar_seconds: from the open of a bar to the next.
        count: number of bars.
        seed: of the walk.
    """
    width, generator = len(instruments), np.random.default_rng(seed)
    levels = [_LEVELS.get(one.profit_currency, 1.1) if one.is_currency_pair else 1000.0 for one in instruments]
    digits = np.asarray([one.digits for one in instruments])
    moves = _VOLATILITY * generator.normal(size=(count, width))
    close = np.asarray(levels) * np.exp(np.cumsum(moves, axis=0))
    opens = np.concatenate([close[:1], close[:-1]]) * np.exp(0.2 * _VOLATILITY * generator.normal(size=close.shape))
    high = np.maximum(opens, close) * np.exp(0.5 * _VOLATILITY * generator.uniform(size=close.shape))
    low = np.minimum(opens, close) * np.exp(-0.5 * _VOLATILITY * generator.uniform(size=close.shape))
    tradable = np.arange(count)[:, None] % 9 != np.arange(width)[None] % 5 + 3
    tradable[:, 0] = True  # a time at which nothing trades has no row
    volume = np.where(tradable, generator.integers(100, 5000, size=close.shape), 0.0)
    prices = {"open": opens, "high": high, "low": low, "close": close}
    prices = {name: np.round(values * 10.0**digits) / 10.0**digits for name, values in prices.items()}
    for row, column in zip(*np.nonzero(~tradable), strict=True):
        for name in prices:
            prices[name][row, column] = prices["close"][row - 1, column]
    spread = np.broadcast_to([max(one.default_spread, one.point) for one in instruments], close.shape)
    return Bars(
        symbols=tuple(one.symbol for one in instruments),
        timestamps=_START + bar_seconds * np.arange(count, dtype=np.int64),
        **{name: values[None] for name, values in prices.items()},
        spread=spread[None],
        volume=volume[None],
        tradable=tradable[None],
    )


@dataclasses.dataclass(frozen=True)
class Golden:
    """Golden bars and what comes of them."""

    bars: Bars
    capital: float  # account currency
    features: np.ndarray  # [N F] of the last bar
    inputs: np.ndarray  # [K] that the policies see at its close
    action: np.ndarray  # [A] that they take
    equity: float  # of the model's own account at its close, share of initial capital
    weights: np.ndarray  # [D, N] permitted at the close of each bar from FIRST_DECISION on
    lots: np.ndarray  # [D, n] that an account of the capital should hold then


def golden(
    functions: BarFunctions, traced: Traced, policy: Policy, instruments: Sequence[Instrument], bar_seconds: int
) -> Golden:
    """Follow golden bars with the functions that train, compiled by JAX.

    A walk is passed over on which float32 alone, rounded in another order, would come near the tolerance of the check.

    Raises:
        ArithmeticError: the traced functions differ from those of JAX on every walk.
    """
    follow = _Follow(functions, policy, traced.shapes.inputs)
    for seed in range(_WALKS):
        bars = golden_bars(instruments, bar_seconds, seed=seed)
        found, book = follow(bars)
        seen = _by_numpy(traced, feature_bars(bars, functions.desk.plan), book)
        gaps = np.abs(seen - found.inputs) / np.maximum(1.0, np.abs(found.inputs))
        if float(gaps.max()) <= _NEAR:
            return found
    raise ArithmeticError("the traced functions do not compute what JAX computes")


_WALKS = 20
_NEAR = 2e-6  # a fifth of the tolerance of the check


class _Follow:
    """Follows bars by JAX; compiled once for all walks."""

    def __init__(self, functions: BarFunctions, policy: Policy, example: Any) -> None:
        self._functions = functions
        names = ("feature_start", "feature_step", "account_start", "account_step", "policy_inputs", "targets")
        self._call: dict[str, Any] = {name: jax.jit(getattr(functions, name)) for name in (*names, "order_lots")}
        self._call["decide"] = jax.jit(lambda inputs: functions.decide(policy, example, inputs)["action"])

    def __call__(self, bars: Bars) -> tuple[Golden, Any]:
        """What comes of bars, and the model's own account at the end."""
        functions, call = self._functions, self._call
        capital, seen = float(functions.market.rules.initial_capital), feature_bars(bars, functions.desk.plan)
        state = call["feature_start"](_at(seen, 0))["state"]
        rows: list[Any] = []
        book = action = inputs = None
        held, weights, lots = np.zeros(functions.market.mask.size, np.float32), [], []
        for number in range(len(bars.timestamps)):
            made = call["feature_step"](state, _at(seen, number))
            state, rows = made["next"], [*(rows or [made["row"]] * 2), made["row"]][-3:]
            if number < FIRST_DECISION:
                continue
            opens = book is None
            book = (
                call["account_start"](rows[-1])["book"] if opens else call["account_step"](book, action, *rows)["next"]
            )
            inputs = call["policy_inputs"](book, *rows)["inputs"]
            action = call["decide"](inputs[None]).reshape(functions.action_shape)
            target = call["targets"](book, action, *rows)["target"]
            held = np.asarray(call["order_lots"](target, real_account(functions, rows[-1], held, capital))["lots"])
            weights.append(np.asarray(target["weights"]))
            lots.append(held[list(functions.desk.universe.slots)])
        assert book is not None
        found = Golden(
            bars=bars,
            capital=capital,
            features=np.asarray(rows[-1].features).reshape(-1),
            inputs=np.asarray(inputs),
            action=np.asarray(action).reshape(-1),
            equity=float(book.book.equity),
            weights=np.stack(weights),
            lots=np.stack(lots),
        )
        return found, book


def _by_numpy(traced: Traced, seen: Bar, book: Any) -> np.ndarray:
    """What the policies see ``[K]`` at the last bar by the reference of the traced operations."""
    start, step = (function.program for function in traced.features)
    sees = traced.account_view[-1].program
    state = _renamed(start.run(_given("bar", _at(seen, 0))), "state", "state")
    rows: list[dict[str, np.ndarray]] = []
    for number in range(len(seen.close)):
        made = step.run(_needed(step, state | _given("bar", _at(seen, number))))
        state = _renamed(made, "next", "state")
        row = _renamed(made, "row", "")
        rows = [*(rows or [row] * 2), row][-3:]
    given = _given("book", book)
    for name, row in zip(("before", "previous", "now"), rows, strict=True):
        given |= {f"{name}{path}": value for path, value in row.items()}
    return sees.run(_needed(sees, given))["inputs"]


def _given(argument: str, tree: Any) -> dict[str, np.ndarray]:
    """Leaves by the names that a program gives its inputs."""
    return {f"{argument}.{path}": np.asarray(leaf) for path, leaf in leaves(tree).items()}


def _renamed(arrays: Mapping[str, np.ndarray], result: str, argument: str) -> dict[str, np.ndarray]:
    """The leaves of one result under the name of an argument."""
    return {
        f"{argument}{name.removeprefix(result)}": value
        for name, value in arrays.items()
        if name.startswith(f"{result}.")
    }


def _needed(program: Program, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: arrays[name] for name in program.inputs}


def real_account(functions: BarFunctions, row: Any, held: np.ndarray, capital: float) -> Mapping[str, jax.Array]:
    """An account as `BarFunctions.order_lots` takes it, with the model's contracts and the prices of a row.

    Args:
        functions: the desk's.
        row: ``[1, 1, ...]`` of the market.
        held: ``[N]`` signed lots.
        capital: account currency.
    """
    contracts = functions.market.contracts
    sizes = {name: getattr(contracts, name) for name in ("contract_size", "min_lot", "lot_step", "max_lot")}
    prices = {"price": row.close[0, 0], "conversion": row.conversion_close[0, 0]}
    return {"capital": jnp.float32(capital), "held": jnp.asarray(held), **prices, **sizes}


def golden_text(golden: Golden) -> str:
    """golden.mqh."""
    bars = golden.bars
    columns = ("open", "high", "low", "close", "spread", "volume")

    def doubles(name: str, values: np.ndarray) -> str:
        return table(f"GOLDEN_{name}", "double", [f"{float(value):.17g}" for value in np.ravel(values)])

    def floats(name: str, values: np.ndarray) -> str:
        return table(f"GOLDEN_{name}", "float", [literal(value) for value in np.ravel(values).astype(np.float32)])

    return "\n".join(
        [
            "// Bars and what the training makes of them, for golden_check.mqh; generated.",
            f"#define GOLDEN_BARS {NUM_BARS}",
            f"#define GOLDEN_FIRST {FIRST_DECISION}",
            f"#define GOLDEN_CAPITAL {golden.capital:.17g}",
            f"#define GOLDEN_EQUITY {golden.equity:.9g}",
            "",
            table("GOLDEN_TIME", "long", [str(value) for value in bars.timestamps]),
            *(doubles(name.upper(), getattr(bars, name)) for name in columns),
            table("GOLDEN_TRADABLE", "bool", ["true" if value else "false" for value in np.ravel(bars.tradable)]),
            floats("FEATURES", golden.features),
            floats("INPUTS", golden.inputs),
            floats("ACTION", golden.action),
            floats("WEIGHTS", golden.weights),
            doubles("LOTS", golden.lots),
            "",
        ]
    )


def _at(bars: Bar, index: int) -> Bar:
    bar: Bar = jax.tree.map(lambda leaf: leaf[index], bars)
    return bar
