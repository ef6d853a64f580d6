"""The book of the last portfolio, split by instrument and by class: positions, profit and loss, trades."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from mtquant_jax.backtest.trading import BacktestRecord, Detail
from mtquant_jax.evaluation.evaluation_bars import EvaluationBars
from mtquant_jax.evaluation.metrics import ClassMetrics, LotMetrics, PartMetrics, ProfitAndLoss
from mtquant_jax.runs.trained_run import TrainedRun
from mtquant_jax.simulation.market_env import IN_MARKET
from mtquant_jax.statistics.track_record import track_record
from mtquant_jax.statistics.trades import COSTS, Trade, find_trades, trade_statistics

FLOWS = ("price_profit", *COSTS, "swap")
"""Kinds of profit and loss, as in `simulation.account.Flows`."""


@dataclasses.dataclass(frozen=True)
class Slots:
    """Where real instruments stand among the columns of a record."""

    columns: tuple[int, ...]
    symbols: tuple[str, ...]
    positions: tuple[int, ...]  # of the same instruments in the market


def slots_of(judged: EvaluationBars, index: int | None = None) -> Slots:
    """The slots of the whole book, or of one class alone."""
    universe = judged.market.universe
    places = [
        (c * universe.width + i, symbol, c)
        for c, asset_class in enumerate(universe.classes)
        for i, symbol in enumerate(asset_class.symbols)
        if index is None or c == index
    ]
    shift = 0 if index is None else index * universe.width
    return Slots(
        tuple(place - shift for place, _, _ in places),
        tuple(symbol for _, symbol, _ in places),
        tuple(place for place, _, _ in places),
    )


def detail_of(record: BacktestRecord) -> Detail:
    """The detail of a record that has one."""
    assert record.detail is not None
    return record.detail


def trades_of(record: BacktestRecord, slots: Slots, run: TrainedRun, judged: EvaluationBars) -> list[Trade]:
    """The trades of a detailed record, money in account currency."""
    detail, columns = detail_of(record), list(slots.columns)
    capital = run.config.simulation.initial_capital
    sizes = np.asarray(judged.market.contracts.contract_size, np.float64)[list(slots.positions)]
    flows, opened = (
        {name: np.asarray(getattr(kinds, name))[:, :, columns] for name in FLOWS}
        for kinds in (detail.flows, detail.opened)
    )
    units = np.asarray(detail.units)[:, :, columns]
    fills = slice(judged.first + 1, judged.first + 1 + len(units))  # step l fills at the open of the bar after its own
    bid = np.asarray(judged.market.table.open, np.float64)[:, fills][:, :, list(slots.positions)]
    price = np.moveaxis(bid, 0, 1) + np.asarray(detail.fill_offset, np.float64)[:, :, columns]
    return find_trades(units, flows, opened, price, slots.symbols, capital / sizes, capital)


def lots(record: BacktestRecord, run: TrainedRun, judged: EvaluationBars) -> tuple[tuple[str, ...], np.ndarray]:
    """The symbols and the lots held ``[L, P, n]`` of the whole book."""
    slots = slots_of(judged)
    sizes = np.asarray(judged.market.contracts.contract_size, np.float64)[list(slots.positions)]
    units = np.asarray(detail_of(record).units, np.float64)[:, :, list(slots.columns)]
    return slots.symbols, units * (run.config.simulation.initial_capital / sizes)


def weights(record: BacktestRecord, judged: EvaluationBars) -> np.ndarray:
    """Signed exposure / equity ``[L, P, n]`` of the real instruments of the whole book."""
    return np.asarray(detail_of(record).weights)[:, :, list(slots_of(judged).columns)]


def exposures(record: BacktestRecord, judged: EvaluationBars) -> dict[str, np.ndarray]:
    """Exposure / equity ``[L, P]``: ``gross``, ``net``, and ``NAME net`` of every class."""
    held, symbols = weights(record, judged), slots_of(judged).symbols
    found = {"gross": np.abs(held).sum(axis=-1), "net": held.sum(axis=-1)}
    for asset_class in judged.market.universe.classes:
        columns = [symbols.index(symbol) for symbol in asset_class.symbols]
        found[f"{asset_class.name} net"] = held[:, :, columns].sum(axis=-1)
    return found


def daily_means(values: np.ndarray, judged: EvaluationBars) -> np.ndarray:
    """``[L, P, ...]`` -> ``[D, ...]``: means over paths and over the bars of each day."""
    means = np.asarray(values, np.float64).mean(axis=1)
    counts = np.diff(np.append(judged.day_starts, len(means)))
    sums = np.add.reduceat(means, judged.day_starts, axis=0)
    return np.asarray(sums / counts.reshape(-1, *(1,) * (means.ndim - 1)))


def flows_by_instrument(record: BacktestRecord, judged: EvaluationBars) -> dict[str, np.ndarray]:
    """Kind of profit and loss -> ``[L, P, n]`` shares of initial capital."""
    columns = list(slots_of(judged).columns)
    return {name: np.asarray(getattr(detail_of(record).flows, name), np.float64)[:, :, columns] for name in FLOWS}


def _profit_and_loss(flows: Mapping[str, np.ndarray], columns: list[int]) -> ProfitAndLoss:
    sums = {name: float(values[:, :, columns].sum(axis=(0, 2)).mean()) for name, values in flows.items()}
    net = sums["price_profit"] - sum(sums[name] for name in COSTS) + sums["swap"]
    return ProfitAndLoss(**sums, net=net)


def _contributions(
    record: BacktestRecord, flows: Mapping[str, np.ndarray], columns: list[int], judged: EvaluationBars
) -> np.ndarray:
    """What instruments brought each day as shares of the equity that the day began with ``[D, P]``."""
    net = sum((values for name, values in flows.items() if name not in COSTS), start=np.zeros(()))
    net = (net - sum(flows[name] for name in COSTS))[:, :, columns].sum(axis=-1)  # [L, P]
    base = np.maximum(np.asarray(record.equity, np.float64)[judged.day_starts], 1e-9)
    return np.asarray(np.add.reduceat(net, judged.day_starts, axis=0) / base)


def _part(
    record: BacktestRecord, trades: list[Trade], judged: EvaluationBars, columns: list[int], days_per_year: float
) -> PartMetrics:
    """A part of the last portfolio's book: where its profit came from, and the track record of its contributions."""
    flows, held = flows_by_instrument(record, judged), weights(record, judged)[:, :, columns]
    return PartMetrics(
        profit_and_loss=_profit_and_loss(flows, columns),
        track_record=track_record(_contributions(record, flows, columns, judged), days_per_year),
        mean_exposure=float(np.abs(held).sum(axis=-1).mean()),
        mean_weight=float(held.sum(axis=-1).mean()),
        time_in_market=float((np.abs(held).sum(axis=-1) > IN_MARKET).mean()),
        trades=trade_statistics(trades),
    )


