"""Orders at the terminal: every return code, filling modes, lots, tickets, lost answers."""

from __future__ import annotations

from typing import Any

import pytest

from mtquant_jax.deploy.broker import BrokerUnavailable, Order
from mtquant_jax.deploy.metatrader import MetaTraderBroker, MetaTraderOptions
from mtquant_jax.deploy.return_codes import CODES, Treatment, meaning
from mtquant_jax.deploy.terminal import filling_modes
from tests.deploy.fake_terminal import Answer, FakeTerminal, symbol
from tests.deploy.test_metatrader import INSTRUMENTS, WEDNESDAY

BUY = Order("EURUSD", 0.3, "test")


def account(hedging: bool = False, **options: Any) -> tuple[FakeTerminal, MetaTraderBroker]:
    terminal = FakeTerminal(WEDNESDAY, hedging=hedging)
    chosen = MetaTraderOptions(**{"magic": 42} | options)
    return terminal, MetaTraderBroker(chosen, INSTRUMENTS, terminal, terminal.now, terminal.sleep)


def held(broker: MetaTraderBroker) -> dict[int, float]:
    return {position.ticket: position.lots for position in broker.positions()}


def test_an_order_is_a_deal_at_the_quote() -> None:
    terminal, broker = account()
    done = broker.send(BUY)
    assert (done.filled, done.price, done.code, done.text) == (0.3, 1.1001, 10009, "")
    assert not done.partial and not done.uncertain and done.commission == pytest.approx(3.5 * 0.3)
    (request,) = terminal.requests
    assert request == {
        "action": 1,
        "symbol": "EURUSD.r",
        "volume": 0.3,
        "type": 0,
        "price": 1.1001,
        "deviation": 20,
        "magic": 42,
        "comment": "mtquant-jax",
        "type_time": 0,
        "type_filling": 0,
    }
    sold = broker.send(Order("EURUSD", -0.5, "test"))
    assert (sold.filled, sold.price, terminal.requests[1]["type"]) == (-0.5, 1.1, 1)
    assert list(held(broker).values()) == [-0.2]


# Return codes.

RETRIED = [code for code, known in CODES.items() if known.treatment is Treatment.RETRY]
REFUSED = [code for code, known in CODES.items() if known.treatment is Treatment.REFUSED]


def test_the_codes_that_are_tried_again_are_these_alone() -> None:
    assert sorted(RETRIED) == [10004, 10020, 10021, 10024, 10031]
    assert CODES[10012].treatment is Treatment.UNCERTAIN and CODES[10018].treatment is Treatment.LATER
    assert {10019, 10027, 10006, 10014, 10013} <= set(REFUSED)


@pytest.mark.parametrize("code", RETRIED)
@pytest.mark.parametrize("where", ["send", "check"])
def test_a_code_that_passes_is_tried_again_at_a_fresh_price(code: int, where: str) -> None:
    terminal, broker = account()
    if where == "send":
        terminal.script = [Answer(code), Answer(code)]
    else:
        terminal.checks = [code, code]
    wait = terminal.sleep

    def moving(seconds: float) -> None:
        wait(seconds)
        terminal.change("EURUSD.r", ask=round(terminal.symbols["EURUSD.r"].ask + 1e-5, 5))

    broker._connection._sleep = moving
    done = broker.send(BUY)
    assert done.filled == 0.3 and done.code == 10009 and terminal.slept == [0.5, 1.0]
    assert [request["price"] for request in terminal.requests][-1] == done.price == 1.10012


@pytest.mark.parametrize("code", RETRIED)
def test_retries_end(code: int) -> None:
    terminal, broker = account(tries=3)
    terminal.script = [Answer(code)] * 9
    done = broker.send(BUY)
    assert (done.filled, done.price, done.code, done.text) == (0.0, None, code, CODES[code].text)
    assert len(terminal.requests) == 3 and not done.uncertain and not done.later


@pytest.mark.parametrize("code", [*REFUSED, 10018, 19999])
@pytest.mark.parametrize("where", ["send", "check"])
def test_a_refusal_is_not_tried_again(code: int, where: str) -> None:
    terminal, broker = account()
    if where == "send":
        terminal.script = [Answer(code)]
    else:
        terminal.checks = [code, code]
        verdict = broker.check(BUY)
        assert not verdict.allowed and verdict.code == code and verdict.later == (code == 10018)
    done = broker.send(BUY)
    assert (done.filled, done.code) == (0.0, code) and done.text and done.later == (code == 10018)
    assert len(terminal.requests) == (where == "send") and not terminal.slept
    assert done.text == meaning(code, "Request executed" if where == "send" else "No").text


def test_check_sends_nothing() -> None:
    terminal, broker = account()
    assert broker.check(BUY).allowed and not terminal.requests


@pytest.mark.parametrize("done_later", [False, True])
def test_a_partial_fill_is_completed_or_said(done_later: bool) -> None:
    terminal, broker = account(tries=3)
    terminal.script = [Answer(10010, 0.1)] if done_later else [Answer(10010, 0.1), Answer(10004), Answer(10004)]
    done = broker.send(BUY)
    assert done.partial == (not done_later) and done.filled == (0.3 if done_later else 0.1)
    assert [request["volume"] for request in terminal.requests][:2] == [0.3, 0.2]
    assert sum(held(broker).values()) == done.filled
    assert done.text == ("" if done_later else CODES[10004].text)
    assert done.commission == pytest.approx(3.5 * done.filled)


