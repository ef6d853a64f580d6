"""Live trading through the adapter to the end: turns against the terminal that is not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtquant_jax.deploy.broker import net_lots
from mtquant_jax.deploy.live import CLOSING, OFFLINE, STOPPED, TRADED, WAITING, LiveTrading, Turn, Wanted
from mtquant_jax.deploy.metatrader import MetaTraderBroker, MetaTraderOptions
from mtquant_jax.deploy.rules import LiveRules, Trained
from mtquant_jax.types import Bars
from tests.deploy.fake_terminal import Answer, FakeTerminal
from tests.deploy.test_metatrader import HOUR, INSTRUMENTS, PAIRS, WEDNESDAY, utc

TRAINED = Trained(PAIRS, HOUR, 5, "USD", INSTRUMENTS)


class Desk:
    """A terminal, the adapter and live trading on it."""

    def __init__(self, folder: Path, hedging: bool = False, now: int = WEDNESDAY) -> None:
        self.terminal = FakeTerminal(now, hedging=hedging)
        options = MetaTraderOptions(magic=42, tries=3)
        terminal = self.terminal
        self.broker = MetaTraderBroker(options, INSTRUMENTS, terminal, terminal.now, terminal.sleep)
        self.folder = folder
        self.lots = {"EURUSD": 0.3, "USDJPY": -0.2}
        self.seen: list[int] = []

    def decide(self, bars: Bars) -> Wanted:
        self.seen.append(int(bars.timestamps[-1]))
        return Wanted(self.seen[-1], self.lots)

    def turn(self) -> Turn:
        rules = LiveRules(send=True, magic=42)
        return LiveTrading(self.decide, self.broker, rules, TRAINED, self.folder).turn(self.terminal.now())

    @property
    def held(self) -> dict[str, float]:
        return {symbol: lots for symbol, lots in net_lots(self.broker.positions(), 42).items() if lots}


@pytest.mark.parametrize("hedging", [False, True])
def test_hours_of_trading(tmp_path: Path, hedging: bool) -> None:
    desk = Desk(tmp_path, hedging)
    desk.terminal.script = [
        *(Answer(10004), Answer(10010, 0.1), Answer(10009)),  # EURUSD: a requote, a part, the rest
        Answer(10012, 0.2),  # USDJPY: filled, and no answer
    ]
    assert desk.turn().state == TRADED and desk.held == {"EURUSD": 0.3, "USDJPY": -0.2}
    assert desk.turn().state == WAITING and len(desk.terminal.requests) == 4
    desk.terminal.advance(HOUR)
    desk.lots = {"EURUSD": -0.1, "USDJPY": -0.2}
    assert desk.turn().state == TRADED and desk.held == {"EURUSD": -0.1, "USDJPY": -0.2}
    closing = [request for request in desk.terminal.requests[4:] if "position" in request]
    assert bool(closing) == hedging
    assert desk.seen == [utc("2024-03-06 09:00"), utc("2024-03-06 10:00")]
    (tmp_path / "STOP").touch()
    assert desk.turn().state == STOPPED and not desk.terminal.positions
    rows = (tmp_path / "trades.csv").read_text().splitlines()
    assert len(rows) == 4 and ",,," not in "".join(rows[1:])  # three closed trades
    # What the journal adds up to is what the account holds: nothing is found a second time.
    assert not [event for event in (tmp_path / "journal.jsonl").read_text().splitlines() if "did not have" in event]


def test_an_order_that_was_not_answered_is_found_at_the_next_turn(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.terminal.script = [Answer(None, 0.3, outage=99)]
    made = desk.turn()
    assert made.state == OFFLINE and "EURUSD: buy 0.3 lots uncertain" in made.messages[0]
    assert desk.turn().state == OFFLINE
    desk.terminal.outage = 0
    made = desk.turn()
    assert made.messages[0].startswith("EURUSD: +0.3 lots that the journal did not have")
    assert desk.held == {"EURUSD": 0.3, "USDJPY": -0.2} and len(desk.seen) == 1
    assert [request["symbol"] for request in desk.terminal.requests] == ["EURUSD.r", "USDJPY.r"]


def test_a_decision_of_friday_is_filled_when_the_market_opens(tmp_path: Path) -> None:
    desk = Desk(tmp_path, now=utc("2024-03-08 22:30"))  # half an hour after the week ended
    desk.terminal.quiet = dict.fromkeys(desk.terminal.symbols, utc("2024-03-08 21:59:50"))
    made = desk.turn()
    assert made.state == WAITING and "the market seems closed" in made.messages[0]
    assert desk.seen == [utc("2024-03-08 21:00")]
    desk.terminal.utc = float(utc("2024-03-10 21:00:10"))  # Sunday 17:00 in New York, on summer time by now
    desk.terminal.quiet = {}
    desk.terminal.script = [Answer(10018)]  # EURUSD opens a little later
    made = desk.turn()
    assert made.messages[0] == "EURUSD: put off: the market is closed"
    assert desk.held == {"USDJPY": -0.2}
    desk.terminal.advance(60)
    assert desk.turn().state == TRADED and desk.held == {"EURUSD": 0.3, "USDJPY": -0.2}


def test_no_money_and_forbidden_trading_are_messages(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.terminal.script = [Answer(10019)]
    made = desk.turn()
    assert "EURUSD: buy 0.3 lots, not filled: the free margin is not enough" in made.messages
    desk.terminal.advance(HOUR)
    desk.terminal.trade_allowed = False
    made = desk.turn()
    assert "switch Algo Trading on in its toolbar (10027)" in made.messages[0] and desk.held == {"USDJPY": -0.2}


def test_a_stop_while_the_market_is_closed_closes_later(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.turn()
    (tmp_path / "STOP").touch()
    desk.terminal.script = [Answer(10018), Answer(10018)]
    assert desk.turn().state == CLOSING and len(desk.held) == 2
    assert desk.turn().state == STOPPED and not desk.held


def test_nothing_secret_is_written(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.turn()
    keys: set[str] = set()
    for path in tmp_path.iterdir():
        text = path.read_text()
        assert "password" not in text.lower()
        if path.suffix == ".json":
            keys |= set(json.loads(text))
    assert "login" in keys and not {"password", "name", "company"} & keys
