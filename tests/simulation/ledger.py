"""A broker's ledger in NumPy float64, written from the formulas of docs/trading_model.md: lots, points, deals, money.

It shares no code with the package: it works in lots and account currency, converts currencies and counts nights on its
own, and records for each position the volume and the opening value of its open deals.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from mtquant_jax.market.instruments import Instrument

NEW_YORK = ZoneInfo("America/New_York")
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def nights_by_calendar(timestamps: np.ndarray, triple_days: list[str]) -> np.ndarray:
    """Charged nights ``[T, N]``: all New York closes since the bar before, counted one by one."""
    days = [
        (datetime.fromtimestamp(int(t), UTC).astimezone(NEW_YORK).replace(tzinfo=None) + timedelta(hours=7))
        for t in timestamps
    ]
    nights = np.zeros((len(days), len(triple_days)))
    for t in range(1, len(days)):
        day = days[t - 1].date()
        while day < days[t].date():  # the night at the end of this day
            for i, triple in enumerate(triple_days):
                weekday = WEEKDAYS[day.weekday()]
                nights[t, i] += 3 if weekday == triple else 0 if weekday in ("Sat", "Sun") else 1
            day += timedelta(days=1)
    return nights


def factors(symbols: tuple[str, ...], instruments: dict[str, Instrument], prices: np.ndarray, account: str, fees: bool):
    """Account currency per unit of profit (or fee) currency ``[T, N]``, for accounts in USD and EUR."""
    price = {symbol: prices[:, i] for i, symbol in enumerate(symbols)}
    dollars = {"USD": np.ones(len(prices)), "JPY": 1.0 / price["USDJPY"]}  # USD per unit of the currency
    columns = []
    for symbol in symbols:
        instrument = instruments[symbol]
        factor = dollars[instrument.fee_currency if fees else instrument.profit_currency]
        columns.append(factor / price["EURUSD"] if account == "EUR" else factor)
    return np.stack(columns, axis=-1)


@dataclasses.dataclass
class Prices:
    """The market of one account in float64: ``[T, N]`` or, for K accounts, ``[T, K, N]``."""

    open: np.ndarray
    close: np.ndarray
    spread: np.ndarray  # price units, before the cost multiplier
    tradable: np.ndarray
    k_open: np.ndarray
    k_close: np.ndarray
    k_fee: np.ndarray
    nights: np.ndarray
    volatility: np.ndarray  # per bar, as known at the end of the bar
    covariance: np.ndarray  # [T, N, N]

    def __len__(self) -> int:
        return len(self.open)


@dataclasses.dataclass
class Terms:
    """Contract terms of ``K`` accounts: ``[K, N]`` each, account rules ``[K, 1]``."""

    contract: np.ndarray
    point: np.ndarray
    commission: np.ndarray  # fee currency per lot and side
    margin_rate: np.ndarray
    slippage: np.ndarray  # points
    slippage_volatility: np.ndarray
    swap_points: np.ndarray  # [2, K, N] long, short
    swap_money: np.ndarray
    swap_percent: np.ndarray
    lot_step: np.ndarray
    min_lot: np.ndarray
    max_lot: np.ndarray
    capital: np.ndarray
    cost: np.ndarray  # multiplier
    impact: np.ndarray
    stop_out: np.ndarray
    ruin: np.ndarray
    rounds: np.ndarray  # bool


def terms_of(rows: list[list[Instrument]], **rules: np.ndarray) -> Terms:
    """Terms from the instruments of each account and its rules ``[K]``."""

    def table(get) -> np.ndarray:
        return np.array([[get(i) for i in row] for row in rows], float)

    def swap(mode: str) -> np.ndarray:
        sides = [lambda i: i.swap_long, lambda i: i.swap_short]
        return np.stack([table(lambda i, side=side: side(i) if i.swap_mode == mode else 0.0) for side in sides])

    return Terms(
        contract=table(lambda i: i.contract_size),
        point=table(lambda i: 10.0**-i.digits),
        commission=table(lambda i: i.commission),
        margin_rate=table(lambda i: i.margin_rate),
        slippage=table(lambda i: i.slippage),
        slippage_volatility=table(lambda i: i.slippage_volatility),
        swap_points=swap("points"),
        swap_money=swap("money"),
        swap_percent=swap("interest"),
        lot_step=table(lambda i: i.lot_step),
        min_lot=table(lambda i: i.min_lot),
        max_lot=table(lambda i: i.max_lot),
        **{name: np.asarray(value)[:, None] for name, value in rules.items()},
    )


class Ledger:
    """``K`` independent accounts."""

    def __init__(self, terms: Terms, prices: Prices):
        self.terms, self.prices = terms, prices
        self.balance = terms.capital.copy()
        self.lots = np.zeros(terms.contract.shape)
        self.opening = np.zeros(terms.contract.shape)  # sum of lots x opening price of the open deals
        self.ties = 0  # orders so close to a whole lot step that float32 may round either way
        self.paid = {
            name: np.zeros(len(terms.contract)) for name in ("commission", "slippage", "swap", "impact", "spread")
        }

    def reset(self, which: np.ndarray) -> None:
        """Open new accounts."""
        self.balance = np.where(which[:, None], self.terms.capital, self.balance)
        self.lots = np.where(which[:, None], 0.0, self.lots)
        self.opening = np.where(which[:, None], 0.0, self.opening)

    def equity(self, bid: np.ndarray, spread: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Balance plus q C (P_close - P_open) k, longs at the bid and shorts at the ask ``[K, 1]``."""
        mark = bid + np.where(self.lots < 0.0, spread * self.terms.cost, 0.0)
        return self.balance + ((self.lots * mark - self.opening) * self.terms.contract * k).sum(-1, keepdims=True)

    def under_margin(self, bid: np.ndarray, spread: np.ndarray, k: np.ndarray) -> np.ndarray:
        """Equity / margin below the stop-out level ``[K, 1]``."""
        margin = np.abs(self.lots) * self.terms.contract * bid * k * self.terms.margin_rate
        needed = margin.sum(-1, keepdims=True) * self.terms.stop_out
        return (needed > 0.0) & (self.equity(bid, spread, k) < needed * (1.0 - 1e-5))

    def hold_overnight(self, row: int, when: np.ndarray | bool = True) -> None:
        """Charge swap on open positions for the nights before bar ``row``, at its open."""
        terms, prices = self.terms, self.prices
        side = np.where(self.lots > 0.0, 0, 1)

        def of(pair: np.ndarray) -> np.ndarray:
            return np.where(side == 0, pair[0], pair[1])

        size, k = np.abs(self.lots), prices.k_open[row]
        points = of(terms.swap_points) * terms.contract * terms.point * size * k
        money = of(terms.swap_money) * size * prices.k_fee[row]
        interest = size * terms.contract * prices.open[row] * k * of(terms.swap_percent) / 100.0 / 360.0
        swap = (points + money + interest) * prices.nights[row] * terms.cost * when
        self.balance = self.balance + swap.sum(-1, keepdims=True)
        self.paid["swap"] += swap.sum(-1)

    def deal(self, lots: np.ndarray, row: int, known: int) -> None:
        """Trade at the open of bar ``row`` with the volatility known at the end of bar ``known``."""
        terms, prices = self.terms, self.prices
        bid, k = prices.open[row], prices.k_open[row]
        slip = (terms.slippage * terms.point + terms.slippage_volatility * prices.volatility[known] * bid) * terms.cost
        ask = bid + prices.spread[row] * terms.cost
        price = np.where(lots > 0.0, ask + slip, bid - slip)
        closed = np.where(self.lots * lots < 0.0, np.minimum(np.abs(lots), np.abs(self.lots)), 0.0)
        share = np.divide(closed, np.abs(self.lots), out=np.zeros_like(closed), where=self.lots != 0.0)
        closed = closed * np.sign(self.lots)
        profit = (closed * price - share * self.opening) * terms.contract * k
        commission = np.abs(lots) * terms.commission * prices.k_fee[row] * terms.cost
        self.balance = self.balance + (profit - commission).sum(-1, keepdims=True)
        opened = lots + closed
        self.opening = np.where(share == 1.0, 0.0, self.opening * (1.0 - share)) + opened * price
        self.lots = np.where(share == 1.0, 0.0, self.lots - closed) + opened
        self.paid["commission"] += commission.sum(-1)
        self.paid["slippage"] += (np.abs(lots) * slip * terms.contract * k).sum(-1)
        self.paid["spread"] += (np.maximum(lots, 0.0) * prices.spread[row] * terms.cost * terms.contract * k).sum(
            -1
        )  # at the fill

    def rounded(self, lots: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """The order of a wanted one; ``chosen`` is the volume of the tested account, used in a tie.

        The position follows in whole steps, the nearer ones. An order under the minimum waits, unless it ends a
        position.
        """
        terms, held = self.terms, self.lots
        steps = (held + np.clip(lots, -terms.max_lot, terms.max_lot)) / terms.lot_step
        near = 2e-3 + 1e-5 * np.abs(steps)  # equity may differ by its tolerance
        tie = np.abs(steps - np.floor(steps) - 0.5) < near
        both = np.stack([np.floor(steps), np.floor(steps) + 1.0])
        volumes = np.stack([np.abs(self._allowed(whole * terms.lot_step)) for whole in both])
        other = np.take_along_axis(both, np.abs(volumes - chosen).argmin(0)[None], 0)[0]
        whole = np.where(tie, other, np.rint(steps))
        self.ties += int((tie & terms.rounds & (whole != np.rint(steps))).sum())
        return np.where(terms.rounds, self._allowed(whole * terms.lot_step), lots)

    def _allowed(self, position: np.ndarray) -> np.ndarray:
        """The order that leads to a position, or the nearest to it that the broker takes."""
        order = position - self.lots
        ends = (self.lots != 0.0) & (position * self.lots <= 0.0)
        small = np.abs(order) < self.terms.min_lot * (1.0 - 1e-6)
        order = np.where(small, np.where(ends, -self.lots, 0.0), order)
        return np.clip(order, -self.terms.max_lot, self.terms.max_lot)

    def bar(self, t: int, weights: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Step from the close of bar t to that of t + 1: equity ``[K]``, stopped out ``[K]``, ruined ``[K]``."""
        terms, prices = self.terms, self.prices
        equity = self.equity(prices.close[t], prices.spread[t], prices.k_close[t])
        wanted = weights * equity / (terms.contract * prices.close[t] * prices.k_close[t])
        order = self.rounded(wanted - self.lots, chosen)
        row = t + 1
        self.hold_overnight(row)
        gap = self.under_margin(prices.open[row], prices.spread[row], prices.k_open[row])
        order = np.where(prices.tradable[row], np.where(gap, -self.lots, order), 0.0)
        change = (
            order * terms.contract * prices.open[row] * prices.k_open[row] / np.maximum(equity, 1e-6 * terms.capital)
        )
        quadratic = ((change @ prices.covariance[t]) * change).sum(-1)
        impact = 0.5 * terms.impact[:, 0] * terms.cost[:, 0] * quadratic * equity[:, 0]
        self.deal(order, row, t)
        self.balance = self.balance - impact[:, None]
        self.paid["impact"] += impact
        late = ~gap & self.under_margin(prices.close[row], prices.spread[row], prices.k_close[row])
        final = self.equity(prices.close[row], prices.spread[row], prices.k_close[row])
        if late.any() and row + 1 < len(prices):  # closed at the next available price
            self.hold_overnight(row + 1, late)
            self.deal(np.where(late & prices.tradable[row + 1], -self.lots, 0.0), row + 1, row)
            settled = self.equity(prices.open[row + 1], prices.spread[row + 1], prices.k_open[row + 1])
            final = np.where(late, settled, final)
        return final[:, 0], (gap | late)[:, 0], (final <= terms.ruin * terms.capital)[:, 0]
