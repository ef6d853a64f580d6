"""Contract specifications, file names and currency conversion."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.contracts import contracts
from mtquant_jax.market.conversion import conversion, conversion_plan
from mtquant_jax.market.instruments import MARGIN_CLASSES, load_instruments, select, symbol_of_file
from mtquant_jax.settings.config import MarginLeverageConfig

INSTRUMENTS = load_instruments()
ENTRY = (
    "EURUSD: {digits: 5, contract_size: 100000, spread: 7, commission: 3.5, base_currency: EUR, "
    "profit_currency: USD, margin_class: forex, margin_rate: 0.0333, swap_mode: points, swap_long: -6.5, "
    "swap_short: 1.5, triple_swap_day: Wed, aliases: []}\n"
)


def test_shipped_spreads_are_those_of_the_trading_model():
    expected = {
        "EURUSD": 0.00007,
        "GBPUSD": 0.00009,
        "USDJPY": 0.008,
        "XAUUSD": 0.20,
        "WTIUSD": 0.03,
        "SPX500": 0.6,
        "NAS100": 1.5,
        "US30": 2.5,
    }
    assert {symbol: INSTRUMENTS[symbol].default_spread for symbol in expected} == pytest.approx(expected)
    assert {s for s in expected if INSTRUMENTS[s].is_currency_pair} == {"EURUSD", "GBPUSD", "USDJPY"}


def test_contracts_follow_the_order_of_symbols():
    arrays = contracts(["US30", "XAUUSD", "EURUSD"], INSTRUMENTS)
    np.testing.assert_allclose(arrays.contract_size, [1, 100, 100_000])
    np.testing.assert_allclose(arrays.commission, [0, 3.5, 3.5])
    np.testing.assert_allclose(arrays.margin_rate, [0.05, 0.05, 0.0333], rtol=1e-6)
    with pytest.raises(UserError, match="No contract specification for EURUSDX; did you mean EURUSD"):
        contracts(["EURUSDX"], INSTRUMENTS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY.replace("spread", "spreed"), "EURUSD has the unknown key 'spreed'; did you mean 'spread'"),
        (ENTRY.replace("digits: 5, ", ""), "EURUSD lacks the key digits"),
        (ENTRY.replace("spread: 7", "spread: seven"), "EURUSD: spread must be a number at least 0; found 'seven'"),
        (ENTRY.replace("digits: 5", "digits: 5.5"), "digits must be a whole number from 0 to 8; found 5.5"),
        (ENTRY.replace("0.0333", "3.33"), "margin_rate must be a number above 0 and at most 1; found 3.33"),
        (ENTRY.replace("100000", "0"), "contract_size must be a number above 0; found 0"),
        (ENTRY.replace("100000", "true"), "contract_size must be a number above 0; found True"),
        (ENTRY.replace("aliases: []", "aliases: EU"), "aliases must be a list"),
        (
            ENTRY + ENTRY.replace("EURUSD", "X").replace("[]", "[EURUSD]"),
            "the name EURUSD is claimed by both EURUSD and X",
        ),
        ("EURUSD: 5\n", "EURUSD must be a mapping"),
        (ENTRY.replace("swap_long: -6.5, ", ""), "EURUSD lacks the key swap_long"),
        (
            ENTRY.replace("margin_class: forex, ", "").replace("swap_mode: points, ", ""),
            "EURUSD lacks the keys margin_class, swap_mode",
        ),
        (ENTRY.replace("points", "pips"), "swap_mode must be one of points, money, interest; found 'pips'"),
        (ENTRY.replace("Wed", "Sat"), "triple_swap_day must be one of Mon, Tue, Wed, Thu, Fri, none; found 'Sat'"),
        (
            ENTRY.replace("forex", "bonds"),
            "margin_class must be one of forex, metals, energy, indices, shares, crypto; found 'bonds'",
        ),
        (ENTRY.replace("-6.5", ".nan"), "swap_long must be a number; found nan"),
        (ENTRY.replace("aliases", "lot_step: 0, aliases"), "lot_step must be a number above 0; found 0"),
        (ENTRY.replace("aliases", "slippage: -1, aliases"), "slippage must be a number at least 0; found -1"),
        (ENTRY.replace("aliases", "slippage_volatility: 11, aliases"), "must be a number at least 0 and at most 10"),
        (ENTRY.replace("aliases", "lot_step: 1, max_lot: 0.5, aliases"), "lot_step 1 is above max_lot 0.5"),
        (ENTRY.replace("aliases", "price_range: [2, 1], aliases"), "price_range must be two numbers above 0"),
        (ENTRY.replace("aliases", "price_range: [0, 1], aliases"), "the lower first, such as [0.6, 2.5]; found [0, 1]"),
        (ENTRY.replace("aliases", "price_range: 5, aliases"), "price_range must be two numbers above 0"),
        (ENTRY.replace("aliases", "fee_currency: 5, aliases"), "fee_currency must be a name such as USD; found 5"),
        (
            ENTRY.replace("aliases", "session: night, aliases"),
            "session must be one of week, daily_break, exchange, always",
        ),
        (
            ENTRY.replace("aliases", "price_range: [2, 1], aliases"),
            "price_range must be two numbers above 0, the lower",
        ),
        (
            ENTRY.replace("aliases", "price_range: 1, aliases"),
            "price_range must be two numbers above 0, the lower first",
        ),
        (ENTRY + ENTRY.replace("EURUSD", "eurusd"), "EURUSD is given twice"),
    ],
)
def test_errors_in_the_file_are_reported(tmp_path, text, message):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml") as error:
        load_instruments(path)
    assert message in str(error.value)


def test_a_users_own_file_is_read(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(ENTRY.replace("spread: 7", "spread: 1e1"))
    assert load_instruments(path)["EURUSD"].default_spread == pytest.approx(0.0001)


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("EURUSD.csv.gz", "EURUSD"),
        ("eurusd.CSV", "EURUSD"),
        ("EURUSD_H1_2020_2024.csv", "EURUSD"),
        ("EURUSD60.csv", "EURUSD"),
        ("EURUSDH1.csv", "EURUSD"),
        ("EURUSDm.csv", "EURUSD"),
        ("EURUSD.pro.csv", "EURUSD"),
        ("EURUSDpro_H1.csv", "EURUSD"),
        ("US500_H1.csv", "SPX500"),
        ("USTEC.csv", "NAS100"),
        ("GOLD.csv", "XAUUSD"),
        ("XTIUSD60.csv", "WTIUSD"),
        ("USOIL.cash.csv.gz", "WTIUSD"),
        ("US30.csv", "US30"),
        ("US3060.csv", "US30"),
        ("US30_H1.csv", "US30"),
        ("DAT_ASCII_EURUSD_M1_2023.csv", "EURUSD"),
        ("#US30.csv", "US30"),
        ("US30Cash.parquet", "US30"),
        ("eurusd.zip", "EURUSD"),
        ("XAUUSDm_M15.txt", "XAUUSD"),
        ("EURUSD+.pq", "EURUSD"),
        ("SPOTCRUDE_H4.csv", "WTIUSD"),
        ("DE40_H1.csv", "GER40"),
        ("GER40.cash.csv", "GER40"),
        ("UKOIL.csv", "BRENTUSD"),
        ("BRENTUSD.csv.gz", "BRENTUSD"),
        ("BTCUSDT-1h-2023-01.csv", "BTCUSD"),
        ("AAPL.US_H1.csv", "AAPL"),
        ("#TSLA.csv", "TSLA"),
        ("GOLDMAN.csv", None),
        ("NASDAQ_AAPL.csv", None),
        ("EURUSDT.csv", None),
        ("notes.csv", None),
    ],
)
def test_file_names_map_to_symbols(name, symbol):
    assert symbol_of_file(name, INSTRUMENTS) == symbol


def test_profit_of_usdjpy_is_divided_by_its_price():
    symbols = ["EURUSD", "USDJPY", "XAUUSD"]
    prices = np.array([[[1.1, 150.0, 4000.0], [1.2, 160.0, 4100.0]]], np.float32)
    factors = conversion(prices, conversion_plan(symbols, INSTRUMENTS, "USD"))
    np.testing.assert_allclose(factors, [[[1, 1 / 150, 1], [1, 1 / 160, 1]]], rtol=1e-6)
    # One lot of USDJPY up by 1 yen at 150: 100 000 yen, 666.67 dollars.
    assert 100_000 * 1.0 * float(factors[0, 0, 1]) == pytest.approx(666.67, abs=0.01)


def test_other_account_currencies_convert_through_chains():
    symbols = ["EURUSD", "USDJPY", "SPX500"]
    prices = np.array([1.25, 160.0, 6000.0], np.float32)
    euro = conversion(prices, conversion_plan(symbols, INSTRUMENTS, "EUR"))
    np.testing.assert_allclose(euro, [0.8, 1 / 160 / 1.25, 0.8], rtol=1e-6)
    yen = conversion(prices, conversion_plan(symbols, INSTRUMENTS, "jpy"))
    np.testing.assert_allclose(yen, [160, 1, 160], rtol=1e-6)


def test_an_account_currency_that_nothing_converts_into_is_refused():
    with pytest.raises(UserError, match=r"Profit of SPX500 is in USD.*account currency CHF; add USDCHF or CHFUSD"):
        conversion_plan(["SPX500"], INSTRUMENTS, "CHF")


def test_swaps_are_price_money_or_rate_by_mode():
    arrays = contracts(["EURUSD", "USDJPY", "US30"], INSTRUMENTS)
    # Points times the point: -6.5 x 0.00001, and -70 x 0.1 for an index with one digit; money is unchanged.
    np.testing.assert_allclose(arrays.swap_price, [[-6.5e-5, 0, -7.0], [1.5e-5, 0, -2.3]], rtol=1e-6)
    np.testing.assert_allclose(arrays.swap_money, [[0, 5.3, 0], [0, -19.9, 0]], rtol=1e-6)
    assert not np.asarray(arrays.swap_rate).any()
    for day, classes in (("Wed", {"forex", "metals"}), ("Fri", {"energy", "indices", "shares"}), ("none", {"crypto"})):
        assert {i.margin_class for i in INSTRUMENTS.values() if i.triple_swap_day == day} == classes


def test_the_leverage_of_an_account_replaces_margin_rates_by_class():
    arrays = contracts(["EURUSD", "XAUUSD", "US30"], INSTRUMENTS, {"forex": 100.0, "indices": 10.0})
    np.testing.assert_allclose(arrays.margin_rate, [0.01, 0.05, 0.1], rtol=1e-6)


def test_users_instruments_are_laid_over_the_shipped_ones(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(ENTRY.replace("EURUSD", "EURCHF").replace("profit_currency: USD", "profit_currency: CHF"))
    instruments = load_instruments(path)
    assert set(instruments) == {*INSTRUMENTS, "EURCHF"}
    assert (instruments["EURCHF"].min_lot, instruments["EURCHF"].max_lot) == (0.01, 100.0)


def test_fees_need_a_conversion_only_where_there_are_fees():
    # An index without commission and with swap in points pays no fee, so no dollar conversion is required.
    free = dataclasses.replace(INSTRUMENTS["SPX500"], profit_currency="EUR")
    assert conversion_plan(["SPX500"], {"SPX500": free}, "EUR", "fee_currency").legs == ((),)
    paying = dataclasses.replace(free, commission=1.0)
    with pytest.raises(UserError, match="Commission of SPX500 is in USD"):
        conversion_plan(["SPX500"], {"SPX500": paying}, "EUR", "fee_currency")


def test_shipped_margins_are_those_that_the_regulator_allows():
    # ESMA: 30:1 between the major currencies, 20:1 for other pairs, gold and major indices, 10:1 for other commodities
    # and indices, 5:1 for shares, 2:1 for crypto.
    major = {"USD", "EUR", "JPY", "GBP", "CAD", "CHF"}
    for symbol, instrument in INSTRUMENTS.items():
        expected = {"energy": 0.1, "shares": 0.2, "crypto": 0.5, "metals": 0.1, "indices": 0.05, "forex": 0.05}
        expected |= {"metals": 0.05} if symbol == "XAUUSD" else {}
        expected |= {"indices": 0.1} if symbol in ("HK50", "US2000") else {}
        is_major = {instrument.base_currency, instrument.profit_currency} <= major
        expected |= {"forex": 0.0333} if is_major else {}
        assert instrument.margin_rate == expected[instrument.margin_class], symbol


def test_shipped_instruments_are_whole():
    assert len(INSTRUMENTS) >= 40
    for symbol, instrument in INSTRUMENTS.items():
        assert instrument.price_range is not None, symbol
        # Half a year of swap is less than the price, and the spread less than a hundredth of it: no unit is mistaken.
        price = instrument.price_range[1] / 10
        assert 0.0 < instrument.default_spread < 0.01 * price, symbol
        if instrument.swap_mode == "points":
            assert 180 * max(abs(instrument.swap_long), abs(instrument.swap_short)) * instrument.point < price, symbol
        if instrument.margin_class == "forex":
            assert (instrument.base_currency + instrument.profit_currency, instrument.session) == (symbol, "week")
            assert instrument.digits == (3 if symbol.endswith("JPY") else 5)
    assert {i.session for i in INSTRUMENTS.values() if i.margin_class == "crypto"} == {"always"}
    assert {i.session for i in INSTRUMENTS.values() if i.margin_class == "shares"} == {"exchange"}
    assert {INSTRUMENTS[symbol].session for symbol in ("XAUUSD", "WTIUSD", "SPX500", "GER40")} == {"daily_break"}


def test_a_user_may_name_an_instrument_as_a_shipped_one_is_called_elsewhere(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(ENTRY.replace("EURUSD", "US500") + ENTRY.replace("EURUSD", "DAX1").replace("[]", "[GER40]"))
    instruments = load_instruments(path)
    assert "US500" not in instruments["SPX500"].aliases and "SP500" in instruments["SPX500"].aliases
    assert symbol_of_file("US500_H1.csv", instruments) == "US500"
    assert "GER40" not in instruments and symbol_of_file("GER40.csv", instruments) == "DAX1"


@pytest.mark.parametrize(
    ("symbol", "advice"),
    [
        ("DE40", "it is another name of GER40: use GER40"),
        ("GER40.cash", "it is another name of GER40: use GER40"),
        ("xauusd", "it is another name of XAUUSD: use XAUUSD"),
        ("GER50", "did you mean GER40 (also DE40, DAX40, DAX)?"),
        ("NASDAK100", "did you mean NAS100 (also USTEC, US100, NDX)?"),
        ("EURSUD", "did you mean EURUSD?"),
        ("ABCXYZ", "nothing is similar. Known: forex EURUSD, GBPUSD, USDJPY and 17 more; metals XAUUSD"),
        ("USDSEK", "nothing is similar."),
    ],
)
def test_an_unknown_symbol_gets_the_advice_that_helps(symbol, advice):
    with pytest.raises(UserError) as error:
        select([symbol], INSTRUMENTS)
    assert str(error.value).startswith(f"No contract specification for {symbol}; {advice}")
    assert len(str(error.value)) < 420


def test_shares_and_crypto_have_a_leverage_of_their_own():
    arrays = contracts(["AAPL", "BTCUSD"], INSTRUMENTS, {"shares": 10.0, "crypto": 5.0})
    np.testing.assert_allclose(arrays.margin_rate, [0.1, 0.2], rtol=1e-6)
    assert {field.name for field in dataclasses.fields(MarginLeverageConfig)} == set(MARGIN_CLASSES)
