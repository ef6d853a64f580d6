"""Turns what MetaTrader says about symbols into entries of instruments.yaml, and says what it does not know."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mtquant_jax.errors import UserError
from mtquant_jax.market.instruments import Instrument, instrument_of
from mtquant_jax.market.metatrader.dump import SymbolRecord
from mtquant_jax.market.metatrader.kinds import Kind, kind_of, plain_name
from mtquant_jax.market.metatrader.swaps import swap_of, triple_day_of

_WIDE = 10.0  # a spread of so many times the example's was perhaps read while the market was closed
_WIDTH = 120  # columns of the file


@dataclasses.dataclass(frozen=True)
class Account:
    """What the account adds to the symbols; None where the user does not say it."""

    currency: str = "USD"
    """Its currency, in which swap in deposit currency is."""
    commission: float | None = None
    """Commission of all symbols, account currency per lot and side."""
    margin_rate: float | None = None
    """Share of the notional held as margin, of all symbols."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One instrument as instruments.yaml has it."""

    symbol: str
    name: str
    """The broker's name."""
    values: Mapping[str, Any]
    """By key of instruments.yaml."""
    notes: tuple[str, ...]
    """Sentences on what is not the broker's, converted or unusual."""


@dataclasses.dataclass(frozen=True)
class Entries:
    """The instruments of a dump, and why other symbols are none."""

    found: tuple[Entry, ...]
    left_out: Mapping[str, str]
    """Broker's name -> reason, without a full stop."""


class _NotPossible(Exception):
    """Why a symbol has no entry."""


def entries_of(
    records: Sequence[SymbolRecord],
    instruments: Mapping[str, Instrument],
    account: Account,
    wanted: Sequence[str] = (),
) -> Entries:
    """Make an entry of each symbol that the simulation can trade, in the order of the dump.

    Args:
        records: of `read_dump`.
        instruments: shipped examples, which supply what MetaTrader does not say.
        account: what the account adds.
        wanted: broker's names or instruments; empty: all of the dump.

    Raises:
        UserError: a number is none, a wanted name is not in the dump, or a wanted symbol cannot be an entry.
    """
    kinds = {record.name: kind_of(record, instruments) for record in records}
    chosen = _chosen(records, kinds, wanted, instruments)
    left_out: dict[str, str] = {}
    taken: dict[str, SymbolRecord] = {}
    for record in sorted(chosen, key=_rank):
        kind = kinds[record.name]
        if kind.problem:
            left_out[record.name] = kind.problem
        elif kind.symbol in taken:
            other = taken[kind.symbol].name
            left_out[record.name] = f"it is another {kind.symbol}, of which {other} is taken; `symbols` chooses"
        else:
            taken[kind.symbol] = record
    names = {record.name.upper() for record in taken.values()} | set(taken)
    found = []
    for record in records:
        kind = kinds[record.name]
        if taken.get(kind.symbol) is not record:
            continue
        try:
            found.append(_entry(record, kind, instruments, account, names - {kind.symbol, record.name.upper()}))
        except _NotPossible as reason:
            left_out[record.name] = str(reason)
    if wanted and left_out:
        name, problem = next(iter(left_out.items()))
        raise UserError(f"{name}: {problem}")
    return Entries(tuple(found), left_out)


def _rank(record: SymbolRecord) -> tuple[bool, int]:
    """Of several names of an instrument, one shown in the Market Watch comes first, then the shortest."""
    return record.text("visible").lower() not in ("true", "1", "1.0"), len(record.name)


