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
    starts = np.flatnonzero((side != 0.0) & (side != before))
    ends = np.flatnonzero((before != 0.0) & (side != before))  # the step in which a position ended
    filled = np.diff(np.concatenate([[0.0], side * lots])) != 0.0
    # Sums over [start, end] are differences of these.
    total = {name: np.concatenate([[0.0], np.cumsum(values)]) for name, values in flows.items()}
    fills = np.concatenate([[0], np.cumsum(filled)])
    result = []
    for index, start in enumerate(starts):
        end = int(ends[index]) if index < len(ends) else None
        last = len(side) - 1 if end is None else end
        from_flip, to_flip = before[start] != 0.0, end is not None and side[end] != 0.0
        money = {name: float(sums[last + 1] - sums[start]) for name, sums in total.items()}
        for name, values in opened.items():
            if from_flip:
                money[name] -= float(flows[name][start] - values[start])
            if to_flip:
                money[name] -= float(values[last])
        volume, open_price, close_price = _fills(lots, int(start), end, price)
        result.append(
            Trade(
                symbol=symbol,
                path=path,
                direction="long" if side[start] > 0.0 else "short",
                opened=int(start),
                closed=end,
                lots=volume,
                open_price=open_price,
                close_price=close_price,
                max_lots=float(lots[start : last + (end is None)].max()),
                fills=int(fills[last + 1] - fills[start]),
                **money,
            )
        )
    return result


def _fills(lots: np.ndarray, start: int, end: int | None, price: np.ndarray) -> tuple[float, float, float | None]:
    """Lots that were opened, and the mean prices at which they were opened and closed."""
    steps = slice(start, len(lots) if end is None else end + 1)
    held = lots[steps].copy()
    if end is not None:
        held[-1] = 0.0  # a flip closes all of it
    change = np.diff(held, prepend=0.0)
    added, removed = np.maximum(change, 0.0), np.maximum(-change, 0.0)
    volume = float(added.sum())
    closed = None if end is None else float(removed @ price[steps]) / float(removed.sum())
    return volume, float(added @ price[steps]) / volume, closed


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