def by_instrument(
    record: BacktestRecord, trades: list[Trade], judged: EvaluationBars, days_per_year: float
) -> dict[str, PartMetrics]:
    """Symbol -> its part of the book, with its own of the trades."""
    return {
        symbol: _part(record, [trade for trade in trades if trade.symbol == symbol], judged, [column], days_per_year)
        for column, symbol in enumerate(slots_of(judged).symbols)
    }


def by_class(
    record: BacktestRecord, trades: list[Trade], judged: EvaluationBars, days_per_year: float
) -> dict[str, ClassMetrics]:
    """Class -> its part of the book, with its own of the trades."""
    symbols, budgets = slots_of(judged).symbols, np.asarray(record.budgets, np.float64)
    found = {}
    for index, asset_class in enumerate(judged.market.universe.classes):
        columns = [symbols.index(symbol) for symbol in asset_class.symbols]
        own = [trade for trade in trades if trade.symbol in asset_class.symbols]
        found[asset_class.name] = ClassMetrics(
            symbols=asset_class.symbols,
            mean_budget=float(budgets[:, :, index].mean()),
            part=_part(record, own, judged, columns, days_per_year),
        )
    return found


def smallest_order(symbol: str, capital: float, judged: EvaluationBars) -> float:
    """Value of an instrument's smallest order at the median price of the bars, share of initial capital."""
    slots, market = slots_of(judged), judged.market
    place, bars = slots.positions[slots.symbols.index(symbol)], slice(judged.first, judged.last)
    price = np.asarray(market.table.close)[:, bars, place] * np.asarray(market.table.conversion_close)[:, bars, place]
    lot = float(market.contracts.contract_size[place]) * float(np.median(price))
    return float(market.contracts.min_lot[place]) * lot / capital


def by_lots(
    record: BacktestRecord, unrounded: BacktestRecord, capital: float, judged: EvaluationBars
) -> dict[str, LotMetrics]:
    """Symbol -> what whole lots change: ``record`` trades them, ``unrounded`` is the same policy without rounding."""
    columns = list(slots_of(judged).columns)
    held = weights(record, judged)
    wanted = np.asarray(detail_of(record).unrounded_weights)[:, :, columns]
    flows, others = flows_by_instrument(record, judged), flows_by_instrument(unrounded, judged)
    return {
        symbol: LotMetrics(
            smallest_order=smallest_order(symbol, capital, judged),
            mean_wanted=float(np.abs(wanted[:, :, column]).mean()),
            mean_held=float(np.abs(held[:, :, column]).mean()),
            mean_distance=float(np.abs(held - wanted)[:, :, column].mean()),
            net=_profit_and_loss(flows, [column]).net,
            net_unrounded=_profit_and_loss(others, [column]).net,
        )
        for column, symbol in enumerate(slots_of(judged).symbols)
    }
