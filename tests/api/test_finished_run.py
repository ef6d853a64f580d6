"""A finished run in Python: what it says of itself, its evaluation, and tables that agree with the command's files."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pandas as pd
import pytest

import mtquant_jax as mt
from mtquant_jax.cli import main


@pytest.fixture(scope="module")
def run_dir(synthetic_run, tmp_path_factory):
    return shutil.copytree(synthetic_run, tmp_path_factory.mktemp("copies") / "run")


@pytest.fixture(scope="module")
def evaluated(run_dir):
    assert main(["evaluate", "--run-dir", str(run_dir), "--draws", "100"]) == 0
    run = mt.load_run(run_dir)
    run.evaluate(draws=100)
    return run


def test_a_run_says_what_it_is(run_dir):
    run = mt.load_run(str(run_dir))
    assert run.run_dir == run_dir and run.config.quick_test
    assert list(run.results) == [1, 2, 3] and run.summary["phases"] == [1, 2, 3]
    assert repr(run).startswith(f"Run('{run_dir}', phases 1, 2, 3, synthetic market (edge 0.12): 8 instruments")
    with pytest.raises(mt.UserError, match="there is no such directory"):
        mt.load_run(run_dir / "none")


def test_tables_are_those_of_the_files_with_types(evaluated):
    folder = evaluated.run_dir / "evaluation"
    equity, trades, positions = evaluated.equity(), evaluated.trades(), evaluated.positions()
    assert str(equity.index.tz) == str(trades["opened"].dt.tz) == "UTC"
    for name, table in (("equity", equity), ("trades", trades), ("positions", positions)):
        written = pd.read_csv(folder / f"{name}.csv")
        flat = table.reset_index() if name != "trades" else table
        flat = flat[list(written.columns)]
        for column in written:
            if isinstance(flat[column].dtype, pd.DatetimeTZDtype):
                expected = pd.to_datetime(written[column], utc=True).astype(flat[column].dtype)
                pd.testing.assert_series_equal(flat[column], expected)
            else:
                pd.testing.assert_series_equal(flat[column], written[column], check_dtype=False)
    assert positions.index.names == ["path", "time"]


def test_metrics_are_those_of_the_file_and_of_every_book(evaluated):
    metrics = evaluated.metrics()
    assert {"equal allocation", "after phase 3", "forex alone", "buy and hold"} <= set(metrics.index)
    last = evaluated.evaluate(draws=100).metrics.last
    assert metrics.loc["after phase 3", "sharpe"] == last.record.sharpe


def test_an_evaluation_from_python_is_counted_like_any_other(evaluated, run_dir):
    before = len((run_dir / "evaluation/trials.jsonl").read_text().splitlines())
    found = evaluated.evaluate("validation", draws=100)
    assert len((run_dir / "evaluation/trials.jsonl").read_text().splitlines()) == before + 1
    assert found.metrics.trials is not None and found.metrics.bars.in_sample
    assert len(evaluated.equity()) == found.metrics.bars.bars + 1  # tables are of the last evaluation


def test_tables_alone_evaluate_the_test_split(run_dir):
    run = mt.load_run(run_dir)
    equity = run.equity()
    assert equity.index[0] == pd.Timestamp(run.summary["market"]["splits"]["test"]["first"], tz="UTC")
    np.testing.assert_allclose(equity.iloc[0], run.config.simulation.initial_capital)


def test_a_report_is_written_as_by_the_command(evaluated, tmp_path):
    path = evaluated.write_report(tmp_path / "report")
    assert path == tmp_path / "report" / "report.html" and path.is_file()
    names = {"equity.csv", "metrics.json", "positions.csv", "report.html", "trades.csv"}
    assert {found.name for found in path.parent.iterdir()} == names


def test_without_the_extra_the_error_is_that_of_the_command(run_dir, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "arch", None)
    assert main(["evaluate", "--run-dir", str(run_dir)]) == 2
    message = capsys.readouterr().err.removeprefix("error: ").rstrip()
    with pytest.raises(mt.UserError) as error:
        mt.load_run(run_dir).evaluate()
    assert str(error.value) == message and "pip install" in message
