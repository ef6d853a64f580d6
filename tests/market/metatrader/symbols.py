"""Symbols as MetaTrader describes them, for tests: the fields of symbol_info that matter, and some that do not."""

from __future__ import annotations

from typing import Any

from mtquant_jax.market.metatrader.dump import SymbolRecord


def symbol_info(name: str = "EURUSD", **changes: Any) -> dict[str, Any]:
    """EURUSD at a broker, with changes."""
    usual = {
        "custom": False,
        "visible": True,
        "digits": 5,
        "spread": 9,
        "trade_calc_mode": 0,
        "swap_mode": 1,
        "swap_rollover3days": 3,
        "bid": 1.0985,
        "ask": 1.09859,
        "point": 1e-5,
        "trade_tick_value": 1.0,
        "trade_tick_size": 1e-5,
        "trade_contract_size": 100_000.0,
        "volume_min": 0.01,
        "volume_max": 500.0,
        "volume_step": 0.01,
        "swap_long": -7.2,
        "swap_short": 2.1,
        "margin_initial": 0.0,
        "currency_base": "EUR",
        "currency_profit": "USD",
        "currency_margin": "EUR",
        "name": name,
        "path": f"Forex\\Majors\\{name}",
    }
    return usual | changes


def index_info(name: str = "GER40.cash", **changes: Any) -> dict[str, Any]:
    """The DAX at a broker, with changes."""
    usual = {
        "digits": 1,
        "point": 0.1,
        "bid": 19_200.0,
        "ask": 19_201.0,
        "spread": 10,
        "trade_calc_mode": 4,
        "trade_contract_size": 10.0,
        "trade_tick_size": 0.1,
        "trade_tick_value": 1.05,
        "currency_base": "EUR",
        "currency_profit": "EUR",
        "path": f"Indices\\{name}",
        "swap_rollover3days": 5,
    }
    return symbol_info(name, **usual | changes)


def share_info(name: str = "#NFLX", **changes: Any) -> dict[str, Any]:
    """A share at a broker, with changes."""
    usual = {
        "digits": 2,
        "point": 0.01,
        "bid": 900.0,
        "ask": 900.7,
        "spread": 70,
        "trade_calc_mode": 32,
        "trade_contract_size": 1.0,
        "trade_tick_size": 0.01,
        "trade_tick_value": 0.01,
        "currency_base": "USD",
        "currency_margin": "USD",
        "path": f"Stocks\\US\\{name}",
        "swap_mode": 5,
        "swap_rollover3days": 5,
    }
    return symbol_info(name, **usual | changes)


def record(**fields: Any) -> SymbolRecord:
    """The record of a symbol."""
    return SymbolRecord(f"dump.json: {fields['name']}", fields)
