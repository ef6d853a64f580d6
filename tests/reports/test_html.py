"""The report of made-up records: it stands alone, shows what it should, and survives what does not exist."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from datetime import date
from typing import Any

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.curves import equity_band
from mtquant_jax.evaluation.evaluation import Evaluation
from mtquant_jax.reports.html import charts as report_charts
from mtquant_jax.reports.html import text as report_text
from mtquant_jax.reports.html.evaluation import write_report
from mtquant_jax.reports.html.page import require_plotly
from mtquant_jax.reports.terminal import summary_lines
from mtquant_jax.statistics.intervals import Interval
from tests.evaluation.made_up import made_up

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


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory) -> Evaluation:
    return made_up(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def page(evaluation, tmp_path_factory) -> str:
    return written(evaluation, tmp_path_factory.mktemp("report"))


def written(evaluation: Evaluation, folder) -> str:
    write_report(evaluation, folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


def changed(evaluation: Evaluation, **changes: Any) -> Evaluation:
    """The same with other metrics."""
    return dataclasses.replace(evaluation, metrics=dataclasses.replace(evaluation.metrics, **changes))


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


def hostile(value: Any) -> Any:
    """The same with markup behind every text that is no time."""
    if isinstance(value, str):
        return value if re.match(r"\d{4}-\d\d", value) else f"{value}<img src=x onerror=alert(1)>"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: hostile(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    if isinstance(value, (list, tuple)):
        return tuple(hostile(item) for item in value)
    return {key: hostile(item) for key, item in value.items()} if isinstance(value, dict) else value


def test_no_text_of_an_evaluation_becomes_markup(evaluation, tmp_path):
    metrics = hostile(evaluation.metrics)
    bars = dataclasses.replace(metrics.bars, split=evaluation.metrics.bars.split)
    metrics = dataclasses.replace(metrics, portfolio=evaluation.metrics.portfolio, bars=bars)
    page = written(dataclasses.replace(evaluation, metrics=metrics), tmp_path)
    assert "<img src=x" not in own(page) and page.count("&lt;img src=x onerror=alert(1)&gt;") >= 8
    assert "<img" not in json.dumps(charts(page))


def test_names_and_warnings_are_text(evaluation, tmp_path):
    page = written(changed(evaluation, verdict="a & <b>verdict</b>", warnings=("<script>alert(1)</script>",)), tmp_path)
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


def test_trades_stand_in_the_order_that_the_caption_says(page):
    found = re.search(r"<caption><span>(Trades of the last portfolio[^<]*)</span>.*?</table>", page, re.S)
    assert "best first, click a column&#x27;s name to sort by it" in found[1]
    assert re.search(r"aria-sort=descending>Profit</th></tr>", found[0])
    profits = [float(cell.replace(",", "")) for cell in re.findall(r"([-+,.\d]+)</td></tr>", found[0])]
    assert len(profits) > 10 and profits == sorted(profits, reverse=True)


def test_its_own_words_are_a_trader_s(evaluation, page):
    text = seen(page).replace(evaluation.metrics.verdict, "")
    assert not re.search(r"holds 0|holds the starting|told apart|to a turn\b|(?<!standard )\bdeviation", text)
    assert "contains 0" in text and "not distinguishable" in text and "to a reversal" in text


def test_what_was_never_held_says_so(evaluation, page, tmp_path):
    assert "never held" not in seen(page)
    parts = {**evaluation.metrics.instruments}
    parts["USDJPY"] = dataclasses.replace(parts["USDJPY"], mean_exposure=0.0)
    marked = written(changed(evaluation, instruments=parts), tmp_path)
    assert charts(marked)["positions"]["traces"][0]["y"] == ["EURUSD", "USDJPY<br>(never held)", "$SPX"]
    assert '<th scope="row">USDJPY (never held)</th>' in marked


def test_verdict_tiles_and_tables_show_the_metrics(evaluation, page):
    metrics, text = evaluation.metrics, seen(page)
    book = metrics.phases["after phase 2"]
    sharpe = book.intervals.sharpe
    assert metrics.verdict in text
    assert f"95 % interval [{sharpe.low:.2f}, {sharpe.high:.2f}]" in text
    costs, swap = 100_000.0 * book.performance.cost_share, 100_000.0 * book.performance.swap_share
    paid = f"paid {-swap:,.2f}" if swap < 0.0 else f"received {swap:,.2f}"
    assert f"{costs - swap:,.2f} USD costs {costs:,.2f}, swap {paid}" in " ".join(text.split())
    assert f"{metrics.trades['portfolio'].trades:,}" in text
    net = sum(part.profit_and_loss.net for part in metrics.instruments.values())
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
    first = evaluation.metrics.months[0]
    year, month = first.month.split("-")
    name = date(int(year), int(month), 1).strftime("%b")
    cell = trace["z"][trace["y"].index(year)][trace["x"].index(name)]
    assert cell == pytest.approx(100.0 * first.record.total_return, rel=1e-3)
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


def test_a_training_on_synthetic_bars_that_trades_real_ones_is_marked(page, tmp_path):
    evaluation = made_up(tmp_path, source="/data/bars")
    marked, mark = written(evaluation, tmp_path), "TRAINED ON SYNTHETIC BARS, TRADED ON REAL ONES"
    assert evaluation.metrics.verdict.startswith(f"{mark}. Out of sample ")
    assert next(summary_lines(evaluation.metrics)) == evaluation.metrics.verdict
    assert evaluation.metrics.run.trained_on_synthetic and evaluation.metrics.warnings[0].startswith(f"{mark}: ")
    assert f'<strong class="badge">{mark}</strong>' in marked
    assert re.search(rf'<li class="danger"><b>Warning:</b> {mark}: the policies learnt on a made up, and', marked)
    assert mark not in own(page)


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
    low, high = equity_band(np.full((30, 2), 0.01), 5.0, draws=20)
    assert low == pytest.approx(1.01 ** np.arange(31))
    assert high == pytest.approx(low)


def test_band_redraws_whole_blocks():
    """With one block of all days, redrawn days are a rotation: every curve ends where the record ends."""
    returns = np.random.default_rng(0).normal(scale=0.01, size=(40, 1))
    low, high = equity_band(returns, 1e12, draws=50)
    assert low[-1] == pytest.approx(high[-1]) == pytest.approx(np.prod(1.0 + returns))
    assert high[20] > low[20]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (report_text.number(None), "\u2013"),
        (report_text.number(float("nan")), "\u2013"),
        (report_text.number(-0.001), "0.00"),
        (report_text.number(1234.5, signed=True), "+1,234.50"),
        (report_text.percent(0.01234), "1.23 %"),
        (report_text.percent(None), "\u2013"),
        (report_text.probability(1e-9), "< 0.001"),
        (report_text.interval(Interval(0, -1, 3), report_text.percent), "0.00 % [-100.00 %, 300.00 %]"),
        (report_text.interval(Interval(None, None, None)), "\u2013"),
        (report_text.with_error(1.0, None), "1.00"),
    ],
)  # fmt: skip
def test_numbers_as_text(text, expected):
    assert text == expected


def test_plotly_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(UserError, match="pip install plotly"):
        require_plotly()


def test_a_place_that_cannot_be_written_is_refused(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(evaluation, tmp_path / "file" / "report.html")
