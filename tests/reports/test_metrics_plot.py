"""Chosen metrics as a figure: which lines are found, and what is said where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtquant_jax.cli import main
from mtquant_jax.errors import UserError
from mtquant_jax.reports.metrics_plot import HEALTHY_BELOW, _draw, _lines, plot_metrics
from mtquant_jax.reports.training_plot import read_rows
from tests.reports.test_training_plot import size_of_png, write_metrics

PAGE = Path(__file__).resolve().parents[2] / "docs" / "outputs.md"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of phases 1 and 3 with two specialists."""
    write_metrics(
        tmp_path, 1, "forex,100,0.01,3\nequity,100,2.0,\nforex,200,0.02,nan\n", "agent,timesteps,kl,entropy\n"
    )
    write_metrics(tmp_path, 3, "portfolio,100,1,2,0.5\n", "agent,timesteps,kl/equity,kl/forex,sharpe\n")
    return tmp_path


def test_a_line_per_agent_be_it_a_row_or_a_column_of_its_own(run_dir):
    def lines(phase: int, name: str):
        path = run_dir / f"metrics/training/phase{phase}_metrics.csv"
        return _lines(path, *read_rows(path), name)

    assert lines(1, "kl") == {"forex": [(100, 0.01), (200, 0.02)], "equity": [(100, 2.0)]}
    assert lines(1, "entropy") == {"forex": [(100, 3.0)]}  # no cell is no point, and neither is what is no number
    assert lines(3, "kl") == {"equity": [(100, 1.0)], "forex": [(100, 2.0)]}
    assert lines(3, "sharpe") == {"portfolio": [(100, 0.5)]}
    assert lines(3, "k") == {}


def test_a_row_per_phase_and_a_panel_per_metric(run_dir):
    figure = _draw(
        {
            1: {
                "clip_fraction": {"forex": [(100, 0.3)], "equity": [(100, 0.1)]},
                "kl": {"forex": [(9, 1.0), (10, 200.0)]},
            },
            3: {"clip_fraction": {}, "kl": {"portfolio": [(100, -1.0)], "forex": [(100, 500.0)]}},
        },
        ["clip_fraction", "kl"],
    )
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["clip_fraction, healthy < 0.2", "kl"] * 2
    assert [axes.get_yscale() for axes in figure.axes] == ["linear", "log", "linear", "linear"]
    legends = [axes.get_legend() for axes in figure.axes]
    names = [[text.get_text() for text in legend.get_texts()] for legend in legends if legend]
    assert names == [["forex", "equity"], ["forex", "portfolio"]]
    colours = [legend.get_lines()[0].get_color() for legend in legends if legend]
    assert colours[0] == colours[1]  # forex


def test_the_command_writes_a_png(run_dir, capsys):
    output = run_dir / "kl.png"
    assert main(["plot", str(run_dir), "--output", str(output), "--metrics", "kl", "entropy"]) == 0
    assert size_of_png(output) == (660, 520)
    assert capsys.readouterr().out == f"Wrote {output}\n"


@pytest.mark.parametrize(
    ("names", "message"),
    [(["kl", "entrop"], r"has no metric entrop; the nearest is entropy"), (["kl/forx"], r"the nearest is kl/forex")],
)
def test_a_metric_that_is_not_there_is_told_with_the_nearest(run_dir, names, message):
    with pytest.raises(UserError, match=message):
        plot_metrics(run_dir, run_dir / "x.png", names)
    assert not (run_dir / "x.png").exists()


def test_what_is_no_number_is_told_with_its_row(tmp_path):
    path = write_metrics(tmp_path, 1, "forex,100,1\nforex,200,much\n", "agent,timesteps,kl\n")
    with pytest.raises(UserError, match=f"{path} row 3 is not a whole row of numbers"):
        plot_metrics(tmp_path, tmp_path / "x.png", ["kl"])
    with pytest.raises(UserError, match="has no metrics to plot"):
        plot_metrics(tmp_path / "elsewhere", tmp_path / "x.png", ["kl"])


def test_the_healthy_ranges_are_those_of_the_page():
    page = PAGE.read_text(encoding="utf-8")
    for name, limit in HEALTHY_BELOW.items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"| under {limit:g};" in row
