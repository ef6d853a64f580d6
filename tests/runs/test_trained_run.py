"""What a run directory says of its training, and which bars it is judged on; nothing is compiled."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.evaluation import evaluation_bars
from mtquant_jax.evaluation.evaluation_bars import SYNTHETIC, _range, prepare_evaluation_bars
from mtquant_jax.market.features import LOOK_BACK_BARS
from mtquant_jax.market.prepare import Market
from mtquant_jax.runs.identity import Identity, settings_hash
from mtquant_jax.runs.trained_run import TrainedRun, open_run
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.settings.yaml_files import as_mapping, write_settings
from mtquant_jax.storage.files import write_sealed
from mtquant_jax.storage.paths import RunPaths

HOUR = 3600
START = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp())
BARS = 2000
SPLITS = {"train": (LOOK_BACK_BARS, 1000), "validation": (1300, 1500), "test": (1750, BARS)}
SOURCE = f"{SYNTHETIC} 0"
SCALES = {"classes": [2.0, 3.0, 4.0], "portfolio": 5.0}


IDENTITY = Identity("made up", {}, settings_hash(as_mapping(TrainConfig())), False).to_json()

ONE = {"phase": 1, "run_id": "a", "identity": IDENTITY}
TWO = {"phase": 2, "run_id": "b", "identity": IDENTITY, "specialists_from": "a"}
THREE = {"phase": 3, "run_id": "c", "identity": IDENTITY, "specialists_from": "a", "meta_controller_from": "b"}


def moment(bar: int) -> str:
    return datetime.fromtimestamp(START + HOUR * bar, UTC).strftime("%Y-%m-%d %H:%M")


def stamps(first: int = 0, last: int = BARS, interval: int = HOUR) -> np.ndarray:
    return np.arange(START + HOUR * first, START + HOUR * last, interval)


def summary() -> dict[str, Any]:
    splits = {name: {"first": moment(first), "last": moment(last - 1)} for name, (first, last) in SPLITS.items()}
    market = {"description": "made up", "splits": splits, "interval_seconds": HOUR, "symbols": []}
    return {"run_id": "c", "phases": [1, 2, 3], "identity": IDENTITY, "market": market}


def run_of(folder: Path, data_dir: str = "", **results: Any) -> TrainedRun:
    config = dataclasses.replace(TrainConfig(), data_dir=data_dir, market=dataclasses.replace(
        TrainConfig().market, start="2020-01-01", end="2021-01-01"
    ))  # fmt: skip
    return TrainedRun(RunPaths(folder), config, {1: ONE | {"scales": SCALES} | results}, summary())


@pytest.fixture
def market(monkeypatch):
    """``market(timestamps)`` is what there will be to trade -> the settings that it is asked for with."""

    def of(timestamps: np.ndarray) -> list[TrainConfig]:
        asked: list[TrainConfig] = []

        def prepare(config, cut, bars):
            asked.append(config)
            nothing = dict.fromkeys(field.name for field in dataclasses.fields(Market))
            day = timestamps // 86_400
            scales = {"class_scale": np.zeros(3), "portfolio_scale": 0.0}
            return Market(**nothing | {"timestamps": timestamps, "day": day, "splits": cut(timestamps)} | scales)

        monkeypatch.setattr(evaluation_bars, "prepare_market", prepare)
        return asked

    return of


@pytest.mark.parametrize(
    ("part", "first", "last", "overlap"),
    [
        ("test", 1750, BARS, {"train": 0, "validation": 0}),
        ("validation", 1300, 1500, {"train": 0, "validation": 199}),
        ("train", LOOK_BACK_BARS, 1000, {"train": 1000 - LOOK_BACK_BARS - 1, "validation": 0}),
        ("all", LOOK_BACK_BARS, BARS, {"train": 1000 - LOOK_BACK_BARS - 1, "validation": 200}),
    ],
)
def test_the_parts_are_those_of_the_training(market, tmp_path, part, first, last, overlap):
    asked = market(stamps())
    judged = prepare_evaluation_bars(run_of(tmp_path), None, part)
    assert (judged.first, judged.last, judged.overlap, judged.source) == (first, last, overlap, f"{SYNTHETIC} 0")
    assert (judged.num_steps, len(judged.timestamps), len(judged.day)) == (last - first - 1, last - first, last - first)
    assert judged.timestamps[0] == START + HOUR * first
    assert judged.market.class_scale.tolist() == SCALES["classes"]
    assert judged.market.portfolio_scale == SCALES["portfolio"]
    assert asked == [run_of(tmp_path).config]


def test_the_test_split_goes_on_to_the_newest_bar(market, tmp_path):
    market(stamps(last=BARS + 500))
    judged = prepare_evaluation_bars(run_of(tmp_path), None, "test")
    assert (judged.first, judged.last) == (1750, BARS + 500)
    assert prepare_evaluation_bars(run_of(tmp_path), None, "validation").last == 1500


def test_parts_are_found_by_their_times(market, tmp_path):
    """Bars that begin at another time than those of the training: the same hours are judged."""
    market(stamps(first=600))
    run = run_of(tmp_path, data_dir="bars")
    judged = prepare_evaluation_bars(run, None, "validation")
    # Over the first bar nothing is held yet.
    assert (judged.first, judged.last, judged.overlap) == (700, 900, {"train": 0, "validation": 199})
    everything = prepare_evaluation_bars(run, None, "all")
    assert everything.overlap == {"train": 1000 - 600 - LOOK_BACK_BARS - 1, "validation": 200}


def test_other_bars_are_used_whole(market, tmp_path):
    asked = market(stamps())
    run = run_of(tmp_path, data_dir="bars")
    judged = prepare_evaluation_bars(run, "others", "test")
    assert (asked[0].data_dir, asked[0].market.start, asked[0].market.end) == ("others", "", "")
    assert judged.source == "others"
    assert prepare_evaluation_bars(run, "./bars", "test").source == "bars"
    assert asked[1] == run.config  # the same directory, so its limits stay


def test_real_bars_do_not_overlap_with_a_synthetic_training(market, tmp_path):
    market(stamps())
    assert prepare_evaluation_bars(run_of(tmp_path), "bars", "all").overlap == {"train": 0, "validation": 0}
    assert prepare_evaluation_bars(run_of(tmp_path, data_dir="bars"), "others", "all").overlap["validation"] == 200


def refused(run: TrainedRun, part: Any = "test", data_dir: str | None = None) -> str:
    with pytest.raises(UserError) as error:
        prepare_evaluation_bars(run, data_dir, part)
    return str(error.value)


def test_bars_that_cannot_be_judged_on_are_refused(market, tmp_path):
    market(stamps(interval=4 * HOUR))
    run = run_of(tmp_path / "mine")
    message = "synthetic market of seed 0: bars are 240 minutes apart, but mine was trained on bars of 60 minutes"
    assert refused(run) == message
    market(stamps(last=1700))
    assert refused(run, "test") == (
        f"{SOURCE} has bars from 2020-01-01 to 2020-03-11, of which 0 belong to the test split of the "
        "training (2020-03-13 to 2020-03-24); 50 are needed. `split` chooses other bars"
    )
    market(stamps(last=LOOK_BACK_BARS + 49))
    assert "of which 49 belong to all bars after the look-back; 50 are needed" in refused(run, "all")
    market(stamps(first=1490))
    assert refused(run, "validation").startswith(f"{SOURCE} has bars from 2020-03-03 to 2020-03-24, of which 0 belong")


def test_bars_of_two_days_are_too_few(market, tmp_path):
    times = stamps(last=100, interval=300)[: LOOK_BACK_BARS + 60]
    content = summary()
    content["market"]["interval_seconds"] = 300
    market(times)
    message = refused(dataclasses.replace(run_of(tmp_path), summary=content), "all")
    assert message == (f"{SOURCE}: the 60 bars to judge on are of 2 days, but 3 are needed; `split` chooses other bars")


@pytest.mark.parametrize("scales", [None, {"classes": [1.0]}, [1.0]])
def test_a_training_without_scales_is_refused(market, tmp_path, scales):
    market(stamps())
    assert "phase1_results.json lacks the scales" in refused(run_of(tmp_path, scales=scales))


def test_the_range_of_a_part():
    times = {name: (START + HOUR * a, START + HOUR * (b - 1)) for name, (a, b) in SPLITS.items()}
    assert _range(stamps(), times, "test", "x") == (1750, BARS)
    assert _range(stamps(last=BARS + 9), times, "test", "x") == (1750, BARS + 9)
    assert _range(stamps(last=BARS - 9), times, "test", "x") == (1750, BARS - 9)
    assert _range(stamps(first=1700), times, "test", "x") == (LOOK_BACK_BARS, BARS - 1700)  # not before the look-back


@pytest.fixture
def finished(tmp_path) -> RunPaths:
    """The small files of a finished training."""
    paths = RunPaths(tmp_path / "mine")
    paths.log_dir.mkdir(parents=True)
    write_settings(paths.resolved_config, TrainConfig())
    for phase, result in ((1, ONE), (2, TWO), (3, THREE)):
        write_sealed(paths.phase_results(phase), result)
    write_sealed(paths.training_summary, summary())
    return paths


def test_a_run_is_read_as_it_was_left(finished):
    run = open_run(finished.run_dir)
    assert (run.name, run.run_id, list(run.results)) == ("mine", "c", [1, 2, 3])
    assert run.config == dataclasses.replace(TrainConfig(), run_dir=str(finished.run_dir))
    assert run.split_times("validation") == (START + HOUR * 1300, START + HOUR * 1499)


def test_runs_that_are_none_or_not_finished_are_refused(finished, tmp_path):
    def refusal(path: Path) -> str:
        with pytest.raises(UserError) as error:
            open_run(path)
        return str(error.value)

    run_dir = finished.run_dir
    assert refusal(tmp_path / "absent") == f"`run_dir` {tmp_path / 'absent'}: there is no such directory"
    assert refusal(tmp_path).startswith(f"`run_dir` {tmp_path} holds no training: there is no {tmp_path}/logs")
    finished.phase_results(3).unlink()
    assert refusal(run_dir) == (
        f"`run_dir` {run_dir}: the training was not finished, phase 3 left no results; train it with `phases` 3"
    )
    finished.phase_results(2).unlink()
    assert "phases 2 and 3 left no results; train them with `phases` 2,3" in refusal(run_dir)
    write_settings(finished.resolved_config, dataclasses.replace(TrainConfig(), phases="1"))
    write_sealed(finished.training_summary, summary() | {"run_id": "a", "phases": [1]})
    assert list(open_run(run_dir).results) == [1]  # no more was asked for
    write_settings(finished.resolved_config, dataclasses.replace(TrainConfig(), phases="2"))
    write_sealed(finished.phase_results(2), TWO)
    finished.phase_results(1).unlink()
    assert "phase 1 has left no results" in refusal(run_dir)


def test_a_summary_that_does_not_tell_the_market_is_refused(finished):
    finished.training_summary.unlink()
    with pytest.raises(UserError, match=r"evaluation needs a finished training: there is no .*training_summary\.json"):
        open_run(finished.run_dir)
    for key in ("splits", "interval_seconds", "symbols"):
        content = summary()
        del content["market"][key]
        write_sealed(finished.training_summary, content)
        with pytest.raises(UserError, match=f"lacks {key} of its market; train again to evaluate"):
            open_run(finished.run_dir)
