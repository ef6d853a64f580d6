"""Turns the names of a file's columns into the candidates for each role: prices by side, volumes and spreads.

A candidate is a key such as ``bid.open``, ``.close`` (a price without a side), ``ask.quote`` (one quote per bar) or
``volume.1``. The values decide between the candidates for one role (`choice`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.bar_file import PRICES

SIDES = ("bid", "", "mid", "last", "ask")
"""Sides of prices, the best first; prices without a side are bid prices unless the file has others."""
_SIDE_WORDS = {
    **dict.fromkeys(("bid", "bids"), "bid"),
    **dict.fromkeys(("mid", "mids", "middle", "midpoint", "typical"), "mid"),
    **dict.fromkeys(("last", "trade", "traded", "trades"), "last"),
    **dict.fromkeys(("ask", "asks", "offer", "ofr"), "ask"),
}
_PRICE_WORDS = {
    **{price: price for price in PRICES},
    **{price[0]: price for price in PRICES},
    **{"max": "high", "min": "low", "settle": "close", "settlement": "close"},
}
_NEUTRAL = ("price", "prices", "px", "rate", "quote", "candle", "bar", "ohlc", "x")
_VOLUMES = ("volume", "tickvolume", "tickvol", "vol", "realvolume")  # the first of those that move is taken
_OTHER_VOLUMES = ("realvol", "volumes", "tickqty", "tickcount", "ticks", "totalticks", "numticks", "v")
_NO_VOLUMES = re.compile(r"quote|taker|buy|sell|.?ma|avg|average|mean|std|change|delta|ratio|pct|log|norm|imbalance")
_MOMENTS = ("open", "close", "quote")  # of a spread, the best first: orders fill at the open of a bar
_OTHERS = {"spread": ("spread",), "spread_price": ("spreadprice",), "tradable": ("tradable",)}


def find_candidates(origin: str, names: Sequence[str]) -> dict[str, int] | None:
    """Find the columns that may have a role: key of the candidate -> position; None without a full set of prices.

    A file may quote all four prices on several sides; each whole set is a candidate. An ask or bid that is no whole set
    is kept where a spread can be made of it. Raises UserError if two columns have the same name.
    """
    plain = [plain_name(name) for name in names]
    found = _prices(origin, names, plain)
    whole = [side for side in SIDES if all(f"{side}.{price}" in found for price in PRICES)]
    if not whole:
        return None
    prices = [side for side in whole if side != "ask"] or whole
    columns = {f"{side}.{price}": found[f"{side}.{price}"] for side in prices for price in PRICES}
    for role, choices in _OTHERS.items():
        same = [position for position, name in enumerate(plain) if name in choices]
        if len(same) > 1:
            raise _twice(origin, names, same)
        if same:
            columns[role] = same[0]
    moment = next((moment for moment in _MOMENTS if f"ask.{moment}" in found), "")
    one_quote = moment == "quote" and ("bid.quote" not in found or "spread" in columns)
    if moment and not one_quote:
        columns |= {key: found[key] for key in (f"bid.{moment}", f"ask.{moment}") if key in found}
    return columns | {f"volume.{i}": position for i, position in enumerate(_volumes(names, plain))}


def plain_name(name: str) -> str:
    """The letters of a name in lower case."""
    return re.sub(r"[^a-z]", "", name.lower())


def is_price(key: str) -> bool:
    """Whether a candidate is a price."""
    return key.partition(".")[0] in SIDES and "." in key


def pick_volume(moves: Mapping[str, float], names: Mapping[str, str]) -> tuple[str, list[str]]:
    """The first volume that moves at least half as often as the one that moves most, and a sentence that names it.

    Args:
        moves: candidate -> how often it differs from the bar before; two or more, in the order of preference.
        names: candidate -> name of its column.

    Returns:
        the candidate, and no sentence where it is the first and no other moves.
    """
    chosen = next(key for key in moves if 2 * moves[key] >= max(moves.values()))
    others = [key for key in moves if key != chosen]
    still = "" if any(moves[key] for key in others) else " (which never changes)"
    if still and (chosen == next(iter(moves)) or not moves[chosen]):
        return chosen, []
    shown = shown_names(others, names)
    return chosen, [f"its volume is the column {shown_names([chosen], names)}, and not {shown}{still}."]


def names_of(columns: Mapping[str, int], names: Sequence[str]) -> dict[str, str]:
    """The name of the column of each candidate, with its number where several columns have that name."""
    numbers = {key: f" (column {at + 1})" if names.count(names[at]) > 1 else "" for key, at in columns.items()}
    return {key: names[at] + numbers[key] for key, at in columns.items()}


def shown_names(keys: Sequence[str], names: Mapping[str, str]) -> str:
    """The names of candidates as a list for messages, such as ``bid_open, bid_high``."""
    return ", ".join(names.get(key, key) for key in keys)


def _prices(origin: str, names: Sequence[str], plain: Sequence[str]) -> dict[str, int]:
    """Find one column for each side and price, and for a side alone (``ask.quote``); the shortest name is taken."""
    columns: dict[str, list[int]] = {}
    closes = []
    for position, name in enumerate(names):
        words = _words(name)
        key = _meaning(words, plain_name(origin))
        if key is not None:
            columns.setdefault(key, []).append(position)
        if words == ["price"] or [word for word in words if word not in _NEUTRAL] == ["last"]:
            closes.append(position)  # the close of files without a column of that name
    if closes:
        columns.setdefault(".close", closes[:1])
    found: dict[str, int] = {}
    for key, positions in columns.items():
        positions.sort(key=lambda position: _preference(plain[position], key))
        best = [p for p in positions if _preference(plain[p], key) == _preference(plain[positions[0]], key)]
        if len(best) > 1:
            raise _twice(origin, names, best)
        found[key] = best[0]
    return found


def _words(name: str) -> list[str]:
    """Split a name at punctuation, digits and capitals, and a side from its price: BidOpen, openbid and bid.o."""
    separated = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    words = []
    for word in re.findall(r"[a-z]+", separated.lower()):
        sides, prices = "|".join(_SIDE_WORDS), "|".join(sorted(_PRICE_WORDS, key=len, reverse=True))
        glued = re.fullmatch(rf"({sides})({prices})|({prices})({sides}|price)", word)
        words += [part for part in glued.groups() if part] if glued else [word]
    return words


def _meaning(words: Sequence[str], origin: str) -> str | None:
    """The key of a price column; None for any other. Words of the file's own name (``EURUSD.Open``) say nothing."""
    sides = {_SIDE_WORDS[word] for word in words if word in _SIDE_WORDS}
    prices = [_PRICE_WORDS[word] for word in words if word in _PRICE_WORDS]
    known = (*_SIDE_WORDS, *_PRICE_WORDS, *_NEUTRAL)
    rest = [word for word in words if word not in known and not (len(word) > 2 and word in origin)]
    if rest or len(prices) > 1 or len(sides) > 1:
        return None
    side = next(iter(sides), "")
    if prices:
        return f"{side}.{prices[0]}"
    return f"{side}.quote" if side in ("bid", "ask") else None


def _preference(plain: str, key: str) -> tuple[bool, int, str]:
    """Order of the columns for one key: one that names its price in full, then the shortest name."""
    return key.partition(".")[2] not in plain, len(plain), plain


def _volumes(names: Sequence[str], plain: Sequence[str]) -> list[int]:
    """Positions of the columns that may be the volume, in the order of preference; names known for it go first."""
    known = (*_VOLUMES, *_OTHER_VOLUMES)
    usual = [position for name in known for position, other in enumerate(plain) if other == name]
    like = [
        position
        for position, name in enumerate(names)
        if position not in usual and "volume" in (words := _words(name)) and not any(map(_NO_VOLUMES.fullmatch, words))
    ]
    return usual + like


def _twice(origin: str, names: Sequence[str], positions: Sequence[int]) -> UserError:
    called = [names[position] for position in positions]
    if len({plain_name(name) for name in called}) == 1:
        return UserError(f"{origin} has {len(called)} columns called {plain_name(called[0])}; keep one of them")
    return UserError(f"{origin} has {len(called)} columns for one price: {', '.join(called)}; keep one of them")