def _chosen(
    records: Sequence[SymbolRecord],
    kinds: Mapping[str, Kind],
    wanted: Iterable[str],
    instruments: Mapping[str, Instrument],
) -> Sequence[SymbolRecord]:
    """The records of wanted names, of several that are one instrument the first by rank; without any, all."""
    chosen: dict[str, SymbolRecord] = {}
    for name in wanted:
        found = [record for record in records if record.name.upper() == name.upper()]
        symbol = plain_name(name, instruments)
        found = found or sorted((record for record in records if kinds[record.name].symbol == symbol), key=_rank)
        if not found:
            names = ", ".join(record.name for record in records[:8]) + (", ..." if len(records) > 8 else "")
            raise UserError(f"`symbols` {name}: the dump has no such symbol; it has {names}")
        chosen[found[0].name] = found[0]
    return list(chosen.values()) or records


def _entry(
    record: SymbolRecord, kind: Kind, instruments: Mapping[str, Instrument], account: Account, others: set[str]
) -> Entry:
    """The entry of a symbol that is one of a kind; `others` are names that other instruments have."""
    digits, size = int(record.number("digits")), record.number("trade_contract_size")
    if size <= 0.0:
        raise _NotPossible(f"its contract size is {size:g}")
    unit = record.number("point", 0.0) / 10.0**-digits or 1.0
    try:
        swap = swap_of(record, size, digits, unit, account.currency)
        triple_day, about_day = triple_day_of(record)
    except UserError as error:
        raise _NotPossible(str(error)) from None
    example, notes = kind.example, [note for note in (swap.note, about_day) if note]
    like = example or _typical(kind, instruments)
    base = record.text("currency_base").upper()
    values = {
        "digits": digits,
        "contract_size": size,
        "spread": _spread(record, example, unit, digits, notes),
        **_charges(like, size, account, swap.mode == "money", notes),
        "base_currency": base if kind.base_is_unit else example.base_currency if example else kind.symbol,
        "profit_currency": record.text("currency_profit").upper(),
        "margin_class": kind.margin_class,
        "swap_mode": swap.mode,
        "swap_long": swap.long,
        "swap_short": swap.short,
        "triple_swap_day": triple_day,
        "min_lot": record.number("volume_min", like.min_lot),
        "lot_step": record.number("volume_step", like.lot_step),
        "max_lot": record.number("volume_max", like.max_lot),
        "session": like.session,
        **_price_range(record, example, notes),
        "aliases": _aliases(record, kind, others),
    }
    _check_tick(record, size, account, notes)
    try:
        instrument_of(record.where, kind.symbol, values)
    except UserError as error:
        raise _NotPossible(str(error)) from None
    return Entry(kind.symbol, record.name, values, tuple(f"{kind.symbol}: {note}." for note in notes))


def _typical(kind: Kind, instruments: Mapping[str, Instrument]) -> Instrument:
    """The shipped instrument of a margin class that needs most margin, as an example for one that is not shipped."""
    alike = (one for one in instruments.values() if one.margin_class == kind.margin_class)
    return max(alike, key=lambda one: one.margin_rate)


def _charges(like: Instrument, size: float, account: Account, swap_in_money: bool, notes: list[str]) -> dict[str, Any]:
    """Commission, the currency of fees and margin rate, which MetaTrader does not say.

    An instrument has one currency of fees: that of swap in money, which commission must share. The example's commission
    is taken in proportion to the contract size.
    """
    commission, currency, filled = account.commission, account.currency, []
    if commission is None:
        if swap_in_money and like.commission and like.fee_currency != currency:
            raise _NotPossible(
                f"its swap is money in {currency}, and the commission, which MetaTrader does not say, must be in the "
                "same currency: give it with `commission`"
            )
        commission = float(f"{like.commission * size / like.contract_size:.6g}")
        currency = currency if swap_in_money else like.fee_currency
        filled.append(f"commission {commission:g} {currency} per lot and side")
    if account.margin_rate is None:
        filled.append(f"margin rate {like.margin_rate:g}")
    if filled:
        verb = "are" if len(filled) > 1 else "is"
        notes.append(f"{' and '.join(filled)} {verb} the shipped example's ({like.symbol})")
    margin_rate = like.margin_rate if account.margin_rate is None else account.margin_rate
    return {"commission": commission, "fee_currency": currency, "margin_rate": margin_rate}


