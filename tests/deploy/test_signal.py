"""`mtquant-jax signal` from files to orders, for its own account and a broker's, and what it refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

from mtquant_jax.cli import main
from mtquant_jax.deploy.freshness import finished, freshness, usual
from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.selection import between
from mtquant_jax.market.periods import moment
from tests.deploy.conftest import write_bars


def signal(run, folder: Path, *flags: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["signal", "--run-dir", str(run.paths.run_dir), "--data-dir", str(folder), *flags])
    return code, out.getvalue(), err.getvalue()


def close_of(bars, index: int) -> str:
    return moment(int(bars.timestamps[index]) + 3600)


@pytest.fixture(scope="module")
def found(run, bar_folder, new_bars) -> dict:
    code, out, _ = signal(run, bar_folder, "--json", "--as-of", close_of(new_bars, -1))
    assert code == 0
    return json.loads(out)


def test_the_last_finished_bar_is_decided_on(found, new_bars):
    assert found["bar"] == int(new_bars.timestamps[-1]) and found["age_seconds"] == 0
    assert found["account"] == "simulated" and found["currency"] == "USD"
    assert sum(found["capital"].values()) == pytest.approx(1.0, abs=1e-6)
    assert len(found["instruments"]) == 8
    for row in found["instruments"]:
        assert row["lots"] == pytest.approx(row["held_lots"] + row["order_lots"], abs=1e-9)
        # What is held is marked at the price that closes it: a reduction pays no spread, and nothing at all where an
        # instrument has neither commission nor slippage (`accounts.fill`). Every other order costs something.
        reduces = row["held_lots"] * row["order_lots"] < 0.0 and abs(row["order_lots"]) <= abs(row["held_lots"])
        assert reduces or (row["cost"] > 0.0) == (row["order_lots"] != 0.0)
        assert row["cost"] >= 0.0
        assert abs(row["permitted_weight"]) <= abs(row["wanted_weight"]) + 1e-9


def test_a_signal_is_what_a_replay_decides(run, bar_folder, new_bars, tmp_path):
    """Positions after the orders are those of the paper account on the next bar."""
    ledger = tmp_path / "replay.sqlite"
    first = run.split_times("test")[0]
    days = moment(int(new_bars.timestamps[-1]) + 86_400)[:10]
    flags = ["--run-dir", str(run.paths.run_dir), "--source", str(bar_folder), "--ledger", str(ledger), "--quiet"]
    assert main(["paper", *flags, "--replay", moment(first + 3600), days]) == 0
    from mtquant_jax.deploy.ledger import open_ledger

    with open_ledger(ledger, {}) as book:
        orders = book.table("orders", "time, symbol, lots")
    for index in (-1, -100, -250):
        code, out, _ = signal(run, bar_folder, "--json", "--as-of", close_of(new_bars, index))
        assert code == 0
        found = json.loads(out)
        expected = {symbol: lots for time, symbol, lots in orders if time == found["bar"]}
        assert {row["symbol"]: row["order_lots"] for row in found["instruments"] if row["order_lots"]} == expected
        assert expected or index != -1


def test_a_brokers_account_gets_orders_of_its_own(run, bar_folder, new_bars, found, tmp_path):
    position = {"volume": 0.5, "type": 1, "price_open": 1.1, "ticket": 7, "magic": 0, "profit": -3.0, "swap": 0.0}
    account = {"login": 42, "currency": "USD", "balance": 5e4, "equity": 5e4, "margin": 0.0, "margin_free": 5e4}
    content = {
        "account": {**account, "trade_mode": 0, "margin_mode": 2},
        "positions": [{**position, "symbol": "EURUSD.r"}],
    }
    path = tmp_path / "account.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    as_of = ("--as-of", close_of(new_bars, -1))
    code, out, _ = signal(run, bar_folder, "--json", "--account", str(path), *as_of)
    assert code == 0
    mine, theirs = json.loads(out), {row["symbol"]: row for row in found["instruments"]}
    assert any("loss of the day is not known" in notice for notice in mine["notices"])
    assert (mine["account"], mine["equity"]) == ("42", pytest.approx(5e4, rel=1e-6))
    for row in mine["instruments"]:
        assert row["wanted_weight"] == theirs[row["symbol"]]["wanted_weight"]
        assert row["held_lots"] == (-0.5 if row["symbol"] == "EURUSD" else 0.0)
    content["account"]["currency"] = "EUR"
    path.write_text(json.dumps(content), encoding="utf-8")
    code, _, err = signal(run, bar_folder, "--account", str(path), *as_of)
    assert code == 2 and "the account 42 is in EUR, but the training is in USD" in err


def test_half_the_capital_wants_half_the_weight(run, bar_folder, new_bars, found, tmp_path):
    account = {"login": 42, "currency": "USD", "balance": 5e4, "equity": 5e4, "margin": 0.0, "margin_free": 5e4}
    path = tmp_path / "account.json"
    content = {"account": {**account, "trade_mode": 0, "margin_mode": 0}, "positions": []}
    path.write_text(json.dumps(content), encoding="utf-8")
    flags = ("--json", "--account", str(path), "--capital-share", "0.5", "--as-of", close_of(new_bars, -1))
    code, out, _ = signal(run, bar_folder, *flags)
    assert code == 0
    for half, whole in zip(json.loads(out)["instruments"], found["instruments"], strict=True):
        for name in ("wanted_weight", "permitted_weight"):
            assert half[name] == pytest.approx(0.5 * whole[name], rel=1e-5)


def test_a_table_is_for_people_and_csv_for_programs(run, bar_folder, new_bars, found):
    as_of = ("--as-of", close_of(new_bars, -1))
    code, out, _ = signal(run, bar_folder, *as_of)
    assert code == 0 and all(len(line) <= 120 for line in out.splitlines())
    assert out.startswith(f"decided at the close of the bar that opened {moment(found['bar'])} UTC")
    assert "risk rules that bound" in out and "capital: forex" in out
    code, out, _ = signal(run, bar_folder, "--csv", *as_of)
    head, *rows = out.splitlines()
    assert head.startswith("bar,symbol,") and len(rows) == 8


def test_bars_that_are_not_finished_are_left_out(run, bar_folder, new_bars):
    time = moment(int(new_bars.timestamps[-1]) + 1800)
    code, out, err = signal(run, bar_folder, "--csv", "--as-of", time)
    assert code == 0 and moment(int(new_bars.timestamps[-2])) in out
    assert "left out at the end: 1 bar that was not finished" in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "should have come by"),
        (("--as-of", "yesterday"), "--as-of 'yesterday' is no time as 2025-12-31 21:00"),
        (("--json", "--csv"), "give either --json or --csv, not both"),
        (("--capital-share", "1.5"), "--capital-share 1.5 must be above 0 and at most 1"),
        (("--capital-share", "0.5"), "--capital-share and --magic are of a broker's account"),
        (("--missing-bars", "-1"), "--missing-bars -1 must be at least 0"),
        (("--account-currency", "CHF"), "no loaded instrument converts"),
    ],
)
def test_refusals_are_one_line(run, bar_folder, flags, message):
    code, out, err = signal(run, bar_folder, *flags)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert message in err


def test_other_bars_are_refused(run, new_bars, tmp_path):
    four_hours = dataclasses.replace(
        new_bars, timestamps=new_bars.timestamps[0] + 14_400 * np.arange(len(new_bars.timestamps), dtype=np.int64)
    )
    write_bars(four_hours, tmp_path)
    code, _, err = signal(run, tmp_path, "--as-of", moment(int(four_hours.timestamps[-1]) + 14_400))
    assert code == 2 and "minutes" in err
    (tmp_path / "US30.csv").unlink()
    code, _, err = signal(run, tmp_path)
    assert code == 2 and "US30" in err


def test_a_run_on_the_synthetic_market_needs_bars(run):
    err = io.StringIO()
    with contextlib.redirect_stderr(err):
        assert main(["signal", "--run-dir", str(run.paths.run_dir)]) == 2
    assert "has no next bar: give bar files" in err.getvalue()


def test_hours_of_the_week_say_which_bars_are_due(new_bars):
    times = np.arange(0, 4 * 7 * 24) * 3600
    weekdays = times[(times // 86_400) % 7 < 5]
    tradable = np.ones((len(weekdays), 2), bool)
    tradable[:, 1] = (weekdays // 3600) % 24 < 12
    monday, saturday = 4 * 7 * 86_400, 4 * 7 * 86_400 + 5 * 86_400
    assert usual(weekdays, tradable, monday).tolist() == [True, True]
    assert usual(weekdays, tradable, monday + 13 * 3600).tolist() == [True, False]
    assert usual(weekdays, tradable, saturday).tolist() == [False, False]


def test_a_weekend_makes_no_bar_stale(new_bars):
    friday = 1_700_000_000 // 86_400 * 86_400 - 4 * 86_400  # 2023-11-10, a Friday
    hours = friday - 86_400 * 40 + 3600 * np.arange(41 * 24, dtype=np.int64)
    open_then = ((hours // 86_400) + 3) % 7 < 5
    count = int(open_then.sum())
    cut = between(new_bars, 0, 1)
    columns = {name: np.resize(np.asarray(getattr(cut, name)), (1, count, 8)) for name in ("open", "close", "tradable")}
    bars = dataclasses.replace(cut, timestamps=hours[open_then], **columns)
    sunday = friday + 2 * 86_400 + 12 * 3600
    assert freshness(bars, 3600, sunday, "UTC").missing == 0
    assert freshness(bars, 3600, sunday + 86_400, "UTC").missing == 12
    assert freshness(bars, 3600, sunday + 15 * 86_400, "UTC").missing > 200
    assert freshness(bars, 3600, sunday + 150 * 86_400, "NewYork+7").missing > 1_000


def test_nothing_is_finished_before_the_first_bar(new_bars):
    with pytest.raises(UserError, match="no bar is finished"):
        finished(new_bars, 3600, int(new_bars.timestamps[0]))
    assert finished(new_bars, 3600, int(new_bars.timestamps[3]))[1] == len(new_bars.timestamps) - 3
