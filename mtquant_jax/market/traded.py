"""Turns `symbols` into classes: those of the settings with these instruments alone, and new ones for the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import Instrument, find_symbol, select
from mtquant_jax.market.prepare import instruments_of
from mtquant_jax.settings.checks import validate
from mtquant_jax.settings.config import DomainName, SpecialistConfig, TrainConfig

_DOMAINS: dict[str, DomainName] = {
    "forex": "forex",
    "metals": "commodities",
    "energy": "commodities",
    "indices": "equity",
    "shares": "equity",
}
"""Margin class -> the domain of a new class of it; others are generic."""


def with_symbols(config: TrainConfig) -> TrainConfig:
    """The settings with only the instruments of ``symbols`` in their classes, and ``symbols`` empty.

    Each class keeps its own members in their order, and one without members is left out. An instrument that is in no
    class joins the class with most members of its margin class, or else a new one of that name, which learns as the
    first class does. Aliases and broker's names stand for their instruments; commas separate as blanks do.

    Raises:
        UserError: an unknown name.
    """
    names = [name.strip() for given in config.symbols for name in given.split(",") if name.strip()]
    if not names:
        return dataclasses.replace(config, symbols=())
    instruments = instruments_of(config)
    members = {symbol: name for name, specialist in config.specialists.items() for symbol in specialist.symbols}
    wanted = list(dict.fromkeys(_symbol(name, members, instruments) for name in names))
    specialists: dict[str, SpecialistConfig] = {
        name: dataclasses.replace(specialist, symbols=tuple(s for s in specialist.symbols if s in wanted))
        for name, specialist in config.specialists.items()
    }
    for symbol in wanted:
        if symbol not in members:
            name = _class_of(instruments[symbol], members, instruments)
            joined = specialists.get(name) or _new_class(instruments[symbol], config)
            specialists[name] = dataclasses.replace(joined, symbols=(*joined.symbols, symbol))
    specialists = {name: specialist for name, specialist in specialists.items() if specialist.symbols}
    chosen = dataclasses.replace(config, specialists=specialists, symbols=())
    validate(chosen)
    return chosen


def _symbol(name: str, members: Mapping[str, str], instruments: Mapping[str, Instrument]) -> str:
    """The symbol that a name stands for; one of a class is taken as it is."""
    if name in members:
        return name
    symbol = find_symbol(name, instruments)
    if symbol is None:
        select([name], instruments)  # raises, with what may be meant
        raise UserError(f"No contract specification for {name}")
    return symbol


def _class_of(instrument: Instrument, members: Mapping[str, str], instruments: Mapping[str, Instrument]) -> str:
    """The class with most members of the instrument's margin class; where there is none, the margin class's name."""
    alike: Sequence[str] = [
        name
        for symbol, name in members.items()
        if symbol in instruments and instruments[symbol].margin_class == instrument.margin_class
    ]
    return max(dict.fromkeys(alike), key=alike.count, default=instrument.margin_class)


def _new_class(instrument: Instrument, config: TrainConfig) -> SpecialistConfig:
    """A class without members for instruments of a margin class."""
    like = next(iter(config.specialists.values()))
    return dataclasses.replace(like, symbols=(), domain=_DOMAINS.get(instrument.margin_class, "generic"))
