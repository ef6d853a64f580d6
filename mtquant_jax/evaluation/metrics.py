"""What `metrics.json` holds: every number of an evaluation by name, written and read as one object.

Shares are of one. A record of several paths has its days pooled; money, growth and drawdown are means over paths. A
field that is added later takes None as its default, so that files without it are still read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from mtquant_jax.backtest.evidence import Reading
from mtquant_jax.backtest.performance import Performance
from mtquant_jax.runs.identity import Identity
from mtquant_jax.statistics.intervals import Difference, Interval, Intervals, normal_interval
from mtquant_jax.statistics.track_record import TrackRecord
from mtquant_jax.statistics.trades import TradeStatistics
from mtquant_jax.statistics.value_at_risk import VarBacktest
from mtquant_jax.storage.records import JsonRecord, Merged, frame

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True)
class SplitPeriod:
    """Bars of one split of the training."""

    first: str  # open time of the first bar, "YYYY-MM-DD HH:MM" UTC
    last: str
    bars: int | None = None


@dataclasses.dataclass(frozen=True)
class RunDescription:
    """The training that was evaluated."""

    name: str  # of the run directory
    directory: str
    run_id: str  # of its last phase
    seed: int
    phases: tuple[int, ...]  # those that were trained
    trained_on: str  # its market
    splits: Mapping[str, SplitPeriod]
    validation: Mapping[str, str]  # phase -> its performance on the validation split, in words
    trained_on_synthetic: bool | None = None  # whether that market was generated
    identity: Identity | None = None  # of the training; None of one by an earlier version


@dataclasses.dataclass(frozen=True)
class BarsDescription:
    """The bars that it was evaluated on."""

    source: str  # the data directory, or the synthetic market's seed
    market: str  # symbols and interval: bars of the same market and time are the same, wherever their files lie
    description: str
    notices: tuple[str, ...]
    split: str  # of the training: test, validation, train or all
    first: str  # open time of the first bar, "YYYY-MM-DD HH:MM" UTC
    last: str
    bars: int  # traded, per path
    trading_days: int
    trading_days_per_year: float  # counted on these bars
    paths: int
    overlap: Mapping[str, int]  # split of the training -> bars of it among these
    in_sample: bool
    fingerprint: str | None = None  # the same for the same bars and contracts


@dataclasses.dataclass(frozen=True)
class BootstrapDescription:
    """How intervals were drawn."""

    draws: int
    confidence: float
    mean_block_days: float


@dataclasses.dataclass(frozen=True)
class BookMetrics:
    """One book: a portfolio of a phase, a specialist alone, or a baseline.

    What both the performance and the track record have is the same in both: the track record's, of daily closes.
    """

    performance: Merged[Performance]
    record: Merged[TrackRecord]
    intervals: Intervals

    @staticmethod
    def of(performance: Performance, record: TrackRecord, intervals: Intervals) -> BookMetrics:
        """The metrics of one book from its parts."""
        shared = {f.name for f in dataclasses.fields(performance)} & {f.name for f in dataclasses.fields(record)}
        agreeing = dataclasses.replace(performance, **{name: getattr(record, name) for name in shared})
        return BookMetrics(performance=agreeing, record=record, intervals=intervals)


@dataclasses.dataclass(frozen=True)
class VariantMetrics:
    """The last portfolio under other conditions, such as other costs."""

    sharpe: float | None  # annual; None where flat
    sharpe_standard_error: float | None
    total_return: float
    max_drawdown: float  # share of the peak, of daily closes
    cost_share: float  # of initial capital
    swap_share: float  # of initial capital, received (positive) or paid
    mean_exposure: float  # gross exposure / equity
    terminated: int  # paths ruined or stopped out

    @property
    def sharpe_interval(self) -> Interval:
        """The interval of the Sharpe ratio by its standard error."""
        return normal_interval(self.sharpe, self.sharpe_standard_error)


@dataclasses.dataclass(frozen=True)
class ScenarioMetrics:
    """The last portfolio on synthetic paths of one scenario."""

    sharpe: float | None  # annual; None where flat
    sharpe_standard_error: float | None
    total_return: float
    max_drawdown: float  # share of the peak, of daily closes
    worst_day: float | None  # return
    days: int  # per path
    mean_exposure: float  # gross exposure / equity
    terminated: int  # paths ruined or stopped out
    paths: int

    @property
    def sharpe_interval(self) -> Interval:
        """The interval of the Sharpe ratio by its standard error."""
        return normal_interval(self.sharpe, self.sharpe_standard_error)


@dataclasses.dataclass(frozen=True)
class ProfitAndLoss:
    """Where profit came from, shares of initial capital, means over paths."""

    price_profit: float  # before costs and swap
    spread: float  # paid, as are the next three
    commission: float
    slippage: float
    impact: float
    swap: float  # received (positive) or paid
    net: float


@dataclasses.dataclass(frozen=True)
class PartMetrics:
    """One part of the last portfolio's book: an instrument or a class."""

    profit_and_loss: ProfitAndLoss
    track_record: TrackRecord  # of what it contributed each day, shares of the equity that the day began with
    mean_exposure: float  # gross exposure / equity
    mean_weight: float  # signed exposure / equity
    time_in_market: float  # share of bars
    trades: TradeStatistics


@dataclasses.dataclass(frozen=True)
class LotMetrics:
    """What whole lots change for one instrument of the last portfolio, which carries the positions it wants in full."""

    smallest_order: float  # value of the smallest order at the median price, share of initial capital
    mean_wanted: float  # exposure / equity, of the positions that decisions add up to
    mean_held: float  # exposure / equity
    mean_distance: float  # |held - wanted| / equity
    net: float  # profit after costs and swap, share of initial capital
    net_unrounded: float  # the same of a portfolio that trades lots of any size


