"""`mtquant-jax compare` on made-up evaluations."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtquant_jax.cli import main
from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.comparison import TrialSpread, compare, open_evaluated
from mtquant_jax.evaluation.metrics import DailyReturns, EvaluationMetrics
from mtquant_jax.evaluation.trials import TRIALS
from mtquant_jax.reports.comparison import draw, lines
from mtquant_jax.statistics.intervals import Difference, Interval
from mtquant_jax.statistics.returns import sharpe_ratio
from mtquant_jax.statistics.track_record import track_record
from mtquant_jax.storage.files import sealed, write_sealed
from mtquant_jax.storage.paths import RunPaths
from tests.evaluation.made_up import made_up
from tests.forms import check_form, rewrite

FIRST, LAST = "2024-01-02 00:00", "2024-06-28 23:00"
PER_YEAR = 260.0
DAYS = 120
SOURCE = "synthetic market of seed 0"
WORDS_ON_OVERFITTING = "how often the run that is best on one half of the days is in the worse half of the runs on the"


def noise(seed: int, days: int = DAYS, paths: int = 1, mean: float = 0.0) -> np.ndarray:
    return mean + np.random.default_rng(seed).normal(scale=0.01, size=(days, paths))


@functools.cache
def an_evaluation() -> EvaluationMetrics:
    """Of records that nobody traded."""
    with tempfile.TemporaryDirectory() as folder:
        return made_up(Path(folder), days=10).metrics


def evaluated(run_dir: Path, returns: np.ndarray, first_day: str = "2024-01-02", **bars: Any) -> Path:
    """A run directory as evaluate leaves it, with these daily returns of the last portfolio."""
    metrics, days = an_evaluation(), np.datetime64(first_day) + np.arange(len(returns))
    record = track_record(returns, PER_YEAR)
    on_bars = {"source": SOURCE, "market": SOURCE, "first": FIRST, "last": LAST, "trading_days_per_year": PER_YEAR}
    daily = DailyReturns(days=tuple(map(str, days)), returns=tuple(map(tuple, returns.T.tolist())))
    metrics = dataclasses.replace(
        metrics,
        run=dataclasses.replace(metrics.run, run_id=f"id of {run_dir.name}", directory=str(run_dir)),
        bars=dataclasses.replace(metrics.bars, **on_bars | bars),
        phases={**metrics.phases, metrics.portfolio: dataclasses.replace(metrics.last, record=record)},
        daily=daily,
    )
    (run_dir / "evaluation").mkdir(parents=True)
    write_sealed(run_dir / "evaluation" / "metrics.json", metrics.to_json())
    sharpe = None if record.sharpe is None else record.sharpe / np.sqrt(PER_YEAR)
    trial(run_dir, run_dir, f"id of {run_dir.name}", sharpe)
    return run_dir


def trial(folder: Path, run_dir: Path, run_id: str, daily_sharpe: float | None, **changes: Any) -> None:
    """A line in the trials of the run in a folder."""
    line = {"time": "2024-07-01T00:00:00+00:00", "run_dir": str(run_dir), "run_id": run_id, "source": SOURCE}
    line |= {"market": SOURCE, "first": FIRST, "last": LAST, "daily_sharpe": daily_sharpe} | changes
    (folder / "evaluation").mkdir(parents=True, exist_ok=True)
    with (folder / "evaluation" / TRIALS).open("a") as stream:
        stream.write(json.dumps(sealed(line)) + "\n")


def run(capsys: pytest.CaptureFixture[str], output: Path, *runs: Path) -> tuple[int, str, str]:
    code = main(["compare", *map(str, runs), "--output", str(output), "--draws", "100"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_two_runs_side_by_side(capsys, tmp_path):
    good, bad = noise(0, mean=0.005), noise(1, mean=-0.005)
    one, two = evaluated(tmp_path / "good", good), evaluated(tmp_path / "bad", bad)
    code, out, err = run(capsys, tmp_path / "out", one, two)
    assert (code, err) == (0, "")
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    check_form("comparison", content)
    image = (tmp_path / "out" / "comparison.png").read_bytes()
    assert image.startswith(b"\x89PNG") and len(image) > 10_000
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["comparison.json", "comparison.png"]
    assert content["days"] == {"first": "2024-01-02", "last": "2024-04-30", "count": DAYS}
    assert list(content["runs"]) == ["good", "bad"]
    assert content["runs"]["good"]["sharpe"] == pytest.approx(sharpe_ratio(good, PER_YEAR))
    assert content["runs"]["good"]["total_return"] == pytest.approx(np.prod(1.0 + good) - 1.0)
    difference = content["differences"]["good - bad"]["sharpe"]
    assert difference["value"] == pytest.approx(content["runs"]["good"]["sharpe"] - content["runs"]["bad"]["sharpe"])
    assert 0.0 < difference["low"] < difference["value"] < difference["high"]
    assert content["runs"]["good"]["deflated_sharpe"] > content["runs"]["bad"]["deflated_sharpe"]
    assert content["trials"]["count"] == 2 and content["probability_of_overfitting"] is None
    text = out.splitlines()
    assert text[0] == f"{DAYS} common trading days, 2024-01-02 to 2024-04-30"
    row = next(line for line in text if line.startswith("good ")).split()
    sharpe = content["runs"]["good"]["intervals"]["sharpe"]
    numbers = [f"{sharpe['value']:.2f}", f"[{sharpe['low']:.2f},", f"{sharpe['high']:.2f}]"]
    assert row[1:4] == numbers and row[4] == f"{100 * content['runs']['good']['total_return']:.2f}"
    assert any(line.startswith("  good - bad") for line in text)
    assert "overfitting" not in out and "IN SAMPLE" not in out
    assert text[-1] == f"table and figure in {tmp_path / 'out'}/comparison.json and .png"


def test_the_same_run_under_two_names_differs_by_nothing(tmp_path):
    returns = noise(0, paths=3)
    runs = open_evaluated([evaluated(tmp_path / name, returns) for name in ("a", "b")])
    metrics = compare(runs, 100).metrics
    nothing = Interval(value=0.0, low=0.0, high=0.0)
    assert metrics.differences == {"a - b": Difference(sharpe=nothing, annual_return=nothing)}
    assert metrics.runs["a"].intervals == metrics.runs["b"].intervals
    assert metrics.trials == TrialSpread(count=2, daily_sharpe_variance=0.0)


def test_only_common_days_count(capsys, tmp_path):
    returns = noise(0)
    one = evaluated(tmp_path / "one", returns)
    two = evaluated(tmp_path / "two", returns[30:], "2024-02-01")  # the same days of the same record
    code, _, err = run(capsys, tmp_path / "out", one, two)
    assert code == 0
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert content["days"] == {"first": "2024-02-01", "last": "2024-04-30", "count": 90}
    assert content["differences"]["one - two"]["sharpe"]["value"] == 0.0
    assert content["runs"]["one"]["total_return"] == pytest.approx(np.prod(1.0 + returns[30:]) - 1.0)
    warning = "only 90 of up to 120 days are common to all runs; the others are left out"
    assert content["warnings"] == [warning] and err == f"warning: {warning}\n"


@pytest.mark.parametrize("count", [3, 4])
def test_overfitting_is_told_of_four_runs(tmp_path, count):
    runs = open_evaluated([evaluated(tmp_path / f"run{i}", noise(i)) for i in range(count)])
    comparison = compare(runs, 100)
    probability = comparison.metrics.probability_of_overfitting
    assert (probability is None) == (count < 4)
    assert probability is None or 0.0 <= probability <= 1.0
    text = "\n".join(lines(comparison))
    assert (WORDS_ON_OVERFITTING in text) == (count == 4)
    assert probability is None or f"probability of backtest overfitting: {probability:.2f}\n" in text
    assert len(comparison.metrics.differences) == count * (count - 1) // 2


def test_an_identical_copy_is_pointed_out(capsys, tmp_path):
    one, other = evaluated(tmp_path / "one", noise(0)), evaluated(tmp_path / "other", noise(1))
    copy = shutil.copytree(one, tmp_path / "copy")
    code, _, err = run(capsys, tmp_path / "out", one, copy, other)
    assert code == 0
    warning = "one and copy are the same training with the same returns; a copy is nothing to compare with"
    assert err == f"warning: {warning}\n"
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["warnings"] == [warning]


def test_trainings_begun_in_one_second_are_no_copies(capsys, tmp_path):
    runs = [evaluated(tmp_path / folder / "run", noise(i)) for i, folder in enumerate("ab")]
    assert run(capsys, tmp_path / "out", *runs)[::2] == (0, "")


def test_the_curves_start_from_nothing_on_the_day_before(tmp_path):
    returns = noise(0)
    runs = open_evaluated([evaluated(tmp_path / "a", returns), evaluated(tmp_path / "b", noise(1))])
    curve = draw(compare(runs, 100)).axes[0].get_lines()[0]
    assert (str(curve.get_xdata()[0]), curve.get_ydata()[0]) == ("2024-01-01", 0.0)
    np.testing.assert_allclose(curve.get_ydata()[1:], 100.0 * (np.cumprod(1.0 + returns) - 1.0))


def test_evaluations_written_elsewhere_are_found(tmp_path):
    runs = [evaluated(tmp_path / "runs" / name, noise(i)) for i, name in enumerate("ab")]
    trial(tmp_path / "runs" / "c", tmp_path / "runs" / "c", "id of c", 0.1)
    elsewhere = tmp_path / "elsewhere"
    (runs[1] / "evaluation" / "metrics.json").rename(elsewhere.with_suffix(".json"))
    elsewhere.mkdir()
    elsewhere.with_suffix(".json").rename(elsewhere / "metrics.json")
    metrics = compare(open_evaluated([runs[0], elsewhere]), 100).metrics
    assert {name: one.directory for name, one in metrics.runs.items()} == {
        "a": str(runs[0]),
        "elsewhere": str(runs[1]),
    }
    assert metrics.trials.count == 3  # those beside the run, not beside the folder of its evaluation
    rewrite(elsewhere / "metrics.json", lambda content: content["run"].pop("directory"))
    message = r"elsewhere/metrics.json has no run.directory; it is of another version, so evaluate its run again"
    with pytest.raises(UserError, match=message):
        open_evaluated([runs[0], elsewhere])


def test_help_shows_what_must_be_given(capsys):
    assert main(["compare", "--help"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: mtquant-jax compare [-h] [OPTIONS] RUN RUN [RUN ...]\n")
    assert "(required)" in text and "(default: )" not in text


def test_a_run_that_is_always_best_was_not_chosen_by_luck(tmp_path):
    returns = [noise(i) for i in range(3)] + [noise(3, mean=0.02)]
    runs = open_evaluated([evaluated(tmp_path / f"run{i}", r) for i, r in enumerate(returns)])
    assert compare(runs, 100).metrics.probability_of_overfitting == 0.0


def test_in_sample_and_other_sources_are_pointed_out(capsys, tmp_path):
    one = evaluated(tmp_path / "one", noise(0), in_sample=True)
    two = evaluated(tmp_path / "two", noise(1), source="/data", fingerprint="of other bars")
    code, out, err = run(capsys, tmp_path / "out", one, two)
    assert code == 0
    assert "warning: one was evaluated in sample, on bars of its training" in err
    assert "warning: the runs were evaluated on bars of different sources" in err
    assert [line.endswith("  IN SAMPLE") for line in out.splitlines()[3:5]] == [True, False]


def test_a_flat_run_has_no_sharpe_ratio(capsys, tmp_path):
    flat = np.zeros((DAYS, 1))
    code, out, _ = run(capsys, tmp_path / "out", evaluated(tmp_path / "a", noise(0)), evaluated(tmp_path / "b", flat))
    assert code == 0
    content = json.loads((tmp_path / "out" / "comparison.json").read_text())["runs"]["b"]
    assert content["sharpe"] is None and content["deflated_sharpe"] is None
    assert "none (flat)" in next(line for line in out.splitlines() if line.startswith("b "))


def test_every_training_judged_on_these_bars_is_a_trial(tmp_path):
    runs = [evaluated(tmp_path / name, noise(i)) for i, name in enumerate("ab")]
    few = compare(open_evaluated(runs), 100).metrics
    assert few.trials.count == 2
    for number in range(3):
        trial(tmp_path / "other", tmp_path / "other", f"id {number}", 0.1 * number)
    trial(tmp_path / "other", tmp_path / "other", "id 0", 0.3)  # evaluated again
    trial(tmp_path / "other", tmp_path / "other", "id 9", 0.3, first="2030-01-01 00:00", last="2030-02-01 00:00")
    trial(tmp_path / "other", tmp_path / "other", "id 8", 0.3, source="/data", market="/data")
    many = compare(open_evaluated(runs), 100).metrics
    assert many.trials.count == 5
    sharpes = [sharpe_ratio(noise(i), PER_YEAR) / np.sqrt(PER_YEAR) for i in range(2)] + [0.3, 0.1, 0.2]
    assert many.trials.daily_sharpe_variance == pytest.approx(np.var(sharpes, ddof=1))
    assert many.runs["a"].deflated_sharpe < few.runs["a"].deflated_sharpe


def test_runs_whose_trials_were_lost_still_count(tmp_path):
    runs = [evaluated(tmp_path / name, noise(i)) for i, name in enumerate("ab")]
    for path in runs:
        (path / "evaluation" / TRIALS).unlink()
    assert compare(open_evaluated(runs), 100).metrics.trials.count == 2


def test_a_run_named_in_a_roundabout_way_is_one_trial(tmp_path, monkeypatch):
    one, two = (evaluated(tmp_path / name, noise(i)) for i, name in enumerate("ab"))
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "b").symlink_to(two)
    monkeypatch.chdir(one)
    comparison = compare(open_evaluated([Path("."), tmp_path / "links" / "b"]), 100)
    assert comparison.metrics.trials.count == 2
    assert list(comparison.metrics.runs) == ["a", "b"]


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path):
    runs = [evaluated(tmp_path / folder / "run", noise(i)) for i, folder in enumerate(("x", "y"))]
    assert [one.name for one in open_evaluated(runs)] == ["x/run", "y/run"]


def test_what_cannot_be_compared_is_refused(capsys, tmp_path):
    one, two = (evaluated(tmp_path / name, noise(i)) for i, name in enumerate("ab"))
    late = evaluated(tmp_path / "late", noise(2), "2024-04-15")
    wide = evaluated(tmp_path / "wide", noise(3, paths=2))
    old = evaluated(tmp_path / "old", noise(4))
    write_sealed(old / "evaluation" / "metrics.json", {})
    (tmp_path / "bare").mkdir()
    refusals = {
        (): "compare needs at least two run directories",
        (one,): "compare needs at least two run directories",
        (one, tmp_path / "nope"): f"{tmp_path / 'nope'}: there is no such directory",
        (one, one / "evaluation"): "a run directory is given twice",
        (one, two, tmp_path / "bare" / ".." / "a"): "a run directory is given twice",
        (one, tmp_path / "bare"): f"{tmp_path / 'bare'} has not been evaluated; run: mtquant-jax evaluate --run-dir ",
        (one, late): "the runs have 16 days in common, 20 are needed: a 2024-01-02 to 2024-04-30; late 2024-04-15 to ",
        (one, wide): "the runs were evaluated on markets with different numbers of paths",
        (one, old): f"{old / 'evaluation' / 'metrics.json'} has no run; it is of another version, so evaluate its run",
    }
    for runs, message in refusals.items():
        code, out, err = run(capsys, tmp_path / "out", *runs)
        assert (code, out) == (2, "") and err.startswith(f"error: {message}") and err.count("\n") == 1, err
    assert not (tmp_path / "out").exists()


def test_runs_on_different_markets_are_refused_unless_it_is_said(capsys, tmp_path):
    one = evaluated(tmp_path / "one", noise(0))
    two = evaluated(tmp_path / "two", noise(1), market="bars, 3600 s: EURUSD", fingerprint="of other bars")
    _, out, err = run(capsys, tmp_path / "out", one, two)
    assert out == "" and err.startswith(f"error: one was evaluated on {SOURCE}, but two on bars, 3600 s: EURUSD: their")
    assert "--other-markets" in err and not (tmp_path / "out").exists()
    assert (
        main(["compare", str(one), str(two), "--output", str(tmp_path / "out"), "--draws", "100", "--other-markets"])
        == 0
    )
    warning = (
        f"the runs were evaluated on different markets, whose difference is part of every difference (one: {SOURCE}"
    )
    assert warning in capsys.readouterr().err


def test_the_same_bars_in_two_folders_are_one_source(capsys, tmp_path):
    runs = [evaluated(tmp_path / name, noise(i), source=name) for i, name in enumerate("ab")]
    assert run(capsys, tmp_path / "out", *runs)[2] == ""


def test_the_evaluation_of_a_training_that_is_no_more_is_refused(capsys, tmp_path):
    one, two = (evaluated(tmp_path / name, noise(i)) for i, name in enumerate("ab"))
    write_sealed(RunPaths(two).phase_results(1), {"run_id": "newer"})
    assert (
        f"metrics.json is of training id of b, but {two} holds training newer; run: mtquant-jax evaluate"
        in " ".join(run(capsys, tmp_path / "out", one, two)[2].split())
    )


def test_draws_packages_and_outputs_are_checked(capsys, tmp_path, monkeypatch):
    runs = [str(evaluated(tmp_path / name, noise(i))) for i, name in enumerate("ab")]
    assert main(["compare", *runs, "--draws", "10"]) == 2
    assert "--draws 10: at least 100" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert run(capsys, tmp_path / "file", *map(Path, runs))[2].startswith(f"error: --output {tmp_path / 'file'} cannot")
    monkeypatch.setitem(sys.modules, "arch", None)
    assert "intervals need the package arch, which" in run(capsys, tmp_path / "out", *map(Path, runs))[2]
    assert not (tmp_path / "out").exists()


def test_a_broken_evaluation_is_told(tmp_path):
    one, two = (evaluated(tmp_path / name, noise(i)) for i, name in enumerate("ab"))
    (two / "evaluation" / "metrics.json").write_text("{")
    with pytest.raises(UserError, match=r"compare needs evaluations: .*metrics\.json line 1 is not JSON"):
        open_evaluated([one, two])
