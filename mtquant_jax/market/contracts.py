"""Turns contract specifications into the arrays that a simulation reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from mtquant_jax.market.instruments import Instrument, select
from mtquant_jax.types import Contracts


def contracts(
    symbols: Sequence[str],
    instruments: Mapping[str, Instrument],
    margin_leverage: Mapping[str, float] | None = None,
) -> Contracts:
    """Build contract arrays [N] float32 in the order of symbols.

    Args:
        symbols: N names; UserError for one without a specification.
        instruments: the specifications by symbol.
        margin_leverage: margin class -> leverage of the account, which replaces the instruments' margin rates.
    """
    chosen = select(symbols, instruments)
    leverage = dict(margin_leverage or {})
    rates = [1.0 / leverage[i.margin_class] if i.margin_class in leverage else i.margin_rate for i in chosen]

    def array(values: Sequence[Any]) -> jax.Array:
        return jax.device_put(np.asarray(values, np.float32))

    def swap(mode: str, unit: Callable[[Instrument], float]) -> jax.Array:
        both = [(i.swap_long, i.swap_short) if i.swap_mode == mode else (0.0, 0.0) for i in chosen]
        return array([[pair[side] * unit(i) for pair, i in zip(both, chosen, strict=True)] for side in (0, 1)])

    return Contracts(
        contract_size=array([i.contract_size for i in chosen]),
        commission=array([i.commission for i in chosen]),
        margin_rate=array(rates),
        slippage=array([i.slippage * i.point for i in chosen]),
        slippage_volatility=array([i.slippage_volatility for i in chosen]),
        swap_price=swap("points", lambda i: i.point),
        swap_money=swap("money", lambda i: 1.0),
        swap_rate=swap("interest", lambda i: 0.01),
        min_lot=array([i.min_lot for i in chosen]),
        lot_step=array([i.lot_step for i in chosen]),
        max_lot=array([i.max_lot for i in chosen]),
    )
