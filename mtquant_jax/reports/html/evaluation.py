"""An evaluation -> its `report.html`."""

from __future__ import annotations

from pathlib import Path

from mtquant_jax.errors import with_flags
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.evaluation.metrics import EvaluationMetrics
from mtquant_jax.evaluation.warnings import IN_SAMPLE, SYNTHETIC_TRAINING
from mtquant_jax.reports.html import book as report_book
from mtquant_jax.reports.html import returns as report_returns
from mtquant_jax.reports.html.charts import Chart
from mtquant_jax.reports.html.page import Page
from mtquant_jax.reports.html.sections import sections
from mtquant_jax.reports.html.text import DASH, Tile, ends, number, percent


def write_report(evaluation: Evaluation, path: Path) -> None:
    """Write the report; it appears when it is whole.

    Raises:
        UserError: plotly is not installed, or the file cannot be written.
    """
    metrics, charts = evaluation.metrics, list[Chart]()
    bars, grave = metrics.bars, (IN_SAMPLE, SYNTHETIC_TRAINING)
    Page(
        title=f"{f'{IN_SAMPLE}: ' if bars.in_sample else ''}Evaluation of {metrics.run.name}",
        heading=f"Evaluation of {metrics.run.name}",
        bars=f"{bars.bars:,} bars of the {bars.split} split, {bars.first} to {bars.last} UTC, "
        f"{bars.trading_days:,} trading days, {bars.paths} path(s); {bars.description}",
        badges=_badges(metrics),
        verdict=metrics.verdict,
        warnings={text: text.startswith(grave) for text in map(with_flags, metrics.warnings)},
        tiles=_tiles(evaluation),
        sections=sections(evaluation, charts),
        charts=charts,
        axes=report_returns.shared_days(evaluation) | report_book.activity_days(evaluation),
    ).write(path)


def _badges(metrics: EvaluationMetrics) -> list[str]:
    """What must be read before any number."""
    found = [IN_SAMPLE] if metrics.bars.in_sample else []
    return [*found, SYNTHETIC_TRAINING] if metrics.verdict.startswith(SYNTHETIC_TRAINING) else found


def _tiles(evaluation: Evaluation) -> list[Tile]:
    metrics, simulation = evaluation.metrics, evaluation.run.config.simulation
    record, traded, trades = metrics.last.record, metrics.last.performance, metrics.trades["portfolio"]
    sharpe, annual = metrics.last.intervals.sharpe, metrics.last.intervals.annual_return
    drawdown, trials = metrics.last.intervals.max_drawdown, metrics.trials
    needed, currency = record.minimum_track_record_days, simulation.account_currency
    costs, swap = (simulation.initial_capital * share for share in (traded.cost_share, traded.swap_share))
    paid = f"paid {number(-swap)}" if swap < 0.0 else f"received {number(swap)}"
    deflated = Tile("Deflated Sharpe", DASH, DASH)
    if trials is not None:
        judged = f"after {number(trials.trials, 0)} training{'s' * (trials.trials != 1)} judged on these bars"
        deflated = Tile("Deflated Sharpe", percent(trials.deflated_sharpe, 1), judged)
    return [
        Tile("Sharpe ratio", number(sharpe.value), f"95 % interval {ends(sharpe)}"),
        Tile("Return a year", percent(annual.value), f"95 % interval {ends(annual, percent)}, not compounded"),
        Tile("Total return", percent(record.total_return), f"on {number(simulation.initial_capital, 0)} {currency}"),
        Tile("Maximum drawdown", percent(drawdown.value), f"95 % interval {ends(drawdown, percent)}"),
        Tile("Costs and swap", f"{number(costs - swap)} {currency}", f"costs {number(costs)}, swap {paid}"),
        Tile("Trades", number(trades.trades, 0), f"{percent(trades.win_rate, 1)} of them won"),
        Tile("Probabilistic Sharpe", percent(record.probabilistic_sharpe, 1), "probability of a true one above 0"),
        deflated,
        Tile(
            "Minimum track record",
            DASH if needed is None else f"{number(needed, 0)} days",
            "none is long enough for a Sharpe ratio not above 0" if needed is None else f"here are {record.days:,}",
        ),
        Tile(
            "Time in the market",
            percent(traded.time_in_market, 1),
            f"{percent(traded.mean_exposure, 1)} exposed",
        ),
    ]
