"""Turns the candidates for each role into one column per role: of several, the one whose values fit it.

- prices: those of the best side (bid, none, mid, last, ask) of which at least half of the values are prices;
- volume: the first in the order of names that moves at least half as often as the one that moves most;
- spread: ask - bid where the file has both, at the open if possible, else its spread column.

What was chosen is reported wherever the file offers more than one column, or none that is a bid.
"""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from mtquant_jax.market.bars.bar_file import PRICES
from mtquant_jax.market.bars.columns import SIDES, pick_volume, plain_name, shown_names
from mtquant_jax.market.bars.table import Rows

_SAMPLE = 200_000  # bars that show how often a volume moves
_KINDS = {
    "mid": "mid prices: fills at bid and ask differ from them by half the spread",
    "last": "prices of trades: fills at bid and ask may differ from them by the spread",
    "ask": "ask prices: every fill is worse by one spread than it would be",
}


def choose(rows: Rows) -> Rows:
    """The rows with one column per role: open, high, low, close, volume, spread or spread_price, and tradable.

    Its notices name what was chosen. The columns of the given rows are gone afterwards, to save memory.
    """
    found, notices = rows.columns, list(rows.notices)
    side = _side(rows, notices)
    chosen = {price: f"{side}.{price}" for price in PRICES}
    if volume := _volume(rows, notices):
        chosen["volume"] = volume
    chosen |= {role: role for role in ("spread", "spread_price", "tradable") if role in found}
    columns = {role: found[key] for role, key in chosen.items()}
    spread_name: dict[str, str] = {}
    if "spread_price" not in chosen and (pair := _sides_of_spread(rows, side, notices)):
        bid, ask = pair
        spread_name = {"spread_price": f"{shown_names([ask], rows.names)} - {shown_names([bid], rows.names)}"}
        # Between the mid and the ask is half the spread.
        columns["spread_price"] = (found[ask] - found[bid]) * (2.0 if bid.startswith("mid.") else 1.0)
        columns.pop("spread", None)
        chosen["spread_price"] = ask

    found.clear()  # the caller keeps the rows; a column of millions of bars that nobody takes would stay
    located = rows.locate

    def locate(index: int) -> tuple[int, dict[str, str]]:
        number, texts = located(index)
        return number, texts | {role: texts[key] for role, key in chosen.items() if key in texts}

    names = {role: rows.names.get(key, role) for role, key in chosen.items()} | spread_name
    return dataclasses.replace(rows, columns=columns, locate=locate, names=names, notices=notices)


def _side(rows: Rows, notices: list[str]) -> str:
    """The side whose prices are taken."""
    keys = {side: [f"{side}.{price}" for price in PRICES] for side in SIDES}
    sides = [side for side in SIDES if all(key in rows.columns for key in keys[side])]
    fitting = sides
    if len(sides) > 1:
        fitting = [side for side in sides if all(_are_prices(rows.columns[key]) for key in keys[side])] or sides
    side = fitting[0]
    names = {name: shown_names(keys[name], rows.names) for name in sides}
    kind = f" They are {_KINDS[side]}." if side in _KINDS else ""
    if len(sides) > 1:
        others = "; ".join(
            names[other] + ("" if other in fitting else " (no prices)") for other in sides if other != side
        )
        notices.append(f"{rows.name}: its prices are taken from {names[side]}, and not from {others}.{kind}")
    elif kind:
        notices.append(f"{rows.name}: its only prices are {names[side]}.{kind}")
    close = rows.names.get(f"{side}.close", "close")
    if "close" not in plain_name(close) and re.search("last|settle|price", plain_name(close)):
        notices.append(f"{rows.name}: the column {close} is taken for the close.")
    return side


def _are_prices(values: np.ndarray) -> bool:
    return 2 * int(np.count_nonzero(np.isfinite(values) & (values > 0))) >= len(values)


def _volume(rows: Rows, notices: list[str]) -> str:
    """The volume that moves; empty where there is none."""
    keys = [key for key in rows.columns if key.startswith("volume.")]
    if len(keys) < 2:
        return keys[0] if keys else ""
    chosen, named = pick_volume({key: _share_of_moves(rows.columns[key]) for key in keys}, rows.names)
    notices += [f"{rows.name}: {sentence}" for sentence in named]
    if named or not np.isnan(rows.columns[chosen]).all():
        return chosen
    return next((key for key in keys if not np.isnan(rows.columns[key]).all()), chosen)


def _share_of_moves(values: np.ndarray) -> float:
    """The share of bars, of evenly spaced ones in a long file, whose value differs from that of the bar before."""
    if len(values) < 2:
        return 0.0
    stride = max(1, len(values) // _SAMPLE)
    before, after = values[:-1:stride], values[1::stride]
    return float(np.mean((before != after) & np.isfinite(before) & np.isfinite(after)))


def _sides_of_spread(rows: Rows, side: str, notices: list[str]) -> tuple[str, str] | None:
    """The columns whose difference is the spread, the lower first; None if the file has no ask that is a price."""
    ask = next((key for key in rows.columns if key.startswith("ask.")), None) if side != "ask" else None
    if ask is None:
        return None
    moment = ask.partition(".")[2]
    bids = [key for key in (f"bid.{moment}", f"{side}.{moment}") if key in rows.columns]
    if not bids:
        return None
    bid = next((key for key in bids if _are_prices(rows.columns[key])), bids[0])
    names = shown_names([ask], rows.names), shown_names([bid], rows.names)
    values = rows.columns[ask], rows.columns[bid]
    usable = all(map(_are_prices, values))
    if moment == "quote":  # of an unknown time in the bar, and no part of the bars otherwise
        usable = usable and bool(np.isfinite(values).all() and np.all(values[0] >= values[1]))
    if not usable:
        notices.append(f"{rows.name}: the columns {names[0]} and {names[1]} give no spread, for one holds no prices.")
        return None
    if side != "bid" or ".open" in rows.columns or moment != "open" or "spread" in rows.columns:
        twice = "twice " if bid.startswith("mid.") else ""
        instead = ", and not the column spread" if "spread" in rows.columns else ""
        notices.append(f"{rows.name}: its spread is {twice}{names[0]} - {names[1]}{instead}.")
    return bid, ask
