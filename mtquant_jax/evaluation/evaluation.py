"""Records of everything traded -> an evaluation: daily returns, their bootstrap, trades and all metrics."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from mtquant_jax.backtest.evidence import Evidence, Reading
from mtquant_jax.backtest.performance import Performance, describe, performance
from mtquant_jax.backtest.trading import BacktestRecord
from mtquant_jax.evaluation.backtests import AFTER, Traded
from mtquant_jax.evaluation.book import by_class, by_instrument, by_lots, slots_of, trades_of
from mtquant_jax.evaluation.evaluation_bars import EvaluationBars
from mtquant_jax.evaluation.metrics import (
    AccountDescription,
    BarsDescription,
    BookMetrics,
    BootstrapDescription,
    DailyReturns,
    EvaluationMetrics,
    MonthMetrics,
    RunDescription,
    ScenarioMetrics,
    SeenMetrics,
    SplitPeriod,
    VariantMetrics,
)
from mtquant_jax.evaluation.risk import risk_rules, value_at_risk
from mtquant_jax.evaluation.verdict import judgement, period
from mtquant_jax.evaluation.warnings import SYNTHETIC_TRAINING, warnings_of
from mtquant_jax.market.periods import date_of, moment, month_name, month_of
from mtquant_jax.market.prepare import EXAMPLE_CONTRACTS
from mtquant_jax.market.synthetic.scenarios import STAGES
from mtquant_jax.runs.identity import identity_in
from mtquant_jax.runs.trained_run import TrainedRun
from mtquant_jax.statistics.intervals import CONFIDENCE, Bootstrap, Difference, bootstrap
from mtquant_jax.statistics.returns import daily_returns, trading_days_per_year
from mtquant_jax.statistics.track_record import track_record
from mtquant_jax.statistics.trades import Trade, trade_statistics
from mtquant_jax.storage.records import from_json


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A run on the bars that it is judged on: the records, what is drawn from them, and all metrics."""

    run: TrainedRun
    judged: EvaluationBars
    traded: Traded
    returns: dict[str, np.ndarray]  # name -> [D, P] daily returns of portfolios, specialists alone and baselines
    days: np.ndarray  # [D] the broker's days of those returns, since 1970
    days_per_year: float
    bootstrap: Bootstrap  # over the same names
    trades: dict[str, list[Trade]]  # of the last portfolio (key "portfolio") and of every specialist alone
    metrics: EvaluationMetrics

    @property
    def last(self) -> BacktestRecord:
        """The last phase's portfolio."""
        return self.traded.portfolios[self.traded.last]


def evaluate(run: TrainedRun, judged: EvaluationBars, traded: Traded, draws: int = 1000) -> Evaluation:
    """Compute everything; ``draws`` of the bootstrap."""
    day = judged.day
    days_per_year = trading_days_per_year(day)
    curves = {**traded.portfolios, **{f"{name} alone": r for name, r in traded.specialists.items()}, **traded.baselines}
    returns = {name: daily_returns(np.asarray(record.equity, np.float64), day) for name, record in curves.items()}
    books = {"portfolio": (traded.portfolios[traded.last], slots_of(judged))}
    books |= {name: (r, slots_of(judged, index)) for index, (name, r) in enumerate(traded.specialists.items())}
    with ThreadPoolExecutor(1) as beside:
        drawing = beside.submit(bootstrap, returns, days_per_year, draws)
        trades = {name: trades_of(record, slots, run, judged) for name, (record, slots) in books.items()}
        drawn = drawing.result()
    days = np.unique(day)[-len(returns[traded.last]) :]
    metrics = _metrics(run, judged, traded, returns, days, days_per_year, drawn, trades)
    return Evaluation(run, judged, traded, returns, days, days_per_year, drawn, trades, metrics)


