"""Dumps of account_info and positions_get: what is read from them, and every way in which they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtquant_jax.deploy.account_file import account_from_json
from mtquant_jax.deploy.broker import AccountState, Position, net_lots, rounded_lots
from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import load_instruments
from tests.deploy.fake_terminal import FakeTerminal

ACCOUNT = {
    "login": 51_234_567,
    "trade_mode": 0,
    "margin_mode": 2,
    "currency": "usd",
    "balance": 10_000,
    "equity": 9_990.5,
    "margin": 110.0,
    "margin_free": 9_880.5,
    "server": "Broker-Demo",
    "name": "ignored",
}
POSITION = {
    "ticket": 7,
    "type": 1,
    "magic": 42,
    "volume": 0.3,
    "price_open": 1.1,
    "profit": -9.5,
    "swap": -0.5,
    "symbol": "EURUSD.r",
    "comment": "ignored",
}


def written(folder: Path, content: Any) -> Path:
    path = folder / "account.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_an_account_and_its_positions_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, {"account": ACCOUNT, "positions": [POSITION], "other": 1})
    account, positions = account_from_json(path)
    assert account == AccountState(51_234_567, "USD", 10_000.0, 9_990.5, 110.0, 9_880.5, True, True, "Broker-Demo")
    assert positions == (Position("EURUSD.r", -0.3, 1.1, 7, 42, -9.5, -0.5),)


def test_fields_of_the_account_may_be_at_the_top(tmp_path: Path) -> None:
    account, positions = account_from_json(written(tmp_path, ACCOUNT | {"positions": [], "trade_mode": 2}))
    assert (account.is_demo, account.login, positions) == (False, 51_234_567, ())


def test_instruments_give_their_names(tmp_path: Path) -> None:
    listed = [POSITION, POSITION | {"ticket": 8, "symbol": "QQQ.x", "type": 0}]
    _, positions = account_from_json(written(tmp_path, ACCOUNT | {"positions": listed}), load_instruments())
    assert [(one.symbol, one.lots) for one in positions] == [("EURUSD", -0.3), ("QQQ.x", 0.3)]


def test_the_structures_of_a_terminal_can_be_dumped(tmp_path: Path) -> None:
    terminal = FakeTerminal(1_700_000_000)
    terminal.hold("EURUSD.r", -0.2, 42)
    content = {
        "account": terminal.account_info()._asdict(),
        "positions": [position._asdict() for position in terminal.positions_get()],
    }
    account, positions = account_from_json(written(tmp_path, content))
    assert (account.login, account.hedging, positions[0].lots) == (51_234_567, False, -0.2)


@pytest.mark.parametrize("key", sorted(set(ACCOUNT) - {"server", "name"}))
@pytest.mark.parametrize("value", [None, True, "x", [1], -1, "missing"])
def test_a_wrong_field_of_the_account_is_named(tmp_path: Path, key: str, value: Any) -> None:
    account = dict(ACCOUNT)
    account[key] = value
    if value == "missing":
        del account[key]
    fine = (key == "currency" and value == "x") or (key in ("balance", "equity", "margin_free") and value == -1)
    path = written(tmp_path, {"account": account, "positions": []})
    if fine:
        account_from_json(path)
        return
    with pytest.raises(UserError, match=rf"account(: {key} must be| has no {key})"):
        account_from_json(path)


@pytest.mark.parametrize("key", sorted(set(POSITION) - {"comment"}))
@pytest.mark.parametrize("value", [None, True, "x", {}, -1, "missing"])
def test_a_wrong_field_of_a_position_is_named(tmp_path: Path, key: str, value: Any) -> None:
    position = dict(POSITION)
    position[key] = value
    if value == "missing":
        del position[key]
    path = written(tmp_path, {"account": ACCOUNT, "positions": [POSITION | {"ticket": 1}, position]})
    if (key == "symbol" and value == "x") or (key in ("profit", "swap", "price_open") and value == -1):
        account_from_json(path)
        return
    with pytest.raises(UserError, match=rf"position 2(: {key} must be| has no {key})"):
        account_from_json(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1 is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"login": NaN, "positions": []}', "NaN is not a JSON number"),
        ('{"login": 1, "login": 2}', "key login is given twice"),
        ({"account": [], "positions": []}, "account must be an object"),
        ({"account": ACCOUNT}, "has no positions; write an empty list"),
        ({"account": ACCOUNT, "positions": None}, "positions must be a list; found None"),
        ({"account": ACCOUNT, "positions": [1]}, "position 1 must be an object"),
        ({"account": ACCOUNT, "positions": [POSITION, POSITION]}, "two positions have the same ticket"),
        ({"account": ACCOUNT, "positions": [POSITION | {"type": 2}]}, "type must be one of 0, 1; found 2"),
        ({"account": ACCOUNT, "positions": [POSITION | {"volume": 0.0}]}, "volume must be above 0"),
        ({"account": ACCOUNT | {"trade_mode": 3}, "positions": []}, "trade_mode must be one of 0, 1, 2; found 3"),
        (json.dumps({"account": ACCOUNT, "positions": []}).replace("9990.5", "1e999"), "equity must be a number"),
    ],
)
def test_what_is_no_dump_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        account_from_json(written(tmp_path, content))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no .*none\.json"):
        account_from_json(tmp_path / "none.json")


def test_net_lots_are_summed_by_symbol_and_magic_number() -> None:
    held = [
        Position("EURUSD", 0.1, 1.1, 1, 42),
        Position("EURUSD", 0.2, 1.1, 2, 42),
        Position("EURUSD", -0.3, 1.1, 3, 7),
        Position("USDJPY", -0.5, 150.0, 4, 0),
    ]
    assert net_lots(held) == {"EURUSD": 0.0, "USDJPY": -0.5}
    assert net_lots(held, 42) == {"EURUSD": 0.3}
    assert net_lots(held, 1) == {}


@pytest.mark.parametrize(
    ("lots", "rounded"),
    [(0.0, 0.0), (0.009, 0.0), (0.01, 0.01), (-0.019, -0.01), (0.3, 0.3), (0.1 + 0.2, 0.3), (-2.999999, -2.99)],
)
def test_lots_are_rounded_towards_zero(lots: float, rounded: float) -> None:
    assert rounded_lots(lots, load_instruments()["EURUSD"]) == rounded