@dataclasses.dataclass(frozen=True)
class AccountDescription:
    """The account that traded."""

    initial_capital: float
    currency: str


@dataclasses.dataclass(frozen=True)
class ClassMetrics:
    """One class of the last portfolio's book."""

    symbols: tuple[str, ...]
    mean_budget: float  # share of equity that it might use
    part: Merged[PartMetrics]


@dataclasses.dataclass(frozen=True)
class MonthMetrics:
    """One calendar month of the last portfolio, of the broker's days."""

    month: str  # "YYYY-MM"
    record: Merged[TrackRecord]
    costs: float  # share of the equity that the month began with
    swap: float  # the same; received (positive) or paid
    turnover: float  # value traded / equity, sum over the month
    bars: int


@dataclasses.dataclass(frozen=True)
class HorizonMetrics:
    """Forecasts of value at risk over one horizon, against what was lost."""

    backtest: Merged[VarBacktest]
    mean_forecast: float | None  # share of equity, over periods that had risk; None without such


@dataclasses.dataclass(frozen=True)
class ValueAtRiskMetrics:
    """Whether losses passed the forecast as often as its confidence says."""

    confidence: float
    bar: HorizonMetrics
    day: HorizonMetrics


@dataclasses.dataclass(frozen=True)
class RuleMetrics:
    """How often one rule of the risk layer cut, and how much."""

    bars: float  # share of bars on which it cut
    cut: float  # share of the exposure wanted, mean over all bars
    months: Mapping[str, float]  # month -> share of its bars on which it cut


@dataclasses.dataclass(frozen=True)
class DailyReturns:
    """The last portfolio day by day."""

    days: tuple[str, ...]  # [D] "YYYY-MM-DD", the broker's
    returns: tuple[tuple[float, ...], ...]  # [P][D]


@dataclasses.dataclass(frozen=True)
class TrialMetrics:
    """How often these bars were used to judge trainings, and what the best of so many is worth."""

    trials: int  # trainings judged on any of these bars, this one included, and settings tried before in sweeps
    evaluations: int  # of this training on them, this one included
    sharpe_variance: float | None  # of the trials' daily Sharpe ratios; None of fewer than two
    deflated_sharpe: float | None  # probability that the true ratio is above the best of so many by luck; None if flat
    file: str  # that records them


@dataclasses.dataclass(frozen=True)
class SeenMetrics:
    """The same policy on bars that it was trained on and on bars that it was not; the gap is what it only memorised."""

    train: Reading | None  # with the whole of its tilt, on parts of the training split; None where it has too few bars
    out_of_fold: Reading | None  # of trainings that had not seen them, on the same parts; of specialists alone
    validation: Reading  # with the whole of its tilt
    judged: Reading  # on the bars of this evaluation, as it was handed on
    tilt: float  # share of the tilt that was handed on


@dataclasses.dataclass(frozen=True)
class EvaluationMetrics(JsonRecord):
    """Every number of an evaluation."""

    run: RunDescription
    bars: BarsDescription
    bootstrap: BootstrapDescription
    portfolio: str  # name of the last phase's portfolio: what would be traded
    phases: Mapping[str, BookMetrics]  # equal allocation, then phase by phase
    specialists: Mapping[str, BookMetrics]  # class -> its specialist alone
    baselines: Mapping[str, BookMetrics]  # rule -> on all instruments
    ahead_of: Mapping[str, Difference]  # book -> the last portfolio minus it, paired by day
    classes: Mapping[str, ClassMetrics]
    instruments: Mapping[str, PartMetrics]
    months: tuple[MonthMetrics, ...]  # the first and the last may be cut
    trades: Mapping[str, TradeStatistics]  # of the last portfolio (key "portfolio") and of every specialist alone
    cost_stress: Mapping[str, VariantMetrics]  # multiple of all costs, such as "x2"
    one_bar_late: VariantMetrics  # every decision comes into force one bar late
    without_lot_rounding: VariantMetrics
    scenarios: Mapping[str, ScenarioMetrics]  # empty where none was traded
    value_at_risk: ValueAtRiskMetrics
    risk_rules: Mapping[str, RuleMetrics]
    warnings: tuple[str, ...]
    daily: DailyReturns
    verdict: str  # one sentence
    trials: TrialMetrics | None = None  # where they were recorded
    account: AccountDescription | None = None
    lots: Mapping[str, LotMetrics] | None = None  # symbol -> what whole lots change
    seen: Mapping[str, SeenMetrics] | None = None  # book -> how it did where it was trained; runs before it have none

    @property
    def last(self) -> BookMetrics:
        """The last phase's portfolio."""
        return self.phases[self.portfolio]

    @property
    def books(self) -> dict[str, BookMetrics]:
        """All books by name, the phases first; specialists are called ``NAME alone``."""
        alone = {f"{name} alone": book for name, book in self.specialists.items()}
        return {**self.phases, **alone, **self.baselines}

    def variants(self, costs: str, late: str, unrounded: str) -> Iterator[tuple[str, VariantMetrics]]:
        """The last portfolio under other conditions, with names for tables; ``costs`` comes before a multiple."""
        yield from ((f"{costs} {multiple}", variant) for multiple, variant in self.cost_stress.items())
        yield late, self.one_bar_late
        yield unrounded, self.without_lot_rounding

    def to_frame(self) -> pd.DataFrame:
        """Books by row."""
        return frame(self.books)

    def months_frame(self) -> pd.DataFrame:
        """Months of the last portfolio by row."""
        return frame({month.month: month for month in self.months}).drop(columns="month")
