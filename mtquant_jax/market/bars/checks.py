"""Turns the raw rows of a file into validated bars, or into the reason to refuse it, with counts of all findings.

Tolerated, and why:

- Exact copies of a row (programs that append to a file write the last bar again) are dropped: nothing is lost.
- Rows out of order, each with its own time (newest first, or pieces appended later) are sorted: the order of rows holds
  no information beyond their times.
- Flat bars without volume at the last price, in a file whose other bars have volume, are fillers for closed hours
  (Dukascopy): nothing could be traded there, so they are dropped and the instrument is not tradable.
- An open or close outside the bar's range by at most half a basis point (feeds that sample the range) widens the range:
  orders fill at opens and accounts are marked at closes, so no price at which anything trades changes.

All repairs are counted and reported. The same time with other values, or an impossible price, is an error: to choose
between two prices would be to invent data.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from mtquant_jax.market.bars.bar_file import PRICES, BarFile, Findings, format_time
from mtquant_jax.market.bars.clocks import repeating_zones
from mtquant_jax.market.bars.prices import find_impossible, find_step, find_swapped_ends
from mtquant_jax.market.bars.spreads import find_bad_spread, find_swapped_sides, spread_in_price
from mtquant_jax.market.bars.table import Rows
from mtquant_jax.time_zones import Zone

_MAX_DECIMALS = 8
_LARGEST = 1e15  # price, and the inverse of the smallest
_SAMPLE = 20_000  # rows that determine the number of decimals
_WIDENED = 5e-5  # largest relative distance of an open or close from the range that widens it
_EXACT, _SINGLE = 1e-9, 1.2e-7  # relative error of prices in float64, and of prices that were float32 once


def examine(rows: Rows, zone: Zone) -> tuple[BarFile | None, Findings]:
    """Validate rows with one column per role; return the bars (None if the rows are refused) and the findings.

    Stamps without an offset are read on the clock of `zone`, unless the format defines them as UTC; a forced zone is
    the clock of all stamps but those of `data convert`, which are known to be UTC.
    """
    findings = Findings(rows=len(rows.stamps.unread), notices=list(rows.notices))
    columns = _columns(rows, findings)
    _check_rows(rows, columns, findings)
    if findings.problem:
        return None, findings
    forced = zone.forced and "tradable" not in columns
    local = forced or not rows.stamps.has_offset.any()
    naive = forced or (local and rows.zone is None)
    times, clock = rows.stamps.seconds, "UTC (in the file)"
    if local:
        zone = zone if forced else rows.zone or zone
        clock = zone.name if naive else f"{zone.name} (in the file)"
        if not zone.is_utc:
            times = _to_utc(rows, zone, findings)
    times, columns, order = _in_order(rows, times, columns, findings)
    if not findings.problem:
        _check_moves(rows, times, columns, order, findings)
    if findings.problem:
        return None, findings
    _widen(rows.name, columns, findings)
    tradable = columns.pop("tradable", None)
    if tradable is None:
        times, columns, order = _without_fillers(rows.name, times, columns, order, findings)
    decimals = _decimals(columns)
    spread, notices = spread_in_price(rows, columns, decimals)
    findings.notices += notices
    if spread is not None:
        findings.problem = find_bad_spread(rows, times, columns["close"], spread, _locator(rows, order))
    if findings.problem:
        return None, findings
    return BarFile(
        name=rows.name,
        format=rows.format,
        zone=clock,
        timestamps=times,
        volume=columns["volume"],
        spread=spread,
        tradable=None if tradable is None else tradable > 0.5,
        decimals=decimals,
        broker_time=naive and rows.broker_time,
        naive=naive,
        **{price: columns[price] for price in PRICES},
    ), findings


def _columns(rows: Rows, findings: Findings) -> dict[str, np.ndarray]:
    """Return the columns in use, each [R]: prices, volume, spread in points or in price units, tradable."""
    columns = dict(rows.columns)
    for name in ("volume", "spread"):
        if name in columns and np.isnan(columns[name]).all():
            findings.notices.append(f"{rows.name}: the column {name} is blank and counts as missing.")
            del columns[name]
    columns.setdefault("volume", np.zeros(findings.rows))
    return columns


_Problems = list[tuple[np.ndarray, str]]
"""Masks of rows [R], each with what is wrong with those; the text has the row's values by name and its cells."""


