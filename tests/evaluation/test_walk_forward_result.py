"""Metrics, tables, verdict and files of folds that nobody traded."""

from __future__ import annotations

import csv
import dataclasses
import json

import numpy as np
import pytest

from mtquant_jax.backtest.baselines import BASELINES
from mtquant_jax.backtest.performance import Performance
from mtquant_jax.evaluation.walk_forward import PORTFOLIOS, Fold
from mtquant_jax.evaluation.walk_forward_metrics import WalkForwardMetrics
from mtquant_jax.evaluation.walk_forward_result import result, stitch
from mtquant_jax.reports.walk_forward import draw, lines, write
from mtquant_jax.statistics.intervals import Interval
from mtquant_jax.statistics.returns import daily_returns, sharpe_ratio
from mtquant_jax.statistics.significance import interquartile_mean
from mtquant_jax.storage.files import json_text
from mtquant_jax.types import Splits
from tests.backtest.performances import a_performance

EQUAL, META, LAST = PORTFOLIOS
BARS_A_DAY = 6
COSTS = 0.01  # of every fold, share of the capital at its start


def a_fold(number: int, returns: dict[str, np.ndarray], others: float = 0.0) -> Fold:
    """A fold with these daily returns ``[D, seeds]``; whatever else is traded earns ``others`` every second day."""
    days = len(returns[LAST])
    seeds = returns[LAST].shape[1]
    rest = np.zeros((days, 1))
    rest[::2] = others
    returns = {name: np.repeat(rest, seeds, axis=1) for name in PORTFOLIOS} | dict.fromkeys(BASELINES, rest) | returns
    first = 19_000 + number * days
    day = first + (np.arange(days * BARS_A_DAY + 1) + BARS_A_DAY - 1) // BARS_A_DAY - 1
    stamps = 86_400 * first + 14_400 * np.arange(len(day))
    equity = {}
    for name, record in returns.items():
        closes = np.cumprod(np.concatenate([np.ones((1, record.shape[1])), 1.0 + record]), axis=0)
        equity[name] = np.concatenate([closes[:1], np.repeat(closes[1:], BARS_A_DAY, axis=0)])
        np.testing.assert_allclose(daily_returns(equity[name], day), record, atol=1e-12)

    def figures(column: np.ndarray) -> Performance:
        total, sharpe = float(np.prod(1.0 + column) - 1.0), sharpe_ratio(column, 365.0)
        return a_performance(sharpe=sharpe, total_return=total, max_drawdown=0.0, cost_share=COSTS)

    return Fold(
        splits=Splits((0, 1), (2, 3), (4, 5)),
        times={part: (int(stamps[0]), int(stamps[-1])) for part in ("train", "validation", "test")},
        returns=returns,
        equity=equity,
        performance={name: [figures(column) for column in record.T] for name, record in returns.items()},
        validation=[None] * seeds,
        tilts={"fx": [0.5] * seeds, "metals": [0.0] * (seeds - 1) + [1.0]},
        day=day,
        timestamps=stamps,
    )


def noise(seed: int, seeds: int, mean: float = 0.0, days: int = 60) -> np.ndarray:
    return mean + np.random.default_rng(seed).normal(scale=0.01, size=(days, seeds))


def two_folds(seeds: int, mean: float = 0.0) -> list[Fold]:
    return [a_fold(number, {LAST: noise(number, seeds, mean), META: noise(9 - number, seeds)}) for number in range(2)]


def test_the_figure_over_seeds_is_the_mean_of_the_middle_half():
    folds = two_folds(4)
    stitched = stitch(folds, draws=50)
    returns = np.concatenate([fold.returns[LAST] for fold in folds])
    np.testing.assert_array_equal(stitched.returns[LAST], returns)
    sharpes = sorted(sharpe_ratio(column, stitched.days_per_year) for column in returns.T)
    assert stitched.sharpe[LAST][0] == pytest.approx((sharpes[1] + sharpes[2]) / 2.0)
    assert stitched.sharpe[LAST].shape == (51,)
    overall = result(folds, stitched, range(4)).overall[LAST]
    assert overall.sharpe_over_seeds.interquartile_mean == pytest.approx((sharpes[1] + sharpes[2]) / 2.0)
    assert (overall.sharpe_over_seeds.lowest, overall.sharpe_over_seeds.highest) == (sharpes[0], sharpes[3])
    assert overall.record.days == 120
    assert stitched.days.tolist() == list(range(19_000, 19_120))
    assert stitched.days_per_year == pytest.approx(365.25)


