"""Turn after turn until trading stops, by one process at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mtquant_jax.deploy.claims import claimed
from mtquant_jax.deploy.live import STOPPED, LiveTrading
from mtquant_jax.deploy.loop import keep_trading
from mtquant_jax.errors import UserError
from tests.deploy.test_live import Stage


def test_turns_are_made_until_a_kill_switch_has_closed_everything(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    slept: list[float] = []
    shown: list[str] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        stage.broker.widened = {}
        if len(slept) == 3:
            stage.broker.finished += 1
        if len(slept) == 4:
            (tmp_path / "STOP").touch()

    stage.broker.widened = {"EURUSD": 0.1}
    trading = LiveTrading(stage.wanted, stage.broker, stage.rules, stage.trained, tmp_path)
    made = keep_trading(trading, 7.0, shown.append, lambda: stage.broker.now + 5.0, sleep)
    assert made.state == STOPPED and slept == [7.0] * 4 and stage.decisions == 2 and not stage.held
    assert shown[0] == "EURUSD: put off: the spread is wider than 5 times the usual 7e-05"
    assert shown[1:3] == ["GBPUSD: sell 0.2 lots, filled 0.2 at 1.254", "EURUSD: buy 0.3 lots, filled 0.3 at 1.1041"]
    assert shown[3].startswith("Trading stops: the file") and len(shown) == 6


def test_the_same_messages_are_shown_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    shown: list[str] = []
    stage.broker.offline = {"account"}

    def sleep(seconds: float) -> None:
        if len(slept) == 3:
            stage.broker.offline = set()
            (tmp_path / "STOP").touch()
        slept.append(seconds)

    slept: list[float] = []
    trading = LiveTrading(stage.wanted, stage.broker, stage.rules, stage.trained, tmp_path)
    keep_trading(trading, 1.0, shown.append, lambda: stage.broker.now + 5.0, sleep)
    assert shown.count("account is not reached") == 1 and len(slept) == 4


def test_one_process_trades_in_a_folder(tmp_path: Path) -> None:
    with (
        claimed(tmp_path / "live" / "lock", "trades there"),
        pytest.raises(UserError, match="another process trades there"),
        claimed(tmp_path / "live" / "lock", "trades there"),
    ):
        pass
    with claimed(tmp_path / "live" / "lock", "trades there"):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="lock cannot be written"), claimed(tmp_path / "file" / "lock", ""):
        pass


def test_a_claim_ends_with_a_refused_turn(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.broker.changed = {"is_demo": False}
    trading = LiveTrading(stage.wanted, stage.broker, stage.rules, stage.trained, tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match="no demo account"):
            keep_trading(trading, 1.0, print, lambda: stage.broker.now + 5.0, os.abort)
