"""Does the exported ONNX model decide as JAX and as the evaluator do, bar by bar over a history of real bars?

Bars go through onnxruntime one after the other, each with the state that the bar before left. Outputs are compared
with those of the same function compiled by JAX, which carries a state of its own; and with JAX's state given, on every
fourth bar. Relative weights and orders are compared with what the evaluator's backtest wants and trades. All of it is
done again under risk limits that bind on most bars. Writes ``results/export_equality.json``.

    mtquant-jax train --data-dir BARS --quick-test --tilt whole --run-dir RUN
    python benchmarks/export_equality.py --run-dir RUN
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnxruntime
import tyro
from recording import store

from mtquant_jax.backtest.trading import backtest
from mtquant_jax.deploy.export import TOLERANCE, TracedRun, difference, follow, trace_run
from mtquant_jax.deploy.graph import NEXT, STATE
from mtquant_jax.deploy.onnx_model import onnx_model
from mtquant_jax.runs.trained_run import TrainedRun, open_run
from mtquant_jax.settings.config import RiskConfig
from mtquant_jax.simulation.market_params import evaluation_params, portfolio_params
from mtquant_jax.simulation.risk import RULES


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Follow bars with an exported decision."""

    run_dir: Path
    """Of a training with a meta-controller."""
    bars: int = 10_000
    """Bars to decide on, from the first that has its look-back."""


TIGHT = RiskConfig(
    instrument_limit=0.02,
    class_limit=0.05,
    correlation_limit=0.04,
    gross_limit=0.1,
    var_limit=0.0005,
    halving_loss=0.0002,
    reduction_loss=0.0004,
    flattening_loss=0.0008,
)
"""Limits that bind on most bars, where those of the training hardly do."""


def followed(
    session: Any, traced: TracedRun, rows: dict[str, np.ndarray], states: Any
) -> tuple[dict[str, np.ndarray], float]:
    """Outputs by onnxruntime ``[bars, ...]``, and seconds that a decision takes.

    Bars start from ``states [bars, K]``; from ``[K]`` the first does, and each other one from where the last ended.
    """
    names, seconds, state = list(traced.graph.program.outputs), 0.0, states
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for bar in range(len(rows["opens"])):
        given = {STATE: state if states.ndim == 1 else states[bar]}
        given |= {name: values[bar] for name, values in rows.items()}
        began = time.perf_counter()
        outputs = dict(zip(names, session.run(names, given), strict=True))
        seconds += time.perf_counter() - began
        state = outputs[NEXT]
        for name, value in outputs.items():
            found[name].append(value)
    return {name: np.stack(values) for name, values in found.items()}, seconds / len(rows["opens"])


def evaluator(traced: TracedRun, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Relative weights wanted and lots held ``[steps, N]`` of the evaluator's backtest."""
    config, policy = traced.run.config, traced.desk.trading.policy
    params = evaluation_params(portfolio_params(config, traced.judged.market))
    desk = traced.desk.desk
    record = backtest(
        desk.env,
        desk.agent,
        steps,
        policy.params,
        policy.normalizers,
        params,
        np.int32(traced.judged.first),
        detailed=True,
    )
    detail = jax.device_get(record.detail)
    lots = detail.units[:, 0] * float(params.rules.initial_capital) / np.asarray(params.contracts.contract_size)
    return detail.wanted[:, 0], lots


def steps_of(lots: np.ndarray, traced: TracedRun) -> np.ndarray:
    """Lots in whole lot steps."""
    return np.rint(lots / np.asarray(traced.judged.market.contracts.lot_step)).astype(np.int64)


def figures(run: TrainedRun, bars: int) -> dict[str, Any]:
    """How far onnxruntime is from JAX and from the evaluator on one training's bars."""
    traced = trace_run(run, part="all")
    first, count = traced.judged.first, min(bars, traced.judged.num_steps)
    rows, state = traced.rows(first, count), traced.first_state(first)
    content = onnx_model(traced.graph.program, "decision")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    by_onnx, seconds = followed(session, traced, rows, state)
    by_jax = follow(traced.graph, rows, state)
    some = slice(1, None, 4)
    alone, _ = followed(session, traced, {name: v[some] for name, v in rows.items()}, by_jax[NEXT][:-1][::4])
    orders = steps_of(by_onnx["lots"], traced)
    wanted, held = evaluator(traced, count)
    trades = np.diff(np.concatenate([np.zeros_like(held[:1]), held]), axis=0)
    tradable = traced.rows(first + 1, count)["market.tradable"] > 0.5
    differing = np.where(tradable, orders - steps_of(trades, traced), 0)
    relative = by_onnx["relative"].reshape(count, -1)
    return {
        "data": traced.judged.market.description,
        "bars": count,
        "operations": len(traced.graph.program.operations),
        "model_bytes": len(content),
        "milliseconds_per_decision": 1e3 * seconds,
        "difference_from_jax_after_one_bar": {
            name: difference(alone[name], by_jax[name][some][: len(alone[name])]) for name in alone
        },
        "difference_from_jax_after_all_bars": {name: difference(by_onnx[name], by_jax[name]) for name in by_onnx},
        "difference_of_relative_weights_from_the_evaluator": difference(relative, wanted),
        "largest_relative_weight": float(np.abs(relative).max()),
        "bars_with_a_cut_by_rule": dict(zip(RULES, (by_onnx["cuts"] > 1e-3).sum(axis=0).tolist(), strict=True)),
        "orders": int((orders != 0).sum()),
        "orders_that_differ_from_jax": int((orders != steps_of(by_jax["lots"], traced)).sum()),
        "orders_that_differ_from_the_evaluator": int((differing != 0).sum()),
    }


def main(arguments: Arguments) -> None:
    run = open_run(arguments.run_dir)
    tight = dataclasses.replace(run, config=dataclasses.replace(run.config, risk=TIGHT))
    store(
        "export_equality",
        {
            "tolerance": TOLERANCE,
            "as_trained": figures(run, arguments.bars),
            "tight_risk_limits": figures(tight, arguments.bars),
        },
    )


if __name__ == "__main__":
    main(tyro.cli(Arguments))
