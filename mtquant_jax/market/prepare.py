"""Turns settings into the market of a training: bars, table, contracts, splits and reward scales."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mtquant_jax.errors import UserError
from mtquant_jax.market.bars.selection import choose
from mtquant_jax.market.calendar import broker_days
from mtquant_jax.market.contracts import contracts
from mtquant_jax.market.conversion import conversion_symbols
from mtquant_jax.market.features import LOOK_BACK_BARS, build_table
from mtquant_jax.market.fingerprint import of_history, of_synthetic
from mtquant_jax.market.instruments import Instrument, load_instruments
from mtquant_jax.market.splits import split
from mtquant_jax.market.synthetic.calibration_files import load_calibration
from mtquant_jax.market.synthetic.generator import generate
from mtquant_jax.market.synthetic.scenarios import STAGES, find_scenario
from mtquant_jax.market.trading_costs import typical_costs
from mtquant_jax.market.universe import Universe, arrange_contracts, arrange_table, universe_of
from mtquant_jax.settings.config import READING, TrainConfig
from mtquant_jax.types import AssetClass, Bars, Contracts, MarketTable, Splits

EXAMPLE_CONTRACTS = (
    "contract sizes, commissions and swaps are the examples of configs/instruments.yaml; "
    "give your broker's with `instruments` FILE"
)
"""Notice about bars that are traded with the example contracts and not with those of a broker."""


GIVEN = "data given in Python"
"""How the description of a market of such bars begins."""


@dataclasses.dataclass(frozen=True)
class Market:
    """The market of a run, arranged by class."""

    universe: Universe
    table: MarketTable  # N = S x C, padded
    contracts: Contracts  # [N]
    splits: Splits
    day: np.ndarray  # [T] int, days since 1970-01-01 on the broker's clock
    bars_per_day: float  # mean over the days with bars
    timestamps: np.ndarray  # [T] int64, seconds since 1970-01-01 UTC
    class_scale: np.ndarray  # [S] 1 / typical per-bar return of a fully used class budget
    portfolio_scale: float  # 1 / typical per-bar return of the equally divided portfolio
    costs: np.ndarray  # [S, C] typical cost of trading one side, share of the value traded
    volatility: np.ndarray  # [S, C] typical standard deviation of returns per bar
    description: str
    notices: tuple[str, ...]
    stages: tuple[str, ...] = ()  # of the curriculum; the paths are ordered by stage, equally many of each
    settings: TrainConfig | None = None  # that it was prepared with; None for one that was made otherwise
    given: Bars | None = None  # that it was made of, where they were neither read nor generated
    fingerprint: str = ""  # the same for the same bars, contracts and classes; empty for one that was made otherwise


def asset_classes(config: TrainConfig) -> tuple[AssetClass, ...]:
    """The asset classes of the specialists, in the order of the configuration."""
    return tuple(AssetClass(name, tuple(s.symbols), s.domain) for name, s in config.specialists.items())


def instruments_of(config: TrainConfig) -> dict[str, Instrument]:
    """The contract specifications of a configuration, by symbol."""
    return load_instruments(Path(config.instruments) if config.instruments else None)


def market_settings(config: TrainConfig, given: bool = False) -> dict[str, Any]:
    """The settings besides its classes that a market depends on, by key; ``given``: one of bars given in Python."""
    of_source = ("curriculum", "data_dir", "timeframe", *READING)
    keys: tuple[str, ...] = ("instruments", "market", "simulation", *(() if given else of_source))
    keys += () if given or config.data_dir else ("seed",)
    return {key: getattr(config, key) for key in keys}


def conversion_of(
    config: TrainConfig, traded: Sequence[str], instruments: Mapping[str, Instrument], given: Bars | None = None
) -> tuple[str, ...]:
    """The instruments whose prices the market needs for conversion alone.

    Args:
        config: the settings; those of ``market.conversion`` come first.
        traded: N names.
        instruments: the specifications by symbol.
        given: bars given in Python, in the place of those that the settings describe.
    """

    def available() -> Iterable[str]:
        if given is not None:
            return given.symbols
        if not config.data_dir:
            return _calibration(config)["instruments"]
        from mtquant_jax.market.bars.directory import symbols_in  # brings pyarrow

        return symbols_in(Path(config.data_dir), instruments)

    account = config.simulation.account_currency
    return conversion_symbols(traded, instruments, account, available, config.market.conversion)


def prepare_market(
    config: TrainConfig,
    cut: Callable[[np.ndarray], Splits] | None = None,
    bars: Bars | None = None,
    change: Callable[[Bars], Bars] | None = None,
) -> Market:
    """Read or generate bars, compute the table and split it.

    Args:
        config: the settings.
        cut: bar times ``[T]`` -> the splits; None splits by the settings.
        bars: bars to use instead of those that the settings describe, of the specialists' symbols and perhaps others,
            which convert currencies where needed; ``market.start`` and ``market.end`` cut them, too.
        change: what is done to the bars before anything is computed of them; the market then has no fingerprint.

    Raises:
        UserError: a problem with the data directory, a file, a symbol or the number of bars.
    """
    if config.symbols:
        raise UserError("`symbols` chooses instruments when settings are loaded: give it to load_config")
    universe = universe_of(asset_classes(config))
    instruments = instruments_of(config)
    given, is_history = bars is not None, bars is not None or bool(config.data_dir)
    conversion = conversion_of(config, universe.symbols, instruments, bars)
    bars, source = _bars(config, universe, conversion, instruments, bars)
    bars = bars if change is None else change(bars)
    example = not config.instruments and is_history
    splits = splits_of(config, len(bars.timestamps)) if cut is None else cut(bars.timestamps)
    simulation = config.simulation
    table = build_table(bars, universe.classes, instruments, simulation.account_currency, simulation.broker_clock)
    arranged = arrange_table(table, universe)
    specifications = _specifications(config, universe, instruments)
    return Market(
        universe=universe,
        table=arranged,
        contracts=specifications,
        splits=splits,
        **_measures(arranged, specifications, universe, splits, simulation.leverage),
        day=np.asarray(table.day),
        bars_per_day=len(bars.timestamps) / len(np.unique(np.asarray(table.day))),
        timestamps=np.asarray(bars.timestamps),
        description=_describe(source, bars, universe),
        notices=(*bars.notices, EXAMPLE_CONTRACTS) if example else bars.notices,
        stages=STAGES if config.curriculum else (),
        settings=config,
        given=bars if given else None,
        fingerprint=""
        if change is not None
        else of_history(bars, specifications, universe, config)
        if is_history
        else of_synthetic(specifications, universe, config),
    )


def bare_market(config: TrainConfig, universe: Universe, timestamps: np.ndarray) -> Market:
    """A market of which only contracts, calendar and universe are known, for bars that come one by one.

    Its table has no bars, its scales and splits say nothing: give it those of a training.

    Args:
        config: the settings.
        universe: of the training.
        timestamps: ``[T]`` opens of some of its bars, seconds since 1970 UTC.
    """
    nothing: Any = np.zeros((1, 0))  # one path
    no_bars = (0, 0)
    return Market(
        universe=universe,
        table=MarketTable(**{field.name: nothing for field in dataclasses.fields(MarketTable)}),
        contracts=_specifications(config, universe, instruments_of(config)),
        splits=Splits(no_bars, no_bars, no_bars),
        day=broker_days(timestamps, config.simulation.broker_clock),
        bars_per_day=1.0,
        timestamps=timestamps,
        class_scale=np.ones(universe.num_classes),
        portfolio_scale=1.0,
        costs=np.zeros(0),
        volatility=np.zeros(0),
        description=GIVEN,
        notices=(),
    )


def _specifications(config: TrainConfig, universe: Universe, instruments: Mapping[str, Instrument]) -> Contracts:
    """The contracts of a universe, arranged, with the margins of the account."""
    leverages = dataclasses.asdict(config.simulation.margin_leverage).items()
    margin_leverage = {name: leverage for name, leverage in leverages if leverage > 0.0}
    return arrange_contracts(contracts(universe.symbols, instruments, margin_leverage), universe)


def resplit(market: Market, config: TrainConfig, splits: Splits) -> Market:
    """Return the same bars under other splits, with the statistics of the new training split."""
    measures = _measures(market.table, market.contracts, market.universe, splits, config.simulation.leverage)
    return dataclasses.replace(market, splits=splits, **measures)


def bar_interval(timestamps: np.ndarray) -> int:
    """The most frequent distance between consecutive bars, seconds."""
    distances, counts = np.unique(np.diff(timestamps), return_counts=True)
    return int(distances[np.argmax(counts)])


def splits_of(config: TrainConfig, num_bars: int) -> Splits:
    """The splits of ``num_bars`` bars; UserError if the settings require more bars."""
    return split(
        num_bars,
        config.market.train_fraction,
        config.market.validation_fraction,
        config.market.gap_bars,
        config.simulation.episode_length,
        LOOK_BACK_BARS,
    )


def _bars(
    config: TrainConfig,
    universe: Universe,
    conversion: tuple[str, ...],
    instruments: Mapping[str, Instrument],
    given: Bars | None,
) -> tuple[Bars, str]:
    """The bars of the universe's instruments and behind them those for conversion, and where they come from."""
    traded, period = universe.symbols, (config.market.start, config.market.end)
    if given is not None:
        return choose(given, traded, *period, beside=conversion), GIVEN
    if config.data_dir:
        return read_bars(config, traded, conversion, instruments), f"bars of {config.data_dir}"
    return _generate(config, (*traded, *conversion), universe, instruments), _describe_synthetic(config)


