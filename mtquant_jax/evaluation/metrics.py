"""Records of an evaluation -> its figures, as `metrics.json` holds them and the report shows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mtquant_jax.backtest.performance import Performance, describe, performance
from mtquant_jax.backtest.trading import BacktestRecord
from mtquant_jax.evaluation.backtests import Traded
from mtquant_jax.evaluation.book import by_class, by_instrument, slots_of, trades_of
from mtquant_jax.evaluation.evaluation_bars import EvaluationBars
from mtquant_jax.evaluation.risk import risk_rules, value_at_risk
from mtquant_jax.evaluation.verdict import judgement, period
from mtquant_jax.evaluation.warnings import warnings_of
from mtquant_jax.market.periods import date_of, moment, month_name, month_of
from mtquant_jax.market.prepare import EXAMPLE_CONTRACTS
from mtquant_jax.market.synthetic.scenarios import STAGES
from mtquant_jax.runs.trained_run import TrainedRun
from mtquant_jax.statistics.intervals import CONFIDENCE, Bootstrap, bootstrap
from mtquant_jax.statistics.returns import daily_returns, trading_days_per_year
from mtquant_jax.statistics.track_record import track_record
from mtquant_jax.statistics.trades import Trade, trade_figures


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A run on the bars that it is judged on: the records, what is drawn from them, and all figures."""

    run: TrainedRun
    judged: EvaluationBars
    traded: Traded
    returns: dict[str, np.ndarray]  # name -> [D, P] daily returns of portfolios and baselines
    days: np.ndarray  # [D] the broker's days of those returns, since 1970
    days_per_year: float
    bootstrap: Bootstrap  # over the same names
    trades: dict[str, list[Trade]]  # of the last portfolio (key "portfolio") and of every specialist alone
    metrics: dict[str, Any]

    @property
    def last(self) -> BacktestRecord:
        """The last phase's portfolio."""
        return self.traded.portfolios[self.traded.last]


def evaluate(run: TrainedRun, judged: EvaluationBars, traded: Traded, draws: int = 1000) -> Evaluation:
    """Reckon all figures; ``draws`` of the bootstrap."""
    day = judged.day
    days_per_year = trading_days_per_year(day)
    curves = {**traded.portfolios, **{f"{name} alone": r for name, r in traded.specialists.items()}, **traded.baselines}
    returns = {name: daily_returns(np.asarray(record.equity, np.float64), day) for name, record in curves.items()}
    books = {"portfolio": (traded.portfolios[traded.last], slots_of(judged))}
    books |= {name: (r, slots_of(judged, index)) for index, (name, r) in enumerate(traded.specialists.items())}
    with ThreadPoolExecutor(1) as beside:
        drawing = beside.submit(bootstrap, returns, days_per_year, draws)
        found = {name: trades_of(record, slots, run, judged) for name, (record, slots) in books.items()}
        drawn = drawing.result()
    last = traded.portfolios[traded.last]

    def told(name: str, record: BacktestRecord) -> dict[str, Any]:
        intervals = drawn.intervals(name)
        return {
            **performance(record, day).to_json(),
            **track_record(returns[name], days_per_year),
            "intervals": dataclasses.asdict(intervals),
        }

    metrics = {
        "run": _of_run(run),
        "bars": _of_bars(run, judged, days_per_year),
        "bootstrap": {"draws": draws, "confidence": CONFIDENCE, "mean_block_days": drawn.block_length},
        "portfolio": traded.last,
        "phases": {name: told(name, record) for name, record in traded.portfolios.items()},
        "specialists": {name: told(f"{name} alone", record) for name, record in traded.specialists.items()},
        "baselines": {name: told(name, record) for name, record in traded.baselines.items()},
        "ahead_of": {
            name: dataclasses.asdict(drawn.difference(traded.last, name))
            for name in (*traded.portfolios, *traded.baselines)
            if name != traded.last
        },
        "classes": by_class(last, found["portfolio"], judged, days_per_year),
        "instruments": by_instrument(last, found["portfolio"], judged, days_per_year),
        "months": _by_month(last, judged, days_per_year),
        "trades": {name: trade_figures(list_) for name, list_ in found.items()},
        "cost_stress": {f"x{cost:g}": _short(record, day, days_per_year) for cost, record in traded.costs.items()},
        "one_bar_late": _short(traded.late, day, days_per_year),
        "without_lot_rounding": _short(traded.unrounded, day, days_per_year),
        "scenarios": _by_scenario(traded),
        "value_at_risk": value_at_risk(last, run.config.risk.var_confidence, judged),
        "risk_rules": risk_rules(last, judged),
        "warnings": warnings_of(run, judged, traded, len(returns[traded.last])),
        "daily": {
            "days": [str(date_of(d)) for d in np.unique(day)[-len(returns[traded.last]) :]],
            "returns": returns[traded.last].T,
        },
    }
    metrics["verdict"] = verdict(metrics)
    days = np.unique(day)[-len(returns[traded.last]) :]
    return Evaluation(run, judged, traded, returns, days, days_per_year, drawn, found, metrics)


