"""The report of a made-up sweep and its words for the terminal, whatever its trials came to."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtquant_jax.reports import sweep as terminal
from mtquant_jax.reports.html.sweep import write_sweep_report
from mtquant_jax.reports.html.text import DASH
from mtquant_jax.runs.sweep.result import SweepResult
from mtquant_jax.runs.sweep.study import Finished
from mtquant_jax.runs.sweep.trials import Trial, TrialResult
from mtquant_jax.settings.search_space import Dimension, SearchSpace
from mtquant_jax.statistics.significance import SharpeSample
from tests.reports.test_html import charts, own, seen

SECTIONS = ["trials", "settings", "importance", "slices", "curves", "history"]
HOSTILE = "<img src=x onerror=alert(1)>"


def complete(number: int, values: dict[str, Any], scores: list[float], **changes: Any) -> Finished:
    """A complete trial; its daily returns are drawn, the better the higher its scores."""
    noise = np.random.default_rng(number).normal(scale=0.01, size=60)
    centre = float(np.mean(scores)) if np.isfinite(scores).all() else 0.0
    found: dict[str, Any] = {
        "scores": tuple(scores),
        "curve": tuple((t, tuple(score * t / 300 for score in scores)) for t in (100, 200, 300)),
        "daily_returns": tuple((noise + 0.001 * centre).tolist()),
        "seconds": 30.0,
        "timesteps": 900,
    }
    found |= changes
    with contextlib.suppress(ValueError):  # too few, or not finite
        found.setdefault("sample", SharpeSample.of(np.array(found["daily_returns"])))
    return Finished(Trial(number, values), TrialResult(state="complete", **found))


def failed(number: int, values: dict[str, Any], reason: str) -> Finished:
    return Finished(Trial(number, values), TrialResult(state="failed", reason=reason, seconds=1.0, timesteps=10))


def pruned(number: int, values: dict[str, Any]) -> Finished:
    return Finished(Trial(number, values), TrialResult(state="pruned", timesteps=300, seconds=10.0))


def dimension(name: str, **content: Any) -> Dimension:
    return Dimension(name, (name,), **content)


def sweep(space: list[Dimension], finished: list[Finished], **changes: Any) -> SweepResult:
    content: dict[str, Any] = {
        "name": "nightly",
        "space": SearchSpace(tuple(space)),
        "objective": "sharpe",
        "seeds": (0, 1, 2),
        "trained": "phase 1 of forex, 3 seeds each",
        "market": "made-up bars",
        "finished": tuple(finished),
        "importance": {},
        "seconds": 125.0,
        "compile_seconds": 5.0,
    }
    return SweepResult(**{**content, **changes})


GRID = [dimension("learning_rate", choices=(1e-4, 1e-3)), dimension("ppo.gamma", choices=(0.9, 0.99))]
TRIALS = [
    complete(0, {"learning_rate": 1e-4, "ppo.gamma": 0.9}, [0.0, 1.0, 2.0]),
    complete(1, {"learning_rate": 1e-4, "ppo.gamma": 0.99}, [3.0, 3.0, 3.0]),
    complete(2, {"learning_rate": 1e-3, "ppo.gamma": 0.9}, [-1.0, -1.0, -1.0]),
    failed(3, {"learning_rate": 1e-3, "ppo.gamma": 0.99}, "trial 3: the training of forex diverged"),
    pruned(4, {"learning_rate": 1e-3, "ppo.gamma": 0.99}),
]


@pytest.fixture(scope="module")
def grid() -> SweepResult:
    return sweep(GRID, TRIALS, importance={"learning_rate": 0.75, "ppo.gamma": 0.25})


def written(result: SweepResult, folder: Path) -> str:
    write_sweep_report(result, folder / "sweep.html")
    return (folder / "sweep.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(grid, tmp_path_factory) -> str:
    return written(grid, tmp_path_factory.mktemp("sweep"))


def rows(page: str, caption: str) -> list[list[str]]:
    """The cells of a table."""
    body = re.search(rf"<caption><span>{caption}[^<]*</span>.*?<tbody>(.*?)</tbody>", page, re.S)[1]
    found = re.findall(r"<tr>(.*?)</tr>", body, re.S)
    return [[re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in found]


def sound(page: str) -> None:
    """What holds of every report, whatever is in it."""
    from plotly import graph_objects

    rest = own(page)
    assert "default-src 'none'" in rest and not re.search(r"https?:|url\(|<link|<img|<iframe", rest)
    assert re.findall(r'<section id="([\w-]+)"', page) == SECTIONS
    assert not re.search(r"\b(nan|NaN|None|null|inf|Infinity)\b", seen(page))
    assert re.findall(r'id="([\w-]+)-chart" role="img"', page) == list(charts(page))
    identities = re.findall(r'\bid="([^"]+)"', rest)
    assert len(set(identities)) == len(identities)
    light, dark = re.findall(r":root[^{]*\{(.*?)\}", page, re.S)[:2]
    for chart in charts(page).values():
        text = json.dumps([chart["traces"], chart["layout"]])
        assert not re.search(r"\b(NaN|Infinity)\b", text)
        for theme in (light, dark):
            assert set(re.findall(r'"@(\w+)"', text)) <= set(re.findall(r"--(\w+):", theme))
        plain = json.loads(re.sub(r'"@\w+"', '"#123456"', text))
        for trace in graph_objects.Figure(*plain).data:
            assert len(trace.x) == len(trace.y) > 0


def test_it_is_whole_and_stands_alone(page):
    sound(page)
    assert set(charts(page)) == {"parallel", "importance-chart", "slice0", "slice1", "learning", "order"}


def test_the_summary_says_what_the_best_is_worth(grid, page):
    text = " ".join(seen(page).split())
    assert "Trial 1 is the best of 5: Sharpe ratio 3.00 ± 0.00 on the validation split" in text
    assert "Evaluate it on the test split before you trust it." in text
    assert "Trials 5 3 complete, 1 pruned, 1 failed" in text
    assert f"Deflated Sharpe {100 * grid.deflated_sharpe:.1f} %" in text
    assert f"Probability of overfitting {100 * grid.probability_of_overfitting:.0f} %" in text
    assert (
        "Timesteps trained 3,010 in 1 min 41 s" in text and "this session took 2 min 5 s, 5 s of them compiling" in text
    )
    assert "1 trial failed; the table of trials says why" in text


def test_the_table_has_every_trial_and_the_best_first(page):
    found = rows(page, "All trials")
    assert [row[0] for row in found] == ["1", "0", "2", "4", "3"]
    assert found[1] == ["0", "1.00 ± 0.58", "0.0001", "0.9", "complete", "0.00", "1.00", "2.00", DASH]
    assert found[4] == ["3", DASH, "0.001", "0.99", "failed", DASH, DASH, DASH, "the training of forex diverged"]
    assert '<table class="sortable"><caption><span>All trials' in page


def test_a_grid_has_means_by_setting(page, tmp_path):
    found = rows(page, "By setting")
    assert found[0] == ["learning_rate", "0.0001", "2.00 ± 1.00", "3.00", "2"]
    assert found[1] == ["learning_rate", "0.001", "-1.00", "-1.00", "1"]
    assert [row[:2] for row in found[2:]] == [["ppo.gamma", "0.9"], ["ppo.gamma", "0.99"]]
    ranged = sweep([dimension("a", low=0.0, high=1.0)], [complete(0, {"a": 0.5}, [1.0, 2.0, 3.0])])
    assert "By setting" not in own(written(ranged, tmp_path))


def test_lines_run_through_settings_to_values(page):
    chart = charts(page)["parallel"]
    best, second, third = chart["traces"]
    assert best["name"] == "trial 1: 3.00 ± 0.00" and best["line"]["color"] == "@c2"
    assert second["line"]["color"] == "@s1" and third["line"]["color"] == "@s2"
    assert best["y"] == [0, 1, 2, None] and best["x"][2:] == [1.0, None]
    assert third["x"][2] == 0.0 and second["x"][2] == 0.5
    assert best["x"][0] < 0.5 < best["x"][1]  # the first category of one, the last of the other
    assert chart["layout"]["yaxis"]["ticktext"] == ["learning_rate", "ppo.gamma", "Sharpe ratio"]
    notes = [(note["y"], note["text"]) for note in chart["layout"]["annotations"]]
    assert {(0, "0.0001"), (0, "0.001"), (1, "0.9"), (2, "-1.00"), (2, "3.00")} <= set(notes)


def test_ranges_by_factors_are_logarithmic_and_conditions_may_be_unmet(tmp_path):
    space = [
        dimension("rate", low=1e-5, high=1e-1, log=True),
        dimension("kind", choices=("a", "b")),
        dimension("momentum", low=0.0, high=1.0, when=(("kind", ("b",)),)),
    ]
    trials = [
        complete(0, {"rate": 1e-3, "kind": "a"}, [1.0, 1.0, 1.0]),
        complete(1, {"rate": 1e-5, "kind": "b", "momentum": 0.25}, [0.0, 0.0, 0.0]),
    ]
    page = written(sweep(space, trials), tmp_path)
    sound(page)
    found = charts(page)
    best, other = found["parallel"]["traces"]
    assert best["x"][0] == 0.5 and best["x"][2] < 0.0 and other["x"][0] == 0.0 and other["x"][2] == 0.25
    notes = [(note["x"], note["y"], note["text"]) for note in found["parallel"]["layout"]["annotations"]]
    assert (0.5, 0, "0.001") in notes and (best["x"][2], 2, "unset") in notes
    assert found["slice0"]["layout"]["xaxis"]["type"] == "log"
    assert found["slice1"]["layout"]["xaxis"]["ticktext"] == ["a", "b"]
    assert found["slice2"]["traces"][0]["x"] == [0.25] and len(found["slice2"]["traces"]) == 1
    assert "momentum (1 without it left out)" in own(page)


def test_slices_and_curves_and_history_show_the_trials(page):
    found = charts(page)
    others, best = found["slice0"]["traces"]
    assert best["y"] == [3.0] and others["y"] == [1.0, -1.0]
    assert others["error_y"]["array"] == [pytest.approx(1.0 / math.sqrt(3.0), rel=1e-3), 0.0]
    band, line = found["learning"]["traces"][2:4]
    assert line["name"] == band["name"] == "trial 0" and line["x"] == [100, 200, 300]
    assert line["y"] == pytest.approx([1 / 3, 2 / 3, 1.0], abs=1e-3)
    assert band["y"] == pytest.approx([2 / 3, 4 / 3, 2.0, 0.0, 0.0, 0.0], abs=1e-3)
    line, points = found["order"]["traces"]
    assert points["x"] == [0, 1, 2] and points["y"] == [1.0, 3.0, -1.0]
    assert line["x"] == [0, 1, 2, 4] and line["y"] == [1.0, 3.0, 3.0, 3.0]
    bars = found["importance-chart"]["traces"][0]
    assert bars["x"] == [75.0, 25.0] and bars["text"] == ["learning_rate", "ppo.gamma"]


def test_no_name_becomes_markup(tmp_path):
    name = f"setting{HOSTILE}"
    space = [dimension(name, choices=(f"one{HOSTILE}", "two")), dimension("rate", low=0.0, high=1.0)]
    trials = [
        complete(0, {name: f"one{HOSTILE}", "rate": 0.5}, [1.0, 2.0, 3.0]),
        complete(1, {name: "two", "rate": 0.1}, [1.0, 2.0, 2.0]),
        failed(2, {name: "two", "rate": 0.1}, f"no {HOSTILE}"),
    ]
    texts = {key: f"{key}{HOSTILE}" for key in ("name", "objective", "trained", "market")}
    page = written(sweep(space, trials, importance={name: 1.0}, **texts), tmp_path)
    assert "<img" not in own(page) and "<img" not in json.dumps(charts(page))
    assert own(page).count("&lt;img src=x onerror=alert(1)&gt;") >= 8
    assert re.search(r"<title>Sweep name&lt;img", page)


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_single_trial(seeds, tmp_path):
    one = complete(0, {"learning_rate": 1e-4, "ppo.gamma": 0.9}, [1.0, 2.0, 4.0][:seeds])
    page = written(sweep(GRID, [one], seeds=tuple(range(seeds))), tmp_path)
    sound(page)
    assert "Trial 0 is the only one" in seen(page)
    assert "There is none of fewer than four complete trials" in seen(page)
    assert len(charts(page)["parallel"]["traces"]) == 1


def test_all_failed_or_none_at_all(tmp_path):
    lost = [failed(n, {"learning_rate": 1e-4}, f"trial {n}: the training diverged") for n in range(4)]
    page = written(sweep(GRID, lost), tmp_path)
    sound(page)
    assert charts(page) == {} and seen(page).count("No trial is complete, so there is nothing to show.") == 3
    assert "4 trials, none of them complete: there is nothing to choose." in seen(page)
    empty = written(sweep(GRID, []), tmp_path)
    sound(empty)
    assert "No trial has ended." in seen(empty)


def test_numbers_that_are_not_finite(tmp_path):
    space = [dimension("rate", low=1e-3, high=1.0, log=True), dimension("kind", choices=("a", "b"))]
    values = {"rate": 0.1, "kind": "a"}
    trials = [
        complete(0, values, [-math.inf, 1.0, 2.0]),
        complete(1, values, [math.nan, 1.0, 2.0], daily_returns=(math.nan,) * 60),
        complete(2, {"rate": math.nan, "kind": None}, [1.0, 2.0, 3.0], curve=((100, (1.0, math.nan, 2.0)),)),
        complete(3, {"rate": math.inf, "kind": "other"}, [0.0, 2.0, 3.0], curve=()),
        complete(4, {}, [0.0, 0.0, 0.0], daily_returns=()),
        Finished(Trial(5, values), TrialResult(state="complete")),
    ]
    result = sweep(space, trials, importance={"rate": math.nan, "kind": 1.0})
    page = written(result, tmp_path)
    sound(page.replace(">nan<", "><").replace(">inf<", "><"))  # a setting's own value is shown as it is
    assert result.best.trial.number == 2 and result.probability_of_overfitting is None
    assert seen(page).count("Not drawn: 2 complete trials whose value is not finite.") == 3
    assert charts(page)["order"]["traces"][1]["x"] == [2, 3, 4]
    assert {trace["name"] for trace in charts(page)["learning"]["traces"]} == {"trial 4"}
    assert list(terminal.lines(result))
    ruined = sweep(space, trials[:2])
    assert "whose value is not finite" in seen(written(ruined, tmp_path)) and not charts(written(ruined, tmp_path))
    assert terminal.one_line(trials[0], trials[0]) == "trial 0: rate 0.1, kind a: none"


def many(count: int) -> SweepResult:
    generator, long = np.random.default_rng(1), "specialists.*.networks." + "very_long_name_of_a_setting_" * 3
    space = [dimension(long, choices=tuple(f"{'choice' * 5}{n}" for n in range(30)))]
    space += [dimension(f"group{n}.setting", low=0.0, high=1.0) for n in range(8)]
    trials = [
        complete(
            number,
            {one.name: one.choices[number % 30] if one.choices else float(generator.uniform()) for one in space},
            generator.normal(size=3).tolist(),
        )
        for number in range(count)
    ]
    return sweep(space, trials)


def test_two_hundred_trials_with_long_names(tmp_path):
    page = written(many(200), tmp_path)
    sound(page)
    assert len(own(page)) < 1_500_000
    chart = charts(page)["parallel"]
    assert [trace["name"][:10] for trace in chart["traces"][1:3]] == ["ranks 2 to", "ranks 42 t"]
    assert sum(trace["x"].count(None) for trace in chart["traces"]) == 200
    lines = [line for text in chart["layout"]["yaxis"]["ticktext"] for line in text.split("<br>")]
    assert max(map(len, lines)) <= 18 and lines[2] == "…ame_of_a_setting_"
    notes = [note for note in chart["layout"]["annotations"] if note["y"] == 0]
    assert sum(len(note["text"]) for note in notes if "name" not in note) <= 60
    assert notes[0]["text"] == "choicec…hoice0" and len({note["text"] for note in notes}) == len(notes)
    assert len(charts(page)["learning"]["traces"]) == 10
    assert "networks.<wbr>very_<wbr>long_<wbr>name" in page


def test_the_terminal_shows_ten_trials_in_eighty_columns(grid):
    for result in (grid, many(30)):
        assert max(map(len, terminal.lines(result))) <= 80
    text = list(terminal.lines(many(30)))
    table = text[text.index("") + 1 :]
    values = [float(line.split()[1]) for line in table[1:11]]
    assert values == sorted(values, reverse=True) and "not shown: " in "\n".join(table)
    assert "and 20 more complete trials" in table


def test_the_terminal_says_what_the_best_is_worth(grid):
    text = list(terminal.lines(grid))
    assert text[0] == "5 trials: 3 complete, 1 pruned, 1 failed; phase 1 of forex, 3 seeds each"
    assert text[1] == "best: trial 1, Sharpe ratio 3.00 ± 0.00 on the validation split"
    assert text[3].split() == ["trial", "value", "±", "error", "learning_rate", "gamma"]
    assert text[4].split() == ["1", "3.00", "±", "0.00", "0.0001", "0.99"]
    assert f"deflated Sharpe ratio       {100 * grid.deflated_sharpe:.0f} %" in text
    assert "3,010 timesteps trained in 1 min 41 s" in text


def test_equal_reasons_are_one_line():
    lost = [failed(n, {}, f"trial {n}: {'out of memory' if n else 'diverged'}") for n in range(4)]
    text = list(terminal.lines(sweep(GRID, lost)))
    assert text[-2:] == ["3 trials failed: out of memory", "1 trial failed: diverged"]
    assert "no trial is complete, so there is nothing to choose" in text


@pytest.mark.parametrize(
    ("number", "best", "expected"),
    [
        (1, 1, "trial 1: learning_rate 0.0001, gamma 0.99: 3.00 ± 0.00, the best so far"),
        (1, 0, "trial 1: learning_rate 0.0001, gamma 0.99: 3.00 ± 0.00, the best so far"),
        (0, None, "trial 0: learning_rate 0.0001, gamma 0.9: 1.00 ± 0.58, the best so far"),
        (0, 1, "trial 0: learning_rate 0.0001, gamma 0.9: 1.00 ± 0.58 (best: 3.00 of trial 1)"),
        (3, 1, "trial 3: learning_rate 0.001, gamma 0.99: failed: the training of forex diverged"),
        (4, 1, "trial 4: learning_rate 0.001, gamma 0.99: pruned"),
    ],
)
def test_a_line_for_every_trial(number, best, expected):
    line = terminal.one_line(TRIALS[number], None if best is None else TRIALS[best])
    assert line == expected and len(line) <= 80


def test_small_values_keep_their_digits():
    one = complete(0, {"a": 1}, [0.0123, 0.0125, 0.0121])
    assert terminal.one_line(one, one) == "trial 0: a 1: 0.012 ± 0.000, the best so far"
    assert [terminal.decimals([value]) for value in (12.3, 0.5, 0.012, 1e-9, math.nan, None, 0.0)] == [
        2,
        2,
        3,
        6,
        2,
        2,
        2,
    ]
    assert [terminal.duration(seconds) for seconds in (0.4, 61.0, 7260.0)] == ["0 s", "1 min 1 s", "2 h 1 min"]
    assert terminal.objective_name(dataclasses.replace(sweep(GRID, []), objective="growth")) == "log growth"
