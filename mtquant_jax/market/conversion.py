"""Plans and computes the conversion of profit and fees into the account currency, from prices of instruments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import Instrument, select


@dataclasses.dataclass(frozen=True)
class ConversionPlan:
    """The prices whose product is the account currency per unit of profit currency, for each instrument.

    A leg (index, sign) stands for the price of instrument index to the power sign; without legs the factor is 1.
    Hashable, so that it can be a static argument.
    """

    legs: tuple[tuple[tuple[int, int], ...], ...]  # N tuples of (index, +1 or -1)


def conversion_plan(
    symbols: Sequence[str],
    instruments: Mapping[str, Instrument],
    account_currency: str,
    of: Literal["profit_currency", "fee_currency"] = "profit_currency",
    traded: Collection[str] | None = None,
) -> ConversionPlan:
    """Plan the conversion of each symbol's profit or fees into account currency, from the prices of the same symbols.

    The factor is 1 for the account's own currency, the price of XXXUSD for XXX, 1 / price of USDXXX (USDJPY in a USD
    account), and the shortest chain of such prices otherwise. Raises UserError if no chain exists.

    Args:
        symbols: N names of instruments with prices.
        instruments: the specifications by symbol.
        account_currency: what profit and fees are converted into.
        of: the currency that is converted.
        traded: the symbols whose profit and fees must be convertible; None: all. Others only supply prices.
    """
    chosen = select(symbols, instruments)
    account = account_currency.upper()
    paths = _paths_to(account, chosen)
    legs = []
    for instrument in chosen:
        currency = getattr(instrument, of)
        needed = (traded is None or instrument.symbol in traded) and not _is_free(instrument, of)
        if currency not in paths and needed:
            what = "Profit" if of == "profit_currency" else "Commission"
            pairs = sorted((currency + account, account + currency), key=lambda pair: pair not in instruments)
            raise UserError(
                f"{what} of {instrument.symbol} is in {currency}, and no loaded instrument converts it into the "
                f"account currency {account}; add {pairs[0]} or {pairs[1]}, which need not be traded"
            )
        legs.append(paths.get(currency, ()))
    return ConversionPlan(legs=tuple(legs))


def _is_free(instrument: Instrument, of: str) -> bool:
    """Whether nothing is ever charged in the currency."""
    return of == "fee_currency" and instrument.commission == 0.0 and instrument.swap_mode != "money"


def conversion_symbols(
    traded: Sequence[str],
    instruments: Mapping[str, Instrument],
    account_currency: str,
    available: Callable[[], Iterable[str]],
    given: Sequence[str] = (),
) -> tuple[str, ...]:
    """The instruments, traded by nobody, whose prices convert what the traded instruments alone do not.

    Args:
        traded: N names.
        instruments: the specifications by symbol.
        account_currency: what profit and fees are converted into.
        available: gives the symbols that there are prices of; called only where a conversion is missing.
        given: instruments to use in any case; the pairs that are still needed come behind them.
    """
    chosen, account = select(traded, instruments), account_currency.upper()
    needed = [i.profit_currency for i in chosen] + [i.fee_currency for i in chosen if not _is_free(i, "fee_currency")]
    beside = tuple(symbol for symbol in dict.fromkeys(given) if symbol not in traded)
    chosen += select(beside, instruments)
    known = _paths_to(account, chosen)
    missing = [currency for currency in dict.fromkeys(needed) if currency not in known]
    if not missing:
        return beside
    have = {*traded, *beside}
    others = [instruments[symbol] for symbol in available() if symbol in instruments and symbol not in have]
    candidates = [*chosen, *(instrument for instrument in others if instrument.is_currency_pair)]
    paths = _paths_to(account, candidates)
    used = {index for currency in missing for index, _ in paths.get(currency, ())}
    return (*beside, *(candidates[index].symbol for index in sorted(used) if index >= len(chosen)))


def _paths_to(account: str, chosen: Sequence[Instrument]) -> dict[str, tuple[tuple[int, int], ...]]:
    """Find the shortest chain of prices from every convertible currency to the account's, breadth first."""
    paths: dict[str, tuple[tuple[int, int], ...]] = {account: ()}
    frontier = [account]
    while frontier:
        reached = []
        for currency in frontier:
            for index, instrument in enumerate(chosen):
                for source, target, sign in (
                    (instrument.base_currency, instrument.profit_currency, 1),
                    (instrument.profit_currency, instrument.base_currency, -1),
                ):
                    if target == currency and source not in paths:
                        paths[source] = ((index, sign), *paths[currency])
                        reached.append(source)
        frontier = reached
    return paths


def conversion(prices: jax.Array, plan: ConversionPlan) -> jax.Array:
    """Compute account currency per unit of profit currency: prices [..., N] of the plan's symbols -> [..., N]."""
    factors = []
    for legs in plan.legs:
        factor = jnp.ones_like(prices[..., 0])
        for index, sign in legs:
            factor = factor * prices[..., index] if sign > 0 else factor / prices[..., index]
        factors.append(factor)
    return jnp.stack(factors, axis=-1)