def _unreadable(rows: Rows, columns: dict[str, np.ndarray]) -> _Problems:
    """Times and numbers that cannot be read."""
    read = ~rows.stamps.unread
    offsets, none = read & rows.stamps.has_offset, read & ~rows.stamps.has_offset
    times = rows.stamps.problems()
    if offsets.any() and none.any() and not (rows.zone and rows.zone.is_utc):
        odd, has = (none, "no") if none.sum() < offsets.sum() else (offsets, "an")
        times.append(
            (odd, f"the time {{text[time]!r}} has {has} offset from UTC, unlike most; give it to all or to none")
        )
    return times + [
        (~np.isfinite(values), f"{name} {{text[{name}]!r}} is not a number; every bar needs one")
        for name, values in columns.items()
    ]


@np.errstate(over="ignore")
def _out_of_order(columns: dict[str, np.ndarray]) -> _Problems:
    """Prices of a bar that contradict each other."""
    o, h, low, c = (columns[price] for price in PRICES)
    slack = 1.0 + _WIDENED
    return [
        (h * (1.0 + _EXACT) < low, "high {high:.10g} is below low {low:.10g}"),
        (h * slack < o, "high {high:.10g} is below open {open:.10g}"),
        (h * slack < c, "high {high:.10g} is below close {close:.10g}"),
        (low > o * slack, "low {low:.10g} is above open {open:.10g}"),
        (low > c * slack, "low {low:.10g} is above close {close:.10g}"),
    ]


def _check_rows(rows: Rows, columns: dict[str, np.ndarray], findings: Findings) -> None:
    """Count bad rows and describe the first of them in file order, whatever its problem."""
    unreadable, order = _unreadable(rows, columns), _out_of_order(columns)
    signs = [
        (columns[price] <= 0, f"{price} {{{price}:.10g}} is not positive; a price must be above zero")
        for price in PRICES
    ]
    sizes = [
        (
            (columns[price] > _LARGEST) | (columns[price] < 1 / _LARGEST),
            f"{price} {{{price}:.10g}} is no price of anything",
        )
        for price in PRICES
    ]
    negative = [
        (columns[name] < 0, f"{name.partition('_')[0]} {{{name}:.10g}} is negative" + because)
        for name, because in (("volume", ""), ("spread", ""), ("spread_price", ": the ask is below the bid"))
        if name in columns
    ]
    findings.unreadable = _count(unreadable)
    findings.not_positive = _count(signs)
    findings.inconsistent = _count(order)
    problems = [*unreadable, *signs, *sizes, *order, *negative]
    findings.problem = None if findings.unreadable else find_swapped_sides(rows, columns)
    if findings.problem:
        return
    first = min((int(np.argmax(mask)) for mask, _ in problems if mask.any()), default=None)
    if first is None:
        return
    message = next(text for mask, text in problems if mask[first])
    number, text = rows.locate(first)
    when = "" if rows.stamps.unread[first] else f" ({format_time(rows.stamps.seconds[first])})"
    values = {name: column[first] for name, column in columns.items()}
    findings.problem = f"{rows.name} row {number}{when}: " + message.format(text=text, **values)
    if "is not a number" in message and re.fullmatch(r"[+-]?\d[\d.,' ]*", text.get(message.split()[0], "")):
        findings.problem += ", written like the others"
    more = _count(problems) - 1
    if more:
        findings.problem += f"; {more} more row{'s are' if more > 1 else ' is'} wrong"
    if not findings.unreadable and findings.rows >= _MANY and findings.inconsistent > _MOST * findings.rows:
        findings.problem += ", which is most of them: are two columns swapped?"


