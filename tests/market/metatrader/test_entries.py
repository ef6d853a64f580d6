"""Symbols of a dump become instruments: which example they are, what is filled in and said, what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import Instrument, load_instruments, symbol_of_file
from mtquant_jax.market.metatrader.entries import Account, Entries, entries_of, entries_yaml
from tests.market.metatrader.symbols import index_info, record, share_info, symbol_info

SHIPPED = load_instruments()


def entries(*symbols: dict[str, Any], wanted: tuple[str, ...] = (), **account: Any) -> Entries:
    return entries_of([record(**fields) for fields in symbols], SHIPPED, Account(**account), wanted)


def loaded(found: Entries, folder: Path) -> dict[str, Instrument]:
    """The instruments of a written file."""
    path = folder / "instruments.yaml"
    path.write_text(entries_yaml(found.found, "dump.json"), encoding="utf-8")
    return load_instruments(path)


def test_a_symbol_with_a_suffix_is_the_instrument_and_the_brokers_name_an_alias(tmp_path):
    instruments = loaded(entries(symbol_info("EURUSD.pro"), index_info()), tmp_path)
    assert (instruments["EURUSD"].swap_long, instruments["EURUSD"].max_lot) == (-7.2, 500.0)
    assert symbol_of_file("EURUSD.pro_H1.csv", instruments) == "EURUSD"
    dax = instruments["GER40"]
    assert (dax.contract_size, dax.profit_currency, dax.base_currency) == (10.0, "EUR", "DAX")
    assert {"DAX40", "GER40.CASH"} <= set(dax.aliases)
    assert dax.price_range == SHIPPED["GER40"].price_range
    assert len(instruments) == len(SHIPPED)


def test_what_metatrader_does_not_say_is_named(tmp_path):
    (found,) = entries(symbol_info()).found
    assert found.notes == (
        "EURUSD: commission 3.5 USD per lot and side and margin rate 0.0333 are the shipped example's (EURUSD).",
    )
    (given,) = entries(symbol_info(), commission=2.0, margin_rate=0.01, currency="EUR").found
    assert given.notes == ()
    assert [given.values[key] for key in ("commission", "fee_currency", "margin_rate")] == [2.0, "EUR", 0.01]


def test_the_examples_commission_follows_the_contract_size():
    (cent,) = entries(symbol_info("EURUSDc", trade_contract_size=1000.0, trade_tick_value=0.01)).found
    assert cent.values["commission"] == pytest.approx(0.035)


def test_an_unknown_symbol_has_the_example_of_its_class(tmp_path):
    crown = symbol_info("USDSEKm", currency_base="USD", currency_profit="SEK", bid=10.5, ask=10.6)
    instruments = loaded(entries(share_info(), crown), tmp_path)
    share, pair = instruments["NFLX"], instruments["USDSEK"]
    assert (share.margin_class, share.margin_rate, share.session) == ("shares", 0.2, "exchange")
    assert share.aliases == ("#NFLX",)
    assert (pair.margin_class, pair.base_currency, pair.aliases) == ("forex", "USD", ("USDSEKM",))
    assert pair.is_currency_pair and not share.is_currency_pair


def test_a_share_with_the_name_of_gold_is_a_share(tmp_path):
    gold = symbol_info("XAUUSD", digits=2, point=0.01, bid=2600.0, ask=2600.2, spread=20, currency_base="XAU")
    gold |= {"trade_contract_size": 100.0, "path": "Metals\\XAUUSD", "trade_tick_size": 0.01}
    instruments = loaded(entries(share_info("GOLD", bid=17.0, ask=17.1, spread=5), gold), tmp_path)
    assert (instruments["GOLD"].margin_class, instruments["XAUUSD"].margin_class) == ("shares", "metals")
    assert "GOLD" not in instruments["XAUUSD"].aliases


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (symbol_info("CLZ4", trade_calc_mode=33), "it is a futures contract"),
        (symbol_info("SPXC", trade_calc_mode=35), "it is an option"),
        (symbol_info("X", trade_calc_mode=99), "it is of calculation mode 99"),
        (index_info("COCOA", path="Softs\\COCOA", trade_calc_mode=2), "neither its path Softs"),
        (symbol_info(swap_mode=7), "swap mode 7 opens positions again"),
        (symbol_info(trade_contract_size=0.0), "contract size is 0"),
        (symbol_info(volume_step=1000.0), "lot_step 1000 is above max_lot 500"),
        (share_info(spread=0, bid=0.0, ask=0.0), "no spread for it"),
        (share_info("T", swap_mode=4), "must be in the same currency: give it with `commission`"),
    ],
)
def test_what_cannot_be_an_instrument_is_left_out_with_its_reason(fields, reason):
    found = entries(symbol_info("GBPUSD", currency_base="GBP", bid=1.27), fields, currency="CHF")
    assert [entry.symbol for entry in found.found] == ["GBPUSD"]
    assert reason in found.left_out[fields["name"]]
    with pytest.raises(UserError, match=f"^{fields['name']}: "):
        entries(fields, wanted=(fields["name"],), currency="CHF")


def test_of_two_names_of_an_instrument_the_one_in_the_market_watch_is_taken():
    hidden, shown = symbol_info("EURUSD", visible=False), symbol_info("EURUSD.raw", swap_long=-5.0)
    found = entries(hidden, shown)
    assert [entry.name for entry in found.found] == ["EURUSD.raw"]
    assert "another EURUSD, of which EURUSD.raw is taken" in found.left_out["EURUSD"]
    assert [entry.name for entry in entries(hidden, shown, wanted=("EURUSD",)).found] == ["EURUSD"]
    several = entries(symbol_info("EURUSD.b", visible=False), symbol_info("EURUSD.ab"), wanted=("eurusd",))
    assert [entry.name for entry in several.found] == ["EURUSD.ab"]


def test_a_wanted_symbol_is_found_by_our_name_and_a_missing_one_is_named():
    (found,) = entries(symbol_info(), index_info(), wanted=("DAX40",)).found
    assert found.name == "GER40.cash"
    with pytest.raises(UserError, match=r"`symbols` XAUUSD: the dump has no such symbol; it has EURUSD, GER40\.cash"):
        entries(symbol_info(), index_info(), wanted=("XAUUSD",))


def test_unusual_numbers_are_pointed_out():
    def notes(**changes: Any) -> str:
        return " ".join(entries(symbol_info(**changes), commission=1.0, margin_rate=0.1).found[0].notes)

    assert notes() == ""
    assert "spread 120 points is wide beside the example's 7" in notes(spread=120)
    assert "the dump has no spread; 7 points are the example's" in notes(spread=0, ask=0.0, bid=0.0)
    assert "price 109.85 is not between 0.6 and 2.5" in notes(bid=109.85, ask=109.86)
    assert "as with a size of 100000" in notes(trade_contract_size=1000.0)


def test_names_that_yaml_would_misread_are_quoted(tmp_path):
    instruments = loaded(entries(symbol_info("EURUSD!"), share_info("#T&T"), share_info("1E5.US")), tmp_path)
    assert "EURUSD!" in instruments["EURUSD"].aliases
    assert instruments["T"].aliases == ("#T&T",)
    assert instruments["1E5"].aliases == ("1E5.US",)


@pytest.mark.parametrize(
    ("fields", "margin_class"),
    [
        (symbol_info("EUR/USD", path="Stock account\\EUR/USD"), "forex"),
        (symbol_info("XPDUSD", currency_base="XPD", path="Commodities\\XPDUSD"), "metals"),
        (symbol_info("SOLUSD", currency_base="SOL", trade_calc_mode=4, path=""), "crypto"),
        (index_info("SPA35", path="Equity Indices\\SPA35"), "indices"),
        (index_info("GASOIL", path="Energies\\GASOIL"), "energy"),
        (
            share_info("SAP.DE", currency_profit="EUR", currency_base="EUR", trade_calc_mode=2, path="EU/Shares/SAP"),
            "shares",
        ),
        (index_info("USOIL.f", path="Commodities\\USOIL", currency_profit="USD", currency_base="USD"), "energy"),
    ],
)
def test_the_class_comes_from_currencies_calculation_or_path(fields, margin_class):
    (found,) = entries(fields, commission=0.0).found
    assert found.values["margin_class"] == margin_class


@pytest.mark.parametrize(
    ("name", "base", "symbol"),
    [
        ("EUR/USD", "EUR", "EURUSD"),
        ("eurusd_i", "EUR", "EURUSD"),
        ("NOK/USD.x", "NOK", "NOKUSD"),
        ("_NFLX-24", "USD", "NFLX"),
    ],
)
def test_symbols_have_plain_names(name, base, symbol):
    fields = share_info(name) if base == "USD" else symbol_info(name, currency_base=base)
    assert [entry.symbol for entry in entries(fields).found] == [symbol]
