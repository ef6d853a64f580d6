"""A finished training -> one zip with its decision as an ONNX model, what it takes and gives, and golden vectors."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
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
"""Largest difference of any output from the golden one; of numbers beyond 1, such as prices, as a share of them."""

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

    def first_state(self, first: int) -> np.ndarray:
        """A state ``[K]`` for the bar at whose close the account opens: nothing but the bar before it."""
        before = row_of(jax.tree.map(np.asarray, self.judged.market.table), 0, first - 1, row_shapes(self.desk.desk))
        last = {name.replace("market.", "last.", 1): value for name, value in before.items()}
        parts = [np.ravel(last.get(name, np.zeros(shape, np.float32))) for name, shape in self.graph.layout.items()]
        return np.concatenate(parts)


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


def follow(graph: Graph, rows: Mapping[str, np.ndarray], state: np.ndarray) -> dict[str, np.ndarray]:
    """What JAX decides over bars, one after the other: outputs by name ``[bars, ...]``.

    Args:
        graph: the decision.
        rows: inputs that bars bring ``[bars, ...]``.
        state: ``[K]`` before the first bar.
    """

    def step(state: jax.Array, row: dict[str, Any]) -> Any:
        found = graph.decide({**row, STATE: state})
        return found[NEXT], found

    found: dict[str, np.ndarray] = jax.device_get(
        jax.jit(lambda s, r: jax.lax.scan(step, s, r)[1])(jnp.asarray(state), dict(rows))
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
    golden = {**rows, STATE: state, **follow(traced.graph, rows, state)}
    about = {"run_id": run.run_id, "symbols": " ".join(traced.desk.desk.universe.symbols)}
    model = onnx_model(traced.graph.program, "decision", about)
    largest = largest_difference(model, traced.graph, rows, state, golden)
    if largest is not None and not largest <= TOLERANCE:
        raise ArithmeticError(f"the ONNX model differs from JAX by {largest:g}; nothing was written")
    entries = {_MODEL: model, **{f"{_GOLDEN}{name}.npy": npy(value) for name, value in sorted(golden.items())}}
    manifest = {**_manifest(traced), "files": {name: sha256(content) for name, content in entries.items()}}
    write_zip(output, {_MANIFEST: sealed_text(manifest).encode(), **entries})
    return largest


def largest_difference(
    model: bytes,
    graph: Graph,
    rows: Mapping[str, np.ndarray],
    state: np.ndarray,
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
        given = {**{name: rows[name][bar] for name in rows}, STATE: state}
        found = dict(zip(names, session.run(names, given), strict=True))
        state = found[NEXT]
        differences = [difference(found[name], wanted[name][bar]) for name in names]
        largest = max([largest, *differences]) if np.all(np.isfinite(differences)) else np.inf
    return largest


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest difference between two arrays; of numbers beyond 1, as a share of them."""
    return float((np.abs(found - wanted) / np.maximum(np.abs(wanted), 1.0)).max())


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
        "state": [{"name": name, "shape": list(shape)} for name, shape in traced.graph.layout.items()],
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
    meaning, unit = MEANINGS[name.removeprefix("market.")]
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
    "state": ("the output next of the bar before; its parts are the manifest's state, one after the other", ""),
    "next": ("the input state of the next bar", ""),
    "opens": ("1 where a flat account opens at this close, otherwise 0", ""),
    "permitted": ("exposure to hold after the risk layer, signed, by slot", "share of equity"),
    "relative": ("what the specialists want of each instrument's share of its class, before the risk layer", "-1 to 1"),
    "target": ("exposure wanted before the risk layer, signed, by slot", "share of equity"),
    "lots": ("order of the simulated account at the next open, signed, by slot", "lots"),
    "capital": ("capital of each class, and of cash", "share of equity"),
    "risk_appetite": ("factor on all capital", "0 to 1"),
    "cuts": ("taken away by each of the manifest's risk_rules", "share of the exposure wanted"),
}
"""Meaning and unit of every input and output; those of a market's row without ``market.``."""