_MANY, _MOST = 20, 0.5  # rows, and share of them out of order, from which it is the columns that are wrong


def _count(problems: _Problems) -> int:
    """Count the rows that have at least one of the problems."""
    found = [mask for mask, _ in problems if mask.any()]
    return int(np.count_nonzero(np.logical_or.reduce(found))) if found else 0


def _to_utc(rows: Rows, zone: Zone, findings: Findings) -> np.ndarray:
    local = rows.stamps.seconds
    newest_first = len(local) > 1 and local[0] > local[-1]
    converted = zone.to_utc(local[::-1] if newest_first else local)
    findings.ambiguous, findings.missing = converted.ambiguous, converted.missing
    if converted.ambiguous:
        findings.notices.append(
            f"{rows.name}: {converted.ambiguous} stamps lie in hours that occur twice in {zone.name}, as clocks go "
            "back; the order of the rows decides between them, and the first of the two hours is the default."
        )
    if converted.missing:
        findings.notices.append(
            f"{rows.name}: {converted.missing} stamps lie in hours that {zone.name} skips, as clocks go forward; the "
            "offset before the change is used for them. Is that the clock of this file?"
        )
    return converted.utc[::-1] if newest_first else converted.utc


def _in_order(
    rows: Rows, times: np.ndarray, columns: dict[str, np.ndarray], findings: Findings
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None]:
    """Sort the rows by time and keep each time once; a time with two sets of values is recorded as a problem.

    Returns:
        times and columns [R], and the position in the file of each (None: as they are there).
    """
    step = np.diff(times)
    if not len(step) or step.min() > 0:
        return times, columns, None
    findings.unsorted = int(np.count_nonzero(step < 0))
    order = np.argsort(times, kind="stable")
    times = times[order]
    columns = {name: values[order] for name, values in columns.items()}
    again = np.concatenate([[False], np.diff(times) == 0])
    differ = again & np.logical_or.reduce([values != np.roll(values, 1) for values in columns.values()])
    findings.conflicts = int(np.count_nonzero(differ))
    findings.duplicates = int(np.count_nonzero(again)) - findings.conflicts
    if findings.conflicts:
        second = int(np.argmax(differ))
        first = second - 1
        name = next(name for name, values in columns.items() if values[first] != values[second])
        numbers = [rows.locate(int(order[i]))[0] for i in (first, second)]
        findings.problem = (
            f"{rows.name} row {numbers[1]} ({format_time(times[second])}): row {numbers[0]} has the same time, "
            f"with {name.partition('_')[0]} {columns[name][first]:.10g} there and {columns[name][second]:.10g} here; "
            + _on_a_repeated_time(rows.stamps.seconds[order][differ], bool(rows.stamps.has_offset.any()))
        )
        if findings.conflicts > 1:
            findings.problem += f" ({findings.conflicts} such rows)"
        if rows.stamps.are_dates and findings.conflicts >= (len(times) - 1) // 2:
            findings.problem = (
                f"{rows.name} row {numbers[1]} ({format_time(times[second])[:10]}): row {numbers[0]} has the same "
                "date; the column of the times of day is missing"
            )
        if findings.missing or findings.ambiguous:
            findings.problem += "; or these stamps are not in the zone given as `broker_timezone`"
        return times, columns, order
    if findings.unsorted:
        what = "newest first" if findings.unsorted > len(step) // 2 else f"{findings.unsorted} of them out of order"
        findings.notices.append(f"{rows.name}: its {findings.rows} rows were sorted by time ({what}).")
    if findings.duplicates:
        findings.notices.append(f"{rows.name}: {findings.duplicates} exact copies of rows were dropped.")
        times, order = times[~again], order[~again]
        columns = {name: values[~again] for name, values in columns.items()}
    return times, columns, order


