"""Positions bar by bar -> trades as a broker's statement lists them: from flat (or a flip) to flat (or a flip)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

COSTS = ("spread", "commission", "slippage", "impact")
"""Kinds of costs, as in `simulation.account.Flows`."""


@dataclasses.dataclass(frozen=True)
class Trade:
    """One position of one instrument, from its first fill to its last. Money is in account currency."""

    symbol: str
    path: int
    direction: str  # long or short
    opened: int  # row of the first bar held
    closed: int | None  # row of the bar at whose open it was closed; None: open at the end
    lots: float  # opened in all fills; closed in all fills once it is closed
    max_lots: float  # held at once
    fills: int
    open_price: float  # mean of the fills that opened it, by lots
    close_price: float | None  # mean of the fills that closed it, by lots; None while it is open
    price_profit: float
    spread: float
    commission: float
    slippage: float
    impact: float
    swap: float

    @property
    def profit(self) -> float:
        """Profit after costs and swap."""
        return self.price_profit - self.spread - self.commission - self.slippage - self.impact + self.swap


def find_trades(
    units: np.ndarray,
    flows: dict[str, np.ndarray],
    opened: dict[str, np.ndarray],
    fill_price: np.ndarray,
    symbols: Sequence[str],
    lots_per_unit: np.ndarray,
    capital: float,
) -> list[Trade]:
    """Cut the history of every instrument into trades.

    A flip ends one trade at the price of its fill and begins another there: what the bar brought before the fill, and
    the closed part's share of the costs, belong to the trade that ends.

    Args:
        units: ``[L, P, N]`` held at the end of each step; flat before the first.
        flows: of `account.Flows` by name, ``[L, P, N]`` shares of initial capital over each step.
        opened: by the same names, the part of a flip's flows that belongs to the position it opens; zero elsewhere.
        fill_price: ``[L, P, N]`` quote currency; of any value where nothing was filled.
        symbols: N names; an empty one is padding.
        lots_per_unit: ``[N]``.
        capital: initial, account currency.

    Returns:
        Trades in the order of their opening.
    """
    side = np.sign(units)
    found = []
    for path in range(units.shape[1]):
        for column, symbol in enumerate(symbols):
            if symbol:
                one, new = (
                    {name: np.asarray(values[:, path, column], np.float64) * capital for name, values in kinds.items()}
                    for kinds in (flows, opened)
                )
                lots = np.abs(units[:, path, column]).astype(np.float64) * lots_per_unit[column]
                price = np.asarray(fill_price[:, path, column], np.float64)
                found += _of_instrument(side[:, path, column], lots, one, new, price, symbol, path)
    return sorted(found, key=lambda trade: (trade.path, trade.opened))


def _of_instrument(
    side: np.ndarray,
    lots: np.ndarray,
    flows: dict[str, np.ndarray],
    opened: dict[str, np.ndarray],
    price: np.ndarray,
    symbol: str,
    path: int,
) -> list[Trade]:
    """The trades of one instrument on one path; ``side`` and ``lots`` are ``[L]``, flows account currency ``[L]``."""
    before = np.concatenate([[0.0], side[:-1]])
    begins = (side != 0.0) & (side != before)
    starts = np.flatnonzero(begins)
    ends = np.flatnonzero((before != 0.0) & (side != before))  # the step in which a position ended
    if not len(starts):
        return []
    last = np.append(ends, np.full(len(starts) - len(ends), len(side) - 1))
    from_flip, to_flip = before[starts] != 0.0, side[last] != 0.0
    to_flip[len(ends) :] = False
    # Sums over [start, end] are differences of these.
    total = {name: np.concatenate([[0.0], np.cumsum(values)]) for name, values in flows.items()}
    money = {name: sums[last + 1] - sums[starts] for name, sums in total.items()}
    for name, values in opened.items():
        money[name] -= np.where(from_flip, flows[name][starts] - values[starts], 0.0)
        money[name] -= np.where(to_flip, values[last], 0.0)
    filled = np.diff(np.concatenate([[0.0], side * lots])) != 0.0
    fills = np.concatenate([[0], np.cumsum(filled)])
    held = np.flatnonzero(side != 0.0)
    volumes, open_prices, close_prices = _fills(lots, begins, held, ends, price)
    columns = {
        "opened": starts.tolist(),
        "closed": [*ends.tolist(), *[None] * (len(starts) - len(ends))],
        "direction": np.where(side[starts] > 0.0, "long", "short").tolist(),
        "lots": volumes.tolist(),
        "open_price": open_prices.tolist(),
        "close_price": [*close_prices.tolist(), *[None] * (len(starts) - len(ends))],
        "max_lots": np.maximum.reduceat(lots[held], np.searchsorted(held, starts)).tolist(),
        "fills": (fills[last + 1] - fills[starts]).tolist(),
        **{name: values.tolist() for name, values in money.items()},
    }
    rows = zip(*columns.values(), strict=True)
    return [Trade(symbol=symbol, path=path, **dict(zip(columns, row, strict=True))) for row in rows]


def _fills(
    lots: np.ndarray, begins: np.ndarray, held: np.ndarray, ends: np.ndarray, price: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lots that were opened by K trades, and the mean prices ``[K]`` at which they were; of those that ended, closed.

    Args:
        lots: ``[L]`` held at the end of each step.
        begins: ``[L]`` whether a trade begins in it, also at a flip.
        held: the steps at whose end a position is held.
        ends: the steps in which trades ended, which may be one trade fewer.
        price: ``[L]`` of the fills.
    """
    trade = (np.cumsum(begins) - 1)[held]  # whose position it is
    change = np.where(begins, lots, np.diff(lots, prepend=0.0))[held]
    added, removed = np.maximum(change, 0.0), np.maximum(-change, 0.0)

    def per_trade(values: np.ndarray) -> np.ndarray:
        return np.bincount(trade, values)

    volume = per_trade(added)
    closing = lots[ends - 1]  # in the last step, whatever follows
    ended = per_trade(removed)[: len(ends)] + closing
    closed = (per_trade(removed * price[held])[: len(ends)] + closing * price[ends]) / ended
    return volume, per_trade(added * price[held]) / volume, closed


