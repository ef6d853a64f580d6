"""Bars, contracts and classes -> a short text that is the same for the same market, wherever its files lie."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtquant_jax.market.synthetic.calibration_files import load_calibration
from mtquant_jax.market.universe import Universe
from mtquant_jax.settings.config import TrainConfig
from mtquant_jax.types import Bars, Contracts

_PRICES = ("open", "high", "low", "close", "spread", "volume")


def of_history(bars: Bars, contracts: Contracts, universe: Universe, config: TrainConfig) -> str:
    """The fingerprint of bars that were read or given: of every number of theirs."""
    digest = _common(contracts, universe, config)
    digest.update(np.ascontiguousarray(bars.timestamps, np.int64).data)
    for name in _PRICES:
        digest.update(np.ascontiguousarray(getattr(bars, name), np.float64).data)
    digest.update(np.ascontiguousarray(bars.tradable, bool).data)
    return digest.hexdigest()[:16]


def of_synthetic(contracts: Contracts, universe: Universe, config: TrainConfig) -> str:
    """The fingerprint of a generated market: of what it is drawn from, for its numbers differ between devices."""
    digest, market = _common(contracts, universe, config), config.market
    drawn_from = {
        "seed": config.seed,
        "curriculum": config.curriculum,
        "num_paths": market.num_paths,
        "num_bars": market.num_bars,
        "edge": market.edge,
        "scenario": market.scenario,
        "calibration": load_calibration(Path(market.calibration) if market.calibration else None),
    }
    digest.update(_text(drawn_from))
    return digest.hexdigest()[:16]


def _common(contracts: Contracts, universe: Universe, config: TrainConfig) -> Any:
    """A digest of what both kinds of markets have."""
    simulation = config.simulation
    digest = hashlib.sha256()
    digest.update(_text({c.name: [c.domain, *c.symbols] for c in universe.classes}))
    digest.update(_text([simulation.account_currency, simulation.broker_clock]))
    for field in dataclasses.fields(contracts):
        digest.update(np.asarray(getattr(contracts, field.name), np.float32).tobytes())
    return digest


def _text(content: Any) -> bytes:
    return json.dumps(content, default=_plain).encode()


def _plain(value: Any) -> Any:
    """Mappings and arrays of a calibration as JSON."""
    return dict(value) if isinstance(value, Mapping) else np.asarray(value).tolist()
