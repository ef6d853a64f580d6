"""Follows bars with the compiled files of an Expert Advisor and with the desk that evaluates, and measures the gap.

Both decide for themselves from the first bar on: whatever differs once is carried along.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtquant_jax.deploy.desk import TradingDesk
from mtquant_jax.deploy.mql5.compiled import Compiled
from mtquant_jax.deploy.mql5.export import GENERATED, ExpertAdvisor
from mtquant_jax.market.domain import CLASS_FEATURES, MACRO_NAMES
from mtquant_jax.market.features import FEATURE_NAMES, Bar, feature_bars, replay, start
from mtquant_jax.market.universe import arrange_table
from mtquant_jax.types import Bars, MarketTable

Decide = Callable[[np.ndarray], np.ndarray]
"""What the policies see ``[1, K]`` -> what they do ``[1, A]``."""


@dataclasses.dataclass(frozen=True)
class Equality:
    """Largest differences over all bars, relative to the larger of 1 and the value."""

    bars: int
    decisions: int
    features: dict[str, float]  # by name, over all instruments
    domain: dict[str, float]  # by name, over all classes; the last is of what their domains have besides
    macro: dict[str, float]
    covariance: float  # relative to the typical variance of the instruments
    prices: float  # of the row: opens, closes, spreads and conversions
    weights: float  # permitted
    equity: float
    orders: int  # bars and instruments at which an order is placed
    other_orders: int  # of them and the rest, those at which the lots differ
    largest_other: float  # lots


def compile_advisor(advisor: ExpertAdvisor, folder: Path) -> Compiled:
    """The generated functions of an Expert Advisor, compiled as C++; raises UserError without g++."""
    texts = [advisor.files[f"{name}.mqh"] for name in GENERATED]
    text = "\n".join(text for text in texts if isinstance(text, str))
    structs = {struct.name: struct for function in advisor.traced.functions for struct in function.types()}
    return Compiled(folder, text, advisor.traced.functions, list(structs.values()))


def decide_by_training(desk: TradingDesk, advisor: ExpertAdvisor) -> Decide:
    """The training's own networks."""
    policy, shapes = desk.trading.policy, advisor.traced.shapes
    decide = jax.jit(lambda inputs: advisor.functions.decide(policy, shapes.inputs, inputs)["action"])
    return lambda inputs: np.asarray(decide(inputs))


def measure(
    desk: TradingDesk, advisor: ExpertAdvisor, bars: Bars, first: int, folder: Path, decide: Decide
) -> Equality:
    """Follow bars both ways.

    Args:
        desk: of the training.
        advisor: made of it.
        bars: of the desk's symbols.
        first: the bar at whose close the account opens.
        folder: where C++ is compiled.
        decide: the policies of the compiled side.

    Raises:
        UserError: there is no g++.
    """
    table, followed = _by_training(desk, bars, first)
    computed = _Computed(compile_advisor(advisor, folder), advisor, decide)
    seen = feature_bars(bars, desk.desk.plan)
    rows = [computed.follow(_at(seen, index), decides=index >= first) for index in range(len(bars.timestamps))]
    made = {name: np.stack([row[name] for row in rows]) for name in rows[-1] if name not in _DECIDED}
    decided = {name: np.stack([row[name] for row in rows[first:]]) for name in _DECIDED}
    decisions, slots = followed.decisions, list(desk.desk.universe.slots)
    lots = decided["lots"][:, slots]
    wanted = _lots(advisor, decisions.order[first:])[:, slots]
    other = np.abs(lots - wanted) > 0.5 * np.asarray(advisor.functions.market.contracts.lot_step)[slots]
    feature_gaps = _gap(made["features"], table.features).reshape(len(rows), -1, len(FEATURE_NAMES)).max(axis=(0, 1))
    variance = float(np.median(np.asarray(table.covariance)[0][:, slots, slots]))
    price_names = ("open", "close", "spread", "conversion_open", "conversion_close", "fee_conversion")
    return Equality(
        bars=len(rows),
        decisions=len(rows) - first,
        features=dict(zip(FEATURE_NAMES, feature_gaps.tolist(), strict=True)),
        domain=_domain(_gap(made["domain"], table.domain), desk.desk.universe.num_classes),
        macro=dict(zip(MACRO_NAMES, _gap(made["macro"], table.macro).max(axis=0).tolist(), strict=True)),
        covariance=float(np.abs(made["covariance"] - _flat(table.covariance)).max()) / variance,
        prices=max(float(_gap(made[name], getattr(table, name)).max()) for name in price_names),
        weights=float(np.abs(decided["weights"] - decisions.permitted[first:]).max()),
        equity=float(np.abs(decided["equity"][1:, 0] - followed.outcomes.row["equity"][first + 1 :, 0]).max()),
        orders=int((np.abs(wanted) > 0.0).sum()),
        other_orders=int(other.sum()),
        largest_other=float(np.where(other, np.abs(lots - wanted), 0.0).max()),
    )