@dataclasses.dataclass(frozen=True)
class TradeStatistics:
    """Closed trades in numbers, money in account currency; None where there is nothing to divide by."""

    trades: int  # closed
    open: int  # at the end
    win_rate: float | None  # share of the closed trades with a profit after costs
    profit_factor: float | None  # sum of profits / sum of losses
    mean_profit: float | None
    best: float | None  # profit
    worst: float | None  # profit
    mean_bars: float | None  # held


def trade_statistics(found: Sequence[Trade]) -> TradeStatistics:
    """Statistics of the closed trades, and the number of open ones."""
    closed = closed_trades(found)
    profits = np.asarray([trade.profit for trade in closed], np.float64)
    losses = float(-profits[profits < 0.0].sum())
    return TradeStatistics(
        trades=len(closed),
        open=len(found) - len(closed),
        win_rate=float((profits > 0.0).mean()) if len(profits) else None,
        profit_factor=float(profits[profits > 0.0].sum()) / losses if losses > 0.0 else None,
        mean_profit=float(profits.mean()) if len(profits) else None,
        best=float(profits.max()) if len(profits) else None,
        worst=float(profits.min()) if len(profits) else None,
        mean_bars=float(np.mean([(trade.closed or 0) - trade.opened for trade in closed])) if closed else None,
    )


def closed_trades(found: Sequence[Trade]) -> list[Trade]:
    """The trades that are closed at the end."""
    return [trade for trade in found if trade.closed is not None]


def profit_histogram(closed: Sequence[Trade], bins: int) -> tuple[np.ndarray, dict[str, list[int]]]:
    """How profits are spread; the rarest 1 % at either end are counted in the outermost bins.

    Returns:
        Edges ``[bins + 1]`` in account currency, and trades per bin by direction, ``long`` and ``short``.
    """
    profits = np.asarray([trade.profit for trade in closed])
    low, high = np.quantile(profits, [0.01, 0.99])
    edges = np.linspace(low, high if high > low else low + 1.0, bins + 1)
    clipped = np.clip(profits, edges[0], edges[-1])
    sides = {side: np.asarray([trade.direction == side for trade in closed]) for side in ("long", "short")}
    return edges, {side: np.histogram(clipped[chosen], edges)[0].tolist() for side, chosen in sides.items()}


def holding_histogram(closed: Sequence[Trade], bar_hours: float, ends: Sequence[float]) -> dict[str, list[int]]:
    """Trades by holding time, with a ``profit`` and with a ``loss``.

    Args:
        closed: trades.
        bar_hours: hours of a bar.
        ends: hours up to which the bins reach; a last one holds what is longer.
    """
    held = np.searchsorted(ends, [bar_hours * ((trade.closed or 0) - trade.opened) for trade in closed])
    won = np.asarray([trade.profit > 0.0 for trade in closed])
    outcomes = {"profit": won, "loss": ~won}
    return {name: np.bincount(held[chosen], minlength=len(ends) + 1).tolist() for name, chosen in outcomes.items()}