def test_metrics_are_read_back_as_they_were_written():
    folds = two_folds(2)
    bare = result(folds, stitch(folds, draws=50), range(2))
    whole = dataclasses.replace(bare, seconds={"total": 1.0}, market="bars", scheme="rolling", configuration={"a": [1]})
    for metrics in (bare, whole):
        content = json.loads(json_text(metrics.to_json()))
        assert ("seconds" in content) == (metrics is whole)
        assert WalkForwardMetrics.from_json(content, "walk_forward.json") == metrics
    frame = bare.to_frame()
    assert list(frame.index) == [*PORTFOLIOS, *BASELINES]
    assert frame.loc[LAST, "sharpe_over_seeds/seeds/1"] == bare.overall[LAST].sharpe_over_seeds.seeds[1]


def test_the_same_trainings_differ_by_nothing():
    folds = [a_fold(n, {name: noise(n, 3) for name in (LAST, META)}) for n in range(2)]
    found = result(folds, stitch(folds, draws=50), range(3))
    assert found.ahead_of[META].sharpe == Interval(value=0.0, low=0.0, high=0.0)
    assert found.ahead_of["flat"].sharpe.value == found.overall[LAST].intervals.sharpe.value


@pytest.mark.parametrize(
    ("mean", "meaning"),
    [(0.01, "better than flat"), (-0.01, "worse than flat"), (0.0, "not distinguishable from flat")],
)
def test_the_interval_tells_luck_from_skill(mean, meaning):
    folds = two_folds(3, mean)
    found = result(folds, stitch(folds, draws=200), range(3))
    sharpe = found.overall[LAST].intervals.sharpe
    assert sharpe.low < sharpe.value < sharpe.high
    assert (sharpe.is_above_zero, sharpe.is_below_zero) == (mean > 0.0, mean < 0.0)
    assert found.verdict.startswith("2 folds, out of sample 2022-01 to 2022-05, 3 seeds: Sharpe ")
    assert f"; {meaning}; " in found.verdict


def test_seeds_that_disagree_widen_the_interval():
    days = noise(0, 1)

    def width(means: list[float]) -> float:
        folds = [a_fold(n, {LAST: days + np.asarray(means)}) for n in range(2)]
        sharpe = result(folds, stitch(folds, draws=300), range(3)).overall[LAST].intervals.sharpe
        return sharpe.high - sharpe.low

    assert width([-0.005, 0.0, 0.005]) > 1.2 * width([0.0, 0.0, 0.0])


def test_portfolios_that_never_trade_are_flat():
    folds = [a_fold(n, {LAST: np.zeros((60, 2))}, others=0.01) for n in range(2)]
    found = result(folds, stitch(folds, draws=50), range(2))
    assert found.verdict.endswith("no portfolio traded; they are flat.")
    table = list(lines(found))
    assert next(line for line in table if line.startswith(LAST)).endswith("none (flat)")
    nothing = Interval(value=None, low=None, high=None)
    assert found.overall[LAST].intervals.sharpe == nothing
    assert found.overall["buy and hold"].intervals.sharpe != nothing
    assert found.ahead_of["flat"].sharpe.value < 0.0  # which earns here; a flat record counts as 0


def test_the_table_keeps_its_columns_apart():
    wild = np.asarray([[-0.03, -0.02, -0.01, -0.012]]) + noise(0, 4) * 0.5
    folds = [a_fold(n, {LAST: wild, META: wild[:, ::-1]}) for n in range(3)]
    found = result(folds, stitch(folds, draws=50), range(4))
    row = next(line for line in lines(found) if line.startswith(LAST))
    assert min(fold.portfolios[LAST].sharpe.lowest for fold in found.folds) < -10.0
    assert row.count(") ") == 3 and row.count("(") == 3


