"""Paper trading books what the evaluator trades, survives every kill, and notices what is odd about bars."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mtquant_jax.cli import main
from mtquant_jax.deploy.freshness import settled
from mtquant_jax.deploy.history import desk_of, read_history
from mtquant_jax.deploy.ledger import Event, Ledger, open_ledger, packed, unpacked
from mtquant_jax.deploy.paper import PaperTrader, about
from mtquant_jax.deploy.paper_report import DAYS, Gate, PaperReport, booked_bars, equity_of
from mtquant_jax.deploy.session import replay, trade_on
from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.selection import between, first_bars
from mtquant_jax.market.periods import moment
from mtquant_jax.types import Bars

TABLES = ("bars", "decisions", "orders", "fills", "equity", "events", "state")


class MadeClock:
    """A clock that only sleep moves."""

    def __init__(self, now: int = 0) -> None:
        self.time = now

    def now(self) -> int:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += max(1, int(seconds))


@pytest.fixture(scope="module")
def desk(run, bar_folder):
    return desk_of(run, str(bar_folder))


@pytest.fixture(scope="module")
def bars(desk) -> Bars:
    return read_history(desk)


def contents(path: Path) -> dict[str, list]:
    """All rows of a ledger."""
    with sqlite3.connect(path) as file:
        return {name: list(file.execute(f"SELECT * FROM {name} ORDER BY 1, 2")) for name in TABLES}


@pytest.fixture(scope="module")
def whole(run, desk, bars, tmp_path_factory) -> Path:
    """The ledger of a replay that nobody stopped."""
    path = tmp_path_factory.mktemp("paper") / "whole.sqlite"
    with Ledger(path, about(run, desk), durable=False) as ledger:
        list(replay(PaperTrader(desk, ledger), bars, int(bars.timestamps[301]), int(bars.timestamps[-1]), MadeClock()))
    return path


def test_the_ledger_holds_what_the_simulator_does(run, desk, bars, whole):
    with open_ledger(whole, about(run, desk)) as ledger:
        traded, first, last = booked_bars(ledger, bars)
        booked = equity_of(ledger)
        fills, orders = ledger.table("fills", "time, symbol, lots, price"), ledger.table("orders", "time, symbol, lots")
    assert (first, last) == (int(bars.timestamps[300]), int(bars.timestamps[-2]))
    following = desk.begin(traded, 300)
    record = following.record(following.follow(first_bars(traded, len(bars.timestamps) - 1)))
    np.testing.assert_array_equal(booked, np.asarray(record.equity, np.float64)[:, 0])
    assert len(fills) > 50
    filled = {(time, symbol): lots for time, symbol, lots, _ in fills}
    tradable = {
        (int(time), symbol)
        for row, time in enumerate(bars.timestamps)
        for place, symbol in enumerate(bars.symbols)
        if np.asarray(bars.tradable)[0, row, place]
    }
    due = {(time + 3600, symbol): lots for time, symbol, lots in orders if time < last}
    assert {key: lots for key, lots in due.items() if key in tradable} == filled  # all but where the market is closed
    opens = {symbol: np.asarray(bars.open)[0, :, place] for place, symbol in enumerate(bars.symbols)}
    spread = {symbol: np.asarray(bars.spread)[0, :, place] for place, symbol in enumerate(bars.symbols)}
    for opened, symbol, lots, price in fills:
        row = int(np.searchsorted(bars.timestamps, opened))
        assert price >= opens[symbol][row] * (1 - 1e-6) + (spread[symbol][row] if lots > 0 else -np.inf) or lots < 0
        assert lots > 0 or price <= opens[symbol][row] * (1 + 1e-6)


def test_bar_by_bar_and_many_at_once_book_the_same(run, desk, bars, whole, tmp_path):
    path = tmp_path / "slow.sqlite"
    with Ledger(path, about(run, desk), durable=False) as ledger:
        first, last = int(bars.timestamps[301]), int(bars.timestamps[340])
        list(replay(PaperTrader(desk, ledger), bars, first, last, MadeClock(), 1.0))
        trader = PaperTrader(desk, ledger)  # a process that was started again, and goes on at full speed
        list(replay(trader, bars, first, int(bars.timestamps[-1]), MadeClock()))
    mine, theirs = contents(path), contents(whole)
    mine["events"] = [row for row in mine["events"] if "goes on" not in row[-1]]
    for name in TABLES:
        begin = 1 if name == "events" else 0  # without their numbers
        assert [row[begin:] for row in mine[name]] == [row[begin:] for row in theirs[name]], name


@pytest.mark.slow
def test_a_killed_replay_goes_on_and_repeats_nothing(run, bar_folder, bars, whole, tmp_path):
    path, killed = tmp_path / "killed.sqlite", 0
    days = moment(int(bars.timestamps[301])), moment(int(bars.timestamps[-1]))
    command = [sys.executable, "-m", "mtquant_jax", "paper", "--run-dir", str(run.paths.run_dir), "--source"]
    command += [str(bar_folder), "--ledger", str(path), "--replay", *days, "--speed", "200", "--quiet"]
    generator = random.Random(3)
    for _ in range(12):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=os.environ)
        before = _booked(path)
        while process.poll() is None and _booked(path) < before + 5:
            time.sleep(0.05)
        time.sleep(generator.random() * 0.3)
        if process.poll() is None and killed < 2:
            process.send_signal(signal.SIGKILL)
            killed += 1
        out = process.communicate(timeout=240)[0].decode()
        if process.returncode == 0:
            break
    assert process.returncode == 0, out
    assert killed == 2
    mine, theirs = contents(path), contents(whole)
    for name in ("bars", "decisions", "orders", "fills", "equity", "state"):
        assert mine[name] == theirs[name], name


def _booked(path: Path) -> int:
    try:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as file:
            return int(file.execute("SELECT COUNT(*) FROM bars").fetchone()[0])
    except sqlite3.Error:
        return 0


class Growing:
    """A source whose bars come with the clock, and whose next answers may be changed."""

    def __init__(self, bars: Bars) -> None:
        self.bars, self.broken = bars, 0

    def read(self, now: int) -> Bars:
        if self.broken:
            self.broken -= 1
            raise OSError("the disk is away")
        return first_bars(self.bars, int(np.searchsorted(self.bars.timestamps, now - 3600, side="right")))


def test_a_late_writer_does_not_put_trading_an_hour_behind(run, desk, bars, tmp_path):
    class Slow(Growing):
        def read(self, now: int) -> Bars:
            return super().read(now - 25)  # every bar is written 25 s after its close

    clock, times = MadeClock(int(bars.timestamps[301]) + 6), []
    with Ledger(tmp_path / "slow.sqlite", about(run, desk), durable=False) as ledger:
        for one in trade_on(PaperTrader(desk, ledger), Slow(bars), clock, print, bars=5):
            times.append(clock.time - one.time - 3600)
    assert max(times[1:]) < 60


def test_a_bar_is_known_once_its_file_was_written_after_its_close(bars):
    last = next(row for row in range(399, 600) if np.asarray(bars.tradable)[0, row - 1 : row + 1, 0].all())
    part, close = first_bars(bars, last + 1), int(bars.timestamps[last]) + 3600
    written = dict.fromkeys(bars.symbols, close + 1.0)
    assert settled(part, written, 3600, close + 600, "NewYork+7")[0] is part
    written["EURUSD"] = close - 1800.0  # the running bar, as it was half an hour before
    found, notes = settled(part, written, 3600, close + 5, "NewYork+7")
    assert len(found.timestamps) == last and "is waited for: no " in notes[0] and "EURUSD" in notes[0]
    found, notes = settled(part, written, 3600, close + 600, "NewYork+7")
    assert len(found.timestamps) == last + 1 and not found.tradable[0, -1, 0]
    assert found.close[0, -1, 0] == np.asarray(part.close)[0, -2, 0]
    assert "EURUSD: the last price is carried, and orders wait" in notes[0]


def test_bars_are_traded_as_they_come(run, desk, bars, whole, tmp_path):
    path, source = tmp_path / "live.sqlite", Growing(bars)
    clock, heard = MadeClock(int(bars.timestamps[300]) + 3600), []
    with Ledger(path, about(run, desk), durable=False) as ledger:
        booked = []
        for one in trade_on(PaperTrader(desk, ledger), source, clock, heard.append, bars=30):
            booked.append(one)
            source.broken = 2 if len(booked) == 5 else source.broken
    assert [one.time for one in booked] == bars.timestamps[300:330].tolist()
    assert len(heard) == 1 and "the disk is away" in heard[0]
    mine, theirs = contents(path), contents(whole)
    for name in ("fills", "equity"):
        until = [row for row in theirs[name] if row[0] <= booked[-1].time]
        assert mine[name] == until, name


def test_what_is_odd_is_noted_and_decisions_stand(run, desk, bars, tmp_path):
    path = tmp_path / "odd.sqlite"
    now = int(bars.timestamps[310]) + 3600
    (week_before,) = np.flatnonzero(bars.timestamps == bars.timestamps[307] - 7 * 86_400)
    open_then = np.asarray(bars.tradable)[0, [week_before, 307]].all(axis=0)
    gone = next(symbol for symbol, is_open in zip(bars.symbols, open_then, strict=True) if is_open)
    with Ledger(path, about(run, desk), durable=False) as ledger:
        trader = PaperTrader(desk, ledger)
        trader.trade(first_bars(bars, 306), int(bars.timestamps[305]) + 3600)
        gap = dataclasses.replace(  # bar 308 does not come, and 307 without one of them
            bars,
            timestamps=np.delete(bars.timestamps, 308),
            **{
                name: np.delete(np.asarray(getattr(bars, name)), 308, axis=1).copy()
                for name in ("open", "high", "low", "close", "spread", "volume", "tradable")
            },
        )
        gap.tradable[0, 307, bars.symbols.index(gone)] = False
        trader.trade(first_bars(gap, 310), now)
        decisions = contents(path)["decisions"]
        close = np.array(bars.close)
        close[0, 306, 0] += 0.001
        revised = dataclasses.replace(bars, close=close)  # all come, and EURUSD is another than it was
        assert trader.trade(first_bars(revised, 311), now) == []
        assert trader.trade(first_bars(revised, 311), now + 60) == []  # and are noted once
        assert contents(path)["decisions"] == decisions
        events = [(event.kind, event.time, event.text) for event in ledger.events()]
    times = bars.timestamps
    (missing,) = [text for kind, time, text in events if kind == "missing" and time == int(times[307])]
    assert gone in missing and missing.endswith("; the last price is carried")
    assert ("missing", int(times[309]), f"1 after {moment(times[307])} did not come") in events
    assert ("late", int(times[308]), "came after later bars had been decided on; it is left out") in events
    assert ("late", int(times[307]), f"its {gone} came after the decision, which stands") in events
    (revision,) = [text for kind, time, text in events if kind == "revised" and time == int(times[306])]
    assert revision.startswith("EURUSD: close ") and revision.endswith("; the decision stands")
    assert len([event for event in events if event[0] == "late" and event[1] == int(times[306])]) == 1


def test_a_ledger_of_something_else_is_refused(run, desk, whole, tmp_path):
    with pytest.raises(UserError, match="is of another account"):
        Ledger(whole, about(run, desk) | {"account": "5 EUR"})
    (tmp_path / "no.sqlite").write_text("no database" * 100)
    with pytest.raises(UserError, match="is no ledger of paper trading"):
        Ledger(tmp_path / "no.sqlite", {})
    with pytest.raises(UserError, match="there is no ledger"):
        open_ledger(tmp_path / "absent.sqlite", {})
    with pytest.raises(UserError, match="is of another account"):
        open_ledger(whole, {"account": "5 EUR"})
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE mine (x)")
    with pytest.raises(UserError, match="holds something else"):
        Ledger(tmp_path / "other.sqlite", {})


def test_one_process_books_at_a_time(run, desk, bars, tmp_path):
    path = tmp_path / "one.sqlite"
    with Ledger(path, about(run, desk), durable=False) as ledger:
        first = PaperTrader(desk, ledger)
        first.trade(first_bars(bars, 303), None, int(bars.timestamps[300]))
        with pytest.raises(UserError, match="another process books in"):
            Ledger(path, about(run, desk))
        second = PaperTrader(desk, ledger)
        second.trade(first_bars(bars, 306), None)
        first.trade(first_bars(bars, 309), None)  # which knows that somebody else went on
    with Ledger(tmp_path / "alone.sqlite", about(run, desk), durable=False) as ledger:
        PaperTrader(desk, ledger).trade(first_bars(bars, 309), None, int(bars.timestamps[300]))
    for name in ("equity", "orders", "fills", "decisions"):
        assert contents(path)[name] == contents(tmp_path / "alone.sqlite")[name], name


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("UPDATE bars SET prices = '{' WHERE time = (SELECT MIN(time) FROM bars)", "are damaged"),
        ("DELETE FROM state", "its state is not of its last bar"),
        ("UPDATE state SET arrays = zeroblob(100)", "arrays are damaged"),
    ],
)
def test_damage_is_a_sentence(run, desk, bars, whole, tmp_path, damage, message):
    path = tmp_path / "damaged.sqlite"
    path.write_bytes(whole.read_bytes())
    with sqlite3.connect(path) as file:
        file.execute(damage)
    with pytest.raises(UserError, match=message), Ledger(path, about(run, desk)) as ledger:
        PaperTrader(desk, ledger).trade(bars, None)
        booked_bars(ledger, bars)


def test_a_stopped_out_account_decides_nothing_more(run, desk, bars):
    following = desk.begin(bars, 300)
    following.follow(first_bars(bars, 310))
    progress = following.state.progress
    ended = dataclasses.replace(progress, terminated=np.ones_like(np.asarray(progress.terminated)))
    following.state = dataclasses.replace(following.state, progress=ended)
    found = following.follow(between(bars, 310, 330))
    assert not np.asarray(found.decisions.order).any() and not np.asarray(found.decisions.target).any()
    assert np.asarray(found.outcomes.terminated).all()


def test_a_booking_is_kept_whole_or_not_at_all(tmp_path):
    with Ledger(tmp_path / "one.sqlite", {"training": "x"}) as ledger:
        with pytest.raises(RuntimeError), ledger.booking():
            ledger.note(1, [Event("notice", 1, "half")])
            raise RuntimeError
        assert ledger.events() == []
        with ledger.booking():
            assert len(ledger.note(1, [Event("notice", 1, "whole"), Event("notice", 1, "whole")])) == 1
        assert [event.text for event in ledger.events()] == ["whole"]


def test_arrays_are_packed_exactly():
    arrays = {"a": np.float32([[1.5, np.nan]]), "b": np.array(3, np.int32), "c": np.zeros((0, 2), bool)}
    found = unpacked(packed(arrays))
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(UserError, match="arrays are damaged"):
        unpacked(packed(arrays)[:-5])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--speed", "fast"), "--speed 'fast' is neither max nor a number"),
        (("--replay", "2001-01-01", "2001-02-01"), "--replay: no bars from 2001-01-01"),
        (("--replay", "1.1.2024", "2001-02-01"), "--replay '1.1.2024' is no time"),
    ],
)
def test_refusals_are_one_line(run, bar_folder, tmp_path, capsys, flags, message):
    base = ("paper", "--run-dir", str(run.paths.run_dir), "--source", str(bar_folder), "--ledger", str(tmp_path / "l"))
    assert main([*base, *flags]) == 2
    assert message in capsys.readouterr().err


def report_of(*failed: str, days: int = DAYS) -> PaperReport:
    gates = tuple(Gate(name, name not in failed, "") for name in ("days", "return", "drift"))
    return PaperReport("", "", 1, days, 0.0, 0.0, 0.0, 0.0, None, {}, gates)


def test_the_gate_says_what_to_do():
    assert report_of().verdict.startswith("30 trading days and all conditions hold: the next stage is a demo account")
    assert report_of("days", days=12).verdict.startswith("go on with paper trading: 12 of 30")
    assert report_of("days", "drift", days=12).verdict.startswith("stop and look before you go on (drift)")


def test_the_report_stands_beside_the_simulator(run, bar_folder, whole, tmp_path, capsys):
    flags = ("--run-dir", str(run.paths.run_dir), "--source", str(bar_folder), "--ledger", str(whole))
    assert main(["paper", "report", *flags, "--output", str(tmp_path), "--draws", "100"]) == 0
    out = capsys.readouterr().out
    assert "ledger and simulator differ by up to 0.0e+00" in out and "of 30 trading days" in out
    assert (tmp_path / "report.html").is_file() and (tmp_path / "report.json").is_file()


@pytest.mark.slow
def test_two_years_of_real_bars_are_traded_as_the_evaluator_does(run, real_data, tmp_path):
    """Whatever the training, the paper path decides in every bar what the backtest of all bars decides."""
    import jax

    from mtquant_jax.backtest.trading import backtest
    from mtquant_jax.evaluation.evaluation_bars import prepare_evaluation_bars
    from mtquant_jax.runs.trading_policy import load_policy
    from mtquant_jax.simulation.market_params import evaluation_params, portfolio_params
    from mtquant_jax.training import phases

    desk = desk_of(run, str(real_data))
    bars = read_history(desk)
    judged = prepare_evaluation_bars(run, str(real_data), "all")
    policy, agent = load_policy(run.paths.run_dir).policy, phases.hierarchy_agent(run.config, judged.market)
    env_params = evaluation_params(portfolio_params(run.config, judged.market))
    first = judged.first + 1_000
    record = jax.device_get(
        backtest(
            phases.hierarchy_env(run.config),
            agent,
            len(bars.timestamps) - 1 - first,
            policy.params,
            policy.normalizers,
            env_params,
            np.int32(first),
            detailed=True,
        )
    )
    with Ledger(tmp_path / "real.sqlite", about(run, desk), durable=False) as ledger:
        begin = int(bars.timestamps[first + 1])
        list(replay(PaperTrader(desk, ledger), bars, begin, int(bars.timestamps[-1]) + 1, MadeClock()))
        found = ledger.records()
        assert len(ledger.table("orders", "time, symbol")) > 1_000
    assert len(found) == len(record.equity) - 1 > 12_000
    units = np.stack([arrays["detail.units"] for _, arrays in found])
    np.testing.assert_array_equal(units, record.detail.units)
