"""Random bars of all instruments with gaps, ranges and holes, for tests of what is computed from bars."""

from __future__ import annotations

import dataclasses

import numpy as np

from mtquant_jax.market.features import FEATURES, FeatureSet, build_table
from mtquant_jax.market.instruments import load_instruments
from mtquant_jax.types import AssetClass, Bars, MarketTable

INSTRUMENTS = load_instruments()
CLASSES = (
    AssetClass("forex", ("EURUSD", "GBPUSD", "USDJPY"), "forex"),
    AssetClass("commodities", ("XAUUSD", "WTIUSD"), "commodities"),
    AssetClass("equity", ("SPX500", "NAS100", "US30"), "equity"),
)
SYMBOLS = tuple(symbol for asset_class in CLASSES for symbol in asset_class.symbols)
COLUMNS = ("open", "high", "low", "close", "spread", "volume", "tradable")


def random_bars(seed: int, num_bars: int, symbols=SYMBOLS, num_paths: int = 1, closed: float = 0.05) -> Bars:
    """Random walks with gaps, ranges, holes and a long stretch without bars."""
    rng = np.random.default_rng(seed)
    shape = (num_paths, num_bars, len(symbols))
    tradable = rng.random(shape) > closed
    if num_bars > 300:
        tradable[:, 150:290, -1] = False
    body, gap = rng.normal(0, 1e-3, shape) * tradable, rng.normal(0, 3e-4, shape) * tradable
    close = 100 * np.exp(np.cumsum(body + gap, axis=1))
    open_ = close * np.exp(-body)
    reach = np.abs(rng.normal(0, 5e-4, (2, *shape))) * tradable
    return Bars(
        symbols=tuple(symbols),
        timestamps=1_700_000_000 // 3600 * 3600 + 3600 * np.arange(num_bars),
        open=open_,
        high=np.maximum(open_, close) * np.exp(reach[0]),
        low=np.minimum(open_, close) * np.exp(-reach[1]),
        close=close,
        spread=np.full(shape, 0.01),
        volume=rng.integers(1, 5000, shape) * tradable,
        tradable=tradable,
    )


def cut(bars: Bars, first: int, last: int) -> Bars:
    """The bars first <= t < last."""
    columns = {name: np.asarray(getattr(bars, name))[:, first:last] for name in COLUMNS}
    return dataclasses.replace(bars, timestamps=bars.timestamps[first:last], **columns)


def table_of(bars: Bars, classes=CLASSES, currency: str = "USD", features: FeatureSet = FEATURES) -> MarketTable:
    return build_table(bars, classes, INSTRUMENTS, currency, features=features)
