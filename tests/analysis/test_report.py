"""The report of made-up records: it stands alone, tells what it should, and survives what does not exist."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtquant_jax.analysis import report_charts, report_returns, report_text
from mtquant_jax.analysis.figures import Evaluation, evaluate
from mtquant_jax.analysis.report import require_plotly, write_report
from mtquant_jax.analysis.trading import Traded
from mtquant_jax.analysis.trained_run import Judged, TrainedRun
from mtquant_jax.config import TrainConfig
from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.backtest import BacktestRecord, Detail
from mtquant_jax.simulation.account import Flows
from mtquant_jax.simulation.portfolio_env import Allocation
from mtquant_jax.simulation.risk import RULES
from mtquant_jax.simulation.universe import universe_of
from mtquant_jax.training.records import RunPaths
from mtquant_jax.types import AssetClass
from tests.evaluation.records import tally

SECTIONS = (
    "equity",
    "phases",
    "baselines",
    "monthly",
    "rolling-sharpe",
    "correlations",
    "exposures",
    "classes",
    "cost-breakdown",
    "trades",
    "stress",
    "risk",
    "training",
    "about",
)
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
        wanted=side,
        flows=flows,
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


def alone(record: BacktestRecord, index: int) -> BacktestRecord:
    """The record of one class alone: its own columns."""
    columns = slice(index * WIDTH, (index + 1) * WIDTH)
    detail = record.detail
    parts = {name: getattr(detail.flows, name)[:, :, columns] for name in vars(detail.flows)}
    own = dataclasses.replace(detail, units=detail.units[:, :, columns], flows=Flows(**parts), allocation=None)
    return dataclasses.replace(record, detail=own)


def made_up(folder, days: int = 90, scale: float = 1e-3, in_sample: bool = False, allocated: bool = True) -> Evaluation:
    """An evaluation of records that nobody traded."""
    overlap = {"train": days if in_sample else 0, "validation": 0}
    splits = {name: {"first": "2020-01-01 00:00", "last": "2020-12-31 00:00"} for name in ("train", "validation")}
    agent = {
        "best_timesteps": 200,
        "history": [
            {"timesteps": 100, "sharpe": None, "sharpe_standard_error": None},
            {"timesteps": 200, "sharpe": 0.5, "sharpe_standard_error": 0.4},
        ],
    }
    run = TrainedRun(
        RunPaths(folder / "run & <co>"),
        TrainConfig(),
        {1: {"run_id": "20240101T000000", "specialists": {c.name: agent for c in CLASSES}}},
        {"market": {"description": "made up", "splits": splits, "interval_seconds": 21_600, "symbols": []}},
    )
    steps = days * BARS_A_DAY
    day = 19_700 + (np.arange(steps + 1) + BARS_A_DAY - 1) // BARS_A_DAY
    market = SimpleNamespace(
        universe=universe_of(CLASSES),
        table=SimpleNamespace(open=np.ones((2, 1, 1))),
        contracts=SimpleNamespace(contract_size=np.ones((len(CLASSES), WIDTH)).reshape(-1)),
        description="bars of C:\\data\\<b>",
        notices=("a notice with <tags>",),
        bars_per_day=float(BARS_A_DAY),
        timestamps=1_702_000_000 + 21_600 * np.arange(steps + 1),
        day=day,
    )
    judged = Judged(market, 0, steps + 1, "test", "synthetic", overlap)
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


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory) -> Evaluation:
    return made_up(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(evaluation, tmp_path_factory) -> str:
    return written(evaluation, tmp_path_factory.mktemp("report"))


def written(evaluation: Evaluation, folder) -> str:
    write_report(evaluation, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def own(page: str) -> str:
    """The page without plotly.js."""
    library = require_plotly().get_plotlyjs()
    assert page.count(library) == 1
    return page.replace(library, "")


def seen(page: str) -> str:
    """What a reader sees of it, without the charts."""
    body = re.sub(r"<(script|style)\b.*?</\1>", " ", own(page), flags=re.S)
    labels = " ".join(re.findall(r'aria-label="([^"]*)"', body))
    return re.sub(r"<[^>]*>", " ", body) + labels


def charts(page: str) -> dict[str, dict[str, Any]]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    data = json.loads(found[1])
    return {chart["name"]: {**chart, "shared": data["shared"]} for chart in data["charts"]}


def test_nothing_is_fetched(page):
    rest = own(page)
    assert "default-src 'none'" in rest  # a browser would refuse it
    assert not re.search(r"https?:|//cdn|@import|url\(|fetch\(|XMLHttpRequest|<link|<img|<iframe", rest)
    links = re.findall(r'(?:src|href)="([^"]*)"', rest)
    assert links and all(link.startswith("#") for link in links)


def test_sections_charts_and_links_belong_together(page):
    assert tuple(re.findall(r'<section id="([\w-]+)"', page)) == SECTIONS
    assert re.findall(r'<li><a href="#([\w-]+)"', page) == list(SECTIONS)
    assert page.count('<p class="how">') == len(SECTIONS)
    assert re.findall(r'id="([\w-]+)-chart" role="img"', page) == list(charts(page))
    wanted = {"equity", "sharpes", "months", "rolling", "books", "instruments", "exposure", "positions", "allocation"}
    wanted |= {"costs", "profits", "holding", "stress-chart", "rules", "var", "validation1"}
    assert set(charts(page)) == wanted
    identities = re.findall(r'\bid="([^"]+)"', own(page))
    assert len(set(identities)) == len(identities)


def test_charts_are_what_plotly_knows(page):
    from plotly import graph_objects

    for chart in charts(page).values():

        def plain(value: Any, chart: dict[str, Any] = chart) -> Any:
            if isinstance(value, dict):
                return {key: plain(item) for key, item in value.items()}
            if isinstance(value, list):
                return [plain(item) for item in value]
            if isinstance(value, str) and value.startswith("@"):
                return "#123456"
            return chart["shared"].get(value[1:], value) if isinstance(value, str) and value[:1] == "$" else value

        figure = graph_objects.Figure(plain(chart["traces"]), plain(chart["layout"]))
        assert len(figure.data) == len(chart["traces"]) > 0
        for trace in figure.data:
            across = len(trace.z[0]) if trace.type == "heatmap" else len(trace.y)
            assert across == len(trace.x) > 0


def test_colours_of_charts_are_in_both_themes(page):
    used = {name for chart in charts(page).values() for name in re.findall(r'"@(\w+)"', json.dumps(chart))}
    light, dark = re.findall(r":root[^{]*\{(.*?)\}", page, re.S)[:2]
    for theme in (light, dark):
        assert used <= set(re.findall(r"--(\w+):", theme))


def test_names_and_warnings_are_text(evaluation, tmp_path):
    metrics = {**evaluation.metrics, "verdict": "a & <b>verdict</b>", "warnings": ["<script>alert(1)</script>"]}
    page = written(dataclasses.replace(evaluation, metrics=metrics), tmp_path)
    assert "a &amp; &lt;b&gt;verdict&lt;/b&gt;" in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<title>Evaluation of run &amp; &lt;co&gt;</title>" in page
    assert "<h1>Evaluation of run &amp; &lt;co&gt; " in page
    assert "bars of C:\\data\\&lt;b&gt;" in page
    for raw in ("<script>alert", "<b>verdict", "<i>odd", "<co>", "<tags>"):
        assert raw not in own(page)
    assert "<i>odd" not in json.dumps(charts(page))  # plotly.js would read it


def test_charts_take_the_width_of_the_page(page):
    assert not re.search(r'class="plot"[^>]*width', page)
    maps = [chart for chart in charts(page).values() if "texttemplate" in chart["traces"][0]]
    # The script writes figures of so many digits where they fit.
    assert len(maps) >= 4 and all(chart["digits"] in (1, 2) for chart in maps)


def test_trades_stand_in_the_order_that_is_told(page):
    found = re.search(r"<caption><span>(Trades of the last portfolio[^<]*)</span>.*?</table>", page, re.S)
    assert "best first, click a column&#x27;s name to sort by it" in found[1]
    assert re.search(r"aria-sort=descending>Profit</th></tr>", found[0])
    profits = [float(cell.replace(",", "")) for cell in re.findall(r"([-+,.\d]+)</td></tr>", found[0])]
    assert len(profits) > 10 and profits == sorted(profits, reverse=True)


def test_its_own_words_are_a_trader_s(evaluation, page):
    text = seen(page).replace(evaluation.metrics["verdict"], "")
    assert not re.search(r"holds 0|holds the starting|told apart|to a turn\b|(?<!standard )\bdeviation", text)
    assert "contains 0" in text and "not distinguishable" in text and "to a reversal" in text


def test_what_was_never_held_says_so(evaluation, page, tmp_path):
    assert "never held" not in seen(page)
    parts = {**evaluation.metrics["instruments"]}
    parts["USDJPY"] = {**parts["USDJPY"], "mean_exposure": 0.0}
    idle = dataclasses.replace(evaluation, metrics={**evaluation.metrics, "instruments": parts})
    marked = written(idle, tmp_path)
    assert charts(marked)["positions"]["traces"][0]["y"] == ["EURUSD", "USDJPY<br>(never held)", "$SPX"]
    assert '<th scope="row">USDJPY (never held)</th>' in marked


def test_verdict_tiles_and_tables_tell_the_metrics(evaluation, page):
    metrics, text = evaluation.metrics, seen(page)
    figures = metrics["phases"]["after phase 2"]
    sharpe = figures["intervals"]["sharpe"]
    assert metrics["verdict"] in text
    assert f"95 % interval [{sharpe['low']:.2f}, {sharpe['high']:.2f}]" in text
    costs, swap = 100_000.0 * figures["cost_share"], 100_000.0 * figures["swap_share"]
    paid = f"paid {-swap:,.2f}" if swap < 0.0 else f"received {swap:,.2f}"
    assert f"{costs - swap:,.2f} USD costs {costs:,.2f}, swap {paid}" in " ".join(text.split())
    assert f"{metrics['trades']['portfolio']['trades']:,}" in text
    net = sum(part["profit_and_loss"]["net"] for part in metrics["instruments"].values())
    total = re.search(r"<tr class=total>.*?</tr>", page, re.S)[0]
    assert f"{100_000.0 * net:+,.2f}</td></tr>" in total
    assert "No stress scenarios were traded." in text
    assert "Kupiec" in text


def test_equity_ends_where_the_account_did(evaluation, page):
    chart = charts(page)["equity"]
    band, line = chart["traces"][:2], chart["traces"][2]
    assert line["name"] == "after phase 2" and line["y"][0] == 100_000.0
    expected = 100_000.0 * evaluation.last.equity[-1].mean()
    assert line["y"][-1] == pytest.approx(expected, rel=1e-4)
    assert band[0]["y"][-1] < line["y"][-1] < band[1]["y"][-1]


def test_few_curves_are_drawn_before_a_click(evaluation, page):
    chart = charts(page)["equity"]
    names = list(dict.fromkeys(trace["name"] for trace in chart["traces"]))
    assert names[:4] == ["95 % band", "after phase 2", "equal allocation", "buy and hold"]
    hidden = {trace["name"] for trace in chart["traces"] if trace.get("visible") == "legendonly"}
    assert hidden == {*names[4:]} and "flat" in hidden
    assert {report_text.label(name) for name in evaluation.returns} == {*names[1:]}  # all can be asked for


def test_months_lie_under_their_names(evaluation, page):
    trace = charts(page)["months"]["traces"][0]
    first = evaluation.metrics["months"][0]
    year, month = first["month"].split("-")
    name = date(int(year), int(month), 1).strftime("%b")
    cell = trace["z"][trace["y"].index(year)][trace["x"].index(name)]
    assert cell == pytest.approx(100.0 * first["total_return"], rel=1e-3)
    assert trace["x"][-1] == "Year"


def test_the_checkpoint_handed_on_is_filled(page):
    trace = charts(page)["validation1"]["traces"][0]
    assert trace["x"] == [200]  # the checkpoint without a Sharpe ratio is left out
    assert trace["marker"]["color"] == [trace["line"]["color"]]


def test_in_sample_is_marked(evaluation, page, tmp_path):
    marked = written(made_up(tmp_path, in_sample=True), tmp_path)
    assert "<title>IN SAMPLE: " in marked
    assert '<strong class="badge">IN SAMPLE</strong>' in marked
    assert re.search(r'<li class="danger"><b>Warning:</b> IN SAMPLE: ', marked)
    assert "IN SAMPLE" not in own(page) and 'class="danger"' not in page


@pytest.mark.parametrize(("days", "scale", "allocated"), [(90, 0.0, True), (5, 1e-3, False)])
def test_what_does_not_exist_is_a_dash(days, scale, allocated, tmp_path):
    page = written(made_up(tmp_path, days, scale, allocated=allocated), tmp_path)
    assert not re.search(r"\b(nan|NaN|None|null|inf|Infinity)\b", seen(page))
    assert report_text.DASH in seen(page)
    assert ("allocation" in charts(page)) == allocated
    assert tuple(re.findall(r'<section id="([\w-]+)"', page)) == SECTIONS


def test_no_number_of_a_chart_is_nan(page):
    text = re.search(r'id="data">(.*?)</script>', page, re.S)[1]
    assert not re.search(r"\b(NaN|Infinity)\b", text)


def test_long_records_are_thinned(tmp_path):
    days = 2 * report_charts.POINTS + 7
    page = written(made_up(tmp_path, days), tmp_path)
    text = re.search(r'id="data">(.*?)</script>', page, re.S)[1]
    assert len(text) < 2_000_000
    axis = charts(page)["equity"]["shared"]["curve"]
    assert days // 3 < len(axis) <= report_charts.POINTS


def test_thin_keeps_the_end_and_the_depth(monkeypatch):
    monkeypatch.setattr(report_charts, "POINTS", 2)
    values = np.asarray([1.0, -5.0, 2.0, 3.0, 4.0])
    assert report_charts.thin(values).tolist() == [2.0, 4.0]
    assert report_charts.thin(values, "min").tolist() == [-5.0, 3.0]
    assert report_charts.thin(values, "mean").tolist() == pytest.approx([-2.0 / 3.0, 3.5])


def test_band_of_constant_days_is_their_curve():
    low, high = report_returns.equity_band(np.full((30, 2), 0.01), 5.0, draws=20)
    assert low == pytest.approx(1.01 ** np.arange(31))
    assert high == pytest.approx(low)


def test_band_redraws_whole_blocks():
    """With one block of all days, redrawn days are a rotation: every curve ends where the record ends."""
    returns = np.random.default_rng(0).normal(scale=0.01, size=(40, 1))
    low, high = report_returns.equity_band(returns, 1e12, draws=50)
    assert low[-1] == pytest.approx(high[-1]) == pytest.approx(np.prod(1.0 + returns))
    assert high[20] > low[20]


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (report_text.number(None), "\u2013"),
        (report_text.number(float("nan")), "\u2013"),
        (report_text.number(-0.001), "0.00"),
        (report_text.number(1234.5, signed=True), "+1,234.50"),
        (report_text.percent(0.01234), "1.23 %"),
        (report_text.percent(None), "\u2013"),
        (report_text.probability(1e-9), "< 0.001"),
        (report_text.interval({"value": 0, "low": -1, "high": 3}, report_text.percent), "0.00 % [-100.00 %, 300.00 %]"),
        (report_text.interval({"value": None, "low": None, "high": None}), "\u2013"),
        (report_text.with_error(1.0, None), "1.00"),
    ],
)  # fmt: skip
def test_figures_as_text(told, expected):
    assert told == expected


def test_plotly_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(UserError, match="pip install arch plotly"):
        require_plotly()


def test_a_place_that_cannot_be_written_is_told(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(evaluation, tmp_path / "file" / "report.html")