def _calibration(config: TrainConfig) -> dict[str, Any]:
    """What the synthetic market is drawn from."""
    return load_calibration(Path(config.market.calibration) if config.market.calibration else None)


def read_bars(
    config: TrainConfig,
    traded: Sequence[str],
    conversion: Sequence[str],
    instruments: Mapping[str, Instrument],
    open_end: bool = False,
) -> Bars:
    """Read the bars of traded instruments, and behind them those for conversion, from the data directory.

    There are bars at the times at which a traded instrument has one, to the last of the file that ends first; with
    ``open_end`` to the last of all.
    """
    from mtquant_jax.market.bars.loading import load_bars  # brings pyarrow

    options: dict[str, Any] = {name: getattr(config, name) for name in ("timeframe", *READING)}
    options |= {"start": config.market.start, "end": config.market.end, "open_end": open_end}
    bars, notices = load_bars(Path(config.data_dir), (*traded, *conversion), instruments, **options)
    bars = dataclasses.replace(bars, notices=tuple(notices))
    return choose(bars, traded, beside=conversion) if conversion else bars


def _describe_synthetic(config: TrainConfig) -> str:
    """Describe the synthetic market of the settings in a few words."""
    conditions = "" if config.market.scenario == "neutral" else f", {config.market.scenario}"
    conditions = f", curriculum of {len(STAGES)} scenarios" if config.curriculum else conditions
    return f"synthetic market (edge {config.market.edge:g}{conditions})"