def _check_moves(
    rows: Rows, times: np.ndarray, columns: dict[str, np.ndarray], order: np.ndarray | None, findings: Findings
) -> None:
    """Record a high or low that nothing explains as a problem, and steps between bars, which a user may allow."""
    tradable = columns.get("tradable")
    if tradable is not None:  # rows that only carry a close would make a step of a long pause
        kept = np.flatnonzero(tradable > 0.5)
        times, columns = times[kept], {price: columns[price][kept] for price in PRICES}
        order = kept if order is None else order[kept]
    locate = _locator(rows, order)
    if impossible := find_impossible(times, columns, locate):
        findings.problem = f"{rows.name} {impossible}; correct the row or remove it"
    elif swapped := find_swapped_ends(times, columns):
        findings.problem = f"{rows.name}: {swapped}"
    findings.step, findings.steps = find_step(times, columns, locate)


def _locator(rows: Rows, order: np.ndarray | None) -> Callable[[int], int]:
    """Map the position of a bar to its row number in the file."""
    return lambda position: rows.locate(position if order is None else int(order[position]))[0]


def _on_a_repeated_time(stamps: np.ndarray, stated: bool) -> str:
    """What to do about stamps ``[K]`` that have two rows each: both are right where local clocks go back."""
    zones = repeating_zones(stamps)
    if not zones:
        return "keep the correct row"
    return (
        f"clocks go back at that hour, so it occurs twice in {' and in '.join(zones[:2])}: keep both rows, and name "
        f"the zone of the file with `broker_timezone`, such as {zones[0]}"
        + (", and `force_broker_timezone`" if stated else "")
    )


def _widen(name: str, columns: dict[str, np.ndarray], findings: Findings) -> None:
    """Widen the range of each bar to include its open and close, in place."""
    top = np.maximum(columns["open"], columns["close"])
    bottom = np.minimum(columns["open"], columns["close"])
    outside = (top > columns["high"]) | (bottom < columns["low"])
    if not outside.any():
        return
    # Noise in the last digit of a float64 is not an inconsistency.
    visible = (top > columns["high"] * (1.0 + _EXACT)) | (bottom * (1.0 + _EXACT) < columns["low"])
    findings.inconsistent = int(np.count_nonzero(visible))
    columns["high"], columns["low"] = np.maximum(top, columns["high"]), np.minimum(bottom, columns["low"])
    if findings.inconsistent:
        findings.notices.append(
            f"{name}: in {findings.inconsistent} rows the open or close lies outside the range by less than half a "
            "basis point; the range was widened to include it."
        )


def _without_fillers(
    name: str, times: np.ndarray, columns: dict[str, np.ndarray], order: np.ndarray | None, findings: Findings
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None]:
    volume, close = columns["volume"], columns["close"]
    if not volume.any() or volume.all():
        return times, columns, order
    flat = (volume == 0) & (columns["high"] == columns["low"]) & (close == columns["high"])
    flat[1:] &= close[1:] == close[:-1]
    findings.fillers = int(np.count_nonzero(flat))
    if not findings.fillers:
        return times, columns, order
    findings.notices.append(
        f"{name}: {findings.fillers} flat bars without volume at the previous price are fillers for closed hours; they "
        "were dropped, and nothing trades there."
    )
    order = np.flatnonzero(~flat) if order is None else order[~flat]
    return times[~flat], {key: values[~flat] for key, values in columns.items()}, order


def _decimals(columns: dict[str, np.ndarray]) -> int:
    """Return the smallest number of decimals that represents 99 % of the quotes, so that float noise has no effect.

    One quote in ten ends in a zero by chance, so a whole file shows its last decimal even if some rows drop it. Prices
    that were float32 once (yfinance) are compared at that precision.
    """
    stride = max(1, len(columns["close"]) // _SAMPLE)
    prices = np.concatenate([columns[price][::stride] for price in PRICES])
    for tolerance in (_EXACT, _SINGLE):
        for decimals in range(_MAX_DECIMALS - 1):
            exact = np.abs(np.round(prices, decimals) - prices) <= tolerance * np.abs(prices)
            if np.mean(exact) >= 0.99:
                return decimals
    return _MAX_DECIMALS
