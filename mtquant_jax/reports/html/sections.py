"""An evaluation -> the sections of its report, each with a sentence on how to read it, and their charts."""

from __future__ import annotations

from mtquant_jax.errors import with_flags
from mtquant_jax.evaluation import curves
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.evaluation.metrics import EvaluationMetrics
from mtquant_jax.reports.html import book as report_book
from mtquant_jax.reports.html import returns as report_returns
from mtquant_jax.reports.html import risk as report_risk
from mtquant_jax.reports.html import tables as report_tables
from mtquant_jax.reports.html import training as report_training
from mtquant_jax.reports.html.charts import Chart, Drawn, drawing, forest
from mtquant_jax.reports.html.text import escaped, paragraph, section, words

_DEFINITIONS = {
    "Sharpe ratio": "mean of the daily returns by their standard deviation, times the square root of the trading days "
    "per year counted on these bars; without a risk-free rate. A flat account has none.",
    "95 % interval": "from the stationary bootstrap: days are redrawn in blocks, for all books together.",
    "± standard error": "of a Sharpe ratio of independent days (Lo 2002); about two of them make a 95 % interval.",
    "Probabilistic Sharpe ratio": "probability that the true Sharpe ratio is above 0, given length, skewness and "
    "kurtosis of the record.",
    "Deflated Sharpe ratio": "probability that the true Sharpe ratio is above what the best of so many trials shows by "
    "luck.",
    "Minimum track record": "trading days after which a Sharpe ratio such as this one is above 0 with 95 % confidence.",
    "Days": "are the broker's, as the bars' times say. Markets of several paths have their days pooled; equity, "
    "drawdown and money are means over the paths.",
}


def sections(evaluation: Evaluation, charts: list[Chart]) -> str:
    """All sections; their charts are added to ``charts``."""
    groups = (_on_returns, _on_the_book, _on_risk)
    return "".join(group(evaluation, drawing(charts)) for group in groups)


def _on_returns(evaluation: Evaluation, drawn: Drawn) -> str:
    metrics = evaluation.metrics
    bootstrap, last, window = metrics.bootstrap, metrics.portfolio, curves.rolling_window(evaluation)
    books = {last: metrics.last, **metrics.books}  # what would be traded first
    intervals = {name: book.intervals.sharpe for name, book in books.items()}
    trained = {name: book for name, book in books.items() if name not in metrics.baselines}
    statistics = report_tables.books("Phases of the training and specialists alone", trained)
    equity = (
        f"The thick line is the portfolio {last}; the shaded band holds 95 % of {curves.BAND_DRAWS:,} equity "
        "curves made of its own days, redrawn by the stationary bootstrap in blocks of "
        f"{bootstrap.mean_block_days:.1f} days on average: while it contains the starting capital, the result may "
        "be luck."
    )
    rolling = report_returns.rolling(evaluation)
    return (
        section("equity", "Equity and drawdown", equity, drawn(report_returns.equity(evaluation)))
        + section(
            "phases",
            "Phases and statistics",
            f"Every bar is the 95 % interval of a Sharpe ratio ({bootstrap.draws:,} draws of days); one that "
            "contains 0 is not distinguishable from doing nothing.",
            drawn(forest("sharpes", "Annual Sharpe ratio with its 95 % interval", intervals)),
            statistics,
            report_tables.seen(metrics),
        )
        + section(
            "baselines",
            "Baselines and paired differences",
            "Where the interval of a difference contains 0, the portfolio is not distinguishable from that rule on the "
            "same days.",
            report_tables.differences(metrics),
            report_tables.books("Baselines under the same costs and limits", metrics.baselines),
        )
        + section(
            "monthly",
            "Months",
            "Blue months gained and orange months lost; the last column compounds the year, and the first and the last "
            "month may be cut.",
            drawn(report_returns.month_map(evaluation)),
            report_tables.months(evaluation),
        )
        + section(
            "rolling-sharpe",
            "Rolling Sharpe ratio",
            f"Each point judges the {window} trading days before it; the shaded band is one standard error to "
            "either side, and chance alone makes swings of that size.",
            drawn(rolling) or paragraph("The account was flat, so there is no Sharpe ratio."),
        )
        + _on_correlations(evaluation, drawn)
    )