def verdict(metrics: Mapping[str, Any]) -> str:
    """One plain sentence on what the portfolio did."""
    bars, figures = metrics["bars"], metrics["phases"][metrics["portfolio"]]
    sharpe, days = figures["intervals"]["sharpe"], figures["days"]
    when = f"{'In' if bars['in_sample'] else 'Out of'} sample {period(bars['first'], bars['last'], days)}"
    if sharpe["value"] is None:
        return f"{when}: the portfolio did not trade; it is flat."
    return f"{when}: {judgement(sharpe, days, metrics['ahead_of'])}."


def _of_run(run: TrainedRun) -> dict[str, Any]:
    return {
        "name": run.name,
        "directory": str(run.paths.run_dir),
        "run_id": run.run_id,
        "seed": run.config.seed,
        "phases": sorted(run.results),
        "trained_on": run.market["description"],
        "splits": run.market["splits"],
        "validation": {
            str(phase): describe(Performance.from_json(result["validation"], str(run.paths.phase_results(phase))))
            for phase, result in (
                (2, run.results.get(2, {}).get("meta_controller", {})),
                (3, run.results.get(3, {}).get("portfolio", {})),
            )
            if result
        },
    }


def _of_bars(run: TrainedRun, judged: EvaluationBars, days_per_year: float) -> dict[str, Any]:
    times = judged.timestamps
    return {
        "source": judged.source,
        "market": judged.identity,
        "description": judged.market.description,
        "notices": [notice for notice in judged.market.notices if notice != EXAMPLE_CONTRACTS],
        "split": judged.part,
        "first": moment(times[0]),
        "last": moment(times[-1]),
        "bars": judged.num_steps,
        "trading_days": len(np.unique(judged.day)),
        "trading_days_per_year": days_per_year,
        "paths": int(judged.market.table.open.shape[0]),
        "overlap": judged.overlap,
        "in_sample": any(judged.overlap.values()),
    }


def _by_month(record: BacktestRecord, judged: EvaluationBars, days_per_year: float) -> list[dict[str, Any]]:
    """Calendar months of the broker's days, in order; the first and the last may be cut."""
    equity = np.asarray(record.equity, np.float64)
    costs, swap, turnover = (np.asarray(values, np.float64) for values in (record.costs, record.swap, record.turnover))
    months = month_of(judged.day)
    told = []
    for month in np.unique(months[1:]):
        steps = np.flatnonzero(months[1:] == month)
        span = equity[steps[0] : steps[-1] + 2]
        days = np.concatenate([[-1], judged.day[1:][steps]])
        base = np.maximum(span[0], 1e-9)
        told.append(
            {
                "month": month_name(int(month)),
                **track_record(daily_returns(span, days), days_per_year),
                "costs": float(np.mean(costs[steps].sum(axis=0) / base)),
                "swap": float(np.mean(swap[steps].sum(axis=0) / base)),
                "turnover": float(np.mean(turnover[steps].sum(axis=0))),
                "bars": len(steps),
            }
        )
    return told


def _short(record: BacktestRecord, day: np.ndarray, days_per_year: float) -> dict[str, Any]:
    """What a variant is compared by, reckoned as the phases are."""
    returns = daily_returns(np.asarray(record.equity, np.float64), day)
    told = performance(record, day).to_json() | track_record(returns, days_per_year)
    names = (
        "sharpe",
        "sharpe_standard_error",
        "total_return",
        "max_drawdown",
        "cost_share",
        "swap_share",
        "mean_exposure",
        "terminated",
    )
    return {name: told[name] for name in names}


def _by_scenario(traded: Traded) -> dict[str, Any]:
    """Of the last portfolio on synthetic paths, neutral first; the paths lie scenario by scenario."""
    if traded.stress is None or traded.stress_day is None:
        return {}
    count = traded.stress.equity.shape[1] // len(STAGES)
    told = {}
    for name in ("neutral", *(stage for stage in STAGES if stage != "neutral")):
        first = STAGES.index(name) * count
        paths = slice(first, first + count)
        equity = np.asarray(traded.stress.equity, np.float64)[:, paths]
        figures = track_record(daily_returns(equity, traded.stress_day), trading_days_per_year(traded.stress_day))
        kept = ("sharpe", "sharpe_standard_error", "total_return", "max_drawdown", "worst_day", "days")
        told[name] = {key: figures[key] for key in kept}
        told[name] |= {
            "mean_exposure": float(np.asarray(traded.stress.exposure)[:, paths].mean()),
            "terminated": int(np.asarray(traded.stress.terminated)[paths].sum()),
            "paths": count,
        }
    return told
