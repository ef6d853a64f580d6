"""The training plot: what it reads, what it leaves out, and what it says where there is nothing to draw."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from mtquant_jax.cli import main
from mtquant_jax.errors import UserError
from mtquant_jax.reports.training_plot import Curve, _label, _with_references, plot_training, read_curves
from mtquant_jax.storage.files import write_sealed
from mtquant_jax.storage.paths import RunPaths

HEADER = "agent,timesteps,reward,timesteps_per_second,validation_sharpe,validation_sharpe_standard_error\n"


def write_metrics(run_dir: Path, phase: int, rows: str, header: str = HEADER) -> Path:
    path = run_dir / "metrics" / "training" / f"phase{phase}_metrics.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header + rows)
    return path


def write_results(run_dir: Path, content: dict[str, Any], phase: int = 2) -> None:
    write_sealed(RunPaths(run_dir).phase_results(phase), content)


def size_of_png(path: Path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", content[16:24])


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of three phases with two specialists."""
    write_metrics(
        tmp_path, 1, "forex,100,-0.1,5,0.5,1\nforex,200,0.1,5,1.5,1\nequity,100,0,5,,\nequity,200,0.2,5,-0.5,1\n"
    )
    write_metrics(tmp_path, 2, "meta_controller,50,0.1,5,,\nmeta_controller,100,0.2,5,1.0,1\n")
    header = HEADER.replace("reward", "reward/forex,reward/equity,reward/meta_controller,reward/var")
    write_metrics(tmp_path, 3, "portfolio,100,0.1,0.2,0.3,-0.4,5,1.1,1\n", header)
    performance = {"sharpe": 0.8, "sharpe_standard_error": 1.0}
    write_results(tmp_path, {"equal_allocation": performance, "meta_controller": {"validation": performance}})
    return tmp_path


def test_three_phases_make_a_png_of_1200_pixels(run_dir):
    output = run_dir / "figures" / "training.png"
    plot_training(run_dir, output)
    assert size_of_png(output)[0] == 1200
    assert [path.name for path in output.parent.iterdir()] == ["training.png"]


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_single_phase_is_enough(run_dir, kept):
    for phase in {1, 2, 3} - {kept}:
        (run_dir / "metrics" / "training" / f"phase{phase}_metrics.csv").unlink()
    (run_dir / "logs" / "e2e_training" / "phase2_results.json").unlink()
    plot_training(run_dir, run_dir / "one.png")
    assert size_of_png(run_dir / "one.png")[0] == 600


def test_agents_that_never_traded_and_a_dozen_classes_are_drawn(tmp_path):
    write_metrics(tmp_path, 1, "".join(f"class{i},100,0.1,5,,\n" for i in range(12)))
    write_metrics(tmp_path, 2, "meta_controller,100,,5,,\n")
    write_results(tmp_path, {"equal_allocation": {"sharpe": None, "sharpe_standard_error": None}})
    plot_training(tmp_path, tmp_path / "flat.png")
    assert size_of_png(tmp_path / "flat.png")[0] == 800


def test_rows_become_curves(run_dir):
    forex, equity = read_curves(run_dir / "metrics" / "training" / "phase1_metrics.csv")
    assert forex.reward == [(100, -0.1), (200, 0.1)]
    assert forex.chosen is None  # no results name it yet
    assert equity.sharpe == [(200, -0.5, 1.0)]


def drawn(run_dir: Path, phase: int) -> list[Curve]:
    """The curves of a phase as they are drawn."""
    curves = {phase: read_curves(run_dir / "metrics" / "training" / f"phase{phase}_metrics.csv")}
    return _with_references(RunPaths(run_dir), curves)[0][phase]


def test_the_filled_checkpoint_is_the_one_handed_on_and_not_the_highest(run_dir):
    at_start = {"timesteps": 0, "sharpe": 1.2, "sharpe_standard_error": 1.0}
    flat = {"timesteps": 0, "sharpe": None, "sharpe_standard_error": None}
    write_results(run_dir, {"specialists": {"forex": {"best_timesteps": 100, "history": []}, "equity": {}}}, 1)
    write_results(run_dir, {"meta_controller": {"best_timesteps": 0, "history": [at_start]}})
    write_results(run_dir, {"portfolio": {"best_timesteps": 0, "history": [flat]}}, 3)
    forex, equity = drawn(run_dir, 1)
    assert (forex.chosen, equity.chosen) == ((100, 0.5, 1.0), None)
    (meta,) = drawn(run_dir, 2)
    assert meta.sharpe == [(0, 1.2, 1.0), (100, 1.0, 1.0)] and meta.chosen == (0, 1.2, 1.0)
    (portfolio,) = drawn(run_dir, 3)
    assert portfolio.sharpe == [(100, 1.1, 1.0)] and portfolio.chosen is None
    assert _label(portfolio) == "portfolio: flat handed on"
    plot_training(run_dir, run_dir / "handed_on.png")


def test_phase_3_starts_from_what_phase_2_handed_on_before_it_has_results(run_dir):
    assert drawn(run_dir, 3)[0].sharpe == [(0, 0.8, 1.0), (100, 1.1, 1.0)]


def test_joint_training_shows_the_portfolios_reward(run_dir):
    (portfolio,) = read_curves(run_dir / "metrics" / "training" / "phase3_metrics.csv")
    assert portfolio.reward == [(100, 0.3)]


@pytest.mark.parametrize("rows", [None, ""])
def test_nothing_to_plot(tmp_path, rows):
    if rows is not None:
        write_metrics(tmp_path, 1, rows)
    with pytest.raises(UserError, match="has no metrics to plot"):
        plot_training(tmp_path, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ("1,2\n", "a,b\n", "has no column agent"),
        ("forex,many,0,5,,\n", HEADER, "row 2 is not a whole row of numbers"),
        ("forex,100,0,5,inf,1\n", HEADER, "row 2 is not a whole row of numbers"),
        (f"forex,{10**17},0,5,1.0,1\n", HEADER, "row 2 is not a whole row of numbers"),
        ("forex,100,0,5,1.0,1,7\n", HEADER, "row 2 is not a whole row of numbers"),
        ("forex,100,0,5,1.0,1\nforex,200\n", HEADER, "row 3 is not a whole row of numbers"),
    ],
)
def test_a_foreign_or_broken_file_is_named(tmp_path, rows, header, message):
    path = write_metrics(tmp_path, 1, rows, header)
    with pytest.raises(UserError, match=message) as error:
        plot_training(tmp_path, tmp_path / "x.png")
    assert str(path) in str(error.value)


def test_another_format_is_refused(run_dir):
    with pytest.raises(UserError, match=r"ends in \.png"):
        plot_training(run_dir, run_dir / "training.svg")


def test_a_folder_that_cannot_be_made_is_told(run_dir):
    (run_dir / "taken").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        plot_training(run_dir, run_dir / "taken" / "training.png")


def test_the_command(run_dir, monkeypatch, capsys):
    monkeypatch.chdir(run_dir)
    assert main(["plot"]) == 0
    assert capsys.readouterr().out == "Wrote training.png\n"
    assert size_of_png(run_dir / "training.png")[0] == 1200
    assert main(["plot", str(run_dir), "--output", "other/one.png"]) == 0
    assert (run_dir / "other" / "one.png").read_bytes() == (run_dir / "training.png").read_bytes()
    assert main(["plot", "other"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "has no metrics to plot" in error and error.count("\n") == 1
