"""`symbols` leaves the classes with these instruments, and finds a class for others."""

from __future__ import annotations

import dataclasses

import pytest

import mtquant_jax as mt
from mtquant_jax.errors import UserError
from mtquant_jax.market.prepare import prepare_market
from mtquant_jax.settings.config import TrainConfig


def classes(config: TrainConfig) -> dict[str, tuple[str, ...]]:
    return {name: specialist.symbols for name, specialist in config.specialists.items()}


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [
        (["EURUSD", "XAUUSD"], {"forex": ("EURUSD",), "commodities": ("XAUUSD",)}),
        (["XAUUSD,EURUSD"], {"forex": ("EURUSD",), "commodities": ("XAUUSD",)}),
        (["GOLD", "us30.cash", "XAUUSD"], {"commodities": ("XAUUSD",), "equity": ("US30",)}),
        (["EURJPY"], {"forex": ("EURJPY",)}),
        (["EURUSD", "XAGUSD", "UKOIL"], {"forex": ("EURUSD",), "commodities": ("XAGUSD", "BRENTUSD")}),
        (["DAX", "SPX500"], {"equity": ("SPX500", "GER40")}),
        (["BTCUSD", "ETHUSD", "TSLA"], {"crypto": ("BTCUSD", "ETHUSD"), "shares": ("TSLA",)}),
    ],
)
def test_classes_keep_the_named_and_others_join_their_kind(symbols, expected):
    config = mt.load_config(symbols=symbols)
    assert classes(config) == expected
    assert config.symbols == ()


def test_a_new_class_learns_as_the_first_does_in_the_domain_of_its_kind():
    config = mt.load_config(symbols=["BTCUSD", "AAPL"], quick_test=True)
    assert {name: s.domain for name, s in config.specialists.items()} == {"crypto": "generic", "shares": "equity"}
    assert {s.batch_size for s in config.specialists.values()} == {125}


def test_a_users_class_of_the_same_kind_is_joined(tmp_path):
    mine = {"yen": {"symbols": ["USDJPY"], "domain": "forex"}, "stocks": {"symbols": ["AAPL"], "domain": "generic"}}
    config = mt.load_config(specialists=mine, symbols=["USDJPY", "MSFT", "XAUUSD"])
    assert classes(config) == {"yen": ("USDJPY",), "stocks": ("MSFT",), "metals": ("XAUUSD",)}
    assert config.specialists["stocks"].domain == "generic"


def test_an_unknown_symbol_is_refused_with_advice():
    with pytest.raises(UserError, match=r"No contract specification for GER50; did you mean GER40 \(also DE40"):
        mt.load_config(symbols=["EURUSD,GER50"])


def test_no_symbols_leave_the_settings_as_they_are():
    assert mt.load_config(symbols=[]) == mt.load_config()


def test_symbols_that_were_not_applied_are_refused():
    config = dataclasses.replace(mt.load_config(quick_test=True), symbols=("EURUSD",))
    with pytest.raises(UserError, match="`symbols` chooses instruments when settings are loaded"):
        prepare_market(config)
