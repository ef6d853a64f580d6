"""The files of a run: log, metrics, JSON."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mtquant_jax.errors import UserError
from mtquant_jax.settings.config import MarketConfig
from mtquant_jax.statistics.histograms import Histogram
from mtquant_jax.storage.files import read_json, replacing, write_json
from mtquant_jax.storage.paths import RunPaths
from mtquant_jax.storage.recorder import RunRecorder
from tests.events import read_events

START = datetime(2026, 1, 2, 3, 4, 5)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_output_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = RunPaths(Path("."))
    relative = {
        paths.log_file(START): "logs/e2e_training/e2e_training_20260102_030405.log",
        paths.phase_results(2): "logs/e2e_training/phase2_results.json",
        paths.training_summary: "logs/e2e_training/training_summary.json",
        paths.resolved_config: "logs/e2e_training/resolved_config.yaml",
        paths.tensorboard: "logs/tensorboard",
        paths.specialist_bundle("forex"): "models/specialists/forex_specialist.zip",
        paths.meta_bundle: "models/meta_controller/meta_controller.zip",
        paths.checkpoint(1, 10_000): "models/checkpoints/phase1/checkpoint_10000",
        paths.metrics_csv(3): "metrics/training/phase3_metrics.csv",
    }
    for path, expected in relative.items():
        assert path == tmp_path / expected


def test_lines_go_to_the_log_and_to_the_console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    handlers = list(logging.getLogger().handlers)
    paths = RunPaths(tmp_path)
    with RunRecorder(paths, START) as recorder:
        recorder.note("for the file")
        recorder.info("100 % of 3 phases")
        recorder.warning("odd")
    captured = capsys.readouterr()
    assert captured.out == "100 % of 3 phases\nwarning: odd\n"
    assert captured.err == ""
    lines = paths.log_file(START).read_text().splitlines()
    assert [line[24:] for line in lines] == ["INFO    for the file", "INFO    100 % of 3 phases", "WARNING odd"]
    assert logging.getLogger().handlers == handlers
    assert "mtquant_jax.run" not in logging.Logger.manager.loggerDict


def test_a_warning_says_what_and_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = RunPaths(tmp_path)

    def warn(recorder: RunRecorder) -> None:
        recorder.warning("it is flat", "lower `ppo.entropy_weight`", {"event": "diagnosis"})
        recorder.note("the figures", logging.WARNING)
        recorder.warning("all are flat", "wait", shown_only=True)

    with RunRecorder(paths, START, logging.WARNING) as recorder:
        warn(recorder)
    assert capsys.readouterr().out.splitlines() == [
        "warning: it is flat",
        "  what to do: lower --ppo.entropy-weight",
        "warning: all are flat",
        "  what to do: wait",
    ]
    assert [line[24:] for line in paths.log_file(START).read_text().splitlines()] == [
        "WARNING it is flat. What to do: lower --ppo.entropy-weight",
        "WARNING the figures",
    ]
    with RunRecorder(paths, START, as_json=True) as recorder:
        warn(recorder)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["level"], first["message"], first["event"]) == ("warning", "it is flat", "diagnosis")
    assert (first["to_do"], second["to_do"]) == ("lower --ppo.entropy-weight", "wait")


def test_who_shows_a_training_gets_the_last_line_of_an_agent_alone(tmp_path: Path) -> None:
    shown: list[str] = []
    paths = RunPaths(tmp_path)
    with RunRecorder(paths, START, show=shown.append) as recorder:
        for done in (50, 100):
            recorder.info(f"{done}/100", {"event": "chunk", "timesteps": done, "total_timesteps": 100})
        recorder.info("phase 1 took 3 s", {"event": "phase"})
    assert shown == ["100/100", "phase 1 took 3 s"]
    assert len(paths.log_file(START).read_text().splitlines()) == 3


@pytest.mark.parametrize(("error", "traceback"), [(UserError("no bars"), False), (ZeroDivisionError("oh"), True)])
def test_the_log_records_how_a_run_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: Exception, traceback: bool
) -> None:
    paths = RunPaths(tmp_path)
    with pytest.raises(type(error)), RunRecorder(paths, START):
        raise error
    text = paths.log_file(START).read_text()
    assert f"ERROR   {error}" in text
    assert ("Traceback" in text) == traceback
    assert capsys.readouterr().out == ""


def test_a_run_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"`run_dir` .*/file cannot be written: Not a directory"):
        RunRecorder(RunPaths(tmp_path / "file"), START).__enter__()


def test_metrics_are_written_row_by_row(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    for _ in range(2):  # the second run overwrites the file
        with RunRecorder(paths, START) as recorder:
            recorder.metrics(1, "forex", 1000, {"loss": jnp.float32(0.1), "reward": np.float64(2), "kl": 3})
            assert rows(paths.metrics_csv(1))[0]["loss"] == "0.100000001"
            recorder.metrics(1, "forex", 2000, {"loss": math.nan, "kl": None, "reward": math.inf})
            recorder.metrics(1, "equity", np.int64(1000), {"kl": jnp.array([0.5])[0]})
            recorder.metrics(2, "meta_controller", 500, {"loss": 1.0})
            with pytest.raises(ValueError, match="surprise"):
                recorder.metrics(1, "equity", 1, {"surprise": 1.0})
    assert rows(paths.metrics_csv(1)) == [
        {"agent": "forex", "timesteps": "1000", "loss": "0.100000001", "reward": "2", "kl": "3"},
        {"agent": "forex", "timesteps": "2000", "loss": "", "reward": "inf", "kl": ""},
        {"agent": "equity", "timesteps": "1000", "loss": "", "reward": "", "kl": "0.5"},
    ]
    assert rows(paths.metrics_csv(2)) == [{"agent": "meta_controller", "timesteps": "500", "loss": "1"}]


def test_metrics_reach_tensorboard(tmp_path: Path) -> None:
    from tensorboardX.record_writer import RecordWriter  # noqa: F401  (the format's other half)

    paths = RunPaths(tmp_path)
    with RunRecorder(paths, START) as recorder:
        recorder.metrics(1, "forex", 1000, {"loss": 0.5, "broken": math.nan})
        recorder.settings("seed: 0")
        row = {"reward": 0.25, "validation_sharpe": 1.0, "validation_turnover_per_day": 2.0}
        row |= {
            "validation_sharpe_standard_error": 0.5,
            "reward/var": -0.5,
            "reward/meta_controller": 0.75,
            "swap": 0.0,
        }
        recorder.metrics(2, "meta_controller", 500, row)
    folders = sorted(paths.tensorboard.glob("*/*"))
    assert [folder.name for folder in folders] == ["phase1_forex", "phase2_meta_controller"]
    assert curves(folders[0]) == {"4_learning/loss": (1000, 0.5)}
    found = curves(folders[1])
    assert found.pop("settings/text_summary", None) is not None
    assert found == {
        "1_overview/reward": (500, 0.25),
        "1_overview/validation_sharpe": (500, 1.0),
        "1_overview/reward/meta_controller": (500, 0.75),
        "2_trading/validation_turnover_per_day": (500, 2.0),
        "2_trading/validation_sharpe_standard_error": (500, 0.5),
        "2_trading/swap": (500, 0.0),
        "4_learning/reward/var": (500, -0.5),
    }


def curves(folder: Path) -> dict[str, tuple[int, float]]:
    """Tag -> step and value of the last event."""
    return {tag: (step, value.simple_value) for tag, step, value in read_events(folder)}


def test_histograms_and_images_reach_tensorboard(tmp_path: Path) -> None:
    spread = Histogram(-1.0, np.array([3.0, 0.0, 0.0, 1.0]), mean=-0.5, standard_deviation=0.25)
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    with RunRecorder(RunPaths(tmp_path), START) as recorder:
        recorder.histogram(3, "portfolio", 500, "wanted_weight/EURUSD", spread)
        recorder.image(3, "portfolio", 500, "equity", lambda: pixels)
    (folder,) = RunPaths(tmp_path).tensorboard.glob("*/*")
    found = {tag: (step, value) for tag, step, value in read_events(folder)}
    step, value = found["7_decisions/wanted_weight/EURUSD"]
    assert (step, value.histo.num, value.histo.min, value.histo.max) == (500, 4.0, -1.0, 1.0)
    assert list(value.histo.bucket_limit) == [-0.5, 0.0, 0.5, 1.0]
    assert list(value.histo.bucket) == [3.0, 0.0, 0.0, 1.0]
    assert (value.histo.sum, value.histo.sum_squares) == (-2.0, 4 * 0.3125)
    step, value = found["1_overview/equity"]
    assert (step, value.image.width, value.image.height) == (500, 4, 2)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(value.image.encoded_image_string))), pixels)


def test_an_image_that_cannot_be_drawn_is_an_error_of_the_block_and_not_of_what_comes_next(tmp_path: Path) -> None:
    def draw() -> np.ndarray:
        raise ValueError("no ink")

    with pytest.raises(ValueError, match="no ink"), RunRecorder(RunPaths(tmp_path), START) as recorder:
        recorder.image(3, "portfolio", 500, "equity", draw)
        recorder.image(3, "portfolio", 600, "equity", lambda: np.zeros((2, 4, 3), np.uint8))
        recorder.metrics(3, "portfolio", 500, {"reward": 1.0})
    with pytest.raises(RuntimeError, match="of the training"), RunRecorder(RunPaths(tmp_path), START) as recorder:
        recorder.image(3, "portfolio", 700, "equity", draw)
        raise RuntimeError("of the training")


def test_json_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    content: dict[str, Any] = {
        "b": math.nan,
        "a": [np.float32(0.5), jnp.int32(3), -math.inf, (1, 2)],
        "path": tmp_path,
        "time": START,
        "array": np.array([[1.0, math.nan]]),
        "flag": np.bool_(True),
        "market": MarketConfig(),
        "é": None,
        7: "seven",
    }
    write_json(path, content)
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n") and "é" in text
    back = read_json(path, "test")
    assert list(back)[:2] == ["b", "a"]
    assert back["a"] == [0.5, 3, None, [1, 2]]
    assert (back["b"], back["path"], back["time"]) == (None, str(tmp_path), "2026-01-02T03:04:05")
    assert (back["array"], back["flag"], back["7"]) == ([[1.0, None]], True, "seven")
    assert back["market"]["gap_bars"] == MarketConfig().gap_bars
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


def test_a_failed_write_of_json_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "phase 2 needs phase 1: there is no {path}"),
        ('{"a": 1,\n "b" 2}', "phase 2 needs phase 1: {path} line 2 is not JSON (Expecting ':' delimiter)"),
        ('{"a": NaN}', "phase 2 needs phase 1: {path} is not JSON (NaN is not a JSON number)"),
        ("[1]", "phase 2 needs phase 1: {path} is not a JSON object"),
    ],
)
def test_json_that_cannot_be_read(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "phase1_results.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError) as error:
        read_json(path, "phase 2 needs phase 1")
    assert str(error.value) == message.format(path=path)
