"""The adapter of the MetaTrader terminal: connecting, names, contracts, clocks and finished bars."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mtquant_jax.deploy.broker import BrokerUnavailable, Position
from mtquant_jax.deploy.metatrader import MetaTraderBroker, MetaTraderOptions
from mtquant_jax.deploy.terminal import load_terminal
from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import load_instruments
from tests.deploy.fake_terminal import FakeTerminal, symbol

INSTRUMENTS = load_instruments()
HOUR = 3600
PAIRS = ("EURUSD", "USDJPY")


def utc(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


WEDNESDAY = utc("2024-03-06 10:00:20")


def connected(terminal: FakeTerminal, **options: Any) -> MetaTraderBroker:
    chosen = MetaTraderOptions(**{"magic": 42} | options)
    return MetaTraderBroker(chosen, INSTRUMENTS, terminal, terminal.now, terminal.sleep)


# Bars.


def test_bars_are_finished_and_in_utc() -> None:
    terminal = FakeTerminal(WEDNESDAY)
    bars = connected(terminal).bars(PAIRS, HOUR, 30)
    assert bars.symbols == PAIRS and bars.close.shape == (1, 30, 2)
    assert bars.timestamps[-1] == utc("2024-03-06 09:00")
    assert np.all(np.diff(bars.timestamps) == HOUR)
    raw = terminal.copy_rates_from_pos("EURUSD.r", 16385, 1, 30)
    np.testing.assert_array_equal(bars.close[0, :, 0], raw["close"])
    np.testing.assert_allclose(bars.spread[0, :, 0], 10e-5)
    np.testing.assert_allclose(bars.spread[0, :, 1], 10e-3)
    assert bars.tradable.all() and "rates EURUSD.r 16385 0 31" in terminal.calls


@pytest.mark.parametrize(
    ("now", "newest"),
    [
        ("2024-03-06 09:59:59", "08:00"),  # the bar of 09:00 runs
        ("2024-03-06 10:00:00", "09:00"),  # a tick came after its end
    ],
)
def test_a_tick_ends_a_bar(now: str, newest: str) -> None:
    terminal = FakeTerminal(utc(now))
    assert connected(terminal).bars(PAIRS, HOUR, 5).timestamps[-1] == utc(f"2024-03-06 {newest}")


@pytest.mark.parametrize(("later", "newest"), [(20, "08:00"), (31, "09:00")])
def test_without_ticks_the_clock_ends_a_bar_half_a_minute_later(later: int, newest: str) -> None:
    terminal = FakeTerminal(utc("2024-03-06 10:00") + later)
    terminal.quiet = dict.fromkeys(terminal.symbols, utc("2024-03-06 09:59:50"))
    times = connected(terminal).bars(PAIRS, HOUR, 5).timestamps
    assert times[-1] == utc(f"2024-03-06 {newest}") and len(times) == 5


def test_a_quiet_symbol_that_has_its_last_bar_at_position_0_does_not_lose_it() -> None:
    terminal = FakeTerminal(WEDNESDAY)
    terminal.quiet = {"USDJPY.r": utc("2024-03-06 09:59:58")}  # no tick yet in the bar of 10:00
    bars = connected(terminal).bars(PAIRS, HOUR, 5)
    assert bars.timestamps[-1] == utc("2024-03-06 09:00") and bars.tradable[0, -1].all()


def test_a_closed_market_carries_its_close_and_is_not_tradable() -> None:
    terminal = FakeTerminal(WEDNESDAY)
    terminal.quiet = {"USDJPY.r": utc("2024-03-06 06:30")}
    bars = connected(terminal).bars(PAIRS, HOUR, 8)
    assert bars.timestamps[-1] == utc("2024-03-06 09:00")
    assert bars.tradable[0, :, 1].tolist()[-4:] == [True, False, False, False]
    assert bars.tradable[0, :, 0].all()
    assert len(set(bars.close[0, -4:, 1])) == 1 and (bars.volume[0, -3:, 1] == 0.0).all()
    assert (bars.open[0, -3:, 1] == bars.close[0, -4, 1]).all()


@pytest.mark.parametrize(
    ("clock", "now"),
    [
        ("NewYork+7", "2024-03-08 20:00:20"),  # GMT+2
        ("NewYork+7", "2024-03-12 20:00:20"),  # GMT+3, two days after New York's clocks went forward
        ("NewYork+7", "2024-11-05 20:00:20"),  # GMT+2 again
        ("Europe/Helsinki", "2024-03-29 20:00:20"),
        ("Europe/Helsinki", "2024-04-02 20:00:20"),
        ("Etc/GMT-3", "2024-04-02 20:00:20"),
        ("UTC", "2024-04-02 20:00:20"),
    ],
)
def test_the_servers_clock_is_followed_through_its_changes(clock: str, now: str) -> None:
    terminal = FakeTerminal(utc(now), clock=clock)
    broker = connected(terminal, clock=clock)
    bars = broker.bars(PAIRS, HOUR, 12)
    assert bars.timestamps.tolist() == [utc(now) - 20 - HOUR * back for back in range(12, 0, -1)]
    assert broker.quotes(["EURUSD"])["EURUSD"].time == utc(now)


def test_a_window_across_a_change_of_the_clock_has_no_hole_in_utc() -> None:
    terminal = FakeTerminal(utc("2024-03-31 12:00:20"), clock="Europe/Helsinki")
    bars = connected(terminal, clock="Europe/Helsinki").bars(PAIRS, HOUR, 24)
    assert np.all(np.diff(bars.timestamps) == HOUR)
    terminal = FakeTerminal(utc("2024-10-27 12:00:20"), clock="Europe/Helsinki")
    bars = connected(terminal, clock="Europe/Helsinki").bars(PAIRS, HOUR, 24)
    assert np.all(np.diff(bars.timestamps) == HOUR)


def test_ticks_from_the_future_show_a_wrong_clock() -> None:
    terminal = FakeTerminal(WEDNESDAY, clock="Etc/GMT-3")  # an hour ahead of the setting in winter
    with pytest.raises(UserError, match=r"3,600 seconds in the future of `simulation.broker_clock` NewYork\+7"):
        connected(terminal).bars(PAIRS, HOUR, 5)


@pytest.mark.parametrize(("seconds", "constant"), [(60, 1), (900, 15), (3600, 16385), (14_400, 16388)])
def test_timeframes_have_metatraders_constants(seconds: int, constant: int) -> None:
    terminal = FakeTerminal(utc("2024-03-06 12:00:20"))
    bars = connected(terminal).bars(["EURUSD"], seconds, 4)
    assert len(bars.timestamps) == 4 and f"rates EURUSD.r {constant} 0 5" in terminal.calls


def test_other_timeframes_are_refused() -> None:
    with pytest.raises(UserError, match="bars of M2 cannot be read; use one of M1, M5"):
        connected(FakeTerminal(WEDNESDAY)).bars(["EURUSD"], 120, 4)


def test_a_symbol_without_bars_is_named() -> None:
    terminal = FakeTerminal(WEDNESDAY)
    whole = terminal.copy_rates_from_pos
    terminal.copy_rates_from_pos = lambda name, *rest: whole(name, *rest)[: 5 if name < "U" else 0]  # type: ignore
    with pytest.raises(UserError, match="no finished H1 bars of USDJPY yet"):
        connected(terminal).bars(PAIRS, HOUR, 4)


# Names and contracts.


def listed(*names: str, **fields: Any) -> FakeTerminal:
    return FakeTerminal(WEDNESDAY, tuple(symbol(name, "EUR", "USD", 1.1, 5, **fields) for name in names))


@pytest.mark.parametrize(
    ("terminal", "names", "found"),
    [
        (listed("EURUSD"), {}, "EURUSD"),
        (listed("EURUSDm", "EURUSD.pro"), {}, "EURUSDm"),  # the shortest
        (listed("EURUSD.pro", "EURUSDm"), {"EURUSD": "EURUSD.pro"}, "EURUSD.pro"),
        (listed("#EURUSD"), {}, "#EURUSD"),
        (listed("EuroDollar"), {"EURUSD": "EuroDollar"}, "EuroDollar"),
    ],
)
def test_the_brokers_name_is_found_or_given(terminal: FakeTerminal, names: dict[str, str], found: str) -> None:
    broker = connected(terminal, names=names)
    assert broker.contracts(["EURUSD"])["EURUSD"].symbol == "EURUSD"
    assert f"select {found}" in terminal.calls


def test_a_symbol_that_is_traded_in_full_comes_before_others() -> None:
    terminal = listed("EURUSD", "EURUSD.pro")
    terminal.change("EURUSD", trade_mode=3)
    connected(terminal).contracts(["EURUSD"])
    assert terminal.calls.count("select EURUSD.pro") == 1
    terminal = listed("EURUSD", "EURUSD.pro")
    terminal.change("EURUSD", visible=False)
    connected(terminal).contracts(["EURUSD"])
    assert terminal.calls.count("select EURUSD.pro") == 1


def test_a_share_with_the_name_of_a_metal_is_not_taken_for_it() -> None:
    share = symbol(
        "GOLD", "USD", "USD", 16.0, 2, trade_calc_mode=32, path="Stocks\\NYSE\\GOLD", trade_contract_size=1.0
    )
    metal = symbol("GOLD.x", "XAU", "USD", 2_000.0, 2, path="Metals\\GOLD.x", trade_contract_size=100.0)
    terminal = FakeTerminal(WEDNESDAY, (share, metal))
    assert connected(terminal).contracts(["XAUUSD"])["XAUUSD"].contract_size == 100.0


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({}, "the broker has no symbol that is XAUUSD; give its name there with `names`"),
        ({"XAUUSD": "EURUSD.x"}, "`names` XAUUSD: the broker has no symbol EURUSD.x"),
    ],
)
def test_a_name_that_is_not_found_is_refused(names: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        connected(listed("EURUSD"), names=names).contracts(["XAUUSD"])


def test_contracts_are_what_the_broker_says() -> None:
    terminal = listed("EURUSD.r", trade_contract_size=1_000.0, volume_step=0.1, volume_min=0.1, swap_long=-7.5)
    found = connected(terminal).contracts(["EURUSD"])["EURUSD"]
    assert (found.contract_size, found.lot_step, found.min_lot, found.swap_long) == (1_000.0, 0.1, 0.1, -7.5)
    assert (found.digits, found.base_currency, found.profit_currency) == (5, "EUR", "USD")


def test_quotes_say_what_their_money_is_worth() -> None:
    terminal = FakeTerminal(WEDNESDAY)
    quotes = connected(terminal).quotes(PAIRS)
    assert (quotes["EURUSD"].bid, quotes["EURUSD"].ask, quotes["EURUSD"].time) == (1.1, 1.1001, WEDNESDAY)
    assert quotes["EURUSD"].conversion == pytest.approx(1.0)
    assert quotes["USDJPY"].conversion == pytest.approx(0.66 / (0.001 * 100_000))
    terminal.change("EURUSD.r", bid=0.0)
    assert list(connected(terminal).quotes(PAIRS)) == ["USDJPY"]


def test_positions_have_our_names_where_there_are_any() -> None:
    terminal = FakeTerminal(WEDNESDAY)
    terminal.hold("EURUSD.r", 0.1, 42, swap=-0.4, profit=3.0)
    terminal.symbols["Exotic"] = symbol("Exotic", "USD", "USD", 5.0, 2)
    terminal.hold("Exotic", -2.0, 0)
    assert connected(terminal).positions() == (
        Position("EURUSD", 0.1, 1.1, 1001, 42, 3.0, -0.4),
        Position("Exotic", -2.0, 5.0, 1002, 0),
    )


# The connection.


def test_a_lost_connection_is_made_again() -> None:
    terminal = FakeTerminal(WEDNESDAY)
    broker = connected(terminal)
    terminal.outage = 2
    assert broker.account().login == 51_234_567
    assert terminal.calls.count("initialize") == 3 and terminal.slept == [0.5, 1.0]


def test_a_terminal_without_its_server_is_waited_for() -> None:
    terminal = FakeTerminal(WEDNESDAY)
    broker = connected(terminal)
    terminal.offline = 2  # the terminal answers, from what it remembers
    assert len(broker.bars(PAIRS, HOUR, 3).timestamps) == 3
    assert terminal.slept == [0.5, 1.0]


@pytest.mark.parametrize("call", ["account", "positions", "bars", "contracts", "quotes"])
def test_a_connection_that_stays_lost_is_said(call: str) -> None:
    terminal = FakeTerminal(WEDNESDAY)
    broker = connected(terminal, tries=3)
    terminal.outage = 99
    arguments = {"bars": (PAIRS, HOUR, 3), "contracts": (PAIRS,), "quotes": (PAIRS,)}.get(call, ())
    with pytest.raises(BrokerUnavailable, match=r"no connection: .* failed, No IPC connection \(-10004\)"):
        getattr(broker, call)(*arguments)
    assert len(terminal.slept) == 3


def test_a_terminal_that_cannot_be_started_is_said() -> None:
    terminal = FakeTerminal(WEDNESDAY)
    terminal.outage = 99
    with pytest.raises(BrokerUnavailable):
        connected(terminal)


def test_a_terminal_where_nobody_is_logged_in_is_refused() -> None:
    terminal = FakeTerminal(WEDNESDAY)
    terminal.error = (-6, "Terminal: Authorization failed")
    with pytest.raises(UserError, match="nobody is logged in"):
        connected(terminal)
    assert not terminal.slept


def test_another_error_of_the_terminal_is_shown() -> None:
    terminal = FakeTerminal(WEDNESDAY)
    terminal.error = (-2, "Invalid params")
    with pytest.raises(UserError, match=r"MetaTrader's account_info failed: Invalid params \(-2\)"):
        connected(terminal)


@pytest.mark.parametrize("loads", [2, 99])
def test_bars_that_the_terminal_still_loads_are_waited_for(loads: int) -> None:
    terminal = FakeTerminal(WEDNESDAY)
    broker = connected(terminal, tries=3)
    whole, asked = terminal.copy_rates_from_pos, []

    def loading(*arguments: Any) -> np.ndarray | None:
        asked.append(arguments)
        terminal.error = (-4, "Terminal: Not found") if len(asked) <= loads else (1, "Success")
        return None if len(asked) <= loads else whole(*arguments)

    broker.contracts(PAIRS)
    terminal.copy_rates_from_pos = loading  # type: ignore[method-assign]
    if loads == 2:
        assert len(broker.bars(PAIRS, HOUR, 3).timestamps) == 3 and terminal.slept == [0.5, 1.0]
    else:
        with pytest.raises(UserError, match="Not found"):
            broker.bars(PAIRS, HOUR, 3)


@pytest.mark.parametrize(("system", "words"), [("linux", "exists for Windows alone"), ("win32", r"mtquant-jax\[mt5\]")])
def test_a_missing_package_is_explained(monkeypatch: pytest.MonkeyPatch, system: str, words: str) -> None:
    monkeypatch.setitem(sys.modules, "MetaTrader5", None)
    monkeypatch.setattr(sys, "platform", system)
    with pytest.raises(UserError, match=words):
        load_terminal()


def test_an_installed_package_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace()
    monkeypatch.setitem(sys.modules, "MetaTrader5", module)
    assert load_terminal() is module


def test_an_unknown_clock_is_refused() -> None:
    with pytest.raises(UserError, match=r"`simulation.broker_clock` GMT\+2"):
        connected(FakeTerminal(WEDNESDAY), clock="GMT+2")
