"""Writes what is known of a model and of clocks as constants: model.mqh and clock_table.mqh."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mtquant_jax.deploy.mql5.moves import table
from mtquant_jax.errors import UserError
from mtquant_jax.market.calendar import CLOCK_NAMES, EVERY_NIGHT, SESSIONS, WEEKDAYS
from mtquant_jax.market.instruments import Instrument
from mtquant_jax.time_zones import read_zone

_FIRST_YEAR, _LAST_YEAR = "2000", "2060"
_STEP = 900  # seconds between looks for a change of an offset; all changes since 2000 are on whole quarters

_TIMEFRAMES = {60: "M1", 300: "M5", 900: "M15", 1800: "M30", 3600: "H1", 14400: "H4", 86400: "D1"}

SERVER_CLOCKS: Mapping[str, str] = {
    "NEW_YORK_7": "NewYork+7",
    "EET": "Europe/Helsinki",
    "LONDON": "Europe/London",
    "UTC": "UTC",
    "UTC_2": "Etc/GMT-2",
    "UTC_3": "Etc/GMT-3",
}
"""Clocks that a trade server may have besides that of the training: name in ENUM_SERVER_CLOCK -> time zone."""


def text_literal(value: str) -> str:
    """A string as MQL5 reads it."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def clock_table(model_clock: str) -> str:
    """The changes of each clock's offset from UTC between 2000 and 2060, and the sessions of the clock's columns.

    Args:
        model_clock: the time zone of ``simulation.broker_clock``, which gives the broker's days.
    """
    first, change, offset = [0], [], []
    for zone in (model_clock, *SERVER_CLOCKS.values()):
        when, ahead = _changes(zone)
        change += when
        offset += ahead
        first.append(len(change))
    names = ["SERVER_CLOCK_MODEL", *(f"SERVER_CLOCK_{name}" for name in SERVER_CLOCKS)]
    comments = [f"As in training: {model_clock}", *SERVER_CLOCKS.values()]
    rows = [
        f"   {name} = {i}{',' if i + 1 < len(names) else ' '} // {what}"
        for i, (name, what) in enumerate(zip(names, comments, strict=True))
    ]
    return "\n".join(
        [
            "// Offsets of clocks from UTC, and when they change; generated.",
            "#define CLOCK_OF_MODEL 0",
            "",
            "enum ENUM_SERVER_CLOCK {",
            *rows,
            "};",
            "",
            _numbers("CLOCK_FIRST", "int", first),
            _numbers("CLOCK_CHANGE", "long", change),
            _numbers("CLOCK_OFFSET", "long", offset),
            _numbers("SESSION_FIRST", "int", [session[0] for session in SESSIONS]),
            _numbers("SESSION_LAST", "int", [session[1] for session in SESSIONS]),
            "",
            "struct ClockValues {",
            f"   float values[{len(CLOCK_NAMES)}];",
            "};",
            "",
        ]
    )


def _changes(zone: str) -> tuple[list[int], list[int]]:
    """When the offset of a zone changes, UTC, and what it is from there on; the first entry stands for all before."""
    begin, end = (int(np.datetime64(year, "s").astype(np.int64)) for year in (_FIRST_YEAR, _LAST_YEAR))
    times = np.arange(begin, end, _STEP)
    offsets = read_zone(zone).from_utc(times) - times
    changed = np.flatnonzero(np.diff(offsets)) + 1
    return [0, *times[changed].tolist()], [int(offsets[0]), *offsets[changed].tolist()]


def _numbers(name: str, kind: str, values: Sequence[int]) -> str:
    return table(name, kind, [str(value) for value in values])


def timeframe(seconds: int) -> str:
    """MetaTrader's name of a bar interval.

    Raises:
        UserError: it has none that the clock's slots fit.
    """
    if seconds not in _TIMEFRAMES:
        known = ", ".join(f"{key // 60}" for key in _TIMEFRAMES)
        raise UserError(
            f"the model trades bars of {seconds // 60} minutes; an Expert Advisor can trade those of {known}"
        )
    return f"PERIOD_{_TIMEFRAMES[seconds]}"


def model_constants(
    defines: Mapping[str, str | int],
    identity: int,
    instruments: Sequence[Instrument],
    slots: Sequence[int],
) -> str:
    """What is known of the model.

    Args:
        defines: names and values of plain constants.
        identity: 63 bits that differ between any two models.
        instruments: of all symbols, the traded ones first.
        slots: ``[N]`` position of each slot's symbol among them; -1 for padding.
    """
    weekdays = {name: index for index, name in enumerate(WEEKDAYS)} | {EVERY_NIGHT: -1}

    def numbers(name: str, field: str) -> str:
        return table(name, "double", [f"{getattr(one, field):.17g}" for one in instruments])

    def texts(name: str, field: str) -> str:
        return table(name, "string", [text_literal(getattr(one, field)) for one in instruments])

    return "\n".join(
        [
            "// What the model was trained on; generated.",
            *(f"#define {name} {value}" for name, value in defines.items()),
            "",
            f"const long MODEL_ID = {identity};",
            texts("MODEL_SYMBOL", "symbol"),
            texts("MODEL_PROFIT_CURRENCY", "profit_currency"),
            _numbers("MODEL_TRIPLE_DAY", "int", [weekdays[one.triple_swap_day] for one in instruments]),
            numbers("MODEL_SPREAD", "default_spread"),
            numbers("MODEL_CONTRACT_SIZE", "contract_size"),
            numbers("MODEL_MIN_LOT", "min_lot"),
            numbers("MODEL_LOT_STEP", "lot_step"),
            numbers("MODEL_MAX_LOT", "max_lot"),
            _numbers("SLOT_SYMBOL", "int", slots),
            "",
        ]
    )
