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
from mtquant_jax.deploy.mql5.functions import BarFunctions, Traced
from mtquant_jax.deploy.mql5.moves import table
from mtquant_jax.deploy.mql5.rendering import literal
from mtquant_jax.market.bar_view import Bar
from mtquant_jax.market.features import feature_bars
from mtquant_jax.market.instruments import Instrument
from mtquant_jax.types import Bars

NUM_BARS = 36
FIRST_DECISION = 28
"""Golden bar at whose close the account opens."""

_START = 1_704_182_400  # Tuesday 2024-01-02 08:00 UTC
_LEVELS = {"JPY": 150.0, "HUF": 370.0}  # typical prices in other currencies; the rest is near 1, or 1,000 without a pair
_VOLATILITY = 2e-3


def golden_bars(instruments: Sequence[Instrument], bar_seconds: int) -> Bars:
    """A random walk of all symbols; each has no bar at some time.

    Args:
        instruments: of the n symbols, in order.
        bar_seconds: from the open of a bar to the next.
    """
    count, generator = len(instruments), np.random.default_rng(7)
    levels = [_LEVELS.get(one.profit_currency, 1.1) if one.is_currency_pair else 1000.0 for one in instruments]
    digits = np.asarray([one.digits for one in instruments])
    moves = _VOLATILITY * generator.normal(size=(NUM_BARS, count))
    close = np.asarray(levels) * np.exp(np.cumsum(moves, axis=0))
    opens = np.concatenate([close[:1], close[:-1]]) * np.exp(0.2 * _VOLATILITY * generator.normal(size=close.shape))
    high = np.maximum(opens, close) * np.exp(0.5 * _VOLATILITY * generator.uniform(size=close.shape))
    low = np.minimum(opens, close) * np.exp(-0.5 * _VOLATILITY * generator.uniform(size=close.shape))
    tradable = np.arange(NUM_BARS)[:, None] % 9 != np.arange(count)[None] + 3
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
        timestamps=_START + bar_seconds * np.arange(NUM_BARS, dtype=np.int64),
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
    """Follow golden bars with the functions that train, compiled by JAX."""
    bars = golden_bars(instruments, bar_seconds)
    seen = feature_bars(bars, functions.desk.plan)
    step, account = jax.jit(functions.feature_step), jax.jit(functions.account_step)
    inputs_of, targets = jax.jit(functions.policy_inputs), jax.jit(functions.targets)
    decide = jax.jit(lambda inputs: functions.decide(policy, traced.shapes.inputs, inputs))
    capital = float(functions.market.rules.initial_capital)
    state = functions.feature_start(_at(seen, 0))["state"]
    rows: list[Any] = []
    book = action = None
    held, weights, lots, inputs = np.zeros(functions.market.mask.size, np.float32), [], [], None
    for number in range(NUM_BARS):
        made = step(state, _at(seen, number))
        state, rows = made["next"], [*(rows or [made["row"]] * 2), made["row"]][-3:]
        if number < FIRST_DECISION:
            continue
        if book is None:
            book = functions.account_start(rows[-1])["book"]
        else:
            book = account(book, action, *rows)["next"]
        inputs = inputs_of(book, *rows)["inputs"]
        action = decide(inputs[None])["action"].reshape(traced.shapes.action.shape)
        target = targets(book, action, *rows)["target"]
        held = np.asarray(functions.order_lots(target, real_account(functions, rows[-1], held, capital))["lots"])
        weights.append(np.asarray(target["weights"]))
        lots.append(held[list(functions.desk.universe.slots)])
    assert book is not None and action is not None and inputs is not None
    return Golden(
        bars=bars,
        capital=capital,
        features=np.asarray(rows[-1].features).reshape(-1),
        inputs=np.asarray(inputs),
        action=np.asarray(action).reshape(-1),
        equity=float(book.book.equity),
        weights=np.stack(weights),
        lots=np.stack(lots),
    )


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
