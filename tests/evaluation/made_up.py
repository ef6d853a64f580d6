"""An evaluation of records that nobody traded, for tests of what is computed and written of it."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np

from mtquant_jax.backtest.trading import BacktestRecord, Detail
from mtquant_jax.evaluation.backtests import Traded
from mtquant_jax.evaluation.evaluation import Evaluation, evaluate
from mtquant_jax.evaluation.evaluation_bars import SYNTHETIC, EvaluationBars
from mtquant_jax.market.universe import universe_of
from mtquant_jax.runs.identity import Identity
from mtquant_jax.runs.trained_run import TrainedRun
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.simulation.account import Flows
from mtquant_jax.simulation.portfolio_env import Allocation
from mtquant_jax.simulation.risk import RULES
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.types import AssetClass
from tests.statistics.records import tally

CLASSES = (AssetClass("forex", ("EURUSD", "USDJPY")), AssetClass("<i>odd & names</i>", ("$SPX",)))
BARS_A_DAY = 4
WIDTH = 2  # instruments of a class, padding included


def book(days: int, seed: int, scale: float = 1e-3, paths: int = 2, allocated: bool = True) -> BacktestRecord:
    """A book that turns its positions over now and then; flat where the scale is 0."""
    generator = np.random.default_rng(seed)
    steps, columns = days * BARS_A_DAY, len(CLASSES) * WIDTH
    real = np.asarray([True, True, True, False])
    side = np.repeat(generator.integers(-1, 2, (steps // 4, paths, columns)), 4, axis=0) * real * (scale > 0.0)
    price_profit = generator.normal(size=side.shape) * scale * (side != 0)
    traded = np.abs(np.diff(side, axis=0, prepend=0)) * 1e-5
    flows = Flows(
        price_profit=price_profit, spread=traded, commission=0.5 * traded, slippage=0.0 * traded, impact=0.0 * traded,
        swap=-1e-7 * np.abs(side),
    )  # fmt: skip
    profit = flows.price_profit - flows.spread - flows.commission + flows.swap
    shares = np.broadcast_to([0.5, 0.3, 0.2], (steps, paths, 3))
    detail = Detail(
        units=0.1 * side,
        weights=0.1 * side,
        unrounded_weights=0.11 * side,
        wanted=side,
        flows=flows,
        opened=_after_flips(flows, side),
        fill_offset=np.zeros(side.shape),
        variance=(side != 0).any(axis=-1) * scale**2,
        allocation=Allocation(capital=shares, risk_appetite=np.full((steps, paths), 0.4)) if allocated else None,
    )
    return BacktestRecord(
        equity=np.concatenate([np.ones((1, paths)), 1.0 + np.cumsum(profit.sum(axis=-1), axis=0)]),
        reward=np.zeros((steps, paths)),
        exposure=0.1 * np.abs(side).sum(axis=-1),
        turnover=0.1 * np.abs(np.diff(side, axis=0, prepend=0)).sum(axis=-1),
        costs=(flows.spread + flows.commission).sum(axis=-1),
        swap=flows.swap.sum(axis=-1),
        risk_cuts={f"risk/{rule}": np.full((steps, paths), 0.01 * (index == 1)) for index, rule in enumerate(RULES)},
        terminated=np.zeros(paths, bool),
        budgets=np.full((steps, paths, len(CLASSES)), 0.4),
        real=real,
        wanted=tally(side.astype(np.float64)),
        allocation=None,
        detail=detail,
    )


def _after_flips(flows: Flows, side: np.ndarray) -> Flows:
    """Half of what each bar of a flip brought."""
    flipped = np.diff(np.sign(side), axis=0, prepend=0)
    return Flows(**{name: 0.5 * getattr(flows, name) * (np.abs(flipped) == 2) for name in vars(flows)})


def alone(record: BacktestRecord, index: int) -> BacktestRecord:
    """The record of one class alone: its own columns."""
    columns = slice(index * WIDTH, (index + 1) * WIDTH)
    detail = record.detail
    parts = [
        Flows(**{name: getattr(kinds, name)[:, :, columns] for name in vars(kinds)})
        for kinds in (detail.flows, detail.opened)
    ]
    own = dataclasses.replace(
        detail,
        units=detail.units[:, :, columns],
        flows=parts[0],
        opened=parts[1],
        fill_offset=detail.fill_offset[:, :, columns],
        allocation=None,
    )
    return dataclasses.replace(record, detail=own)


def made_up(
    folder,
    days: int = 90,
    scale: float = 1e-3,
    in_sample: bool = False,
    allocated: bool = True,
    source: str = f"{SYNTHETIC} 0",
) -> Evaluation:
    """An evaluation of records that nobody traded, of a training on a synthetic market."""
    overlap = {"train": days if in_sample else 0, "validation": 0}
    splits = {name: {"first": "2020-01-01 00:00", "last": "2020-12-31 00:00"} for name in ("train", "validation")}
    agent = {
        "best_timesteps": 200,
        "history": [
            {"timesteps": 100, "sharpe": None, "sharpe_standard_error": None},
            {"timesteps": 200, "sharpe": 0.5, "sharpe_standard_error": 0.4},
        ],
    }
    identity = Identity("made up", {}, "made up", False).to_json()
    run = TrainedRun(
        RunPaths(folder / "run & <co>"),
        TrainConfig(),
        {1: {"run_id": "20240101T000000", "identity": identity, "specialists": {c.name: agent for c in CLASSES}}},
        {
            "identity": identity,
            "market": {"description": "made up", "splits": splits, "interval_seconds": 21_600, "symbols": []},
        },
    )
    steps = days * BARS_A_DAY
    day = 19_700 + (np.arange(steps + 1) + BARS_A_DAY - 1) // BARS_A_DAY
    market = SimpleNamespace(
        universe=universe_of(CLASSES),
        table=SimpleNamespace(**dict.fromkeys(("open", "close", "conversion_close"), np.ones((2, steps + 1, 4)))),
        contracts=SimpleNamespace(contract_size=np.ones(4), min_lot=np.full(4, 0.01)),
        description="bars of C:\\data\\<b>",
        notices=("a notice with <tags>",),
        bars_per_day=float(BARS_A_DAY),
        fingerprint="0123456789abcdef",
        timestamps=1_702_000_000 + 21_600 * np.arange(steps + 1),
        day=day,
    )
    judged = EvaluationBars(market, 0, steps + 1, "test", source, overlap)
    records = [book(days, seed, scale, allocated=allocated) for seed in range(5)]
    traded = Traded(
        specialists={c.name: alone(records[4], index) for index, c in enumerate(CLASSES)},
        portfolios={"equal allocation": records[0], "after phase 2": records[1]},
        baselines={"flat": book(days, 0, 0.0), "buy and hold": records[2]},
        costs={cost: records[1] for cost in (0.0, 1.0, 2.0, 3.0)},
        late=records[3],
        unrounded=records[3],
        stress=None,
        stress_day=None,
        stress_notice="no stress scenarios: <because>",
    )
    return evaluate(run, judged, traded, draws=100)
