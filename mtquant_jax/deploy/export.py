"""A finished training -> one zip with its decision as an ONNX model, what it takes and gives, and golden vectors."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtquant_jax.deploy.desk import TradingDesk, open_desk, symbols_of
from mtquant_jax.deploy.graph import NEXT, STATE, Graph, decision_graph, row_of, row_shapes
from mtquant_jax.deploy.onnx_model import IR_VERSION, OPSET, onnx_model
from mtquant_jax.evaluation.evaluation_bars import EvaluationBars, Part, prepare_evaluation_bars
from mtquant_jax.market.features import FEATURE_NAMES, MACRO_NAMES
from mtquant_jax.market.periods import moment
from mtquant_jax.runs.trained_run import TrainedRun
from mtquant_jax.runs.versions import versions
from mtquant_jax.simulation.risk import RULES
from mtquant_jax.storage.bundles import npy, sha256, write_zip
from mtquant_jax.storage.files import sealed_text

FORMAT, FORMAT_VERSION = "mtquant-jax decision", 1

GOLDEN_BARS = 32
"""Bars whose inputs and outputs are in the zip."""

TOLERANCE = 1e-5
"""Largest difference of any output from the golden one; of lots, in lots."""

_MODEL, _MANIFEST, _GOLDEN = "decision.onnx", "manifest.json", "golden/"


@dataclasses.dataclass(frozen=True)
class TracedRun:
    """A training whose decision is a program, and bars that it may decide on."""

    run: TrainedRun
    desk: TradingDesk
    judged: EvaluationBars
    graph: Graph

    def rows(self, first: int, count: int) -> dict[str, np.ndarray]:
        """The inputs that bars bring ``[count, ...]``; the account opens at the close of the first."""
        table = jax.tree.map(np.asarray, self.judged.market.table)
        shapes = row_shapes(self.desk.desk)
        rows = [row_of(table, 0, first + index, shapes) for index in range(count)]
        opens = {"opens": (np.arange(count) == 0).astype(np.float32)[:, None]}
        found = {name: np.stack([row[name] for row in rows]) for name in rows[0]} | opens
        return {name: found[name] for name in self.graph.given}

    def first_state(self, first: int) -> dict[str, np.ndarray]:
        """A state for the bar at whose close the account opens: nothing but the bar before it."""
        before = row_of(jax.tree.map(np.asarray, self.judged.market.table), 0, first - 1, row_shapes(self.desk.desk))
        inputs = self.graph.program.inputs
        state = {STATE + name: np.zeros(inputs[STATE + name].shape, np.float32) for name in self.graph.state}
        last = {name.replace("market.", f"{STATE}last.", 1): value for name, value in before.items()}
        return state | {name: value for name, value in last.items() if name in state}


def trace_run(run: TrainedRun, data_dir: str | None = None, part: Part = "validation") -> TracedRun:
    """The decision of a finished training, and bars to try it on.

    Args:
        run: with a meta-controller.
        data_dir: bar files; None for those of the training.
        part: which of their bars.

    Raises:
        UserError: it has no meta-controller, or its models or bars do not fit.
    """
    desk = open_desk(run.paths.run_dir, run.config, symbols_of(run.config, _traded(run)))
    judged = prepare_evaluation_bars(run, data_dir, part)
    market = desk.market(judged.market.timestamps)
    return TracedRun(run, desk, judged, decision_graph(desk.desk, desk.trading.policy, market))


def follow(graph: Graph, rows: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What JAX decides over bars, one after the other: outputs by name ``[bars, ...]``.

    Args:
        graph: the decision.
        rows: inputs that bars bring ``[bars, ...]``.
        state: inputs ``state.NAME`` of the first bar.
    """

    def step(state: dict[str, Any], row: dict[str, Any]) -> Any:
        found = graph.decide(state | row)
        return {STATE + name: found[NEXT + name] for name in graph.state}, found

    found: dict[str, np.ndarray] = jax.device_get(
        jax.jit(lambda s, r: jax.lax.scan(step, s, r)[1])(dict(state), dict(rows))
    )
    return found


def export_onnx(run: TrainedRun, output: Path) -> float | None:
    """Write the zip, once onnxruntime, where it is installed, has decided as JAX does.

    Args:
        run: with a meta-controller; its bars must be there.
        output: the .zip to write.

    Returns:
        The largest difference of any output over the golden bars; None without onnxruntime.

    Raises:
        UserError: onnx is not installed, or as `trace_run`.
        ArithmeticError: the model decides otherwise.
    """
    traced = trace_run(run)
    rows, state = traced.rows(traced.judged.first, GOLDEN_BARS), traced.first_state(traced.judged.first)
    golden = {**rows, **state, **follow(traced.graph, rows, state)}
    about = {"run_id": run.run_id, "symbols": " ".join(traced.desk.desk.universe.symbols)}
    model = onnx_model(traced.graph.program, "decision", about)
    difference = largest_difference(model, traced.graph, rows, state, golden)
    if difference is not None and not difference <= TOLERANCE:
        raise ArithmeticError(f"the ONNX model differs from JAX by {difference:g}; nothing was written")
    entries = {_MODEL: model, **{f"{_GOLDEN}{name}.npy": npy(value) for name, value in sorted(golden.items())}}
    manifest = {**_manifest(traced), "files": {name: sha256(content) for name, content in entries.items()}}
    write_zip(output, {_MANIFEST: sealed_text(manifest).encode(), **entries})
    return difference


