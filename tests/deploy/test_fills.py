"""Fills become trades, with costs worked by hand."""

from __future__ import annotations

import pytest

from mtquant_jax.deploy.fills import Fill, trades_of

HOUR = 3600


def fill(hour: int, lots: float, price: float, bid: float, ask: float, **fields: float) -> Fill:
    size = {"contract_size": 100.0, "conversion": 0.5}
    return Fill(hour * HOUR, hour, "XAUUSD", lots, price, bid, ask, **size | fields)  # type: ignore[arg-type]


def test_a_long_trade_pays_the_spread_where_it_buys() -> None:
    table = trades_of([fill(1, 2.0, 10.5, 10.0, 10.4, commission=3.0), fill(4, -2.0, 11.9, 12.0, 12.3, swap=-1.5)])
    row = {name: column[0] for name, column in table.items()}
    assert row["direction"] == "long" and row["book"] == "portfolio" and row["path"] == 0
    assert (row["opened"], row["closed"], row["bars"]) == ("1970-01-01 01:00", "1970-01-01 04:00", 3)
    assert (row["open_price"], row["close_price"], row["lots"], row["fills"]) == (10.5, 11.9, 2.0, 2)
    # 2 lots x 100 units x 0.5: a price of one is worth 100.
    assert row["price_profit"] == pytest.approx(200.0)
    assert row["spread"] == pytest.approx(40.0)
    assert row["slippage"] == pytest.approx(20.0)
    assert (row["commission"], row["swap"], row["impact"]) == (3.0, -1.5, 0.0)
    assert row["profit"] == pytest.approx((11.9 - 10.5) * 100.0 - 3.0 - 1.5)


def test_a_flip_ends_one_trade_and_begins_another() -> None:
    table = trades_of(
        [
            fill(1, -1.0, 10.0, 10.0, 10.2),
            fill(2, -1.0, 11.0, 11.0, 11.2),
            fill(3, 3.0, 9.2, 9.0, 9.2, commission=6.0),
        ]
    )
    assert table["direction"] == ["short", "long"]
    assert table["lots"] == [2.0, 1.0] and table["max_lots"] == [2.0, 1.0] and table["fills"] == [3, 1]
    assert table["open_price"] == [10.5, 9.2] and table["close_price"] == [9.2, None]
    assert table["closed"] == ["1970-01-01 03:00", None] and table["bars"] == [2, None]
    assert table["commission"] == [4.0, 2.0]
    assert table["profit"][0] == pytest.approx((10.5 - 9.2) * 2 * 50.0 - 4.0)


def test_a_partial_close_keeps_the_trade_open() -> None:
    table = trades_of([fill(1, 2.0, 10.0, 10.0, 10.0), fill(2, -1.0, 12.0, 12.0, 12.0, swap=-2.0)])
    assert table["closed"] == [None] and table["fills"] == [2] and table["swap"] == [-2.0]
    assert table["price_profit"] == [100.0]  # of the lot that was closed


def test_symbols_do_not_mix_and_trades_are_in_the_order_of_opening() -> None:
    other = Fill(2 * HOUR, 2, "EURUSD", 1.0, 1.1, 1.1, 1.1, 1.0, 1.0)
    table = trades_of([fill(1, 1.0, 10.0, 10.0, 10.0), other, fill(3, -1.0, 10.0, 10.0, 10.0)])
    assert table["symbol"] == ["XAUUSD", "EURUSD"]
    assert trades_of([])["symbol"] == []