def _generate(
    config: TrainConfig, symbols: Sequence[str], universe: Universe, instruments: Mapping[str, Instrument]
) -> Bars:
    """Generate the synthetic bars of instruments according to the settings."""
    market = config.market
    num_paths, scenario = market.num_paths, find_scenario(market.scenario)
    if config.curriculum:
        per_stage = max(2, math.ceil(market.num_paths / 2))  # num_paths for every scenario would take gigabytes
        num_paths = per_stage * len(STAGES)
        scenario = jax.tree.map(
            lambda *leaves: np.repeat(np.asarray(leaves), per_stage), *(find_scenario(stage) for stage in STAGES)
        )
    return generate(
        jax.random.key(config.seed),
        num_paths,
        market.num_bars,
        market.edge,
        _calibration(config),
        symbols,
        instruments,
        scenario,
        universe.classes,
    )


def _measures(
    table: MarketTable, contracts: Contracts, universe: Universe, splits: Splits, leverage: float
) -> dict[str, Any]:
    """Compute the fields of `Market` that describe its training split, by name, from an arranged table.

    The scales make per-bar rewards of order one. The typical return is the root mean square return of a fully used
    budget in independent instruments.
    """
    first, last = splits.train
    returns = np.diff(np.log(np.asarray(table.close, np.float64)[:, first:last]), axis=1)
    mean_square = np.mean(returns**2, axis=(0, 1)).reshape(universe.mask.shape)
    class_square = np.sum(np.where(universe.mask, universe.share**2 * mean_square, 0.0), axis=-1) * leverage**2
    class_square = np.maximum(class_square, 1e-12)
    portfolio_square = float(np.sum(class_square)) / universe.num_classes**2
    costs, volatility = typical_costs(table, contracts, first, last)
    return {
        "class_scale": 1.0 / np.sqrt(class_square),
        "portfolio_scale": 1.0 / float(np.sqrt(portfolio_square)),
        "costs": costs.reshape(universe.mask.shape),
        "volatility": volatility.reshape(universe.mask.shape),
    }


def _describe(source: str, bars: Bars, universe: Universe) -> str:
    """Describe the traded market in one line."""
    start, end = (np.datetime64(int(t), "s").astype("datetime64[D]") for t in bars.timestamps[[0, -1]])
    paths = bars.close.shape[0]
    over = f" on {paths} paths" if paths > 1 else ""
    others = bars.symbols[len(universe.symbols) :]
    beside = f" ({', '.join(others)} for conversion only)" if others else ""
    instruments = f"{len(universe.symbols)} instruments{beside}"
    return f"{source}: {instruments}, {len(bars.timestamps):,} bars from {start} to {end}{over}"
