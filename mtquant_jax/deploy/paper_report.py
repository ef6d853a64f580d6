"""What was paper traded, beside what the simulator does on the bars as they are now and what validation lets expect."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from mtquant_jax.backtest.trading import BacktestRecord
from mtquant_jax.deploy.desk import TradingDesk
from mtquant_jax.deploy.history import desk_of, read_history
from mtquant_jax.deploy.ledger import Ledger
from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.evaluation_bars import EvaluationBars, prepare_evaluation_bars
from mtquant_jax.market.bars.selection import COLUMNS, first_bars
from mtquant_jax.market.features import FEATURE_NAMES
from mtquant_jax.market.periods import moment
from mtquant_jax.runs.trained_run import TrainedRun
from mtquant_jax.statistics.intervals import Expected, Interval, expected_over
from mtquant_jax.statistics.returns import daily_returns, maximum_drawdown
from mtquant_jax.storage.records import JsonRecord
from mtquant_jax.types import Bars

DAYS = 30
"""Trading days that paper trading takes before the next stage."""

_COST_RATIO = 1.5  # costs per value traded, against validation's, up to which costs are as expected
_DRIFTED = 1.0  # standard deviations of the training by which a feature's mean may differ
_DRIFTED_SHARE = 0.05  # of all features that may
_ODD_SHARE = 0.01  # of the bars that may be late or revised
_MISSING_SHARE = 0.05  # of the bars that may lack an instrument, as on holidays


@dataclasses.dataclass(frozen=True)
class Gate:
    """A condition of the next stage."""

    name: str
    passed: bool
    text: str
    """In words, with the numbers behind it."""


@dataclasses.dataclass(frozen=True)
class PaperReport(JsonRecord):
    """Paper trading so far; returns and equity differences are shares of initial capital."""

    first: str
    last: str
    bars: int
    days: int
    total_return: float
    max_drawdown: float
    simulator_return: float
    """Of the simulator on the bars as they are now."""
    largest_difference: float
    """Between the ledger's equity and the simulator's on the bars as they were traded; 0 where both are one."""
    expected: Expected | None
    """By the validation split, over as many days; None where its bars cannot be read."""
    events: Mapping[str, int]
    gates: tuple[Gate, ...]

    @property
    def verdict(self) -> str:
        """What to do now."""
        failed = [gate for gate in self.gates if not gate.passed]
        if not failed:
            return (
                f"{self.days} trading days and all conditions hold: the next stage is a demo account at a broker, then "
                "10 % of the capital"
            )
        if [gate.name for gate in failed] == ["days"]:
            return f"go on with paper trading: {self.days} of {DAYS} trading days, and all other conditions hold"
        named = ", ".join(gate.name for gate in failed if gate.name != "days")
        return f"stop and look before you go on ({named}): {self.days} of {DAYS} trading days"


def booked_bars(ledger: Ledger, bars: Bars) -> tuple[Bars, int, int]:
    """The bars as they were traded, and the opens of the bar at whose close the account opened and of the last.

    Args:
        ledger: of paper trading.
        bars: as they are now, with history.

    Raises:
        UserError: nothing was booked, or bars that were traded are gone.
    """
    booked = ledger.bars_from(0)
    if len(booked) < 2:
        raise UserError(f"{ledger.path} holds no bar that was traded yet; trade with mtquant-jax paper first")
    first, last = min(booked), max(booked)
    times = bars.timestamps
    kept = (times < first) | np.isin(times, list(booked))
    if gone := sorted(set(booked) - set(times.tolist())):
        raise UserError(
            f"the bar of {moment(gone[0])} UTC was traded, but is not among the bars now; give the same bars"
        )
    columns: dict[str, Any] = {name: np.array(getattr(bars, name))[:, kept] for name in COLUMNS}
    places = np.searchsorted(times[kept], list(booked))
    for name, column in columns.items():
        rows = np.array([prices[name] for prices in booked.values()])
        column[0, places] = rows.astype(bool) if name == "tradable" else rows
    return dataclasses.replace(bars, timestamps=times[kept], **columns), first, last


def equity_of(ledger: Ledger) -> np.ndarray:
    """Equity ``[L + 1]`` by the ledger, from 1.0 where the account opened."""
    return np.array([1.0, *(row[1] for row in ledger.table("equity", "time, equity"))])


def paper_report(run: TrainedRun, desk: TradingDesk, ledger: Ledger, bars: Bars) -> tuple[PaperReport, EvaluationBars]:
    """The report, and the bars as they were traded, for an evaluation of them.

    Args:
        run: the training.
        desk: of it.
        ledger: of paper trading.
        bars: as they are now, with history.

    Raises:
        UserError: too few days were traded, or the bars do not fit.
    """
    traded, first, last = booked_bars(ledger, bars)
    judged = prepare_evaluation_bars(run, None, "paper", traded, (first, last))
    booked, record = equity_of(ledger), _simulated(desk, traded, first, last)
    after = _simulated(desk, bars, first, last)
    equity = np.asarray(record.equity, np.float64)[:, 0]
    returns = daily_returns(booked[:, None], judged.day)[:, 0]
    expected, costs = _expectation(run, len(returns))
    drawdown = float(maximum_drawdown(booked[:, None])[0])
    events = Counter(event.kind for event in ledger.events())
    report = PaperReport(
        first=moment(first),
        last=moment(last),
        bars=len(booked) - 1,
        days=len(returns),
        total_return=float(booked[-1] - 1.0),
        max_drawdown=drawdown,
        simulator_return=float(np.asarray(after.equity)[-1, 0] - 1.0),
        largest_difference=float(np.abs(booked - equity).max()),
        expected=expected,
        events=dict(events),
        gates=(),
    )
    return dataclasses.replace(report, gates=_gates(report, record, costs, _drift(desk, judged))), judged


def _as_they_are(bars: Bars, last: int) -> Bars:
    """The bars now, up to the last that was traded."""
    return first_bars(bars, int(np.searchsorted(bars.timestamps, last, side="right")))


def _simulated(desk: TradingDesk, bars: Bars, first: int, last: int) -> BacktestRecord:
    """What the simulator does from the close of one bar to another."""
    following = desk.begin(bars, int(np.searchsorted(bars.timestamps, first)))
    return following.record(following.follow(_as_they_are(bars, last)))


def _expectation(run: TrainedRun, days: int) -> tuple[Expected | None, float | None]:
    """What the validation split lets expect of so many days, and its costs per value traded."""
    try:
        judged = prepare_evaluation_bars(run, None, "validation")
        if run.is_synthetic:
            return None, None
        desk = desk_of(run, None)
        first, last = (int(judged.market.timestamps[index]) for index in (judged.first, judged.last - 1))
        record = _simulated(desk, read_history(desk), first, last)
    except UserError:
        return None, None
    returns = daily_returns(np.asarray(record.equity, np.float64), judged.day)[:, 0]
    return expected_over(returns, days), _cost_ratio(record)


def _cost_ratio(record: BacktestRecord) -> float | None:
    """Costs per value traded."""
    equity = np.asarray(record.equity, np.float64)[:-1]
    traded = float((np.asarray(record.turnover, np.float64) * equity).sum())
    return float(np.asarray(record.costs, np.float64).sum()) / traded if traded > 0.0 else None


def _drift(desk: TradingDesk, judged: EvaluationBars) -> dict[str, float]:
    """Feature -> by how many of the training's standard deviations its mean differs."""
    universe, width = desk.desk.universe, desk.desk.universe.width
    inputs = desk.trading.policy.normalizers["specialists"]
    means, variances = (np.asarray(tree.instruments, np.float64) for tree in (inputs.mean, inputs.variance))
    seen = np.asarray(judged.market.table.features, np.float64)[0, judged.first : judged.last].mean(axis=0)
    found = {}
    for slot, symbol in zip(universe.slots, universe.symbols, strict=True):
        place = divmod(slot, width)
        for index, name in enumerate(FEATURE_NAMES):
            deviation = max(float(np.sqrt(variances[place][index])), 1e-3)
            found[f"{symbol} {name}"] = float((seen[slot, index] - means[place][index]) / deviation)
    return found