def _metrics(
    run: TrainedRun,
    judged: EvaluationBars,
    traded: Traded,
    returns: Mapping[str, np.ndarray],
    days: np.ndarray,
    days_per_year: float,
    drawn: Bootstrap,
    trades: Mapping[str, list[Trade]],
) -> EvaluationMetrics:
    """All metrics; arguments as in `Evaluation`."""
    day, last, account = judged.day, traded.portfolios[traded.last], run.config.simulation

    def book(name: str, record: BacktestRecord) -> BookMetrics:
        of_days = track_record(returns[name], days_per_year)
        return BookMetrics.of(performance(record, day), of_days, drawn.intervals(name))

    draws = len(drawn.sharpe) - 1
    bars = _describe_bars(judged, days_per_year)
    phases = {name: book(name, record) for name, record in traded.portfolios.items()}
    others = [name for name in (*traded.portfolios, *traded.baselines) if name != traded.last]
    ahead_of = {name: drawn.difference(traded.last, name) for name in others}
    return EvaluationMetrics(
        run=_describe_run(run),
        bars=bars,
        bootstrap=BootstrapDescription(draws=draws, confidence=CONFIDENCE, mean_block_days=drawn.block_length),
        portfolio=traded.last,
        phases=phases,
        specialists={name: book(f"{name} alone", record) for name, record in traded.specialists.items()},
        baselines={name: book(name, record) for name, record in traded.baselines.items()},
        ahead_of=ahead_of,
        classes=by_class(last, trades["portfolio"], judged, days_per_year),
        instruments=by_instrument(last, trades["portfolio"], judged, days_per_year),
        months=_by_month(last, judged, days_per_year),
        trades={name: trade_statistics(found) for name, found in trades.items()},
        cost_stress={f"x{cost:g}": _variant(record, day, days_per_year) for cost, record in traded.costs.items()},
        one_bar_late=_variant(traded.late, day, days_per_year),
        without_lot_rounding=_variant(traded.unrounded, day, days_per_year),
        scenarios=_by_scenario(traded),
        value_at_risk=value_at_risk(last, run.config.risk.var_confidence, judged),
        risk_rules=risk_rules(last, judged),
        warnings=tuple(warnings_of(run, judged, traded, len(days))),
        daily=DailyReturns(
            days=tuple(str(date_of(d)) for d in days),
            returns=tuple(tuple(path) for path in returns[traded.last].T.tolist()),
        ),
        verdict=_of_other_market(run, judged) + verdict(bars, phases[traded.last], ahead_of),
        account=AccountDescription(account.initial_capital, account.account_currency),
        lots=by_lots(last, traded.unrounded, account.initial_capital, judged),
        seen=_seen(run, returns, days_per_year),
    )


def _seen(run: TrainedRun, returns: Mapping[str, np.ndarray], days_per_year: float) -> dict[str, SeenMetrics] | None:
    """How every book did on the bars that it was trained on, as far as its results say so."""
    reports = {f"{name} alone": report for name, report in run.results[1]["specialists"].items()}
    reports |= {
        AFTER[phase]: run.results[phase][name] for phase, name in _PORTFOLIO_REPORTS.items() if phase in run.results
    }
    found = {}
    for name, report in reports.items():
        if name in returns and report.get("evidence"):
            evidence = Evidence.from_json(report["evidence"], f"{run.paths.run_dir}, evidence of {name}")
            found[name] = SeenMetrics(
                train=evidence.train,
                out_of_fold=evidence.out_of_fold,
                validation=evidence.validation,
                judged=Reading.of([returns[name]], days_per_year),
                tilt=evidence.tilt,
            )
    return found or None


def _of_other_market(run: TrainedRun, judged: EvaluationBars) -> str:
    """What the verdict begins with where policies are judged on real bars that learnt on synthetic ones."""
    return "" if judged.is_synthetic or not run.is_synthetic else f"{SYNTHETIC_TRAINING}. "


def verdict(bars: BarsDescription, last: BookMetrics, ahead_of: Mapping[str, Difference]) -> str:
    """One plain sentence on what the last portfolio did."""
    sharpe, days = last.intervals.sharpe, last.record.days
    when = f"{'In' if bars.in_sample else 'Out of'} sample {period(bars.first, bars.last, days)}"
    if sharpe.value is None:
        return f"{when}: the portfolio did not trade; it is flat."
    differences = {name: difference.sharpe for name, difference in ahead_of.items()}
    return f"{when}: {judgement(sharpe, days, differences)}."