def largest_difference(
    model: bytes,
    graph: Graph,
    rows: Mapping[str, np.ndarray],
    state: Mapping[str, np.ndarray],
    wanted: Mapping[str, np.ndarray],
) -> float | None:
    """By how much onnxruntime's outputs differ from those wanted, each bar from its own state; None without it."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError:
        return None
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names, largest = list(graph.program.outputs), 0.0
    for bar in range(len(next(iter(rows.values())))):
        found = dict(zip(names, session.run(names, {**state, **{name: rows[name][bar] for name in rows}}), strict=True))
        state = {STATE + name: found[NEXT + name] for name in graph.state}
        differences = [float(np.abs(found[name] - wanted[name][bar]).max()) for name in names]
        largest = max([largest, *differences]) if np.all(np.isfinite(differences)) else np.inf
    return largest


def _traded(run: TrainedRun) -> tuple[str, ...]:
    return tuple(symbol for specialist in run.config.specialists.values() for symbol in specialist.symbols)


def _manifest(traced: TracedRun) -> dict[str, Any]:
    """What the zip says of itself."""
    run, universe, judged = traced.run, traced.desk.desk.universe, traced.judged
    features, inputs = traced.desk.desk.plan.features, traced.graph.program.inputs
    slots: list[str | None] = [None] * (universe.num_classes * universe.width)
    for slot, symbol in zip(universe.slots, universe.symbols, strict=True):
        slots[slot] = symbol
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "run": run.name,
        "run_id": run.run_id,
        "opset": OPSET,
        "ir_version": IR_VERSION,
        "classes": {asset_class.name: list(asset_class.symbols) for asset_class in universe.classes},
        "slots": slots,
        "features": list(FEATURE_NAMES),
        "domain": {c.name: _domain_names(features, c.domain) for c in universe.classes},
        "macro": list(MACRO_NAMES),
        "risk_rules": list(RULES),
        "bar_seconds": traced.desk.bar_seconds,
        "broker_clock": run.config.simulation.broker_clock,
        "account_currency": run.config.simulation.account_currency,
        "initial_capital": run.config.simulation.initial_capital,
        "inputs": [_described(name, inputs[name].shape) for name in inputs],
        "outputs": [_described(name, array.shape) for name, array in traced.graph.program.outputs.items()],
        "golden": {
            "bars": GOLDEN_BARS,
            "first": moment(int(judged.timestamps[0])),
            "last": moment(int(judged.timestamps[GOLDEN_BARS - 1])),
            "tolerance": TOLERANCE,
        },
        "versions": versions(),
    }


def _domain_names(features: Any, domain: str) -> list[str]:
    """Names of a class's columns; the last of a domain with fewer than another are zero and have none."""
    return [feature.name for feature in (*features.every_class, *features.domains[domain])]


def _described(name: str, shape: Sequence[int]) -> dict[str, Any]:
    meaning, unit = MEANINGS.get(name.removeprefix("market."), ("", ""))
    if name.startswith(NEXT):
        meaning, unit = f"the input {STATE}{name.removeprefix(NEXT)} of the next bar", ""
    elif name.startswith(STATE):
        meaning, unit = f"the output {NEXT}{name.removeprefix(STATE)} of the bar before", ""
    return {"name": name, "shape": list(shape), "dtype": "float32", "meaning": meaning, "unit": unit}


MEANINGS: Mapping[str, tuple[str, str]] = {
    "open": ("bid at the bar's open, by slot; 1 where there is no instrument", "quote currency"),
    "close": ("bid at the bar's close, by slot; 1 where there is no instrument", "quote currency"),
    "spread": ("ask less bid, by slot", "quote currency"),
    "tradable": ("1 where the instrument traded in the bar, otherwise 0, by slot", ""),
    "conversion_open": ("account currency per unit of profit currency at the open, by slot", ""),
    "conversion_close": ("account currency per unit of profit currency at the close, by slot", ""),
    "fee_conversion": ("account currency per unit of fee currency at the open, by slot", ""),
    "swap_nights": ("nights charged for holding from the open of the bar before, by slot", "nights"),
    "features": ("features of each class's instruments, in the order of the manifest's features", ""),
    "domain": ("features of each class, in the order of the manifest's domain", ""),
    "macro": ("indicators of the whole market, in the order of the manifest's macro", ""),
    "covariance": ("of per-bar log returns up to the close, by slot", ""),
    "day": ("day of the bar's open on the broker's clock, since 1970-01-01", "days"),
    "opens": ("1 where a flat account opens at this close, otherwise 0", ""),
    "permitted": ("exposure to hold after the risk layer, signed, by slot", "share of equity"),
    "relative": ("what the specialists want of each instrument's share of its class, before the risk layer", "-1 to 1"),
    "target": ("exposure wanted before the risk layer, signed, by slot", "share of equity"),
    "lots": ("order of the simulated account at the next open, signed, by slot", "lots"),
    "capital": ("capital of each class, and of cash", "share of equity"),
    "risk_appetite": ("factor on all capital", "0 to 1"),
    "cuts": ("taken away by each of the manifest's risk_rules", "share of the exposure wanted"),
}
"""Meaning and unit of every array that is no state; those of a market's row without ``market.``."""
