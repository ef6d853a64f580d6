"""The Expert Advisor in a terminal in memory: it decides as the desk does, sends what is missing once, and stops."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from mtquant_jax.evaluation.tables import trade_columns
from tests.deploy.mql5.conftest import MAGIC

FIRST, COUNT = 300, 30
MORNING = 304  # two o'clock on the server's clock


@pytest.fixture(scope="module")
def decisions(trading_desk, walk):
    """What the desk decides over the same bars, from the first one that the Expert Advisor reads."""
    import dataclasses

    columns = ("open", "high", "low", "close", "spread", "volume", "tradable")
    following = trading_desk.begin(walk, FIRST)
    cut = dataclasses.replace(
        walk,
        timestamps=walk.timestamps[: FIRST + COUNT + 5],
        **{name: getattr(walk, name)[:, : FIRST + COUNT + 5] for name in columns},
    )
    return following.follow(cut)


def test_it_decides_as_the_desk_and_holds_what_it_wants(chart, decisions) -> None:
    assert chart.start(FIRST) == 0, chart.log()
    for index in range(FIRST, FIRST + COUNT):
        chart.step(index)
        expected = decisions.decisions.permitted[index]
        np.testing.assert_allclose(chart.weights(), expected, atol=2e-6, err_msg=chart.log())
        np.testing.assert_allclose(chart.lots(), chart.wanted(), atol=1e-9)
    assert np.any(chart.wanted() != 0.0)
    equity = chart.terminal.library.advisor_equity()
    assert equity == pytest.approx(float(decisions.outcomes.row["equity"][FIRST + COUNT - 1, 0]), abs=1e-6)


def test_nothing_is_sent_twice(chart) -> None:
    chart.start(FIRST)
    chart.look(12)
    sent, lots = chart.sent(), chart.lots()
    chart.look(40)
    assert chart.sent() == sent > 0
    assert chart.restart() == 0
    chart.look(20)
    assert chart.sent() == sent
    np.testing.assert_array_equal(chart.lots(), lots)


def test_every_order_is_checked_before_it_is_sent(chart) -> None:
    chart.start(FIRST)
    chart.look(12)
    assert int(chart.terminal.do("terminal_checked")) >= chart.sent() > 0


def test_bars_missed_while_it_was_off_are_caught_up(chart, decisions) -> None:
    chart.start(FIRST)
    chart.look(12)
    chart.step(FIRST + 1)
    assert chart.restart(FIRST + 6) == 0
    chart.look(12)
    np.testing.assert_allclose(chart.weights(), decisions.decisions.permitted[FIRST + 6], atol=2e-6)
    np.testing.assert_allclose(chart.lots(), chart.wanted(), atol=1e-9)


def test_no_order_is_sent_long_after_the_open(chart) -> None:
    chart.start(FIRST)
    chart.close(FIRST, seconds=1800)
    chart.look(12)
    assert chart.sent() == 0
    chart.step(FIRST + 1)
    assert chart.sent() > 0


@pytest.mark.parametrize("code", [10004, 10020, 10021, 10024, 10031])
def test_codes_that_may_pass_are_tried_again(chart, code: int) -> None:
    chart.start(FIRST)
    for _ in range(3):
        chart.terminal.library.terminal_answer(code)
    chart.look(12)
    np.testing.assert_allclose(chart.lots(), chart.wanted(), atol=1e-9)


def test_tries_are_bounded(chart) -> None:
    chart.start(FIRST)
    for _ in range(400):
        chart.terminal.library.terminal_answer(10004)
    chart.look(40)
    orders = int((chart.wanted() != 0.0).sum())
    assert chart.sent() == 4 * orders  # one and three more of each, and none until the next bar
    assert not chart.lots().any()


def test_a_refusal_is_not_repeated_within_a_bar(chart) -> None:
    chart.start(FIRST)
    for _ in range(400):
        chart.terminal.library.terminal_answer(10019)
    chart.look(40)
    assert chart.sent() == int((chart.wanted() != 0.0).sum())


def test_after_a_timeout_positions_are_looked_at_first(chart) -> None:
    chart.start(FIRST)
    for _ in range(3):
        chart.terminal.library.terminal_answer(10012)  # the terminal executes it all the same
    chart.look(20)
    np.testing.assert_allclose(chart.lots(), chart.wanted(), atol=1e-9)
    assert chart.sent() == int((chart.wanted() != 0.0).sum())


def test_another_filling_mode_is_tried_where_the_first_is_refused(chart) -> None:
    for one in chart.instruments:
        chart.terminal.library.terminal_filling(one.symbol.encode(), 3)
    chart.start(FIRST)
    chart.terminal.library.terminal_answer(10030)
    chart.look(12)
    np.testing.assert_allclose(chart.lots(), chart.wanted(), atol=1e-9)


def test_a_day_s_loss_closes_everything_until_the_next_day(chart) -> None:
    chart.start(MORNING)
    chart.look(12)
    assert chart.lots().any()
    chart.account(equity=97_000.0)  # 6 % of the half that is traded with
    chart.look(12)
    assert not chart.lots().any()
    assert "Kill switch: the day's loss is 6.00 %" in chart.log()
    sent = chart.sent()
    chart.step(MORNING + 1)
    assert chart.sent() == sent
    chart.step(MORNING + 25)
    assert chart.lots().any()


def test_a_loss_of_equity_closes_everything_for_good(chart) -> None:
    chart.start(FIRST)
    chart.look(12)
    chart.account(equity=87_000.0)
    chart.look(12)
    chart.step(FIRST + 40)
    assert not chart.lots().any()
    assert chart.restart() == 0
    chart.look(12)
    assert not chart.lots().any()
    chart.terminal.set(InpClearStop=True)
    assert chart.restart(FIRST + 41) == 0
    chart.look(12)
    assert chart.lots().any()


def test_a_global_variable_stops_it_by_hand(chart) -> None:
    chart.start(FIRST)
    chart.look(12)
    chart.terminal.do("terminal_global", f"MTQuant.stop.{MAGIC}", 1.0)
    chart.look(12)
    assert not chart.lots().any()


def test_a_closed_session_waits(chart) -> None:
    chart.start(FIRST)
    for one in chart.instruments:
        chart.terminal.library.terminal_session(one.symbol.encode(), 0)
    chart.look(12)
    assert chart.sent() == 0 and chart.wanted().any()
    assert any(row.note == "the session is closed" for row in chart.table("decisions"))
    for one in chart.instruments:
        chart.terminal.library.terminal_session(one.symbol.encode(), 1)
    chart.look(12)
    np.testing.assert_allclose(chart.lots(), chart.wanted(), atol=1e-9)


def test_a_wide_spread_holds_back_what_adds_risk_and_nothing_else(chart) -> None:
    chart.start(FIRST)
    _widen(chart, FIRST)
    chart.look(12)
    assert chart.sent() == 0 and chart.wanted().any()
    assert any(row.note == "the spread is too large" for row in chart.table("decisions"))
    chart.close(FIRST)
    chart.look(12)
    assert chart.lots().any()
    _widen(chart, FIRST)
    chart.terminal.do("terminal_global", f"MTQuant.stop.{MAGIC}", 1.0)
    chart.look(12)
    assert not chart.lots().any()


def _widen(chart, index: int) -> None:
    for column, one in enumerate(chart.instruments):
        bid = float(chart.walk.open[0, index + 1, column])
        chart.terminal.do("terminal_quote", one.symbol, bid, bid + 1000.0 * one.point)


def test_a_bar_that_must_exist_is_waited_for(chart, decisions) -> None:
    chart.start(FIRST)
    chart.look(12)
    chart.terminal.library.terminal_hold(1)  # the terminal makes no new bars
    chart.close(FIRST + 1)
    chart.look(12)
    assert "History is not complete yet" in chart.log()
    chart.terminal.library.terminal_hold(0)
    chart.look(12)
    np.testing.assert_allclose(chart.weights(), decisions.decisions.permitted[FIRST + 1], atol=2e-6)


def test_a_dry_run_sends_nothing_and_writes_its_trades(chart) -> None:
    chart.terminal.set(InpDryRun=True)
    chart.account(real=True)
    assert chart.start(FIRST) == 0
    for index in range(FIRST, FIRST + COUNT):
        chart.step(index)
    assert chart.sent() == 0
    assert not chart.lots().any()
    assert any(row.note == "dry run" for row in chart.table("decisions.dry"))


def test_a_real_account_needs_its_login(chart) -> None:
    chart.account(real=True)
    assert chart.start(FIRST) == 1
    assert "not a demo account" in chart.log()
    chart.terminal.set(InpRealLogin=1)
    assert chart.start(FIRST) == 0


def test_positions_of_others_are_left_alone(chart) -> None:
    chart.close(FIRST)
    symbol = chart.instruments[0].symbol
    chart.terminal.library.terminal_deal(symbol.encode(), _double(0.5), _long(77))
    assert chart.start(FIRST) == 0
    chart.look(12)
    assert chart.lots(magic=77)[0] == 0.5
    assert chart.lots()[0] == 0.0
    assert "another magic number" in chart.log()


def test_a_position_closed_by_hand_is_seen(chart) -> None:
    chart.start(FIRST)
    chart.look(12)
    index = int(np.flatnonzero(chart.lots())[0])
    symbol = chart.instruments[index].symbol
    chart.terminal.library.terminal_deal(symbol.encode(), _double(-chart.lots()[index]), _long(0))
    chart.step(FIRST + 1)
    np.testing.assert_allclose(chart.lots(), chart.wanted(), atol=1e-9)
    assert any(row.symbol == symbol for row in chart.table("trades"))


def test_a_hedging_account_holds_one_direction(chart, decisions) -> None:
    chart.account(hedging=True)
    chart.start(FIRST)
    for index in range(FIRST, FIRST + COUNT):
        chart.step(index, looks=40)
        np.testing.assert_allclose(chart.lots(), chart.wanted(), atol=1e-9)
    np.testing.assert_allclose(chart.weights(), decisions.decisions.permitted[FIRST + COUNT - 1], atol=2e-6)


def test_trades_are_written_as_an_evaluation_writes_them(chart) -> None:
    chart.start(FIRST)
    for index in range(FIRST, FIRST + COUNT):
        chart.step(index)
    chart.terminal.do("terminal_global", f"MTQuant.stop.{MAGIC}", 1.0)
    chart.look(12)
    text = str(chart.terminal.do("terminal_file", f"MTQuant\\test.{MAGIC}.trades.csv"))
    header = next(csv.reader(io.StringIO(text)))
    assert header == list(trade_columns([], [], [], []))
    rows = chart.table("trades")
    assert rows
    for row in rows:
        parts = [float(getattr(row, name)) for name in ("price_profit", "spread", "commission", "slippage", "swap")]
        assert parts[0] - parts[1] - parts[2] - parts[3] + parts[4] == pytest.approx(float(row.profit), abs=0.03)
    total = sum(float(row.profit) for row in rows)
    library = chart.terminal.library
    assert total == pytest.approx(library.terminal_result(), abs=0.01 * len(rows) + 0.01)


def test_a_damaged_state_is_refused(chart) -> None:
    chart.start(FIRST)
    chart.look(12)
    chart.terminal.do("advisor_stop")
    chart.terminal.do("advisor_forget")
    chart.terminal.do("terminal_damage", f"MTQuant\\test.{MAGIC}.state")
    assert int(chart.terminal.do("advisor_init")) == 1
    assert "is damaged or of another model" in chart.log()


def test_a_wrong_clock_is_refused(chart) -> None:
    chart.close(FIRST)
    chart.terminal.do("terminal_clock", int(chart.server[FIRST]) + 3610, 0)
    assert int(chart.terminal.do("advisor_init")) == 1
    assert "choose the right clock" in chart.log()


def test_an_unknown_symbol_is_named_and_an_alias_finds_it(chart) -> None:
    chart.terminal.set(InpSuffix=".pro")
    assert chart.start(FIRST) == 1
    assert "There is no symbol EURUSD.pro" in chart.log()
    pairs = ";".join(f"{one.symbol} = {one.symbol}" for one in chart.instruments)
    chart.terminal.set(InpAliases=pairs)
    assert chart.restart() == 0


def _double(value: float):
    import ctypes

    return ctypes.c_double(value)


def _long(value: int):
    import ctypes

    return ctypes.c_long(value)