def _describe_run(run: TrainedRun) -> RunDescription:
    reports = {phase: run.results.get(phase, {}).get(name) for phase, name in _PORTFOLIO_REPORTS.items()}
    found = {phase: report["validation"] for phase, report in reports.items() if report}
    return RunDescription(
        name=run.name,
        directory=str(run.paths.run_dir),
        run_id=run.run_id,
        seed=run.config.seed,
        phases=tuple(sorted(run.results)),
        trained_on=run.market["description"],
        trained_on_synthetic=run.is_synthetic,
        splits={
            name: from_json(SplitPeriod, split, f"{run.paths.training_summary}, split {name}")
            for name, split in run.market["splits"].items()
        },
        validation={
            str(phase): describe(Performance.from_json(content, str(run.paths.phase_results(phase))))
            for phase, content in found.items()
        },
        identity=identity_in(run.summary, run.paths.training_summary),
    )


_PORTFOLIO_REPORTS = {2: "meta_controller", 3: "portfolio"}
"""Phase -> the key of its results that holds a portfolio's training."""


def _describe_bars(judged: EvaluationBars, days_per_year: float) -> BarsDescription:
    times = judged.timestamps
    return BarsDescription(
        source=judged.source,
        market=judged.identity,
        fingerprint=judged.market.fingerprint,
        description=judged.market.description,
        notices=tuple(notice for notice in judged.market.notices if notice != EXAMPLE_CONTRACTS),
        split=judged.part,
        first=moment(times[0]),
        last=moment(times[-1]),
        bars=judged.num_steps,
        trading_days=len(np.unique(judged.day)),
        trading_days_per_year=days_per_year,
        paths=int(judged.market.table.open.shape[0]),
        overlap=judged.overlap,
        in_sample=any(judged.overlap.values()),
    )


def _by_month(record: BacktestRecord, judged: EvaluationBars, days_per_year: float) -> tuple[MonthMetrics, ...]:
    """Calendar months of the broker's days, in order; the first and the last may be cut."""
    equity = np.asarray(record.equity, np.float64)
    costs, swap, turnover = (np.asarray(values, np.float64) for values in (record.costs, record.swap, record.turnover))
    months = month_of(judged.day)
    found = []
    for month in np.unique(months[1:]):
        steps = np.flatnonzero(months[1:] == month)
        span = equity[steps[0] : steps[-1] + 2]
        days = np.concatenate([[-1], judged.day[1:][steps]])
        base = np.maximum(span[0], 1e-9)
        found.append(
            MonthMetrics(
                month=month_name(int(month)),
                record=track_record(daily_returns(span, days), days_per_year),
                costs=float(np.mean(costs[steps].sum(axis=0) / base)),
                swap=float(np.mean(swap[steps].sum(axis=0) / base)),
                turnover=float(np.mean(turnover[steps].sum(axis=0))),
                bars=len(steps),
            )
        )
    return tuple(found)


def _variant(record: BacktestRecord, day: np.ndarray, days_per_year: float) -> VariantMetrics:
    """Metrics of a record, computed as those of the phases."""
    of_days = track_record(daily_returns(np.asarray(record.equity, np.float64), day), days_per_year)
    of_bars = performance(record, day)
    return VariantMetrics(
        sharpe=of_days.sharpe,
        sharpe_standard_error=of_days.sharpe_standard_error,
        total_return=of_days.total_return,
        max_drawdown=of_days.max_drawdown,
        cost_share=of_bars.cost_share,
        swap_share=of_bars.swap_share,
        mean_exposure=of_bars.mean_exposure,
        terminated=of_bars.terminated,
    )


def _by_scenario(traded: Traded) -> dict[str, ScenarioMetrics]:
    """The last portfolio on synthetic paths, neutral first; the paths lie scenario by scenario."""
    if traded.stress is None or traded.stress_day is None:
        return {}
    count = traded.stress.equity.shape[1] // len(STAGES)
    found = {}
    for name in ("neutral", *(stage for stage in STAGES if stage != "neutral")):
        first = STAGES.index(name) * count
        paths = slice(first, first + count)
        equity = np.asarray(traded.stress.equity, np.float64)[:, paths]
        record = track_record(daily_returns(equity, traded.stress_day), trading_days_per_year(traded.stress_day))
        found[name] = ScenarioMetrics(
            sharpe=record.sharpe,
            sharpe_standard_error=record.sharpe_standard_error,
            total_return=record.total_return,
            max_drawdown=record.max_drawdown,
            worst_day=record.worst_day,
            days=record.days,
            mean_exposure=float(np.asarray(traded.stress.exposure)[:, paths].mean()),
            terminated=int(np.asarray(traded.stress.terminated)[paths].sum()),
            paths=count,
        )
    return found