def test_the_price_of_several_fills_is_their_mean() -> None:
    terminal, broker = account()
    terminal.script = [Answer(10010, 0.1)]
    broker._connection._sleep = lambda seconds: terminal.change("EURUSD.r", ask=1.2)
    assert broker.send(BUY).price == pytest.approx((1.1001 * 0.1 + 1.2 * 0.2) / 0.3)


def test_the_price_is_that_of_the_deals() -> None:
    terminal, broker = account()
    terminal.script = [Answer(10009, slip=0.0002)]
    assert broker.send(BUY).price == pytest.approx(1.1003)


# Answers that do not come.


@pytest.mark.parametrize("code", [10012, 10008, None])
@pytest.mark.parametrize("executed", [0.0, 0.1, 0.3])
def test_an_order_that_may_have_been_executed_is_never_sent_again(code: int | None, executed: float) -> None:
    terminal, broker = account()
    terminal.script = [Answer(code, executed)]
    done = broker.send(BUY)
    assert len(terminal.requests) == 1
    assert done.filled == executed and done.uncertain == (executed < 0.3)
    assert bool(done.text) == done.uncertain


def test_an_answer_lost_with_the_connection_is_found_in_the_positions() -> None:
    terminal, broker = account()
    terminal.script = [Answer(None, 0.3, outage=2)]
    done = broker.send(BUY)
    assert (done.filled, done.uncertain, len(terminal.requests)) == (0.3, False, 1)


def test_an_answer_lost_with_a_connection_that_stays_lost_is_uncertain() -> None:
    terminal, broker = account(tries=2)
    terminal.script = [Answer(None, 0.3, outage=99)]
    done = broker.send(BUY)
    assert (done.filled, done.uncertain, len(terminal.requests)) == (0.0, True, 1)


def test_positions_of_others_do_not_count_on_a_hedging_account() -> None:
    terminal, broker = account(hedging=True)
    terminal.hold("EURUSD.r", 0.3, 7)
    terminal.script = [Answer(10012)]
    assert broker.send(BUY).filled == 0.0


def test_what_others_trade_meanwhile_is_not_taken_for_an_opposite_fill() -> None:
    terminal, broker = account()
    terminal.script = [Answer(10012)]
    broker._connection._sleep = lambda seconds: None if terminal.positions else bool(terminal.hold("EURUSD.r", -1, 7))
    done = broker.send(BUY)
    assert done.filled == 0.0 and done.uncertain


def test_an_answer_without_volume_is_not_taken_for_a_fill() -> None:
    terminal, broker = account()
    terminal.script = [Answer(10009, 0.3, reported=False)]
    assert broker.send(BUY).filled == 0.3  # by the deals
    terminal.script = [Answer(10009, 0.0, reported=False)]
    done = broker.send(BUY)
    assert done.filled == 0.0 and done.uncertain


def test_a_connection_lost_before_the_order_is_an_error_and_nothing_is_sent() -> None:
    terminal, broker = account()
    broker.contracts(["EURUSD"])
    terminal.outage = 99
    with pytest.raises(BrokerUnavailable):
        broker.send(BUY)
    assert not terminal.requests


def test_a_connection_lost_between_two_parts_keeps_the_first() -> None:
    terminal, broker = account()
    terminal.script = [Answer(10010, 0.1, outage=99)]
    done = broker.send(BUY)
    assert done.filled == 0.1 and "no connection" in done.text


# Filling modes.


@pytest.mark.parametrize(
    ("mask", "execution", "accepted", "tried"),
    [
        (3, 2, 0, [0]),
        (2, 2, 1, [1]),
        (1, 2, 0, [0]),
        (0, 3, 2, [2]),
        (0, 0, 2, [2]),
        (3, 2, 1, [1]),
        (1, 2, 1, [1]),  # the bit mask is wrong
        (0, 2, 2, [2]),
    ],
)
def test_a_filling_mode_that_the_broker_accepts_is_found(
    mask: int, execution: int, accepted: int, tried: list[int]
) -> None:
    terminal, broker = account()
    terminal.change("EURUSD.r", filling_mode=mask, trade_exemode=execution)
    terminal.accepts["EURUSD.r"] = (accepted,)
    assert broker.send(BUY).filled == 0.3
    assert [request["type_filling"] for request in terminal.requests] == tried
    assert broker.send(BUY).filled == 0.3 and terminal.requests[-1]["type_filling"] == accepted


