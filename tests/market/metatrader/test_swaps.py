"""MetaTrader's swap modes: what a night costs is the same before and after."""

from __future__ import annotations

import pytest

from mtquant_jax.errors import UserError
from mtquant_jax.market.metatrader.swaps import swap_of, triple_day_of
from tests.market.metatrader.symbols import index_info, record, symbol_info


def swap(fields: dict, account: str = "USD"):
    digits = int(fields["digits"])
    unit = fields["point"] / 10.0**-digits
    return swap_of(record(**fields), fields["trade_contract_size"], digits, unit, account)


def test_points_and_interest_stay_as_they_are():
    assert (swap(symbol_info()).mode, swap(symbol_info()).long) == ("points", -7.2)
    interest = swap(symbol_info(swap_mode=5, swap_long=-6.0, swap_short=2.5))
    assert (interest.mode, interest.long, interest.short, interest.note) == ("interest", -6.0, 2.5, "")
    at_open = swap(symbol_info(swap_mode=6, swap_long=-6.0))
    assert at_open.mode == "interest" and "opening price" in at_open.note


def test_a_broker_whose_point_is_ten_of_ours_pays_ten_times_the_points():
    assert swap(symbol_info(point=1e-4)).long == pytest.approx(-72.0)


@pytest.mark.parametrize("disabled", [{"swap_mode": 0}, {"swap_long": 0.0, "swap_short": 0.0}])
def test_no_swap_is_none(disabled):
    assert (swap(symbol_info(**disabled)).long, swap(symbol_info(**disabled)).short) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("fields", "account"),
    [
        (symbol_info(swap_mode=9, swap_long=-6.0), "EUR"),  # in the currency of profit
        (symbol_info(swap_mode=4, swap_long=-6.0), "USD"),  # in that of deposits, which is the same
        (index_info(swap_mode=3, swap_long=-6.0), "USD"),  # in that of margin, which is that of profit
    ],
)
def test_money_in_the_currency_of_profit_is_points(fields, account):
    found = swap(fields, account)
    assert found.mode == "points"
    per_lot = found.long * 10.0 ** -fields["digits"] * fields["trade_contract_size"]  # in profit currency, for a lot
    assert per_lot == pytest.approx(-6.0)
    assert "-6" in found.note and fields["currency_profit"] in found.note


@pytest.mark.parametrize("mode", [2, 3])
def test_money_in_the_base_currency_is_interest_at_any_price(mode):
    # 3.60 EUR a night for 100,000 EUR are 3.6e-5 of its value: 1.296 % in 360 days.
    found = swap(symbol_info(swap_mode=mode, swap_long=-3.6))
    assert found.mode == "interest"
    assert found.long == pytest.approx(-1.296)
    price = 1.25  # USD per EUR: the night costs 4.50 USD, which are 3.60 EUR
    assert found.long / 100 / 360 * 100_000 * price == pytest.approx(-4.5)


def test_deposit_currency_stays_money_where_it_is_neither_profit_nor_base():
    found = swap(symbol_info(swap_mode=4, swap_long=-5.0), "CHF")
    assert (found.mode, found.long) == ("money", -5.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"swap_mode": 7}, "swap mode 7 opens positions again"),
        ({"swap_mode": 8}, "swap mode 8 opens positions again"),
        ({"swap_mode": 42}, "swap mode 42 is unknown"),
        ({"swap_mode": 3, "currency_margin": "JPY"}, "money in JPY, which is neither"),
    ],
)
def test_what_the_simulation_lacks_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        swap(symbol_info(**changes))


@pytest.mark.parametrize(("number", "day"), [(1, "Mon"), (3, "Wed"), (5, "Fri"), (0, "none"), (6, "none")])
def test_the_triple_day_counts_from_sunday(number, day):
    found, note = triple_day_of(record(**symbol_info(swap_rollover3days=number)))
    assert found == day and bool(note) == (day == "none")


def test_a_triple_day_outside_the_week_is_refused():
    with pytest.raises(UserError, match="from 0 \\(Sunday\\) to 6 \\(Saturday\\); found 9"):
        triple_day_of(record(**symbol_info(swap_rollover3days=9)))
