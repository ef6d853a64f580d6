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
    max_lots: float
    fills: int
    price_profit: float
    spread: float
    commission: float
    slippage: float
    impact: float
    swap: float

    @property
    def profit(self) -> float:
        """After costs and swap."""
        return self.price_profit - self.spread - self.commission - self.slippage - self.impact + self.swap


def find_trades(
    units: np.ndarray,
    flows: dict[str, np.ndarray],
    symbols: Sequence[str],
    lots_per_unit: np.ndarray,
    capital: float,
) -> list[Trade]:
    """Cut the history of every instrument into trades.

    A bar in which a position is closed or turned belongs to the trade that ends, with all that was paid in it; the part
    of a turn's price move after the fill counts there too, which a book of bars cannot tell apart.

    Args:
        units: ``[L, P, N]`` held at the end of each step; flat before the first.
        flows: of `account.Flows` by name, ``[L, P, N]`` shares of initial capital over each step.
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
                one = {name: np.asarray(values[:, path, column], np.float64) for name, values in flows.items()}
                lots = np.abs(units[:, path, column]).astype(np.float64) * lots_per_unit[column]
                found += _of_instrument(side[:, path, column], lots, one, symbol, path, capital)
    return sorted(found, key=lambda trade: (trade.path, trade.opened))


def _of_instrument(
    side: np.ndarray, lots: np.ndarray, flows: dict[str, np.ndarray], symbol: str, path: int, capital: float
) -> list[Trade]:
    """The trades of one instrument on one path; ``side`` and ``lots`` are ``[L]``."""
    before = np.concatenate([[0.0], side[:-1]])
    starts = np.flatnonzero((side != 0.0) & (side != before))
    ends = np.flatnonzero((before != 0.0) & (side != before))  # the step in which a position ended
    filled = np.diff(np.concatenate([[0.0], side * lots])) != 0.0
    # Sums over [start, end] are differences of these.
    total = {name: np.concatenate([[0.0], np.cumsum(values)]) * capital for name, values in flows.items()}
    fills = np.concatenate([[0], np.cumsum(filled)])
    result = []
    for index, start in enumerate(starts):
        end = int(ends[index]) if index < len(ends) else None
        last = len(side) - 1 if end is None else end
        # A turn's bar is booked with the trade that it ends.
        first = int(start) + (1 if start in ends[:index] else 0)
        result.append(
            Trade(
                symbol=symbol,
                path=path,
                direction="long" if side[start] > 0.0 else "short",
                opened=int(start),
                closed=end,
                max_lots=float(lots[start : last + (end is None)].max()),
                fills=int(fills[last + 1] - fills[start]),
                **{name: float(sums[last + 1] - sums[first]) for name, sums in total.items()},
            )
        )
    return result


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
    """Statistics of trades, open ones counted alone."""
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
    """Without those that are open at the end."""
    return [trade for trade in found if trade.closed is not None]


def profit_histogram(closed: Sequence[Trade], bins: int) -> tuple[np.ndarray, dict[str, list[int]]]:
    """How profits are spread; the rarest 1 % at either end are counted in the outermost bins.

    Returns:
        edges ``[bins + 1]`` in account currency, and trades per bin by direction, ``long`` and ``short``.
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
