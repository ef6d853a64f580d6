"""Turns of live trading on a simulated broker: orders, restarts, kill switches, and every refusal."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro

from mtquant_jax.deploy.broker import AccountState, BrokerUnavailable, Execution, Order, Position, Quote, Verdict
from mtquant_jax.deploy.live import CLOSING, DRY_RUN, OFFLINE, STOPPED, TRADED, WAITING, LiveTrading, Turn, Wanted
from mtquant_jax.deploy.rules import LiveRules, Trained
from mtquant_jax.deploy.simulated import SimulatedBroker
from mtquant_jax.errors import UserError
from mtquant_jax.evaluation.tables import trade_columns
from mtquant_jax.market.instruments import Instrument
from mtquant_jax.types import Bars
from tests.deploy.test_metatrader import HOUR, INSTRUMENTS, utc

PAIRS = ("EURUSD", "GBPUSD")
OPEN = utc("2024-03-06 08:00")  # of the first bar; a Wednesday
TRAINED = Trained(PAIRS, HOUR, 4, "USD", INSTRUMENTS)
SEND = LiveRules(send=True, magic=42)


def recorded(closed: tuple[int, ...] = (), num_bars: int = 30) -> Bars:
    """Bars whose price rises by ten points an hour; rows of ``closed`` do not trade."""
    price = np.array([1.1, 1.25]) + 0.001 * np.arange(num_bars)[:, None]
    tradable = np.ones((1, num_bars, 2), bool)
    tradable[0, list(closed)] = False
    columns = {name: price[None] for name in ("open", "high", "low", "close")}
    spread = np.full((1, num_bars, 2), 0.0001)
    times = OPEN + HOUR * np.arange(num_bars)
    return Bars(PAIRS, times, **columns, spread=spread, volume=100 * tradable, tradable=tradable)


class Rehearsed(SimulatedBroker):
    """A simulated broker with changes and failures to order."""

    def __init__(self, closed: tuple[int, ...] = (), hedging: bool = False) -> None:
        super().__init__(recorded(closed), HOUR, INSTRUMENTS, finished=4, hedging=hedging, magic=42)
        self.verdicts: dict[str, Verdict] = {}
        self.failures: list[Callable[[Order], Execution | None]] = []  # of the next sends; None: as usual
        self.offline: set[str] = set()
        self.changed: dict[str, Any] = {}  # of the account
        self.contract_changes: dict[str, Any] = {}
        self.widened: dict[str, float] = {}
        self.quote_age = 0
        self.others: list[Position] = []
        self.sent: list[tuple[str, float]] = []
        self.bars_after: Callable[[Bars], Bars] = lambda bars: bars

    def _reach(self, what: str) -> None:
        if what in self.offline:
            raise BrokerUnavailable(f"{what} is not reached")

    def account(self) -> AccountState:
        self._reach("account")
        return dataclasses.replace(super().account(), **self.changed)

    def contracts(self, symbols: Any) -> Mapping[str, Instrument]:
        found = super().contracts(symbols)
        return {name: dataclasses.replace(one, **self.contract_changes) for name, one in found.items()}

    def quotes(self, symbols: Any) -> Mapping[str, Quote]:
        found = super().quotes(symbols)
        return {
            name: Quote(q.bid, q.ask + self.widened.get(name, 0.0), q.time - self.quote_age)
            for name, q in found.items()
        }

    def bars(self, symbols: Any, seconds: int, count: int) -> Bars:
        self._reach("bars")
        return self.bars_after(super().bars(symbols, seconds, count))

    def positions(self) -> tuple[Position, ...]:
        return (*super().positions(), *self.others)

    def check(self, order: Order) -> Verdict:
        return self.verdicts.get(order.symbol) or super().check(order)

    def send(self, order: Order) -> Execution:
        self._reach(f"send {order.symbol}")
        self.sent.append((order.symbol, order.lots))
        failure = self.failures.pop(0) if self.failures else lambda order: None
        return failure(order) or super().send(order)


@dataclasses.dataclass
class Stage:
    """A broker, a model that wants given lots, and the folder between them."""

    folder: Path
    broker: Rehearsed = dataclasses.field(default_factory=Rehearsed)
    rules: LiveRules = SEND
    trained: Trained = TRAINED
    lots: dict[str, float] = dataclasses.field(default_factory=lambda: {"EURUSD": 0.3, "GBPUSD": -0.2})
    decisions: int = 0
    decide: Callable[[Bars], Wanted] | None = None

    def wanted(self, bars: Bars) -> Wanted:
        self.decisions += 1
        return Wanted(int(bars.timestamps[-1]), dict(self.lots), ("as rehearsed",))

    def turn(self, later: float = 5.0) -> Turn:
        """A turn of a program that has just been started."""
        trading = LiveTrading(self.decide or self.wanted, self.broker, self.rules, self.trained, self.folder)
        return trading.turn(self.broker.now + later)

    def next_bar(self, **lots: float) -> Turn:
        self.broker.finished += 1
        self.lots |= lots
        return self.turn()

    @property
    def held(self) -> dict[str, float]:
        return {position.symbol: position.lots for position in self.broker.positions()}

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        lines = (self.folder / "journal.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if not kinds or event["event"] in kinds]

    @property
    def heartbeat(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "heartbeat.json").read_text())
        return found

    @property
    def trades(self) -> list[dict[str, str]]:
        with (self.folder / "trades.csv").open() as stream:
            return list(csv.DictReader(stream))


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


# Trading.


def test_a_decision_is_traded_once_per_bar(stage: Stage) -> None:
    assert stage.turn().state == TRADED and stage.held == {"EURUSD": 0.3, "GBPUSD": -0.2}
    assert stage.turn().state == WAITING and stage.turn(3000.0).state == WAITING
    assert stage.decisions == 1 and len(stage.broker.sent) == 2
    assert stage.next_bar(EURUSD=0.1).state == TRADED and stage.held == {"EURUSD": 0.1, "GBPUSD": -0.2}
    assert stage.next_bar(EURUSD=0.0, GBPUSD=0.2).state == TRADED and stage.held == {"GBPUSD": 0.2}
    assert stage.broker.sent[2:] == [("EURUSD", -0.2), ("EURUSD", -0.1), ("GBPUSD", 0.4)]


def test_a_hedging_account_has_no_opposite_positions(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Rehearsed(hedging=True))
    stage.turn()
    stage.next_bar(EURUSD=0.5)
    stage.next_bar(EURUSD=-0.1)
    assert sorted((p.symbol, p.lots) for p in stage.broker.positions()) == [("EURUSD", -0.1), ("GBPUSD", -0.2)]
    assert stage.broker.sent[2:] == [("EURUSD", 0.2), ("EURUSD", -0.3), ("EURUSD", -0.2), ("EURUSD", -0.1)]


def test_a_dry_run_sends_nothing_and_says_what_it_would(stage: Stage) -> None:
    stage.rules = LiveRules(magic=42)
    made = stage.turn()
    assert made.state == DRY_RUN and not stage.held and not stage.broker.sent
    assert made.messages == (
        "EURUSD: buy 0.3 lots would be sent (dry run)",
        "GBPUSD: sell 0.2 lots would be sent (dry run)",
    )
    assert [(event["order"]["lots"], event["sent"]) for event in stage.events("order")] == [(0.3, False), (-0.2, False)]
    assert stage.turn().state == WAITING


def test_only_a_share_of_the_lots_is_traded(stage: Stage) -> None:
    stage.rules = dataclasses.replace(SEND, capital_share=0.1)
    stage.turn()
    assert stage.held == {"EURUSD": 0.03, "GBPUSD": -0.02}
    stage.next_bar(EURUSD=0.09)  # 0.009 lots are less than the smallest order
    assert stage.held == {"GBPUSD": -0.02}


def test_positions_of_others_are_left_alone_on_a_hedging_account(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Rehearsed(hedging=True))
    stage.broker.others = [Position("EURUSD", 5.0, 1.0, 900, 0), Position("XAUUSD", 1.0, 2_000.0, 901, 7)]
    stage.turn()
    (tmp_path / "STOP").touch()
    assert stage.turn().state == STOPPED
    assert stage.broker.sent == [("EURUSD", 0.3), ("GBPUSD", -0.2), ("EURUSD", -0.3), ("GBPUSD", 0.2)]


def test_files_say_what_was_done(stage: Stage) -> None:
    stage.turn()
    assert [event["event"] for event in stage.events()] == ["decision", "order", "fill", "order", "fill"]
    decision, order, fill = stage.events()[:3]
    assert decision["bar"] == "2024-03-06T11:00:00Z" and decision["lots"] == {"EURUSD": 0.3, "GBPUSD": -0.2}
    assert decision["time"] == "2024-03-06T12:00:05Z" and decision["notes"] == ["as rehearsed"]
    assert order["order"] == {"symbol": "EURUSD", "lots": 0.3, "reason": "decision", "ticket": None}
    assert fill["fill"]["price"] == pytest.approx(1.1041) and fill["partial"] is False
    stage.next_bar(EURUSD=0.0)
    stage.next_bar()
    first, second = stage.trades
    assert (first["symbol"], first["direction"], first["bars"]) == ("EURUSD", "long", "1")
    assert (first["opened"], first["closed"]) == ("2024-03-06 12:00", "2024-03-06 13:00")
    assert (first["price_profit"], first["spread"], first["profit"]) == ("30", "3", "27")
    assert (second["symbol"], second["closed"]) == ("GBPUSD", "")
    beat = stage.heartbeat
    assert beat["state"] == WAITING and beat["login"] == 1 and beat["bar"] == "2024-03-06T13:00:00Z"
    assert beat["held_before"] == {"GBPUSD": -0.2} and beat["equity"] == pytest.approx(9_985.0)
    assert beat["time"] == "2024-03-06T14:00:05Z"


def test_trades_have_the_columns_of_an_evaluation(stage: Stage) -> None:
    stage.turn()
    assert list(stage.trades[0]) == list(trade_columns([], [], [], []))


def test_what_happened_without_us_is_in_the_journal(stage: Stage) -> None:
    def killed(order: Order) -> Execution:
        SimulatedBroker.send(stage.broker, order)
        raise KeyboardInterrupt

    stage.broker.failures = [killed]
    with pytest.raises(KeyboardInterrupt):
        stage.turn()
    assert not (stage.folder / "trades.csv").exists()
    made = stage.turn()
    assert made.messages[0] == "EURUSD: +0.3 lots that the journal did not have: filled without an answer, or not by us"
    assert [(trade["symbol"], trade["open_price"]) for trade in stage.trades] == [
        ("EURUSD", "1.1041"),
        ("GBPUSD", "1.254"),
    ]
    SimulatedBroker.send(stage.broker, Order("EURUSD", -0.1))  # by hand, in the terminal
    assert stage.turn().messages[0].startswith("EURUSD: -0.1 lots that the journal did not have")
    SimulatedBroker.send(stage.broker, Order("GBPUSD", 0.2))
    stage.turn()
    assert stage.trades[1]["closed"] == "2024-03-06 12:00" and stage.trades[1]["close_price"] == "1.2541"
    assert len(stage.turn().messages) == 0


def test_swap_of_a_closed_part_is_booked(tmp_path: Path) -> None:
    class WithSwap(Rehearsed):
        def positions(self) -> tuple[Position, ...]:
            return tuple(dataclasses.replace(position, swap=-6.0) for position in super().positions())

    stage = Stage(tmp_path, WithSwap())
    stage.turn()
    stage.next_bar(EURUSD=0.1)
    assert stage.events("fill")[-1]["fill"]["swap"] == pytest.approx(-4.0)


def test_bars_that_passed_unseen_count_as_held(stage: Stage) -> None:
    stage.turn()
    stage.broker.finished += 2
    stage.next_bar(EURUSD=0.0)
    assert stage.trades[0]["bars"] == "3"


# Markets that cannot be traded now.


def test_an_order_waits_for_its_market(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Rehearsed(closed=(4, 5)))
    made = stage.turn()
    assert made.messages == ("EURUSD: put off: there is no quote", "GBPUSD: put off: there is no quote")
    stage.turn()
    assert len(stage.events("put_off")) == 2 and stage.decisions == 1  # said once
    stage.broker.finished = 6
    stage.broker.bars_after = lambda bars: dataclasses.replace(  # the market brought no bars meanwhile
        bars, timestamps=bars.timestamps - 2 * HOUR
    )
    assert stage.turn().state == TRADED and stage.decisions == 1
    assert stage.held == {"EURUSD": 0.3, "GBPUSD": -0.2}
    assert stage.turn().state == WAITING


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"widened": {"EURUSD": 0.01}}, "the spread is wider than 5 times the usual 7e-05"),
        ({"quote_age": 1_000}, "the last quote is too old, the market seems closed"),
        ({"verdicts": {"EURUSD": Verdict(False, 10018, "the market is closed", True)}}, "the market is closed"),
    ],
)
def test_what_passes_by_itself_is_waited_for(stage: Stage, change: dict[str, Any], message: str) -> None:
    before = {name: getattr(stage.broker, name) for name in change}
    for name, value in change.items():
        setattr(stage.broker, name, value)
    made = stage.turn()
    assert f"EURUSD: put off: {message}" in made.messages and "EURUSD" not in stage.held
    assert stage.heartbeat["pending"]["EURUSD"] == message
    for name, value in before.items():
        setattr(stage.broker, name, value)
    assert stage.turn().state == TRADED and stage.held == {"EURUSD": 0.3, "GBPUSD": -0.2}


def test_a_market_that_closes_while_an_order_is_sent_is_waited_for(stage: Stage) -> None:
    stage.broker.failures = [lambda order: Execution(order, 0.0, None, code=10018, text="closed", later=True)]
    assert "EURUSD: put off: closed" in stage.turn().messages
    stage.turn()
    assert stage.held == {"EURUSD": 0.3, "GBPUSD": -0.2}


@pytest.mark.parametrize("spread", [0.0, np.nan])
def test_a_quote_that_is_none_is_not_traded_on(stage: Stage, spread: float) -> None:
    stage.broker.widened = {"EURUSD": np.nan if np.isnan(spread) else -1.0}
    assert "EURUSD: put off: there is no quote" in stage.turn().messages


def test_a_newer_decision_replaces_what_was_put_off(stage: Stage) -> None:
    stage.broker.widened = {"EURUSD": 0.01}
    stage.turn()
    stage.broker.widened = {}
    stage.next_bar(EURUSD=-0.1)
    assert stage.broker.sent == [("GBPUSD", -0.2), ("EURUSD", -0.1)]


# Orders that are refused or not wholly filled.


def test_a_refused_order_is_not_tried_again_before_the_next_bar(stage: Stage) -> None:
    stage.broker.verdicts = {"EURUSD": Verdict(False, 10019, "the free margin is not enough")}
    made = stage.turn()
    assert made.messages[0] == "EURUSD: buy 0.3 lots refused: the free margin is not enough (10019)"
    assert stage.turn().state == WAITING and stage.broker.sent == [("GBPUSD", -0.2)]
    stage.broker.verdicts = {}
    stage.next_bar()
    assert stage.held == {"EURUSD": 0.3, "GBPUSD": -0.2}


def test_a_partial_fill_is_completed_at_the_next_bar(stage: Stage) -> None:
    def partly(order: Order) -> Execution:
        done = SimulatedBroker.send(stage.broker, dataclasses.replace(order, lots=0.1))
        return dataclasses.replace(done, order=order, code=10010, text="only a part of the order was filled")

    stage.broker.failures = [partly]
    made = stage.turn()
    assert "EURUSD: buy 0.3 lots, filled 0.1 at 1.1041" in made.messages
    assert "EURUSD: buy 0.3 lots, rest of it not filled: only a part of the order was filled" in made.messages
    assert stage.events("fill")[0]["partial"] is True
    stage.next_bar()
    assert stage.broker.sent[-1] == ("EURUSD", 0.2) and stage.held["EURUSD"] == pytest.approx(0.3)


@pytest.mark.parametrize("seen", [0.0, 1.0])
def test_after_no_answer_nothing_is_sent_until_the_positions_are_read_again(tmp_path: Path, seen: float) -> None:
    stage = Stage(tmp_path, Rehearsed(hedging=True))
    stage.turn()

    def silent(order: Order) -> Execution:
        SimulatedBroker.send(stage.broker, order)
        return Execution(order, seen * order.lots, None, code=10012, text="no answer in time", uncertain=True)

    stage.broker.failures = [silent]
    made = stage.next_bar(EURUSD=-0.1)  # a closing and an opening order
    assert "EURUSD: sell 0.3 lots uncertain: no answer in time" in made.messages
    assert stage.broker.sent[2:] == [("EURUSD", -0.3)] and stage.turn().state == WAITING
    stage.next_bar()
    assert stage.broker.sent[3:] == [("EURUSD", -0.1)]


def test_a_net_position_of_somebody_else_is_not_touched(stage: Stage) -> None:
    stage.broker.others = [Position("EURUSD", 1.0, 1.1, 900, 7)]
    made = stage.turn()
    assert made.messages[0] == "EURUSD: the position is not ours, and this account has one per symbol"
    assert stage.broker.sent == [("GBPUSD", -0.2)]


# A broker that cannot be reached.


def test_a_broker_that_is_not_reached_is_a_state(stage: Stage) -> None:
    for what in ("account", "bars"):
        stage.broker.offline = {what}
        made = stage.turn()
        assert (made.state, made.messages) == (OFFLINE, (f"{what} is not reached",)) and not made.finished
        assert stage.heartbeat["state"] == OFFLINE
    stage.broker.offline = set()
    assert stage.turn().state == TRADED


def test_after_a_connection_lost_between_two_orders_the_rest_is_sent_without_a_second_decision(stage: Stage) -> None:
    stage.broker.offline = {"send GBPUSD"}
    made = stage.turn()
    assert made.state == OFFLINE and stage.held == {"EURUSD": 0.3}
    assert made.messages == ("EURUSD: buy 0.3 lots, filled 0.3 at 1.1041", "send GBPUSD is not reached")
    assert stage.turn().state == OFFLINE
    stage.broker.offline = set()
    assert stage.turn().state == TRADED and stage.held == {"EURUSD": 0.3, "GBPUSD": -0.2}
    assert stage.decisions == 1 and [symbol for symbol, _ in stage.broker.sent] == ["EURUSD", "GBPUSD"]


def test_a_position_of_ours_that_the_model_does_not_trade_is_refused(stage: Stage) -> None:
    stage.broker.others = [Position("XAUUSD", 1.0, 2_000.0, 900, 42)]
    refused(stage, "a position of `magic` 42 in XAUUSD, which the model does not trade")


def test_a_program_that_is_killed_while_it_sends_goes_on_where_it_was(stage: Stage) -> None:
    def killed(order: Order) -> Execution:
        SimulatedBroker.send(stage.broker, order)
        raise KeyboardInterrupt

    stage.broker.failures = [killed]
    with pytest.raises(KeyboardInterrupt):
        stage.turn()
    assert stage.turn().state == TRADED and stage.held == {"EURUSD": 0.3, "GBPUSD": -0.2}
    assert stage.decisions == 1 and [symbol for symbol, _ in stage.broker.sent] == ["EURUSD", "GBPUSD"]


# Kill switches.


def test_a_stop_file_closes_and_stops_until_it_is_removed(stage: Stage) -> None:
    stage.turn()
    stop = stage.folder / "STOP"
    stop.touch()
    made = stage.turn()
    assert made.finished and not stage.held
    assert made.messages[0] == f"Trading stops: the file {stop} is there; remove it to trade again."
    assert {event["order"]["reason"] for event in stage.events("order")[2:]} == {made.messages[0][15:-1]}
    assert stage.next_bar().state == STOPPED and stage.decisions == 1
    stop.unlink()
    assert stage.turn().state == TRADED and stage.held == {"EURUSD": 0.3, "GBPUSD": -0.2}


def test_a_stop_file_may_be_elsewhere(stage: Stage, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    stage.rules = dataclasses.replace(SEND, stop_file=str(other))
    assert stage.turn().state == TRADED
    other.touch()
    assert stage.turn().state == STOPPED


def test_while_its_market_is_closed_a_position_waits_to_be_closed(tmp_path: Path) -> None:
    stage = Stage(tmp_path, Rehearsed(closed=(5, 6)))
    stage.turn()
    (tmp_path / "STOP").touch()
    stage.broker.finished = 5
    made = stage.turn()
    assert made.state == CLOSING and not made.finished
    assert made.messages[1:] == ("EURUSD: put off: the market is closed", "GBPUSD: put off: the market is closed")
    assert stage.turn().state == CLOSING and len(stage.events("put_off")) == 2 and len(stage.events("stop")) == 1
    stage.broker.finished = 7
    assert stage.turn().state == STOPPED and not stage.held


def test_all_is_closed_whatever_the_spread(stage: Stage) -> None:
    stage.turn()
    stage.broker.widened, stage.broker.quote_age = {"EURUSD": 1.0}, 10_000
    (stage.folder / "STOP").touch()
    assert stage.turn().state == STOPPED and not stage.held


def test_a_stop_in_a_dry_run_sends_nothing(stage: Stage) -> None:
    stage.turn()
    stage.rules = LiveRules(magic=42)
    (stage.folder / "STOP").touch()
    made = stage.turn()
    assert made.state == STOPPED and stage.held == {"EURUSD": 0.3, "GBPUSD": -0.2}
    assert "EURUSD: sell 0.3 lots would be sent (dry run)" in made.messages


@pytest.mark.parametrize(("equity", "state"), [(9_510.0, WAITING), (9_500.0, STOPPED), (-5.0, STOPPED)])
def test_the_loss_of_a_day_closes_and_stops(stage: Stage, equity: float, state: str) -> None:
    stage.turn()
    stage.broker.changed = {"equity": equity}
    made = stage.next_bar()
    assert made.state == state and bool(stage.held) == (state == WAITING)
    if state == STOPPED:
        assert made.messages[0] == "Trading stops: the loss since 10,000.00, the day's first equity, reached 5.00%."


def test_a_day_that_was_stopped_stays_so_until_the_brokers_midnight(stage: Stage) -> None:
    stage.turn()
    stage.broker.changed = {"equity": 9_000.0}
    assert stage.next_bar().state == STOPPED
    stage.broker.changed = {}  # equity came back
    assert stage.next_bar().state == STOPPED and not stage.held
    stage.broker.finished = 13  # 21:00 UTC, 23:00 at the broker
    assert stage.turn().state == STOPPED
    assert stage.next_bar().state == TRADED  # 22:00 UTC is midnight there
    assert stage.decisions == 2


def test_the_first_equity_of_a_day_is_kept_through_a_restart_and_renewed_at_midnight(stage: Stage) -> None:
    stage.turn()
    stage.broker.changed = {"equity": 9_600.0}
    assert stage.next_bar().state == WAITING and stage.heartbeat["day_equity"] == 10_000.0
    stage.broker.finished = 14
    stage.turn()
    assert stage.heartbeat["day_equity"] == 9_600.0
    stage.broker.changed = {"equity": 9_200.0}  # 8 % below the first day, 4 % below this one
    assert stage.next_bar().state == WAITING and stage.held


def test_an_equity_that_is_no_number_does_not_pass_the_limit(stage: Stage) -> None:
    stage.turn()
    stage.broker.sent.clear()
    stage.broker.changed = {"equity": np.nan}
    refused(stage, "has an equity of nan")


def test_without_a_limit_no_loss_stops(stage: Stage) -> None:
    stage.rules = dataclasses.replace(SEND, max_day_loss=0.0)
    stage.turn()
    stage.broker.changed = {"equity": 100.0}
    assert stage.next_bar().state != STOPPED


# Refusals.


def refused(stage: Stage, match: str) -> None:
    with pytest.raises(UserError, match=match):
        stage.turn()
    assert not stage.broker.sent
    assert stage.heartbeat["state"] == "refused" and stage.events()[-1]["event"] == "refused"


@pytest.mark.parametrize(
    ("account", "real_account", "message"),
    [
        ({"is_demo": False}, None, "account 1 at Simulated is no demo account; .* as `real_account`"),
        ({"is_demo": False}, 2, "`real_account` 2: account 1 at Simulated is logged in"),
        ({}, 2, "`real_account` 2: account 1 at Simulated is logged in"),
        ({"currency": "EUR"}, None, "the account is in EUR, and the model was trained on an account in USD"),
        ({"equity": np.nan}, None, "has an equity of nan"),
        ({"equity": 0.0}, None, "has an equity of 0 USD: none to trade"),
    ],
)
def test_an_account_that_is_not_meant_is_refused(
    stage: Stage, account: dict[str, Any], real_account: int | None, message: str
) -> None:
    stage.broker.changed = account
    stage.rules = dataclasses.replace(SEND, real_account=real_account)
    refused(stage, message)


def test_a_real_account_whose_login_is_given_is_traded(stage: Stage) -> None:
    stage.broker.changed = {"is_demo": False}
    stage.rules = dataclasses.replace(SEND, real_account=1)
    assert stage.turn().state == TRADED


@pytest.mark.parametrize("send", [True, False])
def test_a_kill_switch_does_not_touch_another_account(stage: Stage, send: bool) -> None:
    stage.turn()
    stage.broker.sent.clear()
    (stage.folder / "STOP").touch()
    stage.broker.changed = {"is_demo": False}
    stage.rules = dataclasses.replace(SEND, send=send)
    refused(stage, "no demo account")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contract_size": 1_000.0}, "EURUSD has the contract size 1000 at this broker, and 100000 in the training"),
        ({"profit_currency": "JPY"}, "EURUSD has the profit currency JPY at this broker, and USD"),
        ({"base_currency": "GBP"}, "EURUSD has the base currency GBP at this broker, and EUR"),
    ],
)
def test_another_contract_is_refused(stage: Stage, change: dict[str, Any], message: str) -> None:
    stage.broker.contract_changes = change
    refused(stage, message)


def test_a_missing_contract_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage.broker, "contracts", lambda symbols: {"EURUSD": INSTRUMENTS["EURUSD"]})
    refused(stage, "the broker has no contract of GBPUSD")


@pytest.mark.parametrize(
    ("bars_after", "message"),
    [
        (
            lambda bars: dataclasses.replace(bars, timestamps=bars.timestamps + HOUR),
            "bar of 2024-03-06T12:00:00Z, which ends at 2024-03-06T13:00:00Z, and it is 2024-03-06T12:00:05Z",
        ),
        (lambda bars: dataclasses.replace(bars, symbols=PAIRS[::-1]), "bars of GBPUSD, EURUSD for EURUSD, GBPUSD"),
        (lambda bars: dataclasses.replace(bars, timestamps=bars.timestamps[:0]), "the broker gave no bars"),
    ],
)
def test_bars_that_may_not_be_decided_on_are_refused(
    stage: Stage, bars_after: Callable[[Bars], Bars], message: str
) -> None:
    stage.broker.bars_after = bars_after
    refused(stage, message)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted(OPEN, {"EURUSD": 0.1, "GBPUSD": 0.1}), "is on the bar of 2024-03-06T08:00:00Z, and the newest is of"),
        (Wanted(OPEN + 3 * HOUR, {"EURUSD": 0.1}), "on all symbols of the model and no others; wrong: GBPUSD"),
        (Wanted(OPEN + 3 * HOUR, {"EURUSD": 0.1, "GBPUSD": 0.1, "X": 1.0}), "wrong: X"),
        (Wanted(OPEN + 3 * HOUR, {"EURUSD": float("nan"), "GBPUSD": 0.1}), "EURUSD is nan lots, which is no number"),
        (Wanted(OPEN + 3 * HOUR, {"EURUSD": 0.1, "GBPUSD": float("inf")}), "GBPUSD is inf lots"),
    ],
)
def test_a_decision_that_is_none_is_refused(stage: Stage, wanted: Wanted, message: str) -> None:
    stage.decide = lambda bars: wanted
    refused(stage, message)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("max_day_loss", value) for value in (-0.1, 1.0, np.nan)],
        *[("max_spread", value) for value in (-1.0, np.inf, np.nan)],
        *[("max_quote_age", value) for value in (0.0, np.nan)],
        *[("capital_share", value) for value in (0.0, 1.1, np.nan)],
        ("magic", 0),
        ("stop_file", " "),
    ],
)
def test_rules_out_of_their_range_are_refused(stage: Stage, name: str, value: Any) -> None:
    stage.rules = dataclasses.replace(SEND, **{name: value})
    with pytest.raises(UserError, match=f"`{name}` "):
        stage.turn()
    assert not stage.broker.sent


# Files.


def test_a_folder_is_of_one_account(stage: Stage) -> None:
    stage.turn()
    stage.broker.sent.clear()
    stage.broker.changed = {"login": 2}
    refused(stage, "belongs to account 1, and 2 is logged in")


@pytest.mark.parametrize("content", ["", "{}", "changed"])
def test_a_damaged_state_is_refused(stage: Stage, content: str) -> None:
    stage.turn()
    stage.broker.sent.clear()
    path = stage.folder / "state.json"
    path.write_text(content if content != "changed" else path.read_text().replace("0.3", "9.3"))
    refused(stage, "the state of live trading: .*state.json")


def test_a_line_that_a_power_cut_left_unfinished_is_dropped(stage: Stage) -> None:
    stage.turn()
    journal = stage.folder / "journal.jsonl"
    journal.write_text(journal.read_text() + '{"time": "2024')
    stage.next_bar(EURUSD=0.0)
    assert len(stage.trades) == 2 and stage.trades[0]["closed"]


def test_a_damaged_line_of_the_journal_is_named(stage: Stage) -> None:
    stage.turn()
    journal = stage.folder / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"fill"', '"fill', 1))
    stage.broker.finished += 1
    stage.lots["EURUSD"] = 0.0
    with pytest.raises(UserError, match=r"journal\.jsonl line 3 is not JSON|journal\.jsonl line 3 line 1 is not JSON"):
        stage.turn()


def test_a_folder_that_cannot_be_made_is_named(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    stage.folder = tmp_path / "file"
    with pytest.raises(UserError, match="file cannot be written"):
        stage.turn()


def test_a_table_that_is_open_elsewhere_does_not_stop_trading(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*arguments: Any) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("mtquant_jax.deploy.journal.write_csv", locked)
        patched.setattr("mtquant_jax.deploy.journal.write_json", locked)
        assert stage.turn().state == TRADED and not (stage.folder / "trades.csv").exists()
    stage.next_bar(EURUSD=0.0)
    assert [trade["symbol"] for trade in stage.trades] == ["EURUSD", "GBPUSD"]


def test_a_full_disk_is_said(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any, **content: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mtquant_jax.deploy.journal.Journal.write", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        stage.turn()
    assert not stage.broker.sent


def test_a_loss_is_remembered_although_the_connection_is_lost_in_the_same_turn(stage: Stage) -> None:
    stage.turn()
    stage.broker.changed = {"equity": 9_000.0}
    stage.broker.offline = {"send EURUSD", "send GBPUSD"}
    assert stage.next_bar().state == OFFLINE and stage.held
    stage.broker.changed, stage.broker.offline = {}, set()
    assert stage.turn().state == STOPPED and not stage.held


def test_rules_are_flags_one_to_one() -> None:
    given = ["--send", "--real-account", "5", "--magic", "7", "--max-day-loss", "0.1", "--stop-file", "HALT"]
    assert tyro.cli(LiveRules, args=given) == LiveRules(True, 5, 7, 0.1, "HALT")
    assert tyro.cli(LiveRules, args=[]) == LiveRules()
