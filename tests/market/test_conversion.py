"""Currencies are converted with prices of instruments that are traded, and of others that are not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.conversion import conversion_plan, conversion_symbols
from mtquant_jax.market.features import build_table
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.settings.layers import override_config
from mtquant_jax.types import AssetClass
from tests.market.random_bars import random_bars

INSTRUMENTS = load_instruments()


@pytest.mark.parametrize(
    ("traded", "account", "available", "found"),
    [
        (["EURUSD", "USDJPY"], "USD", ["GBPUSD"], ()),
        (["EURJPY"], "USD", ["GBPUSD", "USDJPY", "EURUSD"], ("USDJPY",)),
        (["EURJPY"], "EUR", ["USDJPY"], ("USDJPY",)),  # fees are in USD; EURJPY itself gives euros
        (["GER40", "UK100"], "USD", ["GBPUSD", "EURUSD", "USDJPY"], ("GBPUSD", "EURUSD")),
        (["HK50"], "EUR", ["USDHKD", "EURUSD", "USDJPY"], ("USDHKD", "EURUSD")),  # through the dollar
        (["JP225"], "USD", ["XAUUSD", "BTCUSD"], ()),
    ],
)
def test_the_pairs_that_are_needed_are_found(traded, account, available, found):
    assert conversion_symbols(traded, INSTRUMENTS, account, lambda: available) == found


def test_given_instruments_come_first_and_others_where_they_do_not_suffice():
    def found(given, *traded):
        return conversion_symbols(traded, INSTRUMENTS, "USD", lambda: ["USDJPY", "EURUSD", "GBPUSD"], given)

    assert found(["EURUSD"], "EURJPY") == ("EURUSD",)  # yen through euros
    assert found(["GBPUSD"], "EURJPY") == ("GBPUSD", "USDJPY")
    assert found(["EURUSD", "XAUUSD"], "EURUSD") == ("XAUUSD",)
    with pytest.raises(UserError, match="No contract specification for GOLD; it is another name of XAUUSD"):
        found(["GOLD"], "EURUSD")


def test_what_is_there_is_looked_up_only_when_a_conversion_is_missing():
    def available():
        raise AssertionError

    assert conversion_symbols(["EURUSD", "XAUUSD"], INSTRUMENTS, "usd", available) == ()


def test_a_missing_pair_is_named_and_need_not_be_traded():
    with pytest.raises(UserError, match=r"Profit of EURJPY is in JPY.* currency USD; add USDJPY or JPYUSD, which"):
        conversion_plan(["EURJPY", "EURGBP"], INSTRUMENTS, "USD", traded=["EURJPY"])
    # A pair that only converts needs no conversion itself.
    plan = conversion_plan(["EURUSD", "EURGBP"], INSTRUMENTS, "USD", traded=["EURUSD"])
    assert plan.legs == ((), ((1, -1), (0, 1)))


def test_prices_for_conversion_alone_change_nothing_but_the_conversion():
    classes = (AssetClass("crosses", ("EURJPY",), "forex"), AssetClass("metals", ("XAUUSD",), "commodities"))
    bars = random_bars(7, 320, symbols=("EURJPY", "XAUUSD", "USDJPY"))
    others = {name: np.array(getattr(bars, name)) for name in ("open", "high", "low", "close")}
    for column in others.values():
        column[..., 2] *= np.exp(np.linspace(0.0, 0.5, 320))
    table, changed = (
        build_table(one, classes, INSTRUMENTS, "USD") for one in (bars, dataclasses.replace(bars, **others))
    )
    np.testing.assert_allclose(np.asarray(table.conversion_close)[0, :, 0], 1 / bars.close[0, :, 2], rtol=1e-6)
    assert not np.allclose(table.conversion_close, changed.conversion_close)
    for name in ("domain", "macro"):
        assert np.array_equal(getattr(table, name), getattr(changed, name)), name
        assert np.asarray(getattr(table, name)).any(), name
    assert np.array_equal(table.features[:, :, :2], changed.features[:, :, :2])


def test_a_market_holds_the_traded_instruments_and_the_times_at_which_they_trade():
    settings = {"specialists": {"crosses": {"symbols": ["EURJPY"], "domain": "forex"}}, "quick_test": True}
    bars = random_bars(8, 2300, symbols=("USDJPY", "EURJPY"), closed=0.0)
    tradable = np.array(bars.tradable)
    tradable[:, 100:130, 1] = False  # only USDJPY trades
    bars = dataclasses.replace(bars, tradable=tradable)
    market = prepare_market(override_config(None, settings), bars=bars)
    assert market.universe.symbols == ("EURJPY",)
    assert "1 instruments (USDJPY for conversion only)" in market.description
    rows = tradable[0, :, 1]
    assert len(market.timestamps) == rows.sum() < 2300
    np.testing.assert_allclose(
        np.asarray(market.table.conversion_close)[0, :, 0], 1.0 / bars.close[0, rows, 0], rtol=1e-6
    )
    assert market.table.features.shape[2] == market.contracts.contract_size.shape[0] == 1


def test_conversion_can_be_asked_for_and_is_refused_where_it_is_missing():
    bars = random_bars(9, 2300, symbols=("EURJPY", "USDJPY", "EURUSD"))
    settings = {"specialists": {"crosses": {"symbols": ["EURJPY"], "domain": "forex"}}, "quick_test": True}

    def market(**more):
        return prepare_market(override_config(None, settings | more), bars=bars)

    assert "(EURUSD for conversion only)" in market(**{"market.conversion": ["EURUSD"]}).description
    with pytest.raises(UserError, match="The bars have no GBPJPY; they have EURJPY, USDJPY, EURUSD"):
        market(**{"market.conversion": ["GBPJPY"]})
    with pytest.raises(UserError, match=r"Profit of EURJPY is in JPY.*add CHFJPY or JPYCHF, which need not be traded"):
        market(**{"simulation.account_currency": "CHF"})


def test_bars_of_crypto_around_the_clock_go_with_bars_of_the_week():
    # Thirty days of hours; EURUSD pauses from Friday 21:00 to Sunday 21:00 UTC (2024-01-01 is a Monday).
    bars = random_bars(10, 720, symbols=("EURUSD", "BTCUSD", "AAPL"), closed=0.0)
    times = 1_704_067_200 + 3600 * np.arange(720)
    of_week = np.arange(720) % 168
    tradable = np.ones((1, 720, 3), bool)
    tradable[0, (of_week >= 117) & (of_week < 165), 0] = False
    tradable[0, :, 2] = np.isin(np.arange(720) % 24, range(14, 21)) & (of_week < 120)
    bars = dataclasses.replace(bars, timestamps=times, tradable=tradable)
    classes = tuple(AssetClass(s, (s,), d) for s, d in (("EURUSD", "forex"), ("BTCUSD", "generic"), ("AAPL", "equity")))
    table = build_table(bars, classes, INSTRUMENTS, "USD")
    for name in ("features", "domain", "macro", "covariance"):
        assert np.isfinite(np.asarray(getattr(table, name))).all(), name
    nights = np.asarray(table.swap_nights)
    assert nights[:672].sum(axis=0).tolist() == [28, 28, 28]  # four weeks of seven nights
    assert nights[:, 1].max() == 1 and nights[:, 0].max() == 3
    weekend = (of_week >= 120) & (of_week < 165)
    assert nights[weekend, 0].sum() == 0 < nights[weekend, 1].sum()