def _on_correlations(evaluation: Evaluation, drawn: Drawn) -> str:
    charts = drawn(
        report_returns.correlation("books", "Daily returns of books", evaluation.returns),
        report_returns.correlation(
            "instruments", "Daily contributions of instruments", curves.contributions(evaluation)
        ),
    )
    return section(
        "correlations",
        "Correlation",
        "1 (blue) moves together, -1 (orange) against each other, 0 apart; books that move together diversify "
        "nothing, and what never moved is left out.",
        charts or paragraph("Nothing moved, so there is nothing to correlate."),
    )


def _on_the_book(evaluation: Evaluation, drawn: Drawn) -> str:
    allocation = report_book.allocation(evaluation)
    return (
        section(
            "exposures",
            "Exposure and allocation",
            "Exposure is the value held by equity: above 0 is long, below is short; capital not given to a class stays "
            "in cash, and risk appetite scales what the classes may use.",
            drawn(report_book.exposure(evaluation), report_book.exposure_map(evaluation), allocation),
            "" if allocation else paragraph("No allocation of capital was recorded."),
        )
        + section(
            "classes",
            "Classes and instruments",
            "What each part brought to the portfolio and how much of it was held.",
            report_tables.classes(evaluation),
            report_tables.instruments(evaluation),
            report_tables.lots(evaluation),
        )
        + section(
            "cost-breakdown",
            "Costs",
            "Gross profit less spread, commission, slippage and impact, with swap received or paid, is the net (the "
            "diamond).",
            drawn(report_book.costs(evaluation)),
            report_tables.costs(evaluation),
        )
        + section(
            "trades",
            "Trades",
            "A trade runs from flat to flat or to a reversal, after all costs; the rarest 1 % of profits at either end "
            "are counted in the outermost bars.",
            drawn(report_book.profits(evaluation), report_book.holding_times(evaluation))
            or paragraph("Fewer than two trades were closed."),
            report_tables.trade_summary(evaluation),
            report_tables.trades(evaluation),
        )
    )


def _on_risk(evaluation: Evaluation, drawn: Drawn) -> str:
    metrics = evaluation.metrics
    variants = metrics.variants("costs", "one bar late", "no lot rounding")
    stressed = {name: variant.sharpe_interval for name, variant in variants}
    stressed |= {f"stress: {words(name)}": scenario.sharpe_interval for name, scenario in metrics.scenarios.items()}
    chart = forest("stress-chart", "Sharpe ratio with ± 1.96 standard errors", stressed)
    trained = report_training.training(evaluation.run)
    definitions = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(text)}</dd>" for name, text in _DEFINITIONS.items())
    notices = "".join(f"<li>{escaped(with_flags(text))}</li>" for text in metrics.bars.notices)
    return (
        section(
            "stress",
            "Stress",
            "A policy that lives only without costs, without delay or in one scenario should not be traded.",
            drawn(chart),
            report_tables.stress(metrics),
            report_tables.scenarios(metrics) if metrics.scenarios else paragraph("No stress scenarios were traded."),
        )
        + section(
            "risk",
            "Risk rules and value at risk",
            "Bluer cells are times in which a rule cut more often; a small p value says that losses passed the "
            "forecast more or less often, or closer together, than its confidence promises.",
            drawn(report_risk.risk_rules(evaluation)),
            _idle_rules(metrics),
            report_tables.risk_rules(metrics),
            drawn(report_risk.value_at_risk(evaluation)),
            report_tables.value_at_risk(metrics.value_at_risk),
        )
        + section(
            "training",
            "Training",
            "Checkpoints were chosen by the validation Sharpe ratio: the large filled marker is the one that was "
            "handed on, with standard errors around each.",
            f'<div class="pair">{drawn(*trained)}</div>' if trained else paragraph("The training left no history."),
            report_tables.splits(metrics),
        )
        + section(
            "about",
            "About these figures",
            f"Run {metrics.run.run_id} with seed {metrics.run.seed} in {metrics.run.directory}; "
            "metrics.json beside this file holds every figure, and the CSV files hold equity, trades and positions.",
            f'<dl class="words">{definitions}</dl>',
            f"<h3>Notices about the bars</h3><ul>{notices}</ul>" if notices else "",
        )
    )


def _idle_rules(metrics: EvaluationMetrics) -> str:
    """The rules without a row in the chart."""
    idle = [words(rule) for rule, found in metrics.risk_rules.items() if not found.bars]
    return paragraph(f"Never cut anything: {', '.join(idle)}.") if idle else ""