def _gates(
    report: PaperReport, record: BacktestRecord, usual_costs: float | None, drift: Mapping[str, float]
) -> tuple[Gate, ...]:
    """All conditions of the next stage."""
    found = [Gate("days", report.days >= DAYS, f"{report.days} of {DAYS} trading days")]
    if report.expected is not None:
        found += _as_expected(report, report.expected)
    else:
        text = "the bars of the validation split cannot be read, so that nothing is known of what to expect"
        found.append(Gate("expectation", False, text))
    costs = _cost_ratio(record)
    if costs is None:
        found.append(Gate("costs", False, "nothing was traded, so that nothing is known of costs"))
    elif usual_costs:
        ratio = costs / usual_costs
        text = f"costs were {1e4 * costs:.2f} basis points of what was traded, {ratio:.2f} times validation's"
        found.append(Gate("costs", ratio <= _COST_RATIO, f"{text} (up to {_COST_RATIO:g})"))
    far = sorted((name for name in drift if abs(drift[name]) > _DRIFTED), key=lambda name: -abs(drift[name]))
    share = len(far) / max(len(drift), 1)
    named = f": {', '.join(f'{name} {drift[name]:+.1f}' for name in far[:3])}" if far else ""
    text = f"{len(far)} of {len(drift)} features are more than {_DRIFTED:g} standard deviation from the training{named}"
    found.append(Gate("drift", share <= _DRIFTED_SHARE, text))
    late, missing, revised = (report.events.get(kind, 0) for kind in ("late", "missing", "revised"))
    text = f"{late} late, {revised} revised and {missing} missing something, of {report.bars:,} bars"
    few = late + revised <= max(1.0, _ODD_SHARE * report.bars) and missing <= max(1.0, _MISSING_SHARE * report.bars)
    found.append(Gate("bars", few, text))
    ended = report.events.get("stopped out", 0) > 0
    text = "it was stopped out or ruined" if ended else "it was neither stopped out nor ruined"
    found.append(Gate("account", not ended, text))
    same = report.largest_difference < 1e-6
    text = f"ledger and simulator differ by up to {report.largest_difference:.1e} of the capital on the same bars"
    found.append(Gate("books", same, text))
    return tuple(found)


def _as_expected(report: PaperReport, expected: Expected) -> list[Gate]:
    interval: Interval = expected.total_return
    assert interval.low is not None and interval.high is not None
    within = f"{100 * interval.low:+.2f} % to {100 * interval.high:+.2f} %"
    text = f"{100 * report.total_return:+.2f} %, where validation lets expect {within}"
    deep = f"{100 * report.max_drawdown:.2f} %, where validation stays below {100 * expected.max_drawdown:.2f} %"
    return [
        Gate("return", report.total_return >= interval.low, text),
        Gate("drawdown", report.max_drawdown <= expected.max_drawdown, deep),
    ]