_DECIDED = ("weights", "lots", "equity")


@dataclasses.dataclass
class _Computed:
    """The Expert Advisor's bars one after the other, as its desk.mqh takes them."""

    call: Compiled
    advisor: ExpertAdvisor
    decide: Decide
    state: np.ndarray | None = None
    rows: tuple[np.ndarray, ...] = ()
    book: np.ndarray | None = None
    action: np.ndarray | None = None

    def follow(self, bar: Bar, decides: bool) -> dict[str, np.ndarray]:
        """The row after a bar, and what is decided at its close."""
        packed = self.call.packed("FeatureBar", bar)
        if self.state is None:
            self.state = self.call("FeatureStart", bar=packed)["state"]
        made = self.call("FeatureStep", state=self.state, bar=packed)
        self.state, row = made["next"], made["row"]
        self.rows = ((self.rows or (row, row)) + (row,))[-3:]
        found = {name: row[name].copy() for name in row.dtype.names or ()}
        return found | (self._decided() if decides else {})

    def _decided(self) -> dict[str, np.ndarray]:
        before, previous, now = self.rows
        around: dict[str, Any] = {"before": before, "previous": previous, "now": now}
        if self.book is None or self.action is None:
            self.book = self.call("AccountStart", now=now)["book"]
        else:
            self.book = self.call("AccountStep", book=self.book, action=self.action, **around)["next"]
        inputs = self.call("PolicyInputs", book=self.book, **around)["inputs"]
        self.action = self.call.empty("ActionValues")
        self.action["values"] = self.decide(inputs["values"][None]).reshape(-1)
        target = self.call("PermitTargets", book=self.book, action=self.action, **around)["target"]
        held, real = self._account(now)
        lots = self.call("OrderLots", target=target, real=real)["lots"]["values"] - held
        return {"weights": target["weights"], "lots": lots, "equity": self.book["book_equity"].copy()}

    def _account(self, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The model's own account as a real one: the lots that it holds, and the record of it."""
        market = self.advisor.functions.market
        capital, contracts = np.float32(market.rules.initial_capital), market.contracts
        assert self.book is not None
        size = np.asarray(contracts.contract_size)
        held = self.book["book_account_units"] * capital / size
        real = self.call.empty("RealAccount")
        real["capital"] = self.book["book_equity"] * capital
        real["held"], real["price"], real["conversion"] = held, now["close"], now["conversion_close"]
        for name in ("contract_size", "min_lot", "lot_step", "max_lot"):
            real[name] = np.asarray(getattr(contracts, name))
        return held, real


def _by_training(desk: TradingDesk, bars: Bars, first: int) -> tuple[MarketTable, Any]:
    """The arranged table of the bars, and what the desk decides."""
    seen = feature_bars(bars, desk.desk.plan)
    _, table = replay(start(_at(seen, 0), desk.desk.plan), seen, desk.desk.plan)
    return arrange_table(table, desk.desk.universe), desk.begin(bars, first).follow(bars)


def _domain(gaps: np.ndarray, num_classes: int) -> dict[str, float]:
    """Differences ``[T, C D]`` of a class's columns by name."""
    columns = gaps.reshape(-1, gaps.shape[1] // num_classes).max(axis=0)
    count = len(CLASS_FEATURES)
    found = {feature.name: float(gap) for feature, gap in zip(CLASS_FEATURES, columns, strict=False)}
    return found | {"of the domain": float(columns[count:].max(initial=0.0))}


def _lots(advisor: ExpertAdvisor, units: np.ndarray) -> np.ndarray:
    market = advisor.functions.market
    return units * float(market.rules.initial_capital) / np.asarray(market.contracts.contract_size)


def _flat(leaf: Any) -> np.ndarray:
    """A leaf ``[1, T, ...]`` of a table as ``[T, K]``."""
    value = np.asarray(leaf, np.float64)[0]
    return value.reshape(len(value), -1)


def _gap(made: np.ndarray, wanted: Any) -> np.ndarray:
    """Differences ``[T, K]``, relative to the larger of 1 and the value."""
    expected = _flat(wanted)
    return np.abs(made - expected) / np.maximum(1.0, np.abs(expected))


def _at(bars: Bar, index: int) -> Bar:
    bar: Bar = jax.tree.map(lambda leaf: leaf[index], bars)
    return bar