@pytest.mark.parametrize(
    ("mask", "execution", "modes"),
    [
        (3, 2, (0, 1, 2)),
        (1, 2, (0, 1, 2)),
        (2, 2, (1, 0, 2)),
        (0, 2, (0, 1, 2)),
        (0, 3, (2, 0, 1)),
        (2, 1, (1, 2, 0)),
        (1, 0, (0, 2, 1)),
        (4, 2, (0, 1, 2)),  # book or cancel is for pending orders
    ],
)
def test_allowed_filling_modes_come_first(mask: int, execution: int, modes: tuple[int, ...]) -> None:
    assert filling_modes(symbol("X", "EUR", "USD", 1.1, 5, filling_mode=mask, trade_exemode=execution)) == modes


def test_a_filling_mode_that_only_the_server_refuses_is_changed() -> None:
    terminal, broker = account()
    terminal.script = [Answer(10030)]
    assert broker.send(BUY).filled == 0.3
    assert [request["type_filling"] for request in terminal.requests] == [0, 1] and not terminal.slept


def test_a_symbol_without_a_filling_mode_is_refused() -> None:
    terminal, broker = account()
    terminal.accepts["EURUSD.r"] = ()
    done = broker.send(BUY)
    assert (done.filled, done.code) == (0.0, 10030) and not terminal.requests


# Lots, tickets and modes of trading.


@pytest.mark.parametrize(
    ("lots", "sent"), [(0.309, [0.3]), (-0.0199, [0.01]), (120.0, [50.0, 50.0, 20.0]), (0.1 + 0.2, [0.3])]
)
def test_lots_are_those_of_the_symbol(lots: float, sent: list[float]) -> None:
    terminal, broker = account()
    done = broker.send(Order("EURUSD", lots))
    assert [request["volume"] for request in terminal.requests] == sent
    assert abs(done.filled) == sum(sent)


def test_less_than_the_smallest_order_is_refused() -> None:
    terminal, broker = account()
    terminal.change("EURUSD.r", volume_min=0.1)
    verdict = broker.check(Order("EURUSD", 0.09))
    assert not verdict.allowed and "less than the smallest order, 0.1" in verdict.text
    assert broker.send(Order("EURUSD", 0.09)).filled == 0.0 and not terminal.requests


def test_a_position_is_closed_by_its_ticket() -> None:
    terminal, broker = account(hedging=True)
    first, second = terminal.hold("EURUSD.r", 0.2, 42), terminal.hold("EURUSD.r", 0.3, 42)
    assert broker.send(Order("EURUSD", -0.1, "test", second)).filled == -0.1
    assert terminal.requests[0]["position"] == second
    assert held(broker) == {first: 0.2, second: pytest.approx(0.2)}
    broker.send(Order("EURUSD", -0.2, "test", first))
    assert list(held(broker)) == [second]
    broker.send(Order("EURUSD", -0.2, "test"))  # without a ticket, one is opened beside it
    assert sorted(held(broker).values()) == [-0.2, 0.2]


@pytest.mark.parametrize(
    ("mode", "hedging", "position", "lots", "code"),
    [
        (0, False, 0.0, 0.1, 10017),
        (1, False, 0.0, -0.1, 10042),
        (1, False, 0.2, -0.1, 0),
        (1, False, 0.2, -0.3, 10042),
        (1, False, 0.0, 0.1, 0),
        (2, False, 0.0, 0.1, 10043),
        (2, False, 0.0, -0.1, 0),
        (3, False, 0.2, -0.2, 0),
        (3, False, 0.2, 0.1, 10044),
        (3, False, 0.2, -0.3, 10044),
        (3, True, 0.2, -0.2, 10044),  # without a ticket it would open one
        (1, True, 0.2, -0.2, 10042),
    ],
)
def test_the_symbols_mode_of_trading_is_kept(mode: int, hedging: bool, position: float, lots: float, code: int) -> None:
    terminal, broker = account(hedging=hedging)
    if position:
        terminal.hold("EURUSD.r", position, 42)
    terminal.change("EURUSD.r", trade_mode=mode)
    verdict = broker.check(Order("EURUSD", lots))
    assert (verdict.allowed, verdict.code) == (code == 0, code)


def test_a_ticket_can_be_closed_while_nothing_may_be_opened() -> None:
    terminal, broker = account(hedging=True)
    ticket = terminal.hold("EURUSD.r", 0.2, 42)
    terminal.change("EURUSD.r", trade_mode=3)
    assert broker.check(Order("EURUSD", -0.2, "test", ticket)).allowed


@pytest.mark.parametrize(
    ("fields", "allowed", "code"),
    [({}, False, 10027), ({"trade_expert": False}, True, 10026), ({"trade_allowed": False}, True, 10026)],
)
def test_a_terminal_or_account_that_forbids_programs_is_said(fields: dict[str, bool], allowed: bool, code: int) -> None:
    terminal, broker = account()
    terminal.trade_allowed = allowed
    terminal.account = terminal.account._replace(**fields)
    assert broker.check(BUY).code == code and broker.send(BUY).code == code
    assert "Algo Trading" in broker.check(BUY).text or code == 10026
    assert not terminal.requests


def test_without_a_price_nothing_is_sent() -> None:
    terminal, broker = account(tries=2)
    terminal.change("EURUSD.r", ask=0.0)
    done = broker.send(BUY)
    assert (done.code, done.filled) == (10021, 0.0) and not terminal.requests and len(terminal.slept) == 1