def test_the_files_hold_the_stitched_record(tmp_path):
    folds = two_folds(2, mean=0.001)
    stitched = stitch(folds, draws=50)
    found = result(folds, stitched, [5, 6])
    write(folds, stitched, found, 1000.0, tmp_path)
    assert json.loads((tmp_path / "walk_forward.json").read_text())["seeds"] == [5, 6]
    assert (tmp_path / "walk_forward.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "equity.csv").read_text().startswith('"day","fold","equal allocation seed 5",')
    with (tmp_path / "equity.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["fold"] for row in table] == ["1"] * 61 + ["2"] * 60
    assert [row["day"] for row in table[:2]] == ["2022-01-07", "2022-01-08"] and table[-1]["day"] == "2022-05-07"
    equity = 1000.0 * np.cumprod(1.0 + np.concatenate([fold.returns[LAST] for fold in folds]), axis=0)
    for seed in (5, 6):
        found = [float(row[f"{LAST} seed {seed}"]) for row in table]
        np.testing.assert_allclose(found, [1000.0, *equity[:, seed - 5]], atol=0.006)


def test_money_is_shown_of_all_folds_together():
    folds = two_folds(4)
    metrics = result(folds, stitch(folds, draws=50), range(4))
    overall = metrics.overall[LAST]
    growth = np.stack([np.prod(1.0 + fold.returns[LAST], axis=0) for fold in folds])
    closes = np.cumprod(np.concatenate([np.ones((1, 4)), *(1.0 + fold.returns[LAST] for fold in folds)]), axis=0)
    drawdowns = (1.0 - closes / np.maximum.accumulate(closes, axis=0)).max(axis=0)
    expected = {
        "total_return": growth.prod(axis=0) - 1.0,
        "max_drawdown": drawdowns,
        "cost_share": COSTS + COSTS * growth[0],  # the second fold's are shares of what the first one left
    }
    for key, seeds in expected.items():
        found = getattr(overall, f"{key}_over_seeds")
        np.testing.assert_allclose(found.seeds, seeds, rtol=1e-9)
        assert found.interquartile_mean == pytest.approx(np.sort(seeds)[1:3].mean())
        assert (found.lowest, found.highest) == (min(found.seeds), max(found.seeds))
    row = [line for line in lines(metrics) if line.startswith(LAST)][1]
    shown = [f"{100.0 * np.sort(seeds)[1:3].mean():.2f}" for seeds in expected.values()]
    assert row.removeprefix(LAST).replace("%", "").split() == shown


@pytest.mark.parametrize(
    ("seeds", "words"), [(1, "one seed"), (2, "mean of 2 seeds"), (3, "interquartile mean of 3 seeds")]
)
def test_the_figure_over_seeds_is_called_what_it_is(seeds, words):
    folds = two_folds(seeds)
    stitched = stitch(folds, draws=50)
    found = result(folds, stitched, range(seeds))
    assert found.over_seeds == words and found.bootstrap.draws == 50
    values = found.overall[LAST].sharpe_over_seeds
    assert (values.interquartile_mean == pytest.approx(np.mean(values.seeds))) == (seeds < 3)
    note = next(line for line in lines(found) if line.startswith("Sharpe ratio, "))
    assert note.startswith(f"Sharpe ratio, {words}")
    assert [text in note for text in ("(range)", "seeds and days")] == [seeds > 1] * 2
    figure = draw(folds, stitched, found)
    assert [words in axes.get_title(loc="left") for axes in figure.axes] == [True, True]


def test_the_figure_starts_from_nothing_and_names_what_it_leaves_out():
    folds = two_folds(3)
    stitched = stitch(folds, draws=50)
    figure = draw(folds, stitched, result(folds, stitched, range(3)))
    above, below = figure.axes
    drawn = {line.get_label(): line for line in above.get_lines()}
    assert drawn[LAST].get_xdata()[0] == np.datetime64("2022-01-07") and drawn[LAST].get_ydata()[0] == 0.0
    ends = 100.0 * (stitched.equity(LAST)[-1] - 1.0)
    assert drawn[LAST].get_ydata()[-1] == pytest.approx(interquartile_mean(ends))
    assert len(below.collections) == len(PORTFOLIOS)  # whiskers; a rule has one value
    left_out = figure.legends[0].get_title().get_text()
    assert [name in left_out for name in BASELINES] == [name not in drawn for name in BASELINES]


def test_the_verdict_names_what_the_portfolio_differs_from():
    good, bad = noise(0, 3, 0.01), noise(1, 3, -0.01)
    rules = {"buy and hold": noise(2, 1, 0.02), "equal weight": noise(3, 1, 0.02)}
    for mine, theirs, end in (
        (good, bad, "; better than flat; ahead of equal allocation and after phase 2, behind buy and hold and equal "),
        (good, good, "; better than flat; ahead of equal allocation, behind buy and hold and equal weight"),
    ):
        folds = [a_fold(n, {LAST: mine, META: theirs, EQUAL: bad} | rules | others_like(mine)) for n in range(2)]
        assert end in result(folds, stitch(folds, draws=200), range(3)).verdict
    folds = [a_fold(n, dict.fromkeys(PORTFOLIOS, noise(n, 3)) | others_like(noise(n, 3))) for n in range(2)]
    verdict = result(folds, stitch(folds, draws=200), range(3)).verdict
    assert verdict.endswith("; not distinguishable from flat; not distinguishable from any baseline.")


def others_like(record: np.ndarray) -> dict[str, np.ndarray]:
    """Rules that do as the portfolio does, but for the flat one and those that a test gives records of their own."""
    given = ("flat", "buy and hold", "equal weight")
    return {name: record[:, :1] for name in BASELINES if name not in given}


def test_a_short_record_has_no_verdict():
    folds = [a_fold(n, {LAST: noise(n, 2, 0.02, days=9)}) for n in range(2)]
    found = result(folds, stitch(folds, draws=50), range(2))
    assert found.overall[LAST].intervals.sharpe.is_above_zero
    assert found.verdict.startswith("2 folds, out of sample 2022-01-08 to 2022-01-26, 2 seeds: Sharpe ")
    assert found.verdict.endswith("]; 18 trading days are too few to tell anything, 20 are needed.")