def _spread(record: SymbolRecord, example: Instrument | None, unit: float, digits: int, notes: list[str]) -> float:
    """The spread of the dump in points; where it has none, that of the example."""
    bid, ask = (record.number(key, 0.0) for key in ("bid", "ask"))
    spread = record.number("spread", 0.0) * unit or max(ask - bid, 0.0) * 10.0**digits * (bid > 0.0)
    usual = example.default_spread * 10.0**digits if example else 0.0
    if not spread and not usual:
        raise _NotPossible("the dump has no spread for it; make the dump while its market is open")
    if not spread:
        notes.append(f"the dump has no spread; {usual:g} points are the example's")
    elif usual and spread > _WIDE * usual:
        notes.append(f"spread {spread:g} points is wide beside the example's {usual:g}; was the market closed")
    return float(f"{spread or usual:.6g}")


def _price_range(record: SymbolRecord, example: Instrument | None, notes: list[str]) -> dict[str, Any]:
    """The example's range of prices, unless the broker's price says that it is quoted otherwise."""
    if example is None or example.price_range is None:
        return {}
    low, high = example.price_range
    bid = record.number("bid", 0.0)
    if bid and not low <= bid <= high:
        notes.append(f"price {bid:g} is not between {low:g} and {high:g}, the range of the example; check the symbol")
        return {}
    return {"price_range": [low, high]}


def _aliases(record: SymbolRecord, kind: Kind, others: set[str]) -> list[str]:
    """The example's other names that no other instrument of the file has, and the broker's name."""
    known = [alias for alias in (kind.example.aliases if kind.example else ()) if alias not in others]
    names = dict.fromkeys([*known, record.name.upper()])
    return [name for name in names if name != kind.symbol]


def _check_tick(record: SymbolRecord, size: float, account: Account, notes: list[str]) -> None:
    """Compare the contract size with the value of a tick, where no conversion lies between them."""
    tick, value = (record.number(key, 0.0) for key in ("trade_tick_size", "trade_tick_value"))
    if record.text("currency_profit").upper() != account.currency or tick <= 0.0 or value <= 0.0:
        return
    if abs(value / tick / size - 1.0) > 0.01:
        notes.append(
            f"contract size is {size:g}, but a tick of {tick:g} is worth {value:g} {account.currency}, as with a size "
            f"of {value / tick:g}; check it"
        )


def entries_yaml(entries: Iterable[Entry], source: str) -> str:
    """Format entries as an instruments.yaml, in lines of at most 120 columns, with the notes above each."""
    lines = [f"# Contracts of {source}, written by mtquant-jax data contracts. Keys: docs/market_data.md."]
    for entry in entries:
        opening = f"{_text(entry.symbol)}: {{"
        parts = [part for key, value in entry.values.items() for part in _parts(key, value)]
        parts[-1] = parts[-1][:-1] + "}"
        lines += ["", *(f"# {note}" for note in entry.notes), opening + parts[0]]
        for part in parts[1:]:
            if len(lines[-1]) + len(part) < _WIDTH:
                lines[-1] += f" {part}"
            else:
                lines.append(" " * len(opening) + part)
    return "\n".join(lines) + "\n"


def _parts(key: str, value: Any) -> list[str]:
    """A key and its value in parts that may be on different lines."""
    if not isinstance(value, list):
        return [f"{key}: {_text(value) if isinstance(value, str) else f'{value:.10g}'},"]
    items = [_text(item) if isinstance(item, str) else f"{item:.10g}" for item in value] or [""]
    items[0], items[-1] = f"{key}: [{items[0]}", f"{items[-1]}]" if len(items) > 1 else f"{key}: [{items[0]}]"
    return [f"{item}," for item in items]


def _text(text: str) -> str:
    """A text in quotes, unless it is a plain word that YAML takes for nothing else."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", text) and text.lower() not in ("true", "false", "null")
    return text if plain else json.dumps(text, ensure_ascii=False)
